"""The dashboard of all machines: how many are well, which are not, and what to look at first."""

from __future__ import annotations

from .panels import INSTANCE, JOB, MODEL, Dashboard, Panel, Query, Row, Step
from .states import AGE, ALLOWED, NO_DATA_S, STATES, count_in, state

FLEET = "vae-detect-fleet"

_BY = "job, instance, model"
_RATE = (
    f"sum by ({_BY}) (rate(vae_detect_anomalies_total{{@model}}[1h]))"
    f" / sum by ({_BY}) (rate(vae_detect_rows_scored_total{{@model}}[1h]))"
)
_PROMISED = f"max by ({_BY}) (vae_detect_expected_false_alarm_ratio{{@model}})"
_AGE = f"max by ({_BY}) ({AGE})"
_AGES = (Step(None, "green"), Step(60, "yellow"), Step(NO_DATA_S, "red"))


def fleet(model_uid: str) -> Dashboard:
    """The dashboard, whose table leads to the one of a model with this uid."""
    return Dashboard(
        uid=FLEET,
        title="vae-detect: fleet",
        description="Every machine that is watched: how it is now, how often it is anomalous beside what was promised, "
        "and how long ago it was heard of.",
        variables=(JOB, INSTANCE, MODEL),
        rows=(Row("", (_counts(), _states(), _ages(), _worst(model_uid), _rates())),),
    )


def _counts() -> Panel:
    return Panel(
        title="Machines by state",
        description="Each machine counts once, in the worst state that is true of it. Anomalies: more than "
        "ten times as many as the promise allows, in the last hour and still. Calibration off: so many, for so long, "
        f"that the promise no longer holds. No data: no row for {NO_DATA_S // 60} minutes. Not ready: the "
        "service answers, its model cannot. Down: Prometheus cannot reach it.",
        kind="numbers",
        unit="number",
        decimals=0,
        queries=tuple(
            Query(expr=count_in(each.value), legend=each.text.capitalize(), colour=each.colour) for each in STATES
        ),
        width=24,
        height=4,
    )


def _states() -> Panel:
    return Panel(
        title="Each machine over time",
        description="The state of each machine, of its worst model. A short red stretch is a fault or a false alarm; a "
        "long purple one asks for a newer recording to train with.",
        kind="states",
        unit="state",
        names=STATES,
        queries=(Query(expr=state("job, instance"), legend="{{instance}}"),),
        width=15,
        height=9,
    )


def _ages() -> Panel:
    return Panel(
        title="Longest without a row",
        description="Time since the last row of each model, the ten longest; since the model was loaded where none "
        "ever came. A machine that is silent is not a machine that is well.",
        kind="ranking",
        unit="seconds",
        steps=_AGES,
        least=0,
        queries=(Query(expr=f"topk(10, {_AGE})", legend="{{model}} on {{instance}}"),),
        width=9,
        height=9,
    )


def _worst(model_uid: str) -> Panel:
    columns = (
        Query(expr=f"{_RATE} / {_PROMISED}", legend="Times the promise", unit="times", steps=_over(3, 10)),
        Query(expr=_RATE, legend="Anomaly rate", unit="ratio"),
        Query(expr=_PROMISED, legend="Promised", unit="ratio"),
        Query(
            expr=f"sum by ({_BY}) (increase(vae_detect_events_started_total{{@model}}[1h]))",
            legend="Events",
            unit="number",
        ),
        Query(
            expr=f"max by ({_BY}) (vae_detect_drift_evidence{{@model}})",
            legend="Evidence against the promise",
            unit="ratio",
            steps=_over(0.5, 1),
        ),
        Query(expr=_AGE, legend="Last row", unit="seconds", steps=_AGES),
    )
    return Panel(
        title="Worst models of the last hour",
        description="How often each model found an anomaly in the last hour, over how often it promised to on a "
        "healthy machine: around 1 is what was promised. The link opens the model.",
        kind="table",
        unit="number",
        labels=(("model", "Model"), ("instance", "Instance"), ("job", "Job")),
        queries=columns,
        sorted_by="Times the promise",
        link=(
            "Model",
            f"/d/{model_uid}?${{datasource:queryparam}}&var-job=${{__data.fields.Job}}"
            "&var-instance=${__data.fields.Instance}&var-model=${__data.fields.Model}&${__url_time_range}",
        ),
        width=24,
        height=9,
    )


def _over(warning: float, bad: float) -> tuple[Step, ...]:
    return Step(None, "green"), Step(warning, "yellow"), Step(bad, "red")


def _rates() -> Panel:
    rate = (
        "sum by (model) (rate(vae_detect_anomalies_total{@model}[$__rate_interval]))"
        " / sum by (model) (rate(vae_detect_rows_scored_total{@model}[$__rate_interval]))"
    )
    promised = f"max by (model) ({ALLOWED})"
    return Panel(
        title="Anomaly rate beside the promise",
        description="Anomalous rows as a share of the scored ones, of each model on all machines (whole lines), and "
        "the most that its promised range allows (dashed).",
        kind="lines",
        unit="ratio",
        least=0,
        queries=(
            Query(expr=rate, legend="{{model}}"),
            Query(expr=promised, legend="{{model}}, promised at most", dashed=True),
        ),
        width=24,
        height=8,
    )
