"""Which changes of a recording are recognised, and whether any two different songs are taken for the same.

Generated songs have their vocals apart, so that they can be sung again or left out; songs in a folder may have theirs
as `vocals` and `accompaniment` files of any kind, and whatever else lies there is a song without known vocals.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy import signal

from benchmarks import reporting
from data import audio
from data.audio import SAMPLE_RATE, Audio
from data.demo.mixing import record
from data.demo.voice import draw_singer
from data.normalise import canonical_blocks
from data.recognition import THRESHOLD, Fingerprint, Fingerprinter, Match, same_recordings

TITLE = "recognition: the same recording, changed"
GENERATED_S = 24.0
SONG_S = 40  # what is taken of a song of the folder, seconds
LOOKED_DOWN_TO = 0.3  # agreement from which on pairs of different songs are told, below the threshold

Song = tuple[Audio, Audio]  # mixture, vocals
Change = Callable[[Audio, Audio, Audio], Song]  # mixture, vocals, and another song's vocals


def fingerprint(song: Song) -> Fingerprint:
    """The fingerprints of mixture and vocals, `(2, frames)` both, fed in seconds."""
    fingerprinter = Fingerprinter()
    for start in range(0, song[0].shape[1], SAMPLE_RATE):
        fingerprinter.feed(*(each[:, start : start + SAMPLE_RATE] for each in song))
    return fingerprinter.finish()


def generated(count: int, seed: int) -> Iterator[tuple[str, Song]]:
    """Songs that have chords, instruments and, two each, a singer in common."""
    for number in range(count):
        singer = draw_singer(np.random.default_rng([seed, 7, number // 2]), female=number % 4 < 2)
        made = record(np.random.default_rng([seed, 5, number]), GENERATED_S, singers=[singer])
        yield f"generated {number:03d}", (made.mixture, made.source("vocals"))


def found_in(folder: Path) -> Iterator[tuple[str, Song]]:
    """The songs of a folder, the first 40 s of each: vocals and accompaniment of a subfolder, or a file alone."""
    for place in sorted(path for path in [folder, *folder.rglob("*")] if path.is_dir()):
        files = {
            path.stem: path for path in sorted(place.iterdir()) if path.suffix in {".ogg", ".flac", ".wav", ".mp3"}
        }
        if {"vocals", "accompaniment"} <= files.keys():
            vocals, rest = _excerpt(files.pop("vocals")), _excerpt(files.pop("accompaniment"))
            frames = min(vocals.shape[1], rest.shape[1])
            yield str(place.relative_to(folder)), ((vocals + rest)[:, :frames], vocals[:, :frames])
        elif "song" in files and "guitar" in files:  # the guitar of Frets on Fire takes the place of the voice
            lead, rest = _excerpt(files.pop("guitar")), _excerpt(files.pop("song"))
            files.clear()
            frames = min(lead.shape[1], rest.shape[1])
            yield str(place.relative_to(folder)), (lead[:, :frames] + rest[:, :frames], lead[:, :frames])
        else:
            for path in files.values():
                mixture = _excerpt(path)
                yield str(path.relative_to(folder)), (mixture, np.zeros_like(mixture))


def _excerpt(path: Path) -> Audio:
    seconds = itertools.islice(canonical_blocks(path), SONG_S)
    return np.concatenate([np.zeros((2, 0), np.float32), *seconds], axis=1)


def through_ffmpeg(samples: Audio, *options: str, kind: str = "wav") -> Audio:
    """`samples` as ffmpeg makes them with these options, by way of a file of that kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        audio.write(folder / "plain.wav", samples, subtype="FLOAT")
        command = [audio.require_program("ffmpeg"), "-v", "error", "-i", folder / "plain.wav", *options]
        subprocess.run([*command, folder / f"changed.{kind}"], check=True)
        audio.decode_to(folder / f"changed.{kind}", folder / "decoded.wav")
        return audio.read(folder / "decoded.wav")[0]


def _both(change: Callable[[Audio], Audio], mixture: Audio, vocals: Audio, _: Audio) -> Song:
    """The mixture changed, and vocals that are changed alike."""
    changed, sung = change(mixture), change(vocals)
    frames = min(changed.shape[1], sung.shape[1])
    return changed[:, :frames], sung[:, :frames]


def _sung(decibels: float, mixture: Audio, vocals: Audio, _: Audio) -> Song:
    quieter = np.float32(10 ** (decibels / 20)) * vocals
    return mixture - vocals + quieter, quieter


def _other_singer(mixture: Audio, vocals: Audio, others: Audio) -> Song:
    sung = np.resize(others[0], mixture.shape[1])[None].repeat(2, axis=0) if others.shape[1] else others
    return mixture - vocals + sung, sung


def _tilted(samples: Audio) -> Audio:
    low = signal.lfilter(*signal.butter(1, 1000, fs=SAMPLE_RATE), samples)
    return np.asarray(1.26 * low + 0.79 * (samples - low), dtype=np.float32)


def _tempo(rate: float, samples: Audio) -> Audio:
    return through_ffmpeg(samples, "-af", f"atempo={rate}", "-c:a", "pcm_f32le")


def _speed(rate: float, samples: Audio) -> Audio:
    return through_ffmpeg(
        samples, "-af", f"asetrate={round(SAMPLE_RATE * rate)},aresample={SAMPLE_RATE}", "-c:a", "pcm_f32le"
    )


