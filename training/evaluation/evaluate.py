"""How good a detector is on labelled data: ranking, and what happens at the threshold that was shipped."""

from __future__ import annotations

import textwrap
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from ...runtime.bundle import Bundle, Kind
from ...runtime.describe import describe_range
from ...runtime.detector import Detector
from ...runtime.errors import InputError
from ...runtime.output import check_suffix, text_written_aside
from ...runtime.rows.csv_text import TableFormat
from ...runtime.rows.times import period_of
from ...runtime.scoring.drift import DriftMonitor
from .events import Events, PointAdjusted, count_events, point_adjust
from .importance import LogLikelihood, log_likelihood
from .labelled import Labelled, is_ordered, score_labelled
from .regions import LARGEST_FALSE_RATE, Pixels, judge_pixels
from .report import render
from .vus import default_buffer, volumes

if TYPE_CHECKING:
    from numpy.typing import NDArray

CURVE_POINTS = 200
"""Points of a curve that are kept, at most."""

_COINS = 20
"""Draws over which the figures of a coin are averaged."""

Curve = tuple[tuple[float, float], ...]


class Ranking(msgspec.Struct, frozen=True):
    """How well a score ranks anomalous rows above normal ones, at no threshold."""

    roc_auc: float
    average_precision: float
    vus_roc: float | None = None
    """Volume under the ROC surface (`vus.volumes`); None for rows without an order."""
    vus_pr: float | None = None
    """Volume under the precision-recall surface, likewise."""


class Curves(msgspec.Struct, frozen=True):
    """The curves behind a ranking, thinned to at most `CURVE_POINTS` points."""

    roc: Curve
    """(false-alarm rate, recall) from (0, 0) to (1, 1)."""
    precision_recall: Curve
    """(recall, precision) from recall 0 to 1."""


class AtThreshold(msgspec.Struct, frozen=True):
    """Row by row, at the threshold in the model file."""

    precision: float | None
    """Share of alarms that are right; None without any alarm."""
    recall: float
    """Share of anomalous rows with an alarm."""
    false_alarm_rate: float
    """Share of normal rows with an alarm."""
    f1: float
    """Harmonic mean of precision and recall: 2 right alarms / (alarms + anomalous rows)."""


