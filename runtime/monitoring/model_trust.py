"""Of one model: whether its promise holds, how far its columns have moved, and what its network makes of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .panels import COLUMNS, HIGH, LOW, Panel, Query, Step, quantiles
from .states import ALLOWED

if TYPE_CHECKING:
    from .facts import Facts


def realised() -> Panel:
    """The alarm rate in the range that was promised."""
    low, high = "promised at least", "promised at most"
    return Panel(
        title="Alarm rate beside the promise",
        description="The share of recent rows over the threshold, by the score alone, and the range that was promised "
        "for a healthy machine (shaded). 0 until enough rows for a first estimate have come.",
        kind="lines",
        unit="ratio",
        least=0,
        queries=(
            Query(expr="max by (instance) (vae_detect_alarm_ratio{@model})", legend="{{instance}}"),
            Query(
                expr=f"max({ALLOWED})",
                legend=high,
                colour="green",
                dashed=True,
                fill_to=low,
            ),
            Query(
                expr="min(vae_detect_expected_false_alarm_ratio_low{@model})", legend=low, colour="green", dashed=True
            ),
        ),
        width=12,
        height=8,
    )


def evidence() -> Panel:
    """How near the promise is to being reported as broken."""
    return Panel(
        title="Evidence against the promise",
        description="How much the alarms speak against the promised rate, from 0 to 1; at 1 the calibration is "
        "reported as off. A fault raises it and it falls again; drift carries it to the line.",
        kind="lines",
        unit="ratio",
        least=0,
        most=1,
        queries=(Query(expr="max by (instance) (vae_detect_drift_evidence{@model})", legend="{{instance}}"),),
        steps=(Step(None, "transparent"), Step(1, "purple")),
        width=12,
        height=8,
    )


def drift(facts: Facts | None) -> tuple[Panel, ...]:
    """How far each column is from the training data, in mean and in spread."""
    known = f" In units of the recording, 1 is: {'; '.join(facts.columns)}." if facts else ""
    return (
        Panel(
            title="Mean of each column",
            description="How far the recent mean of each column is from that of the training data, in standard "
            f"deviations of the training data; over several instances their average. `other` is the largest of the "
            f"rest.{known}",
            kind="lines",
            unit="deviations",
            legend_table=True,
            queries=(Query(expr="avg by (column) (vae_detect_column_shift{@model})", legend="{{column}}"),),
            width=12,
            height=9,
        ),
        Panel(
            title="Spread of each column",
            description="The recent standard deviation of each column over that of the training data: 1 is as it was. "
            "Near 0, a sensor is stuck.",
            kind="lines",
            unit="times",
            least=0,
            legend_table=True,
            queries=(Query(expr="avg by (column) (vae_detect_column_spread_ratio{@model})", legend="{{column}}"),),
            width=12,
            height=9,
        ),
    )


def inside(facts: Facts | None) -> tuple[Panel, ...]:
    """What a score is made of, as far as the recipe has it."""
    only = "" if facts else " Only variational recipes have it."
    known = {
        "reconstruction_error": (
            "Reconstruction error",
            "How badly the network rebuilds its input, nats: high where a row is unlike the recording.",
            HIGH,
        ),
        "kl": (
            "KL divergence",
            "How far the code of a row is from what the prior expects, nats: high where the mixture of causes is "
            f"unusual, though the row can be rebuilt.{only}",
            HIGH,
        ),
        "elbo": (
            "ELBO",
            f"A lower bound of the log-likelihood of a row, nats: low where a row is unlikely.{only}",
            LOW,
        ),
    }
    shown = [term for term in known if facts is None or term in facts.terms]
    return tuple(
        Panel(
            title=known[term][0],
            description=known[term][1],
            kind="lines",
            unit="nats",
            queries=quantiles(f"vae_detect_{term}", known[term][2]),
            width=COLUMNS // len(shown),
            height=8,
        )
        for term in shown
    )
