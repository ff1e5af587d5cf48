"""What learns and is measured: candidates, STFT, networks, losses, the training loop, separation, metrics.

Imports torch and `data`, never Dagster: `python -m models.train CONFIG` trains without it.
"""

from data.loading import end_at_once_while_loading

end_at_once_while_loading()
