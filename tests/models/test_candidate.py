from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_settings

from data.errors import InputError
from models.candidate import candidate_names, candidate_path, load_candidate, parse_candidate


def _written(folder: Path, settings: object, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(settings))
    return path


def _shipped(name: str) -> dict[str, Any]:
    return load_candidate(name).model_dump(mode="json", exclude={"name"})


@pytest.mark.parametrize("name", candidate_names())
def test_every_shipped_candidate_is_valid_and_named_after_its_file(name: str) -> None:
    assert load_candidate(name).name == name


def test_aps360_and_toy_ship() -> None:
    assert {"aps360", "toy"} <= set(candidate_names())


def test_the_candidate_aps360_is_the_report_literally() -> None:
    candidate = load_candidate("aps360")
    assert candidate.loss.name == "contrastive_cosine"
    assert candidate.network.output == "spectrum"
    assert (candidate.network.lstm_layers, len(candidate.network.fc) + 1) == (2, 3)
    assert candidate.noise.profiles * len(candidate.noise.snrs_db) > 0


def test_an_unknown_candidate_names_those_there_are() -> None:
    with pytest.raises(InputError) as caught:
        load_candidate("rapport")
    assert "rapport" in caught.value.found
    assert all(name in caught.value.expected for name in candidate_names())


def test_every_bad_key_is_named_with_expected_and_found_at_once(tmp_path: Path) -> None:
    settings = tiny_settings()
    settings["training"]["batch_size"] = -4
    settings["training"]["learning_rate"] = "fast"
    settings["network"]["lstm_hiden"] = 8
    settings["loss"]["repulsion"] = 1.0
    del settings["stft"]["hop"]
    settings["network"]["awareness"] = True
    with pytest.raises(InputError) as caught:
        load_candidate(_written(tmp_path, settings))
    error = caught.value
    assert "6 bad keys" in error.what
    assert error.file == str(tmp_path / "mine.yaml")
    bad = ("batch_size", "learning_rate")
    for key in (*(f"training.{name}" for name in bad), "network.lstm_hiden", "loss.repulsion", "stft.hop"):
        assert f"{key}: " in error.expected
        assert f"{key}: " in error.found
    assert "greater than 0" in error.expected
    assert "did you mean lstm_hidden?" in error.expected
    assert "known are name, waveform, spectrum" in error.expected
    assert "-4" in error.found
    assert '"fast"' in error.found
    assert "network.awareness: true" in error.found


def test_a_bad_key_inside_a_list_of_another_networks_settings_is_named(tmp_path: Path) -> None:
    settings = tiny_settings()
    settings["network"] = {
        "name": "bandsplit",
        "bands": [{"width_hz": 100.0, "up_to_hz": 1000.0}, {"width_herz": 500.0, "up_to_hz": 4000.0}],
        "features": 8,
        "blocks": 0,
        "lstm_hidden": 8,
        "mask_hiden": 8,
        "mask_bound": None,
    }
    with pytest.raises(InputError) as caught:
        load_candidate(_written(tmp_path, settings))
    expected = caught.value.expected
    assert "5 bad keys" in caught.value.what
    assert "network.blocks: input should be greater than 0" in expected
    assert "network.mask_hiden: no such key; did you mean mask_hidden?" in expected
    assert "network.bands.1.width_herz: no such key; did you mean width_hz?" in expected


def test_band_ranges_that_do_not_rise_are_refused(tmp_path: Path) -> None:
    settings = _shipped("bandsplit")
    settings["network"]["bands"].reverse()
    with pytest.raises(InputError, match="up_to_hz must rise from range to range"):
        load_candidate(_written(tmp_path, settings))


def test_attention_heads_must_share_their_channels_evenly(tmp_path: Path) -> None:
    settings = _shipped("htdemucs")
    settings["network"]["transformer_heads"] = 3
    with pytest.raises(InputError, match="must be a multiple of transformer_heads"):
        load_candidate(_written(tmp_path, settings))


def test_the_repaired_one_differs_from_the_report_in_loss_and_output_only() -> None:
    report, repaired = (load_candidate(name).model_dump() for name in ("aps360", "aps360-repaired"))
    assert {key for key in report if report[key] != repaired[key]} == {"name", "description", "network", "loss"}
    changed = {key for key, value in report["network"].items() if repaired["network"][key] != value}
    assert changed == {"output", "mask_bound", "gain"}


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    settings = tiny_settings()
    settings["stft"]["hop"] = 200
    with pytest.raises(InputError, match="at most half the window"):
        load_candidate(_written(tmp_path, settings))


