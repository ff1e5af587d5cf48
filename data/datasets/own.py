"""A user's own stems: one folder a track, with files that are its mixture, its target and the rest.

Which file is what, and what a folder says of its track, is `data.datasets.own_folders`'; here they are made one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial, reduce
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from data import audio
from data.datasets.base import Dataset, Extracted, Log, folder_or_archive
from data.datasets.own_folders import LABELS, SUFFIXES, Files, tracks_in
from data.errors import InputError
from data.names import in_letters
from data.normalise import canonical_blocks
from data.residual import StemSum
from data.settings import Settings
from data.tracks import MIXTURE, VOCALS, Found, Track, found
from data.walk import Walk, told

_NOTHING: audio.Audio = np.zeros((audio.CHANNELS, 0), np.float32)  # what a stem gives after its end


class Own(Dataset):
    """Folders of files that are called what they are, or of stems of which a note says which are the vocals."""

    name = "own"
    title = "Own stems"
    description = "Own stems: a folder a track, with mixture and vocals, or vocals and accompaniment"
    code_version = "2"

    def version_for(self, files: Iterable[str]) -> str:
        # Since version 2 lengths come from decoding; these were decoded to their end before, too.
        sounds = [Path(name).suffix.lower() for name in files if not name.lower().endswith((".yaml", ".yml"))]
        return "1" if all(suffix in (".wav", ".flac") for suffix in sounds) else self.code_version

    def obtain(self, settings: Settings, log: Log) -> Path:
        return folder_or_archive(settings, self.name, settings.own, log)

    def discover(self, folder: Path) -> Found:
        walk = Walk(folder)
        tracks = tracks_in(walk)
        if not tracks:
            passed = told(walk.passed_over, folder)
            raise InputError(
                "own stems",
                file=folder,
                expected="folders with mixture and vocals, or vocals and accompaniment, or with stems of which a "
                f"{LABELS} says which are the vocals (each {', '.join(suffix[1:] for suffix in SUFFIXES)})",
                found=f"no such folder; passed over: {passed}" if passed else "no such folder",
                remedy="arrange the stems like this, or set ISOLATION_OWN to 'off'",
            )
        return found(tracks, walk.passed_over)

    def extract(self, track: Track, labels: pd.DataFrame, folder: Path) -> Extracted:
        if problem := track.details.get("problem"):
            raise InputError(
                "own stems",
                file=track.files[-1].parent,  # the last is the file of labels, where there is one
                expected=track.details["expected"],
                found=problem,
                remedy=f"keep one file of each kind, and mend {LABELS}",
            )
        files = Files.of(track)
        with TemporaryDirectory(dir=folder) as room:
            mixture, rest, target = (
                [audio.as_wav(path, room) for path in paths] for paths in (files.mixture, files.rest, files.target)
            )
            together = _Together(mixture, rest, target, files.whole)
            frames, residual = together.write(folder)
        if files.whole:
            stems, kinds = sorted(["vocals", "mixture" if mixture else "accompaniment"]), None
        else:
            kinds = sorted(in_letters(path.stem) for path in files.target)
            stems = sorted([*kinds, *(in_letters(path.stem) for path in files.rest)])
        return Extracted(
            stems=stems,
            vocal_kinds=kinds,
            frames=frames,
            sample_rate=min(form.sample_rate for form in together.forms),
            vocal_stems=len(target),
            length_difference=together.length_difference,
            stem_sum_residual_db=residual,
        )


class _Together:
    """Wavs of mixture, rest and target, brought to one rate, one length and two channels, and summed.

    A whole target and one other file are cut to the shorter. Otherwise the track is as long as its mixture, or where
    there is none, as its longest stem; a stem that ends earlier is silent from there on.
    """

    def __init__(self, mixture: list[Path], rest: list[Path], target: list[Path], whole: bool) -> None:
        self._paths = [*mixture, *rest, *target]
        self._mixture, self._rest, self._whole = len(mixture), len(rest), whole
        self.forms = [audio.info(path) for path in self._paths]
        self._lengths = [round(form.frames * audio.SAMPLE_RATE / form.sample_rate) for form in self.forms]

    @property
    def length_difference(self) -> int:
        """How much longer a stem is than the mixture, or what stands for it: the largest difference, in frames."""
        other = self._lengths[0] if self._mixture or self._whole else max(self._lengths)
        return max((length - other for length in self._lengths), key=abs)

    def write(self, folder: Path) -> tuple[int, float | None]:
        """Write mixture and target; returns the frames, and how far a given mixture is from all stems, if all are."""
        subtype = audio.widest_subtype(form.subtype for form in self.forms)
        if any(form.sample_rate != audio.SAMPLE_RATE for form in self.forms):
            subtype = "FLOAT"
        try:
            return self._write(folder, subtype)
        except audio.ClippingError:
            return self._write(folder, "FLOAT")

    def _write(self, folder: Path, subtype: str) -> tuple[int, float | None]:
        # Resampling may give a frame more than reckoned.
        create = partial(audio.Writer, frames=self._until(self._lengths) + audio.BLOCK)
        frames, residual = 0, StemSum()
        with (
            create(folder / MIXTURE, audio.SAMPLE_RATE, subtype) as mixture_wav,
            create(folder / VOCALS, audio.SAMPLE_RATE, subtype) as target_wav,
        ):
            for mixture, rest, target in self._blocks():
                whole = target + rest if mixture is None else mixture
                residual.feed(whole, [rest, target])
                mixture_wav.write(whole)
                target_wav.write(target)
                frames += target.shape[1]
        return frames, residual.decibels() if self._mixture and self._rest else None

    def _until(self, lengths: Sequence[int]) -> int:
        """Where the track ends, of these lengths of its files."""
        return min(lengths) if self._whole else lengths[0] if self._mixture else max(lengths)

    def _blocks(self) -> Iterator[tuple[audio.Audio | None, audio.Audio, audio.Audio]]:
        """The mixture, if one is given, the rest and the target, a second at a time."""
        first, second = self._mixture, self._mixture + self._rest
        for blocks in zip_longest(*map(canonical_blocks, self._paths), fillvalue=_NOTHING):
            frames = self._until([block.shape[1] for block in blocks])
            if frames == 0:
                return
            parts = [_exactly(block, frames) for block in blocks]
            yield parts[0] if first else None, _sum(parts[first:second], frames), _sum(parts[second:], frames)


def _exactly(block: audio.Audio, frames: int) -> audio.Audio:
    """The first frames of a block, silence behind them where it has less."""
    missing = frames - block.shape[1]
    return np.pad(block, ((0, 0), (0, missing))) if missing > 0 else np.ascontiguousarray(block[:, :frames])


def _sum(parts: Sequence[audio.Audio], frames: int) -> audio.Audio:
    return reduce(np.add, parts) if parts else np.zeros((audio.CHANNELS, frames), np.float32)
