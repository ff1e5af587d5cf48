"""`python -m pipelines.run`: the whole chain, headless, with whatever sources are configured.

Only the command line and what it prints; the chain itself is `pipelines.chain`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from data.audio import require_program
from data.command import FAILED, Stopped, run_command
from data.errors import InputError
from data.layout import REPORT_FILE, Layout
from data.recognition import require_library
from data.settings import Settings, load_settings
from data.text import one_line, say
from models.candidate import candidate_path, load_candidate
from models.measures import ranking

if TYPE_CHECKING:
    from pipelines.chain import Tally

DEFAULT_CANDIDATES = "toy"


def main(arguments: Iterable[str] | None = None) -> int:
    """Run the chain as the command line says; returns 0, 1 where something failed, 2 for bad input."""
    return run_command(lambda: _run(arguments))


def _run(arguments: Iterable[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.run", description="Run the whole chain.")
    parser.add_argument(
        "--candidates",
        default=DEFAULT_CANDIDATES,
        metavar="A,B",
        help="candidates to train and evaluate, separated by commas (default: %(default)s)",
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    names = list(dict.fromkeys(name.strip() for name in options.candidates.split(",") if name.strip()))
    settings = load_settings()
    ranking(settings.rank_by)
    for name in names:
        load_candidate(candidate_path(name, settings.candidates))
    for program in ("ffmpeg", "ffprobe"):
        require_program(program)
    require_library()
    # The graph takes seconds to build, and reads the settings: both after what can be wrong with the command line.
    from pipelines.chain import Tally, run_chain

    tally = Tally()
    try:
        run_chain(settings, names, tally)
    except Stopped as stopped:
        stopped.said = f"{_counted(tally)} until then; started again, the same command goes on from there"
        raise
    return _conclude(tally, settings)


def _conclude(tally: Tally, settings: Settings) -> int:
    from assets.recording import markdown_table
    from models.leaderboard import at_a_glance, board_table, ranked_by

    layout = Layout(settings.root)
    report, rank_by = layout.report / REPORT_FILE, ranking(settings.rank_by)
    # Where the chain ended before the board, there is none, or one of an earlier version.
    with suppress(InputError):
        table = board_table(rank_by).read(layout.leaderboard)
        own = table.loc[table["source"] == "this project", at_a_glance(rank_by)].dropna(axis="columns", how="all")
        say(f"\n{markdown_table(own, one_line)}\n\n{ranked_by(rank_by)}", sys.stdout)
    if tally.failures:
        say("\n" + "\n\n".join(tally.failures))
    if tally.made or tally.failures:
        print(f"\n{_counted(tally)}, {len(tally.failures)} failures.")
    else:
        print(f"\nNothing to do: all {tally.unchanged} outputs are up to date.")
    if tally.champion_stays:
        say(f"The champion stays: {tally.champion_stays}.", sys.stdout)
    if report.is_file():
        say(f"Report: {report}", sys.stdout)
    return FAILED if tally.failures else 0


def _counted(tally: Tally) -> str:
    return f"{tally.made} outputs made, {tally.unchanged} unchanged"


if __name__ == "__main__":
    sys.exit(main())
