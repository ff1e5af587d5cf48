"""Ctrl-C in the seconds in which a command loads what it needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pipelines_site import PROJECT

COMMANDS = [
    *("pipelines.isolate", "pipelines.run", "pipelines.splits", "pipelines.ui", "pipelines.server"),
    *("models.train", "models.export", "models.score", "models.validate"),
]


def _interrupted(command: list[str], folder: Path) -> tuple[int, str]:
    """Start a command in whose loading a package waits, send it SIGINT there; its code, and what it says after."""
    (folder / "pydantic.py").write_text("import sys\nprint('loading', flush=True)\nsys.stdin.read()\n")
    path = os.pathsep.join([str(folder), str(PROJECT)])
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "loading\n":
                break
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("module", COMMANDS)
def test_a_command_that_still_loads_ends_without_a_traceback(module: str, tmp_path: Path) -> None:
    assert _interrupted(["-m", module], tmp_path) == (-signal.SIGINT, "")


def test_so_does_the_script_that_is_installed(tmp_path: Path) -> None:
    script = tmp_path / "isolate"
    script.write_text("import sys\nfrom pipelines.isolate import main\nsys.exit(main())\n")
    assert _interrupted([str(script)], tmp_path) == (-signal.SIGINT, "")


def test_a_program_that_imports_this_project_keeps_its_ctrl_c(tmp_path: Path) -> None:
    program = "try:\n    import models, pipelines, pydantic\nexcept KeyboardInterrupt:\n    print('its own')\n"
    assert _interrupted(["-c", program], tmp_path) == (0, "its own\n")
