"""What an evaluation report is made of: plain data, no layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from models.measures import USDR, Measure


@dataclass(frozen=True)
class CandidateSection:
    """One candidate: its settings, its curves, and what its checkpoint says about itself.

    `curves` has the columns of `models.curves.CURVES`; it may be empty.
    """

    name: str
    config: Mapping[str, Any]
    curves: pd.DataFrame
    checkpoint_metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackRow:
    """One track to look at and listen to: audio files of equal length, `predicted` by candidate name.

    `ica` is None where ICA is undefined for the track; `notes` are shown beneath the title.
    """

    track_id: str
    title: str
    artist: str
    licence: str
    split: str
    mixture: Path
    truth: Path
    predicted: Mapping[str, Path]
    ica: Path | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class EvaluationReport:
    """Everything on the page.

    `scores` is a table of `models.evaluate.SCORES` (candidates, baselines and bounds, possibly of more tracks than are
    shown); `provenance` says in pairs of words what the numbers came from (fingerprints, checksums, counts, licences);
    `champion` is the promoted candidate, if any of these is; `promotion` says why it, or an earlier training, is.
    `generated` says how many of the scored tracks are generated songs (`data.demo.licence.is_generated`), None where
    nobody looked. `left_out` holds (candidate, track id, why) for every song that a candidate knows from its training
    and that `scores` therefore lacks. None means that nobody looked, and then the page does not say what was heard in
    training. Methods are ranked by `rank_by`. `shared_artists` are those whose tracks are both trained on and scored
    on.
    """

    title: str
    candidates: Sequence[CandidateSection]
    scores: pd.DataFrame
    tracks: Sequence[TrackRow]
    provenance: Mapping[str, str]
    champion: str | None = None
    promotion: str = ""
    generated: int | None = None
    left_out: Sequence[tuple[str, str, str]] | None = None
    rank_by: Measure = USDR
    shared_artists: Sequence[str] = ()
