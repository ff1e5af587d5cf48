from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import network_of, tiny_candidate

from data.errors import InputError
from models.checkpoint import FORMAT, Checkpoint, load_checkpoint, load_separator, save_checkpoint
from models.separate import CONTEXT_SECONDS
from models.stft import Sound


def _checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    candidate = tiny_candidate()
    return Checkpoint(
        candidate=candidate,
        weights=network_of(candidate).state_dict(),
        metrics={"epoch": 4, "validation_usdr_db": 3.25},
        fingerprints={"training_set/loopback": "abc"},
        licences=("CC BY-NC-SA 4.0",),
        git_commit="0f3c",
        context_seconds=3.5,
    )


def test_everything_in_a_checkpoint_comes_back(tmp_path: Path) -> None:
    saved = _checkpoint()
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    loaded = load_checkpoint(tmp_path / "checkpoint.pt")
    assert loaded.candidate == saved.candidate
    assert (loaded.metrics, loaded.fingerprints, loaded.licences) == (saved.metrics, saved.fingerprints, saved.licences)
    assert (loaded.git_commit, loaded.sample_rate) == ("0f3c", 44100)
    assert (loaded.normalises, loaded.context_seconds) == (True, 3.5)
    assert load_separator(tmp_path / "checkpoint.pt").context_seconds == 3.5
    assert all(torch.equal(loaded.weights[name], tensor) for name, tensor in saved.weights.items())


def test_a_checkpoint_tells_everything_to_plain_torch_too(tmp_path: Path) -> None:
    saved = _checkpoint()
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert content.pop("weights").keys() == saved.weights.keys()
    assert content == {
        "format": FORMAT,
        "name": "tiny",
        "config": saved.candidate.model_dump(mode="json", exclude={"name"}),
        "sample_rate": 44100,
        "normalises": True,
        "context_seconds": 3.5,
        "metrics": {"epoch": 4, "validation_usdr_db": 3.25},
        "fingerprints": {"training_set/loopback": "abc"},
        "licences": ["CC BY-NC-SA 4.0"],
        "git_commit": "0f3c",
    }


def test_a_checkpoint_from_before_some_settings_existed_is_still_of_use(tmp_path: Path) -> None:
    saved = _checkpoint()
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    training = content["config"]["training"]
    for later in ("minutes", "max_skipped_steps", "keep_best", "early_stopping_epochs", "precision", "compile"):
        del training[later]
    training["schedule"] = "cosine"
    torch.save(content, tmp_path / "old.pt")
    loaded = load_checkpoint(tmp_path / "old.pt").candidate
    assert loaded.network == saved.candidate.network
    assert loaded.training.schedule == saved.candidate.training.schedule
    assert loaded.training.keep_best == "loss"


def test_weights_from_before_the_level_was_left_at_the_door_still_give_the_audio_they_gave(tmp_path: Path) -> None:
    saved = _checkpoint()
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for later in ("normalises", "context_seconds"):
        del content[later]
    torch.save(content, tmp_path / "old.pt")
    separator = load_separator(tmp_path / "old.pt")
    assert separator.context_seconds == CONTEXT_SECONDS
    network = network_of(saved.candidate).eval()
    network.load_state_dict(dict(saved.weights))
    mixture = 0.1 * np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    with torch.inference_mode():
        # What a network did before: its estimate of the mixture as it is.
        sound = Sound(network.stft, waveform=torch.from_numpy(mixture)[None])
        expected = network.finish(network.estimate(sound), sound)[0].numpy()
    np.testing.assert_array_equal(separator(mixture), expected)
    # Its level is told to every separator; such a one pays no heed to it.
    np.testing.assert_array_equal(separator(mixture, 0.5), expected)
    assert np.abs(load_separator(tmp_path / "checkpoint.pt")(mixture) - expected).max() > 1e-3


def test_a_loaded_separator_separates_as_the_saved_one(tmp_path: Path) -> None:
    saved = _checkpoint()
    save_checkpoint(tmp_path / "checkpoint.pt", saved)
    network = network_of(saved.candidate).eval()
    network.load_state_dict(dict(saved.weights))
    mixture = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(mixture)[None])[0].numpy()
    np.testing.assert_array_equal(load_separator(tmp_path / "checkpoint.pt")(mixture), expected)


def test_equal_checkpoints_give_equal_bytes_under_any_name(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "one.pt", _checkpoint())
    save_checkpoint(tmp_path / "two.pt", _checkpoint())
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()


def test_a_failed_save_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _checkpoint())
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", lambda self, content: self.open("wb").write(content[:100]) and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(path, _checkpoint())
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.pt") as caught:
        load_separator(tmp_path / "absent.pt")
    assert caught.value.found == "no such file"


def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "cut.pt", _checkpoint())
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:5000])
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"weights": {}}, tmp_path / "foreign.pt")
    torch.save({"format": Path}, tmp_path / "code.pt")
    for name in ("cut", "text", "empty", "list", "foreign", "code"):
        with pytest.raises(InputError, match="a checkpoint of this project"):
            load_separator(tmp_path / f"{name}.pt")


def test_an_unknown_network_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, _checkpoint())
    content = torch.load(path, weights_only=True)
    content["weights"].pop("lstm.weight_hh_l0")
    torch.save(content, path)
    with pytest.raises(InputError, match="weights of other shapes"):
        load_separator(path)
    content["config"]["network"]["name"] = "transformer"
    torch.save(content, path)
    with pytest.raises(InputError, match="network transformer"):
        load_separator(path)


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", _checkpoint())
    with pytest.raises(InputError, match="device gramophone"):
        load_separator(tmp_path / "checkpoint.pt", device="gramophone")
