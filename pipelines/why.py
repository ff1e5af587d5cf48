"""`python -m pipelines.why ASSET [PARTITION]`: what an output was made of, down to the raw files, and why it is stale.

Only the command line; how outputs are found stands in `assets.staleness`, how they are shown in `data.lineage`.
Nothing is written, nobody is kept out, and Dagster's history is not asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from data.command import run_command
from data.lineage import render
from data.settings import load_settings
from data.text import say


def main(arguments: Iterable[str] | None = None) -> int:
    """Tell what the command line asks for; returns 0, or 2 for bad input."""
    return run_command(lambda: _run(arguments))


def _run(arguments: Iterable[str] | None) -> int:
    options = _parser().parse_args(None if arguments is None else list(arguments))
    settings = load_settings(writes=False)
    # The graph takes seconds to build, and reads the settings: both after what can be wrong with the command line.
    from assets.staleness import lineage

    asset, _, inside = options.asset.strip().partition(" ")
    for line in render(lineage(settings, asset, options.partition or inside.strip() or None), everything=options.all):
        say(line, sys.stdout)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.why", description="What an output was made of, and what has changed since."
    )
    parser.add_argument("asset", metavar="ASSET", help="such as training_set/loopback, or loopback where that is one")
    parser.add_argument("partition", metavar="PARTITION", nargs="?", help="a track or a candidate; without it, all")
    parser.add_argument("--all", action="store_true", help="every input, parameter and whole checksum")
    return parser


if __name__ == "__main__":
    sys.exit(main())
