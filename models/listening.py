"""The blind listening test (the report's Section VI): a ballot without names, its key, and the counting of votes.

Which candidates stand on the ballot and what their votes decide belongs to the assets.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data import audio
from data.errors import InputError
from data.files import publish
from data.measure import loudness_lufs, peak
from models.report.excerpts import HEADROOM, Stretch, choose_stretch, data_uri, encode_mp3
from models.report.page import environment

BALLOT_FILE = "ballot.html"
KEY_FILE = "key.json"
_LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class BallotTrack:
    """One track to vote on: the mixture, and each candidate's vocals by candidate name; wav files of equal length."""

    track_id: str
    mixture: Path
    vocals: Mapping[str, Path]


def write_ballot(folder: Path, tracks: Sequence[BallotTrack], *, seed: int) -> str:
    """Write `ballot.html`, one self-contained page, and `key.json`, which says who is behind each letter.

    Letters are shuffled anew for every track. Returns the ballot's id, which votes carry; other sounds behind the
    letters make another ballot. With fewer than two candidates the page says that there is nothing to compare. Raises
    InputError for audio that cannot be read.
    """
    rng = np.random.default_rng(seed)
    key: dict[str, dict[str, str]] = {}
    shown = []
    for track in tracks:
        names = sorted(track.vocals)
        order = [names[i] for i in rng.permutation(len(names))]
        key[track.track_id] = dict(zip(_LETTERS, order, strict=False))
        stretch = choose_stretch(next(iter(track.vocals.values()), track.mixture), track.mixture)
        (mixture,) = _players([track.mixture], stretch)
        voices = _players([track.vocals[name] for name in order], stretch)
        shown.append((track.track_id, stretch.words, mixture, list(zip(key[track.track_id], voices, strict=True))))
    # A ballot is what is heard on it: votes on other audio must not count.
    heard = [(name, key[name], sound, [voice for _, voice in voices]) for name, _, sound, voices in shown]
    ballot = hashlib.sha256(json.dumps(heard).encode()).hexdigest()[:12]
    candidates = sorted({name for letters in key.values() for name in letters.values()})
    page = environment().get_template("ballot.html.j2").render(ballot=ballot, tracks=shown, enough=len(candidates) > 1)
    with publish(folder / BALLOT_FILE) as partial:
        partial.write_text(page, encoding="utf-8")
    with publish(folder / KEY_FILE) as partial:
        partial.write_text(json.dumps({"ballot": ballot, "candidates": candidates, "tracks": key}, indent=1))
    return ballot


def count_votes(folder: Path, key_file: Path) -> pd.DataFrame:
    """Count the `*.json` files that voters saved: a table (candidate, votes), most votes first.

    Files of another ballot are passed over: what they voted on is no longer there. Of several files of one voter the
    newest counts. Raises InputError for a file that
    is not a vote, and for a track or letter that the ballot does not have.
    """
    key = json.loads(key_file.read_text())
    counted = Counter(dict.fromkeys(key["candidates"], 0))
    latest: dict[str, tuple[Path, dict[str, str]]] = {}
    for file in sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        vote = _read_vote(file)
        if vote["ballot"] == key["ballot"]:
            latest[str(vote.get("voter", file.stem)).casefold()] = file, vote["votes"]
    for file, votes in latest.values():
        for track, letter in votes.items():
            candidate = key["tracks"].get(track, {}).get(letter)
            if candidate is None:
                raise _unusable(file, "tracks and letters of the ballot", f"{letter!r} for {track!r}")
            counted[candidate] += 1
    return pd.DataFrame(counted.most_common(), columns=["candidate", "votes"])


def _players(paths: Sequence[Path], stretch: Stretch) -> list[str]:
    """The same stretch of several files as sounds for a page, all as loud as the quietest: none must win by that."""
    sounds = [audio.read(path, stretch.start, stretch.frames)[0] for path in paths]
    loudness = [loudness_lufs(sound) for sound in sounds]
    quietest = min((value for value in loudness if value is not None), default=0.0)
    matched = [
        sound if value is None else sound * np.float32(10 ** ((quietest - value) / 20))
        for sound, value in zip(sounds, loudness, strict=True)
    ]
    gain = min(1.0, HEADROOM / max(*(peak(sound) for sound in matched), 1e-9))
    return [data_uri(encode_mp3(np.float32(gain) * sound), "audio/mpeg") for sound in matched]


def _read_vote(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _unusable(file, "JSON", str(error)) from error
    if not isinstance(content, dict) or not isinstance(content.get("votes"), dict) or "ballot" not in content:
        raise _unusable(file, 'an object with "ballot" and "votes"', str(content)[:80])
    return content


def _unusable(file: Path, expected: str, found: str) -> InputError:
    return InputError(
        "vote", file=file, expected=expected, found=found, remedy="save the ballot's page again, or remove the file"
    )