def test_an_unknown_loss_or_network_names_the_known_ones(tmp_path: Path) -> None:
    settings = tiny_settings()
    settings["loss"] = {"name": "l3"}
    settings["network"]["name"] = "transformer"
    with pytest.raises(InputError) as caught:
        load_candidate(_written(tmp_path, settings))
    assert "contrastive_cosine_repaired" in caught.value.expected
    assert all(f"'{name}'" in caught.value.expected for name in ("aps360", "bandsplit", "openunmix"))
    assert "l3" in caught.value.found


def test_the_name_cannot_be_set_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file name is the name"):
        load_candidate(_written(tmp_path, {**tiny_settings(), "name": "other"}))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="candidate mine"):
        load_candidate(path)


@pytest.mark.parametrize("text", ["a: [1, 2\n", "stft: {hop: 1}\nstft: {hop: 2}\n"])
def test_broken_yaml_and_doubled_keys_are_refused_with_their_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="line 2"):
        load_candidate(path)


def test_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    text = yaml.safe_dump(tiny_settings()).replace("learning_rate: 0.01", "learning_rate: 1e-2")
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert load_candidate(path).training.learning_rate == 0.01


def test_listing_candidates_does_not_load_torch() -> None:
    code = "import sys; from models.candidate import *; load_candidate('toy'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1, 2]\nb: *x", "an anchor or alias"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "an anchor or alias"),
        ("stft: 2020-13-45", "2020-13-45"),
        ("stft: " + "[" * 5000, "in each other"),
        ("? [1]\n: 2", "a key that is a list"),
        ("seed: " + "9" * 5000, "digits"),
        ("a: !!python/object:os.system x", "a tag"),
        ("x: " + "y" * 2_000_000, "bytes"),
        ("- 1", "a list"),
        ("", "an empty file"),
    ],
)
def test_a_file_that_is_no_plain_yaml_is_bad_input_in_one_way(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.yaml").write_bytes(text.encode())
    with pytest.raises(InputError) as caught:
        load_candidate(tmp_path / "mine.yaml")
    assert words in caught.value.found


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = _written(tmp_path, tiny_settings())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_candidate(path).name == "mine"


def numbers(section: object, *keys: str) -> list[tuple[str, ...]]:
    """The places of all numbers in settings."""
    if isinstance(section, dict):
        return [place for key, value in section.items() for place in numbers(value, *keys, key)]
    if isinstance(section, list):
        return [place for index, value in enumerate(section) for place in numbers(value, *keys, str(index))]
    return [keys] if isinstance(section, int | float) and not isinstance(section, bool) else []


@pytest.mark.parametrize("name", candidate_names())
def test_every_number_of_every_candidate_has_an_upper_bound_and_is_finite(tmp_path: Path, name: str) -> None:
    for *keys, last in numbers(_shipped(name)):
        for value in (10**19, 1e300, float("inf"), float("nan"), -(10**19)):
            settings = _shipped(name)
            section = settings
            for key in keys:
                section = section[int(key) if isinstance(section, list) else key]
            section[int(last) if isinstance(section, list) else last] = value
            with pytest.raises(InputError) as caught:
                load_candidate(_written(tmp_path, settings))
            assert ".".join([*keys, last]) in caught.value.expected


def test_a_spectrum_that_would_be_far_larger_than_its_waveform_is_refused(tmp_path: Path) -> None:
    settings = tiny_settings()
    settings["stft"] = {"window": 4096, "hop": 1}
    with pytest.raises(InputError, match="hop must be at least a 64th of the window"):
        load_candidate(_written(tmp_path, settings))


def test_files_that_cannot_name_a_candidate_do_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("good", "Bad Name", "a,b", "...", "-x", "x" * 101, "é"):
        _written(tmp_path, tiny_settings(), f"{name}.yaml")
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    assert candidate_names(tmp_path) == ["broken", "good"]
    with pytest.raises(InputError, match="lower-case letters"):
        candidate_path("Bad Name", tmp_path)
    for name, words in {"folder": "a folder", "pipe": "a pipe", "absent": "no such file"}.items():
        with pytest.raises(InputError) as caught:
            load_candidate(tmp_path / f"{name}.yaml")
        assert caught.value.found == words


def test_a_candidate_that_may_not_be_read_is_not_called_missing(
    tmp_path: Path, without_privileges: Callable[[], Any]
) -> None:
    path = _written(tmp_path, tiny_settings())
    path.chmod(0)
    with without_privileges(), pytest.raises(InputError, match="the right to use it"):
        load_candidate(path)


@pytest.mark.parametrize(
    "value", [10**5000, {(1, 2): 3}, float("nan"), "\ud800", object()], ids=lambda v: type(v).__name__
)
def test_a_value_that_cannot_be_written_down_is_told_by_its_kind(value: object) -> None:
    for settings in (tiny_settings() | {"name": value}, tiny_settings() | {"stft": value}, {"description": value}):
        with pytest.raises(InputError, match="candidate mine"):
            parse_candidate("mine", settings)
