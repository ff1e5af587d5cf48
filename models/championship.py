"""The championship: who is the best candidate, who meets it, and who ought to be champion.

Functions of values: what the facts are is gathered from files elsewhere, and what follows from a verdict belongs to the
assets. How two separators are compared stands in `models.contest`, what votes decide in `models.listening`. Held-out
tracks have no say here.

A champion is replaced by a candidate that voters prefer to it by more than chance explains, or that is better on
today's validation tracks by more than chance explains, or that is named by hand; else nothing touches it. The verdict
is the same before and after the promotion that follows from it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from data.errors import InputError
from models.contest import Contest, contest
from models.fairness import common_tracks

if TYPE_CHECKING:
    from models.listening import VoteDecision  # with the ballot's sounds and pictures, which take a second to load

BALLOT_CANDIDATES = 3


@dataclass(frozen=True)
class Training:
    """What stands of a candidate: the fingerprint of its training, and how good that was.

    `validation` is its table VALIDATION, None in trainings from before it was kept. `contends` says whether it is over
    today's validation tracks, none of which it was trained on.
    """

    fingerprint: str
    validation: pd.DataFrame | None = None
    contends: bool = False


@dataclass(frozen=True)
class Trained:
    """A training of a candidate: the candidate's name, the training's fingerprint, and why it is where it is.

    `predecessor` is the fingerprint of the champion that this one took the place of.
    """

    name: str
    fingerprint: str
    reason: str
    predecessor: str = ""


@dataclass(frozen=True)
class Measured:
    """A champion on today's validation tracks: who was measured, and its scores (table VALIDATION), kept in `folder`.

    `seen` are those of the tracks that it was trained on.
    """

    champion: str
    fingerprint: str
    validation: pd.DataFrame
    folder: Path
    seen: Collection[str] = ()


@dataclass(frozen=True)
class Facts:
    """All that a verdict goes by.

    `trained` has every candidate that is trained, by name, and beside them those that are voted on or named by hand;
    `standing` is the champion as it stands. `votes` are what was decided by them (None where nobody voted), over the
    candidates of `ballot`. `by_hand` is who was named by hand, None for nobody. `measured` is asked for only where
    validation decides (`contested`).
    """

    trained: Mapping[str, Training]
    standing: Trained | None = None
    votes: VoteDecision | None = None
    ballot: Collection[str] = ()
    by_hand: str | None = None
    measured: Measured | None = None

    @property
    def words(self) -> str:
        """What the votes decide, for people."""
        return self.votes.words if self.votes else "nobody has voted"


@dataclass(frozen=True)
class Verdict:
    """Who ought to be champion, and why; `contest` holds the numbers where two separators had to be compared.

    `challenger` is None where no candidate can be one.
    """

    challenger: Trained | None
    champion: Trained
    contest: Contest | None = None

    @property
    def promoted(self) -> bool:
        """Whether the challenger is, or ought to become, the champion."""
        return self.challenger is not None and self.champion.fingerprint == self.challenger.fingerprint


def decide(facts: Facts) -> Verdict | None:
    """Who ought to be champion; None where there is neither a champion nor a candidate.

    Votes say nothing of a champion that was not on the ballot: the candidate that they prefer has to be better than it
    on the validation tracks, like any other. Raises InputError where the champion was not measured on today's
    validation tracks although it has to be, and as `challenger` does.
    """
    best, standing = challenger(facts), facts.standing
    if standing is None:
        return Verdict(best, best) if best else None
    if best is None:
        return Verdict(None, standing)
    if best.fingerprint == standing.fingerprint:
        return Verdict(standing, standing)
    if not contested(facts):
        return Verdict(best, best)
    held = _contest(facts, best, standing)
    winner = best if held.better else standing
    other = "an earlier training of it" if standing.name == best.name else standing.name
    reason = f"{best.name} is {'' if held.better else 'not '}better than the champion, {other}: {held.figures}"
    return Verdict(best, Trained(winner.name, winner.fingerprint, reason), held)


def challenger(facts: Facts) -> Trained | None:
    """The candidate that is named by hand; else the one that voters prefer; else the best on the validation tracks.

    The last only of those trained on today's pairs: others have scores over other validation tracks, or may have been
    trained on today's. None where there is none. Raises InputError where the one named by hand was never trained.
    """
    if facts.by_hand:
        return _named_by_hand(facts, facts.by_hand)
    if facts.votes and facts.votes.preferred:
        name, reason = facts.votes.preferred, facts.votes.words
    else:
        means = {name: _mean(training.validation) for name, training in facts.trained.items() if training.contends}
        if not means:
            return None
        name = max(means, key=lambda name: (means[name], name))
        reason = "best uSDR on validation tracks, and no champion before it"
    return Trained(name, facts.trained[name].fingerprint, reason)


def contested(facts: Facts) -> bool:
    """Whether scores on validation tracks have to tell the challenger from the champion."""
    best, standing = challenger(facts), facts.standing
    if best is None or standing is None or best.fingerprint == standing.fingerprint or facts.by_hand:
        return False
    # Voters heard the champion where it stands on the ballot itself, and not only another training of its name.
    trained = facts.trained.get(standing.name)
    heard = standing.name in facts.ballot and trained is not None and trained.fingerprint == standing.fingerprint
    return not (facts.votes and facts.votes.preferred and heard)


def opponent(facts: Facts) -> str:
    """The fingerprint of the champion that the challenger meets: once promoted, the one whose place it took.

    So a promotion does not change what led to it, and a second run finds nothing to do. "" where there is none.
    """
    best, standing = challenger(facts), facts.standing
    if standing is None:
        return ""
    return standing.predecessor if best and best.fingerprint == standing.fingerprint else standing.fingerprint


def promoted_among(found: Verdict | None, trained: Mapping[str, str]) -> str | None:
    """Which training (fingerprints by name) is, or is about to be, the champion; None where that is an earlier one."""
    if found is None or trained.get(found.champion.name) != found.champion.fingerprint:
        return None
    return found.champion.name


def ranking(candidates: Collection[str], validation: Mapping[str, pd.DataFrame]) -> list[str]:
    """Candidates, best mean uSDR on the validation tracks that they have in common first.

    `validation` has the tables VALIDATION of those that have one. Who shares none of their tracks comes last.
    """
    every = {track for table in validation.values() for track in table["track_id"]}
    common = common_tracks({name: set(table["track_id"]) for name, table in validation.items()}, every)
    means = {
        name: validation[name].loc[validation[name]["track_id"].isin(common.tracks), "usdr_db"].mean()
        for name in common.methods
    }
    return sorted(candidates, key=lambda name: (-means.get(name, -math.inf), name))


def on_the_ballot(ranked: Sequence[str]) -> list[str]:
    """Whom people vote on, of candidates best first."""
    return list(ranked[:BALLOT_CANDIDATES])


def by_audio(validation: pd.DataFrame, heard: pd.DataFrame | None) -> pd.DataFrame:
    """A table VALIDATION of tracks with a score, told by their audio as far as it is known: one name may stand for two.

    `heard` is the table HEARD of that training, None where it was not kept.
    """
    table = validation.dropna()
    if heard is None:
        return table
    audio = dict(zip(heard["track_id"], heard["mixture_sha256"], strict=True))
    return table.assign(track_id=[audio.get(track_id, track_id) for track_id in table["track_id"]])


def _named_by_hand(facts: Facts, name: str) -> Trained:
    training = facts.trained.get(name)
    if training is None:
        raise InputError(
            "setting ISOLATION_CHAMPION",
            expected=f"a candidate that is trained: {', '.join(facts.trained) or 'none is yet'}",
            found=name,
            remedy="train it first, or unset ISOLATION_CHAMPION",
        )
    reason = "named by hand (ISOLATION_CHAMPION), whatever votes and scores say"
    return Trained(name, training.fingerprint, reason)


def _mean(validation: pd.DataFrame | None) -> float:
    """Mean uSDR in dB; less than any number where there is none."""
    mean = math.nan if validation is None else float(validation["usdr_db"].mean())
    return -math.inf if math.isnan(mean) else mean


def _contest(facts: Facts, best: Trained, standing: Trained) -> Contest:
    measured, own = facts.measured, facts.trained[best.name].validation
    if measured is None or measured.fingerprint != standing.fingerprint:
        raise InputError(
            "contest for the championship",
            file=measured.folder if measured else None,
            expected="scores of the standing champion",
            found=f"scores of {(measured and measured.champion) or 'nobody'} as trained at another time",
            remedy="materialise evaluation/champion_validation first",
        )
    if own is None:
        raise InputError(
            "contest for the championship",
            expected=f"uSDR of {best.name} on today's validation tracks",
            found="none: it was trained by a version that did not keep them",
            remedy=f"train {best.name} again",
        )
    return contest(own, measured.validation, seen=measured.seen)
