"""The evaluation report as one self-contained HTML file.

Gathers what the template shows; the layout itself stands in `page.html.j2`, `page.css` and `player.js.j2`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from data.files import publish
from models.evaluate import ICA, IDEAL_MASK, MIXTURE, coverage, percent, summarise
from models.fairness import told
from models.leaderboard import ranked_by
from models.measures import GAPS, Measure, headlines, shown
from models.report.contents import CandidateSection, EvaluationReport, TrackRow
from models.report.excerpts import Clip, Stretch, choose_stretch, clock, data_uri, make_clips
from models.report.figures import DARK, LIGHT, RANGE_DB, curves_figure, frequency_position, scores_figure
from models.report.verdict import findings, joined, label, leader, number, scope, tie_rule

ROLES = {
    MIXTURE: "floor: nothing done",
    ICA: "baseline: no learning",
    IDEAL_MASK: "ceiling of masking: knows the answer",
}
_FREQUENCIES = (("100 Hz", 100.0), ("1 kHz", 1000.0), ("10 kHz", 10_000.0))
_SOURCE, _TRUTH, _ICA = "source", "truth", "ica"


@dataclass(frozen=True)
class Cell:
    """One clip under its heading, with its numbers and a remark."""

    heading: str
    role: str
    clip: Clip | None
    numbers: Sequence[tuple[str, str]]
    remark: str = ""


@dataclass(frozen=True)
class ShownTrack:
    """One track of the listening section."""

    row: TrackRow
    stretch: Stretch
    cells: Sequence[Cell]
    ticks: Sequence[str]


def build_report(report: EvaluationReport, output: Path, *, now: datetime | None = None) -> Path:
    """Write `report` to `output`, one HTML file that needs nothing else, and return its path.

    Sound and pictures are inside the file; it makes no request. `now` is the date on it (default: the present).
    Raises InputError for an audio file that is missing or cut short.
    """
    names, rank_by = [candidate.name for candidate in report.candidates], report.rank_by
    content = (
        environment()
        .get_template("page.html.j2")
        .render(
            title=report.title,
            date=(now or datetime.now(UTC)).strftime("%d %B %Y, %H:%M %Z").lstrip("0"),
            scope=scope(report.scores["track_id"].nunique(), report.generated, report.left_out, report.shared_artists),
            findings=findings(report.scores, names, report.champion, rank_by),
            tie_rule=tie_rule(rank_by),
            champion=report.champion,
            promotion=report.promotion,
            leader=leader(report.scores, names, report.champion, rank_by),
            measures=shown(rank_by),
            ranked_by=ranked_by(rank_by),
            drawn=joined([measure.title for measure in headlines(rank_by)]),
            summary=_summary(report, names),
            coverage=[*(f"left out: {words}" for words in told(report.left_out or ())), *coverage(report.scores)],
            scores_picture=_both_themes(partial(scores_figure, rank_by=rank_by), report.scores)
            if len(report.scores)
            else None,
            tracks=[_shown(row, report, names) for row in report.tracks],
            frequencies=[(words, 100 * frequency_position(hz)) for words, hz in _FREQUENCIES],
            range_db=round(RANGE_DB),
            track_tables=_track_tables(report),
            notes=_notes(report.scores),
            curves=[(candidate.name, _curves(candidate), len(candidate.curves)) for candidate in report.candidates],
            candidates=[
                (candidate.name, _as_yaml(candidate.config), _plain_values(candidate.checkpoint_metadata))
                for candidate in report.candidates
            ],
            provenance=report.provenance,
            licences=_licences(report.tracks),
        )
    )
    with publish(output) as page:
        # Names need not be UTF-8, and this page is for reading.
        page.write_text(content, encoding="utf-8", errors="backslashreplace")
    return output


def environment() -> jinja2.Environment:
    """The templates of this package, every value escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = number
    made.filters["label"] = label
    return made


