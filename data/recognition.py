"""Recognises the same recording under two names by its content, whatever its file format, level, trimming or pace.

Fingerprints of audio and their comparison belong here. What to do about a track that is there twice does not: that is
for the splits to decide.
"""

from __future__ import annotations

import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import soxr

from data.audio import SAMPLE_RATE, Audio
from data.errors import InputError, os_error
from data.text import one_line

Fingerprint = npt.NDArray[np.uint32]
Prints = dict[tuple[str, float], Fingerprint]  # by what was heard, and how fast it was played

FRAME_S = 1365 / 11025  # from one sub-fingerprint to the next: Chromaprint hops 1365 samples at 11025 Hz
_RATE = 11025  # Hz, of what Chromaprint looks at: resampled to it once, not once for each pace
_FEWEST_VALUES = 4  # a fingerprint of fewer different values is silence, a steady tone, or hardly longer than 3 s

MIXTURE, ACCOMPANIMENT = "mixture", "accompaniment"
# A tape that runs 1 % faster is a sixth of a semitone higher, which moves the chroma that Chromaprint looks at. So each
# track is heard at these paces, of which any two are another per cent apart: one at its own and the other at 1.01 or
# 1.03, or one at 1.01 and the other at 1.03. All from -3 to +3 % are there; what is left between them changes little.
PACES = (1.0, 1.01, 1.03)
_COMPARED = sorted(
    [(1.0, 1.0), *((p, q) for p in PACES for q in PACES if p != q)], key=lambda paces: abs(paces[0] / paces[1] - 1)
)
ROWS = [(heard, pace) for heard in (MIXTURE, ACCOMPANIMENT) for pace in PACES]

# Candidates. A vote is a sub-fingerprint in common but for its first or its last byte, so an equal one has two.
_PARTS = (0xFFFFFF00, 0x00FFFFFF)
_FEWEST_VOTES = 3
_NEAREST = 20  # of the tracks with a sub-fingerprint in common, how far apart in the list they may be to be paired
_TRIES = 5  # offsets at which a pair of tracks is compared
_AROUND = 48  # frames to either side of a vote in which the tracks have to agree at least this much:
_PROMISING = 0.3

# Decision, by agreement beyond chance (see `_agreement`). Of 2346 pairs of 69 different songs, generated and real, not
# one agrees by 0.3 along any line, at any pace, whichever of mixture and accompaniment are compared. Songs and their
# changed selves agree by at least 0.56, and mostly by more than 0.8 (`benchmarks.recognition`). Plain similarity leaves
# no such gap: it reaches 0.88 for white noises and begins at 0.90 for the same song.
THRESHOLD = 0.5
_FEWEST_FRAMES = 20  # 2.5 s in which something changes
# Frames of the second for one of the first, 1 first: of lines that agree nearly equally, the plainest is the best. In
# ten seconds one per cent is less than a frame.
_SLOPES = (1.0, *(1 + sign * halves / 200 for halves in range(1, 7) for sign in (-1, 1)))
_CLEARLY = 1.02
_CHANCE = 8.0  # frames


class Fingerprinter:
    """Takes the Chromaprint fingerprints of a track that comes in blocks: of its mixture and of its accompaniment, at
    each of the paces; holds 24 bytes for each 0.12 s of it.

    Raises InputError where the library libchromaprint is not installed. Source: Lukáš Lalinský, "How does Chromaprint
    work?" (2011), after Jang et al., "Pairwise Boosted Audio Fingerprint" (2009).
    """

    def __init__(self) -> None:
        self._chromaprint = require_library()
        self._resamplers = {
            heard: soxr.ResampleStream(SAMPLE_RATE, _RATE, 1, dtype="float32", quality="HQ")
            for heard in (MIXTURE, ACCOMPANIMENT)
        }
        self._contexts = {row: self._chromaprint.Fingerprinter() for row in ROWS}
        for (_, pace), context in self._contexts.items():
            # Audio that claims a higher rate than it has is played faster, and higher.
            context.start(round(_RATE * pace), 1)

    def feed(self, mixture: Audio, vocals: Audio) -> None:
        """Take the next blocks, both (2, frames) float32 at 44100 Hz; beyond full scale they are clipped."""
        for heard, block in ((MIXTURE, mixture), (ACCOMPANIMENT, mixture - vocals)):
            self._feed(heard, np.clip(block, -1, 1).mean(axis=0), last=False)

    def finish(self) -> Fingerprint:
        """All fingerprints of what was fed, `(6, 1 + frames)` uint32: a row for each of ROWS, sub-fingerprints of
        0.124 s each, behind the number of them that the row has; the rest of a row is zero.

        A row is empty for audio that says nothing of itself: its fingerprint has fewer than four different values, as
        that of silence and of steady sounds, which has one, and that of audio of less than about three seconds.
        """
        prints = []
        for heard in (MIXTURE, ACCOMPANIMENT):
            self._feed(heard, np.empty(0, np.float32), last=True)
        for row in ROWS:
            raw, _ = self._chromaprint.decode_fingerprint(self._contexts[row].finish())
            fingerprint = np.array(raw, dtype=np.uint32)
            prints.append(fingerprint if len(np.unique(fingerprint)) >= _FEWEST_VALUES else fingerprint[:0])
        rows = np.zeros((len(ROWS), 1 + max(map(len, prints))), np.uint32)
        for number, fingerprint in enumerate(prints):
            rows[number, 0] = len(fingerprint)
            rows[number, 1 : 1 + len(fingerprint)] = fingerprint
        return rows

    def _feed(self, heard: str, mono: npt.NDArray[np.float32], *, last: bool) -> None:
        samples = self._resamplers[heard].resample_chunk(np.ascontiguousarray(mono, dtype=np.float32), last=last)
        pcm = np.clip(np.rint(samples * np.float32(2**15)), -(2**15), 2**15 - 1).astype(np.int16).tobytes()
        for pace in PACES:
            self._contexts[heard, pace].feed(pcm)


