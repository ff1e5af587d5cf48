"""The report's network: awareness, pre-FC, LSTM, FC. Named after the course that the report was written in."""
