"""Who is promoted: the blind ballot, the contest of the best candidate with the champion, and the champion itself.

A champion is replaced by a candidate that voters prefer to it by more than chance explains, or that is better on
today's validation tracks by more than chance explains, or that is named by hand; else nothing touches it. `verdict` is
that decision as a plain function of the files: it is the same before and after the promotion that follows from it.
"""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd
import pyarrow as pa

from assets.evaluation import GROUP, SCORES, FairScores, fair_scores, why_not_scored
from assets.launcher import Launcher
from assets.partitions import CANDIDATES
from assets.recording import OWNERS, Metadata, markdown_table, materialise, sentence, upstream, with_metadata
from assets.separators import CHECKPOINT, CODE_VERSION, heard_by_checkpoint, trained_on
from assets.training_set import LOOPBACK, artist_keys, read_manifest, same_recordings
from data import cache
from data.errors import InputError, os_error
from data.heard import HEARD, heard_by, heard_tracks, seen_tracks
from data.layout import CHAMPION_FILE, CHECKPOINT_FILE, KEY_FILE, Layout
from data.loopback import PAIRS
from data.recipe import Recipe
from data.settings import Settings
from data.tables import Table, column
from data.text import one_line
from models.contest import VALIDATION, Contest, contest, same_validation, validation_frame
from models.fairness import common_tracks
from models.job import ValidateJob

if TYPE_CHECKING:
    from models.listening import VoteDecision  # with the ballot's sounds and pictures, which take a second to load

LISTENING_TEST = dg.AssetKey([GROUP, "listening_test"])
CHAMPION_VALIDATION = dg.AssetKey([GROUP, "champion_validation"])
CHALLENGER = dg.AssetKey([GROUP, "challenger"])
CHAMPION = dg.AssetKey([GROUP, "champion"])
PROMOTION_CHECK = dg.AssetCheckKey(CHALLENGER, "better_than_the_champion")
BALLOT_CANDIDATES = 3
_BALLOT_CODE, _VALIDATION_CODE, _CHALLENGER_CODE, _CHAMPION_CODE = "4", "3", "2", "3"

CONTEST = Table(
    "contest.parquet",
    pa.schema(
        [
            column("track_id", pa.string(), "dataset/slug of a validation track"),
            column("challenger_usdr_db", pa.float64(), "uSDR of the challenger, dB"),
            column("champion_usdr_db", pa.float64(), "uSDR of the standing champion, dB"),
            column("difference_db", pa.float64(), "challenger less champion, dB"),
            column("counts", pa.string(), "yes, or why the track does not count"),
        ]
    ),
)


@dataclass(frozen=True)
class Trained:
    """A training of a candidate: the candidate's name and the fingerprint of that training; why it is where it is.

    `predecessor` is the fingerprint of the champion that this one took the place of; `by_votes` whether voters
    prefer it.
    """

    name: str
    fingerprint: str
    reason: str
    predecessor: str = ""
    by_votes: bool = False


@dataclass(frozen=True)
class Verdict:
    """Who ought to be champion, and why; `contest` holds the numbers where two separators had to be compared."""

    challenger: Trained
    champion: Trained
    contest: Contest | None = None

    @property
    def promoted(self) -> bool:
        """Whether the challenger is, or ought to become, the champion."""
        return self.champion.fingerprint == self.challenger.fingerprint


