"""How torch's threads share a machine with other work. Nothing here imports torch: it must come first."""

from __future__ import annotations

import os


def share_cores() -> None:
    """Let torch's idle threads sleep instead of spin; only before torch is imported for the first time.

    OpenMP's threads wait for their next task by spinning. Where anything else wants the core, the data loader for one,
    every operation then waits for a thread that is not running. A policy the user set is kept.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
