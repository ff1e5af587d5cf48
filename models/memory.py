"""How the process holds on to memory, and how it is known that there was too little.

Training on a CPU asks for the same large blocks at every step.
"""

from __future__ import annotations

import ctypes
import re
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks for the next step; elsewhere, do nothing.

    By default each tensor above some megabytes is mapped anew and returned to the system when freed; clearing those
    pages again at every step took half of a training step's time on two cores.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_M_TOP_PAD, 1 << 26)


# What torch and the libraries below it say, as a RuntimeError of no class of its own.
_RAN_OUT = re.compile(
    r"out of memory|not enough memory|can't allocate memory|ALLOC_FAILED|bad_alloc|cannot allocate", re.IGNORECASE
)


def memory_ran_out(error: BaseException) -> bool:
    """Whether an error says that the memory of the computer or of its GPU did not suffice."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_RAN_OUT.search(str(error))))
