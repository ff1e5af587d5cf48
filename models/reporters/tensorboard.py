"""A training as files that TensorBoard shows: curves, audio examples, and the settings as text.

Written with TensorBoard's own event writer: torch's SummaryWriter takes mono audio only, and more than a second to
import.
"""

from __future__ import annotations

import io
import textwrap
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import yaml

from data.audio import SAMPLE_RATE, Audio
from models.progress import Progress, RunStart, start_line
from models.reporters.thinning import AudioThinning, point_pace
from models.reporters.values import epoch_values, progress_values

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

FOLDER = "tensorboard"
FLUSH_SECONDS = 10  # a killed training loses no more of its curves than this


class TensorBoardReporter:
    """Event files in `<folder of the run>/tensorboard/<name of the run>/`."""

    def __init__(self) -> None:
        self._writer: EventFileWriter | None = None
        self._points = point_pace()
        self._sounds = AudioThinning()

    def start(self, run: RunStart) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = run.folder / FOLDER / run.name
        self._writer = EventFileWriter(str(folder), flush_secs=FLUSH_SECONDS)
        # A killed run may have written points of steps that are now taken again: TensorBoard forgets those.
        self._write(run.first_step + 1, session_log=SessionLog(status=SessionLog.START))
        if not run.first_step:
            self._write(0, summary=_text("settings", _settings(run)))
        self._writer.flush()

    def log(self, line: str) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        if self._points.due(progress.seconds):
            self._write(progress.step, summary=_scalars(progress_values(progress)))

    def epoch(self, row: Mapping[str, Any], curves_png: bytes) -> None:
        self._write(row["step"], summary=_scalars(epoch_values(row)))
        self._flush()

    def audio(self, step: int, sounds: Mapping[str, Audio]) -> None:
        due = self._sounds.due(step, sounds)
        if due:
            self._write(step, summary=_excerpts(due))
            self._flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        assert self._writer is not None, "start comes first"
        event: Event = Event(wall_time=time.time(), step=step, **content)
        self._writer.add_event(event)

    def _flush(self) -> None:
        assert self._writer is not None, "start comes first"
        self._writer.flush()


def _scalars(values: Mapping[str, float]) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])


def _excerpts(sounds: Mapping[str, Audio]) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = []
    for name, sound in sounds.items():
        file = io.BytesIO()
        soundfile.write(file, np.clip(sound, -1.0, 1.0).T, SAMPLE_RATE, format="WAV", subtype="PCM_16")
        channels, frames = sound.shape
        audio = Summary.Audio(
            sample_rate=SAMPLE_RATE,
            num_channels=channels,
            length_frames=frames,
            encoded_audio_string=file.getvalue(),
            content_type="audio/wav",
        )
        values.append(Summary.Value(tag=f"audio/{name}", audio=audio))
    return Summary(value=values)


def _text(name: str, markdown: str) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    one = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()], tensor_shape=one)
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    return Summary(value=[Summary.Value(tag=name, metadata=metadata, tensor=tensor)])


def _settings(run: RunStart) -> str:
    settings = yaml.safe_dump(run.candidate.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    # TensorBoard shows Markdown. Where every line is indented nothing in it is, whatever a candidate's settings say.
    return textwrap.indent(f"{start_line(run)}\n\n{settings}", "    ")