def _several(samples: Audio) -> Audio:
    trimmed = np.tanh(2 * _tilted(samples[:, round(2.1 * SAMPLE_RATE) :]))
    return through_ffmpeg(trimmed.astype(np.float32), "-b:a", "128k", kind="m4a")


CHANGES: dict[str, Change] = {
    "gain -9 dB": partial(_both, lambda samples: samples * np.float32(0.355)),
    "mp3 96 kbit/s": partial(_both, partial(lambda samples: through_ffmpeg(samples, "-b:a", "96k", kind="mp3"))),
    "AAC 128 kbit/s": partial(_both, lambda samples: through_ffmpeg(samples, "-b:a", "128k", kind="m4a")),
    "tilted by 4 dB": partial(_both, _tilted),
    "begun 3.7 s later": partial(_both, lambda samples: samples[:, round(3.7 * SAMPLE_RATE) :]),
    "12 s of it": partial(_both, lambda samples: samples[:, 4 * SAMPLE_RATE : 16 * SAMPLE_RATE]),
    "channels reversed": partial(_both, lambda samples: samples[::-1]),
    "left channel alone": partial(_both, lambda samples: samples[:1].repeat(2, axis=0)),
    "vocals -3 dB": partial(_sung, -3.0),
    "vocals -6 dB": partial(_sung, -6.0),
    "no vocals": partial(_sung, -np.inf),
    "another singer": _other_singer,
    **{
        f"tempo {percent:+d} %": partial(_both, partial(_tempo, 1 + percent / 100)) for percent in (-3, -2, -1, 1, 2, 3)
    },
    **{
        f"speed {percent:+d} %": partial(_both, partial(_speed, 1 + percent / 100)) for percent in (-3, -2, -1, 1, 2, 3)
    },
    "speed +1.5 %": partial(_both, partial(_speed, 1.015)),
    "several at once": partial(_both, _several),
    "several, speed +2 %": partial(_both, lambda samples: _several(_speed(1.02, samples))),
    "several, tempo +2 %, no vocals": lambda mixture, vocals, _: (
        _several(_tempo(1.02, mixture - vocals)),
        np.zeros((2, 0), np.float32),
    ),
}
SINGING = {"vocals -3 dB", "vocals -6 dB", "no vocals", "another singer", "several, tempo +2 %, no vocals"}


def main() -> None:
    parser = reporting.arguments(__doc__)
    parser.add_argument("--songs", type=Path, help="folder of songs to be compared besides the generated ones")
    parser.add_argument("--generated", type=int, default=40, help="how many songs are generated")
    parser.add_argument("--changed", type=int, default=6, help="how many of the songs of each kind are changed")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()

    songs = list(generated(asked.generated, asked.seed))
    prints = {name: fingerprint(song) for name, song in songs}
    changed = songs[: asked.changed]
    if asked.songs:
        real = []
        for name, song in found_in(asked.songs):
            prints[name] = fingerprint(song)
            real.append((name, song)) if len(real) < asked.changed else None
        changed += real

    pairs = len(prints) * (len(prints) - 1) // 2
    different = same_recordings(prints, threshold=LOOKED_DOWN_TO)
    nearest = sorted(different, key=lambda match: -match.agreement)[:5]
    false = sum(match.agreement >= THRESHOLD for match in different)

    verdict = (
        f"false matches: {false} of {pairs} pairs of {len(prints)} different songs; "
        + (
            ", ".join(f"{match.agreement:.3f} ({match.first}, {match.second}, {match.how})" for match in nearest)
            or "none"
        )
        + f" that agree by {LOOKED_DOWN_TO} along any line that was tried"
    )
    print(verdict, flush=True)

    rows = []
    for name, change in CHANGES.items():
        tried, hows, agreements, missed = 0, [], [], []
        for (song, (mixture, vocals)), (_, (_, others)) in zip(changed, [*changed[1:], changed[0]], strict=True):
            if name in SINGING and not np.any(vocals):
                continue
            tried += 1
            match = _found(prints[song], fingerprint(_padded(change(mixture, vocals, others))))
            (missed if match is None or match.agreement < THRESHOLD else hows).append(match and match.how)
            agreements.append(match.agreement if match else 0.0)
        kinds = ", ".join(f"{hows.count(how)} by {how}" for how in sorted({how for how in hows if how}))
        rows.append(
            [
                name,
                f"{len(hows)} of {tried}",
                kinds,
                f"{min(agreements, default=0.0):.2f}",
                f"{np.median(agreements):.2f}",
            ]
        )
        print(*rows[-1], flush=True)
    reporting.tell(
        TITLE,
        ["change", "found", "how", "least agreement", "median"],
        rows,
        verdict,
        {"found": rows, "false": false, "pairs": pairs, "nearest": [match.agreement for match in nearest]},
        asked.json,
    )


def _padded(song: Song) -> Song:
    mixture, vocals = song
    return mixture, np.pad(vocals, ((0, 0), (0, mixture.shape[1] - vocals.shape[1])))


def _found(original: Fingerprint, changed: Fingerprint) -> Match | None:
    matches = same_recordings({"a": original, "b": changed}, threshold=LOOKED_DOWN_TO)
    return matches[0] if matches else None


if __name__ == "__main__":
    main()
