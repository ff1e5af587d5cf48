"""The command that starts a training in one process, or in several that train together (torchrun)."""

from __future__ import annotations

import sys


def launch_command(processes: int) -> list[str]:
    """The beginning of a command line; a Python module's name and its arguments follow."""
    if processes == 1:
        return [sys.executable, "-m"]
    # Left alone, torchrun lets the processes meet under the machine's name, and waits five minutes where that name
    # leads nowhere, as it may in a container or on a laptop away from its network.
    meeting = ["--standalone", "--local-addr", "127.0.0.1"]
    return [sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", str(processes), "-m"]
