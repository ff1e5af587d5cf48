"""What people look at, listen to and decide on: the report, the blind ballot, and the separator that is promoted."""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.evaluation import (
    GROUP,
    ICA_BASELINE,
    LEADERBOARD,
    SCORES,
    all_scores,
    held_out_tracks,
    scored_candidates,
)
from assets.lanes import LANES
from assets.recording import OWNERS, Metadata, folder_of, materialise, picture, upstream
from assets.separators import CHECKPOINT, CHECKPOINT_FILE, CURVES_FILE
from assets.training_set import DUPLICATES, LOOPBACK, MANIFEST, SPLITS
from data.errors import InputError
from data.manifest import MANIFEST_FILE
from data.settings import Settings
from data.tables import read_table

LISTENING_TEST = dg.AssetKey([GROUP, "listening_test"])
CHAMPION = dg.AssetKey([GROUP, "champion"])
REPORT = dg.AssetKey([GROUP, "report"])
REPORT_FILE = "report.html"
CHAMPION_FILE = "champion.json"
PICTURES = "pictures"
BALLOT_CANDIDATES = 3


@dg.asset(
    key=LISTENING_TEST,
    group_name=GROUP,
    owners=OWNERS,
    deps=[SCORES],
    description="A blind ballot over the three best candidates: the reserved tracks under neutral letters. Put the "
    "votes that it saves into the folder `votes` of the storage root; they decide the champion.",
    kinds={"html"},
    code_version="1",
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
            for track in _reserved(root).itertuples()
        ]
        ballot = write_ballot(folder, tracks, seed=settings.seed)
        return {"ballot_id": ballot, "candidates": len(best), "tracks": len(tracks)}

    def show(folder: Path) -> Metadata:
        return {"ballot": dg.MetadataValue.path(str(folder / "ballot.html"))}

    return materialise(context, root, parameters={"seed": settings.seed}, inputs=inputs, work=work, show=show)


