"""Recognises the same recording under two names by its content, whatever its file format, level or trimming.

Fingerprints of audio and their comparison belong here. What to do about a track that is there twice does not: that is
for the splits to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt

from data.audio import CHANNELS, SAMPLE_RATE, Audio
from data.errors import InputError

Fingerprint = npt.NDArray[np.uint32]

FRAME_S = 1365 / 11025  # from one sub-fingerprint to the next: Chromaprint hops 1365 samples at 11025 Hz
_FEWEST_VALUES = 4  # a fingerprint of fewer different values is silence, a steady tone, or hardly longer than 3 s

# Candidates. A vote is a sub-fingerprint in common but for its first or its last byte, so an equal one has two. Of the
# 780 pairs of 40 generated songs of 24 s, none has three votes at one offset. A song and 7 s of the same one, begun
# later, distorted, with quieter vocals and as AAC, always have; whole sub-fingerprints would miss one in five.
_PARTS = (0xFFFFFF00, 0x00FFFFFF)
_FEWEST_VOTES = 3
_NEAREST = 20  # of the tracks with a sub-fingerprint in common, how far apart in the list they may be to be paired
_TRIES = 5  # offsets at which a pair of tracks is compared

# Decision, by agreement beyond chance (see `_agreement`). For those 780 pairs it is at most 0.33 at the best of all
# offsets, for the songs and 12 s of another one 0.35, for white noises 0.25. For a song and itself it is at least 0.91
# after AAC 128 kbit/s, mp3 96 kbit/s, gain, resampling, soft clipping, a later start or cutting 12 s out; 0.88 after
# equalising, 0.80 with vocals 3 dB lower, 0.76 with several of these at once. Without any vocals it is 0.35 and more.
# Plain similarity leaves no such gap: it reaches 0.88 for white noises and begins at 0.90 for the same song.
_SAME = 0.5
_FEWEST_FRAMES = 20  # 2.5 s in which something changes


class Fingerprinter:
    """Takes the Chromaprint fingerprint of audio that comes in blocks; holds four bytes for each 0.12 s of it.

    Raises InputError where the library libchromaprint is not installed. Source: Lukáš Lalinský, "How does Chromaprint
    work?" (2011), after Jang et al., "Pairwise Boosted Audio Fingerprint" (2009).
    """

    def __init__(self) -> None:
        self._chromaprint = require_library()
        self._context = self._chromaprint.Fingerprinter()
        self._context.start(SAMPLE_RATE, CHANNELS)

    def feed(self, block: Audio) -> None:
        """Take the next `block (2, frames)` float32 at 44100 Hz; beyond full scale it is clipped."""
        samples = np.clip(np.rint(block.T * np.float32(2**15)), -(2**15), 2**15 - 1)
        self._context.feed(samples.astype(np.int16).tobytes())

    def finish(self) -> Fingerprint:
        """The sub-fingerprints, `(frames,)` uint32, one each 0.124 s, of all that was fed.

        Empty for audio that says nothing of itself: its fingerprint has fewer than four different values, as that of
        silence and of steady sounds, which has one, and that of audio of less than about three seconds.
        """
        raw, _ = self._chromaprint.decode_fingerprint(self._context.finish())
        fingerprint = np.array(raw, dtype=np.uint32)
        return fingerprint if len(np.unique(fingerprint)) >= _FEWEST_VALUES else fingerprint[:0]


@dataclass(frozen=True)
class Match:
    """Two tracks that hold the same recording.

    `similarity` is the share of equal bits, 0..1, where the tracks overlap, silences and steady sounds left out;
    `offset_s` says where in `first` the beginning of `second` lies (negative: `second` begins earlier), `overlap_s`
    how much of the recording both hold. Seconds to within an eighth.
    """

    first: str
    second: str
    similarity: float
    offset_s: float
    overlap_s: float


def same_recordings(fingerprints: Mapping[str, Fingerprint]) -> list[Match]:
    """All pairs of tracks that hold the same recording, sorted by name, `first < second`.

    `fingerprints` are those of `Fingerprinter` by track. Candidates are pairs that share sub-fingerprints at one
    offset, found by sorting; only they are compared in full. Of more than twenty copies of one recording each is
    found, though not with every other. Source: Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System"
    (ISMIR 2002); the decision here is by agreement beyond chance instead of by bit errors.
    """
    names = sorted(fingerprints)
    prints = [np.asarray(fingerprints[name], dtype=np.uint32) for name in names]
    found: dict[tuple[int, int], tuple[float, Match]] = {}
    for first, second, offset in _candidates(prints):
        agreement, similarity, overlap = _compare(prints[first], prints[second], offset)
        # The most agreement in all: a loop agrees with itself at many offsets, and neighbouring ones nearly as well.
        if agreement >= _SAME and agreement * overlap > found.get((first, second), (0.0,))[0]:
            match = Match(names[first], names[second], similarity, offset * FRAME_S, overlap * FRAME_S)
            found[first, second] = agreement * overlap, match
    return [match for _, (_, match) in sorted(found.items())]


def _candidates(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, int]]:
    """(first, second, offset in frames) that the sub-fingerprints in common vote for, the most votes of a pair first.

    A vote counts for the neighbouring offsets too: the frames of two copies need not begin at the same moment.
    """
    span = 2 * max((len(each) for each in prints), default=0) + 3
    ballots = np.concatenate([_votes(prints, np.uint32(part), span) for part in _PARTS])
    elections, counts = np.unique(ballots, return_counts=True)
    votes = counts.copy()
    adjacent = np.diff(elections) == 1
    votes[1:][adjacent] += counts[:-1][adjacent]
    votes[:-1][adjacent] += counts[1:][adjacent]

    elections, votes = elections[votes >= _FEWEST_VOTES], votes[votes >= _FEWEST_VOTES]
    pairs = elections // span
    order = np.lexsort((-votes, pairs))
    elections, pairs = elections[order], pairs[order]
    rank = np.arange(len(pairs)) - np.searchsorted(pairs, pairs)
    for election in elections[rank < _TRIES].tolist():
        pair, shifted = divmod(election, span)
        yield *divmod(pair, len(prints)), shifted - span // 2


def _votes(prints: Sequence[Fingerprint], part: np.uint32, span: int) -> npt.NDArray[np.int64]:
    """One number for each sub-fingerprint of which two tracks have this part in common, `(votes,)`, unsorted.

    It is `(first * tracks + second) * span + offset + span // 2`. Of a value that a track has several times the first
    counts; otherwise a drone would outvote a melody.
    """
    lengths = [len(each) for each in prints]
    begins = np.cumsum([0, *lengths])
    # Value and place in one number: sorting these is several times as fast as sorting one by the other.
    everywhere = np.concatenate([np.empty(0, np.uint32), *prints]) & part
    index = np.sort(everywhere.astype(np.uint64) << np.uint64(32) | np.arange(len(everywhere), dtype=np.uint64))
    values, places = index >> np.uint64(32), (index & np.uint64(2**32 - 1)).astype(np.int64)
    tracks = np.searchsorted(begins, places, side="right") - 1
    places -= begins[tracks]
    again = np.zeros(len(values), dtype=bool)
    again[1:] = (values[1:] == values[:-1]) & (tracks[1:] == tracks[:-1])
    values, tracks, places = values[~again], tracks[~again], places[~again]

    votes = [np.empty(0, np.int64)]
    for apart in range(1, _NEAREST):
        one = np.flatnonzero(values[apart:] == values[:-apart])
        if not len(one):
            break
        other = one + apart
        votes.append((tracks[one] * len(prints) + tracks[other]) * span + places[one] - places[other] + span // 2)
    return np.concatenate(votes)


def _compare(first: Fingerprint, second: Fingerprint, offset: int) -> tuple[float, float, int]:
    """Agreement beyond chance, share of equal bits, and overlap in frames, with `second` beginning `offset` frames
    into `first`.

    Frames in which neither changes are left out: all silences are equal. Zero where too few are left.
    """
    a, b = first[max(0, offset) :], second[max(0, -offset) :]
    overlap = min(len(a), len(b))
    a, b = a[:overlap], b[:overlap]
    changes = np.ones(overlap, dtype=bool)
    changes[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    if np.count_nonzero(changes) < _FEWEST_FRAMES:
        return 0.0, 0.0, overlap
    return *_agreement(a[changes], b[changes]), overlap


def _agreement(a: Fingerprint, b: Fingerprint) -> tuple[float, float]:
    """How much more the bits of `a` and `b` (frames,) agree than by chance, and the share of equal bits.

    Chance is what two signals agree that have each bit set as often as these: Cohen's kappa (1960), pooled over the
    bits. Noises, whose fingerprints are all alike, agree in 85 % of the bits, and nearly all of that is chance.
    """
    equal = 1.0 - float(np.bitwise_count(a ^ b).mean()) / 32
    set_in_a, set_in_b = _share_set(a), _share_set(b)
    chance = float(np.mean(set_in_a * set_in_b + (1 - set_in_a) * (1 - set_in_b)))
    return ((equal - chance) / (1 - chance) if chance < 1 else 0.0), equal


def _share_set(fingerprint: Fingerprint) -> npt.NDArray[np.float64]:
    """The share of frames in which each of the 32 bits is set, (32,)."""
    return np.unpackbits(fingerprint.view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)


def require_library() -> ModuleType:
    """The module `chromaprint`. Raises InputError where the shared library behind it is not installed."""
    # Importing chromaprint fails where the shared library is missing, hence not at the top.
    try:
        import chromaprint
    except ModuleNotFoundError:
        raise  # an incomplete installation of this project
    except ImportError as error:
        raise InputError(
            "the library libchromaprint",
            expected="libchromaprint, version 1, where the system looks for shared libraries",
            found=f"no such library ({error})",
            remedy="install it (Debian, Ubuntu: apt-get install libchromaprint1; macOS: brew install chromaprint)",
        ) from error
    return chromaprint
