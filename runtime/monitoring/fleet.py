"""The dashboard of all machines: how many are well, which are not, and what to look at first."""

from __future__ import annotations

from .panels import COLUMNS, INSTANCE, JOB, MODEL, Dashboard, Name, Panel, Query, Row, Step
from .states import AGE, ALLOWED, SILENT_S, STATES, count_in, state

FLEET = "vae-detect-fleet"

_BY = "job, instance, model"
_RATE = (
    f"sum by ({_BY}) (rate(vae_detect_anomalies_total{{@model}}[1h]))"
    f" / sum by ({_BY}) (rate(vae_detect_rows_scored_total{{@model}}[1h]))"
)
_PROMISED = f"max by ({_BY}) (vae_detect_expected_false_alarm_ratio{{@model}})"
_AGE = f"max by ({_BY}) ({AGE})"
_MEANINGS = {
    0: "nothing to report",
    1: "more than ten times as many anomalies as promised, in the last hour and still",
    2: "so many anomalies, for so long, that the promised rate no longer holds",
    3: f"not a row for {SILENT_S // 60} minutes",
    4: "the service answers, its model cannot",
    5: "Prometheus cannot reach the service",
}
_AGES = (Step(None, "green"), Step(60, "yellow"), Step(SILENT_S, "red"))


def fleet(model_uid: str) -> Dashboard:
    """The dashboard, whose table leads to the one of a model with this uid."""
    counts = tuple(_count(each, _MEANINGS[each.value]) for each in STATES)
    return Dashboard(
        uid=FLEET,
        title="vae-detect: fleet",
        description="Every machine that is watched: how it is now, how often it is anomalous beside what was promised, "
        "and how long ago it was heard of.",
        variables=(JOB, INSTANCE, MODEL),
        rows=(Row("", (*counts, _states(), _ages(), _worst(model_uid), _rates())),),
    )


def _count(state: Name, meaning: str) -> Panel:
    return Panel(
        title=state.text.capitalize(),
        description=f"Machines: {meaning}. Each counts once, in the worst state that is true of it.",
        kind="number",
        unit="number",
        decimals=0,
        steps=(Step(None, "text"), Step(1, state.colour)),
        queries=(Query(expr=count_in(state.value), legend=state.text),),
        width=COLUMNS // len(STATES),
        height=4,
    )


def _states() -> Panel:
    return Panel(
        title="Each machine over time",
        description="The state of each machine, of its worst model. A red stretch is a fault, or a machine that has "
        "changed; a purple one asks for a newer recording to train with.",
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
            legend="Evidence",
            unit="ratio",
            steps=_over(0.5, 1),
        ),
        Query(expr=_AGE, legend="Last row", unit="seconds", steps=_AGES),
    )
    return Panel(
        title="Worst models of the last hour",
        description="How often each model found an anomaly in the last hour, over how often it promised to on a "
        "healthy machine: around 1 is what was promised. Evidence: of the calibration being off, at 100 % it is. The "
        "link opens the model.",
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
        height=8,
    )


def _over(warning: float, bad: float) -> tuple[Step, ...]:
    return Step(None, "green"), Step(warning, "yellow"), Step(bad, "red")


def _rates() -> Panel:
    rate = (
        "sum by (model, instance) (rate(vae_detect_anomalies_total{@model}[$__rate_interval]))"
        " / sum by (model, instance) (rate(vae_detect_rows_scored_total{@model}[$__rate_interval]))"
    )
    promised = f"max by (model) ({ALLOWED})"
    return Panel(
        title="Anomaly rate beside the promise",
        description="Anomalous rows as a share of the scored ones, of each machine (whole lines), and the most that "
        "the promised range of the model allows (dashed).",
        kind="lines",
        unit="ratio",
        least=0,
        queries=(
            Query(expr=rate, legend="{{model}} on {{instance}}"),
            Query(expr=promised, legend="{{model}}, promised at most", dashed=True),
        ),
        width=24,
        height=8,
    )
