"""How good a detector is on labelled data: ranking, and what happens at the threshold that was shipped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from ..runtime.bundle import describe_range
from ..runtime.detector import Detector
from ..runtime.errors import InputError
from ..runtime.recordings import Recording
from ..runtime.tables import TableFormat, read_column, read_rows, read_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LABELS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


class Ranking(msgspec.Struct, frozen=True):
    """How well a score ranks anomalous rows above normal ones, at no threshold."""

    roc_auc: float
    average_precision: float


class AtThreshold(msgspec.Struct, frozen=True):
    """Row by row, at the threshold in the model file."""

    precision: float | None
    """Share of alarms that are right; None without any alarm."""
    recall: float
    """Share of anomalous rows with an alarm."""
    false_alarm_rate: float
    """Share of normal rows with an alarm."""


class Events(msgspec.Struct, frozen=True):
    """An event is an unbroken run of anomalous rows; it is found when any of its rows raises an alarm."""

    events: int
    found: int
    median_delay_rows: float | None
    """Rows from an event's first row to its first alarm; None when none was found."""
    median_delay_s: float | None
    """The same in seconds, None without time stamps."""
    false_events: int
    """Unbroken runs of alarms that touch no event."""


class Evaluation(msgspec.Struct, frozen=True):
    """What `evaluate` found. Rows without a score (bad, or before the first full window) are left out, and counted."""

    rows: int
    scored: int
    anomalous: int
    promised_false_alarm_rate: float
    promised_range: tuple[float, float]
    detector: Ranking
    z_score: Ranking
    """The largest |x - mean| / standard deviation of the newest row, with the training rows' statistics."""
    random: Ranking
    at_threshold: AtThreshold
    events: Events | None
    """None for rows without an order."""

    def describe(self) -> str:
        """A small table for the terminal."""
        low, high = self.promised_range
        at, precision = self.at_threshold, self.at_threshold.precision
        rows = [("detector", self.detector), ("z-score", self.z_score), ("random", self.random)]
        lines = [
            f"{self.rows} rows, {self.scored} scored, of them {self.anomalous} anomalous "
            f"({self.anomalous / self.scored:.1%})",
            "",
            f"{'':10} {'ROC-AUC':>9} {'average precision':>19}",
            *(f"{name:10} {rank.roc_auc:9.3f} {rank.average_precision:19.3f}" for name, rank in rows),
            "",
            "at the shipped threshold",
            f"  precision         {'no alarms' if precision is None else format(precision, '.3f')}",
            f"  recall            {at.recall:.3f}",
            f"  false-alarm rate  {at.false_alarm_rate:.4f}   promised {self.promised_false_alarm_rate:.3g}, "
            f"realised rate {describe_range(low, high)} allowed",
        ]
        return "\n".join(lines + self._event_lines())

    def _event_lines(self) -> list[str]:
        if self.events is None:
            return []
        found = self.events
        delay = "" if found.median_delay_rows is None else f", median delay {found.median_delay_rows:g} rows"
        delay += "" if found.median_delay_s is None else f" ({found.median_delay_s:g} s)"
        return [
            "events",
            f"  found             {found.found} of {found.events}{delay}",
            f"  false             {found.false_events}",
        ]


class _Recorded(NamedTuple):
    score: NDArray[np.float32]
    alarm: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    z_score: NDArray[np.float64]
    times: NDArray[np.float64] | None


