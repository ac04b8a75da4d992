"""Plots of an evaluation as SVG, for light and for dark pages. Needs numpy and Matplotlib, and nothing of PyTorch."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...runtime.rows.times import write_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_POINTS = 1500
"""Columns of a plot along a series; of the rows in each the lowest and the highest score are drawn."""


class Ink(NamedTuple):
    """Colours, told apart by the colour-blind too, of one of the two looks."""

    text: str
    grid: str
    normal: str
    anomaly: str
    other: str


LIGHT = Ink(text="#1d2733", grid="#d5dbe3", normal="#1f62a8", anomaly="#c2410c", other="#6b7684")
DARK = Ink(text="#dfe5ec", grid="#3b4552", normal="#72b0f0", anomaly="#ff9a5c", other="#98a3b0")

Plot = Callable[[Figure, Ink], None]
"""Draws itself on an empty figure."""


class Looks(NamedTuple):
    """One plot twice, as SVG."""

    light: bytes
    dark: bytes


def svgs(plot: Plot, *, height: float = 3.2) -> Looks:
    """A plot in both looks, 9 inches wide."""
    return Looks(*(_svg(plot, ink, height) for ink in (LIGHT, DARK)))


def _svg(plot: Plot, ink: Ink, height: float) -> bytes:
    style: dict[Any, Any] = {
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink.text),
        "axes.edgecolor": ink.other,
        "axes.facecolor": "none",
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.grid": True,
        "grid.color": ink.grid,
        "legend.frameon": False,
        "font.size": 10,
        "svg.hashsalt": "vae-detect",  # without it, and with a date, equal plots would not be equal files
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(9, height), layout="constrained")
        plot(figure, ink)
        content = io.BytesIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return content.getvalue()


def curves(
    roc: Mapping[str, Sequence[tuple[float, float]]],
    precision_recall: Mapping[str, Sequence[tuple[float, float]]],
    at: tuple[float, float, float | None],
) -> Plot:
    """ROC and precision-recall curves of the detector, which comes first, and of what it is held against.

    Parameters
    ----------
    at : false-alarm rate, recall and precision at the shipped threshold
    """

    def draw(figure: Figure, ink: Ink) -> None:
        left, right = figure.subplots(1, 2)
        for axes, lines in ((left, roc), (right, precision_recall)):
            for number, (name, points) in enumerate(lines.items()):
                colour, style = (ink.normal, "-") if number == 0 else (ink.other, "--")
                axes.plot(*zip(*points, strict=True), style, color=colour, label=name)
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        false_alarm_rate, recall, precision = at
        left.plot(false_alarm_rate, recall, "o", color=ink.anomaly, label="shipped threshold")
        if precision is not None:
            right.plot(recall, precision, "o", color=ink.anomaly)
        left.set(xlabel="false-alarm rate", ylabel="recall", title="ROC")
        right.set(xlabel="recall", ylabel="precision", title="Precision and recall")
        left.legend(loc="lower right")

    return draw


def histogram(score: NDArray[np.float64], truth: NDArray[np.bool_], threshold: float) -> Plot:
    """Shares of the normal and of the anomalous scores by size, and the threshold, on a scale as of `_scale`.

    Parameters
    ----------
    score, truth : (n,)
    """
    width = _width(score)
    ends = np.arcsinh([min(score.min(), threshold) / width, max(score.max(), threshold) / width])
    edges = np.sinh(np.linspace(ends[0], max(ends[1], ends[0] + 1e-6), 61)) * width

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        for which, name, colour in ((~truth, "normal", ink.normal), (truth, "anomalous", ink.anomaly)):
            counts = np.histogram(score[which], edges)[0]
            label = f"{name} ({len(score[which])})"
            axes.stairs(counts / counts.sum(), edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(counts / counts.sum(), edges, color=colour, label=label)
        axes.axvline(threshold, color=ink.text, linestyle="--", label="threshold")
        axes.set(xlabel="score", ylabel="share of its kind")
        _scale(axes, "x", width, edges[0], edges[-1])
        axes.legend()

    return draw


def calibration(
    alpha: NDArray[np.float64],
    realised: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    far: float,
) -> Plot:
    """Promised false-alarm rates against realised ones.

    Parameters
    ----------
    alpha, realised : (n,) shares
    low, high : (n,) range of the realised rate that the calibration allows
    far : the rate that was promised
    """

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        lowest = alpha[0] / 10
        axes.fill_between(
            alpha, np.maximum(low, lowest), high, color=ink.other, alpha=0.25, linewidth=0, label="allowed range"
        )
        axes.plot(alpha, alpha, "--", color=ink.other, label="as promised")
        axes.plot(alpha, np.where(realised > 0, realised, np.nan), ".-", color=ink.normal, label="realised")
        axes.axvline(far, color=ink.anomaly, linestyle=":", label="the shipped threshold's promise")
        axes.set(xscale="log", yscale="log", ylim=(lowest, 1), xlabel="promised rate", ylabel="realised rate")
        axes.legend()

    return draw


def series(
    score: NDArray[np.float64],
    events: Sequence[tuple[int, int]],
    alarms: Sequence[tuple[int, int]],
    threshold: float,
    times: NDArray[np.float64] | None = None,
) -> Plot:
    """Scores along the rows, events shaded, events and runs of alarms as marks above, on a scale as of `_scale`.

    Parameters
    ----------
    score : (rows,) NaN where there is none
    events, alarms : first row and end of each
    times : (rows,) seconds, NaN where unknown, for the marks of the axis; None counts rows
    """
    step = -(-len(score) // _POINTS)
    padded = np.concatenate([score, np.full(-len(score) % step, np.nan)]).reshape(-1, step)
    rows = np.arange(len(padded)) * step + (step - 1) / 2
    known = np.isfinite(padded)
    low = np.where(known.any(axis=1), np.where(known, padded, np.inf).min(axis=1), np.nan)
    high = np.where(known.any(axis=1), np.where(known, padded, -np.inf).max(axis=1), np.nan)
    least = max(len(score) / 500, 1)  # so that short runs can be seen

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        axes.fill_between(rows, low, high, color=ink.normal, alpha=0.5, linewidth=0)
        axes.plot(rows, high, color=ink.normal, linewidth=0.8, label="score")
        axes.axhline(threshold, color=ink.text, linestyle="--", linewidth=1, label="threshold")
        above = axes.get_xaxis_transform()
        for name, marked, colour, place in (("events", events, ink.anomaly, 1.02), ("alarms", alarms, ink.text, 1.08)):
            bars = [(start - 0.5, max(end - start, least)) for start, end in marked]
            axes.broken_barh(bars, (place, 0.05), color=colour, lw=0, transform=above, clip_on=False, label=name)
            if name == "events":
                axes.broken_barh(bars, (0, 1), color=colour, alpha=0.2, lw=0, transform=above)
        axes.set(xlabel="row", ylabel="score", xlim=(0, max(len(score) - 1, 1)))
        if times is not None and np.isfinite(times).any():
            _mark_times(axes, times)
        axes.grid(visible=False, axis="x")
        _scale(axes, "y", _width(score), float(np.nanmin(score)), max(float(np.nanmax(score)), threshold))
        axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.12))

    return draw


def _mark_times(axes: Axes, times: NDArray[np.float64]) -> None:
    """Marks along an axis of rows when they were taken; rows without a time have no mark."""
    known = np.flatnonzero(np.isfinite(times))
    rows = known[np.unique(np.linspace(0, len(known) - 1, 6).astype(int))]
    texts = [write_time(float(second)) or "" for second in np.round(times[rows])]
    are_dates = all("T" in text for text in texts)
    axes.set_xticks(rows, [text.removesuffix("Z").replace("T", "\n") for text in texts])
    axes.set(xlabel="time, UTC" if are_dates else "time, s")


def losses(training: Sequence[float], validation: Sequence[float]) -> Plot:
    """Loss of each epoch, the one with the kept weights marked."""

    def draw(figure: Figure, ink: Ink) -> None:
        axes = figure.subplots()
        epochs = np.arange(1, len(training) + 1)
        axes.plot(epochs, training, "--", color=ink.other, label="training")
        axes.plot(epochs, validation, "-", color=ink.normal, label="validation")
        best = int(np.argmin(validation))
        axes.plot(best + 1, validation[best], "o", color=ink.anomaly, label=f"kept: epoch {best + 1}")
        axes.set(xlabel="epoch", ylabel="loss, nats per input")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()

    return draw


def heat_picture(heat: NDArray[np.float32], white: float) -> NDArray[np.uint8]:
    """A heat map (height, width) in colours from black over red to pale yellow at `white`: (height, width, 3)."""
    colours = matplotlib.colormaps["inferno"](np.clip(heat / white, 0, 1), bytes=True)
    return np.asarray(colours, np.uint8)[..., :3]


def _width(score: NDArray[np.float64]) -> float:
    """Up to where a scale of these scores is linear: their median size."""
    return float(np.nanmedian(np.abs(score))) or 1.0


def _scale(axes: Axes, axis: Literal["x", "y"], width: float, low: float, high: float) -> None:
    """Makes an axis linear up to about `width` and logarithmic beyond, with round numbers that have room."""
    ends = np.arcsinh(low / width), np.arcsinh(high / width)
    span = max(ends[1] - ends[0], 1e-6)
    round_numbers = np.outer(10.0 ** np.arange(-6, 31), [1, 2, 5]).ravel()
    round_numbers = round_numbers[round_numbers > width / 20]  # smaller ones would stand in the place of 0
    ticks: list[float] = []
    for tick in np.concatenate([-round_numbers[::-1], [0], round_numbers]):
        is_apart = not ticks or np.arcsinh(tick / width) - np.arcsinh(ticks[-1] / width) > 0.07 * span
        if low <= tick <= high and is_apart:
            ticks.append(float(tick))
    set_scale, set_ticks, set_limits = (getattr(axes, f"set_{axis}{what}") for what in ("scale", "ticks", "lim"))
    set_scale("asinh", linear_width=width)
    set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    set_limits(np.sinh([ends[0] - 0.02 * span, ends[1] + 0.02 * span]) * width)
