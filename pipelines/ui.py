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
from data.settings import environment, load_settings
from pipelines.instance import end_killed_runs, prepare_home


def main() -> NoReturn:
    """Become `dagster dev` for this project; exits with 2 for bad settings."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.ui", description="Open Dagster for this project.")
    parser.add_argument("--port", type=int, default=3000, help="port on 127.0.0.1 (default: %(default)s)")
    options = parser.parse_args()
    try:
        settings = load_settings()
        home = prepare_home(settings.root)
        os.environ.update(environment(settings) | {"DAGSTER_HOME": str(home)})
        with dg.DagsterInstance.get() as instance:
            end_killed_runs(instance)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    project = Path(__file__).resolve().parent.parent
    # Dagster's programs read the file `.env` of their folder, and put what it says over the environment.
    os.chdir(home)
    # Programs of the virtual environment, also where it was not activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["dagster", "dev", "-w", str(project / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(options.port)]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