class PromiseCheck(msgspec.Struct, frozen=True):
    """Whether the promised false-alarm rate was kept, and whether a user without labels would have been told."""

    in_range: bool
    """Whether the realised rate lies in the range that was promised."""
    reported_after: int | None
    """Inputs after which scoring reports that the calibration no longer holds, anomalies among them; None: not."""
    reported_on_normal: bool
    """Whether it reports that of the normal inputs alone."""

    def describe(self) -> str:
        """The end of a line for the terminal."""
        told = "not reported" if self.reported_after is None else f"reported after {self.reported_after} inputs"
        return f"rate {'in' if self.in_range else 'out of'} the range; {told} as broken"


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
    promise: PromiseCheck
    events: Events | None
    """None for rows without an order."""
    log_likelihood: LogLikelihood | None = None
    """None for a recipe without a posterior."""
    kind: Kind = "rows"
    adaptive: bool = False
    """Whether the verdicts are of a threshold that followed the data."""
    curves: dict[str, Curves] = {}
    """Of "detector" and "z_score"."""
    vus_buffer_rows: int | None = None
    """The longest buffer of the volumes; None for rows without an order."""
    point_adjusted: PointAdjusted | None = None
    """Only when asked for."""
    pixels: Pixels | None = None
    """None without masks beside images."""

    def describe(self) -> str:
        """A small table for the terminal."""
        low, high = self.promised_range
        at = self.at_threshold
        what = "images" if self.kind == "images" else "rows"
        lines = [
            f"{self.rows} {what}, {self.scored} scored, of them {self.anomalous} anomalous "
            f"({self.anomalous / self.scored:.1%})",
            "",
            *self._ranking_lines(),
            "",
            "at a threshold that follows the data" if self.adaptive else "at the shipped threshold",
            f"  precision         {'no alarms' if at.precision is None else format(at.precision, '.3f')}",
            f"  recall            {at.recall:.3f}",
            f"  F1                {at.f1:.3f}",
            f"  false-alarm rate  {at.false_alarm_rate:.4f}   promised {self.promised_false_alarm_rate:.3g}, "
            f"realised rate {describe_range(low, high)} allowed",
            f"  calibration       {self.promise.describe()}",
        ]
        return "\n".join([*lines, *self._event_lines(), *self._pixel_lines(), *self._likelihood_lines()])

    def _ranking_lines(self) -> list[str]:
        ordered = self.vus_buffer_rows is not None
        lines = [f"{'':10} {'ROC-AUC':>9} {'average precision':>19}" + f" {'VUS-ROC':>9} {'VUS-PR':>9}" * ordered]
        for name, rank in (("detector", self.detector), ("z-score", self.z_score), ("random", self.random)):
            line = f"{name:10} {rank.roc_auc:9.3f} {rank.average_precision:19.3f}"
            lines.append(line + (f" {rank.vus_roc:9.3f} {rank.vus_pr:9.3f}" if ordered else ""))
        return [*lines, f"VUS with buffers up to {self.vus_buffer_rows} rows"] if ordered else lines

    def _event_lines(self) -> list[str]:
        if self.events is None:
            return []
        found = self.events
        delay = ""
        if found.median_delay_rows is not None:
            seconds = "" if found.median_delay_s is None else f" ({found.median_delay_s:g} s)"
            delay = f", median delay {found.median_delay_rows:g} rows{seconds}, longest {found.max_delay_rows}"
        per_day = "" if found.false_events_per_day is None else f", {found.false_events_per_day:.3g} a day"
        figures = (("precision", found.precision), ("recall", found.recall), ("F1", found.f1))
        return [
            "events",
            f"  found             {found.found} of {found.events}{delay}",
            f"  false             {found.false_events}{per_day}",
            *(f"  {name:17} {figure:.3f}" for name, figure in figures if figure is not None),
            *self._point_adjusted_lines(),
        ]

    def _point_adjusted_lines(self) -> list[str]:
        if self.point_adjusted is None:
            return []
        found = self.point_adjusted
        return [
            "point-adjusted, not to be compared with anything",
            f"  precision         {'no alarms' if found.precision is None else format(found.precision, '.3f')}",
            f"  recall            {found.recall:.3f}",
            f"  F1                {found.f1:.3f}   a coin gets {found.coin_f1:.3f}",
            textwrap.fill(found.warning, 110, initial_indent="  warning           ", subsequent_indent=20 * " "),
        ]

    def _pixel_lines(self) -> list[str]:
        if self.pixels is None:
            return ["heat maps are not judged: no masks in ground_truth beside test"] if self.kind == "images" else []
        found = self.pixels
        left_out = f"; anomalous images without one, left out: {found.without_mask}" if found.without_mask else ""
        lines = [f"pixels of heat maps (masks: {found.masks}{left_out})"]
        if found.roc_auc is not None:
            lines += [
                f"  ROC-AUC           {found.roc_auc:.3f}",
                f"  AUPRO             {found.aupro:.3f}   up to a false-positive rate of {LARGEST_FALSE_RATE}",
            ]
        return lines

    def _likelihood_lines(self) -> list[str]:
        if self.log_likelihood is None:
            return []
        found = self.log_likelihood
        return [
            f"log-likelihood of {found.inputs} normal inputs, nats",
            f"  ELBO              {found.elbo:.3f}",
            f"  estimate          {found.log_likelihood:.3f}   by {found.samples} importance samples each",
        ]


def evaluate(
    detector: Detector,
    data: Path,
    labels: str | None,
    form: TableFormat,
    *,
    adaptive: bool = False,
    point_adjusted: bool = False,
    report: Path | None = None,
    force: bool = False,
) -> Evaluation:
    """Score labelled data and compare. No threshold is chosen here: the one in the model file is judged.

    Parameters
    ----------
    data : a CSV, or for a detector of images a folder in which the images of the folder "good" are normal; of one laid
        out like MVTec its folder "test" is taken, and the masks in "ground_truth"
    labels : name of a column of `data` with 0 for normal and 1 for anomalous rows, or the path of a CSV with one
        such column and a row for each row of `data`; None for images
    adaptive : measure the verdicts of a threshold that follows the data, not those of the one that was shipped
    point_adjusted : also the flattering figures that papers compare, for ordered data
    report : an HTML page to write, NAME.html, replaced only with `force`

    Raises
    ------
    InputError
        when the labels are missing, not 0 and 1, of another length, or all the same; when `point_adjusted` is asked of
        data without an order, or the report cannot be written
    """
    if point_adjusted and not is_ordered(detector.bundle):
        raise InputError(
            f"point-adjusted figures are for events of ordered data, and this model scores {detector.bundle.kind} "
            "without an order: windows, or rows trained with time stamps, have one"
        )
    if report is not None:
        check_suffix(report, ".html")
    with nullcontext() if report is None else text_written_aside(report, force=force) as page:
        labelled = score_labelled(detector, data, labels, form, adaptive=adaptive)
        evaluation = judge(detector, labelled, adaptive=adaptive, point_adjusted=point_adjusted)
        if page is not None:
            page.write(render(detector, labelled, evaluation, data_name=data.name))
    return evaluation


