"""How much music around a chunk a network has to hear: measured with its own weights, on music of the validation set.

How to use a context belongs to `models.separate`. What is compared here is a network that heard 40 s of a song at once
with the same network on a few seconds of it and so much context on either side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.audio import SAMPLE_RATE, Audio
from models.level import level_of_song
from models.separate import CONTEXT_SECONDS, Separator, layout_of

# A sound 40 dB under the vocals it belongs to: at a uSDR of 10 dB it changes the result by 0.005 dB.
SETTLED_DB = -40.0
LENGTHS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0)  # seconds; the longest doubles the work for a chunk of 20 s
GAIN_DB = 1.0  # where no length is enough, a longer one must be better by this much to be worth its time
JUDGED_SECONDS = 4.0
STRETCH_SECONDS = 40.0  # of each song, heard at once: as much as a chunk with the longest context, and no more
SONGS = 3


class Context(NamedTuple):
    """A length, and what is left between split and whole at it, in dB relative to the vocals (NaN if not measured)."""

    seconds: float
    difference_db: float


UNMEASURED = Context(CONTEXT_SECONDS, math.nan)


def measure_context(separator: Separator, songs: Sequence[Audio]) -> Context:
    """The shortest of LENGTHS at which `separator` gives the same vocals, to SETTLED_DB, as on the unsplit music.

    `songs` are stretches `(2, frames)`. From the middle of each, JUDGED_SECONDS are separated with a context of every
    length; they lie between two cuts, so that this is more than is left in the chunks of a song. Where no length is
    enough, it is the shortest that is within GAIN_DB of the best: attention over a whole window never settles. Lengths
    for which the stretches are too short are not tried; where none can be, the context is CONTEXT_SECONDS.
    """
    hop, judged = separator.hop, round(JUDGED_SECONDS * SAMPLE_RATE)
    # At one level, so that a loud song counts no more than a quiet one.
    songs = [song / level for song in songs if (level := level_of_song([song])) > 0]
    wholes = [separator(song, 1.0) for song in songs]
    tried: list[Context] = []
    for seconds in LENGTHS:
        context = layout_of(hop, seconds).context
        error = signal = 0.0
        for song, whole in zip(songs, wholes, strict=True):
            # What reaches the ends of the music is no context, it is the whole.
            if song.shape[1] < judged + 2 * context + judged:
                continue
            first = (song.shape[1] - judged) // 2 // hop * hop
            split = separator(song[:, first - context : first + judged + context], 1.0)
            vocals = whole[:, first : first + judged]
            error += float(np.square(split[:, context : context + judged] - vocals, dtype=np.float64).sum())
            signal += float(np.square(vocals, dtype=np.float64).sum())
        if signal > 0:
            tried.append(Context(seconds, 10 * math.log10(max(error / signal, 1e-20))))
            if tried[-1].difference_db <= SETTLED_DB:
                return tried[-1]
    if not tried:
        return UNMEASURED
    best = min(length.difference_db for length in tried)
    return next(length for length in tried if length.difference_db <= best + GAIN_DB)


def in_words(context: Context) -> str:
    """A context as a line of a log says it."""
    if math.isnan(context.difference_db):
        return f"context {context.seconds:g} s (not measured: the music is too short, or nothing is heard in it)"
    return f"context {context.seconds:g} s ({context.difference_db:.0f} dB between split and whole)"
