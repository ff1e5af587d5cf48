"""`isolate SONG... -o DIR`: separate songs with the champion, for people who have a song.

Any file ffmpeg can read comes in; vocals and accompaniment go out as wav. How a separator works does not belong here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import soundfile
from tqdm import tqdm

from data import audio
from data.errors import InputError
from data.files import publish
from data.layout import CHECKPOINT_FILE, Layout
from data.settings import load_settings

if TYPE_CHECKING:
    from models.separate import Separates

BAD_INPUT = 2


def main(arguments: Iterable[str] | None = None) -> int:
    """Separate the songs of the command line; returns 0, or 2 where something could not be used."""
    parser = argparse.ArgumentParser(prog="isolate", description="Separate songs into vocals and accompaniment.")
    parser.add_argument("songs", nargs="+", type=Path, metavar="SONG", help="audio or video file that ffmpeg can read")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--model", type=Path, metavar="CHECKPOINT", help="a checkpoint instead of the champion")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (default: the setting ISOLATION_DEVICE)")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        settings = load_settings(writes=False)
        outputs = _outputs(options.songs, options.output)
        model = options.model or Layout(settings.root).champion / CHECKPOINT_FILE
        if not model.is_file() and options.model is None:
            raise InputError(
                "champion",
                file=model,
                expected="a promoted separator",
                found="none yet",
                remedy="run `make demo` or `make run` first, point ISOLATION_STORAGE at a storage root that has one, "
                "or name a checkpoint with --model",
            )
        # Torch takes seconds to load: bad arguments are told before that.
        from models.checkpoint import load_separator

        separator = load_separator(model, options.device or settings.device)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_INPUT
    failed = 0
    for song, folder in outputs.items():
        try:
            separate_song(separator, song, folder)
            print(f"{song} -> {folder}/vocals.wav, {folder}/accompaniment.wav")
        except InputError as error:
            sys.stderr.write(f"{error}\n")
            failed += 1
    return BAD_INPUT if failed else 0


def separate_song(separator: Separates, song: Path, folder: Path) -> None:
    """Write `vocals.wav` and `accompaniment.wav` of a song into `folder`, both or neither.

    Memory does not grow with the song: it is decoded to a temporary file beside the result and read in chunks, once for
    its level and once to be separated. Raises InputError where ffmpeg cannot decode it.
    """
    from models.separate import separate_stream

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as scratch:
        decoded = Path(scratch) / "mixture.wav"
        frames = audio.decode_to(song, decoded)

        def read(start: int, count: int) -> audio.Audio:
            return audio.read(decoded, start, count)[0]

        bar = tqdm(total=100, desc=song.name, unit="%", disable=not sys.stderr.isatty(), leave=False)
        layout = {"samplerate": audio.SAMPLE_RATE, "channels": audio.CHANNELS, "subtype": "FLOAT", "format": "RF64"}
        with (
            bar,
            publish(folder / "vocals.wav") as vocals_path,
            publish(folder / "accompaniment.wav") as accompaniment_path,
            soundfile.SoundFile(vocals_path, "w", **layout) as vocals_file,
            soundfile.SoundFile(accompaniment_path, "w", **layout) as accompaniment_file,
        ):
            position = 0
            pieces = separate_stream(separator, read, frames, progress=lambda share: _show(bar, share))
            for vocals in pieces:
                mixture = read(position, vocals.shape[1])
                vocals_file.write(vocals.T)
                accompaniment_file.write((mixture - vocals).T)
                position += vocals.shape[1]


def _show(bar: tqdm[NoReturn], share: float) -> None:
    bar.update(int(100 * share) - bar.n)


def _outputs(songs: list[Path], output: Path) -> dict[Path, Path]:
    """The result folder of each song. Raises InputError for a missing song and for two songs of one name."""
    folders: dict[Path, Path] = {}
    for song in songs:
        if not song.is_file():
            raise InputError(
                "song",
                file=song,
                expected="an audio file",
                found="a folder" if song.is_dir() else "no such file",
                remedy="check the path",
            )
        folder = output / song.stem
        if folder in folders.values():
            raise InputError(
                "song",
                file=song,
                expected="songs with different names, since results are named after them",
                found=f"two songs named {song.stem}",
                remedy="separate them one at a time with another -o",
            )
        folders[song] = folder
    if output.exists() and not output.is_dir():
        raise InputError(
            "output",
            file=output,
            expected="a folder, or a name that is free",
            found="a file",
            remedy="choose another -o",
        )
    return folders


if __name__ == "__main__":
    sys.exit(main())