def judge(
    detector: Detector, labelled: Labelled, *, adaptive: bool = False, point_adjusted: bool = False
) -> Evaluation:
    """All the figures of data that has been scored."""
    bundle, kept = detector.bundle, labelled.scored
    truth, alarm = labelled.truth[kept], labelled.alarm[kept]
    random = np.random.default_rng(0).random(len(labelled.truth))
    scores: dict[str, NDArray[Any]] = {"detector": labelled.score, "z_score": labelled.z_score, "random": random}
    ordered = is_ordered(bundle)
    buffer_rows = default_buffer(labelled.truth) if ordered else None
    rankings = {name: _rank(labelled, score, buffer_rows) for name, score in scores.items()}
    return Evaluation(
        rows=len(kept),
        scored=int(kept.sum()),
        anomalous=int(truth.sum()),
        promised_false_alarm_rate=bundle.calibration.far,
        promised_range=(bundle.calibration.far_low, bundle.calibration.far_high),
        **rankings,
        at_threshold=_at_threshold(truth, alarm),
        promise=check_promise(bundle, truth, labelled.score[kept], alarm),
        events=_events(labelled) if ordered else None,
        log_likelihood=log_likelihood(detector, labelled),
        kind=bundle.kind,
        adaptive=adaptive,
        curves={name: trace_curves(truth, scores[name][kept]) for name in ("detector", "z_score")},
        vus_buffer_rows=buffer_rows,
        point_adjusted=_point_adjusted(labelled) if point_adjusted else None,
        pixels=judge_pixels(detector, labelled),
    )


def _rank(labelled: Labelled, score: NDArray[np.floating], buffer_rows: int | None) -> Ranking:
    truth, known = labelled.truth[labelled.scored], score[labelled.scored]
    areas = float(roc_auc_score(truth, known)), float(average_precision_score(truth, known))
    if buffer_rows is None:
        return Ranking(*areas)
    # The places of rows in time count here, so none is left out: one without a score ranks lowest, as it never alarms.
    everywhere = np.where(labelled.scored, score, known.min())
    return Ranking(*areas, *volumes(labelled.truth, everywhere, buffer_rows=buffer_rows))


def trace_curves(truth: NDArray[np.bool_], score: NDArray[np.floating]) -> Curves:
    """The ROC and the precision-recall curve of scores (rows,), thinned."""
    false_alarms, recall, _ = roc_curve(truth, score)
    precision, recall_by_precision, _ = precision_recall_curve(truth, score)
    return Curves(_thinned(false_alarms, recall), _thinned(recall_by_precision[::-1], precision[::-1]))


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Points at even distances along a curve, both ends among them."""
    way = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], min(CURVE_POINTS, len(x)))))
    return tuple(zip(x[kept].round(6).tolist(), y[kept].round(6).tolist(), strict=True))


def _at_threshold(truth: NDArray[np.bool_], alarm: NDArray[np.bool_]) -> AtThreshold:
    return AtThreshold(
        precision=float(truth[alarm].mean()) if alarm.any() else None,
        recall=float(alarm[truth].mean()),
        false_alarm_rate=float(alarm[~truth].mean()),
        f1=float(2 * (truth & alarm).sum() / (truth.sum() + alarm.sum())),
    )


def check_promise(
    bundle: Bundle, truth: NDArray[np.bool_], score: NDArray[np.float32], alarm: NDArray[np.bool_]
) -> PromiseCheck:
    """The promise on scored inputs in their order: their labels, scores and alarms, all (inputs,)."""
    calibration = bundle.calibration
    whole, normal = (DriftMonitor(calibration, bundle.data.period_s) for _ in range(2))
    over = score > calibration.threshold
    whole.push(over)
    normal.push(over[~truth])
    in_range = calibration.far_low <= alarm[~truth].mean() <= calibration.far_high
    return PromiseCheck(bool(in_range), whole.first_report, normal.first_report is not None)


def _point_adjusted(labelled: Labelled) -> PointAdjusted:
    def adjusted(alarm: NDArray[np.bool_]) -> AtThreshold:
        return _at_threshold(truth, point_adjust(labelled.truth, alarm)[labelled.scored])

    truth = labelled.truth[labelled.scored]
    found = adjusted(labelled.alarm)
    generator = np.random.default_rng(0)
    coins: list[float] = []
    for _ in range(_COINS):
        coin = np.zeros_like(labelled.alarm)
        coin[labelled.scored] = generator.permutation(labelled.alarm[labelled.scored])
        coins.append(adjusted(coin).f1)
    return PointAdjusted(found.precision, found.recall, found.f1, float(np.mean(coins)))


def _events(labelled: Labelled) -> Events:
    return count_events(labelled.truth, labelled.alarm, labelled.times, normal_days=_normal_days(labelled))


def _normal_days(labelled: Labelled) -> float | None:
    """How long the normal rows with a score lasted, by the median step of the time stamps; None without any."""
    if labelled.times is None:
        return None
    period_s = period_of(labelled.times) or 0.0
    return int((labelled.scored & ~labelled.truth).sum()) * period_s / 86400 or None
