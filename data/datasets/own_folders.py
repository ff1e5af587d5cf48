"""A folder of own stems as a track: which files are mixture, target and rest, and what `track.yaml` says.

Either the files are called what they are: `vocals`, or parts of it (`vocals-lead`, `vocals-backing`), with a `mixture`
or an `accompaniment`. Or `track.yaml` says which stems are the vocals, in a folder `stems` beside it or in its own; all
others are the rest. What is wrong with one track is kept until it is extracted, so that it stops no other. What is made
of the files does not belong here.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.cache import RECORD
from data.errors import InputError
from data.names import in_letters
from data.tracks import APART, Track
from data.walk import OURS, Folder, Walk
from data.yaml_files import read_yaml

_LOSSLESS = (".wav", ".wave", ".w64", ".rf64", ".flac", ".aiff", ".aif", ".aifc", ".caf", ".au", ".wv", ".ape", ".tta")
_OTHERS = (".mp3", ".mp2", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".wma", ".mka", ".webm")
SUFFIXES = _LOSSLESS + _OTHERS
MIXTURE, TARGET, PART, REST = "mixture", "target", "part", "rest"
# What a file is, by its name without the suffix, in small letters; `part` is one of several files of the target.
_ROLES = {
    "mixture": MIXTURE,
    "mix": MIXTURE,
    "vocals": TARGET,
    "vocal": TARGET,
    "accompaniment": REST,
    "instrumental": REST,
    "instrumentals": REST,
}
_PART = re.compile(r"vocals?[-_ ].", re.DOTALL)
LABELS = "track.yaml"
STEMS = "stems"
_LICENCE = "unknown (own stems)"
_KEYS = ("artist", "title", "genre", "licence", "split")
_CHOICE = "vocals"  # the key of `track.yaml` that says which stems are the target
_CHOSEN = "roles"  # among a track's details: what each of its files is, where no name says it
_SPLITS = ("train", "validation", "test")
_LONGEST = 1000  # characters of a label
_EXPECTED = (
    f"a {LABELS} with any of {', '.join(_KEYS)}; split is one of {', '.join(_SPLITS)}; "
    f"{_CHOICE} is a list of names of stems"
)


@dataclass(frozen=True)
class Files:
    """The files of a track by what they are: one mixture at most, the rest, the target.

    `whole` says that one file is the whole target, and one all else.
    """

    mixture: tuple[Path, ...]
    rest: tuple[Path, ...]
    target: tuple[Path, ...]
    whole: bool

    @staticmethod
    def of(track: Track) -> Files:
        """The files of a track that was found by `tracks_in`, as it was found or read from the index."""
        chosen = track.details.get(_CHOSEN)
        roles = [_role(path) for path in track.files] if chosen is None else chosen.split()

        def those(*kinds: str) -> tuple[Path, ...]:
            return tuple(path for path, kind in zip(track.files, roles, strict=False) if kind in kinds)

        return Files(those(MIXTURE), those(REST), those(TARGET, PART), chosen is None and PART not in roles)


@dataclass(frozen=True)
class _Labels:
    """What `track.yaml` says: labels, the names of the target's stems, and what is wrong with it."""

    files: tuple[Path, ...] = ()
    said: dict[str, str] | None = None
    choice: tuple[str, ...] | None = None
    problem: tuple[str, str] | None = None  # what was found, and what was expected


def tracks_in(walk: Walk) -> list[Track]:
    """Every track in the folders of a walk, which is told what it passes over."""
    places = {place.path: place for place in walk}
    stems_of_others: set[Path] = set()
    tracks = []
    for place in places.values():
        if place.path in stems_of_others:
            continue
        if any(map(_role, place.files)) and any(path.name == RECORD for path in place.files):
            walk.pass_over(place.path, OURS)
            continue
        labels = _labels(place)
        inner = [places[path] for path in place.folders if path.name.lower() == STEMS and path in places]
        if labels.choice is not None or _is_spoilt(place, inner, labels):
            stems_of_others |= {stems.path for stems in inner}
            tracks.append(_chosen(place, inner, labels, walk))
        elif _is_named(place):
            tracks.append(_named(place, labels, walk))
        elif lack := _lack(place, labels):
            walk.pass_over(place.path, lack)
    return tracks