def read_recording(path: Path) -> Fingerprint:
    """The fingerprints that `Fingerprinter.finish` gave, as they were saved (by an earlier version perhaps one row).

    Raises InputError for a file that is missing or damaged, or holds something else.
    """
    try:
        # Mapped, so that a header that promises more than there is takes no memory.
        rows = np.array(np.load(path, allow_pickle=False, mmap_mode="r"))
        counts = rows[:, 0] if rows.ndim == 2 else np.zeros(0)
        if rows.dtype != np.uint32 or rows.ndim not in (1, 2) or (counts >= max(rows.shape[-1], 1)).any():
            raise ValueError(f"an array of {rows.dtype}, shape {rows.shape}")
    except OSError as error:
        raise os_error(error, "fingerprints of a recording", file=path) from error
    except (
        ValueError,
        EOFError,
        SyntaxError,
        TypeError,
        LookupError,
        MemoryError,
        OverflowError,
        tokenize.TokenError,
    ) as error:
        raise InputError(
            "fingerprints of a recording",
            file=path,
            expected="what the preparation of its track wrote",
            found=f"a damaged file ({one_line(error)[:80]})",
            remedy="remove it; if it lies with a track's normalised audio, materialise that again",
        ) from error
    return rows


@dataclass(frozen=True)
class Match:
    """Two tracks that hold the same recording, or one of which has the other's accompaniment.

    `how` is "fingerprint" where the mixtures are the same, and "accompaniment" where only what is played is: an
    instrumental and its sung original, or two singers to one playback. `similarity` is the share of equal bits, 0..1,
    where the tracks overlap, silences and steady sounds left out, and `agreement` what of it is beyond chance;
    `offset_s` says where in `first` the beginning of `second` lies (negative: `second` begins earlier), `overlap_s` how
    much of `first` both hold, seconds to within an eighth; `rate` how many times as fast as in `first` it is in
    `second`.
    """

    first: str
    second: str
    how: str
    similarity: float
    agreement: float
    offset_s: float
    overlap_s: float
    rate: float


@dataclass(frozen=True)
class _Line:
    """Frame i of one fingerprint lies at frame `(i - start) * slope` of the other."""

    start: float
    slope: float
    agreement: float = 0.0
    similarity: float = 0.0
    overlap: int = 0

    @property
    def weight(self) -> float:
        """The most agreement in all: a loop agrees with itself at many offsets, and neighbouring ones nearly as well.

        The frames are those of the track that has fewer of them, lest a slope is preferred because it has more.
        """
        return self.agreement * self.overlap * min(1.0, self.slope)


Found = tuple[tuple[float, float], _Line]  # at which paces the two tracks agree, and along which line


