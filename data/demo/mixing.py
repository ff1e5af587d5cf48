"""The mixing desk: dry parts become stereo stems with a place in the picture, a room, and levels.

What is played belongs to `music`, how it sounds to `instruments` and `voice`, which files it becomes to `corpus`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.audio import SAMPLE_RATE, Audio
from data.demo.instruments import convolve, drum, play
from data.demo.music import ROLES, compose
from data.demo.voice import Singer, sing

PEAK = 0.89  # of the mixture: -1 dBFS
_BASSES = ("electric bass", "synth bass")


@dataclass(frozen=True)
class Recording:
    """A mixed song: stereo stems `(2, frames)` in the order of their names, whose plain sum is the mixture.

    `groups` says which of MUSDB18's four sources each stem belongs to: drums, bass, other or vocals.
    """

    instruments: tuple[str, ...]
    groups: tuple[str, ...]
    stems: tuple[Audio, ...]

    @property
    def mixture(self) -> Audio:
        return np.sum(self.stems, axis=0, dtype=np.float32)

    def source(self, group: str) -> Audio:
        """The sum of one group's stems, silence where it has none."""
        chosen = [stem for stem, of in zip(self.stems, self.groups, strict=True) if of == group]
        return np.sum(chosen, axis=0, dtype=np.float32) if chosen else np.zeros_like(self.stems[0])


def record(
    rng: np.random.Generator, seconds: float, *, singers: Sequence[Singer], harmonies: Sequence[int] = ()
) -> Recording:
    """Compose, play and mix `seconds` of music.

    The first singer leads; each of `harmonies` (scale degrees above the lead) is sung by the singers in turn. Without
    singers the melody is played by an instrument. The mixture peaks at -1 dBFS; vocals lie 6 dB below to 1 dB above
    the accompaniment.
    """
    frames = round(seconds * SAMPLE_RATE)
    names = sorted(ROLES)
    band = tuple(names[i] for i in rng.choice(len(names), size=int(rng.integers(2, 4)), replace=False))
    centre = singers[0].centre if singers else None
    song = compose(rng, seconds, centre=centre, instruments=band, harmonies=tuple(harmonies))
    room = _room(rng, float(rng.uniform(0.5, 1.6)))

    parts: list[tuple[str, str, Audio]] = []
    kit = drum(song.drums, frames, rng)
    places = {
        "kick drum": 0.0,
        "snare drum": float(rng.uniform(-0.15, 0.15)),
        "overheads": float(rng.uniform(-0.4, 0.4)),
    }
    drums = np.stack([_place(track, places[name]) for name, track in kit.items()]).sum(axis=0)
    parts.append(("drum set", "drums", _reverberant(drums, room, 0.06)))
    bass = _BASSES[int(rng.integers(len(_BASSES)))]
    parts.append(
        (
            "electric bass" if bass == "electric bass" else "synthesizer",
            "bass",
            _place(play(bass, song.bass, frames, rng), 0.0),
        )
    )
    for instrument, place in zip(band, rng.permutation(np.linspace(-0.7, 0.7, len(band))), strict=True):
        dry = play(instrument, song.parts[instrument], frames, rng)
        parts.append(
            (instrument, "other", _reverberant(_place(dry, float(place)), room, float(rng.uniform(0.05, 0.2))))
        )
    if singers:
        wet = float(rng.uniform(0.04, 0.16))
        lead = _place(sing(singers[0], song.lead, frames, rng), float(rng.uniform(-0.12, 0.12)))
        label = "female singer" if singers[0].female else "male singer"
        parts.append((label, "vocals", _reverberant(lead, room, wet)))
        for number, above in enumerate(harmonies, start=1):
            dry = sing(singers[number % len(singers)], song.harmonies[above], frames, rng)
            place = 0.45 * (-1) ** number * (0.6 + 0.4 * number / len(harmonies))
            parts.append(("vocalists", "vocals", 0.6 * _reverberant(_place(dry, place), room, 1.5 * wet)))
    return _balanced(parts, rng)


def _balanced(parts: list[tuple[str, str, Audio]], rng: np.random.Generator) -> Recording:
    """Set the groups' levels against each other, then all of them so that the mixture peaks at PEAK."""
    instruments, groups, stems = zip(*parts, strict=True)
    level = {"drums": rng.uniform(-3, 1), "bass": rng.uniform(-4, 0), "other": rng.uniform(-3, 1)}
    mixed = Recording(instruments, groups, stems)
    gains = {group: 10 ** (decibel / 20) / (_rms(mixed.source(group)) or 1.0) for group, decibel in level.items()}
    accompaniment = np.stack([gains[group] * mixed.source(group) for group in level]).sum(axis=0)
    if "vocals" in groups:
        # Where the voice sings, for pauses would make a sparse singer shout.
        vocals = mixed.source("vocals")
        sung = np.abs(vocals).max(axis=0) > 0.01
        below = rng.uniform(-6, 1)
        against = _rms(accompaniment[:, sung]) or 1.0
        gains["vocals"] = 10 ** (below / 20) * against / (_rms(vocals[:, sung]) or 1.0)
    scaled = [np.float32(gains[group]) * stem for group, stem in zip(groups, stems, strict=True)]
    # A first stroke is far louder than all the rest: a soft knee on the drums keeps the song loud, as in any mix.
    loud = np.float32(3.0 * _rms(np.sum(scaled, axis=0)))
    scaled = [
        loud * np.tanh(stem / loud) if group == "drums" else stem for group, stem in zip(groups, scaled, strict=True)
    ]
    peak = float(np.abs(np.sum(scaled, axis=0)).max()) or 1.0
    return Recording(instruments, groups, tuple(np.asarray(PEAK / peak * stem, dtype=np.float32) for stem in scaled))


def _place(mono: Audio, place: float) -> Audio:
    """Stereo `(2, frames)` at `place` from -1 (left) to 1 (right), of constant power."""
    angle = (place + 1) * np.pi / 4
    gains = np.array([[np.cos(angle)], [np.sin(angle)]], dtype=np.float32)
    return gains * mono * np.float32(np.sqrt(2))


def _room(rng: np.random.Generator, seconds: float) -> Audio:
    """A stereo impulse response `(2, frames)` of unit energy: noise that dies away within `seconds` (60 dB)."""
    time = np.arange(int(seconds * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    noise = rng.standard_normal((2, len(time)), dtype=np.float32) * np.exp(-6.9 * time / seconds)
    noise[:, : int(0.012 * SAMPLE_RATE)] = 0  # the first wall is four metres away
    return np.asarray(noise / np.sqrt(np.sum(noise**2) / 2), dtype=np.float32)


def _reverberant(stereo: Audio, room: Audio, share: float) -> Audio:
    """`stereo` with an answer of the room beside it; the two sides answer differently."""
    return np.asarray(stereo + np.float32(share) * convolve(stereo, room), dtype=np.float32)


def _rms(signal: Audio) -> float:
    return float(np.sqrt(np.mean(np.square(signal, dtype=np.float64)))) if signal.size else 0.0
