from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from data import audio
from data.audio import SAMPLE_RATE
from data.errors import InputError
from models.evaluate import ICA, IDEAL_MASK, MIXTURE, score_track, scores_frame
from models.report import CandidateSection, EvaluationReport, TrackRow, build_report
from models.report.excerpts import choose_stretch, encode_mp3, make_clips
from models.report.figures import (
    BANDS,
    COLUMNS,
    curves_figure,
    envelope,
    frequency_position,
    scores_figure,
    spectrogram_db,
    waveforms_and_spectrograms,
)
from models.report.verdict import findings, scope
from models.report.verdict import number as shown_number

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
CURVES = pd.DataFrame(
    {
        "epoch": [0, 1, 2],
        "step": [10, 20, 30],
        "train_loss": [1.0, 0.5, 0.3],
        "validation_loss": [1.1, 0.6, 0.7],
        "validation_usdr_db": [-1.0, 2.0, 1.5],
        "learning_rate": [1e-3] * 3,
        "skipped": [0, 0, 0],
        "seconds": [1.0, 2.0, 3.0],
        "kept": [False, True, False],
    }
)


def sine(hertz: float, seconds: float, level: float = 0.3) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.stack([level * np.sin(2 * np.pi * hertz * t)] * 2).astype(np.float32)


def scored(**methods: list[float]) -> pd.DataFrame:
    """Scores with the given uSDR (and as much of either cSDR) on tracks 0, 1, 2, ..."""
    return scores_frame(
        {
            "method": method,
            "track_id": str(number),
            "split": "reserved",
            "seconds": 1.0,
            "usdr_db": value,
            "csdr_db": value,
            "csdr_full_db": value,
            "windows_missing": 0.0,
            "si_sdr_db": value,
            "leakage_db": None,
            "note": "",
        }
        for method, values in methods.items()
        for number, value in enumerate(values)
    )


def make_report(folder: Path) -> EvaluationReport:
    """Three tracks of two seconds, one of them undefined for ICA, and a candidate `toy`."""
    rows, tracks = [], []
    for number in range(3):
        vocals = sine(220.0 * (number + 1), 2.0)
        mixture = vocals + sine(3000.0, 2.0, 0.2)
        estimates = {MIXTURE: mixture, IDEAL_MASK: vocals, "toy": 0.9 * vocals, ICA: 0.5 * mixture}
        files = {}
        for name, sound in {**estimates, "truth": vocals}.items():
            files[name] = folder / f"{number}-{name}.wav"
            audio.write(files[name], sound, subtype="FLOAT")
        for method, estimate in estimates.items():
            undefined = method == ICA and number == 2
            rows.append(
                score_track(
                    method=method,
                    track_id=f"demo/{number}",
                    split="reserved",
                    mixture=mixture,
                    vocals=vocals,
                    estimate=None if undefined else estimate,
                    note="both channels hold the same signal" if undefined else "",
                )
            )
        tracks.append(
            TrackRow(
                track_id=f"demo/{number}",
                title=f"Song {number} <img src=x>",
                artist="A & B",
                licence="CC BY-NC-SA 4.0",
                split="reserved",
                mixture=files[MIXTURE],
                truth=files["truth"],
                predicted={"toy": files["toy"]},
                ica=None if number == 2 else files[ICA],
                notes=["bleed in the vocals"] if number == 0 else [],
            )
        )
    candidate = CandidateSection("toy", {"network": {"name": "report", "hidden": 64}}, CURVES, {"git_commit": "abc"})
    return EvaluationReport(
        "Evaluation", [candidate], scores_frame(rows), tracks, {"musdb18/archive": "f00d" * 16}, champion="toy"
    )