def same_recordings(fingerprints: Mapping[str, Fingerprint], *, threshold: float = THRESHOLD) -> list[Match]:
    """All pairs of tracks that hold the same recording or accompaniment, sorted by name, `first < second`.

    `fingerprints` are those of `Fingerprinter` by track; a single row `(frames,)` is the mixture's at its own pace.
    Candidates are pairs that share sub-fingerprints at one offset, found by sorting; only they are compared in full,
    along lines that allow for 3 % of another tempo, and at paces that allow for 3 % of another speed. Of more than
    twenty copies of one recording each is found, though not with every other. Source: Haitsma and Kalker, "A Highly
    Robust Audio Fingerprinting System" (ISMIR 2002); the decision here is by agreement beyond chance instead of by bit
    errors.
    """
    names = sorted(fingerprints)
    tracks = [_prints(fingerprints[name]) for name in names]
    best: dict[tuple[int, int], dict[tuple[str, str], Found]] = {}
    for paces in _COMPARED:
        for first, second, at_first, at_second in _candidates(tracks, paces):
            found = best.setdefault((first, second), {})
            for a in (MIXTURE, ACCOMPANIMENT):
                for b in (MIXTURE, ACCOMPANIMENT):
                    one, other = tracks[first].get((a, paces[0])), tracks[second].get((b, paces[1]))
                    if one is None or other is None:
                        continue
                    line = _best_line(one, other, at_first, at_second)
                    before = found[a, b][1].weight if (a, b) in found else 0.0
                    if line.agreement >= threshold and line.weight > _CLEARLY * before:
                        found[a, b] = paces, line
    return [_match(names[first], names[second], found) for (first, second), found in sorted(best.items()) if found]


def _match(first: str, second: str, found: Mapping[tuple[str, str], Found]) -> Match:
    """What the lines of a pair say together.

    Two accompaniments always agree where the mixtures do. So the mixtures are the same where they agree, unless the
    mixture of one agrees even more with the accompaniment of the other: then that one has lost its singer.
    """
    same, played = (MIXTURE, MIXTURE), (ACCOMPANIMENT, ACCOMPANIMENT)
    by_agreement = sorted(found, key=lambda kind: (-found[kind][1].agreement, kind != same))
    kind = next((kind for kind in by_agreement if kind != played), played)
    if kind != same:
        kind = by_agreement[0]
    (pace, other), line = found[kind]
    return Match(
        first,
        second,
        "fingerprint" if kind == same else "accompaniment",
        line.similarity,
        line.agreement,
        line.start * FRAME_S * pace,
        line.overlap * FRAME_S * pace,
        pace / other / line.slope,
    )


def says_something(fingerprint: Fingerprint) -> bool:
    """Whether a track can be compared by its fingerprints: not all of them are empty."""
    return bool(_prints(fingerprint))


def _prints(rows: Fingerprint) -> Prints:
    """The fingerprints that say something, by what was heard and pace."""
    if rows.ndim == 1:
        return {(MIXTURE, 1.0): np.asarray(rows, dtype=np.uint32)} if len(rows) else {}
    if len(rows) != len(ROWS):
        return {}  # of a track that is gone, taken by a version that heard it otherwise: it cannot be compared
    return {name: row[1 : 1 + int(row[0])] for name, row in zip(ROWS, rows, strict=True) if row[0]}


