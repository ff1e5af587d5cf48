"""What learns and is measured: candidates, STFT, networks, losses, the training loop, separation, metrics.

Imports torch and `data`, never Dagster: `python -m models.train CONFIG` trains without it.
"""

from data.command import begin

begin()
