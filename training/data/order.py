"""The windows in which rows are looked at that follow each other in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..settings.config import TrainConfig, configure
from .neighbours import whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .loading import Table

_USUAL, _SHORT, _LONGEST = 16, 8, 64
"""Rows of a window: in general, for rows that forget at once, and at most."""

_MUCH = 0.1
"""Share of rows without a full window from which on it is said."""

_PEAK = 0.3
"""Autocorrelation of what recurs, and how far it rises over the lags before."""

_WINDOWS = 40
"""Times that a window fits into the recording, at least."""

_LOOKED_AT = 50_000
"""Rows from whose autocorrelation the window comes."""


def settle_kind(settings: TrainConfig | Mapping[str, Any], table: Table) -> tuple[TrainConfig, str]:
    """The settings of a run on this table, with kind and window where they name none, and a line on that ("" if not).

    Rows that follow each other are looked at in windows, the others each on its own. Raises what `configure` raises.
    """
    if isinstance(settings, TrainConfig):
        return settings, ""
    if "kind" in settings:
        return configure(settings), ""
    if "window" in settings:
        return configure({**settings, "kind": "windows"}), ""
    if table.time_column is None and not table.ordered:
        return configure({**settings, "kind": "rows"}), ""
    window, why = choose_window(within(table), table.names)
    order = f"time stamps in {table.time_column!r}" if table.time_column is not None else "neighbouring rows are alike"
    if not window:
        return configure({**settings, "kind": "rows"}), f"rows, each on its own, though {order}: {why}"
    line = f"windows of {window} rows ({order}; {why}); --kind rows or --window N for something else"
    return configure({**settings, "kind": "windows", "window": window}), line


def describe_unscored(table: Table, window: int) -> str:
    """What windows leave unscored of a recording whose time stamps jitter, and what helps; "" where that is little."""
    if window == 1 or not table.longer_gap_s:
        return ""
    held = _full_windows(table.segment, window)
    whole = _full_windows(np.zeros_like(table.segment) if table.recording is None else table.recording, window)
    lost = 1 - held / max(1, whole)
    if lost < _MUCH:
        return ""
    return (
        f"time stamps jitter: windows of {window} rows leave {lost:.0%} of the rows unscored, here and in what is "
        f"scored later: steps over 1.5 periods are gaps; --max-gap {table.longer_gap_s:g}s or --resample helps"
    )


def _full_windows(segment: NDArray[np.int64], window: int) -> int:
    lengths = np.unique(segment, return_counts=True)[1]
    return int(np.maximum(lengths - window + 1, 0).sum())


def within(table: Table) -> NDArray[Any]:
    """The values (rows, columns) less the mean of their recording: machines differ by more than what they do."""
    values = whole(table.values)
    if table.recording is None or table.recording[0] == table.recording[-1]:
        return values
    _, recording = np.unique(table.recording, return_inverse=True)
    counts = np.bincount(recording)
    means = [np.bincount(recording, column) / counts for column in values.T.astype(np.float64)]
    return values - np.stack(means, axis=1)[recording]


def choose_window(values: NDArray[Any], names: Sequence[str]) -> tuple[int, str]:
    """Rows of a window for a recording (rows, columns), a power of two, and why; 0 where there are too few rows.

    Two periods of the slowest thing that recurs within half the longest window, so that a window always holds a whole
    one and its absence shows; else `_USUAL`, or `_SHORT` for rows that forget at once.
    """
    most = len(values) // _WINDOWS
    if most < 2:
        return 0, f"{len(values)} rows are too few for windows"
    known = [(name, r) for name, r in zip(names, _autocorrelations(values), strict=True) if r.size]
    periods = [(period, name) for name, r in known if (period := _period(r))]
    if periods:
        period, name = max(periods)
        wanted, why = 1 << (2 * period - 1).bit_length(), f"{name!r} recurs every {period} rows"
    else:
        alike = memory_rows(values)
        wanted = _SHORT if alike < _SHORT // 2 else _USUAL
        more = " or more" if alike > _LONGEST // 2 else ""
        why = f"columns stay alike for {alike}{more} rows" if alike > 1 else "columns forget at once"
    window = min(max(wanted, _SHORT), _LONGEST)
    if window > most:
        return 1 << (most.bit_length() - 1), f"{len(values)} rows hold no longer ones {_WINDOWS} times"
    return window, why


def memory_rows(values: NDArray[Any]) -> int:
    """Lag at which the autocorrelation of the columns falls below 1/e, their median, at most half the longest window.

    Of (rows, columns) in time order; 1 where all columns are constant.
    """
    lags = [int(np.argmax(np.append(r, 0) < 1 / np.e)) for r in _autocorrelations(values) if r.size]
    return int(np.median(lags)) if lags else 1


def _autocorrelations(values: NDArray[Any]) -> list[NDArray[np.float64]]:
    return [_autocorrelation(column) for column in values[:_LOOKED_AT].T]


def _period(r: NDArray[np.float64]) -> int:
    """The shortest lag at which an autocorrelation (from lag 0) has nearly its highest peak; 0 without one."""
    lags = np.arange(2, r.size - 1)
    peaks = lags[(r[lags] >= r[lags - 1]) & (r[lags] > r[lags + 1]) & (r[lags] >= _PEAK)]
    peaks = np.array([lag for lag in peaks if r[lag] - r[:lag].min() >= _PEAK and lag > 2], np.int64)
    return int(peaks[r[peaks] >= 0.9 * r[peaks].max()][0]) if peaks.size else 0


def _autocorrelation(column: NDArray[Any]) -> NDArray[np.float64]:
    """Of the values, clipped to 5 deviations; lags 0 to half the longest window and two more; empty of a constant."""
    z = column.astype(np.float64) - column.mean(dtype=np.float64)
    spread = z.std()
    if not spread:
        return np.empty(0)
    z = np.clip(z, -5 * spread, 5 * spread)
    spectrum = np.fft.rfft(z, 2 * len(z))
    sums = np.fft.irfft(spectrum * np.conj(spectrum))[: _LONGEST // 2 + 2]
    return np.asarray(sums / sums[0], np.float64)