def _summary(report: EvaluationReport, candidates: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    rank_by = report.rank_by
    for row in summarise(report.scores, rank_by).to_dict("records"):
        method = str(row["method"])
        role = ROLES.get(method, "candidate" if method in candidates else "")
        kind = "own" if method in candidates else "bound"
        numbers = [
            (row[measure.summary], row[measure.counted], measure.digits, _seconds_missing(measure, row))
            for measure in shown(rank_by)
        ]
        role = "champion" if method == report.champion else role
        # Told apart only where it makes a difference.
        common = None
        if row["common_tracks"] != row[rank_by.counted]:
            common = f"{number(row[rank_by.common], rank_by.digits)} on {row['common_tracks']} in common"
        about = {"method": method, "tracks": row["tracks"], "role": role, "kind": kind}
        rows.append({**about, "numbers": numbers, "common": common})
    return rows


def _seconds_missing(measure: Measure, row: Mapping[str, Any]) -> str:
    shares = [row[gap.summary] for gap in GAPS if gap.measure is measure]
    return "".join(f"{percent(share)} of the seconds missing" for share in shares if share > 0)


def _shown(row: TrackRow, report: EvaluationReport, candidates: Sequence[str]) -> ShownTrack:
    predicted = {name: row.predicted[name] for name in candidates if name in row.predicted}
    paths = {_SOURCE: row.mixture, **{f"by {name}": path for name, path in predicted.items()}, _TRUTH: row.truth}
    if row.ica is not None:
        paths[_ICA] = row.ica
    stretch = choose_stretch(row.truth, row.mixture)
    clips = make_clips(paths, stretch, reference=_SOURCE)
    scores = report.scores[report.scores["track_id"] == row.track_id]
    own = scores.drop_duplicates("method").set_index("method")
    numbers = partial(_numbers, own, shown(report.rank_by))
    cells = [Cell("Source", "source", clips[_SOURCE], numbers(MIXTURE), "the mixture, as it comes")]
    for name in predicted:
        remark = _note(own, name) or ("the champion's vocals" if name == report.champion else "the candidate's vocals")
        cells.append(Cell(f"Predicted: {name}", "predicted", clips[f"by {name}"], numbers(name), remark))
    cells.append(Cell("True vocals", "truth", clips[_TRUTH], [], "what it should have found"))
    if row.ica is not None:
        remark = _note(own, ICA) or "baseline, no learning"
        cells.append(Cell("ICA", "ica", clips[_ICA], numbers(ICA), remark))
    elif reason := _note(own, ICA):
        cells.append(Cell("ICA", "ica", None, [], reason))
    middle = stretch.start + stretch.frames // 2
    ticks = [clock(place) for place in (stretch.start, middle, stretch.start + stretch.frames)]
    return ShownTrack(row, stretch, cells, ticks)


def _numbers(own: pd.DataFrame, measures: Sequence[Measure], method: str) -> list[tuple[str, str]]:
    row = own.loc[method] if method in own.index else {}
    told = [(measure, row.get(measure.column)) for measure in measures]
    return [
        (measure.title, f"{number(value, measure.digits)} {measure.unit}".strip())
        for measure, value in told
        if pd.notna(value)
    ]


def _note(own: pd.DataFrame, method: str) -> str:
    return str(own.loc[method, "note"]) if method in own.index else ""


def _track_tables(report: EvaluationReport) -> list[dict[str, Any]]:
    """One table a measure: a row a track, a column a method."""
    methods = list(summarise(report.scores, report.rank_by)["method"])
    names = {row.track_id: f"{row.artist} – {row.title}" for row in report.tracks}
    tables = []
    for measure in shown(report.rank_by):
        present = report.scores.dropna(subset=[measure.column])
        if present.empty:
            continue
        wide = present.pivot_table(index="track_id", columns="method", values=measure.column).reindex(columns=methods)
        rows = [
            {"name": names.get(str(track_id), str(track_id)), "track_id": track_id, "values": list(values)}
            for track_id, values in zip(wide.index, wide.to_numpy(), strict=True)
        ]
        tables.append({"measure": measure, "methods": methods, "rows": rows})
    return tables


def _notes(scores: pd.DataFrame) -> list[str]:
    noted = scores[scores["note"] != ""]
    return [f"{label(str(row.method))} on {row.track_id}: {row.note}" for row in noted.itertuples()]


def _curves(candidate: CandidateSection) -> dict[str, str] | None:
    return _both_themes(curves_figure, candidate.curves) if len(candidate.curves) else None


def _both_themes(draw: Any, table: pd.DataFrame) -> dict[str, str]:
    return {name: data_uri(draw(table, theme=theme), "image/png") for name, theme in (("light", LIGHT), ("dark", DARK))}


def _as_yaml(config: Mapping[str, Any] | Sequence[Any]) -> str:
    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True, width=88)


def _plain(value: Any) -> Any:
    """Only what YAML knows by itself."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _plain_values(metadata: Mapping[str, Any]) -> dict[str, str]:
    words = {}
    for name, value in metadata.items():
        if isinstance(value, (Mapping, list, tuple)):
            words[name] = _as_yaml(value).strip() if value else "none"
        else:
            words[name] = f"{value:.4g}" if isinstance(value, float) else str(value)
    return words


def _licences(tracks: Sequence[TrackRow]) -> dict[str, int]:
    return pd.Series([track.licence for track in tracks], dtype=object).value_counts().to_dict()
