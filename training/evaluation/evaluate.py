"""How good a detector is on labelled data: ranking, and what happens at the threshold that was shipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from ...runtime.alarms.rule import AlarmRule
from ...runtime.bundle import Bundle, is_ordered
from ...runtime.detector import Detector
from ...runtime.errors import InputError, few
from ...runtime.layout import Layout
from ...runtime.output import check_suffix, text_written_aside
from ...runtime.rows.table_files import name_of
from ...runtime.rows.times import clock_of
from .event_figures import Events, PointAdjusted, count_events, point_adjust
from .figures import CURVE_POINTS, AtThreshold, Curve, Curves, Evaluation, Ranking
from .labelled import AlarmEvent, Labelled, score_labelled
from .promise import NormalOnly, check_promise, judge_normal
from .regions import judge_pixels
from .vus import default_buffer, volumes

if TYPE_CHECKING:
    from numpy.typing import NDArray


# What takes seconds to import is imported where the data has been scored: a wrong file need not wait for it.

_COINS = 20
"""Draws over which the figures of a coin are averaged."""


def evaluate(
    detector: Detector,
    data: Path | Sequence[Path],
    labels: str | None,
    layout: Layout,
    *,
    anomalous: Sequence[str] = (),
    normal: Sequence[str] = (),
    adaptive: bool = False,
    fdr: float | None = None,
    rule: AlarmRule | None = None,
    point_adjusted: bool = False,
    report: Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Evaluation | NormalOnly:
    """Score labelled data and compare. No threshold is chosen here: the one in the model file is judged.

    Of data that is all normal there is nothing to compare, but whether the promised rate was kept.

    Parameters
    ----------
    data : tables, as `find_tables` finds them, each a recording of its own; or of images a folder in which those of the
        folder "good" are normal; of one like MVTec's its folder "test" is taken, and the masks in "ground_truth"
    labels : which rows are anomalous, as `labels.origin.read_labels` takes it; of images None, or "none" for none
    anomalous : labels that are anomalies, all others being normal; empty to go by what they mean
    normal : names of the folders of normal images; empty for `labelled.NORMAL_FOLDER`
    adaptive, fdr : measure the verdicts of a threshold that follows the data, not those of the one that was shipped
    rule : when alarms are an event; by default each unbroken run of them
    point_adjusted : also the flattering figures that papers compare, for ordered data
    report : an HTML page to write, NAME.html, replaced only with `force`

    Raises
    ------
    InputError
        when the labels cannot be used, or all are anomalous; `point_adjusted` is asked of data without an order, it or
        the report of data that is all normal; or the report cannot be written
    """
    _refuse_unordered(detector.bundle, asked=point_adjusted)
    with _opened(report, force=force) as page:
        how = {"anomalous": anomalous, "normal": normal}
        labelled = score_labelled(detector, data, labels, layout, adaptive=adaptive, fdr=fdr, rule=rule, say=say, **how)
        adaptive = adaptive or fdr is not None
        if not labelled.truth[labelled.scored].any():
            _refuse_normal(data, asked=page is not None or point_adjusted)
            return judge_normal(detector.bundle, labelled, _events(detector, labelled), adaptive=adaptive)
        evaluation = judge(detector, labelled, adaptive=adaptive, point_adjusted=point_adjusted)
        if page is not None:
            _write_report(page, detector, labelled, evaluation, _name(data))
    return evaluation


def _opened(report: Path | None, *, force: bool) -> AbstractContextManager[TextIO | None]:
    if report is None:
        return nullcontext()
    check_suffix(report, ".html")
    return text_written_aside(report, force=force)


def _write_report(page: TextIO, detector: Detector, labelled: Labelled, evaluation: Evaluation, name: str) -> None:
    from .report import page as report_page

    page.write(report_page(detector, labelled, evaluation, data_name=name))


def _name(data: Path | Sequence[Path]) -> str:
    return few([path.name for path in ([data] if isinstance(data, Path) else data)], 3)


def _refuse_normal(data: Path | Sequence[Path], *, asked: bool) -> None:
    if asked:
        raise InputError(f"{name_of(data)}: all of it is normal; --report and --point-adjust need anomalies")


def _refuse_unordered(bundle: Bundle, *, asked: bool) -> None:
    if asked and not is_ordered(bundle.kind, bundle.data):
        raise InputError(
            f"point-adjusted figures are for events of ordered data, and this model scores {bundle.kind} without an "
            "order: windows, or rows trained with time stamps, have one"
        )


def judge(
    detector: Detector, labelled: Labelled, *, adaptive: bool = False, point_adjusted: bool = False
) -> Evaluation:
    """All the figures of data that has been scored."""
    from .importance import log_likelihood

    bundle, kept = detector.bundle, labelled.scored
    truth, alarm = labelled.truth[kept], labelled.alarm[kept]
    random = np.random.default_rng(0).random(len(labelled.truth))
    scores: dict[str, NDArray[Any]] = {"detector": labelled.score, "z_score": labelled.z_score, "random": random}
    ordered = is_ordered(bundle.kind, bundle.data)
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
        promise=check_promise(
            bundle, truth, labelled.score[kept], labelled.by_score(bundle.calibration.threshold)[kept]
        ),
        events=_events(detector, labelled),
        log_likelihood=log_likelihood(detector, labelled),
        kind=bundle.kind,
        adaptive=adaptive,
        curves={name: trace_curves(truth, scores[name][kept]) for name in ("detector", "z_score")},
        vus_buffer_rows=buffer_rows,
        point_adjusted=_point_adjusted(labelled) if point_adjusted else None,
        pixels=judge_pixels(detector, labelled),
    )


def _rank(labelled: Labelled, score: NDArray[np.floating], buffer_rows: int | None) -> Ranking:
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth, known = labelled.truth[labelled.scored], score[labelled.scored]
    areas = float(roc_auc_score(truth, known)), float(average_precision_score(truth, known))
    if buffer_rows is None:
        return Ranking(*areas)
    # The places of rows in time count here, so none is left out: one without a score ranks lowest, as it never alarms.
    everywhere = np.where(labelled.scored, score, known.min())
    return Ranking(*areas, *volumes(labelled.truth, everywhere, buffer_rows=buffer_rows))


def trace_curves(truth: NDArray[np.bool_], score: NDArray[np.floating]) -> Curves:
    """The ROC and the precision-recall curve of scores (rows,), thinned."""
    from sklearn.metrics import precision_recall_curve, roc_curve

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


def _events(detector: Detector, labelled: Labelled) -> Events | None:
    """None for rows without an order."""
    if not is_ordered(detector.bundle.kind, detector.bundle.data):
        return None
    # A row of nothing between two recordings: no event reaches from one into the next.
    begins = np.array(labelled.begins, np.int64)
    told = [AlarmEvent(*(row + int(np.searchsorted(begins, row, "right")) for row in each)) for each in labelled.events]
    truth, alarm = (np.insert(flags, labelled.begins, False) for flags in (labelled.truth, labelled.alarm))
    times = None if labelled.times is None else np.insert(labelled.times, labelled.begins, np.nan)
    return count_events(truth, alarm, told, times, normal_days=_normal_days(labelled))


def _normal_days(labelled: Labelled) -> float | None:
    """How long the normal rows with a score lasted, by the period of the time stamps; None without any."""
    if labelled.times is None:
        return None
    clock = clock_of(labelled.times)
    if clock is None:
        return None
    return int((labelled.scored & ~labelled.truth).sum()) * clock.period_s / 86400 or None
