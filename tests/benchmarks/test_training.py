"""What the training benchmark measures with: speed and waiting from reports, LSTMs and kernels from a profiler."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pipelines_site import PROJECT
from torch.profiler import ProfilerActivity

from benchmarks.corpora import training_corpus
from benchmarks.meters import Meter, Profile, covered
from benchmarks.peer_openunmix import VERSION
from benchmarks.train import faster_than, main
from data.audio import read
from data.loopback import PAIRS
from data.tables import read_table


def test_waiting_is_weighed_by_time_and_the_first_steps_do_not_count() -> None:
    meter = Meter(warm=10)
    # 2 s and 8 s of training after the warm-up; the first report only says when that ended.
    for step, seconds, waiting in ((5, 5.0, 0.9), (10, 6.0, 0.9), (20, 8.0, 0.5), (60, 16.0, 0.0)):
        meter.progress(SimpleNamespace(step=step, seconds=seconds, waiting_share=waiting))
    assert meter.waiting_share() == pytest.approx(0.1)
    assert meter.seconds_a_step() == pytest.approx(0.2)


def test_a_training_without_reports_is_timed_from_epoch_to_epoch() -> None:
    meter = Meter(warm=0)
    for step, seconds in ((4, 3.0), (8, 5.0)):
        meter.epoch({"step": step, "seconds": seconds}, b"")
    assert meter.seconds_a_step() == pytest.approx(0.5)
    assert meter.waiting_share() is None


def test_what_kernels_cover_together_counts_once() -> None:
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.0, 1.5)]) == pytest.approx(4.0)
    assert covered([]) == 0


def test_the_profile_finds_lstms_forwards_and_backwards_and_nothing_else() -> None:
    def share(network: torch.nn.Module) -> float:
        profile = Profile([ProfilerActivity.CPU])
        for _ in range(3):
            found = network(torch.randn(8, 100, 64, requires_grad=True))
            (found[0] if isinstance(found, tuple) else found).sum().backward()
        profile.stop()
        return profile.lstm_share()

    assert share(torch.nn.Linear(64, 64)) == 0
    assert 0.1 < share(torch.nn.LSTM(64, 64, 2, batch_first=True, bidirectional=True)) <= 1


def test_open_unmix_is_compared_by_its_faster_side_of_each_round() -> None:
    def side(*seconds: float) -> list[dict[str, float]]:
        return [{"seconds_an_example": value} for value in seconds]

    runs = {"peer, wav, 1": side(4.0, 9.0), "peer, wav, 2": side(6.0, 6.0), "peer, mp4": side(9, 9), "us": side(1, 1)}
    assert faster_than(runs, "peer, wav,", "us") == pytest.approx(5.0)


def test_the_corpus_has_different_tracks_that_are_not_clipped(tmp_path: Path) -> None:
    pairs = read_table(training_corpus(tmp_path, 2, 11.0), PAIRS)
    assert list(pairs["split"]) == ["train", "train", "validation"]
    assert list(pairs["frames"] / 44100) == [11.0, 11.0, 6.0]
    mixtures = [read(tmp_path / path)[0] for path in pairs["mixture_path"]]
    vocals = [read(tmp_path / path)[0] for path in pairs["vocals_path"]]
    assert abs(mixtures[0] - mixtures[1]).max() > 0.1
    # The rest, which has a peak of 0.4: a sum that wrapped round would stand out.
    assert max(abs(mixture - voice).max() for mixture, voice in zip(mixtures, vocals, strict=True)) < 0.41


def test_without_the_other_package_the_benchmark_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Only this project on the path: whatever is installed besides is not found.
    monkeypatch.setattr(sys, "path", [str(PROJECT)])
    monkeypatch.setattr(sys, "argv", ["train", "--work", str(tmp_path)])
    assert main() == 2
    assert f"pip install --no-deps openunmix=={VERSION}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
