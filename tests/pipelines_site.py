"""Small datasets, a storage root, and the project's command line over them: what the tests of the chain share."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from small_datasets import write_hq_dataset, write_medleydb_track, write_stem_mp4

PROJECT = Path(__file__).resolve().parents[1]
CANDIDATES = PROJECT / "tests" / "candidates"


@dataclass(frozen=True)
class Site:
    """Datasets and a storage root, and the environment that points the project at them."""

    folder: Path

    @property
    def storage(self) -> Path:
        return self.folder / "storage"

    @property
    def environment(self) -> dict[str, str]:
        settings = {
            "STORAGE": self.storage,
            "MUSDB18": self.folder / "musdb18",
            "MEDLEYDB": self.folder / "medleydb",
            "MEDLEYDB_METADATA": self.folder / "metadata",
            "CANDIDATES": CANDIDATES,
            "DEVICE": "cpu",
        }
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("ISOLATION_", "DAGSTER_"))
        }
        return inherited | {f"ISOLATION_{name}": str(value) for name, value in settings.items()}

    def run(self, *arguments: str, module: str = "pipelines.run") -> subprocess.CompletedProcess[str]:
        """Run a command of the project as a user would."""
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, timeout=300, check=False
        )


def build_site(folder: Path) -> Site:
    """Eight MUSDB18-HQ tracks, one stem.mp4, and three MedleyDB tracks."""
    write_hq_dataset(folder / "musdb18", train=6, test=2)
    write_stem_mp4(folder / "musdb18" / "test" / "Artist 8 - Song 8.stem.mp4")
    for name, instruments in (
        ("Ann_One", ["piano", "female singer", "vocalists"]),
        ("Bob_Two", ["drum set", "male singer"]),
        ("Cid_Three", ["violin", "cello"]),
    ):
        write_medleydb_track(folder / "medleydb", folder / "metadata", name, instruments)
    return Site(folder)
