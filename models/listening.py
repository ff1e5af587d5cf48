"""The blind listening test (the report's Section VI): a ballot without names, its key, and what votes decide.

Which candidates stand on the ballot, and what follows from a decision, belongs to the assets.
"""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta

from data import audio
from data.errors import InputError
from data.files import publish
from data.measure import loudness_lufs, peak
from models.report.excerpts import HEADROOM, Stretch, choose_stretch, data_uri, encode_mp3
from models.report.page import environment

BALLOT_FILE = "ballot.html"
KEY_FILE = "key.json"
# Six who all agree are the fewest that a coin would not: it lets five agree once in sixteen times, six once in 32.
LEAST_VOTERS = 6
RESAMPLES = 10_000
_LETTERS = "ABCDEFGH"

# voter -> track id -> the candidate chosen
Votes = dict[str, dict[str, str]]


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


def read_votes(folder: Path, key_file: Path) -> Votes:
    """What each voter chose, from the `*.json` files that voters saved: voter -> track id -> candidate.

    Files of another ballot are passed over: what they voted on is no longer there. Of several files of one voter the
    newest counts; names differ neither by case nor by spaces. A voter who chose nothing is none. Raises InputError
    for a file that is not a vote, and for a track or letter that the ballot does not have.
    """
    key = json.loads(key_file.read_text())
    latest: dict[str, tuple[Path, dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        vote = _read_vote(file)
        if vote["ballot"] == key["ballot"]:
            latest[_one_name(vote.get("voter", file.stem))] = file, vote["votes"]
    chosen: Votes = {}
    for voter, (file, votes) in latest.items():
        for track, letter in votes.items():
            candidate = key["tracks"].get(track, {}).get(letter) if isinstance(letter, str) else None
            if candidate is None:
                raise _unusable(file, "tracks and letters of the ballot", f"{letter!r} for {track!r}")
            chosen.setdefault(voter, {})[track] = candidate
    return chosen


def count_votes(folder: Path, key_file: Path) -> pd.DataFrame:
    """Count the files that `read_votes` reads: a table (candidate, votes, voters), most votes first.

    `voters` is how many people chose the candidate for at least one song. What the counts decide: `decide_votes`.
    """
    chosen = read_votes(folder, key_file)
    names = json.loads(key_file.read_text())["candidates"]
    counted = Counter(dict.fromkeys(names, 0))
    counted.update(candidate for choices in chosen.values() for candidate in choices.values())
    table = pd.DataFrame(counted.most_common(), columns=["candidate", "votes"])
    table["voters"] = [sum(name in choices.values() for choices in chosen.values()) for name in table["candidate"]]
    return table


@dataclass(frozen=True)
class VoteDecision:
    """What a ballot decided: `preferred` over every other candidate, or, where `decided` is False, why not.

    `words` is for people. `difference` is the share of songs (-1 to 1) for which voters chose `leading` rather than
    `rival`, averaged over voters, with its 95 % interval `low` to `high`; `agreeing` of the `telling` voters who
    chose one of the two more often chose `leading`, and `agreement_low` to `agreement_high` is the 95 % interval of
    that share (0 to 1). Numbers are NaN, and names None, where too few candidates or voters leave nothing to compare.
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
    chosen = read_votes(folder, key_file)
    names = json.loads(key_file.read_text())["candidates"]
    standing = [name for name in names if among is None or name in among]
    return best_by_votes(chosen, standing, least_voters=least_voters, seed=seed)


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


def _one_name(voter: object) -> str:
    """A voter's name without what typing changes: case, spaces, and how an accent is written."""
    return " ".join(unicodedata.normalize("NFKC", str(voter)).casefold().split())


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
