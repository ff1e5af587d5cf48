"""What the processes that measure a checkpoint have in common: whom they tell, and what they say of too little memory.

What is measured stands in the module that a process is started with, `models.score` or `models.validate`.
"""

from __future__ import annotations

from collections.abc import Callable

from data.command import out_of_memory
from data.scratch import require_writable
from models.job import MeasureJob
from models.memory import memory_ran_out
from models.reporters import open_launcher

Log = Callable[[str], None]


def measure(job: MeasureJob, work: Callable[[Log], None]) -> int:
    """Do the work of a job, which tells what it has done; returns the exit code 0. Raises InputError."""
    require_writable(job.output)
    try:
        with open_launcher() as (launcher, _):
            work(launcher.log)
    except (RuntimeError, MemoryError) as error:
        if memory_ran_out(error):
            said = str(error).partition("\n")[0]
            raise out_of_memory(f"measurement of {job.checkpoint}", said, job.less_memory) from error
        raise
    return 0
