"""The evaluation report that a person opens: one self-contained HTML page, and the pictures shown in Dagster.

`contents` says what goes in, `page` builds the page, `figures` the pictures, `excerpts` what is seen and heard of one
track, `verdict` the sentences at its head. Nothing here measures anything: the scores come ready made.
"""

from models.report.contents import CandidateSection, EvaluationReport, TrackRow
from models.report.page import build_report

__all__ = ["CandidateSection", "EvaluationReport", "TrackRow", "build_report"]
