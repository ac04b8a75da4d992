"""How a machine is, as one number that PromQL works out; the lines are those of deploy/rules.yml."""

from __future__ import annotations

from .panels import Name

SILENT_S = 600
"""Without a row for so long, a machine counts as silent; as in the alert VaeDetectNoData."""

STATES = (
    Name(0, "fine", "green"),
    Name(1, "anomalies", "red"),
    Name(2, "calibration off", "purple"),
    Name(3, "silent", "blue"),
    Name(4, "not ready", "yellow"),
    Name(5, "down", "orange"),
)
"""From good to bad; a machine is in the last one that is true of it."""

ALLOWED = (
    "(vae_detect_expected_false_alarm_ratio_high{@model} >= vae_detect_expected_false_alarm_ratio{@model}"
    " or vae_detect_expected_false_alarm_ratio{@model})"
)
"""The most that a promise allows: a calibration of a few rows can have an upper end below the promise itself."""

AGE = "min without (source) (vae_detect_last_input_age_seconds{@model})"
"""Seconds since the last row of a model, from wherever it came."""

_KNOWN = "and on (job) last_over_time(vae_detect_ready{@service}[1d])"
"""Of a job that had one of our services within the last day: `up` exists for everything that Prometheus watches."""

_LINE = f"clamp_max(10 * {ALLOWED}, 0.5)"

_BURST = (
    f"rate(vae_detect_anomalies_total{{@model}}[1h]) > {_LINE} * rate(vae_detect_rows_scored_total{{@model}}[1h])"
    f" and rate(vae_detect_anomalies_total{{@model}}[5m]) > {_LINE} * rate(vae_detect_rows_scored_total{{@model}}[5m])"
    " and increase(vae_detect_anomalies_total{@model}[1h]) >= 5"
)
"""What the alert VaeDetectAnomalyBurst fires on."""


def state(by: str) -> str:
    """The number in `STATES` of everything that these labels tell apart, of its worst model."""
    conditions = {
        5: f"up{{@service}} == 0 {_KNOWN}",
        4: "vae_detect_ready{@service} == 0",
        3: f"{AGE} > {SILENT_S}",
        2: "vae_detect_calibration_holds{@model} == 0",
        1: _BURST,
        0: "vae_detect_ready{@service}",
    }
    return " or ".join(f"{number} * group by ({by}) ({condition})" for number, condition in conditions.items())


def count_in(number: int) -> str:
    """How many machines are in this state."""
    return f"count(({state('job, instance')}) == {number}) or vector(0)"
