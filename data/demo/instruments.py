"""The band: drums, bass, plucked strings, keys, strings and winds, each note from a physical or spectral recipe.

Every player returns dry mono float32 `(frames,)`; places in the stereo picture, reverb and levels belong to `mixing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from data.audio import SAMPLE_RATE
from data.demo.music import Hit, Note

Audio = npt.NDArray[Any]  # float32 where it leaves this module; recipes compute in either precision

_TABLE = 4096


def play(instrument: str, notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    """Play `notes` on an instrument of music.ROLES, or on "electric bass" or "synth bass"."""
    return _PLAYERS[instrument](notes, frames, rng)


def drum(hits: Sequence[Hit], frames: int, rng: np.random.Generator) -> dict[str, Audio]:
    """Play a drum kit built for this song. Returns the close microphones: kick drum, snare drum, overheads."""
    kit = _Kit(rng)
    tracks = {name: np.zeros(frames, dtype=np.float32) for name in ("kick drum", "snare drum", "overheads")}
    for hit in hits:
        microphone = {"kick": "kick drum", "snare": "snare drum"}.get(hit.drum, "overheads")
        strokes = kit.strokes[hit.drum]
        _add(tracks[microphone], strokes[int(rng.integers(len(strokes)))] * np.float32(hit.loudness), hit.start)
    return tracks


def convolve(signal: Audio, response: Audio) -> Audio:
    """Convolve along the last axis and keep the length of `signal`; shapes `(..., frames)`."""
    size = fft.next_fast_len(signal.shape[-1] + response.shape[-1] - 1, real=True)
    product = fft.rfft(signal, size) * fft.rfft(response, size)
    return np.asarray(fft.irfft(product, size)[..., : signal.shape[-1]], dtype=np.float32)


def equalise(signal: Audio, curve: Callable[[Audio], Audio]) -> Audio:
    """Scale the spectrum of `(..., frames)` by `curve(hertz)`."""
    frames = signal.shape[-1]
    size = fft.next_fast_len(frames + SAMPLE_RATE // 10, real=True)
    hertz = np.maximum(np.arange(size // 2 + 1) * (SAMPLE_RATE / size), 1.0).astype(np.float32)
    return np.asarray(fft.irfft(fft.rfft(signal, size) * curve(hertz), size)[..., :frames], dtype=np.float32)


def _add(track: Audio, sound: Audio, start: float) -> None:
    first = round(start * SAMPLE_RATE)
    room = max(0, min(len(sound), len(track) - first))
    track[first : first + room] += sound[:room]


def _hertz(pitch: float) -> float:
    return float(440 * 2 ** ((pitch - 69) / 12))


def _decaying(frequencies: Audio, amplitudes: Audio, decays: Audio, seconds: float) -> Audio:
    """A sum of exponentially decaying partials; `decays` in 1/s, `seconds` of sound.

    The powers z^n of each partial factor into z^(Bp) z^q, so that the sum over partials is one small matrix product
    in place of a sine for each sample.
    """
    length = max(2, int(seconds * SAMPLE_RATE))
    block = int(np.sqrt(length)) + 1
    exponents = (2j * np.pi * frequencies - decays) / SAMPLE_RATE
    coarse = amplitudes * np.exp(np.arange(0, length, block)[:, None] * exponents)
    fine = np.exp(exponents[:, None] * np.arange(block))
    rows = np.concatenate((coarse.real, coarse.imag), axis=1).astype(np.float32)
    columns = np.concatenate((fine.imag, fine.real), axis=0).astype(np.float32)
    return np.asarray((rows @ columns).reshape(-1)[:length], dtype=np.float32)


def _released(sound: Audio, seconds: float, release: float) -> Audio:
    """Cut a note after `seconds` with a fade of `release` seconds, and start it without a click."""
    sound = sound[: int((seconds + release) * SAMPLE_RATE)].copy()
    fade = min(len(sound), int(release * SAMPLE_RATE))
    sound[len(sound) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32) ** 2
    rise = min(len(sound), 64)
    sound[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    return sound


def _partials(pitch: int, limit: float, most: int, stiffness: float = 0.0) -> tuple[Audio, Audio]:
    """Numbers and frequencies in Hz of the partials below `limit` Hz; stiff strings stretch them."""
    number = np.arange(1, most + 1, dtype=np.float32)
    hertz = _hertz(pitch) * number * np.sqrt(1 + stiffness * number**2)
    return number[hertz < limit], hertz[hertz < limit].astype(np.float32)


def _notewise(
    notes: Sequence[Note], frames: int, release: float, sound: Callable[[int, float], Audio], longest: float
) -> Audio:
    """Render each pitch once, as long as any note needs it, and lay the notes down."""
    track = np.zeros(frames, dtype=np.float32)
    needed: dict[int, float] = {}
    for note in notes:
        needed[note.pitch] = max(needed.get(note.pitch, 0.0), min(longest, note.seconds + release))
    sounds = {pitch: sound(pitch, seconds) for pitch, seconds in needed.items()}
    for note in notes:
        _add(track, _released(sounds[note.pitch], note.seconds, release) * np.float32(note.loudness), note.start)
    return track


def _pluck(position: float, damping: float, bright: float, limit: float = 9000.0) -> Callable[[int, float], Audio]:
    """A string plucked at `position` of its length; upper partials die sooner."""

    def sound(pitch: int, seconds: float) -> Audio:
        number, hertz = _partials(pitch, limit, 40, 2e-5)
        amplitudes = np.sin(np.pi * number * position) / number**bright
        return _decaying(hertz, amplitudes, damping * (1 + 0.12 * number + (hertz / 3000) ** 2), seconds)

    return sound


def _acoustic_guitar(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    dry = _notewise(notes, frames, 0.12, _pluck(rng.uniform(0.12, 0.25), 1.6, 0.9), 2.5)
    body = rng.uniform(95, 120)  # Hz, the air in the box
    return equalise(dry, lambda hertz: 0.7 + 0.8 * np.exp(-(np.log2(hertz / body) ** 2) * 2) + 0.3 * (hertz > 2000))


def _clean_guitar(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    dry = _notewise(notes, frames, 0.15, _pluck(rng.uniform(0.08, 0.2), 1.1, 1.0, 6000), 2.5)
    rate, seconds = rng.uniform(3, 6), np.arange(frames, dtype=np.float32) / SAMPLE_RATE
    return np.asarray(dry * (1 + 0.25 * np.sin(2 * np.pi * rate * seconds)), dtype=np.float32)  # tremolo


def _distorted_guitar(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    dry = _notewise(notes, frames, 0.06, _pluck(rng.uniform(0.1, 0.2), 0.7, 1.0, 4000), 4.0)
    driven = np.tanh(dry * np.float32(rng.uniform(4, 9)))
    # The loudspeaker of a guitar amplifier: nothing below 90 Hz, nothing above 5 kHz, a bump at 2.5 kHz.
    return 0.5 * equalise(
        driven,
        lambda hertz: (
            (1 + 0.8 * np.exp(-((hertz / 2500 - 1) ** 2) * 4)) / (1 + (hertz / 4200) ** 6) / (1 + (90 / hertz) ** 4)
        ),
    )


def _piano(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    detune = rng.uniform(0.0004, 0.0009)

    def sound(pitch: int, seconds: float) -> Audio:
        number, hertz = _partials(pitch, 9000, 32, 4e-4)
        amplitudes = np.abs(np.sin(np.pi * number * 0.12)) * np.exp(-0.12 * number) * 1.6
        decays = (0.5 + hertz / 900) * 0.9
        # Two strings a hair apart, one of which goes on singing.
        both = [hertz, hertz * (1 + detune)], [amplitudes, amplitudes * 0.6], [decays * 1.6, decays * 0.45]
        first, second, third = (np.concatenate(pair).astype(np.float32) for pair in both)
        return _decaying(first, second, third, seconds)

    return _notewise(notes, frames, 0.18, sound, 4.0)


def _electric_piano(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    ratio, index = (14.0, 0.5) if rng.random() < 0.5 else (1.0, 1.6)

    def sound(pitch: int, seconds: float) -> Audio:
        time = np.arange(int(seconds * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
        phase = 2 * np.pi * _hertz(pitch) * time
        strike = np.sin(phase * ratio) * np.exp(-time * (9 if ratio > 2 else 2.5)) * index
        return np.asarray(np.sin(phase + strike) * np.exp(-1.3 * time), dtype=np.float32)

    return _notewise(notes, frames, 0.15, sound, 3.0)


def _organ(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    drawbars = rng.uniform(0.1, 1.0, 9) * np.array((0.5, 0.5, 1, 0.8, 0.6, 0.4, 0.4, 0.3, 0.3))
    numbers = np.array((0.5, 1.5, 1, 2, 3, 4, 5, 6, 8))

    def sound(pitch: int, seconds: float) -> Audio:
        still = np.zeros(9)
        return 0.4 * _decaying(_hertz(pitch) * numbers, drawbars, still, seconds)

    track = _notewise(notes, frames, 0.06, sound, 8.0)
    seconds = np.arange(frames, dtype=np.float32) / SAMPLE_RATE
    return np.asarray(track * (1 + 0.15 * np.sin(2 * np.pi * rng.uniform(5.5, 6.8) * seconds)), dtype=np.float32)


def _string_section(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    cutoff = rng.uniform(1400, 3000)
    spread = rng.normal(0, 0.0035, 5)

    def sound(pitch: int, seconds: float) -> Audio:
        number, hertz = _partials(pitch, 9000, 30)
        amplitudes = 0.25 / number / (1 + (hertz / cutoff) ** 2)
        players = (hertz[None] * (1 + spread[:, None])).reshape(-1).astype(np.float32)
        phases = np.exp(2j * np.pi * rng.random(len(players)))
        still = np.zeros(len(players), dtype=np.float32)
        return _decaying(players, np.tile(amplitudes, 5) * phases, still, seconds)

    track = np.zeros(frames, dtype=np.float32)
    plain = {pitch: sound(pitch, max(n.seconds for n in notes) + 0.4) for pitch in sorted({n.pitch for n in notes})}
    for note in notes:
        bowed = _released(plain[note.pitch], note.seconds, 0.35)
        rise = min(len(bowed), int(0.18 * SAMPLE_RATE))
        bowed[:rise] *= np.sin(np.linspace(0, np.pi / 2, rise, dtype=np.float32)) ** 2
        _add(track, bowed * np.float32(note.loudness), note.start)
    return track


def _synthesizer(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    square = rng.random() < 0.5
    close = rng.uniform(1.0, 3.0)

    def sound(pitch: int, seconds: float) -> Audio:
        number, hertz = _partials(pitch, 10000, 48)
        amplitudes = 0.6 / number * (number % 2 if square else 1)
        # A filter that closes is a decay that grows with frequency.
        return _decaying(hertz, amplitudes, close * (0.4 + hertz / 700), seconds)

    return _notewise(notes, frames, 0.08, sound, 2.0)


def _electric_bass(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    return _notewise(notes, frames, 0.05, _pluck(rng.uniform(0.15, 0.3), 0.9, 1.15, 3500), 3.0)


def _synth_bass(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
    close = rng.uniform(1.0, 4.0)

    def sound(pitch: int, seconds: float) -> Audio:
        number, hertz = _partials(pitch, 5000, 60)
        return _decaying(hertz, 0.7 / number, close * (hertz - hertz[0]) / 150 + 0.3, seconds)

    return _notewise(notes, frames, 0.04, sound, 3.0)


def _bowed_or_blown(upper: float, formant: float) -> Callable[[Sequence[Note], int, np.random.Generator], Audio]:
    """A solo voice that is not a voice: vibrato and slides like a singer's, one fixed resonance."""

    def player(notes: Sequence[Note], frames: int, rng: np.random.Generator) -> Audio:
        track = np.zeros(frames, dtype=np.float32)
        rate, depth = rng.uniform(5, 6.5), rng.uniform(0.15, 0.35)
        for note in notes:
            time = np.arange(int((note.seconds + 0.08) * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
            bend = depth * np.clip((time - 0.15) / 0.3, 0, 1) * np.sin(2 * np.pi * rate * time)
            hertz = _hertz(note.pitch) * 2 ** ((bend - 0.6 * np.exp(-time / 0.03)) / 12)
            number, tones = _partials(note.pitch, 10000, 40)
            spectrum = np.zeros(_TABLE // 2 + 1, dtype=np.complex64)
            amplitudes = number**-upper * (1 + 2 * np.exp(-(np.log2(tones / formant) ** 2) * 3))
            spectrum[number.astype(int)] = -1j * amplitudes * _TABLE / 2
            table = fft.irfft(spectrum, _TABLE)
            where = (np.cumsum(hertz, dtype=np.float64) / SAMPLE_RATE % 1.0 * _TABLE).astype(np.int32)
            swell = np.minimum(1, time / 0.05) * np.clip((note.seconds + 0.08 - time) / 0.08, 0, 1)
            _add(track, (table[where] * swell * note.loudness * 0.4).astype(np.float32), note.start)
        return track

    return player


_PLAYERS: dict[str, Callable[[Sequence[Note], int, np.random.Generator], Audio]] = {
    "acoustic guitar": _acoustic_guitar,
    "clean electric guitar": _clean_guitar,
    "distorted electric guitar": _distorted_guitar,
    "piano": _piano,
    "electric piano": _electric_piano,
    "electronic organ": _organ,
    "string section": _string_section,
    "synthesizer": _synthesizer,
    "violin": _bowed_or_blown(1.0, 2600.0),
    "trumpet": _bowed_or_blown(0.8, 1300.0),
    "electric bass": _electric_bass,
    "synth bass": _synth_bass,
}


class _Kit:
    """One-shot sounds of a drum kit; what is struck often has several strokes that differ a little."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        tone, ring = rng.uniform(165, 230), rng.uniform(14, 26)
        self.strokes = {
            "kick": [self._kick(rng.uniform(44, 58))],
            "snare": [self._snare(tone, ring) for _ in range(3)],
            "hat": [self._cymbal(0.12, 7500, 0.35) for _ in range(4)],
            "open hat": [self._cymbal(0.4, 7000, 0.32) for _ in range(2)],
            "ride": [self._cymbal(0.6, 5000, 0.22) for _ in range(2)],
            "crash": [self._cymbal(1.8, 3500, 0.5)],
            "shaker": [self._cymbal(0.09, 6000, 0.4, rise=0.02) for _ in range(3)],
            "tom": [self._tom(150)],
            "low tom": [self._tom(95)],
        }

    def _noise(self, seconds: float, curve: Callable[[Audio], Audio]) -> Audio:
        noise = equalise(self._rng.standard_normal(int(seconds * SAMPLE_RATE), dtype=np.float32), curve)
        return np.asarray(noise / (np.sqrt(np.mean(noise**2)) + 1e-9), dtype=np.float32)

    def _kick(self, low: float) -> Audio:
        time = np.arange(int(0.45 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
        hertz = low + 110 * np.exp(-time / 0.018) + 250 * np.exp(-time / 0.003)
        body = np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE) * np.exp(-time / 0.13)
        click = self._noise(0.02, lambda at: 1 / (1 + (at / 4500) ** 4)) * np.linspace(1, 0, 882, dtype=np.float32) ** 4
        body[: len(click)] += 0.12 * click
        return np.asarray(body, dtype=np.float32)

    def _snare(self, tone: float, ring: float) -> Audio:
        time = np.arange(int(0.32 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
        shell = np.sin(2 * np.pi * tone * time) + 0.6 * np.sin(2 * np.pi * tone * 1.62 * time)
        wires = self._noise(0.32, lambda at: (1 / (1 + (900 / at) ** 4)) / (1 + (at / 9500) ** 4))
        return np.asarray(0.45 * shell * np.exp(-time * 24) + 0.3 * wires * np.exp(-time * ring), dtype=np.float32)

    def _cymbal(self, seconds: float, edge: float, level: float, rise: float = 0.0005) -> Audio:
        noise = self._noise(seconds, lambda at: 1 / (1 + (edge / at) ** 6))
        time = np.arange(len(noise), dtype=np.float32) / SAMPLE_RATE
        return np.asarray(level * noise * np.minimum(1, time / rise) * np.exp(-time * 4.5 / seconds), dtype=np.float32)

    def _tom(self, low: float) -> Audio:
        time = np.arange(int(0.5 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
        hertz = low * (1 + 0.5 * np.exp(-time / 0.04))
        sound = 0.8 * np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE) * np.exp(-time / 0.14)
        sound[:2205] += 0.1 * self._noise(0.05, lambda at: 1 / (1 + (at / 3000) ** 2)) * np.linspace(1, 0, 2205) ** 2
        return np.asarray(sound, dtype=np.float32)