class Page(HTMLParser):
    """Tags with their attributes, and the text, of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> EvaluationReport:
    return make_report(tmp_path_factory.mktemp("audio"))


@pytest.fixture(scope="module")
def built(report: EvaluationReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_report(report, tmp_path_factory.mktemp("out") / "new" / "report.html", now=NOW)


@pytest.fixture(scope="module")
def page(built: Path) -> Page:
    return Page(built)


def test_the_page_needs_nothing_but_itself(page: Page):
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "href", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), f"{tag} asks for {value}"
    policy = next(tag["content"] for tag in page.all("meta") if "http-equiv" in tag)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "@import" not in page.words
    assert "url(" not in page.words


def test_every_track_has_source_prediction_truth_and_ica_to_hear_and_see(page: Page):
    assert len(page.all("audio")) == 3 * 3 + 2
    assert len(page.all("svg")) == 3 * 3 + 2
    assert "both channels hold the same signal" in page.words
    assert "bleed in the vocals" in page.words


def test_every_player_holds_the_sound_of_its_file(page: Page):
    first, predicted = page.all("audio")[:2]
    for attributes, hertz, level in ((first, 3000.0, 0.36), (predicted, 220.0, 0.27)):
        kind, content = str(attributes["src"]).split(";base64,")
        assert kind == "data:audio/mpeg"
        sound, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
        assert rate == SAMPLE_RATE
        assert len(sound) == pytest.approx(2 * SAMPLE_RATE, abs=3000)
        spectrum = np.abs(np.fft.rfft(sound[:, 0]))
        assert spectrum[round(hertz * len(sound) / rate) - 3 :][:7].max() > 0.3 * spectrum.max()
        assert np.sqrt(np.mean(sound**2)) == pytest.approx(level / np.sqrt(2), rel=0.05)


def test_everything_seen_has_words_for_those_who_do_not_see_it(page: Page):
    assert all(image.get("alt") for image in page.all("img"))
    assert all(drawing.get("aria-label") for drawing in page.all("svg"))
    assert all(player.get("aria-label") for player in page.all("audio"))


def test_verdict_scores_settings_and_provenance_are_on_the_page(page: Page, report: EvaluationReport):
    assert "toy beats the unprocessed mixture by" in page.words
    # ICA has two tracks with a score, too few to say anything.
    assert "Too few tracks to compare toy with the ICA baseline" in page.words
    assert "ica has no score on demo/2" in page.words
    mean = report.scores.loc[report.scores["method"] == "toy", "usdr_db"].mean()
    assert f"{mean:.2f}" in page.words
    assert "hidden: 64" in page.words
    assert "f00d" * 16 in page.words
    assert "4 May 2026, 12:00 UTC" in page.words


def test_names_are_shown_as_text_and_never_run_as_markup(page: Page):
    assert "Song 0 <img src=x>" in page.words
    assert all(image["src"] != "x" for image in page.all("img"))
    assert "A & B" in page.words


def test_equal_contents_give_equal_bytes(report: EvaluationReport, built: Path, tmp_path: Path):
    assert build_report(report, tmp_path / "report.html", now=NOW).read_bytes() == built.read_bytes()


def test_a_page_without_tracks_scores_or_curves_still_says_what_is_missing(tmp_path: Path):
    empty = EvaluationReport(
        "Evaluation", [CandidateSection("toy", {}, CURVES.iloc[:0])], scores_frame([]), [], {}, champion=None
    )
    words = Page(build_report(empty, tmp_path / "report.html")).words
    assert "No candidate has been scored yet" in words
    assert "No tracks are reserved" in words
    assert "No curves were recorded" in words


def test_a_missing_sound_is_named_and_leaves_no_page(tmp_path: Path):
    report = make_report(tmp_path)
    report.tracks[1].predicted["toy"].unlink()
    with pytest.raises(InputError, match=r"1-toy\.wav"):
        build_report(report, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_long_track_is_cut_to_where_most_is_sung(tmp_path: Path):
    vocals = np.zeros((2, 60 * SAMPLE_RATE), dtype=np.float32)
    vocals[:, 25 * SAMPLE_RATE : 45 * SAMPLE_RATE] = sine(440.0, 20.0)
    mixture = sine(100.0, 60.0, 0.1)
    mixture[:, 5 * SAMPLE_RATE : 25 * SAMPLE_RATE] *= 3
    for name, sound in (("v", vocals), ("x", mixture), ("none", 0 * vocals)):
        audio.write(tmp_path / f"{name}.wav", sound, subtype="FLOAT")
    sung = choose_stretch(tmp_path / "v.wav", tmp_path / "x.wav")
    assert (sung.start, sung.frames, sung.whole) == (25 * SAMPLE_RATE, 20 * SAMPLE_RATE, False)
    assert sung.words == "0:25 to 0:45 of 1:00"
    # Nobody sings: the loudest part of the mixture.
    assert choose_stretch(tmp_path / "none.wav", tmp_path / "x.wav").start == 5 * SAMPLE_RATE


def test_a_short_track_is_shown_whole(tmp_path: Path):
    audio.write(tmp_path / "v.wav", sine(440.0, 3.0))
    stretch = choose_stretch(tmp_path / "v.wav", tmp_path / "v.wav")
    assert (stretch.start, stretch.frames, stretch.whole) == (0, 3 * SAMPLE_RATE, True)


def test_the_clips_of_a_track_share_one_scale_and_one_gain(tmp_path: Path):
    """A clip at half the level is half as high, and a loud one turns all of them down alike."""
    loud, quiet = sine(440.0, 1.0, 1.6), sine(440.0, 1.0, 0.8)
    for name, sound in (("loud", loud), ("quiet", quiet)):
        audio.write(tmp_path / f"{name}.wav", sound, subtype="FLOAT")
    paths = {name: tmp_path / f"{name}.wav" for name in ("loud", "quiet")}
    clips = make_clips(paths, choose_stretch(paths["loud"], paths["loud"]), reference="loud")
    heights, levels = {}, {}
    for name, clip in clips.items():
        y = [float(value) for value in re.findall(r"\d+ ([\d.]+)", clip.wave)]
        heights[name] = max(y) - min(y)
        sound, _ = soundfile.read(io.BytesIO(base64.b64decode(clip.sound.split(",")[1])))
        levels[name] = np.sqrt(np.mean(sound**2))
    assert heights["loud"] == pytest.approx(100, abs=0.5)
    assert heights["quiet"] == pytest.approx(50, abs=0.5)
    assert levels["loud"] / levels["quiet"] == pytest.approx(2.0, rel=0.03)
    assert clips["loud"].spectrogram != clips["quiet"].spectrogram


def test_mp3_is_a_tenth_of_the_samples_and_never_wraps():
    noise = np.random.default_rng(0).uniform(-1.5, 1.5, (2, SAMPLE_RATE)).astype(np.float32)
    assert len(encode_mp3(sine(440.0, 10.0))) < 10 * SAMPLE_RATE * 4 / 5
    decoded, _ = soundfile.read(io.BytesIO(encode_mp3(noise)))
    assert np.isfinite(decoded).all()


@pytest.mark.parametrize("hertz", [100.0, 440.0, 3000.0, 10_000.0])
def test_a_tone_lies_at_its_frequency_in_the_spectrogram(hertz: float):
    picture = spectrogram_db(sine(hertz, 2.0))
    assert picture.shape == (BANDS, COLUMNS)
    row = int(np.argmax(picture.mean(axis=1)))
    assert (row + 0.5) / BANDS == pytest.approx(frequency_position(hertz), abs=0.02)


@pytest.mark.parametrize("frames", [0, 1, 100, 5000])
def test_very_short_sounds_can_be_drawn(frames: int):
    sound = np.full((2, frames), 0.5, dtype=np.float32)
    low, high = envelope(sound)
    assert low.shape == high.shape == (COLUMNS,)
    assert np.isfinite(spectrogram_db(sound)).all()


def test_the_envelope_holds_the_extremes():
    sound = np.zeros((2, 48_000), dtype=np.float32)
    sound[1, 24_000] = 0.7
    sound[0, 100] = -0.4
    low, high = envelope(sound)
    assert high[COLUMNS // 2] == pytest.approx(0.7)
    assert low[1] == pytest.approx(-0.4)
    assert np.count_nonzero(high) == np.count_nonzero(low) == 1


def test_pictures_for_the_ui_are_png():
    vocals, mixture = sine(440.0, 1.0), sine(200.0, 1.0)
    scores = scored(toy=[1.0, 2.0], mixture=[-3.0, float("inf")], ica=[None, None])  # type: ignore[list-item]
    pictures = (
        waveforms_and_spectrograms(mixture, 0.5 * vocals, vocals, SAMPLE_RATE),
        curves_figure(CURVES),
        curves_figure(CURVES.iloc[:0]),
        scores_figure(scores),
        scores_figure(scores.iloc[:0]),
    )
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


@pytest.mark.parametrize("name", ["$\\frac$", "$\\input{x}$ _a^"])
def test_names_are_drawn_as_they_are(name):
    vocals, mixture = sine(440.0, 1.0), sine(200.0, 1.0)
    pictures = (
        waveforms_and_spectrograms(mixture, 0.5 * vocals, vocals, SAMPLE_RATE, title=name),
        curves_figure(CURVES, name),
        scores_figure(scored(**{name: [1.0, 2.0], "mixture": [-3.0, -2.0]})),
    )
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


def test_names_that_are_not_utf8_are_shown_on_the_page(tmp_path):
    report = make_report(tmp_path)
    odd = replace(report.tracks[0], title="caf\udce9", artist="</script><script>alert(1)</script>")
    page = build_report(replace(report, tracks=[odd]), tmp_path / "page.html", now=NOW).read_text(encoding="utf-8")
    assert "caf\\udce9" in page
    assert page.count("<script>") == 1


def test_the_verdict_is_about_the_champion_and_calls_small_differences_ties():
    scores = scored(
        toy=[5.0, 6.0, 7.0, 6.5],
        report=[5.1, 5.9, 7.1, 6.4],
        mixture=[-4.0, -3.0, -5.0, -4.0],
        ica=[9.0, 9.0, 9.5, 9.0],
    )
    sentences = [(finding.sentence, finding.tone) for finding in findings(scores, ["toy", "report"], "report")]
    assert sentences == [
        ("report beats the unprocessed mixture by 10.1 dB uSDR and 9.8 dB cSDR.", "good"),
        ("report loses to the ICA baseline by 3.0 dB uSDR and 2.8 dB cSDR.", "bad"),
        ("report and toy are a tie.", "neutral"),
    ]


def test_without_a_champion_the_verdict_is_about_the_best_candidate():
    scores = scored(toy=[1.0, 2.0, 3.0], report=[5.0, 6.0, 7.0], mixture=[-4.0, -3.0, -5.0])
    assert findings(scores, ["toy", "report"], None)[0].sentence.startswith("report beats the unprocessed mixture")
    assert findings(scores, ["toy", "report"], "report")[1].sentence.startswith("report beats toy")


def test_a_verdict_that_differs_between_measures_says_so():
    scores = scored(toy=[5.0, 6.0, 7.0], mixture=[1.0, 2.0, 3.0])
    scores.loc[scores["method"] == "toy", "csdr_full_db"] = [0.0, 1.0, 2.0]
    (finding,) = findings(scores, ["toy"], None)
    assert finding.sentence == "Against the unprocessed mixture, toy wins in uSDR and loses in cSDR."
    assert finding.tone == "bad"


def test_silence_on_hard_songs_does_not_turn_the_verdict():
    """The published cSDR of "quiet" stands over its one easy song alone."""
    scores = scored(quiet=[20.0, 0.0, 0.0, 0.0, 0.0, 0.0], honest=[20.0, 8.0, 9.0, 10.0, 8.0, 9.0])
    scores.loc[(scores["method"] == "quiet") & (scores["usdr_db"] == 0.0), "csdr_db"] = None
    (finding,) = findings(scores, ["quiet", "honest"], None)
    assert finding.sentence.startswith("honest beats quiet by")
    (finding,) = findings(scores, ["quiet", "honest"], "quiet")
    assert finding.sentence.startswith("quiet loses to honest by")


@pytest.mark.parametrize(
    ("songs", "generated", "left_out", "words"),
    [
        (0, None, None, "No song has been scored yet."),
        (1, None, None, "How well the vocals were taken out of 1 held-out song."),
        (9, None, [], "out of 9 held-out songs. No separator shown here knows any of them from its training."),
        (9, 8, None, "9 held-out songs. 8 of them are generated by a program"),
        (9, 1, None, "1 of them is generated by a program"),
        (9, 9, [], "All of them are generated by a program"),
        (1, 1, [], "It is generated by a program: a score there says little about recorded music. No separator"),
        (9, 0, None, "How well the vocals were taken out of 9 held-out songs."),
        (9, None, [("toy", "a", "was trained on it")], "from its training; 1 song that one does know is left out."),
        # Two separators that know the same song leave out one song.
        (9, None, [("b", "x", "it"), ("a", "x", "it"), ("a", "y", "it")], "; 2 songs that one does know are left out."),
    ],
)
def test_the_head_of_the_page_says_what_was_scored_and_claims_no_more(
    songs: int, generated: int | None, left_out: list[tuple[str, str, str]] | None, words: str
):
    sentence = scope(songs, generated, left_out)
    assert words in sentence
    if generated in (None, 0):
        assert "generated" not in sentence
    if left_out is None:
        assert "training" not in sentence


def test_the_page_says_how_many_songs_are_generated_and_which_are_left_out(report: EvaluationReport, tmp_path: Path):
    words = Page(build_report(report, tmp_path / "report.html", now=NOW)).words
    assert "generated" not in words
    assert "from its training" not in words
    left_out = [("toy", "demo/8", "was trained on it"), ("toy", "demo/9", "was trained on it")]
    words = Page(build_report(replace(report, generated=2, left_out=left_out), tmp_path / "report.html", now=NOW)).words
    assert "3 held-out songs. 2 of them are generated by a program" in words
    assert "2 songs that one does know are left out" in words
    assert "left out: toy was trained on it: demo/8, demo/9" in words


def test_every_number_of_the_score_table_has_its_count_beside_it(report: EvaluationReport, tmp_path: Path):
    scores = report.scores.copy()
    toy = (scores["method"] == "toy") & (scores["track_id"] == "demo/0")
    scores.loc[toy, ["csdr_db", "windows_missing"]] = [None, 1.0]
    page = build_report(replace(report, scores=scores), tmp_path / "report.html", now=NOW).read_text()
    (row,) = re.findall(r'<th scope="row">toy<small>.*?</tr>', page, re.DOTALL)
    counts = [re.sub(r"\s+", " ", count) for count in re.findall(r"<small>([^<]*)</small>", row)]
    assert counts == ["champion", "3", "3", "3", "2 of 3", "33 % of the seconds missing", "0 of 3"]
    assert "toy has no published cSDR on demo/0" in page


@pytest.mark.parametrize(
    ("value", "words"),
    [(1.25, "1.2"), (-3.0, "−3.0"), (-0.01, "0.0"), (None, "–"), (float("nan"), "–"), (float("-inf"), "−∞")],
)
def test_numbers_read_as_a_person_writes_them(value: float | None, words: str):
    assert shown_number(value) == words