def _role(path: Path) -> str | None:
    """What a file is in its track, None for a file of another name or kind."""
    if path.suffix.lower() not in SUFFIXES:
        return None
    name = path.stem.lower()
    return _ROLES.get(name) or (PART if _PART.match(name) else None)


def _of(place: Folder, *roles: str) -> list[Path]:
    return [path for path in place.files if _role(path) in roles]


def _sounds(place: Folder) -> list[Path]:
    return [path for path in place.files if path.suffix.lower() in SUFFIXES]


def _odd(place: Folder, *roles: str) -> list[str]:
    """Entries of a folder that are called like audio and are no files, with what they are; of any role without one."""
    named = ((Path(name), kind) for name, kind in place.odd.items())
    return [
        f"{path.name} is {kind}"
        for path, kind in named
        if (_role(path) in roles if roles else path.suffix.lower() in SUFFIXES)
    ]


def _is_named(place: Folder) -> bool:
    """Whether the names of its files make a folder a track."""
    if not _of(place, MIXTURE, REST):
        return False
    # Parts of which one cannot be read, or beside a whole that cannot, are not all of the target.
    return bool(_of(place, TARGET) or (_of(place, PART) and not _odd(place, TARGET, PART)))


def _is_spoilt(place: Folder, inner: Sequence[Folder], labels: _Labels) -> bool:
    """Whether the stems in a folder would be a track if only its `track.yaml` could be used."""
    return labels.problem is not None and not _is_named(place) and any(_sounds(s) and not _is_named(s) for s in inner)


def _named(place: Folder, labels: _Labels, walk: Walk) -> Track:
    """The track in a folder whose files are called what they are."""
    whole, parts, mixture = _of(place, TARGET), _of(place, PART), _of(place, MIXTURE)
    for path in parts if whole else ():
        walk.pass_over(path, f"a part beside {in_letters(whole[0].name)}, which is taken")
    groups = (mixture, whole or parts) if mixture else (whole or parts, _of(place, REST))
    several = [p for group in groups for p in (_alike(group) if group is parts else group if len(group) > 1 else ())]
    problem = (in_letters(", ".join(_names(several))), "one file of each kind") if several else labels.problem
    files = [path for group in groups for path in (group if group is parts else group[:1])]
    return _track(place, walk.top, files, labels, problem)


def _chosen(place: Folder, inner: Sequence[Folder], labels: _Labels, walk: Walk) -> Track:
    """The track in a folder whose `track.yaml` says which stems are the target."""
    home = inner[0] if inner else place
    mixture = _of(place, MIXTURE) + (_of(home, MIXTURE) if inner else [])
    stems = [path for path in _sounds(home) if path not in mixture]
    wanted = {_spelt(name): name for name in labels.choice or ()}
    target = [path for path in stems if wanted.keys() & _spellings(path)]
    rest = [path for path in stems if path not in target]
    missing = [name for spelt, name in wanted.items() if not any(spelt in _spellings(path) for path in stems)]
    for path in _sounds(place) if inner else ():
        if path not in mixture:
            walk.pass_over(path, f"beside {in_letters(home.path.name)}/, of which {LABELS} speaks")
    faults = {
        f"one folder {STEMS}": [folder.path.name for folder in inner] if len(inner) > 1 else [],
        "files that can be read": _odd(home) + (_odd(place, MIXTURE) if inner else []),
        "one file of each kind": _names(mixture) if len(mixture) > 1 else [],
        "one file of each name": _names(_alike(stems)),
        f"the stems that {LABELS} names under {_CHOICE}": [f"no stem {name}" for name in missing],
        f"stems besides those of {_CHOICE}, or a mixture": [] if rest or mixture else ["no other stem, and no mixture"],
    }
    found = ((in_letters(", ".join(words)), expected) for expected, words in faults.items() if words)
    problem = labels.problem or next(found, None)
    roles = [*[MIXTURE] * len(mixture), *[TARGET] * len(target), *[REST] * len(rest)]
    return _track(place, walk.top, [*mixture, *target, *rest], labels, problem, {_CHOSEN: " ".join(roles)})