@dg.asset(
    key=CHAMPION,
    group_name=GROUP,
    owners=OWNERS,
    deps=[CHECKPOINT, SCORES, LISTENING_TEST],
    description="The promoted separator, which `isolate` uses: the candidate with most votes, or, without votes, the "
    "one with the best uSDR on the validation tracks. Scores on held-out tracks never decide.",
    kinds={"pytorch"},
    code_version="1",
)
def champion(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root = settings.root
    ranked = best_candidates(root)
    if not ranked:
        raise InputError(
            "evaluation/champion",
            expected="at least one candidate that is trained and scored on today's splits",
            found="none",
            remedy="run the jobs `train` and `evaluate` for a candidate",
        )
    votes = _votes(root)
    winner = max(ranked, key=lambda name: (votes.get(name, 0), -ranked.index(name)))
    reason = (
        f"{votes[winner]} of {sum(votes.values())} votes" if votes.get(winner) else "best uSDR on validation tracks"
    )
    trained = upstream(root, CHECKPOINT, winner)

    def work(folder: Path) -> dict[str, Any]:
        shutil.copyfile(folder_of(root, CHECKPOINT, winner) / CHECKPOINT_FILE, folder / CHECKPOINT_FILE)
        content = {"candidate": winner, "reason": reason, "votes": votes, "fingerprint": trained.fingerprint}
        (folder / CHAMPION_FILE).write_text(json.dumps(content, indent=1))
        return {"candidate": winner, "reason": reason, **_validation(trained.measured)}

    return materialise(context, root, parameters={"votes": votes}, inputs={winner: trained.fingerprint}, work=work)


@dg.asset(
    key=REPORT,
    group_name=GROUP,
    owners=OWNERS,
    deps=[SCORES, ICA_BASELINE, LEADERBOARD, CHAMPION, MANIFEST],
    description="The page a person opens: waveforms, spectrograms and players of every reserved track, scores beside "
    "baseline, floor and ceiling, loss curves, settings, and the data it all came from.",
    kinds={"html"},
    code_version="1",
)
def report(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root = settings.root
    inputs = {key.path[-1]: upstream(root, key).version for key in (LEADERBOARD, ICA_BASELINE, CHAMPION, MANIFEST)}

    def work(folder: Path) -> dict[str, Any]:
        from models.report import build_report

        contents = report_contents(root)
        build_report(contents, folder / REPORT_FILE)
        _write_pictures(root, folder / PICTURES)
        return {"tracks": len(contents.tracks), "candidates": len(contents.candidates)}

    def show(folder: Path) -> Metadata:
        pictures = {path.stem.replace("--", "/"): path.read_bytes() for path in sorted((folder / PICTURES).iterdir())}
        return {"report": dg.MetadataValue.path(str(folder / REPORT_FILE))} | {
            name: picture(png, f"{name}: source, predicted and true" if "/" in name else name)
            for name, png in pictures.items()
        }

    return materialise(context, root, parameters={}, inputs=inputs, work=work, show=show)


def best_candidates(root: Path) -> list[str]:
    """Candidates that are scored on today's splits, best uSDR on the validation tracks first."""
    measured = {name: upstream(root, CHECKPOINT, name).measured for name in scored_candidates(root)}
    return sorted(measured, key=lambda name: -measured[name]["best_validation_usdr_db"])


def report_contents(root: Path) -> Any:
    """Everything on the page, as `models.report` wants it."""
    from models.report import CandidateSection, EvaluationReport, TrackRow
    from models.score import audio_file

    names = best_candidates(root)
    folders = {name: folder_of(root, SCORES, name) for name in names}
    rows = []
    for track in _reserved(root).itertuples():
        ica = audio_file(folder_of(root, ICA_BASELINE), track.track_id)
        rows.append(
            TrackRow(
                track_id=track.track_id,
                title=track.title,
                artist=track.artist,
                licence=track.licence,
                split=track.split,
                mixture=root / track.mixture_path,
                truth=root / track.vocals_path,
                predicted={name: audio_file(folder, track.track_id) for name, folder in folders.items()},
                ica=ica if ica.is_file() else None,
            )
        )
    sections = []
    for name in names:
        folder = folder_of(root, CHECKPOINT, name)
        about = upstream(root, CHECKPOINT, name)
        settings = about.measured["settings"]
        sections.append(CandidateSection(name, settings, read_table(folder / CURVES_FILE), _plain(about.measured)))
    promoted = upstream(root, CHAMPION).measured["candidate"]
    return EvaluationReport(
        title="Vocal separation",
        candidates=sections,
        scores=all_scores(root),
        tracks=rows,
        provenance=_provenance(root),
        champion=promoted,
    )


def _reserved(root: Path) -> pd.DataFrame:
    tracks = held_out_tracks(root)
    return tracks[tracks["split"] == "reserved"]


def _votes(root: Path) -> dict[str, int]:
    """Votes by candidate; none where nobody voted on the ballot as it is now."""
    folder = root / "votes"
    if not folder.is_dir() or not any(folder.glob("*.json")):
        return {}
    from models.listening import count_votes

    counted = count_votes(folder, folder_of(root, LISTENING_TEST) / "key.json")
    return {row.candidate: int(row.votes) for row in counted.itertuples()}


def _plain(measured: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in measured.items() if not isinstance(value, dict)}


def _validation(measured: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in measured.items() if "validation" in name}


def _provenance(root: Path) -> dict[str, str]:
    """What the page's numbers came from: counts, licences, and the data version of every step."""
    manifest = read_table(folder_of(root, MANIFEST) / MANIFEST_FILE)
    faulty = manifest.dropna(subset="errata")
    splits = upstream(root, SPLITS).measured
    content = {
        "tracks": ", ".join(f"{count} {name}" for name, count in manifest["dataset"].value_counts().items()),
        "hours of music": f"{manifest['duration_s'].sum() / 3600:.2f}",
        "split": ", ".join(f"{count} {name}" for name, count in splits.items()),
        "training pairs": ", ".join(f"{count} {kind}" for kind, count in upstream(root, LOOPBACK).measured.items()),
        "known faults": "; ".join(f"{row.track_id} ({row.errata}; {row.errata_action})" for row in faulty.itertuples())
        or "none of these tracks",
        "flagged tracks": f"{sum(len(flags) > 0 for flags in manifest['flags'])} (see training_set/manifest)",
        "licences": "; ".join(sorted(manifest["licence"].unique())),
    }
    for lane in LANES:
        archive = dg.AssetKey([lane.dataset.name, "archive"])
        content[f"source of {lane.dataset.title}"] = str(upstream(root, archive).measured["source"])
        content[archive.to_user_string()] = upstream(root, archive).fingerprint
    for key in (MANIFEST, DUPLICATES, SPLITS, LOOPBACK):
        content[key.to_user_string()] = upstream(root, key).version
    for name in best_candidates(root):
        content[f"{CHECKPOINT.to_user_string()} [{name}]"] = upstream(root, CHECKPOINT, name).fingerprint
    return content


def _write_pictures(root: Path, folder: Path) -> None:
    """What the UI shows of the report: all scores, and the champion's row of pictures for each reserved track."""
    from data import audio
    from models.report.figures import scores_figure, waveforms_and_spectrograms
    from models.score import audio_file

    folder.mkdir()
    (folder / "scores.png").write_bytes(scores_figure(all_scores(root)))
    promoted = upstream(root, CHAMPION).measured["candidate"]
    for track in _reserved(root).itertuples():
        predicted = audio_file(folder_of(root, SCORES, promoted), track.track_id)
        paths = (root / track.mixture_path, predicted, root / track.vocals_path)
        mixture, estimate, truth = (audio.read(path)[0] for path in paths)
        png = waveforms_and_spectrograms(mixture, estimate, truth, audio.SAMPLE_RATE)
        (folder / f"{track.track_id.replace('/', '--')}.png").write_bytes(png)


ASSETS = [listening_test, champion, report]
