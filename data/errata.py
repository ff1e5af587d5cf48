"""Known bad tracks: read from YAML, the shipped file first, then a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from data.errors import InputError
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
    def refuse(found: str) -> InputError:
        return InputError(
            "errata",
            file=path,
            expected="a YAML list of entries with dataset, track, problem and action (tag or exclude)",
            found=found,
            remedy="mend the file, or unset ISOLATION_ERRATA",
        )

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise refuse("no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise refuse(" ".join(str(error).split())) from error
    if not isinstance(content, list):
        raise refuse(f"{type(content).__name__}")
    errata = []
    for number, entry in enumerate(content, start=1):
        try:
            errata.append(Erratum.model_validate(entry))
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise refuse(f"entry {number}: {faults}") from error
    return errata
