"""How often each kind of thing is passed on: lines for people, points of a curve, excerpts of audio."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data.audio import Audio
from models.progress import Pace


def line_pace() -> Pace:
    """Lines, over seconds: every 3 s at first, an eighth more of the time so far later, and at least every minute."""
    return Pace(share=1 / 8, shortest=3.0, longest=60.0)


def point_pace() -> Pace:
    """Points of a curve, over seconds: all for a while, then so that a curve has some thousand."""
    return Pace(share=1 / 500)


class AudioThinning:
    """Excerpts, over steps: after every epoch at first, then ever less often, and only those that have changed.

    An uncompressed excerpt of ten seconds takes 2 MB; mixture and vocals stay the same from epoch to epoch.
    """

    def __init__(self) -> None:
        self._pace = Pace(share=1 / 5)
        self._passed: dict[str, Audio] = {}

    def due(self, step: int, sounds: Mapping[str, Audio]) -> dict[str, Audio]:
        """Those of `sounds`, each (2, frames), to be passed on at `step`."""
        if not self._pace.due(step):
            return {}
        changed = {name: sound for name, sound in sounds.items() if not self._same(name, sound)}
        self._passed |= {name: sound.copy() for name, sound in changed.items()}
        return changed

    def _same(self, name: str, sound: Audio) -> bool:
        return name in self._passed and np.array_equal(self._passed[name], sound)
