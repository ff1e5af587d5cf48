"""The blind listening test (the report's Section VI): a ballot without names, its key, and what votes decide.

Which candidates stand on the ballot, and what follows from a decision, belongs to the assets.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import TypeAdapter
from scipy.stats import beta

from data import audio
from data.errors import InputError, os_error
from data.files import obstacle, publish
from data.measure import loudness_lufs, peak
from data.text import one_line
from models.report.excerpts import HEADROOM, Stretch, choose_stretch, data_uri, encode_mp3
from models.report.page import environment

BALLOT_FILE = "ballot.html"
KEY_FILE = "key.json"
# Six who all agree are the fewest that a coin would not: it lets five agree once in sixteen times, six once in 32.
LEAST_VOTERS = 6
RESAMPLES = 10_000
LARGEST_VOTE = 1_000_000  # bytes; what the page saves has some hundred
_LETTERS = "ABCDEFGH"
# What Unicode calls ignorable by default, and shows as nothing: two names that look the same are the same.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

# voter -> track id -> the candidate chosen
Votes = dict[str, dict[str, str]]


class VotesRead(NamedTuple):
    """What each voter chose, and the files that do not count: their names, with the reason."""

    votes: Votes
    passed_over: dict[str, str]


@dataclass(frozen=True)
class BallotTrack:
    """One track to vote on: the mixture, and each candidate's vocals by candidate name; wav files of equal length."""

    track_id: str
    mixture: Path
    vocals: Mapping[str, Path]