def evaluate(detector: Detector, data: Path, labels: str, form: TableFormat) -> Evaluation:
    """Score a labelled CSV and compare.

    Parameters
    ----------
    labels : name of a column of `data` with 0 for normal and 1 for anomalous rows, or the path of a CSV with one
        such column and a row for each row of `data`

    Raises
    ------
    InputError
        when the labels are missing, not 0 and 1, of another length, or all the same
    """
    recorded = _score(detector, data, form)
    truth = read_labels(data, labels, form)
    if len(truth) != len(recorded.score):
        raise InputError(f"{len(truth)} labels for {len(recorded.score)} rows of {data}")
    kept = recorded.scored
    y, score, alarm = truth[kept], recorded.score[kept], recorded.alarm[kept]
    if y.all() or not y.any():
        raise InputError(f"all {len(y)} scored rows have the same label; an evaluation needs normal and anomalous rows")
    random = np.random.default_rng(0).random(len(y))
    calibration = detector.bundle.calibration
    ordered = detector.bundle.kind == "windows" or detector.bundle.data.time_column is not None
    return Evaluation(
        rows=len(truth),
        scored=int(kept.sum()),
        anomalous=int(y.sum()),
        promised_false_alarm_rate=calibration.far,
        promised_range=(calibration.far_low, calibration.far_high),
        detector=_rank(y, score),
        z_score=_rank(y, recorded.z_score[kept]),
        random=_rank(y, random),
        at_threshold=_at_threshold(y, alarm),
        events=count_events(truth, recorded.alarm, recorded.times) if ordered else None,
    )


def read_labels(data: Path, labels: str, form: TableFormat) -> NDArray[np.bool_]:
    """The labels as booleans (rows,), from a column of `data` or from a file of one column; raises like `evaluate`."""
    path, column = data, labels
    if Path(labels).is_file():
        path, form = Path(labels), TableFormat()
        header, _ = read_sample(path, form)
        if len(header) != 1:
            raise InputError(f"{path}: a file of labels has one column, this one has {len(header)}")
        column = header[0]
    cells = read_column(path, column, form)
    truth = np.zeros(len(cells), np.bool_)
    for row, cell in enumerate(cells):
        label = _LABELS.get(cell.strip().lower())
        if label is None:
            raise InputError(f"{path}: row {row}, column {column!r}: holds {cell[:40]!r}, expected 0 or 1", row=row)
        truth[row] = label
    return truth


def _score(detector: Detector, data: Path, form: TableFormat) -> _Recorded:
    bundle = detector.bundle
    center = np.array([column.center for column in bundle.columns])
    scale = np.array([column.scale for column in bundle.columns])
    recording = Recording(detector)
    parts: list[_Recorded] = []
    for rows in read_rows(data, bundle.names, form=form, time_column=bundle.data.time_column):
        scores = recording.push(rows).scores
        z_score = np.abs((rows.values - center) / scale).max(axis=1)
        parts.append(_Recorded(scores.score, scores.is_anomaly, scores.scored, z_score, rows.times))
    if not parts:
        raise InputError(f"{data}: no rows after the header")
    score, alarm, scored, z_score = (np.concatenate(column) for column in list(zip(*parts, strict=True))[:4])
    times = None if parts[0].times is None else np.concatenate([part.times for part in parts if part.times is not None])
    return _Recorded(score, alarm, scored, z_score, times)


def _rank(truth: NDArray[np.bool_], score: NDArray[np.floating]) -> Ranking:
    return Ranking(float(roc_auc_score(truth, score)), float(average_precision_score(truth, score)))


def _at_threshold(truth: NDArray[np.bool_], alarm: NDArray[np.bool_]) -> AtThreshold:
    return AtThreshold(
        precision=float(truth[alarm].mean()) if alarm.any() else None,
        recall=float(alarm[truth].mean()),
        false_alarm_rate=float(alarm[~truth].mean()),
    )


def count_events(
    truth: NDArray[np.bool_], alarm: NDArray[np.bool_], times: NDArray[np.float64] | None = None
) -> Events:
    """Events found, their delays, and false events, over all rows in order (a row without a score raises no alarm)."""
    delays = []
    for start, end in _runs(truth):
        fired = np.flatnonzero(alarm[start:end])
        if len(fired):
            delays.append((start, start + fired[0]))
    rows = [first - start for start, first in delays]
    seconds = [] if times is None else [times[first] - times[start] for start, first in delays]
    return Events(
        events=len(_runs(truth)),
        found=len(delays),
        median_delay_rows=float(np.median(rows)) if rows else None,
        median_delay_s=float(np.median(seconds)) if seconds else None,
        false_events=sum(not truth[start:end].any() for start, end in _runs(alarm)),
    )


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First row and end of each unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