def _candidates(tracks: Sequence[Prints], paces: tuple[float, float]) -> Iterator[tuple[int, int, int, int]]:
    """(first, second, frame of first, frame of second) that the sub-fingerprints in common vote for, the
    most votes of a pair first.

    A vote counts for the neighbouring offsets too: the frames of two copies need not begin at the same moment. The
    frames are those of one vote in the middle of its offset's.
    """
    longest = max((len(each) for prints in tracks for each in prints.values()), default=0)
    span = 2 * longest + 3
    # Vote and frame in one number, as below: 10 000 tracks of ten minutes are 10**16 of them, which fits.
    cast = np.concatenate([_votes(tracks, paces, np.uint32(part), span) for part in _PARTS])
    cast.sort()
    places = cast % span
    cast //= span
    begins = np.flatnonzero(np.diff(cast, prepend=-1))
    elections, counts = cast[begins], np.diff(begins, append=len(cast))
    votes = counts.copy()
    adjacent = np.diff(elections) == 1
    votes[1:][adjacent] += counts[:-1][adjacent]
    votes[:-1][adjacent] += counts[1:][adjacent]

    enough = votes >= _FEWEST_VOTES
    elections, votes, places = elections[enough], votes[enough], places[begins + counts // 2][enough]
    pairs = elections // span
    order = np.lexsort((-votes, pairs))
    elections, pairs, places = elections[order], pairs[order], places[order]
    rank = np.arange(len(pairs)) - np.searchsorted(pairs, pairs)
    few = rank < _TRIES
    for election, place in zip(elections[few].tolist(), places[few].tolist(), strict=True):
        pair, shifted = divmod(election, span)
        first, second = divmod(pair, len(tracks))
        yield first, second, place, place - (shifted - span // 2)


def _votes(tracks: Sequence[Prints], paces: tuple[float, float], part: np.uint32, span: int) -> npt.NDArray[np.int64]:
    """A vote for each sub-fingerprint of which two tracks have this part in common, `(votes,)`, unsorted.

    It is `(first * tracks + second) * span + offset + span // 2`, times span, plus the frame in the first track. The
    first track is heard at the first of `paces`, the second at the second. Mixture and accompaniment vote as one: they
    are equal where nobody sings. Of a value that a track has several times the first counts; otherwise a drone would
    outvote a melody.
    """
    changed = paces[0] != paces[1]
    voters: list[int] = []
    prints: list[Fingerprint] = []
    for track, heard in enumerate(tracks):
        for own, at in ((0, paces[1]), (1, paces[0]))[: 1 + changed]:
            for what in (MIXTURE, ACCOMPANIMENT):
                if (each := heard.get((what, at))) is not None:
                    voters.append(2 * track + own)
                    prints.append(each)
    lengths = [len(each) for each in prints]
    # Value and place in one number: sorting these is several times as fast as sorting one by the other.
    everywhere = np.concatenate([np.empty(0, np.uint32), *prints]) & part
    index = np.sort(everywhere.astype(np.uint64) << np.uint64(32) | np.arange(len(everywhere), dtype=np.uint64))
    values, order = index >> np.uint64(32), (index & np.uint64(2**32 - 1)).astype(np.int64)
    owners = np.repeat(np.asarray(voters, dtype=np.int64), lengths)[order]
    places = np.concatenate([np.empty(0, np.int64), *map(np.arange, lengths)])[order]
    again = np.zeros(len(values), dtype=bool)
    again[1:] = (values[1:] == values[:-1]) & (owners[1:] == owners[:-1])
    values, owners, places = values[~again], owners[~again], places[~again]

    votes = [np.empty(0, np.int64)]
    tracks_of = owners // 2
    for apart in range(1, _NEAREST * (1 + changed)):
        one = np.flatnonzero(values[apart:] == values[:-apart])
        if not len(one):
            break
        other = one + apart
        if changed:  # the earlier track has to be the one at another pace
            one, other = (each[(owners[one] % 2 == 1) & (owners[other] % 2 == 0)] for each in (one, other))
        vote = (tracks_of[one] * len(tracks) + tracks_of[other]) * span + places[one] - places[other] + span // 2
        votes.append(vote * span + places[one])
    return np.concatenate(votes)


def _best_line(first: Fingerprint, second: Fingerprint, at_first: int, at_second: int) -> _Line:
    """The line through about these frames along which the fingerprints agree the most in all.

    Looks around the frames first, for most candidates end there, then along lines of all slopes, then at ever smaller
    differences from the best one.
    """
    near = slice(max(0, at_first - _AROUND), at_first + _AROUND + 1)
    if _along(first, second, _Line(at_first - at_second, 1.0), near).agreement < _PROMISING:
        return _Line(0, 1.0)
    best, *others = (_through(first, second, at_first, at_second, slope) for slope in _SLOPES)
    steepest = max(others, key=lambda it: it.weight)
    # In a few seconds a slope of some per cent is less than a frame, and agrees better by chance alone.
    clearly = max(_CLEARLY, 1 + _CHANCE / max(best.overlap, 1))
    if best.weight * clearly >= steepest.weight and best.agreement >= THRESHOLD:
        return best
    best = max(best, steepest, key=lambda it: it.weight)
    shift, step = 1.0, 0.0025
    while step * len(first) > 0.5 and best.agreement > _PROMISING / 2:
        tries = [
            _through(first, second, at_first, at_second + moved, best.slope + turned)
            for turned in (-step, 0.0, step)
            for moved in ((-shift, 0.0, shift) if step < 0.002 else (0.0,))
        ]
        best = max([best, *tries], key=lambda it: it.weight)
        step /= 2
    return best


def _through(first: Fingerprint, second: Fingerprint, at_first: float, at_second: float, slope: float) -> _Line:
    return _along(first, second, _Line(at_first - at_second / slope, slope), slice(None))


def _along(first: Fingerprint, second: Fingerprint, line: _Line, part: slice) -> _Line:
    """`line` with the agreement of the frames of `first[part]` along it.

    Frames in which neither changes are left out: all silences are equal. Zero where too few are left.
    """
    frames = np.arange(len(first))[part]
    others = np.rint((frames - line.start) * line.slope).astype(np.int64)
    inside = (others >= 0) & (others < len(second))
    a, b = first[frames[inside]], second[others[inside]]
    overlap = len(a)
    changes = np.ones(overlap, dtype=bool)
    changes[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    if np.count_nonzero(changes) < _FEWEST_FRAMES:
        return _Line(line.start, line.slope, overlap=overlap)
    agreement, similarity = _agreement(a[changes], b[changes])
    return _Line(line.start, line.slope, agreement, similarity, overlap)


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