def write_ballot(folder: Path, tracks: Sequence[BallotTrack], *, seed: int, least_voters: int = LEAST_VOTERS) -> str:
    """Write `ballot.html`, one self-contained page, and `key.json`, which says who is behind each letter.

    Letters are shuffled anew for every track. Returns the ballot's id, which votes carry; other sounds behind the
    letters make another ballot. The page says that `least_voters` are needed for a decision. With fewer than two
    candidates it says that there is nothing to compare. Raises InputError for audio that cannot be read.
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
    page = (
        environment()
        .get_template("ballot.html.j2")
        .render(ballot=ballot, tracks=shown, enough=len(candidates) > 1, least_voters=least_voters)
    )
    with publish(folder / BALLOT_FILE) as partial:
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")
    with publish(folder / KEY_FILE) as partial:
        partial.write_text(json.dumps({"ballot": ballot, "candidates": candidates, "tracks": key}, indent=1))
    return ballot


def read_votes(folder: Path, key_file: Path) -> VotesRead:
    """What each voter chose, from the `*.json` files that voters saved: voter -> track id -> candidate.

    Files come from other people. One that is no vote on this ballot is passed over, with the reason, and the others
    count: files of another ballot, because what they voted on is no longer there; tracks or letters that the ballot
    does not have; copies. Of several files of one voter the newest counts; names differ neither by case nor by spaces,
    nor by how a character is written. A voter who chose nothing is none.

    The id of a ballot follows from its sounds and is known only to those who have the page. Those can vote under as
    many names as they like: nobody can see that in the files, so keep the folder to people you trust.

    Raises InputError where the folder or the ballot's key cannot be read.
    """
    key = _read_key(key_file)
    latest: dict[str, tuple[str, dict[str, str]]] = {}
    passed_over: dict[str, str] = {}
    seen: dict[str, str] = {}
    for file in _vote_files(folder):
        name = one_line(file.name)
        try:
            content = _content(file)
            copy = seen.setdefault(hashlib.sha256(content).hexdigest(), name)
            if copy != name:
                raise _PassedOver(f"the same as {copy}")
            voter, chosen = _vote(content, key, file.stem)
        except _PassedOver as reason:
            passed_over[name] = str(reason)
            continue
        if voter in latest:
            passed_over[latest[voter][0]] = f"{name} of the same voter is newer"
        latest[voter] = name, chosen
    return VotesRead({voter: chosen for voter, (_, chosen) in latest.items() if chosen}, passed_over)


def candidates_on(key_file: Path) -> list[str]:
    """The candidates on a ballot. Raises InputError where its key cannot be read."""
    return _read_key(key_file).candidates


def count_votes(folder: Path, key_file: Path) -> pd.DataFrame:
    """Count the files that `read_votes` reads: a table (candidate, votes, voters), most votes first.

    `voters` is how many people chose the candidate for at least one song. What the counts decide: `decide_votes`.
    """
    chosen = read_votes(folder, key_file).votes
    names = candidates_on(key_file)
    counted = Counter(dict.fromkeys(names, 0))
    counted.update(candidate for choices in chosen.values() for candidate in choices.values())
    table = pd.DataFrame(counted.most_common(), columns=["candidate", "votes"])
    table["voters"] = [sum(name in choices.values() for choices in chosen.values()) for name in table["candidate"]]
    return table


@dataclass(frozen=True)
class VoteDecision:
    """What a ballot decided: `preferred` over every other candidate, or, where `decided` is False, why not.

    `words` is for people; `passed_over` names the files that do not count, with the reasons. `difference` is the share
    of songs (-1 to 1) for which voters chose `leading` rather than `rival`, averaged over voters, with its 95 %
    interval `low` to `high`; `agreeing` of the `telling` voters who chose one of the two more often chose `leading`,
    and `agreement_low` to `agreement_high` is the 95 % interval of that share (0 to 1). Numbers are NaN, and names
    None, where too few candidates or voters leave nothing to compare.
    """

    decided: bool
    words: str
    voters: int
    least_voters: int
    leading: str | None = None
    rival: str | None = None
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    agreeing: int = 0
    telling: int = 0
    agreement_low: float = math.nan
    agreement_high: float = math.nan
    passed_over: Mapping[str, str] = field(default_factory=dict)

    @property
    def preferred(self) -> str | None:
        """The candidate that the voters prefer; None where nothing is decided."""
        return self.leading if self.decided else None


def decide_votes(
    folder: Path,
    key_file: Path,
    *,
    least_voters: int = LEAST_VOTERS,
    seed: int = 0,
    among: Collection[str] | None = None,
) -> VoteDecision:
    """What the votes in `folder` decide about the candidates of a ballot's key: `read_votes`, then `best_by_votes`.

    `among` names the candidates that still sound as they did on the ballot (default: all): one that was trained again
    since can neither win nor be beaten. Raises InputError as `read_votes` does.
    """
    read = read_votes(folder, key_file)
    standing = [name for name in candidates_on(key_file) if among is None or name in among]
    decision = best_by_votes(read.votes, standing, least_voters=least_voters, seed=seed)
    if not read.passed_over:
        return decision
    count = len(read.passed_over)
    words = f"{decision.words} ({count} file{'' if count == 1 else 's'} passed over)"
    return replace(decision, words=words, passed_over=read.passed_over)


def best_by_votes(
    votes: Votes, candidates: Sequence[str], *, least_voters: int = LEAST_VOTERS, seed: int = 0
) -> VoteDecision:
    """Whether voters prefer one of the candidates to each of the others (see `preference`).

    The one with the highest average share has to be preferred to all others; the comparison told is the one that
    failed, or else the closest. Of three equal candidates one is called preferred in at most 7.5 % of ballots.
    """
    voters = sum(bool(choices) for choices in votes.values())
    if not voters:
        return VoteDecision(False, f"nobody has voted, {_needed(least_voters)}", 0, least_voters)
    if len(candidates) < 2:
        words = "fewer than two candidates are as they were heard: there is nothing to choose between"
        return VoteDecision(False, words, voters, least_voters)
    shares = {name: _shares(votes, name).mean() for name in sorted(candidates)}
    leading = max(shares, key=lambda name: shares[name])
    against = [
        preference(votes, leading, rival, least_voters=least_voters, seed=seed) for rival in shares if rival != leading
    ]
    return min(against, key=lambda decision: (decision.decided, decision.low, decision.agreement_low))


def preference(votes: Votes, a: str, b: str, *, least_voters: int = LEAST_VOTERS, seed: int = 0) -> VoteDecision:
    """Whether voters prefer candidate `a` to `b`: a pure function of what each voter chose.

    Voters are the sample, not clicks: the clicks of one person are not independent. Every voter weighs the same, by
    the share of the songs they answered, so that who answers all songs says no more than who answers some. Three
    things have to hold: at least `least_voters` have voted; the mean difference between the shares of `a` and `b` has
    a 95 % interval above zero, from resampling voters 10000 times with `seed`; and of those voters who chose one more
    often than the other, more chose `a` than a coin explains, by the exact (Clopper-Pearson) 95 % interval. The last
    is what counts where all agree: the bootstrap of equal numbers is a point, however few they are. Nobody can see in
    the files whether ten names are ten people: keep the folder of votes to those you trust. The interval says what
    other voters would have said of these songs, not what these would have said of others.
    """
    differences = _shares(votes, a) - _shares(votes, b)
    voters = differences.size
    if voters < least_voters:
        return VoteDecision(False, f"{_people(voters)}, {_needed(least_voters)}", voters, least_voters, a, b)
    if not voters:
        return VoteDecision(False, "nobody has voted", 0, least_voters, a, b)
    draws = np.random.default_rng(seed).integers(voters, size=(RESAMPLES, voters))
    low, high = np.quantile(differences[draws].mean(axis=1), [0.025, 0.975])
    agreeing, telling = int((differences > 0).sum()), int((differences != 0).sum())
    agreement = _exact_interval(agreeing, telling)
    difference = float(differences.mean())
    figures = (
        f"chosen for {_percent(difference)} % of the songs more, 95 % interval {_percent(low)} to {_percent(high)}; "
        f"by {agreeing} of the {telling} who chose one of the two more often, 95 % interval "
        f"{_percent(agreement[0])} to {_percent(agreement[1])} %"
    )
    decided = low > 0.0 and agreement[0] > 0.5
    says = f"prefer {a} to {b}" if decided else f"do not settle between {a} and {b}"
    return VoteDecision(
        bool(decided),
        f"{_people(voters)} {says}: {figures}",
        voters,
        least_voters,
        a,
        b,
        difference,
        float(low),
        float(high),
        agreeing,
        telling,
        *agreement,
    )


def _shares(votes: Votes, name: str) -> npt.NDArray[np.float64]:
    """Share of the songs that each voter answered for which they chose `name`, `(voters,)`, voters in a fixed order."""
    answered = [list(votes[voter].values()) for voter in sorted(votes) if votes[voter]]
    return np.array([choices.count(name) / len(choices) for choices in answered], dtype=np.float64)


def _exact_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share by Clopper and Pearson; 0 to 1 where nothing was tried."""
    low = float(beta.ppf(0.025, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.ppf(0.975, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def _percent(share: float) -> int:
    return round(100 * share)


def _people(count: int) -> str:
    return f"{count} voter{'' if count == 1 else 's'}"


def _needed(least_voters: int) -> str:
    return f"{least_voters} {'is' if least_voters == 1 else 'are'} needed"


def _one_name(voter: str) -> str:
    """A voter's name without what typing changes: case, spaces, how an accent is written, what nobody sees."""
    seen = _UNSEEN.sub("", unicodedata.normalize("NFKC", voter))
    folded = unicodedata.normalize("NFKC", seen.casefold())
    return "".join(character for character in folded if character.isprintable() and not character.isspace())


def _players(paths: Sequence[Path], stretch: Stretch) -> list[str]:
    """The same stretch of several files as sounds for a page, all as loud as the quietest: none must win by that."""
    sounds = [audio.read(path, stretch.start, stretch.frames)[0] for path in paths]
    loudness = [loudness_lufs(sound) for sound in sounds]
    quietest = min((value for value in loudness if value is not None), default=0.0)
    matched = [
        sound if value is None else sound * np.float32(10 ** ((quietest - value) / 20))
        for sound, value in zip(sounds, loudness, strict=True)
    ]
    gain = min(1.0, HEADROOM / max([1e-9, *(peak(sound) for sound in matched)]))
    return [data_uri(encode_mp3(np.float32(gain) * sound), "audio/mpeg") for sound in matched]


class _PassedOver(Exception):
    """Why a file is no vote."""


class _Key(NamedTuple):
    """Who is behind the letters of a ballot: track id -> letter -> candidate."""

    ballot: str
    candidates: list[str]
    tracks: dict[str, dict[str, str]]


_KEY = TypeAdapter(_Key)


def _read_key(file: Path) -> _Key:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        json.dumps(content, ensure_ascii=False).encode()  # half a character, which JSON can spell, is no text
        key = _KEY.validate_python((content["ballot"], content["candidates"], content["tracks"]), strict=True)
    except OSError as error:
        raise os_error(error, "key of the ballot", file=file) from error
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError(
            "key of the ballot",
            file=file,
            expected="what evaluation/listening_test wrote",
            found=f"a damaged file ({one_line(error)[:80]})",
            remedy="delete it and materialise evaluation/listening_test again; the same ballot comes of it",
        ) from error
    return key


def _vote_files(folder: Path) -> list[Path]:
    """What may be votes, the newest last."""

    def age(file: Path) -> int:
        try:
            return file.lstat().st_mtime_ns
        except OSError:
            return 0

    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() == ".json"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise os_error(error, "votes", file=folder) from error
    return sorted(files, key=lambda file: (age(file), file.name))


def _content(file: Path) -> bytes:
    try:
        found = obstacle(file)
        if found is not None:
            raise _PassedOver(found)
        if file.name.startswith("."):
            raise _PassedOver("a hidden file")
        size = file.stat().st_size
        if size > LARGEST_VOTE:
            raise _PassedOver(f"{size} bytes, where a vote has some hundred")
        return file.read_bytes()
    except OSError as error:
        raise _PassedOver(f"cannot be read: {error.strerror}") from error


def _vote(content: bytes, key: _Key, stem: str) -> tuple[str, dict[str, str]]:
    """The voter, by one name, and the candidate chosen for each track, from what the ballot's page saved."""
    try:
        vote = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _PassedOver(f"no JSON ({one_line(error)[:80]})") from error
    if not isinstance(vote, dict) or not isinstance(vote.get("votes"), dict) or "ballot" not in vote:
        raise _PassedOver('no object with "ballot" and "votes"')
    if vote["ballot"] != key.ballot:
        raise _PassedOver("a vote on another ballot, whose sounds are no longer there")
    voter = vote.get("voter", stem)  # pages of the first version saved none
    if not isinstance(voter, str) or not _one_name(voter) or len(voter) > 200:
        raise _PassedOver("no name of a voter")
    chosen = {}
    for track, letter in vote["votes"].items():
        candidate = key.tracks.get(track, {}).get(letter) if isinstance(letter, str) else None
        if candidate is None:
            raise _PassedOver(f"{one_line(repr(letter))[:40]} for {one_line(repr(track))[:80]}: not on the ballot")
        chosen[track] = candidate
    return _one_name(voter), chosen


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice")
    return content


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