@dg.asset(
    key=LISTENING_TEST,
    group_name=GROUP,
    owners=OWNERS,
    deps=[SCORES],
    description="A blind ballot over the three best candidates: the reserved tracks under neutral letters. Put the "
    "votes that it saves into the folder `votes` of the storage root: enough voters who agree decide the champion.",
    kinds={"html"},
    code_version=_BALLOT_CODE,
)
def listening_test(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[Any]:
    root, layout = settings.root, Layout(settings.root)
    fair = fair_scores(settings)
    best, heard = ranked_candidates(settings, fair)[:BALLOT_CANDIDATES], reserved_tracks(fair)

    def work(folder: Path) -> dict[str, Any]:
        from models.listening import BallotTrack, write_ballot
        from models.score import audio_file

        tracks = [
            BallotTrack(
                track.track_id,
                root / track.mixture_path,
                {name: audio_file(layout.scores(name), track.track_id) for name in best},
            )
            for track in heard.itertuples()
        ]
        ballot = write_ballot(folder, tracks, seed=settings.seed, least_voters=settings.voters)
        return {"ballot_id": ballot, "candidates": len(best), "tracks": len(tracks)}

    def show(folder: Path) -> Metadata:
        return {"ballot": dg.MetadataValue.path(str(folder / "ballot.html"))}

    # Who is on it and what is heard: another score of the same audio is the same ballot.
    inputs = {name: upstream(root, SCORES, name).version for name in best}
    parameters = {"seed": settings.seed, "voters": settings.voters, "tracks": list(heard["track_id"])}
    result = materialise(context, root, recipe=Recipe(_BALLOT_CODE, parameters, inputs), work=work, show=show)
    return with_metadata(result, {"left_out": "\n".join(fair.sentences) or "none"})


@dg.asset(
    key=CHAMPION_VALIDATION,
    group_name=GROUP,
    owners=OWNERS,
    deps=[LOOPBACK, CHECKPOINT, LISTENING_TEST],
    description="uSDR of the standing champion on today's validation tracks: its own from training where these are "
    "the same audio, else measured again with its checkpoint. Empty where it has no challenger.",
    kinds={"pytorch", "parquet"},
    code_version=_VALIDATION_CODE,
    pool="gpu",
)
def champion_validation(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    launcher: dg.ResourceParam[Launcher],
) -> dg.MaterializeResult[Any]:
    root, layout = settings.root, Layout(settings.root)
    challenger, standing, today = challenger_today(settings), standing_champion(root), _pairs(root)

    def work(folder: Path) -> dict[str, Any]:
        own = layout.champion
        if standing is None or (challenger and challenger.fingerprint == standing.fingerprint):
            VALIDATION.write(folder, validation_frame({}))
            return {"champion": "", "fingerprint": "", "how": "nobody has to be compared with a champion"}
        measured = {"champion": standing.name, "fingerprint": standing.fingerprint}
        # Another version of the training code may have measured otherwise than today's candidates are.
        alike = upstream(root, CHAMPION).measured.get("training_code") == CODE_VERSION
        kept = alike and all(table.path(own).is_file() for table in (VALIDATION, PAIRS))
        if kept and same_validation(today, PAIRS.read(own)):
            shutil.copyfile(VALIDATION.path(own), VALIDATION.path(folder))
            return measured | {"how": "from its training, on the same tracks"}
        job = ValidateJob(own / CHECKPOINT_FILE, PAIRS.path(layout.loopback), root, folder, settings.device)
        launcher.launch(context, job, settings, what="validation of the champion")
        return measured | {"how": "measured again, on today's tracks"}

    inputs = {"champion": _opponent(challenger, standing), "validation": _validation_version(today)}
    return materialise(context, root, recipe=Recipe(_VALIDATION_CODE, {}, inputs), work=work, show=_show_validation)


@dg.asset(
    key=CHALLENGER,
    group_name=GROUP,
    owners=OWNERS,
    deps=[CHAMPION_VALIDATION, CHECKPOINT, LISTENING_TEST, LOOPBACK],
    description="The best candidate, named by hand, by votes, or else by uSDR on the validation tracks, track by track "
    "against the standing champion. Its data version is the separator that ought to be champion.",
    kinds={"parquet"},
    code_version=_CHALLENGER_CODE,
)
def challenger(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root = settings.root
    best, found = challenger_today(settings), verdict(settings)
    if best is None or found is None:
        raise InputError(
            "evaluation/challenger",
            expected="at least one candidate that is trained on today's training pairs",
            found="none",
            remedy="run the job `train`, or `retrain`, for a candidate",
        )

    def work(folder: Path) -> dict[str, Any]:
        CONTEST.write(folder, found.contest.tracks if found.contest else pd.DataFrame(columns=CONTEST.names))
        return {
            "candidate": best.name,
            "fingerprint": best.fingerprint,
            "promoted": found.promoted,
            "reason": found.champion.reason,
            "champion": found.champion.name,
            "champion_fingerprint": found.champion.fingerprint,
            "votes": _words(settings),
        }

    inputs = {
        "challenger": best.fingerprint,
        "champion": _opponent(best, standing_champion(root)),
        "champion_validation": upstream(root, CHAMPION_VALIDATION).version,
    }
    result = materialise(
        context,
        root,
        recipe=Recipe(_CHALLENGER_CODE, {"votes": _words(settings), "by_hand": settings.champion}, inputs),
        work=work,
        show=_show_contest,
        version=found.champion.fingerprint,
    )
    return with_metadata(result, _show_votes(settings))


@dg.asset_check(
    asset=CHALLENGER,
    name=PROMOTION_CHECK.name,
    blocking=True,
    description="The best candidate was voted for, or is better than the champion on today's validation tracks by "
    "more than chance explains, or there is no champion yet. Where this fails, the champion stays as it is.",
)
def better_than_the_champion(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    found = upstream(settings.root, CHALLENGER).measured
    return dg.AssetCheckResult(
        passed=found["promoted"],
        description=sentence(found["reason"]),
        metadata={"challenger": found["candidate"], "champion": found["champion"]},
    )


@dg.asset(
    key=CHAMPION,
    group_name=GROUP,
    owners=OWNERS,
    deps=[CHECKPOINT, CHALLENGER],
    description="The promoted separator, which `isolate` uses. Replaced by votes, or by a candidate that is better on "
    "the validation tracks by more than chance explains. Scores on held-out tracks never decide.",
    kinds={"pytorch"},
    code_version=_CHAMPION_CODE,
)
def champion(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root, before, found = settings.root, standing_champion(settings.root), upstream(settings.root, CHALLENGER)
    name, fingerprint, reason = (found.measured[part] for part in ("champion", "champion_fingerprint", "reason"))

    def work(folder: Path) -> dict[str, Any]:
        trained, source = upstream(root, CHECKPOINT, name), Layout(root).checkpoint(name)
        if trained.fingerprint != fingerprint:
            raise InputError(
                "evaluation/champion",
                file=source,
                expected="the training that evaluation/challenger was materialised with",
                found="another one",
                remedy="materialise evaluation/challenger, then evaluation/champion",
            )
        # With what it has heard, and which tracks its validation scores stand over: splits change.
        for file in (CHECKPOINT_FILE, VALIDATION.file, PAIRS.file, HEARD.file):
            if (source / file).is_file():
                shutil.copyfile(source / file, folder / file)
        content = {"candidate": name, "fingerprint": fingerprint, "reason": reason, "votes": _words(settings)}
        content["predecessor"] = before.fingerprint if before and before.fingerprint != fingerprint else ""
        (folder / CHAMPION_FILE).write_text(json.dumps(content, indent=1))
        code = trained.recipe.code_version if trained.recipe else "unknown"
        return {"candidate": name, "reason": reason, "training_code": code, **_validation(trained.measured)}

    return materialise(context, root, recipe=Recipe(_CHAMPION_CODE, {}, {"challenger": found.version}), work=work)


def ranked_candidates(settings: Settings, fair: FairScores) -> list[str]:
    """The candidates that can be compared, best uSDR on the validation tracks that they have in common first.

    Those that share none of these with the others come last.
    """
    layout = Layout(settings.root)
    folders = {name: layout.checkpoint(name) for name in fair.candidates}
    # Checkpoints from before this table was kept have none.
    tables = {name: _validated(folder) for name, folder in folders.items() if VALIDATION.path(folder).is_file()}
    every = {track for table in tables.values() for track in table["track_id"]}
    common = common_tracks({name: set(table["track_id"]) for name, table in tables.items()}, every)
    means = {
        name: tables[name].loc[tables[name]["track_id"].isin(common.tracks), "usdr_db"].mean()
        for name in common.methods
    }
    return sorted(fair.candidates, key=lambda name: (-means.get(name, -math.inf), name))


def _validated(folder: Path) -> pd.DataFrame:
    """The table VALIDATION of a checkpoint, its tracks told by their audio: one name may have stood for two."""
    table, heard = VALIDATION.read(folder).dropna(), heard_by(folder)
    if heard is None:
        return table
    audio = dict(zip(heard["track_id"], heard["mixture_sha256"], strict=True))
    return table.assign(track_id=[audio.get(track_id, track_id) for track_id in table["track_id"]])


def reserved_tracks(fair: FairScores) -> pd.DataFrame:
    """The tracks that people look at and listen to, as far as no separator knows them (table SCORED)."""
    return fair.tracks[fair.tracks["split"] == "reserved"]


def verdict(settings: Settings) -> Verdict | None:
    """Who ought to be champion; None where there is neither a champion nor a candidate.

    Votes say nothing of a champion that was not on the ballot: the candidate that they prefer has to be better than it
    on the validation tracks, like any other. Raises InputError where the champion was not measured on today's
    validation tracks although it has to be.
    """
    best, standing = challenger_today(settings), standing_champion(settings.root)
    if best is None:
        return Verdict(standing, standing) if standing else None
    if standing is None:
        return Verdict(best, best)
    if best.fingerprint == standing.fingerprint:
        return Verdict(standing, standing)
    if settings.champion or (best.by_votes and _was_voted_on(settings, standing)):
        return Verdict(best, best)
    held = _contest(settings, best, standing)
    winner = best if held.better else standing
    other = "an earlier training of it" if standing.name == best.name else standing.name
    reason = f"{best.name} is {'' if held.better else 'not '}better than the champion, {other}: {held.figures}"
    return Verdict(best, Trained(winner.name, winner.fingerprint, reason), held)


def challenger_today(settings: Settings) -> Trained | None:
    """The candidate that is named by hand; else the one that voters prefer; else the best on the validation tracks.

    The last only of those trained on today's pairs: others have scores over other validation tracks, or may have been
    trained on today's. None where there is none. Raises InputError where the one named by hand was never trained.
    """
    root, layout = settings.root, Layout(settings.root)
    if settings.champion:
        return _named_by_hand(settings, settings.champion)
    decision = vote_decision(settings)
    if decision is not None and decision.preferred:
        trained = upstream(root, CHECKPOINT, decision.preferred)
        return Trained(decision.preferred, trained.fingerprint, decision.words, by_votes=True)
    pairs, means = upstream(root, LOOPBACK).version, {}
    for name in CANDIDATES.get_partition_keys():
        record = cache.recall(layout.checkpoint(name))
        if record and VALIDATION.file in record.files and trained_on(record, pairs):
            mean = VALIDATION.read(layout.checkpoint(name))["usdr_db"].mean()
            means[name] = -math.inf if math.isnan(mean) else float(mean)
    if not means:
        return None
    name = max(means, key=lambda name: (means[name], name))
    reason = "best uSDR on validation tracks, and no champion before it"
    return Trained(name, upstream(root, CHECKPOINT, name).fingerprint, reason)


def _named_by_hand(settings: Settings, name: str) -> Trained:
    record = cache.recall(Layout(settings.root).checkpoint(name))
    if record is None:
        trained = [n for n in CANDIDATES.get_partition_keys() if Layout(settings.root).checkpoint(n).is_dir()]
        raise InputError(
            "setting ISOLATION_CHAMPION",
            expected=f"a candidate that is trained: {', '.join(trained) or 'none is yet'}",
            found=name,
            remedy="train it first, or unset ISOLATION_CHAMPION",
        )
    return Trained(name, record.fingerprint, "named by hand (ISOLATION_CHAMPION), whatever votes and scores say")


def standing_champion(root: Path) -> Trained | None:
    """The champion as its files stand; None where there is none, or where its files are no longer whole."""
    folder = Layout(root).champion
    if cache.recall(folder) is None:
        return None
    try:
        content = json.loads((folder / CHAMPION_FILE).read_text(encoding="utf-8"))
        told = [content["candidate"], content["fingerprint"], content["reason"], content.get("predecessor", "")]
        if not all(isinstance(text, str) for text in told):
            raise TypeError("values that are no text")
    except OSError as error:
        raise os_error(error, "champion", file=folder / CHAMPION_FILE) from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(
            "champion",
            file=folder / CHAMPION_FILE,
            expected="what evaluation/champion wrote",
            found=f"a damaged file ({one_line(error)[:80]})",
            remedy=f"remove the folder {folder} and materialise evaluation/champion again",
        ) from error
    return Trained(*told)


def vote_decision(settings: Settings) -> "VoteDecision | None":
    """What the votes decide of the candidates as they sound now; None where nobody voted."""
    layout = Layout(settings.root)
    key = layout.listening_test / KEY_FILE
    if not key.is_file() or not any(layout.votes.glob("*.json")):
        return None
    from models.listening import decide_votes

    # A candidate that was trained again since has not been listened to.
    heard = [name for name in _on_the_ballot(key) if why_not_scored(settings.root, name) is None]
    return decide_votes(layout.votes, key, least_voters=settings.voters, seed=settings.seed, among=heard)


def _words(settings: Settings) -> str:
    decision = vote_decision(settings)
    return decision.words if decision else "nobody has voted"


def _on_the_ballot(key: Path) -> list[str]:
    from models.listening import candidates_on

    return candidates_on(key)


def _was_voted_on(settings: Settings, standing: Trained) -> bool:
    """Whether the champion stands on the ballot itself, and not only another training of its name."""
    layout = Layout(settings.root)
    trained = cache.recall(layout.checkpoint(standing.name))
    on_it = standing.name in _on_the_ballot(layout.listening_test / KEY_FILE)
    return on_it and trained is not None and trained.fingerprint == standing.fingerprint


def _opponent(challenger: Trained | None, standing: Trained | None) -> str:
    """The fingerprint of the champion that the challenger meets: once promoted, the one whose place it took.

    So a promotion does not change what led to it, and a second run finds nothing to do.
    """
    if standing is None:
        return ""
    return (
        standing.predecessor if challenger and challenger.fingerprint == standing.fingerprint else standing.fingerprint
    )


def _contest(settings: Settings, best: Trained, standing: Trained) -> Contest:
    root, layout = settings.root, Layout(settings.root)
    measured = upstream(root, CHAMPION_VALIDATION).measured
    if measured["fingerprint"] != standing.fingerprint:
        raise InputError(
            "contest for the championship",
            file=layout.champion_validation,
            expected="scores of the standing champion",
            found=f"scores of {measured['champion'] or 'nobody'} as trained at another time",
            remedy="materialise evaluation/champion_validation first",
        )
    scores = VALIDATION.read(layout.checkpoint(best.name))
    return contest(scores, VALIDATION.read(layout.champion_validation), seen=_seen_by_champion(settings))


def _seen_by_champion(settings: Settings) -> dict[str, str]:
    """Today's validation tracks that the champion was trained on, with the reason.

    Where nobody knows what it was trained on, it keeps its scores: they can only flatter it.
    """
    root, own = settings.root, Layout(settings.root).champion
    heard = heard_by_checkpoint(root, own)
    if heard is None and PAIRS.path(own).is_file():
        heard = heard_tracks(PAIRS.read(own), read_manifest(root))
    if heard is None:
        return {}
    today = _pairs(root)
    tracks = today[today["split"] == "validation"].merge(read_manifest(root)[["track_id", "artist"]], on="track_id")
    # Both separators were chosen by tracks that they were validated on: that is no one's advantage.
    return seen_tracks(tracks, heard[heard["split"] == "train"], same_recordings(root), artist_keys(settings))


def _pairs(root: Path) -> pd.DataFrame:
    upstream(root, LOOPBACK)
    return PAIRS.read(Layout(root).loopback)


def _validation_version(pairs: pd.DataFrame) -> str:
    """The version of the validation tracks and their audio."""
    rows = pairs[pairs["split"] == "validation"].sort_values("track_id", ignore_index=True)
    return PAIRS.version(rows)


def _validation(measured: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in measured.items() if "validation" in name}


def _show_validation(folder: Path) -> Metadata:
    table = VALIDATION.read(folder)
    return {"tracks": dg.MetadataValue.md(markdown_table(table) if len(table) else "none")}


def _show_votes(settings: Settings) -> Metadata:
    layout = Layout(settings.root)
    decision = vote_decision(settings)
    if decision is None:
        return {}
    from models.listening import count_votes

    counted = count_votes(layout.votes, layout.listening_test / KEY_FILE)
    passed_over = pd.DataFrame(list(decision.passed_over.items()), columns=["file", "why it does not count"])
    told = {"votes_passed_over": dg.MetadataValue.md(markdown_table(passed_over))} if len(passed_over) else {}
    return {"votes_counted": dg.MetadataValue.md(markdown_table(counted)), **told}


def _show_contest(folder: Path) -> Metadata:
    table = CONTEST.read(folder)
    return {"contest": dg.MetadataValue.md(markdown_table(table) if len(table) else "no contest was needed")}


ASSETS = [listening_test, champion_validation, challenger, champion]
CHECKS = [better_than_the_champion]
