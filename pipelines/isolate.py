"""`isolate SONG... -o DIR`: separate songs with the champion, for people who have a song.

Any file ffmpeg can read comes in; vocals and accompaniment go out as wav. How a separator works does not belong here.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from data import audio
from data.command import BAD_INPUT, FAILED, Stopped, out_of_memory, run_command, undisturbed
from data.errors import InputError, os_error
from data.files import PARTIAL, flush
from data.layout import CHECKPOINT_FILE, Layout
from data.scratch import scratch_folder
from data.settings import load_settings
from data.text import one_line, say

if TYPE_CHECKING:
    from models.separate import Separates

RESULTS = ("vocals.wav", "accompaniment.wav")

_Done = dict[tuple[int, int], Path]  # whose results lie in a folder, by the folder's identity

# What is taken off a file's name to get the song's. Dots alone say nothing: `Vol. 1` has no suffix.
SUFFIXES = (
    "3g2 3gp 8svx aa aac aax ac3 adts aif aifc aiff alac amr ape asf au avi awb caf divx dsf dts dv eac3 f4a f4v flac "
    "flv gsm m2ts m4a m4b m4p m4r m4v mka mkv mlp mov mp1 mp2 mp3 mp4 mpa mpc mpe mpeg mpg mpga mts mxf nut oga ogg "
    "ogm ogv ogx oma opus qt ra ram rf64 rm rmvb shn snd spx swf tak thd ts tta voc vob w64 wav wave webm weba wma "
    "wmv wv"
)


def main(arguments: Iterable[str] | None = None) -> int:
    """Separate the songs of the command line; returns 0, or 2 where something could not be used."""
    return run_command(lambda: _isolate(arguments))


def _isolate(arguments: Iterable[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="isolate", description="Separate songs into vocals and accompaniment.")
    parser.add_argument("songs", nargs="+", type=Path, metavar="SONG", help="audio or video file that ffmpeg can read")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--model", type=Path, metavar="CHECKPOINT", help="a checkpoint instead of the champion")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (default: the setting ISOLATION_DEVICE)")
    options = parser.parse_args(None if arguments is None else list(arguments))
    settings = load_settings(writes=False)
    output = _usable_output(options.output)
    songs = [song for song in options.songs if not _attempt(partial(_require_file, song), song)]
    if not songs:
        return BAD_INPUT
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
    done: _Done = {}
    codes = [BAD_INPUT if len(songs) < len(options.songs) else 0]
    try:
        for song in songs:
            folder = output / title_of(song)
            codes.append(_attempt(partial(_isolate_song, separator, song, folder, songs, done), folder))
    except Stopped as stopped:
        stopped.said = f"{len(done)} of {len(options.songs)} songs are done"
        raise
    return max(codes)


def _attempt(work: Callable[[], None], place: Path) -> int:
    """Do what concerns one song, whose trouble must not stop the others; returns its exit code."""
    from_memory = "close other programs, or choose another --device"
    try:
        work()
    except BrokenPipeError:
        raise  # nobody reads what is printed
    except InputError as problem:
        say(problem)
    except OSError as error:
        path = os.fsdecode(error.filename or "")
        say(os_error(error, "results", file=place if PARTIAL in path or not path else path))
    except Exception as error:
        from models.memory import memory_ran_out

        if not memory_ran_out(error):
            traceback.print_exc()
            return FAILED
        say(out_of_memory(f"separation of {place.name}", str(error).partition("\n")[0], from_memory))
    else:
        return 0
    return BAD_INPUT


def _isolate_song(separator: Separates, song: Path, folder: Path, songs: Sequence[Path], done: _Done) -> None:
    """Separate one of several `songs`, unless its results would take the place of something else."""
    _require_free(song, folder, songs, done)
    separate_song(separator, song, folder)
    done[_identity(folder)] = song
    try:
        say(f"{_shown(song)} -> {', '.join(_shown(folder / name) for name in RESULTS)}", sys.stdout)
    except BrokenPipeError:
        raise  # nobody reads what is printed
    except OSError as error:
        raise os_error(error, f"standard output, which is to tell that {_shown(folder)} is done") from error


def separate_song(separator: Separates, song: Path, folder: Path) -> None:
    """Write `vocals.wav` and `accompaniment.wav` of a song into `folder`, both or neither.

    Memory does not grow with the song: it is decoded to a file beside the result and read in chunks, once for its level
    and once to be separated. Raises InputError where ffmpeg cannot decode it, OSError where results cannot be written.
    """
    from models.separate import separate_stream

    folder = Path.cwd() / folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the results, for files are renamed within one file system only.
    elsewhere = folder.is_dir() and folder.stat().st_dev != folder.parent.stat().st_dev
    with scratch_folder(folder if elsewhere else folder.parent) as scratch:
        decoded, finished = scratch / "mixture.wav", scratch / f"{PARTIAL}results"
        finished.mkdir()
        frames = audio.decode_to(song, decoded)

        def read(start: int, count: int) -> audio.Audio:
            return audio.read(decoded, start, count)[0]

        bar = tqdm(total=100, desc=one_line(song.name), unit="%", disable=not sys.stderr.isatty(), leave=False)
        vocals_path, accompaniment_path = (finished / name for name in RESULTS)
        with (
            bar,
            audio.Writer(vocals_path, audio.SAMPLE_RATE, "FLOAT", frames=frames) as vocals_file,
            audio.Writer(accompaniment_path, audio.SAMPLE_RATE, "FLOAT", frames=frames) as accompaniment_file,
        ):
            position = 0
            pieces = separate_stream(separator, read, frames, progress=lambda share: _show(bar, share))
            for vocals in pieces:
                mixture = read(position, vocals.shape[1])
                vocals_file.write(vocals)
                accompaniment_file.write(mixture - vocals)
                position += vocals.shape[1]
        _publish(finished, folder)


def title_of(song: Path) -> str:
    """A song's name without the suffix of its format: what its results are named after."""
    name, dot, suffix = song.name.rpartition(".")
    known = dot and suffix.lower() in SUFFIXES.split() and name.strip(". ")
    return name if known else song.name


