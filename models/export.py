"""`python -m models.export CHECKPOINT -o FILE.pt2`: a separator in one file that runs without this project.

The file is a program of `torch.export`: it needs torch and nothing else. It goes from the waveform of a mixture
`(1, 2, n)` and the level of its song to the waveform of the vocals, float32 at 44100 Hz, STFT inside. Beside it lies
`separator.json` with what is known of the separator, the licences of its data among it:

    import json, torch
    about = {"separator.json": ""}
    separator = torch.export.load("vocals.pt2", extra_files=about).module()
    about = json.loads(about["separator.json"])
    level = song.square().mean().sqrt()
    vocals = separator(mixture, level)

The level is that of the whole song, also where `mixture` is a stretch of it; a song `g` times as loud then has vocals
`g` times as loud. A long song is separated in windows of `window_frames`, one for every `chunk_frames`: the vocals of
`context_frames` at either end are thrown away where the song goes on, and the `fade_frames` that two chunks share are
faded over linearly; `models.separate` does so. Where `any_length` is false, the program takes exactly
`(1, 2, window_frames)`: pad a shorter song with zeros, and cut its vocals.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from data.audio import CHANNELS, SAMPLE_RATE
from data.command import run_command
from data.errors import InputError
from data.files import publish
from data.text import say
from models.checkpoint import Checkpoint, load_checkpoint, load_separator
from models.networks.base import Network
from models.networks.packaged.network import BSRoformerNetwork, HTDemucsNetwork
from models.section import StftSettings
from models.separate import CHUNK_SECONDS, FADE_SECONDS, Layout, layout_of
from models.stft import STFT

SUFFIX = ".pt2"
ABOUT_FILE = "separator.json"
LEVEL = 0.2  # of the music that programs are made and compared with
TOLERANCE = 1e-4  # of full scale: by how much the exported program's audio may differ from the network's


class ExportableSTFT(STFT):
    """The STFT for any length, with an inverse of plain steps: `torch.istft` is exported for one length only.

    Both ways go by one hop more than is needed, and cut it off: a program made where something was padded and cut takes
    no audio of whole hops, where nothing is.
    """

    def forward(self, waveform: Tensor) -> Tensor:
        n = waveform.shape[-1]
        return self.transform(nn.functional.pad(waveform, (0, self.frames(n) * self.hop - n)))[..., :-1]

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        b, c, f, t = spectrum.shape
        frames = torch.fft.irfft(spectrum.reshape(b * c, f, t), self.size, dim=1, norm="ortho")
        window = self.window[:, None]
        whole = self._overlapped(frames * window) / self._overlapped(window.square().expand(1, self.size, t))
        return nn.functional.pad(whole, (0, self.hop)).reshape(b, c, -1)[..., :samples]

    def _overlapped(self, frames: Tensor) -> Tensor:
        """The sum `(x, (t - 1) hop)` of overlapping `frames (x, size, t)`, from the centre of the first to the last."""
        length = (frames.shape[-1] - 1) * self.hop
        whole = nn.functional.fold(frames, (length + self.size, 1), (self.size, 1), stride=(self.hop, 1))
        return whole[:, 0, self.size // 2 : self.size // 2 + length, 0]


class _Trusting(TorchFunctionMode):
    """Believes `assert tensor.all()`, by which demucs checks its own padding; a program has no values to look at."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return True if func is Tensor.all else func(*args, **(kwargs or {}))


