"""Who is promoted: the blind ballot, the contest of the best candidate with the champion, and the champion itself.

A champion is replaced by votes, or by a candidate that is better on today's validation tracks by more than chance
explains; else nothing touches it. `verdict` is that decision as a plain function of the files: it is the same before
and after the promotion that follows from it.
"""

import hashlib
import json
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.evaluation import GROUP, SCORES, held_out_tracks, scored_candidates, scores_are_of_today
from assets.partitions import CANDIDATES
from assets.recording import OWNERS, Metadata, folder_of, markdown_table, materialise, upstream
from assets.separators import CHECKPOINT, CHECKPOINT_FILE, PROJECT, trained_on
from assets.training_set import LOOPBACK
from data import cache
from data.errors import InputError
from data.loopback import PAIRS, PAIRS_FILE
from data.settings import Settings
from data.tables import read_table, write_table
from models.contest import VALIDATION, VALIDATION_FILE, Contest, contest, same_validation, seen_tracks, validation_frame

LISTENING_TEST = dg.AssetKey([GROUP, "listening_test"])
CHAMPION_VALIDATION = dg.AssetKey([GROUP, "champion_validation"])
CHALLENGER = dg.AssetKey([GROUP, "challenger"])
CHAMPION = dg.AssetKey([GROUP, "champion"])
PROMOTION_CHECK = dg.AssetCheckKey(CHALLENGER, "better_than_the_champion")
CHAMPION_FILE = "champion.json"
CONTEST_FILE = "contest.parquet"
BALLOT_CANDIDATES = 3


