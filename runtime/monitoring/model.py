"""The dashboard of one model: is the machine well, which column is to blame, and can the alarms be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model_trust import drift, evidence, inside, realised
from .panels import HIGH, INSTANCE, JOB, Dashboard, Mark, Name, Panel, Query, Row, Step, one_model, quantiles
from .states import AGE, ALLOWED, SILENT_S, STATES, state

if TYPE_CHECKING:
    from .facts import Facts

MODEL_UID = "vae-detect-model"


_RANGE = "[$__range]"
"""All that is shown: where one number sums it up."""


def model(facts: Facts | None, uid: str) -> Dashboard:
    """The dashboard; with the facts of a model made to its measure, without for whichever is chosen."""
    return Dashboard(
        uid=uid,
        title=f"vae-detect: {facts.name if facts else 'model'}",
        description="One model: whether the machine is well, which columns are to blame when it is not, whether rows "
        "can be scored, and whether the promised false-alarm rate still holds.",
        variables=(JOB, INSTANCE, one_model(facts.name if facts else "")),
        rows=_rows(facts),
        marks=(
            Mark(
                "Events",
                "sum by (model, instance) (increase(vae_detect_events_started_total{@model}[$__rate_interval])) > 0",
                "an event began on {{instance}}",
                "red",
            ),
            Mark(
                "Reloads",
                'sum by (model, instance) (increase(vae_detect_model_reloads_total{@model, result="ok"}'
                "[$__rate_interval])) > 0",
                "another version was loaded on {{instance}}",
                "blue",
            ),
        ),
    )


def _rows(facts: Facts | None) -> tuple[Row, ...]:
    rows = (
        Row("", (*_headlines(), _ratios(), _severities(), _blamed(), _unscored())),
        Row("Does the promise hold?", (realised(), evidence())),
        Row("How far the columns have moved", drift(facts), folded=True),
        Row("Inside the network", inside(facts), folded=True),
    )
    return tuple(row for row in rows if row.panels)


def _headlines() -> tuple[Panel, ...]:
    return _state_now(), _anomaly_rate(), _promised(), _events(), _calibration(), _last_row()


def _state_now() -> Panel:
    return Panel(
        title="State now",
        description="Of the worst instance. Anomalies: more than ten times as many as the promise allows, in the "
        f"last hour and still. Silent: no row for {SILENT_S // 60} minutes.",
        kind="number",
        unit="state",
        names=STATES,
        queries=(Query(expr=f"max({state('job, instance')})", legend="state"),),
        width=4,
        height=4,
    )


def _anomaly_rate() -> Panel:
    rate = (
        f"sum(increase(vae_detect_anomalies_total{{@model}}{_RANGE}))"
        f" / sum(increase(vae_detect_rows_scored_total{{@model}}{_RANGE}))"
    )
    return Panel(
        title="Anomaly rate",
        description="Anomalous rows as a share of the scored ones, in all of the time shown.",
        kind="number",
        unit="ratio",
        queries=(Query(expr=rate, legend="rate"),),
        steps=(Step(None, "blue"),),
        width=4,
        height=4,
    )


def _promised() -> Panel:
    return Panel(
        title="Promised at most",
        description="The largest anomaly rate that the promise of the model allows on a healthy machine: the upper end "
        "of its honest range.",
        kind="number",
        unit="ratio",
        empty="no model",
        queries=(Query(expr=f"max({ALLOWED})", legend="promised"),),
        steps=(Step(None, "blue"),),
        width=4,
        height=4,
    )


def _events() -> Panel:
    return Panel(
        title="Events",
        description="Unbroken runs of anomalous rows that began in the time shown. One fault is one event or a "
        "few, however many rows it lasts.",
        kind="number",
        unit="number",
        decimals=0,
        queries=(Query(expr=f"sum(increase(vae_detect_events_started_total{{@model}}{_RANGE}))", legend="events"),),
        steps=(Step(None, "blue"),),
        width=4,
        height=4,
    )


def _calibration() -> Panel:
    return Panel(
        title="Calibration",
        description="Whether the promised false-alarm rate still holds. Off: far more anomalies than promised, for "
        "longer than a fault lasts. If the machine is well, train again with a newer recording.",
        kind="number",
        unit="state",
        names=(Name(1, "holds", "green"), Name(0, "off", "purple")),
        empty="no model",
        queries=(Query(expr="min(vae_detect_calibration_holds{@model})", legend="calibration"),),
        width=4,
        height=4,
    )


def _last_row() -> Panel:
    return Panel(
        title="Last row",
        description="Time since the last row came, of the instance that waits longest.",
        kind="number",
        unit="seconds",
        empty="no model",
        queries=(Query(expr=f"max({AGE})", legend="age"),),
        steps=(Step(None, "green"), Step(60, "yellow"), Step(SILENT_S, "red")),
        width=4,
        height=4,
    )


def _ratios() -> Panel:
    return Panel(
        title="Score over threshold",
        description="Scores divided by the threshold: above 1, the red line, a row is an anomaly. A median that creeps "
        "up over days is drift; a sudden step is a fault. Red marks: an event began.",
        kind="lines",
        unit="times",
        logarithmic=True,
        queries=quantiles("vae_detect_score_threshold_ratio", HIGH),
        steps=(Step(None, "transparent"), Step(1, "red")),
        width=15,
        height=9,
    )


def _severities() -> Panel:
    def at_most(ratio: str) -> str:
        return f'sum(rate(vae_detect_score_threshold_ratio_bucket{{@model, le="{ratio}"}}[$__rate_interval]))'

    all_rows = "sum(rate(vae_detect_score_threshold_ratio_count{@model}[$__rate_interval]))"
    bands = {
        "up to 1.5 times": (at_most("1.5"), at_most("1.0"), "yellow"),
        "1.5 to 2 times": (at_most("2.0"), at_most("1.5"), "orange"),
        "2 to 5 times": (at_most("5.0"), at_most("2.0"), "red"),
        "more than 5 times": (all_rows, at_most("5.0"), "dark-red"),
    }
    return Panel(
        title="How far over the threshold",
        description="Rows whose score is over the threshold, a second, by how many times it is the threshold. Yellow "
        "ones alone are what false alarms look like.",
        kind="bars",
        unit="rows/s",
        least=0,
        queries=tuple(
            Query(expr=f"{more} - {less}", legend=legend, colour=colour)
            for legend, (more, less, colour) in bands.items()
        ),
        width=9,
        height=9,
    )


def _blamed() -> Panel:
    return Panel(
        title="Which columns contribute",
        description="Anomalies a second, each divided among the columns by their share of its score. `other` is what "
        "20 columns leave. Of a model with more than 640 rows a second not every anomaly is looked at.",
        kind="bars",
        unit="rows/s",
        least=0,
        legend_table=True,
        queries=(
            Query(
                expr="sum by (column) (rate(vae_detect_contribution_total{@model}[$__rate_interval]))",
                legend="{{column}}",
            ),
        ),
        width=12,
        height=9,
    )


def _unscored() -> Panel:
    received = "on () group_left () sum(rate(vae_detect_rows_received_total{@model}[$__rate_interval]))"
    return Panel(
        title="Rows without a score",
        description="As a share of the rows received. warming: the recording is shorter than a window. gap: a bad row "
        "or a jump in time within the window. late, repeated: out of order. bad: a cell is no finite number. overflow: "
        "a score beyond float32. refused: its whole request was.",
        kind="bars",
        unit="ratio",
        least=0,
        queries=(
            Query(
                expr=f"sum by (reason) (rate(vae_detect_rows_flagged_total{{@model}}[$__rate_interval])) / {received}",
                legend="{{reason}}",
            ),
            Query(
                expr="sum(rate(vae_detect_rows_refused_total{@model}[$__rate_interval]))"
                " / sum(rate(vae_detect_rows_received_total{@model}[$__rate_interval]))",
                legend="refused",
            ),
        ),
        width=12,
        height=9,
    )
