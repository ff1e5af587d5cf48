"""Where everything lies under the storage root, and what its files are called: the only module that spells it out.

An asset's output lies where its key says, each partition in a folder of its own; beside these stand the raw files,
what a training leaves behind, votes, Dagster's home, and where every track was once placed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CHECKPOINT_FILE = "checkpoint.pt"
STATE_FILE = "state.pt"
EARLIER_STATE_FILE = "state-before.pt"
CURVES_PICTURE_FILE = "curves.png"
CHAMPION_FILE = "champion.json"
REPORT_FILE = "report.html"
KEY_FILE = "key.json"


@dataclass(frozen=True)
class Layout:
    """The places under one storage root."""

    root: Path

    def index(self, dataset: str) -> Path:
        """A dataset's index of raw files."""
        return self.root / dataset / "archive"

    def names(self, dataset: str) -> Path:
        """Which slug every name of a dataset was given: a table, and no asset's output."""
        return self.root / dataset / "names"

    def labels(self, dataset: str) -> Path:
        """A dataset's metadata table."""
        return self.root / dataset / "metadata"

    def raw(self, dataset: str) -> Path:
        """Raw files that were generated, downloaded or unpacked rather than found."""
        return self.root / dataset / "raw"

    def downloads(self, dataset: str) -> Path:
        """Archives on their way here, and what came out of them."""
        return self.root / dataset / "downloads"

    def stems(self, dataset: str, slug: str) -> Path:
        """A track's mixture and vocals as the dataset gives them."""
        return self.root / dataset / "stems" / slug

    def normalised(self, dataset: str, slug: str) -> Path:
        """A track's mixture and vocals in the canonical form."""
        return self.root / dataset / "normalised" / slug

    @property
    def manifest(self) -> Path:
        return self.root / "training_set" / "manifest"

    @property
    def duplicates(self) -> Path:
        return self.root / "training_set" / "duplicates"

    @property
    def splits(self) -> Path:
        return self.root / "training_set" / "splits"

    @property
    def loopback(self) -> Path:
        """The training pairs."""
        return self.root / "training_set" / "loopback"

    @property
    def placements(self) -> Path:
        """In which split every track was placed, for the life of the storage root: a file, and no asset's output."""
        return self.root / "splits.yaml"

    @property
    def recordings(self) -> Path:
        """What every track sounded like that was ever placed, so that it is known again under another name."""
        return self.root / "recordings"

    def checkpoint(self, candidate: str) -> Path:
        return self.root / "separators" / "checkpoint" / candidate

    def unfinished(self, candidate: str) -> Path:
        """Trainings of a candidate that go on, a folder each."""
        return self.root / "separators" / "unfinished" / candidate

    def earlier(self, candidate: str) -> Path:
        """Checkpoints of a candidate that were replaced, a folder each."""
        return self.root / "separators" / "earlier" / candidate

    def scores(self, candidate: str) -> Path:
        return self.root / "evaluation" / "scores" / candidate

    @property
    def ica_baseline(self) -> Path:
        return self.root / "evaluation" / "ica_baseline"

    @property
    def leaderboard(self) -> Path:
        return self.root / "evaluation" / "leaderboard"

    @property
    def listening_test(self) -> Path:
        return self.root / "evaluation" / "listening_test"

    @property
    def champion_validation(self) -> Path:
        return self.root / "evaluation" / "champion_validation"

    @property
    def challenger(self) -> Path:
        return self.root / "evaluation" / "challenger"

    @property
    def champion(self) -> Path:
        return self.root / "evaluation" / "champion"

    @property
    def report(self) -> Path:
        return self.root / "evaluation" / "report"

    @property
    def votes(self) -> Path:
        """Where people put the votes that a ballot saved."""
        return self.root / "votes"

    @property
    def owners(self) -> Path:
        """Who writes to the storage root at this moment."""
        return self.root / ".owners"

    @property
    def dagster(self) -> Path:
        """`DAGSTER_HOME`: history, schedules, logs."""
        return self.root / "dagster"
