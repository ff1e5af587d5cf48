"""MedleyDB: multitracks whose vocals are the sum of their vocal stems, labelled by YAML files kept elsewhere.

Stems were bounced at other levels than they have in the mix. `mixture - vocals` is the accompaniment only where the
voices are summed as loud as the mix has them, so each vocal stem takes the gain that it was measured at. Reading the
labels is `data.medleydb_metadata`'s, measuring gains is `data.stem_gains`'; here the archive is searched, and stems
are summed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from data import audio, cache, medleydb_metadata
from data.datasets.base import Dataset, Extracted, Log, contents_of, fetched, folder_or_archive
from data.demo.licence import LICENCE
from data.download import RemoteFile, origin, remote_files
from data.errors import InputError
from data.layout import Layout
from data.names import in_letters
from data.recipe import Recipe
from data.settings import Settings
from data.stem_gains import StemFit, StemGains
from data.tracks import MIXTURE, VOCALS, Found, Track, found
from data.walk import Walk, note, told

_MIX_SUFFIX = "_MIX.wav"
_STEMS = "_STEMS"
_LICENCE = "CC BY-NC-SA 4.0"
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_RECORDS = {
    "download": ("1649325", "1715175"),
    "download-v1": ("1649325",),
    "download-v2": ("1715175",),
}
# Of the files that are read, at the commit that ISOLATION_MEDLEYDB_METADATA_URL names by default.
_METADATA_CONTENTS = "2d6b737c4b68344506775b313c956b10500ebf4da67f6f3eb46dffaf99d3e129"
_NOTHING: audio.Audio = np.zeros((audio.CHANNELS, 0), np.float32)  # what a stem gives after its end


class MedleyDB(Dataset):
    """MedleyDB 1 and 2: `<id>/<id>_MIX.wav` and `<id>/<id>_STEMS/`; the RAW files below the stems are ignored."""

    name = "medleydb"
    title = "MedleyDB"
    description = "MedleyDB: MIX as mixture, all vocal stems summed as vocals, RAW ignored"
    code_version = "2"
    labels = medleydb_metadata.STEMS
    later_labels = medleydb_metadata.LATER

    def __init__(self, gains: Literal["measured", "none"] = "measured") -> None:
        self._gains = gains

    def configured(self, settings: Settings) -> MedleyDB:
        return MedleyDB(settings.medleydb_gains)

    @property
    def parameters(self) -> Mapping[str, Any]:
        # The plain sum is what was made before there was a choice.
        return {} if self._gains == "none" else {"gains": self._gains}

    def obtain(self, settings: Settings, log: Log) -> Path:
        if settings.medleydb == "demo":
            return _demo(settings, log) / "audio"
        if settings.medleydb in _RECORDS:
            return self._download(settings, log)
        return folder_or_archive(settings, self.name, settings.medleydb, log)

    def _download(self, settings: Settings, log: Log) -> Path:
        """The folder with what the wanted records hold, each archive unpacked into a folder of its own."""
        if settings.download_token is None:
            raise InputError(
                "setting ISOLATION_MEDLEYDB",
                expected="a bearer token in ISOLATION_DOWNLOAD_TOKEN: MedleyDB is given out on request only",
                found="no token",
                remedy="request access on Zenodo (records 1649325 and 1715175), make a personal access token there, "
                "and set it; or download by hand and set the path",
            )
        token = settings.download_token.get_secret_value()
        folders = []
        for record in _RECORDS[settings.medleydb]:
            for file in remote_files(f"{settings.records_url}/{record}", token):
                if file.name.endswith(_ARCHIVES):
                    # A record may name files on another server, to which the token was not given.
                    same = origin(file.url) == origin(settings.records_url)
                    folders.append(fetched(settings, self.name, file, log, token=token if same else None))
        if not folders:
            raise InputError(
                "download of MedleyDB",
                expected=f"archives ({', '.join(_ARCHIVES)}) in its records",
                found="none",
                remedy="download by hand and set ISOLATION_MEDLEYDB to the path",
            )
        return folders[0] if len(folders) == 1 else folders[0].parent

    def discover(self, folder: Path) -> Found:
        walk, mixes, tracks = Walk(folder), set(), []
        licence = note(folder / "licence.txt") or _LICENCE
        for place in walk:
            for mix in place.files:
                if not mix.name.endswith(_MIX_SUFFIX):
                    continue
                name = mix.name.removesuffix(_MIX_SUFFIX)
                if mix.parent.name == name:
                    mixes.add(mix)
                    tracks.append(_track(mix, name, licence))
                else:
                    walk.pass_over(mix, "in a folder of another name")
            stems = place.path.name.removesuffix(_STEMS)
            if place.path.name.endswith(_STEMS) and place.path.parent / f"{stems}{_MIX_SUFFIX}" not in mixes:
                walk.pass_over(place.path, f"stems without {in_letters(stems)}{_MIX_SUFFIX}")
        if not tracks:
            passed = told(walk.passed_over, folder)
            raise InputError(
                "MedleyDB",
                file=folder,
                expected="folders <id> with <id>_MIX.wav and <id>_STEMS/, at any depth",
                found=f"no such folder; passed over: {passed}" if passed else "no such folder",
                remedy="point ISOLATION_MEDLEYDB at the unpacked dataset, or set it to 'off'",
            )
        # Of two copies of a track the one with more stems is taken: the other may be half of a download.
        tracks.sort(key=lambda track: -len(track.files))
        return found(tracks, walk.passed_over)

    def extract(self, track: Track, labels: pd.DataFrame, folder: Path) -> Extracted:
        if labels.empty:
            raise InputError(
                "metadata",
                expected=f"a metadata file {track.labelled_as}{medleydb_metadata.SUFFIX}",
                found="none that could be read (see the medleydb/metadata asset)",
                remedy="add or mend it in the folder ISOLATION_MEDLEYDB_METADATA, then materialise medleydb/metadata",
            )
        labelled = list(labels.dropna(subset="stem").itertuples())
        given = track.files[0]
        with TemporaryDirectory(dir=folder) as room:
            mix = audio.as_wav(given, room)
            mixture = audio.info(mix)
            # The name on the disk, which need not be text.
            place = given.with_name(given.name.removesuffix(_MIX_SUFFIX) + _STEMS)
            stems = [_Stem(place / str(row.stem_file), bool(row.vocal), mixture, room) for row in labelled]
            return self._summed(mix, mixture, stems, labelled, labels, folder)

    def _summed(
        self,
        mix: Path,
        mixture: audio.AudioInfo,
        stems: Sequence[_Stem],
        labelled: Sequence[Any],
        labels: pd.DataFrame,
        folder: Path,
    ) -> Extracted:
        """Write mixture and the sum of the vocal stems; returns what is to be said of the track."""
        voices = [number for number, stem in enumerate(stems) if stem.vocal]
        levels = _measure(mix, stems)
        # Where the mixture is not made of these stems, a gain would be an accident: they stay as they were published.
        applied = self._gains == "measured" and not levels.poor
        gains = levels.usable[voices] if applied else np.ones((len(voices), audio.CHANNELS))
        paths = [stems[number].path for number in voices]
        subtype = _vocals_subtype([stems[number].subtype for number in voices] or [mixture.subtype], gains)
        try:
            _write(mix, paths, gains, folder, mixture, subtype)
        except audio.ClippingError:
            # Together, or at their level in the mix, the voices are louder than integers can say.
            _write(mix, paths, gains, folder, mixture, "FLOAT")
        differences = [stem.frames - mixture.frames for stem in stems]
        return Extracted(
            frames=mixture.frames,
            sample_rate=mixture.sample_rate,
            genre=str(labels["genre"].iloc[0]),
            stems=sorted({row.instrument for row in labelled}),
            vocal_stems=len(voices),
            vocal_kinds=sorted({row.instrument for row in labelled if row.vocal}),
            has_bleed=bool(labels["has_bleed"].iloc[0]),
            labelled_instrumental=bool(labels["instrumental"].iloc[0]),
            length_difference=max(differences, key=abs, default=0),
            stem_sum_residual_db=levels.plain_db,
            fitted_residual_db=levels.fitted_db,
            gains_applied=applied,
            vocal_stem_gains_left=_gains_of(levels.measured[voices, 0]),
            vocal_stem_gains_right=_gains_of(levels.measured[voices, 1]),
            vocal_stem_gains_published=_gains_of([_label(labelled[n], "published_gain") for n in voices]),
            vocal_gain_faults=[
                f"{labelled[number].stem} {fault}" for number in voices for fault in levels.faults.get(number, [])
            ],
            mixed_stems=[f"{row.stem}: {mixed}" for row in labelled if (mixed := _label(row, "mixed"))],
        )

    def read_labels(self, settings: Settings, log: Log) -> tuple[pd.DataFrame, list[InputError]]:
        return medleydb_metadata.read_folder(self._metadata_folder(settings, log))

    def labels_told(self, labels: pd.DataFrame) -> dict[str, Any]:
        sung = labels[labels["vocal"].astype(bool)].groupby("id").size()
        return {"tracks_with_vocals": len(sung), "tracks_with_several_vocal_stems": int((sung > 1).sum())}

    def _metadata_folder(self, settings: Settings, log: Log) -> Path:
        if settings.medleydb == "demo":
            return _demo(settings, log) / "metadata"
        if settings.medleydb_metadata is not None:
            return settings.medleydb_metadata.expanduser().absolute()
        repository = RemoteFile("medleydb-metadata.zip", settings.medleydb_metadata_url, None, None)
        is_pinned = settings.medleydb_metadata_url == Settings.model_fields["medleydb_metadata_url"].default
        return fetched(settings, self.name, repository, log, verify=_verify if is_pinned else lambda _: None)


def _verify(folder: Path) -> None:
    """Refuse metadata other than that of the commit in the settings: GitHub may pack the same files anew."""
    found = contents_of(folder, f"*{medleydb_metadata.SUFFIX}", "mixing_coefficients*.yaml")
    if found != _METADATA_CONTENTS:
        raise InputError(
            "download of MedleyDB's metadata",
            expected=f"the 330 tracks of the pinned commit, sha256 {_METADATA_CONTENTS}",
            found=f"other files, sha256 {found}",
            remedy="try again; or set ISOLATION_MEDLEYDB_METADATA to a folder of metadata that you trust",
        )


def _track(mix: Path, name: str, licence: str) -> Track:
    artist, underscore, title = name.partition("_")
    start = f"{name}_STEM_"
    try:
        stems = sorted((mix.parent / f"{name}{_STEMS}").iterdir(), key=lambda path: os.fsencode(path.name))
    except OSError:
        stems = []  # told when the track is prepared
    return Track(
        dataset="medleydb",
        name=name,
        title=title if underscore else name,
        artist=artist,
        licence=licence,
        files=(mix, *(path for path in stems if path.name.startswith(start) and path.suffix == ".wav")),
        labelled_as=in_letters(name),
    )


class _Stem:
    """A stem's file as wav, refused where its rate is not the mixture's."""

    def __init__(self, path: Path, vocal: bool, mixture: audio.AudioInfo, room: str) -> None:
        self.path = audio.as_wav(path, room)
        found = audio.info(self.path)
        if found.sample_rate != mixture.sample_rate:
            raise InputError(
                f"stem {path.name}",
                file=path,
                expected=f"{mixture.sample_rate} Hz, as in the mixture",
                found=f"{found.sample_rate} Hz",
                remedy="replace the stem by one in the mixture's rate",
            )
        self.vocal, self.frames, self.subtype = vocal, found.frames, found.subtype


def _measure(mix: Path, stems: Sequence[_Stem]) -> StemGains:
    """The gain of every stem in the mix; one pass over all files, a second at a time."""
    fit = StemFit(len(stems))
    streams = [_stereo_blocks(stem.path) for stem in stems]
    for mixture in _stereo_blocks(mix):
        fit.feed(mixture, [next(stream, _NOTHING) for stream in streams])
    return fit.finish()


def _vocals_subtype(voices: Sequence[str], gains: npt.NDArray[np.float64]) -> str:
    """The sample format for the sum of stems of these formats: a scaled sample falls between the steps of 16 bit."""
    return audio.widest_subtype(voices if (gains == 1.0).all() else [*voices, "PCM_24"])


def _write(
    mix: Path,
    voices: Sequence[Path],
    gains: npt.NDArray[np.float64],
    folder: Path,
    form: audio.AudioInfo,
    subtype: str,
) -> None:
    """Write the mixture and, as long as it, the sum of the vocal stems at `gains (voices, channels=2)`."""
    factors = [row[:, None] for row in gains.astype(np.float32)]
    streams = [_stereo_blocks(path) for path in voices]
    own = audio.widest_subtype([form.subtype])
    with (
        audio.Writer(folder / MIXTURE, form.sample_rate, own, frames=form.frames) as mixture_wav,
        audio.Writer(folder / VOCALS, form.sample_rate, subtype, frames=form.frames) as vocals_wav,
    ):
        for mixture in _stereo_blocks(mix):
            vocals = np.zeros_like(mixture)
            for stream, factor in zip(streams, factors, strict=True):
                part = next(stream, _NOTHING)
                overlap = min(part.shape[1], mixture.shape[1])
                vocals[:, :overlap] += factor * part[:, :overlap]
            mixture_wav.write(mixture)
            vocals_wav.write(vocals)


def _gains_of(gains: Iterable[float | None]) -> list[float | None]:
    """Gains as JSON values: null where there is none."""
    return [None if gain is None or np.isnan(gain) else float(gain) for gain in gains]


def _label(row: Any, name: str) -> Any:
    """A label of a stem, None where the metadata says nothing of it."""
    value = getattr(row, name, None)
    return None if value is None or pd.isna(value) else value


def _stereo_blocks(path: Path) -> Iterator[audio.Audio]:
    for piece in audio.blocks(path):
        yield np.repeat(piece, audio.CHANNELS // piece.shape[0], axis=0)


def _demo(settings: Settings, log: Log) -> Path:
    """The generated corpus: `audio/` and `metadata/`, made together so that neither can be without the other."""
    from data.demo import corpus

    def generate(partial: Path) -> dict[str, Any]:
        log("generating the demo corpus in MedleyDB's format")
        corpus.write_medleydb(partial / "audio", partial / "metadata", seed=settings.seed, progress=log)
        (partial / "audio" / "licence.txt").write_text(f"{LICENCE}\n")
        return {}

    folder = Layout(settings.root).raw("medleydb")
    recipe = Recipe(corpus.MEDLEYDB_VERSION, {"seed": settings.seed}, {})
    cache.make(folder, recipe, generate)
    return folder
