"""Songs on paper: key, tempo, chords, sections, melody with words, drum patterns, all drawn from a seed.

Only what is played and sung, and when, belongs here; how it sounds belongs to `instruments`, `voice` and `mixing`.
Times are seconds, pitches MIDI numbers, loudness 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

BEATS = 4  # per bar

_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
# Scale degrees, the tonic being 0; one chord a bar.
_PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (0, 3, 0, 4), (0, 2, 3, 4), (3, 0, 4, 5), (0, 1, 3, 0)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 6), (0, 6, 5, 6), (0, 3, 6, 2), (5, 6, 0, 0), (0, 2, 6, 3)),
}
# Kinds of section with their share of the song, in the order in which they come.
_LAYOUTS = (
    (("intro", 1), ("verse", 4), ("chorus", 4), ("break", 2)),
    (("verse", 4), ("break", 2), ("chorus", 4)),
    (("a cappella", 1), ("chorus", 4), ("break", 2), ("verse", 4)),
    (("chorus", 4), ("break", 1), ("bridge", 2), ("chorus", 4)),
    (("verse", 4), ("bridge", 2), ("a cappella", 1), ("chorus", 4)),
    (("intro", 2), ("verse", 4), ("break", 1), ("chorus", 4)),
)
_SUNG = frozenset({"verse", "chorus", "bridge", "a cappella"})
_DRUMMED = frozenset({"verse", "chorus", "break", "intro"})

# Beats of the notes of a bar; negative: a rest.
_RUNS = {
    "verse": (
        (0.5, 0.5, 1, 0.5, 0.5, 1),
        (1, 0.5, 0.5, 1, 0.5, 0.5),
        (-0.5, 0.5, 0.5, 0.5, 1, 1),
        (1.5, 0.5, 1, 1),
        (0.75, 0.75, 0.5, 1, 0.5, 0.5),
        (0.5, 0.5, 0.5, 0.5, 1.5, 0.5),
    ),
    "chorus": ((2, 1, 1), (1.5, 0.5, 2), (1, 1, 1.5, 0.5), (1, 1, 2), (0.75, 0.75, 1.5, 1), (1, 0.5, 1.5, 1)),
}
_ENDINGS = ((1, 1, -2), (0.5, 0.5, 1.5, -1.5), (2.5, -1.5), (1.5, 0.5, 1, -1), (0.5, 0.5, 2, -1), (3, -1))

# Sixteen steps a bar: kick, snare, hat; upper case is loud, a dot is silence, o an open hat.
_GROOVES = {
    "rock": ("X.......X.x.....", "....X.......X...", "X.x.X.x.X.x.X.x."),
    "four": ("X...X...X...X...", "....X.......X...", "..o...o...o...o."),
    "half": ("X.....x...x.....", "........X.......", "X.x.x.x.X.x.x.o."),
    "funk": ("X..x..x...X..x..", "....X..x.x..X..x", "XxxxXxxxXxxxXxxo"),
    "ballad": ("X.........x.....", "....x.......x...", "x...x...x...x..."),
    "hiphop": ("X..x....x.X.....", "....X.......X...", "x.x.x.xxx.x.x.x."),
    "train": ("X...X...X...X...", "..x.X.x...x.X.x.", "x.x.x.x.x.x.x.x."),
}
_SLOW_GROOVES = ("half", "ballad", "hiphop", "funk")
_FAST_GROOVES = ("rock", "four", "train", "half")

# Consonants as often as they may sound; the voice knows how.
_ONSETS = (
    "s", "s", "t", "t", "d", "n", "n", "l", "l", "m", "m", "r", "w",
    "w", "b", "k", "h", "h", "y", "f", "g", "p", "v", "sh", "z",
)  # fmt: skip
_CODAS = ["s", "n", "t", "m", "z", "d"]
_VOWELS = ["a", "a", "e", "i", "i", "o", "o", "u", "uh", "ae", "er"]

# The part an instrument takes, by its name in MedleyDB's taxonomy.
ROLES = {
    "acoustic guitar": "strum",
    "clean electric guitar": "arpeggio",
    "distorted electric guitar": "power",
    "piano": "comp",
    "electric piano": "comp",
    "electronic organ": "sustain",
    "string section": "sustain",
    "synthesizer": "arpeggio",
    "violin": "lead",
    "trumpet": "lead",
}


@dataclass(frozen=True)
class Note:
    start: float
    seconds: float
    pitch: int
    loudness: float


@dataclass(frozen=True)
class Syllable:
    """A sung note with its sounds; the consonants come before and after the note's own time."""

    note: Note
    consonant: str
    vowel: str
    coda: str = ""