@dataclass(frozen=True)
class Trained:
    """A training of a candidate: the candidate's name and the fingerprint of that training; why it is where it is.

    `predecessor` is the fingerprint of the champion that this one took the place of.
    """

    name: str
    fingerprint: str
    reason: str
    predecessor: str = ""


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
    "votes that it saves into the folder `votes` of the storage root; they decide the champion.",
    kinds={"html"},
    code_version="2",
)
def listening_test(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[Any]:
    root = settings.root
    best = best_candidates(root)[:BALLOT_CANDIDATES]
    inputs = {name: upstream(root, SCORES, name).version for name in best}

    def work(folder: Path) -> dict[str, Any]:
        from models.listening import BallotTrack, write_ballot
        from models.score import audio_file

        tracks = [
            BallotTrack(
                track.track_id,
                root / track.mixture_path,
                {name: audio_file(folder_of(root, SCORES, name), track.track_id) for name in best},
            )
            for track in reserved_tracks(root).itertuples()
        ]
        ballot = write_ballot(folder, tracks, seed=settings.seed)
        return {"ballot_id": ballot, "candidates": len(best), "tracks": len(tracks)}

    def show(folder: Path) -> Metadata:
        return {"ballot": dg.MetadataValue.path(str(folder / "ballot.html"))}

    return materialise(context, root, parameters={"seed": settings.seed}, inputs=inputs, work=work, show=show)


@dg.asset(
    key=CHAMPION_VALIDATION,
    group_name=GROUP,
    owners=OWNERS,
    deps=[LOOPBACK, CHECKPOINT, LISTENING_TEST],
    description="uSDR of the standing champion on today's validation tracks: its own from training where these are "
    "the same audio, else measured again with its checkpoint. Empty where it has no challenger.",
    kinds={"pytorch", "parquet"},
    code_version="1",
    pool="gpu",
)
def champion_validation(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    process: dg.PipesSubprocessClient,
) -> dg.MaterializeResult[Any]:
    root, challenger, standing = settings.root, challenger_today(settings.root), standing_champion(settings.root)
    today = _pairs(root)

    def work(folder: Path) -> dict[str, Any]:
        own = folder_of(root, CHAMPION)
        if standing is None or (challenger and challenger.fingerprint == standing.fingerprint):
            write_table(folder / VALIDATION_FILE, validation_frame({}), VALIDATION)
            return {"champion": "", "fingerprint": "", "how": "nobody has to be compared with a champion"}
        measured = {"champion": standing.name, "fingerprint": standing.fingerprint}
        if all((own / name).is_file() for name in (VALIDATION_FILE, PAIRS_FILE)) and same_validation(
            today, read_table(own / PAIRS_FILE, PAIRS)
        ):
            shutil.copyfile(own / VALIDATION_FILE, folder / VALIDATION_FILE)
            return measured | {"how": "from its training, on the same tracks"}
        command = [sys.executable, "-m", "models.validate", str(own / CHECKPOINT_FILE)]
        command += ["--tracks", str(folder_of(root, LOOPBACK) / PAIRS_FILE), "--audio-root", str(root)]
        command += ["--output", str(folder), "--device", settings.device]
        process.run(context=context.op_execution_context, command=command, cwd=str(PROJECT))
        return measured | {"how": "measured again, on today's tracks"}

    inputs = {"champion": _opponent(challenger, standing), "validation": _validation_version(today)}
    return materialise(context, root, parameters={}, inputs=inputs, work=work, show=_show_validation)


@dg.asset(
    key=CHALLENGER,
    group_name=GROUP,
    owners=OWNERS,
    deps=[CHAMPION_VALIDATION, CHECKPOINT, LISTENING_TEST, LOOPBACK],
    description="The best candidate, by votes or else by uSDR on the validation tracks, track by track against the "
    "standing champion. Its data version is the separator that ought to be champion.",
    kinds={"parquet"},
    code_version="1",
)
def challenger(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root = settings.root
    best, found = challenger_today(root), verdict(root)
    if best is None or found is None:
        raise InputError(
            "evaluation/challenger",
            expected="at least one candidate that is trained on today's training pairs",
            found="none",
            remedy="run the job `train`, or `retrain`, for a candidate",
        )

    def work(folder: Path) -> dict[str, Any]:
        tracks = found.contest.tracks if found.contest else pd.DataFrame(columns=_CONTEST.names)
        write_table(folder / CONTEST_FILE, tracks, _CONTEST)
        return {
            "candidate": best.name,
            "fingerprint": best.fingerprint,
            "promoted": found.promoted,
            "reason": found.champion.reason,
            "champion": found.champion.name,
            "champion_fingerprint": found.champion.fingerprint,
        }

    inputs = {
        "challenger": best.fingerprint,
        "champion": _opponent(best, standing_champion(root)),
        "champion_validation": upstream(root, CHAMPION_VALIDATION).version,
    }
    return materialise(
        context,
        root,
        parameters={"votes": votes(root)},
        inputs=inputs,
        work=work,
        show=_show_contest,
        version=found.champion.fingerprint,
    )


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
        description=found["reason"],
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
    code_version="2",
)
def champion(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root, before, found = settings.root, standing_champion(settings.root), upstream(settings.root, CHALLENGER)
    name, fingerprint, reason = (found.measured[part] for part in ("champion", "champion_fingerprint", "reason"))

    def work(folder: Path) -> dict[str, Any]:
        trained, source = upstream(root, CHECKPOINT, name), folder_of(root, CHECKPOINT, name)
        if trained.fingerprint != fingerprint:
            raise InputError(
                "evaluation/champion",
                file=source,
                expected="the training that evaluation/challenger was materialised with",
                found="another one",
                remedy="materialise evaluation/challenger, then evaluation/champion",
            )
        for file in (CHECKPOINT_FILE, VALIDATION_FILE):
            if (source / file).is_file():
                shutil.copyfile(source / file, folder / file)
        if trained_on(trained, upstream(root, LOOPBACK).version):
            # Which tracks it has seen, and which its validation scores stand over: splits change.
            shutil.copyfile(folder_of(root, LOOPBACK) / PAIRS_FILE, folder / PAIRS_FILE)
        content = {"candidate": name, "fingerprint": fingerprint, "reason": reason, "votes": votes(root)}
        content["predecessor"] = before.fingerprint if before and before.fingerprint != fingerprint else ""
        (folder / CHAMPION_FILE).write_text(json.dumps(content, indent=1))
        return {"candidate": name, "reason": reason, **_validation(trained.measured)}

    return materialise(context, root, parameters={}, inputs={"challenger": found.version}, work=work)


def best_candidates(root: Path) -> list[str]:
    """Candidates that are scored on today's splits, best uSDR on the validation tracks first."""
    measured = {name: upstream(root, CHECKPOINT, name).measured for name in scored_candidates(root)}
    return sorted(measured, key=lambda name: -measured[name]["best_validation_usdr_db"])


def reserved_tracks(root: Path) -> pd.DataFrame:
    """Manifest rows of the tracks that people look at and listen to."""
    tracks = held_out_tracks(root)
    return tracks[tracks["split"] == "reserved"]


def verdict(root: Path) -> Verdict | None:
    """Who ought to be champion; None where there is neither a champion nor a candidate.

    Raises InputError where the champion was not measured on today's validation tracks although it has to be.
    """
    best, standing = challenger_today(root), standing_champion(root)
    if best is None:
        return Verdict(standing, standing) if standing else None
    if standing is None:
        return Verdict(best, best)
    if best.fingerprint == standing.fingerprint:
        return Verdict(standing, standing)
    if sum(votes(root).values()):
        return Verdict(best, best)
    held = _contest(root, best, standing)
    winner = best if held.better else standing
    other = "an earlier training of it" if standing.name == best.name else standing.name
    reason = f"{best.name} is {'' if held.better else 'not '}better than the champion, {other}: {held.figures}"
    return Verdict(best, Trained(winner.name, winner.fingerprint, reason), held)


def challenger_today(root: Path) -> Trained | None:
    """The candidate with most votes; without votes, of those trained on today's pairs the best on validation tracks.

    Others have scores over other validation tracks, or may have been trained on today's. None where there is none.
    """
    pairs, means = upstream(root, LOOPBACK).version, {}
    counted = votes(root)
    for name in CANDIDATES.get_partition_keys():
        record = cache.recall(folder_of(root, CHECKPOINT, name))
        if record and VALIDATION_FILE in record.files and trained_on(record, pairs):
            mean = read_table(folder_of(root, CHECKPOINT, name) / VALIDATION_FILE)["usdr_db"].mean()
            means[name] = -math.inf if math.isnan(mean) else float(mean)
    if total := sum(counted.values()):
        name = max(counted, key=lambda name: (counted[name], means.get(name, -math.inf), name))
        reason = f"{counted[name]} of {total} votes"
    elif means:
        name = max(means, key=lambda name: (means[name], name))
        reason = "best uSDR on validation tracks, and no champion before it"
    else:
        return None
    return Trained(name, upstream(root, CHECKPOINT, name).fingerprint, reason)


def standing_champion(root: Path) -> Trained | None:
    """The champion as its files stand; None where there is none, or where its files are no longer whole."""
    if cache.recall(folder_of(root, CHAMPION)) is None:
        return None
    content = json.loads((folder_of(root, CHAMPION) / CHAMPION_FILE).read_text())
    return Trained(content["candidate"], content["fingerprint"], content["reason"], content.get("predecessor", ""))


def votes(root: Path) -> dict[str, int]:
    """Votes by candidate; none where nobody voted on what the candidates sound like now."""
    folder, key = root / "votes", folder_of(root, LISTENING_TEST) / "key.json"
    if not key.is_file() or not any(folder.glob("*.json")):
        return {}
    from models.listening import count_votes

    counted = {row.candidate: int(row.votes) for row in count_votes(folder, key).itertuples()}
    # A candidate that was trained again since has not been listened to.
    return {name: count for name, count in counted.items() if scores_are_of_today(root, name)}


def _opponent(challenger: Trained | None, standing: Trained | None) -> str:
    """The fingerprint of the champion that the challenger meets: once promoted, the one whose place it took.

    So a promotion does not change what led to it, and a second run finds nothing to do.
    """
    if standing is None:
        return ""
    return (
        standing.predecessor if challenger and challenger.fingerprint == standing.fingerprint else standing.fingerprint
    )


def _contest(root: Path, best: Trained, standing: Trained) -> Contest:
    folder, measured = folder_of(root, CHAMPION_VALIDATION), upstream(root, CHAMPION_VALIDATION).measured
    if measured["fingerprint"] != standing.fingerprint:
        raise InputError(
            "contest for the championship",
            file=folder,
            expected="scores of the standing champion",
            found=f"scores of {measured['champion'] or 'nobody'} as trained at another time",
            remedy="materialise evaluation/champion_validation first",
        )
    own = folder_of(root, CHAMPION) / PAIRS_FILE
    seen = seen_tracks(_pairs(root), read_table(own, PAIRS)) if own.is_file() else set()
    scores = read_table(folder_of(root, CHECKPOINT, best.name) / VALIDATION_FILE, VALIDATION)
    return contest(scores, read_table(folder / VALIDATION_FILE, VALIDATION), seen=seen)


def _pairs(root: Path) -> pd.DataFrame:
    upstream(root, LOOPBACK)
    return read_table(folder_of(root, LOOPBACK) / PAIRS_FILE, PAIRS)


def _validation_version(pairs: pd.DataFrame) -> str:
    """A checksum of the validation tracks and their audio."""
    rows = pairs.loc[pairs["split"] == "validation", ["track_id", "mixture_sha256", "vocals_sha256"]]
    return hashlib.sha256(rows.sort_values("track_id").to_json(orient="values").encode()).hexdigest()


def _validation(measured: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in measured.items() if "validation" in name}


def _show_validation(folder: Path) -> Metadata:
    table = read_table(folder / VALIDATION_FILE)
    return {"tracks": dg.MetadataValue.md(markdown_table(table) if len(table) else "none")}


def _show_contest(folder: Path) -> Metadata:
    table = read_table(folder / CONTEST_FILE, _CONTEST)
    return {"contest": dg.MetadataValue.md(markdown_table(table) if len(table) else "no contest was needed")}


def _contest_schema() -> Any:
    import pyarrow as pa

    scores = [(f"{name}_db", pa.float64()) for name in ("challenger_usdr", "champion_usdr", "difference")]
    return pa.schema([("track_id", pa.string()), *scores, ("counts", pa.string())])


_CONTEST = _contest_schema()

ASSETS = [listening_test, champion_validation, challenger, champion]
CHECKS = [better_than_the_champion]
