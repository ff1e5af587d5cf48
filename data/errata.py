"""Known bad tracks: read from YAML, the shipped file first, then a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from data.entries import read_entries
from data.tracks import track_slug

SHIPPED = Path(__file__).with_name("errata.yaml")


class Erratum(BaseModel):
    """A bad track: what is wrong with it, and whether it is only named (`tag`) or not trained on (`exclude`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    track: str
    problem: str
    action: Literal["tag", "exclude"]

    @property
    def track_id(self) -> str:
        return f"{self.dataset}/{track_slug(self.track)}"


def load_errata(own: Path | None = None) -> dict[str, Erratum]:
    """The errata by track id; those of the file `own` take the place of shipped ones of the same track.

    Raises InputError naming the entry and the key that is wrong.
    """
    return {erratum.track_id: erratum for path in (SHIPPED, *([own] if own else [])) for erratum in _read(path)}


def _read(path: Path) -> list[Erratum]:
    return read_entries(
        path,
        Erratum,
        what="errata",
        expected="a YAML list of entries with dataset, track, problem and action (tag or exclude)",
        remedy="mend the file, or unset ISOLATION_ERRATA",
    )
