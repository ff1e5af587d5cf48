"""Scores of candidates and baselines on the held-out tracks, side by side."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from assets.partitions import CANDIDATES
from assets.recording import OWNERS, Metadata, folder_of, markdown_table, materialise, picture, table_metadata, upstream
from assets.separators import CHECKPOINT, CHECKPOINT_FILE, PROJECT
from assets.training_set import MANIFEST, SPLITS, read_splits
from data import cache
from data.demo.licence import is_generated
from data.errors import InputError
from data.manifest import MANIFEST_FILE
from data.settings import Settings
from data.splits import held_out
from data.tables import read_table, write_table

GROUP = "evaluation"
ICA_BASELINE = dg.AssetKey([GROUP, "ica_baseline"])
SCORES = dg.AssetKey([GROUP, "scores"])
LEADERBOARD = dg.AssetKey([GROUP, "leaderboard"])
HELD_OUT_FILE = "held_out.parquet"
LEADERBOARD_FILE = "leaderboard.parquet"


@dg.asset(
    key=ICA_BASELINE,
    group_name=GROUP,
    owners=OWNERS,
    deps=[SPLITS, MANIFEST],
    description="The report's baseline, FastICA on the stereo channels, scored like every candidate; with the mixture "
    "itself as the floor and the ideal ratio mask as the ceiling of masking.",
    kinds={"numpy", "parquet"},
    code_version="2",
)
def ica_baseline(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    tracks = held_out_tracks(settings.root)

    def work(folder: Path) -> dict[str, Any]:
        from models.score import score_baselines

        score_baselines(tracks, settings.root, folder, context.log.info)
        return {"held_out_tracks": len(tracks)}

    return materialise(
        context,
        settings.root,
        parameters={},
        inputs={"held_out": held_out_version(tracks)},
        work=work,
        show=_show_scores,
    )


@dg.asset(
    key=SCORES,
    group_name=GROUP,
    owners=OWNERS,
    deps=[CHECKPOINT, SPLITS, MANIFEST],
    partitions_def=CANDIDATES,
    description="Per-track scores of a candidate on the held-out tracks (test and reserved), and its separated audio "
    "of the reserved tracks.",
    kinds={"pytorch", "parquet"},
    code_version="2",
    pool="gpu",
)
def scores(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    process: dg.PipesSubprocessClient,
) -> dg.MaterializeResult[Any]:
    root, name = settings.root, context.partition_key
    tracks = held_out_tracks(root)
    inputs = {"held_out": held_out_version(tracks), "checkpoint": upstream(root, CHECKPOINT, name).version}

    def work(folder: Path) -> dict[str, Any]:
        write_table(folder / HELD_OUT_FILE, tracks, _HELD_OUT)
        checkpoint = folder_of(root, CHECKPOINT, name) / CHECKPOINT_FILE
        command = [sys.executable, "-m", "models.score", str(checkpoint), "--tracks", str(folder / HELD_OUT_FILE)]
        command += ["--audio-root", str(root), "--output", str(folder), "--device", settings.device]
        process.run(context=context.op_execution_context, command=command, cwd=str(PROJECT))
        return {"held_out_tracks": len(tracks), "held_out": inputs["held_out"]}

    return materialise(context, root, parameters={}, inputs=inputs, work=work, show=_show_scores)


@dg.asset(
    key=LEADERBOARD,
    group_name=GROUP,
    owners=OWNERS,
    deps=[SCORES, ICA_BASELINE],
    description="All candidates, baselines and published separators side by side; uSDR and cSDR in columns of their "
    "own, with the data each number stands for.",
    kinds={"parquet"},
    code_version="2",
)
def leaderboard(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dg.MaterializeResult[Any]:
    root = settings.root
    inputs = {"ica_baseline": upstream(root, ICA_BASELINE).version}
    inputs |= {name: upstream(root, SCORES, name).version for name in scored_candidates(root)}

    def work(folder: Path) -> dict[str, Any]:
        from models.evaluate import coverage, summarise
        from models.leaderboard import LEADERBOARD as SCHEMA
        from models.leaderboard import leaderboard as rank
        from models.leaderboard import load_peers, own_data

        table = all_scores(root)
        tracks = held_out_tracks(root)
        generated = sum(is_generated(licence) for licence in tracks["licence"])
        datasets = ", ".join(f"{count} {name}" for name, count in tracks["dataset"].value_counts().items())
        scored_on = own_data(len(tracks), generated, datasets)
        board = rank(summarise(table), load_peers(), scored_on=scored_on, generated=generated)
        write_table(folder / LEADERBOARD_FILE, board, SCHEMA)
        return {"candidates": len(inputs) - 1, "problems": coverage(table)}

    return materialise(context, root, parameters={}, inputs=inputs, work=work, show=_show_leaderboard)


def held_out_tracks(root: Path) -> pd.DataFrame:
    """Manifest rows of the tracks that are scored. Raises InputError where there are none."""
    tracks = held_out(read_table(folder_of(root, MANIFEST) / MANIFEST_FILE), read_splits(root))
    if tracks.empty:
        raise InputError(
            "evaluation",
            expected="at least one test or reserved track",
            found="none in training_set/splits",
            remedy="add tracks of more artists, or raise ISOLATION_TEST_SHARE",
        )
    return tracks[_HELD_OUT.names]


def held_out_version(tracks: pd.DataFrame) -> str:
    """A checksum of the tracks that are scored and of their audio: whatever else the manifest says is no matter."""
    return hashlib.sha256(tracks.to_json(orient="records").encode()).hexdigest()


def scored_candidates(root: Path) -> list[str]:
    """Candidates whose scores stand over today's held-out tracks; older ones cannot be compared and are left out."""
    current = held_out_version(held_out_tracks(root))
    names = []
    for name in CANDIDATES.get_partition_keys():
        try:
            record = upstream(root, SCORES, name)
        except InputError:
            continue
        if record.measured["held_out"] == current:
            names.append(name)
    return names


