"""The report: one page with everything that a person wants to see and hear of the separators."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.ballot import LISTENING_TEST, ranked_candidates
from assets.championship import CHAMPION_VALIDATION, verdict
from assets.evaluation import GROUP, ICA_BASELINE, SCORES, fair_scores
from assets.lanes import LANES
from assets.leaderboard import LEADERBOARD
from assets.recording import Metadata, materialise, picture, upstream
from assets.separators import CHECKPOINT
from assets.training_recipes import DUPLICATES, LOOPBACK, MANIFEST, SPLITS
from assets.training_set import read_manifest
from data.demo.licence import is_generated
from data.layout import REPORT_FILE, Layout
from data.recipe import Recipe
from data.settings import Settings
from models.championship import Verdict, promoted_among
from models.curves import CURVES
from models.fairness import FairScores
from models.former_names import as_today
from models.measures import Measure, ranking

if TYPE_CHECKING:
    from models.report import EvaluationReport

REPORT = dg.AssetKey([GROUP, "report"])
PICTURES = "pictures"
_CODE_VERSION = "4"


@dg.asset(
    key=REPORT,
    # Not of the champion or the challenger: the page is made also where the check on them stops a promotion.
    deps=[SCORES, ICA_BASELINE, LEADERBOARD, CHAMPION_VALIDATION, LISTENING_TEST, MANIFEST],
    description="The page a person opens: waveforms, spectrograms and players of every reserved track, scores beside "
    "baseline, floor and ceiling, loss curves, settings, and the data it all came from.",
    kinds={"html"},
    code_version=_CODE_VERSION,
)
def report(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root, fair, found = settings.root, fair_scores(settings), verdict(settings)

    def work(folder: Path) -> dict[str, Any]:
        from models.report import build_report

        contents = report_contents(root, fair, found, ranking(settings.rank_by))
        build_report(contents, folder / REPORT_FILE)
        _write_pictures(root, fair, contents, folder / PICTURES)
        return {"tracks": len(contents.tracks), "candidates": len(contents.candidates)}

    def show(folder: Path) -> Metadata:
        pictures = {path.stem.replace("--", "/"): path.read_bytes() for path in sorted((folder / PICTURES).iterdir())}
        return {"report": dg.MetadataValue.path(str(folder / REPORT_FILE))} | {
            name: picture(png, f"{name}: source, predicted and true" if "/" in name else name)
            for name, png in pictures.items()
        }

    return materialise(context, root, recipe=_recipe(root, found), work=work, show=show)


def report_recipe(settings: Settings) -> Recipe:
    """What the report is made of: the board, the baselines, the tracks, and who ought to be champion."""
    return _recipe(settings.root, verdict(settings))


def _recipe(root: Path, found: Verdict | None) -> Recipe:
    inputs = {key.path[-1]: upstream(root, key).version for key in (LEADERBOARD, ICA_BASELINE, MANIFEST)}
    if found:
        inputs |= {"champion": found.champion.fingerprint, "promotion": found.champion.reason}
    return Recipe(_CODE_VERSION, {}, inputs)


def report_contents(root: Path, fair: FairScores, found: Verdict | None, rank_by: Measure) -> "EvaluationReport":
    """Everything on the page, as `models.report` wants it."""
    from models.report import CandidateSection, EvaluationReport, TrackRow
    from models.score import audio_file

    layout, names = Layout(root), ranked_candidates(root, fair)
    rows = []
    for track in fair.reserved.itertuples():
        ica = audio_file(layout.ica_baseline, track.track_id)
        rows.append(
            TrackRow(
                track_id=track.track_id,
                title=track.title,
                artist=track.artist,
                licence=track.licence,
                split=track.split,
                mixture=root / track.mixture_path,
                truth=root / track.vocals_path,
                predicted={name: audio_file(layout.scores(name), track.track_id) for name in names},
                ica=ica if ica.is_file() else None,
            )
        )
    trained = {name: upstream(root, CHECKPOINT, name) for name in names}
    sections = []
    for name, record in trained.items():
        plain = {part: value for part, value in record.measured.items() if not isinstance(value, dict)}
        curves = CURVES.read(layout.checkpoint(name))
        settings = as_today(record.measured["settings"]) | {"name": name}
        sections.append(CandidateSection(name, settings, curves, plain))
    return EvaluationReport(
        title="Vocal separation",
        candidates=sections,
        scores=fair.table,
        tracks=rows,
        provenance=_provenance(root, names),
        champion=promoted_among(found, {name: record.fingerprint for name, record in trained.items()}),
        promotion=found.champion.reason if found else "",
        generated=sum(is_generated(licence) for licence in fair.tracks["licence"]),
        left_out=fair.left_out,
        rank_by=rank_by,
        shared_artists=fair.shared_artists,
    )


def _provenance(root: Path, candidates: Sequence[str]) -> dict[str, str]:
    """What the page's numbers came from: counts, licences, and the data version of every step."""
    manifest = read_manifest(root)
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
    for name in candidates:
        content[f"{CHECKPOINT.to_user_string()} [{name}]"] = upstream(root, CHECKPOINT, name).fingerprint
    return content


def _write_pictures(root: Path, fair: FairScores, contents: "EvaluationReport", folder: Path) -> None:
    """What the UI shows of the report: all scores, and a candidate's row of pictures for each reserved track."""
    from data import audio
    from models.report.figures import scores_figure, waveforms_and_spectrograms
    from models.score import audio_file

    folder.mkdir()
    (folder / "scores.png").write_bytes(scores_figure(fair.table, rank_by=contents.rank_by))
    # The champion, or the best candidate where the champion is an earlier training.
    shown = contents.champion or next((candidate.name for candidate in contents.candidates), None)
    for track in fair.reserved.itertuples() if shown else ():
        predicted = audio_file(Layout(root).scores(str(shown)), track.track_id)
        paths = (root / track.mixture_path, predicted, root / track.vocals_path)
        mixture, estimate, truth = (audio.read(path)[0] for path in paths)
        png = waveforms_and_spectrograms(mixture, estimate, truth, audio.SAMPLE_RATE)
        (folder / f"{track.track_id.replace('/', '--')}.png").write_bytes(png)


ASSETS = [report]