def _publish(finished: Path, folder: Path) -> None:
    for name in RESULTS:
        flush(finished / name)
    flush(finished)
    with undisturbed():
        if os.path.lexists(folder):
            # The folder may hold more than results, and so is not replaced as a whole.
            for name in RESULTS:
                os.replace(finished / name, folder / name)
        else:
            os.rename(finished, folder)
    flush(folder)
    flush(folder.parent)


def _require_free(song: Path, folder: Path, songs: Sequence[Path], done: _Done) -> None:
    """Raise InputError where the results of a song would take the place of another's, or of a song."""
    if folder.is_dir() and _identity(folder) in done:
        raise InputError(
            "song",
            file=song,
            expected="songs with different names, since results are named after them",
            found=f"the name of {done[_identity(folder)]}, which is done",
            remedy="separate it with another -o",
        )
    for target in (folder, *(folder / name for name in RESULTS)):
        a_folder = target == folder
        same = [other for other in songs if target.exists() and target.samefile(other)]
        if same or (os.path.lexists(target) and target.is_dir() != a_folder):
            raise InputError(
                "song",
                file=song,
                expected=f"a {'folder' if a_folder else 'file'}, or a name that is free, at {target}",
                found=f"the song {same[0]}" if same else f"a {'file' if a_folder else 'folder'}",
                remedy="choose another -o",
            )


def _require_file(song: Path) -> None:
    if not song.is_file():
        raise InputError(
            "song",
            file=song,
            expected="an audio file",
            found="a folder" if song.is_dir() else "no such file" if not song.exists() else "no file",
            remedy="check the path",
        )


def _usable_output(name: str) -> Path:
    """The folder for results. Raises InputError where a file is in its way."""
    output = Path(name)
    there = next(place for place in (output, *output.parents) if place.exists())
    if not name or not there.is_dir():
        raise InputError(
            "output",
            file=there if name else None,
            expected="a folder, or a name that is free",
            found="a file" if name else "no name",
            remedy="choose another -o",
        )
    return output


def _identity(folder: Path) -> tuple[int, int]:
    """What a folder is, whatever it is called: file systems take different names for one, of case or of accents."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _shown(path: Path) -> str:
    return str(path).replace("\n", "\\n")


def _show(bar: tqdm[NoReturn], share: float) -> None:
    bar.update(int(100 * share) - bar.n)


if __name__ == "__main__":
    sys.exit(main())