class _Program(nn.Module):
    """What is exported: the network, with what the exporter asks for."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.network.stft = ExportableSTFT(StftSettings(window=network.stft.size, hop=network.stft.hop))

    def forward(self, mixture: Tensor, level: Tensor) -> Tensor:
        # Otherwise the exporter follows an LSTM step by step, which takes minutes and fixes the number of steps.
        with torch.backends.mkldnn.flags(enabled=True), _Trusting():
            vocals: Tensor = self.network(mixture, level)
        return vocals


def export_separator(checkpoint: Path, file: Path, chunk_seconds: float = CHUNK_SECONDS) -> dict[str, Any]:
    """Write the separator in `checkpoint` to `file` as a program that runs anywhere; returns what stands beside it.

    The file is written whole, after the program in it gave the same audio as the network, or not at all. Raises
    InputError where the checkpoint cannot be used, the file is not to be a .pt2, the chunks are too short to be faded
    over, or the program's audio differs by more than 1e-4 of full scale.
    """
    _refuse_unusable(file, chunk_seconds)
    network, loaded = load_separator(checkpoint).network, load_checkpoint(checkpoint)
    layout = layout_of(network.stft.hop, loaded.context_seconds, chunk_seconds)
    program, any_length = _exported(network, layout.window)
    about = _about(loaded, layout, any_length)
    # Into memory first: where a disk is full, torch's own writer ends the process instead of raising an error.
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an LSTM's weights share their memory
        torch.export.save(program, written, extra_files={ABOUT_FILE: json.dumps(about, indent=1)})
    with publish(file) as partial:
        partial.write_bytes(written.getbuffer())
        _require_same_audio(torch.export.load(partial), network, layout.window, any_length, file)
    return about


def _exported(network: Network, frames: int) -> tuple[ExportedProgram, bool]:
    """The network as a program, and whether that takes audio of any length."""
    any_length = not isinstance(network, HTDemucsNetwork | BSRoformerNetwork)  # packages use torch.istft themselves
    example = _music(2 * network.stft.size + 1 if any_length else frames)
    sizes = ({2: Dim.DYNAMIC}, None) if any_length else None
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own internals
        return torch.export.export(_Program(network), (example, torch.tensor(LEVEL)), dynamic_shapes=sizes), any_length


@torch.no_grad()
def _require_same_audio(program: ExportedProgram, network: Network, frames: int, any_length: bool, file: Path) -> None:
    run = program.module()
    # A whole window, and a short song that is no multiple of anything.
    for samples in (frames, frames // 3 + 1) if any_length else (frames,):
        mixture = _music(samples)
        level = torch.tensor(LEVEL)
        difference = float((run(mixture, level) - network(mixture, level)).abs().max())
        # Written so that NaN is refused.
        if not difference <= TOLERANCE:
            raise InputError(
                f"export to {file.name}",
                file=file,
                expected=f"audio within {TOLERANCE:g} of the network's",
                found=f"a difference of {difference:.2g} over {samples} frames",
                remedy="use the checkpoint itself with `isolate --model`",
            )


def _music(samples: int) -> Tensor:
    """`(1, 2, samples)`: chords under a slow swell and hiss, at the level of music; the same at every call."""
    time = torch.arange(samples) / SAMPLE_RATE
    pitches = torch.tensor([[110.0, 277.2, 659.3, 1760.0, 5274.0], [110.0, 329.6, 880.0, 2637.0, 9000.0]])
    tones = torch.sin(2 * math.pi * pitches[..., None] * time).mean(dim=1) * torch.sin(2 * math.pi * 0.7 * time)
    hiss = torch.randn(1, CHANNELS, samples, generator=torch.Generator().manual_seed(0))
    return 0.4 * tones + 0.05 * hiss


def _about(checkpoint: Checkpoint, layout: Layout, any_length: bool) -> dict[str, Any]:
    return {
        "candidate": checkpoint.candidate.name,
        "description": checkpoint.candidate.description,
        "sample_rate": checkpoint.sample_rate,
        "input": f"mixture (1, 2, {'frames' if any_length else 'window_frames'}) float32; level () float32: the root "
        "mean square of the whole song",
        "output": "vocals, of the same shape; accompaniment = mixture - vocals",
        "any_length": any_length,
        "chunk_frames": layout.chunk,
        "context_frames": layout.context,
        "fade_frames": layout.fade,
        "window_frames": layout.window,
        "licences": list(checkpoint.licences),
        "fingerprints": dict(checkpoint.fingerprints),
        "metrics": dict(checkpoint.metrics),
        "git_commit": checkpoint.git_commit,
        "torch": torch.__version__,
    }


def _refuse_unusable(file: Path, chunk_seconds: float) -> None:
    if file.suffix != SUFFIX:
        raise InputError(
            f"export to {file.name}",
            file=file,
            expected=f"a file name that ends in {SUFFIX}, a program of torch.export",
            found=file.suffix or "no suffix",
            remedy=f"name it {file.with_suffix(SUFFIX).name}",
        )
    if not FADE_SECONDS <= chunk_seconds < math.inf:
        raise InputError(
            f"export to {file.name}",
            expected=f"chunks of at least {FADE_SECONDS:g} s, over which one goes into the next",
            found=f"{chunk_seconds:g} s",
            remedy="give more with --seconds",
        )


def main(arguments: Iterable[str] | None = None) -> int:
    """Export as the command line says; returns the exit code: 0, or 2 for bad input."""
    return run_command(lambda: _export(arguments))


def _export(arguments: Iterable[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.export", description="Export a separator.")
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.pt2")
    parser.add_argument(
        "--seconds",
        type=float,
        default=CHUNK_SECONDS,
        help="of a chunk of music, without its context (default: %(default)g)",
    )
    options = parser.parse_args(None if arguments is None else list(arguments))
    about = export_separator(options.checkpoint, options.output, options.seconds)
    told = f"{options.output}: {about['candidate']}, its audio is that of the checkpoint"
    say(f"{told}; data under {_licences(about)}", sys.stdout)
    return 0


def _licences(about: dict[str, Any]) -> str:
    return ", ".join(about["licences"]) or "licences that the checkpoint does not name"


if __name__ == "__main__":
    sys.exit(main())
