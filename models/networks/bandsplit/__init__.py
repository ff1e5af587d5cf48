"""The report's network grown up: a pre-FC per band, LSTMs along time and along bands."""
