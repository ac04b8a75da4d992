"""What an evaluation finds, and how it reads on a terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import msgspec

from ...runtime.bundle import Kind
from ...runtime.describe import describe_range
from .event_figures import Events, PointAdjusted
from .regions import LARGEST_FALSE_RATE, Pixels

if TYPE_CHECKING:
    from .importance import LogLikelihood  # which loads onnx and SciPy

Curve = tuple[tuple[float, float], ...]

CURVE_POINTS = 200
"""Points of a curve that are kept, at most."""


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
    """Whether the false alarms may come of a rate in the range that was promised, by a binomial test."""
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

    def further(self) -> str:
        """The same without what the headlines of a page tell already."""
        random, what = self.random, "images" if self.kind == "images" else "rows"
        lines = [
            f"{self.rows} {what}, {self.scored} scored, of them {self.anomalous} anomalous "
            f"({self.anomalous / self.scored:.1%})",
            f"random scores       ROC-AUC {random.roc_auc:.3f}, average precision {random.average_precision:.3f}",
            f"F1                  {self.at_threshold.f1:.3f}",
            f"calibration         {self.promise.describe()}",
        ]
        if self.detector.vus_roc is not None:
            buffers = f"VUS with buffers up to {self.vus_buffer_rows} rows"
            lines.append(
                f"VUS-ROC             {self.detector.vus_roc:.3f}, z-score {self.z_score.vus_roc:.3f}; {buffers}"
            )
        lines += self._event_lines(beside_headlines=True)
        lines += [line for line in self._pixel_lines() if "AUPRO " not in line]
        return "\n".join([*lines, *self._likelihood_lines()])

    def _ranking_lines(self) -> list[str]:
        ordered = self.vus_buffer_rows is not None
        lines = [f"{'':10} {'ROC-AUC':>9} {'average precision':>19}" + f" {'VUS-ROC':>9} {'VUS-PR':>9}" * ordered]
        for name, rank in (("detector", self.detector), ("z-score", self.z_score), ("random", self.random)):
            line = f"{name:10} {rank.roc_auc:9.3f} {rank.average_precision:19.3f}"
            lines.append(line + (f" {rank.vus_roc:9.3f} {rank.vus_pr:9.3f}" if ordered else ""))
        return [*lines, f"VUS with buffers up to {self.vus_buffer_rows} rows"] if ordered else lines

    def _event_lines(self, *, beside_headlines: bool = False) -> list[str]:
        if self.events is None:
            return []
        found = self.events
        delay = ""
        if found.median_delay_rows is not None:
            seconds = "" if found.median_delay_s is None else f" ({found.median_delay_s:g} s)"
            delay = f"median delay {found.median_delay_rows:g} rows{seconds}, longest {found.max_delay_rows}"
        per_day = "" if found.false_events_per_day is None else f"{found.false_events_per_day:.3g} a day"
        counted = (("found", f"{found.found} of {found.events}", delay), ("false", f"{found.false_events}", per_day))
        lines = [(name, ", ".join(filter(None, parts[beside_headlines:]))) for name, *parts in counted]
        figures = (("precision", found.precision), ("recall", found.recall), ("F1", found.f1))
        return [
            "events",
            *(f"  {name:17} {told}" for name, told in lines if told),
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
