"""What a headless run prints: the progress lines of its steps, not Dagster's bookkeeping."""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

import dagster as dg

from data.text import plain

_STARTED = time.monotonic()


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        details = getattr(record, "dagster_meta", {})
        message = details.get("orig_message") or record.getMessage()
        step = (details.get("step_key") or "").replace("__", "/")
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname} "
        return f"[{time.monotonic() - _STARTED:6.1f} s] {step:24} {mark}{plain(message)}"


class _Output(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        # Nobody reads any more (`make run | head`), or the log's disk is full: the work goes on.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _told_by_a_step(record: logging.LogRecord) -> bool:
    # That what comes after a failed step or check is not done goes without saying.
    follows = str(getattr(record, "dagster_meta", {}).get("orig_message")).startswith("Dependencies for step ")
    return not hasattr(record, "dagster_event") and record.levelno >= logging.INFO and not follows


@dg.logger({}, description="Progress lines of the steps, without Dagster's own events.")
def step_lines(context: dg.InitLoggerContext) -> logging.Logger:
    """A logger that prints what steps say to standard output, with seconds since the program started."""
    logger = logging.Logger("isolation", level=logging.DEBUG)
    handler = _Output(sys.stdout)
    handler.setFormatter(_Lines())
    handler.addFilter(_told_by_a_step)
    logger.addHandler(handler)
    return logger
