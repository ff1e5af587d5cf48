"""Songs cut as they used to be and as they are now: how far from the uncut song, and at two levels.

`python -m benchmarks.context CHECKPOINT --songs DIR --work DIR`: DIR has a folder for each song with the files
`vocals.*` and `accompaniment.*`, or `mixture.*` in its place. The middle of every song is separated at once, which is
what all sides are compared with, and then

- as validation did: in chunks of 3 s, one after the other;
- as `isolate` did: in chunks of 20 s that overlap by 2 s and are cross-faded over them;
- so, but cut where the uncut song has a frame of the STFT;
- as everything does now: in chunks of 20 s with a context on either side, of several lengths.

The earlier sides give the network what comes, the present one leaves the level at the door. Songs come at the level of
the training (0 dB) and 20 dB below it. What a side costs is how much music the network hears for a second of a song.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import arguments, tell
from data import audio
from data.audio import SAMPLE_RATE, Audio
from models.checkpoint import load_checkpoint, load_separator
from models.context import LENGTHS, in_words, measure_context
from models.level import level_of_song
from models.metrics import usdr
from models.separate import Separator, separate

QUIET = 0.1  # -20 dB
BEFORE = "isolate before: 20 s, 2 s cross-faded"


def _butted(separator: Separator, mixture: Audio) -> Audio:
    chunk = 3 * SAMPLE_RATE
    starts = range(0, mixture.shape[1], chunk)
    return np.concatenate([separator(mixture[:, start : start + chunk]) for start in starts], axis=1)


def _cross_faded(separator: Separator, mixture: Audio, hop: int = 1) -> Audio:
    chunk, overlap = (seconds * SAMPLE_RATE // hop * hop for seconds in (20, 2))
    frames = mixture.shape[1]
    vocals = np.zeros_like(mixture)
    for start in range(0, max(frames - overlap, 1), chunk - overlap):
        piece = separator(mixture[:, start : start + chunk])
        weight = np.minimum(np.arange(1, piece.shape[1] + 1) / (overlap + 1), 1) if start else np.ones(piece.shape[1])
        stretch = vocals[:, start : start + chunk]
        vocals[:, start : start + chunk] = stretch + weight.astype(np.float32) * (piece - stretch)
    return vocals


def _songs(folder: Path, seconds: float) -> list[tuple[Audio, Audio]]:
    """Mixture (at level 1) and vocals `(2, frames)` from the middle of every song in which somebody sings."""
    songs = []
    for song in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        files = {file.stem: file for file in song.iterdir()}
        vocals = audio.read(files["vocals"])[0]
        if "mixture" in files:
            mixture = audio.read(files["mixture"])[0]
        else:
            mixture = vocals + audio.read(files["accompaniment"])[0]
        frames = min(round(seconds * SAMPLE_RATE), vocals.shape[1])
        start = (vocals.shape[1] - frames) // 2
        vocals, mixture = (each[:, start : start + frames] for each in (vocals, mixture))
        level = level_of_song([mixture])
        if vocals.any():  # without any there is no uSDR
            songs.append((mixture / level, vocals / level))
    return songs


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--songs", type=Path, required=True, help="folders with vocals.* and accompaniment.*")
    parser.add_argument("--seconds", type=float, default=100.0, help="of each song, from its middle")
    options = parser.parse_args()
    songs, loaded = _songs(options.songs, options.seconds), load_checkpoint(options.checkpoint)
    separator, earlier = (load_separator(options.checkpoint) for _ in range(2))
    earlier.network.normalises = False

    def now(seconds: float) -> Callable[[Audio], Audio]:
        fitted = Separator(separator.network, loaded.candidate, separator.device, context_seconds=seconds)
        return lambda mixture: separate(fitted, mixture)

    sides: dict[str, Callable[[Audio], Audio]] = {
        "validation before: 3 s, butted": lambda mixture: _butted(earlier, mixture),
        BEFORE: lambda mixture: _cross_faded(earlier, mixture),
        "the same, cut at whole hops": lambda mixture: _cross_faded(earlier, mixture, separator.hop),
        **{f"now: 20 s, context {seconds:g} s": now(seconds) for seconds in (0.0, *LENGTHS)},
    }
    wholes = [separator(mixture) for mixture, _ in songs]
    heard = 0

    def count(_: object, given: tuple[Any, ...]) -> None:
        nonlocal heard
        heard += given[0].shape[0] * given[0].shape[-1]

    for network in (separator.network, earlier.network):
        network.register_forward_pre_hook(count)
    rows, result = [], {}
    for name, side in sides.items():
        heard = 0
        found = [side(mixture) for mixture, _ in songs]
        cost = heard / sum(mixture.shape[1] for mixture, _ in songs)
        apart = [_db(np.square(vocals - whole), np.square(whole)) for vocals, whole in zip(found, wholes, strict=True)]
        loud = np.mean([usdr(vocals, estimate) for (_, vocals), estimate in zip(songs, found, strict=True)])
        quiet = np.mean([usdr(QUIET * vocals, side(QUIET * mixture)) for mixture, vocals in songs])
        result[name] = {
            "split_vs_whole_db": apart,
            "usdr_db": float(loud),
            "usdr_quiet_db": float(quiet),
            "heard": cost,
        }
        rows.append(
            [name, f"{np.median(apart):.1f}", f"{max(apart):.1f}", f"{loud:.3f}", f"{quiet:.3f}", f"{cost:.2f}"]
        )
    measured = measure_context(separator, [mixture for mixture, _ in songs])
    before, after = (
        result[BEFORE],
        result[f"now: 20 s, context {measured.seconds:g} s"],
    )
    tell(
        f"{loaded.candidate.name} on {len(songs)} songs",
        ["side", "split against whole, dB: median", "worst song", "uSDR at 0 dB", "uSDR at -20 dB", "heard"],
        rows,
        f"ratio: {in_words(measured)} in the middle of these songs; worst song "
        f"{max(after['split_vs_whole_db']):.1f} dB against "
        f"{max(before['split_vs_whole_db']):.1f}; 20 dB cost {after['usdr_db'] - after['usdr_quiet_db']:.3f} dB uSDR "
        f"against {before['usdr_db'] - before['usdr_quiet_db']:.3f}; "
        f"{after['heard'] / before['heard']:.2f} times the work",
        result,
        options.json,
    )


def _db(error: Audio, signal: Audio) -> float:
    return float(10 * np.log10(max(error.sum(dtype=np.float64), 1e-20) / max(signal.sum(dtype=np.float64), 1e-20)))


if __name__ == "__main__":
    main()
