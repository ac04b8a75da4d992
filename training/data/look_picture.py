"""The columns of a recording over time, as a picture. Needs numpy and Matplotlib, and nothing of PyTorch."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from ...runtime.rows.times import clock_of, is_break
from .loading import Survey
from .stamps import longest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_MOST = 40
"""Columns that are drawn, the first ones."""

_PIECES = 1200
"""Pieces of a strip; of the rows in each the lowest and the highest value are drawn."""

_FIRST_DATE_S = 1e8
"""Times below count from the beginning of a recording, and are no dates."""

_LINE, _GAP = "#1f62a8", "#f0b48a"  # told apart by the colour-blind too


def draw(found: Survey) -> bytes:
    """A strip for each feature, its lowest and highest values along the recording, as PNG; gaps in time are shaded.

    Text is drawn as the place of each text among those of its column.
    """
    names, values, times = found.names[:_MOST], found.read.values, found.read.times
    known = np.ones(len(values), np.bool_) if times is None else np.isfinite(times)
    recording = found.read.recording[known] if times is not None else np.zeros(len(values), np.int64)
    x: NDArray[Any] = np.arange(len(values)) if times is None else times[known]
    gaps = np.empty(0, np.int64) if times is None else _gaps(x, recording)
    parts = np.split(np.arange(len(x)), np.flatnonzero(np.diff(recording)) + 1)
    dated = times is not None and len(x) > 0 and float(x.min()) > _FIRST_DATE_S
    if dated:
        x = (x * 1e3).astype("datetime64[ms]")
    figure = Figure(figsize=(12, 0.7 + 0.9 * len(names)), dpi=100, layout="constrained")
    strips = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for place, (name, axes) in enumerate(zip(names, strips, strict=True)):
        for part in parts:
            _draw_strip(axes, x[part], values[known, place][part])
        for before in gaps:
            axes.axvspan(x[before], x[before + 1], color=_GAP, lw=0)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, parse_math=False)
        texts = found.texts.get(name, ())
        if 0 < len(texts) <= 4:
            axes.set_yticks(range(len(texts)), texts)
        else:
            axes.locator_params("y", nbins=3)
    if dated:
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        strips[-1].xaxis.set_major_locator(locator)
        strips[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        strips[-1].set_xlabel("row" if times is None else "seconds")
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})  # without it equal pictures are equal files
    return content.getvalue()


def _gaps(times: NDArray[np.float64], recording: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows before a gap within a recording."""
    clock = clock_of(longest(times, recording)) if len(times) else None
    if clock is None:
        return np.empty(0, np.int64)
    steps = np.diff(times)
    return np.flatnonzero(is_break(steps, 1, clock) & (steps > 0) & (np.diff(recording) == 0))


def _draw_strip(axes: Axes, x: NDArray[Any], cells: NDArray[np.float32]) -> None:
    """The envelope of a column; single rows where there are few."""
    axes.tick_params(labelsize=8)
    axes.margins(x=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(cells) <= 2 * _PIECES:
        axes.plot(x, cells, color=_LINE, lw=0.8)
        return
    starts = np.linspace(0, len(cells), _PIECES, endpoint=False).astype(np.int64)
    low, high = np.fmin.reduceat(cells, starts), np.fmax.reduceat(cells, starts)
    axes.fill_between(x[starts], low, high, color=_LINE, lw=0.4)
