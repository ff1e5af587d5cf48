"""Fixtures that tests of several rooms share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from pipelines_site import Site, build_site
from small_datasets import write_hq_dataset

# Networks of this size run faster on one thread than on two that wait for each other; read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Dagster waits for the disk at every event of its history, which is a third of the tests' time: folders of tests lie in
# memory, where there is plenty. What a kill leaves is the same there.
_MEMORY = Path("/dev/shm")
if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 8 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))

# Files that take minutes, the longest first: begun first, so that no process is left alone with one at the end.
_LONG = (
    "pipelines/test_chain.py",
    "assets/test_staleness.py",
    "pipelines/test_few_artists_chain.py",
    "pipelines/test_daemon.py",
    "assets/test_separators.py",
    "models/training/test_resume.py",
    "pipelines/test_ui.py",
    "models/training/test_processes.py",
    "models/test_export.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the rest in their order."""
    order = {name: number for number, name in enumerate(_LONG)}
    here = Path(__file__).parent
    items.sort(key=lambda item: order.get(os.path.relpath(item.path, here), len(order)))


@pytest.fixture
def hq(tmp_path: Path) -> Path:
    """A small MUSDB18-HQ dataset of nine tracks."""
    return write_hq_dataset(tmp_path / "musdb18hq")


@pytest.fixture
def quiet() -> Callable[[str], None]:
    """A log that nobody reads."""
    return lambda _: None


@pytest.fixture
def without_privileges(tmp_path: Path) -> Callable[[], AbstractContextManager[None]]:
    """Inside, files may not be read whose permissions say so: root may read everything."""

    @contextmanager
    def inside() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        for folder in (tmp_path, *tmp_path.parents):
            if folder == tmp_path or not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o055)
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return inside


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site on which the whole chain ran well once. Who changes it runs the chain again."""
    site = build_site(tmp_path_factory.mktemp("finished"))
    done = site.run("--candidates", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    return site