def _spelt(name: str) -> str:
    """A name as it is compared: in any capitals, and however its accents are encoded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", in_letters(name)).casefold())


def _spellings(path: Path) -> set[str]:
    return {_spelt(path.stem), _spelt(path.name)}


def _alike(paths: Sequence[Path]) -> list[Path]:
    """Those of the files that have the name of another, but for the suffix."""
    claims = Counter(_spelt(path.stem) for path in paths)
    return [path for path in paths if claims[_spelt(path.stem)] > 1]


def _names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


def _lack(place: Folder, labels: _Labels) -> str | None:
    """What a folder lacks to be a track; None where it does not look like one."""
    if odd := _odd(place, MIXTURE, TARGET, PART, REST):
        return ", ".join(odd)
    sounds = _sounds(place)
    if not sounds:
        return None
    if _of(place, TARGET, PART):
        return "vocals, but neither mixture nor accompaniment"
    # Voices that were exported one by one: nothing says yet that they belong together.
    alike = [path.name for path in sounds if re.search(r"vocal|vox|voice", path.stem, re.IGNORECASE)]
    if alike:
        return f"no file called vocals, but {', '.join(alike[:3])}"
    if labels.problem:
        return f"a {LABELS} that cannot be used ({labels.problem[0]})"
    if place.path.name.lower() == STEMS:
        return f"stems, but no {LABELS} beside them that says which are {_CHOICE}"
    return "no vocals" if _of(place, MIXTURE, REST) else "audio, but none called vocals"


def _track(
    place: Folder,
    root: Path,
    files: Sequence[Path],
    labels: _Labels,
    problem: tuple[str, str] | None,
    details: dict[str, str] | None = None,
) -> Track:
    """The track in one folder; what is wrong with it is kept for `extract`."""
    called = root.name if place.path == root else place.path.name
    artist, dash, title = called.partition(" - ")
    said = labels.said or {}
    return Track(
        dataset="own",
        # In the root itself, no name may be the one that a folder in it has.
        name=f"{root.name}{APART}" if place.path == root else place.path.relative_to(root).as_posix(),
        title=said.get("title", title if dash else called),
        # Without a name for the artist every track is an artist of its own: nothing says which belong together.
        artist=said.get("artist", artist),
        licence=said.get("licence", _LICENCE),
        split=said.get("split"),
        genre=said.get("genre", ""),
        files=(*files, *labels.files),
        details={"problem": problem[0], "expected": problem[1]} if problem else details or {},
    )


def _labels(place: Folder) -> _Labels:
    """What the `track.yaml` of a folder says."""
    named = sorted({path.name for path in place.files} | set(place.odd), key=os.fsencode)
    notes = [place.path / name for name in named if name.lower() in (LABELS, "track.yml")]
    files = tuple(path for path in notes if path in place.files)
    if len(notes) > 1:
        return _Labels(files, problem=(", ".join(path.name for path in notes), f"one {LABELS}"))
    return _read_labels(notes[0], files) if notes else _Labels()


def _read_labels(note: Path, files: tuple[Path, ...]) -> _Labels:
    def refuse(found: str) -> _Labels:
        return _Labels(files, problem=(found, _EXPECTED))

    try:
        content = read_yaml(note, "labels", expected=_EXPECTED, remedy="mend it", words=True)
    except InputError as error:
        return refuse(error.found)
    if content is None:
        return _Labels(files)
    if not isinstance(content, dict):
        return refuse(f"{content!r:.200}")
    said = {key: value for key, value in content.items() if value is not None}
    choice = said.pop(_CHOICE, None)
    wrong = [
        f"{key}: {value!r:.200}"
        for key, value in said.items()
        if key not in _KEYS or not isinstance(value, str) or len(value) > _LONGEST
    ]
    if said.get("split", "train") not in _SPLITS:
        wrong.append(f"split: {said['split']!r:.200}")
    names = [choice] if isinstance(choice, str) else choice
    if choice is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        wrong.append(f"{_CHOICE}: {choice!r:.200}")
    if wrong:
        return refuse("; ".join(wrong[:3]))
    return _Labels(files, said, None if names is None else tuple(names))
