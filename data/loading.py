"""Ctrl-C while a command still loads what it needs, before `data.command` is at work: it ends without a traceback.

Torch and Dagster take seconds to load, and there is nothing to clean up yet. Imported by the packages that hold
commands, before anything else; what a command does about signals while it works stands in `data.command`.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path


def end_at_once_while_loading() -> None:
    """Where this process is a command of this project, let Ctrl-C end it as SIGTERM does: by the operating system."""
    # `python -m` has no name yet when it imports the package of a command; whoever else imports us has one.
    command = sys.argv[:1] == ["-m"] or Path(*sys.argv[:1]).stem == "isolate"
    if (
        command
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