def scores_are_of_today(root: Path, name: str) -> bool:
    """Whether the scores of a candidate, and its audio, were made with the checkpoint that stands now."""
    trained, scored = (cache.recall(folder_of(root, key, name)) for key in (CHECKPOINT, SCORES))
    if trained is None or scored is None:
        return False
    inputs = {"held_out": held_out_version(held_out_tracks(root)), "checkpoint": trained.version}
    code_version = scores.code_versions_by_key[SCORES] or ""
    return scored.fingerprint == cache.fingerprint(code_version=code_version, parameters={}, inputs=inputs)


def all_scores(root: Path) -> pd.DataFrame:
    """Scores of the baselines and of every scored candidate, one below the other."""
    from models.score import SCORES_FILE

    folders = [folder_of(root, ICA_BASELINE), *(folder_of(root, SCORES, name) for name in scored_candidates(root))]
    return pd.concat([read_table(folder / SCORES_FILE) for folder in folders], ignore_index=True)


def _show_scores(folder: Path) -> Metadata:
    from models.evaluate import SCORES as SCHEMA
    from models.evaluate import summarise
    from models.report.figures import scores_figure
    from models.score import SCORES_FILE

    table = read_table(folder / SCORES_FILE)
    summary = dg.MetadataValue.md(markdown_table(summarise(table)))
    return {"summary": summary, "scores": picture(scores_figure(table), "scores")} | table_metadata(table, SCHEMA)


def _show_leaderboard(folder: Path) -> Metadata:
    from models.leaderboard import LEADERBOARD as SCHEMA

    return table_metadata(read_table(folder / LEADERBOARD_FILE), SCHEMA)


def _held_out_schema() -> Any:
    import pyarrow as pa

    from data.manifest import MANIFEST as SCHEMA

    fields = [SCHEMA.field(name) for name in ("track_id", "dataset", "title", "artist", "licence")]
    fields += [pa.field("split", pa.string())]
    fields += [SCHEMA.field(f"{kind}_{part}") for kind in ("mixture", "vocals") for part in ("path", "sha256")]
    return pa.schema(fields)


_HELD_OUT = _held_out_schema()

ASSETS = [ica_baseline, scores, leaderboard]
