"""What is installed: exact versions, with checksums, under licences that were looked at."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
FILES = sorted(PROJECT.glob("constraints*.txt"))


def entries(path: Path) -> dict[str, str]:
    """Each package of a file of constraints with its line, hashes included."""
    text = path.read_text().replace("\\\n", " ")
    return {line.partition("==")[0]: line for line in text.splitlines() if line and not line.startswith("#")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_package_has_an_exact_version_and_checksums(path: Path) -> None:
    form = re.compile(r"[a-z0-9._-]+==[a-z0-9.+]+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+")
    assert entries(path)
    for line in entries(path).values():
        assert form.fullmatch(line.strip()), line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_address_of_a_package_index_is_written_down(path: Path) -> None:
    assert not re.search(r"https?:|file:|--(extra-)?index|--find-links|@ ", path.read_text())


def test_all_that_the_project_needs_is_written_down_and_what_builds_it_too() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    wanted += project["project"]["optional-dependencies"]["wandb"] + project["build-system"]["requires"] + ["pip"]
    names = {re.split(r"[<>=\[;]", one)[0].strip().lower() for one in wanted} - {project["project"]["name"]}
    assert names <= {name for path in FILES for name in entries(path)}


def test_pip_refuses_a_file_with_another_checksum(tmp_path: Path) -> None:
    (tmp_path / "wanted.txt").write_text(f"six==1.0 --hash=sha256:{'0' * 64}\n")
    (tmp_path / "six-1.0.tar.gz").write_bytes(b"another file")
    install = re.search(r"^INSTALL = \$\(BIN\)/python (.*)$", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert install
    command = [sys.executable, *install[1].split(), "--require-hashes", "-r", str(tmp_path / "wanted.txt")]
    command += ["--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "in")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "HASH" in done.stderr.upper()


def test_the_licence_of_every_package_was_looked_at_and_is_listed() -> None:
    command = [sys.executable, str(PROJECT / ".ci" / "licences"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
