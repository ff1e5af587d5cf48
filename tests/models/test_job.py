"""Jobs: a command line is read and written by one class, and holds everything."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_settings

from models.candidate import candidate_names, load_candidate, parse_candidate, write_candidate
from models.job import Job, ScoreJob, TrainJob, ValidateJob

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
paths = words.map(lambda name: Path("/storage") / name)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    if draw(st.booleans()):
        maybe = st.none() | paths
        seconds = st.none() | st.floats(0, 1e6)
        place = st.sampled_from([None, "auto", "stream", "resident"])
        files = (draw(maybe), draw(maybe), draw(maybe))
        return TrainJob(draw(paths.map(str)), *files, draw(place), draw(seconds), draw(st.none() | words))
    kind = draw(st.sampled_from([ScoreJob, ValidateJob]))
    return kind(draw(paths), draw(paths), draw(paths), draw(paths), draw(words))


@given(jobs())
def test_a_job_is_read_from_the_command_line_that_it_writes(job: Job) -> None:
    module, *arguments = job.command
    assert module == type(job).module
    assert type(job).parse(arguments) == job


def test_what_is_not_said_is_not_written() -> None:
    assert TrainJob("toy").command == ["models.train", "toy"]
    assert TrainJob("toy", device="cpu").command == ["models.train", "toy", "--device=cpu"]


@pytest.mark.parametrize("kind", [TrainJob, ScoreJob, ValidateJob])
def test_help_tells_every_argument(kind: type[Job], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kind.parse(["--help"])
    told = capsys.readouterr().out
    assert f"python -m {kind.module}" in told
    assert all(f"--{each.name.replace('_', '-')}" in told for each in fields(kind)[1:])


def test_what_must_be_said_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ScoreJob.parse(["checkpoint.pt", "--tracks", "tracks.parquet"])
    assert "--audio-root, --output" in capsys.readouterr().err


@pytest.mark.parametrize("name", candidate_names())
def test_a_candidate_that_is_written_is_read_back_the_same(tmp_path: Path, name: str) -> None:
    candidate = load_candidate(name)
    assert load_candidate(write_candidate(tmp_path, candidate)) == candidate


def test_words_of_any_kind_survive_in_a_candidate(tmp_path: Path) -> None:
    text = "no: \x7f 'é' \U0001f3a4 4:33 # 1e-5\n\t"
    candidate = parse_candidate("mine", tiny_settings() | {"description": text})
    assert load_candidate(write_candidate(tmp_path, candidate)).description == text
