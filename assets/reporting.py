"""The report: one page with everything that a person wants to see and hear of the separators."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets.evaluation import (
    GROUP,
    ICA_BASELINE,
    LEADERBOARD,
    SCORES,
    all_scores,
    held_out_tracks,
)
from assets.lanes import LANES
from assets.promotion import CHAMPION_VALIDATION, LISTENING_TEST, best_candidates, reserved_tracks, verdict
from assets.recording import OWNERS, Metadata, folder_of, materialise, picture, upstream
from assets.separators import CHECKPOINT, CURVES_FILE
from assets.training_set import DUPLICATES, LOOPBACK, MANIFEST, SPLITS
from data.demo.licence import is_generated
from data.manifest import MANIFEST_FILE
from data.settings import Settings
from data.tables import read_table

REPORT = dg.AssetKey([GROUP, "report"])
REPORT_FILE = "report.html"
PICTURES = "pictures"


@dg.asset(
    key=REPORT,
    group_name=GROUP,
    owners=OWNERS,
    # Not of the champion or the challenger: the page is made also where the check on them stops a promotion.
    deps=[SCORES, ICA_BASELINE, LEADERBOARD, CHAMPION_VALIDATION, LISTENING_TEST, MANIFEST],
    description="The page a person opens: waveforms, spectrograms and players of every reserved track, scores beside "
    "baseline, floor and ceiling, loss curves, settings, and the data it all came from.",
    kinds={"html"},
    code_version="3",
)
def report(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root = settings.root
    inputs = {key.path[-1]: upstream(root, key).version for key in (LEADERBOARD, ICA_BASELINE, MANIFEST)}
    if found := verdict(root):
        inputs |= {"champion": found.champion.fingerprint, "promotion": found.champion.reason}

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


def promoted_candidate(root: Path, scored: Sequence[str]) -> str | None:
    """Which of the scored candidates is, or is about to be, the champion; None where that is an earlier training."""
    found = verdict(root)
    if found is None or found.champion.name not in scored:
        return None
    trained = upstream(root, CHECKPOINT, found.champion.name)
    return found.champion.name if trained.fingerprint == found.champion.fingerprint else None


def report_contents(root: Path) -> Any:
    """Everything on the page, as `models.report` wants it."""
    from models.report import CandidateSection, EvaluationReport, TrackRow
    from models.score import audio_file

    names = best_candidates(root)
    folders = {name: folder_of(root, SCORES, name) for name in names}
    rows = []
    for track in reserved_tracks(root).itertuples():
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
    found = verdict(root)
    return EvaluationReport(
        title="Vocal separation",
        candidates=sections,
        scores=all_scores(root),
        tracks=rows,
        provenance=_provenance(root),
        champion=promoted_candidate(root, names),
        promotion=found.champion.reason if found else "",
        generated=sum(is_generated(licence) for licence in held_out_tracks(root)["licence"]),
    )


def _plain(measured: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in measured.items() if not isinstance(value, dict)}


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
    """What the UI shows of the report: all scores, and the champion's row of pictures for each reserved track
    (the best candidate's where the champion is an earlier training)."""
    from data import audio
    from models.report.figures import scores_figure, waveforms_and_spectrograms
    from models.score import audio_file

    folder.mkdir()
    (folder / "scores.png").write_bytes(scores_figure(all_scores(root)))
    best = best_candidates(root)
    shown = promoted_candidate(root, best) or best[0]
    for track in reserved_tracks(root).itertuples():
        predicted = audio_file(folder_of(root, SCORES, shown), track.track_id)
        paths = (root / track.mixture_path, predicted, root / track.vocals_path)
        mixture, estimate, truth = (audio.read(path)[0] for path in paths)
        png = waveforms_and_spectrograms(mixture, estimate, truth, audio.SAMPLE_RATE)
        (folder / f"{track.track_id.replace('/', '--')}.png").write_bytes(png)


ASSETS = [report]
