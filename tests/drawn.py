"""The dashboards as whoever draws them sees them: every query, and what stands for the variables in it."""

from __future__ import annotations

from typing import NamedTuple

from vae_detect.runtime.monitoring.formats import all_dashboards
from vae_detect.runtime.monitoring.panels import Dashboard

DASHBOARDS = all_dashboards([])
"""Those that are ready in deploy/grafana/, by name."""


class Asked(NamedTuple):
    """A query of a panel, or of what is marked in all of them."""

    dashboard: str
    panel: str
    promql: str
    legend: str
    is_instant: bool


def asked(dashboards: dict[str, Dashboard] = DASHBOARDS) -> list[Asked]:
    """Every query of these dashboards."""
    of_panels = [
        Asked(name, panel.title, query.promql, query.legend, panel.is_instant)
        for name, dashboard in dashboards.items()
        for panel in dashboard.panels
        for query in panel.queries
    ]
    of_marks = [
        Asked(name, f"mark {mark.name}", mark.promql, mark.text, False)
        for name, dashboard in dashboards.items()
        for mark in dashboard.marks
    ]
    return of_panels + of_marks


def filled_in(promql: str, *, model: str, rate_interval: str, shown: str) -> str:
    """The query as it is sent: of all jobs and instances, and this model."""
    values = {
        "$job": ".+",
        "$instance": ".+",
        "$model": model,
        "$__rate_interval": rate_interval,
        "$__range": shown,
    }
    for variable, value in values.items():
        promql = promql.replace(variable, value)
    assert "$" not in promql
    return promql
