"""A candidate and audio small enough for tests that really train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from data.audio import SAMPLE_RATE, write
from models.candidate import Candidate, parse_candidate

if TYPE_CHECKING:
    from models.networks.base import Network


def tiny_settings() -> dict[str, Any]:
    return {
        "description": "a network for tests",
        "stft": {"window": 256, "hop": 64},
        "network": {
            "name": "aps360",
            "channels": "separate",
            "input": "complex",
            "standardise": True,
            "bandwidth_hz": None,
            "awareness": 1,
            "pre_fc": [8],
            "lstm_hidden": 8,
            "lstm_layers": 2,
            "bidirectional": False,
            "skip": False,
            "fc": [8, 8],
            "norm": "none",
            "output": "spectrum",
            "mask_bound": 1.0,
            "gain": "none",
        },
        "loss": {"name": "l1", "waveform": 1.0, "spectrum": 1.0},
        "noise": {"profiles": 0, "snrs_db": []},
        "training": {
            "seed": 3,
            "epochs": 2,
            "steps_per_epoch": 3,
            "minutes": None,
            "batch_size": 2,
            "chunk_seconds": 0.1,
            "learning_rate": 0.01,
            "warmup_steps": 0,
            "schedule": {"name": "cosine"},
            "weight_decay": 0.0,
            "clip_norm": 5.0,
            "max_skipped_steps": 10,
            "ema_decay": 0.9,
            "keep_best": "loss",
            "early_stopping_epochs": None,
            "precision": "auto",
            "compile": False,
            "loader_threads": 2,
            "augmentation": {"remix": 0.5, "gain_db": [-3.0, 3.0], "swap_channels": 0.5, "flip_sign": 0.5},
        },
    }


def tiny_candidate(**changes: dict[str, Any]) -> Candidate:
    """The tiny candidate with some keys of its sections changed; a section that is named is replaced as a whole."""
    settings = tiny_settings()
    for section, values in changes.items():
        settings[section] = values if "name" in values else {**settings[section], **values}
    return parse_candidate("tiny", settings)


def network_of(candidate: Candidate) -> Network:
    """The network that a candidate describes, with fresh weights from torch's current seed."""
    return candidate.network.build(candidate.stft)


def tiny_pairs(root: Path, train: int = 3, validation: int = 1, seconds: float = 0.55) -> pd.DataFrame:
    """Write tones as vocals and noise as accompaniment; returns their training pairs."""
    frames, rows = round(seconds * SAMPLE_RATE), []
    time = np.arange(frames) / SAMPLE_RATE
    for index in range(train + validation):
        random = np.random.default_rng(index)
        tone = 0.3 * np.sin(2 * np.pi * (300 + 100 * index) * time)
        vocals = np.stack([tone, 0.5 * tone]).astype(np.float32)
        mixture = vocals + 0.1 * random.standard_normal((2, frames)).astype(np.float32)
        folder = f"demo/normalised/song-{index}"
        write(root / folder / "mixture.wav", mixture, subtype="FLOAT")
        write(root / folder / "vocals.wav", vocals, subtype="FLOAT")
        rows.append(
            {
                "track_id": f"demo/song-{index}",
                "split": "train" if index < train else "validation",
                "kind": "original",
                "input": "mixture",
                "target": "vocals",
                "mixture_path": f"{folder}/mixture.wav",
                "vocals_path": f"{folder}/vocals.wav",
                "mixture_sha256": f"mixture {folder}",
                "vocals_sha256": f"vocals {folder}",
                "frames": frames,
            }
        )
    return pd.DataFrame(rows)
