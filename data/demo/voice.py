"""A singing voice: a glottal pulse train and noise, shaped by moving formants.

The source-filter model of speech (Fant, 1960): a harmonic source with vibrato, portamento and jitter, and noise for
breath and consonants, each filtered frame by frame by the resonances of a vocal tract. What is sung belongs to
`music`; where the voice stands in the room belongs to `mixing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from data.audio import SAMPLE_RATE, Audio
from data.demo.music import Phrase, Syllable

_STEP = 64  # frames between two points of a control curve (1.5 ms)
_HOP = 256
_WINDOW = 1024
_FFT = 2048  # twice the window: room for the ringing of the formants
_TABLE = 4096

Curve = npt.NDArray[np.float32]

# Formants in Hz of an average man (Peterson and Barney, 1952), the first three of each vowel.
_VOWELS: dict[str, tuple[float, float, float]] = {
    "a": (730, 1090, 2440),
    "ae": (660, 1720, 2410),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "uh": (640, 1190, 2390),
    "er": (490, 1350, 1690),
}
VOWELS = tuple(_VOWELS)


@dataclass(frozen=True)
class _Phone:
    """One stretch of a consonant: seconds, level of each excitation, colour of the frication, formants in Hz."""

    seconds: float
    voiced: float = 0.0
    aspirated: float = 0.0
    frication: float = 0.0
    centre: float = 4000.0  # Hz
    width: float = 0.5  # octaves
    formants: tuple[float, float, float] | None = None  # None: those of the vowel that follows


def _plosive(centre: float, width: float, *, voiced: float, burst: float) -> tuple[_Phone, ...]:
    return (
        _Phone(0.045, voiced=voiced, formants=(250, 1300, 2300)),
        _Phone(0.012, frication=burst, centre=centre, width=width, voiced=voiced),
        _Phone(0.012 if voiced else 0.03, aspirated=0.9, voiced=4 * voiced),
    )


_CONSONANTS: dict[str, tuple[_Phone, ...]] = {
    "": (),
    "s": (_Phone(0.10, frication=0.55, centre=6800, width=0.33),),
    "sh": (_Phone(0.10, frication=0.6, centre=3400, width=0.38),),
    "f": (_Phone(0.08, frication=0.22, centre=5500, width=1.3),),
    "h": (_Phone(0.06, aspirated=1.0),),
    "z": (_Phone(0.07, voiced=0.3, frication=0.35, centre=6300, width=0.35, formants=(280, 1600, 2500)),),
    "v": (_Phone(0.06, voiced=0.35, frication=0.12, centre=5000, width=1.3, formants=(280, 1100, 2200)),),
    "t": _plosive(4800, 0.6, voiced=0.0, burst=0.9),
    "k": _plosive(1900, 0.4, voiced=0.0, burst=0.9),
    "p": _plosive(900, 0.9, voiced=0.0, burst=0.7),
    "d": _plosive(4200, 0.6, voiced=0.12, burst=0.5),
    "g": _plosive(1700, 0.4, voiced=0.12, burst=0.5),
    "b": _plosive(800, 0.9, voiced=0.12, burst=0.4),
    "m": (_Phone(0.07, voiced=0.45, formants=(240, 1050, 2150)),),
    "n": (_Phone(0.06, voiced=0.45, formants=(240, 1550, 2450)),),
    "l": (_Phone(0.06, voiced=0.6, formants=(350, 1250, 2750)),),
    "r": (_Phone(0.06, voiced=0.6, formants=(330, 1080, 1550)),),
    "w": (_Phone(0.05, voiced=0.6, formants=(290, 620, 2150)),),
    "y": (_Phone(0.05, voiced=0.6, formants=(260, 2150, 3000)),),
}
CONSONANTS = tuple(name for name in _CONSONANTS if name)


@dataclass(frozen=True)
class Singer:
    """What stays the same of a voice from song to song. Frequencies in Hz, depths in semitones, times in seconds."""

    female: bool
    tract: float  # formants relative to the average man's
    tilt: float  # exponent of the fall of the glottal harmonics; larger is darker
    vibrato_rate: float
    vibrato_depth: float
    glide: float  # time constant of the portamento
    breath: float  # level of the noise beside the pulses
    ring: float  # bandwidth factor of the upper formants: smaller rings more (the "singer's formant")

    @property
    def centre(self) -> int:
        """The MIDI pitch around which this voice sings with ease."""
        return 65 if self.female else 54


def draw_singer(rng: np.random.Generator, *, female: bool) -> Singer:
    """A singer drawn at random: the length of the tract and the range of the pitch follow the sex."""
    return Singer(
        female=female,
        tract=float(rng.uniform(1.1, 1.24) if female else rng.uniform(0.93, 1.07)),
        tilt=float(rng.uniform(1.05, 1.45)),
        vibrato_rate=float(rng.uniform(4.8, 6.4)),
        vibrato_depth=float(rng.uniform(0.2, 0.6)),
        glide=float(rng.uniform(0.018, 0.05)),
        breath=float(rng.uniform(0.015, 0.06)),
        ring=float(rng.uniform(0.6, 1.2)),
    )


def sing(singer: Singer, phrases: Sequence[Phrase], frames: int, rng: np.random.Generator) -> Audio:
    """Sing `phrases` alone in a dead room. Returns mono float32 `(frames,)`, about 0.1 RMS where it sings."""
    score = _Score(frames)
    for phrase in phrases:
        score.add_phrase(phrase, rng)
    score.finish()
    pulses = _pulses(singer, score, rng)
    noise = rng.standard_normal(frames, dtype=np.float32)
    aspirated = noise * _stretch(score.aspirated + singer.breath * score.voiced, frames)
    hiss = noise * _stretch(score.frication, frames)
    return _shape(singer, score, pulses, aspirated, hiss)


class _Score:
    """The phrases as control curves, one point each `_STEP` frames."""

    def __init__(self, frames: int) -> None:
        self.points = frames // _STEP + 2
        self.pitch = np.zeros(self.points, dtype=np.float32)  # MIDI; 0: nothing sung yet
        self.note_age = np.full(self.points, -1.0, dtype=np.float32)  # seconds since the note began
        self.voiced = np.zeros(self.points, dtype=np.float32)
        self.aspirated = np.zeros(self.points, dtype=np.float32)
        self.frication = np.zeros(self.points, dtype=np.float32)
        self.centre = np.full(self.points, 4000.0, dtype=np.float32)
        self.width = np.full(self.points, 0.5, dtype=np.float32)
        self.formants = np.zeros((3, self.points), dtype=np.float32)

    def add_phrase(self, phrase: Phrase, rng: np.random.Generator) -> None:
        onsets = [syllable.note.start for syllable in phrase]
        starts = [onset - _seconds(syllable.consonant) for onset, syllable in zip(onsets, phrase, strict=True)]
        intake = min(starts[0], float(rng.uniform(0.18, 0.32)))
        if intake > 0.1:  # the breath that a singer takes before a phrase
            span = self._span(starts[0] - intake, starts[0] - 0.04)
            swell = np.sin(np.linspace(0, np.pi, span.stop - span.start)).astype(np.float32)
            self.aspirated[span] = 0.05 * swell
            self.formants[:, span] = np.array([[700], [1500], [2600]], dtype=np.float32)
        for number, syllable in enumerate(phrase):
            end = syllable.note.start + syllable.note.seconds
            if number + 1 < len(phrase):
                end = min(end, starts[number + 1])
            self._add_syllable(syllable, starts[number], max(end, onsets[number] + 0.05))

    def _add_syllable(self, syllable: Syllable, start: float, end: float) -> None:
        note, vowel = syllable.note, _VOWELS[syllable.vowel]
        position = start
        for phone in _CONSONANTS[syllable.consonant]:
            self._add_phone(phone, position, position + phone.seconds, note.loudness, vowel)
            position += phone.seconds
        self.pitch[self._span(start, end)] = note.pitch
        tail = end
        for phone in _CONSONANTS[syllable.coda]:
            self._add_phone(phone, tail, tail + 0.8 * phone.seconds, 0.7 * note.loudness, vowel)
            tail += 0.8 * phone.seconds
        self.pitch[self._span(end, tail)] = note.pitch
        self._add_phone(_Phone(end - note.start, voiced=1.0), note.start, end, note.loudness, vowel)
        span = self._span(note.start, end)
        self.note_age[span] = np.arange(span.stop - span.start, dtype=np.float32) * (_STEP / SAMPLE_RATE)
        # Singers swell into a held note and let it go.
        fade = np.linspace(0, 1, span.stop - span.start, dtype=np.float32)
        self.voiced[span] *= 0.8 + 0.2 * np.sqrt(np.abs(np.sin(np.pi * fade))) - 0.25 * fade**4

    def _add_phone(
        self, phone: _Phone, start: float, end: float, loudness: float, vowel: tuple[float, float, float]
    ) -> None:
        span = self._span(start, end)
        self.voiced[span] = phone.voiced * loudness
        self.aspirated[span] = 0.12 * phone.aspirated * loudness
        self.frication[span] = phone.frication * loudness
        if phone.frication:
            self.centre[span], self.width[span] = phone.centre, phone.width
        self.formants[:, span] = np.asarray(phone.formants or vowel, dtype=np.float32)[:, None]

    def _span(self, start: float, end: float) -> slice:
        first, last = (round(max(0.0, second) * SAMPLE_RATE / _STEP) for second in (start, end))
        return slice(min(first, self.points), min(max(first, last), self.points))

    def finish(self) -> None:
        """Hold what is set over what is not, and round the corners off: a tongue takes its time."""
        _hold(self.pitch)
        for row in self.formants:
            _hold(row)
            row[:] = _smooth(row, 0.055)
        self.voiced = _smooth(self.voiced, 0.022)
        self.aspirated = _smooth(self.aspirated, 0.012)
        self.frication = _smooth(self.frication, 0.006)


def _seconds(consonant: str) -> float:
    return sum(phone.seconds for phone in _CONSONANTS[consonant])


def _hold(curve: Curve) -> None:
    """Replace zeros by the last value before them (or the first after them), in place."""
    known = np.flatnonzero(curve)
    if len(known):
        curve[:] = curve[known[np.maximum(np.searchsorted(known, np.arange(len(curve)), side="right") - 1, 0)]]


def _smooth(curve: Curve, seconds: float) -> Curve:
    """A Hann-weighted moving average over `seconds`."""
    size = max(3, round(seconds * SAMPLE_RATE / _STEP) | 1)
    kernel = np.hanning(size + 2)[1:-1]
    padded = np.pad(curve, size // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid").astype(np.float32)


def _stretch(curve: Curve, frames: int) -> Curve:
    """A control curve at the audio rate, `(frames,)`."""
    padded = np.append(curve, curve[-1])
    fraction = np.arange(_STEP, dtype=np.float32) / _STEP
    lines = padded[:-1, None] + np.diff(padded)[:, None] * fraction
    return np.asarray(lines.reshape(-1)[:frames], dtype=np.float32)


def _pulses(singer: Singer, score: _Score, rng: np.random.Generator) -> Audio:
    """The glottal source, `(frames,)` with the level of the voiced curve."""
    frames = (score.points - 2) * _STEP
    seconds = np.arange(score.points) * (_STEP / SAMPLE_RATE)
    pitch = _smooth(score.pitch, 4 * singer.glide)
    # Vibrato sets in late in a note and grows; its rate wanders.
    swell = np.clip((_smooth(np.maximum(score.note_age, 0), 0.05) - 0.18) / 0.35, 0, 1)
    wander = _smooth(rng.standard_normal(score.points, dtype=np.float32), 0.8)
    rate = singer.vibrato_rate * (1 + 0.9 * wander)
    vibrato = singer.vibrato_depth * swell * np.sin(2 * np.pi * np.cumsum(rate) * (_STEP / SAMPLE_RATE))
    drift = 1.2 * _smooth(rng.standard_normal(score.points, dtype=np.float32), 0.25)
    jitter = 0.25 * _smooth(rng.standard_normal(score.points, dtype=np.float32), 0.012)
    onset = -1.2 * np.exp(-np.maximum(score.note_age, 0) / 0.045) * (score.note_age >= 0)  # scoop up to the note
    hertz = 440 * 2 ** ((pitch + vibrato + drift + jitter + _smooth(onset.astype(np.float32), 0.02) - 69) / 12)
    cycles = np.interp(
        np.arange(frames) / SAMPLE_RATE, seconds, np.concatenate(([0], np.cumsum(hertz)[:-1])) * (_STEP / SAMPLE_RATE)
    )
    shimmer = 1 + 0.5 * _smooth(rng.standard_normal(score.points, dtype=np.float32), 0.03)
    level = _stretch(score.voiced * shimmer.astype(np.float32), frames)
    where = ((cycles % 1.0) * _TABLE).astype(np.int32)
    # Two tables, soft and bright: louder singing has more overtones. No harmonic may pass the Nyquist frequency.
    count = int(16000 / max(80.0, float(hertz.max())))
    soft, bright = (_glottal_table(count, singer.tilt + extra) for extra in (0.35, 0.0))
    effort = np.clip(level * 1.4 - 0.4, 0, 1)
    return np.asarray(level * (soft[where] + effort * (bright[where] - soft[where])), dtype=np.float32)


def _glottal_table(harmonics: int, tilt: float) -> Curve:
    """One period of the derivative of the glottal flow: band-limited, 1 at the first harmonic."""
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=np.complex64)
    number = np.arange(1, max(2, harmonics) + 1)
    # The phase bends with the harmonic: the flow rises slowly and closes fast.
    spectrum[number] = number**-tilt * np.exp(1j * (-np.pi / 2 + 0.6 / number)) * _TABLE / 2
    return np.asarray(fft.irfft(spectrum, _TABLE), dtype=np.float32)


def _shape(singer: Singer, score: _Score, pulses: Audio, aspirated: Audio, hiss: Audio) -> Audio:
    """Filter the three excitations by the vocal tract, frame by frame, and add them up, `(frames,)`."""
    frames = len(aspirated)
    sources = [np.pad(source, (_WINDOW, _FFT + _HOP)) for source in (pulses, aspirated, hiss)]
    count = (frames + _WINDOW) // _HOP + 1
    middle = np.clip((np.arange(count) * _HOP - _WINDOW // 2) // _STEP, 0, score.points - 1)
    level = score.voiced + score.aspirated + score.frication
    span = _WINDOW // _STEP  # a frame counts if anything sounds within its window
    near = np.lib.stride_tricks.sliding_window_view(np.pad(level, span), 2 * span + 1).max(axis=1)
    active = np.flatnonzero(near[middle] > 1e-6)
    output = np.zeros((count + _FFT // _HOP, _HOP), dtype=np.float32)
    if not len(active):
        return output.reshape(-1)[:frames]
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32) / 2  # Hann at a quarter of its length adds up to 2

    def spectra(source: Audio, which: npt.NDArray[np.intp]) -> npt.NDArray[np.complex64]:
        cut = np.lib.stride_tricks.sliding_window_view(source, _WINDOW)[which * _HOP]
        return np.asarray(fft.rfft(cut * window, _FFT, axis=1), dtype=np.complex64)

    point = middle[active]
    hertz = (np.arange(_FFT // 2 + 1) * (SAMPLE_RATE / _FFT)).astype(np.float32)
    total = spectra(sources[0], active) + spectra(sources[1], active)
    total *= _tract(singer, hertz)
    floor = 440 * 2 ** ((score.pitch[point] - 69) / 12)
    for row, (formant, bandwidth) in enumerate(zip(score.formants[:, point], (80.0, 100.0, 130.0), strict=True)):
        # High notes open the jaw: the first formant does not stay below the pitch.
        centre = np.maximum(formant * singer.tract, floor * 1.05 if row == 0 else 0)
        total /= _resonance(hertz, centre[:, None], np.float32(bandwidth))
    loud = np.flatnonzero(score.frication[point] > 1e-4)
    if len(loud):
        octave = np.log2(np.maximum(hertz, 20.0))
        at = point[loud]
        distance = (octave - np.log2(score.centre[at])[:, None]) / score.width[at][:, None]
        total[loud] += spectra(sources[2], active[loud]) * np.exp(-0.5 * distance**2)
    shaped = fft.irfft(total, _FFT, axis=1).reshape(len(active), _FFT // _HOP, _HOP)
    for part in range(_FFT // _HOP):
        output[active + part] += shaped[:, part]
    return np.asarray(output.reshape(-1)[_WINDOW : _WINDOW + frames] * 0.2, dtype=np.float32)


def _resonance(hertz: Curve, centre: Curve, bandwidth: np.float32) -> npt.NDArray[np.complex64]:
    """The denominator of one formant with unit gain at 0 Hz, `(..., bins)`."""
    ratio = hertz / centre
    result = np.empty(ratio.shape, dtype=np.complex64)
    result.real = 1 - ratio * ratio
    result.imag = ratio * (bandwidth / centre)
    return result


def _tract(singer: Singer, hertz: Curve) -> npt.NDArray[np.complex64]:
    """What does not move: the upper formants, and the lips and the microphone below 80 Hz, `(bins,)`."""
    fixed = np.ones(len(hertz), dtype=np.complex64)
    for centre, bandwidth in ((3300, 200), (3900, 250), (4900, 350), (6100, 600), (7700, 900), (9600, 1400)):
        scaled = np.asarray(centre * (0.5 + 0.5 * singer.tract), dtype=np.float32)
        fixed /= _resonance(hertz, scaled, np.float32(bandwidth * singer.ring))
    return np.asarray(fixed * (hertz**2 / (hertz**2 + 80.0**2)), dtype=np.complex64)
