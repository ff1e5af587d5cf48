"""`python -m pipelines.ui`: Dagster's UI and daemon on 127.0.0.1, with the history under the storage root.

The web server has no authentication, so it listens on the loopback address only.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

import dagster as dg

from data.errors import InputError
from data.settings import load_settings
from pipelines.instance import end_killed_runs, prepare_home


def main() -> NoReturn:
    """Become `dagster dev` for this project; exits with 2 for bad settings."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.ui", description="Open Dagster for this project.")
    parser.add_argument("--port", type=int, default=3000, help="port on 127.0.0.1 (default: %(default)s)")
    options = parser.parse_args()
    try:
        root = load_settings().root
        prepare_home(root)
        with dg.DagsterInstance.get() as instance:
            end_killed_runs(instance)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    project = Path(__file__).resolve().parent.parent
    os.environ["ISOLATION_STORAGE"] = str(root)  # the code location starts in another folder
    os.chdir(project)
    # Programs of the virtual environment, also where it was not activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(options.port)]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
