"""Pictures of an evaluation as PNG bytes: for the report's page and for metadata in the Dagster UI.

Every function draws on a figure of its own (no pyplot, no global state). The picture of a spectrogram alone, and the
numbers behind waveforms and spectrograms, stand here too, so that page and UI show the same thing.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib
import matplotlib.image
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.audio import SAMPLE_RATE, Audio
from models.evaluate import BASELINES, summarise
from models.measures import USDR, Measure, headlines
from models.report.verdict import label

N_FFT = 4096
BANDS = 160
LOWEST_HZ, HIGHEST_HZ = 50.0, 16_000.0
RANGE_DB = 70.0
COLUMNS = 480  # of a picture of sound: pixels across
_LOOKS_PER_COLUMN = 4  # spectra averaged where a column stands for more sound than one window holds
_SHADES = 40  # few enough for a small file, more than the eye tells apart
_COLOURS = matplotlib.colormaps["magma"]

# Titles and names are shown as they are: a dollar sign in one begins no formula.
_as_written = matplotlib.rc_context({"text.parse_math": False})

Picture = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Theme:
    """Colours of a figure: `ink` text and axes, `faint` grid, the series, and the background of its page."""

    ink: str
    faint: str
    page: str
    series: tuple[str, ...]
    quiet: str


LIGHT = Theme("#1f2933", "#d5dae1", "#ffffff", ("#1f6fb2", "#c2571a", "#2a7f4f", "#8a4fae"), "#6b7683")
DARK = Theme("#e4e8ee", "#39424e", "#171c22", ("#6db3f2", "#f0975a", "#6cc793", "#c79be8"), "#98a3b1")


def envelope(audio: Audio, columns: int = COLUMNS) -> tuple[Picture, Picture]:
    """Lowest and highest sample of `audio (channels, frames)` per column of a waveform, two arrays `(columns,)`."""
    frames = audio.shape[1]
    if frames == 0:
        return np.zeros(columns), np.zeros(columns)
    starts = np.arange(columns) * frames // columns
    low, high = audio.min(axis=0), audio.max(axis=0)
    return np.minimum.reduceat(low, starts).astype(float), np.maximum.reduceat(high, starts).astype(float)


def spectrogram_db(audio: Audio, sample_rate: int = SAMPLE_RATE, columns: int = COLUMNS) -> Picture:
    """Energy in dB of `audio (channels, frames)` per band and column, `(160, columns)`, lowest band first.

    Bands are equally wide on a logarithmic axis from 50 Hz to 16 kHz, as hearing is; channels are summed in energy.
    """
    frames = audio.shape[1]
    looks = columns * max(1, min(_LOOKS_PER_COLUMN, -(-frames // (columns * N_FFT // 2))))
    starts = np.linspace(0, max(frames - 1, 0), looks).astype(np.int64)
    padded = np.pad(audio, ((0, 0), (N_FFT // 2, N_FFT // 2)))
    views = np.lib.stride_tricks.sliding_window_view(padded, N_FFT, axis=1)
    window = np.hanning(N_FFT).astype(np.float32)
    power = np.zeros((looks, N_FFT // 2 + 1), dtype=np.float32)
    for channel in views:
        power += np.abs(np.fft.rfft(channel[np.minimum(starts, len(channel) - 1)] * window, axis=1)) ** 2
    power = power.reshape(columns, -1, power.shape[1]).mean(axis=1)
    return 10.0 * np.log10(_band_weights(sample_rate) @ power.T.astype(np.float64) + 1e-12)


def spectrogram_png(decibels: Picture, top: float) -> bytes:
    """The bare picture of a spectrogram, no axes: `top` dB is brightest, 70 dB below it black."""
    shade = np.clip((decibels - top) / RANGE_DB + 1.0, 0.0, 1.0)
    shade = np.round(shade * (_SHADES - 1)) / (_SHADES - 1)
    picture = io.BytesIO()
    matplotlib.image.imsave(picture, _COLOURS(shade)[..., :3], origin="lower", format="png")
    return picture.getvalue()


@_as_written
def waveforms_and_spectrograms(
    mixture: Audio, predicted: Audio, truth: Audio, sample_rate: int = SAMPLE_RATE, title: str = ""
) -> bytes:
    """Source, predicted and true vocals side by side: waveforms above, spectrograms below, all on the same scales.

    Audio `(channels, frames)`; returns PNG bytes. After Table 3 of the report.
    """
    sounds = {"Source (mixture)": mixture, "Predicted vocals": predicted, "True vocals": truth}
    seconds = mixture.shape[1] / sample_rate
    peak = max(float(np.max(np.abs(mixture), initial=0.0)), float(np.max(np.abs(truth), initial=0.0)), 1e-3)
    pictures = [spectrogram_db(sound, sample_rate) for sound in sounds.values()]
    top = float(pictures[0].max())
    figure = Figure(figsize=(12, 4.2), dpi=100, layout="constrained", facecolor=LIGHT.page)
    axes = figure.subplots(2, 3, sharex=True, sharey="row", gridspec_kw={"height_ratios": [1, 1.4]})
    times = (np.arange(COLUMNS) + 0.5) * seconds / COLUMNS
    colours = (LIGHT.quiet, LIGHT.series[0], LIGHT.series[2])
    for column, (name, sound) in enumerate(sounds.items()):
        wave, spectrum = axes[0, column], axes[1, column]
        wave.fill_between(times, *envelope(sound), color=colours[column], linewidth=0.3)
        wave.set(title=name, ylim=(-1.05 * peak, 1.05 * peak))
        _plain(wave, LIGHT)
        spectrum.imshow(
            pictures[column],
            origin="lower",
            aspect="auto",
            extent=(0.0, seconds, 0.0, 1.0),
            cmap=_COLOURS,
            vmin=top - RANGE_DB,
            vmax=top,
        )
        spectrum.set_xlabel("seconds")
        spectrum.set_yticks([frequency_position(hz) for hz in (100, 1000, 10_000)], ["100 Hz", "1 kHz", "10 kHz"])
    axes[0, 0].set_ylabel("amplitude")
    if title:
        figure.suptitle(title)
    return _png(figure)


def frequency_position(hz: float) -> float:
    """Where a frequency lies on the axis of a spectrogram: 0 at its foot, 1 at its head."""
    return float(np.log(hz / LOWEST_HZ) / np.log(HIGHEST_HZ / LOWEST_HZ))


@_as_written
def curves_figure(curves: pd.DataFrame, title: str = "", theme: Theme = LIGHT) -> bytes:
    """Training and validation loss, and validation uSDR, against steps; PNG bytes.

    `curves` as in `CandidateSection`. After Figure 14 of the report.
    """
    figure = Figure(figsize=(9, 3.2), dpi=110, layout="constrained", facecolor=theme.page)
    losses, quality = figure.subplots(1, 2)
    for column, colour, name in (
        ("train_loss", theme.series[0], "training"),
        ("validation_loss", theme.series[1], "validation"),
    ):
        points = curves[["step", column]].dropna()
        losses.plot(points["step"], points[column], color=colour, marker=".", markersize=4, label=name)
    # Curves that an earlier version left do not say which epoch was kept.
    kept = curves[curves["kept"]] if "kept" in curves else curves.iloc[:0]
    for axes, column, colour in (
        (losses, "validation_loss", theme.series[1]),
        (quality, "validation_usdr_db", theme.series[2]),
    ):
        axes.plot(kept["step"], kept[column], "o", color=colour, markersize=10, fillstyle="none", label="kept")
    losses.set(title="Loss (lower is better)", xlabel="step")
    points = curves[["step", "validation_usdr_db"]].dropna()
    quality.plot(points["step"], points["validation_usdr_db"], color=theme.series[2], marker=".", markersize=4)
    quality.set(title="Validation uSDR in dB (higher is better)", xlabel="step")
    for axes in (losses, quality):
        _plain(axes, theme)
        axes.grid(color=theme.faint, linewidth=0.6)
    if len(curves):
        losses.legend(fontsize="small", frameon=False, labelcolor=theme.ink)
    if title:
        figure.suptitle(title, color=theme.ink)
    return _png(figure)


@_as_written
def scores_figure(scores: pd.DataFrame, theme: Theme = LIGHT, rank_by: Measure = USDR) -> bytes:
    """Every track of every method as a dot, their average as a bar, for each headline measure apart; PNG bytes.

    `scores` as in `models.evaluate.SCORES`; best method on top, by `rank_by`, which is drawn first. The cSDR drawn is
    that of every second, from which nobody's bar can drop the seconds and songs that went badly.
    """
    order, drawn = list(summarise(scores, rank_by)["method"])[::-1], headlines(rank_by)
    size = (max(9.0, 4.5 * len(drawn)), 1.1 + 0.42 * max(len(order), 2))
    figure = Figure(figsize=size, dpi=110, layout="constrained", facecolor=theme.page)
    panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, drawn, strict=True):
        for place, method in enumerate(order):
            values = scores.loc[scores["method"] == method, measure.column]
            values = values.replace([np.inf, -np.inf], np.nan).dropna()
            colour = theme.quiet if method in BASELINES else theme.series[0]
            axes.plot(values, np.full(len(values), place), "o", color=colour, alpha=0.45, markersize=6, mew=0)
            if len(values):
                average = values.agg(measure.statistic)
                axes.plot([average, average], [place - 0.32, place + 0.32], color=colour, linewidth=3)
        title = f"{measure.title}, {measure.measured_in}; bar: {measure.statistic}"
        axes.set(title=title, ylim=(-0.6, max(len(order), 1) - 0.4))
        axes.set_yticks(range(len(order)), [label(str(method)) for method in order])
        _plain(axes, theme)
        axes.grid(axis="x", color=theme.faint, linewidth=0.6)
        axes.axvline(0.0, color=theme.quiet, linewidth=0.8)
    return _png(figure)


def _band_weights(sample_rate: int) -> Picture:
    """How much of each FFT bin falls into each band, `(160, bins)`: bins are taken as evenly filled."""
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)
    width = sample_rate / N_FFT
    lower = (np.arange(N_FFT // 2 + 1) - 0.5) * width
    overlap = np.minimum(edges[1:, None], lower + width) - np.maximum(edges[:-1, None], lower)
    return np.clip(overlap, 0.0, None) / width


def _plain(axes: Axes, theme: Theme) -> None:
    axes.set_facecolor(theme.page)
    axes.set_axisbelow(True)
    axes.title.set_color(theme.ink)
    axes.title.set_fontsize(10)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    axes.tick_params(colors=theme.ink, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(theme.quiet)


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    # No version of matplotlib in the file: equal pictures give equal bytes.
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