Phrase = tuple[Syllable, ...]


@dataclass(frozen=True)
class Hit:
    start: float
    drum: str
    loudness: float


@dataclass(frozen=True)
class Section:
    kind: str
    bar: int
    bars: int


@dataclass
class Song:
    """A song as its players read it."""

    seconds: float
    tempo: float  # beats a minute
    tonic: int  # pitch class, 0 = C
    mode: str
    sections: tuple[Section, ...]
    lead: list[Phrase] = field(default_factory=list)
    harmonies: dict[int, list[Phrase]] = field(default_factory=dict)  # by the degrees they lie above the lead
    drums: list[Hit] = field(default_factory=list)
    bass: list[Note] = field(default_factory=list)
    parts: dict[str, list[Note]] = field(default_factory=dict)  # by instrument

    @property
    def beat(self) -> float:
        return 60 / self.tempo

    def pitch(self, degree: int, near: int) -> int:
        """The MIDI pitch of a scale degree, counted from the tonic that lies closest to `near`."""
        base = self.tonic + 12 * round((near - self.tonic) / 12)
        return base + 12 * (degree // 7) + _SCALES[self.mode][degree % 7]


def compose(
    rng: np.random.Generator,
    seconds: float,
    *,
    centre: int | None,
    instruments: tuple[str, ...],
    harmonies: tuple[int, ...] = (),
) -> Song:
    """Compose `seconds` of music for `instruments` (names among ROLES), drums, bass and a voice.

    `centre` is the pitch around which the voice sings; None gives a song without words, whose melody is played.
    `harmonies` are backing voices, by the scale degrees they lie above the lead; they sing in choruses.
    """
    tempo = float(rng.uniform(70, 150))
    mode = "major" if rng.random() < 0.6 else "minor"
    bars = max(1, int(np.ceil(seconds * tempo / 60 / BEATS)))
    layout = _LAYOUTS[rng.integers(len(_LAYOUTS))]
    song = Song(seconds, tempo, int(rng.integers(12)), mode, _sections(layout, bars))
    order = rng.permutation(len(_PROGRESSIONS[mode]))
    verse, chorus = (_PROGRESSIONS[mode][index] for index in order[:2])
    chords = [
        (chorus if section.kind in ("chorus", "a cappella") else verse)[(bar - section.bar) % 4]
        for section in song.sections
        for bar in range(section.bar, section.bar + section.bars)
    ]
    melody = _melody(rng, song, chords, sung=centre is not None)
    if centre is not None:
        words = [[_word(rng) for _ in phrase] for _, phrase in melody]
        song.lead = [_sing(song, phrase, text, centre) for (_, phrase), text in zip(melody, words, strict=True)]
        for above in harmonies:
            song.harmonies[above] = [
                _sing(song, [(at, length, degree + above) for at, length, degree in phrase], text, centre)
                for (kind, phrase), text in zip(melody, words, strict=True)
                if kind == "chorus" or (kind == "verse" and bars < BEATS)
            ]
    song.drums = _drums(rng, song)
    song.bass = _bass(rng, song, chords)
    for instrument in instruments:
        song.parts[instrument] = _part(rng, song, chords, instrument, [] if centre is not None else melody)
    return song


def _sections(layout: tuple[tuple[str, int], ...], bars: int) -> tuple[Section, ...]:
    """Stretch a layout over `bars`, repeated as a song would; short songs are one section."""
    if bars < BEATS:
        return (Section("verse" if bars < 2 else "chorus", 0, bars),)
    plan = layout * max(1, round(bars / 14))
    ends = np.cumsum([share for _, share in plan])
    bounds = [0, *np.round(ends * bars / ends[-1]).astype(int).tolist()]
    return tuple(
        Section(kind, first, last - first)
        for (kind, _), first, last in zip(plan, bounds[:-1], bounds[1:], strict=True)
        if last > first
    )


_Line = list[tuple[float, float, int]]  # beat, beats, degree


def _melody(rng: np.random.Generator, song: Song, chords: list[int], *, sung: bool) -> list[tuple[str, _Line]]:
    """Phrases of two bars with a rest at the end; the rhythms of a section come back when its kind does."""
    rhythms: dict[tuple[str, int, int], tuple[float, ...]] = {}
    lines: list[tuple[str, _Line]] = []
    for section in song.sections:
        if sung and section.kind not in _SUNG:
            continue
        bar, number = section.bar, 0
        while bar < section.bar + section.bars:
            length = min(2, section.bar + section.bars - bar)
            key = (section.kind, number % 2, length)
            if key not in rhythms:
                runs = _RUNS["verse" if section.kind in ("verse", "break") else "chorus"]
                ending = _ENDINGS[rng.integers(len(_ENDINGS))]
                rhythms[key] = (*runs[rng.integers(len(runs))], *ending) if length == 2 else ending
            lift = 2 if section.kind == "chorus" else -1
            lines.append((section.kind, _line(rng, rhythms[key], bar, chords, lift)))
            bar, number = bar + length, number + 1
    return lines


def _line(rng: np.random.Generator, rhythm: tuple[float, ...], bar: int, chords: list[int], lift: int) -> _Line:
    """A random walk over the scale that lands on tones of the chord where it matters."""
    line: _Line = []
    beat, degree = 0.0, lift + int(rng.integers(-1, 4))
    for beats in rhythm:
        if beats > 0:
            degree += int(rng.choice((-2, -1, -1, 0, 1, 1, 2, 3), p=(0.12, 0.2, 0.14, 0.14, 0.14, 0.12, 0.1, 0.04)))
            degree = int(np.clip(degree, lift - 3, lift + 5))
            if beats >= 1 or beat % 2 == 0:
                chord = chords[min(bar + int(beat // BEATS), len(chords) - 1)]
                degree = min((chord + third + 7 * octave for third in (0, 2, 4) for octave in (-2, -1, 0, 1)),
                             key=lambda tone: (abs(tone - degree), tone))  # fmt: skip
            line.append((bar * BEATS + beat, beats, degree))
        beat += abs(beats)
    return line


def _word(rng: np.random.Generator) -> tuple[str, str, str, float]:
    """Consonant, vowel, coda and a small deviation from the beat in seconds; no consonant: sung on from before."""
    onset = "" if rng.random() < 0.13 else str(rng.choice(_ONSETS))
    coda = str(rng.choice(_CODAS)) if rng.random() < 0.3 else ""
    return onset, str(rng.choice(_VOWELS)), coda, float(rng.normal(0, 0.01))


def _sing(song: Song, line: _Line, words: list[tuple[str, str, str, float]], centre: int) -> Phrase:
    syllables = []
    for number, ((at, beats, degree), (onset, vowel, coda, late)) in enumerate(zip(line, words, strict=True)):
        last = number + 1 == len(line)
        start = max(0.12, at * song.beat + late)
        arch = 0.72 + 0.2 * np.sin(np.pi * (number + 0.5) / len(line)) + (0.08 if at % 2 == 0 else 0)
        note = Note(start, beats * song.beat * (0.9 if last else 0.97), song.pitch(degree, centre), float(arch))
        syllables.append(Syllable(note, onset, vowel, coda if last else ""))
    return tuple(syllables)


def _beats(song: Song, *kinds: str) -> Iterator[tuple[Section, int]]:
    """The bars of the sections of these kinds."""
    for section in song.sections:
        if section.kind in kinds:
            for bar in range(section.bar, section.bar + section.bars):
                yield section, bar


def _drums(rng: np.random.Generator, song: Song) -> list[Hit]:
    """A groove with crashes at the beginning of sections and fills at their end."""
    names = _SLOW_GROOVES if song.tempo < 98 else _FAST_GROOVES
    kick, snare, hat = _GROOVES[names[rng.integers(len(names))]]
    ride = rng.random() < 0.4
    swing = 0.14 if rng.random() < 0.25 else 0.0
    hits: list[Hit] = []

    def strike(bar: int, step: float, drum: str, loudness: float) -> None:
        late = swing if step % 2 == 1 else 0.0
        start = (bar * BEATS + (step + late) / 4) * song.beat + rng.normal(0, 0.003)
        hits.append(Hit(max(0.0, start), drum, float(loudness * rng.uniform(0.85, 1.0))))

    for section, bar in _beats(song, *_DRUMMED):
        fill = bar == section.bar + section.bars - 1 and section.bars > 1
        if bar == section.bar and section.kind in ("chorus", "break") and bar > 0:
            strike(bar, 0, "crash", 0.8)
        for step in range(16):
            if fill and step >= 12:
                strike(bar, step, ("snare", "tom", "tom", "low tom")[step - 12], 0.6 + 0.1 * (step - 12))
                continue
            cymbal = {"x": 0.5, "X": 0.8, "o": 0.7}.get(hat[step])
            if cymbal:
                open_hat = "ride" if ride and section.kind == "chorus" else "open hat" if hat[step] == "o" else "hat"
                strike(bar, step, open_hat, cymbal)
            if section.kind == "intro":
                continue
            if kick[step] != ".":
                strike(bar, step, "kick", 1.0 if kick[step] == "X" else 0.7)
            if snare[step] != ".":
                strike(bar, step, "snare", 1.0 if snare[step] == "X" else 0.3)
    for _, bar in _beats(song, "bridge"):
        for step in range(0, 16, 2):
            strike(bar, step, "shaker", 0.7 if step % 4 == 0 else 0.4)
    return hits


def _bass(rng: np.random.Generator, song: Song, chords: list[int]) -> list[Note]:
    """Roots with fifths and octaves in a pattern of its own for verse and chorus."""
    patterns: tuple[tuple[tuple[float, int], ...], ...] = (
        ((0, 0), (1.5, 0), (2, 0), (3.5, 4)),
        ((0, 0), (0.5, 0), (1, 0), (1.5, 0), (2, 0), (2.5, 0), (3, 0), (3.5, 0)),
        ((0, 0), (1, 4), (2, 7), (3, 4)),
        ((0, 0), (2.5, 0), (3, 4)),
        ((0, 0), (0.75, 0), (1.5, 7), (2.5, 0), (3, 4), (3.5, 6)),
        ((0, 0), (2, 4)),
    )
    verse, chorus = (patterns[index] for index in rng.permutation(len(patterns))[:2])
    notes = []
    for section, bar in _beats(song, "verse", "chorus", "break", "bridge"):
        pattern = chorus if section.kind == "chorus" else verse if section.kind != "bridge" else patterns[-1]
        for number, (at, above) in enumerate(pattern):
            until = pattern[number + 1][0] if number + 1 < len(pattern) else BEATS
            start = (bar * BEATS + at) * song.beat + float(rng.normal(0, 0.004))
            pitch = song.pitch(chords[bar] % 7 + above, 34)
            pitch -= 12 if pitch > 50 else 0
            notes.append(Note(max(0.0, start), (until - at) * song.beat * 0.92, pitch, float(rng.uniform(0.75, 1.0))))
    return notes


def _part(
    rng: np.random.Generator, song: Song, chords: list[int], instrument: str, melody: list[tuple[str, _Line]]
) -> list[Note]:
    """What one accompanying instrument plays, by its role."""
    role = ROLES[instrument]
    busy = ("intro", "verse", "chorus", "break", "bridge")
    where = {
        "strum": busy,
        "arpeggio": ("intro", "verse", "chorus", "bridge"),
        "power": ("chorus", "break"),
        "comp": busy,
        "sustain": ("chorus", "bridge", "intro", "break"),
        "lead": ("break", "intro"),
    }[role]
    if all(section.kind not in where for section in song.sections):
        where = busy
    if role == "lead":
        if not melody:
            melody = _melody(rng, song, chords, sung=False)
            melody = [(kind, line) for kind, line in melody if kind in where]
        return [
            Note(at * song.beat, beats * song.beat * 0.95, song.pitch(degree, 72), float(rng.uniform(0.75, 1)))
            for _, line in melody
            for at, beats, degree in line
        ]
    figure = rng.permutation(len(_FIGURES[role]))[0]
    centre = int(rng.integers(52, 61)) if role != "arpeggio" else int(rng.integers(60, 67))
    notes: list[Note] = []
    for _, bar in _beats(song, *where):
        chord = _voicing(song, chords[bar], 41 if role == "power" else centre, role)
        for at, beats, loudness, tones in _FIGURES[role][figure]:
            start = (bar * BEATS + at) * song.beat + float(abs(rng.normal(0, 0.004)))
            for order, tone in enumerate(tones):
                pitch = chord[tone % len(chord)] + 12 * (tone // len(chord))
                spread = 0.012 * order if role == "strum" else 0.0
                level = loudness * float(rng.uniform(0.8, 1.0))
                notes.append(Note(start + spread, beats * song.beat * 0.97, pitch, level))
    return notes


def _voicing(song: Song, degree: int, near: int, role: str) -> list[int]:
    """The tones of the triad on `degree` closest to `near`, from low to high; power chords leave out the third."""
    steps = (0, 4, 7) if role == "power" else (0, 2, 4)
    pitches = [song.pitch(degree + step, near) for step in steps]
    if role == "power":
        low = pitches[0] - 12 * ((pitches[0] - near + 6) // 12)
        return [low + pitch - pitches[0] for pitch in pitches]
    return sorted(near + (pitch - near + 5) % 12 - 5 for pitch in pitches)


_ALL = (0, 1, 2, 3)
# For each role: figures of a bar as (beat, beats, loudness, tones of the chord).
_FIGURES: dict[str, tuple[tuple[tuple[float, float, float, tuple[int, ...]], ...], ...]] = {
    "strum": (
        tuple((at, 1.0, loud, _ALL) for at, loud in ((0, 1), (1, 0.6), (1.5, 0.5), (2.5, 0.7), (3, 0.6), (3.5, 0.5))),
        tuple((at, 0.8, loud, _ALL) for at, loud in ((0, 1), (0.5, 0.4), (1, 0.8), (2, 0.9), (2.5, 0.4), (3, 0.8))),
        tuple((at, 2.0, loud, _ALL) for at, loud in ((0, 1), (2, 0.8), (3.5, 0.5))),
    ),
    "arpeggio": (
        tuple((step / 2, 1.0, 0.9, (tone,)) for step, tone in enumerate((0, 1, 2, 3, 2, 1, 2, 1))),
        tuple((step / 4, 0.4, 0.8, (tone,)) for step, tone in enumerate((0, 2, 1, 3) * 4)),
        tuple((at, 1.5, 0.9, (tone,)) for at, tone in ((0, 0), (0.75, 2), (1.5, 3), (2.5, 2), (3, 1))),
    ),
    "power": (
        tuple((step / 2, 0.5, 0.95, (0, 1, 2)) for step in range(8)),
        ((0, 1.5, 1, (0, 1, 2)), (1.5, 0.5, 0.9, (0, 1, 2)), (2, 2, 1, (0, 1, 2))),
        ((0, 4, 1, (0, 1, 2)),),
    ),
    "comp": (
        tuple((beat, 0.9, 0.9, (0, 1, 2)) for beat in range(4)),
        ((0, 1.4, 1, (0, 1, 2)), (1.5, 1, 0.7, (1, 2, 3)), (2.5, 1.4, 0.8, (0, 1, 2))),
        ((0, 2, 1, (0, 1, 2)), (2, 1, 0.8, (1, 2, 3)), (3, 1, 0.7, (0, 1, 2))),
        ((0.5, 0.4, 0.9, (0, 1, 2)), (1.5, 0.4, 0.9, (0, 1, 2)), (2.5, 0.4, 0.9, (0, 1, 2)), (3.5, 0.4, 0.9, _ALL)),
    ),
    "sustain": (((0, 4, 0.9, (0, 1, 2)),), ((0, 4, 0.9, (0, 1, 2, 3)),)),
}
