"""Every query of every panel, asked as Grafana would ask a real Prometheus that has watched a served detector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from drawn import Asked, asked, filled_in
from watched import History, watched_prometheus

from vae_detect.runtime.monitoring.panels import Query
from vae_detect.runtime.monitoring.states import state

SILENT = {"mark Reloads"}
"""What shows nothing in this history: no model was loaded again, and that is what it marks."""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    with watched_prometheus(tmp_path_factory.mktemp("watched")) as found:
        yield found


def answer(history: History, query: Asked) -> list[dict[str, Any]]:
    """What Grafana gets with all of the history on the screen."""
    promql = filled_in(query.promql, model="pump", rate_interval="1m", shown="95m")
    if query.is_instant:
        return history.query(promql, history.end)
    return history.query_range(promql, history.start, history.end, 15)


def values(series: dict[str, Any]) -> list[str]:
    """Those that are numbers."""
    found = series["values"] if "values" in series else [series["value"]]
    return [value for _, value in found if value != "NaN"]


def test_every_query_of_every_panel_finds_data(history: History) -> None:
    silent = {
        f"{query.dashboard}: {query.panel}: {query.promql}"
        for query in asked()
        if not any(map(values, answer(history, query))) and query.panel not in SILENT
    }
    assert silent == set()


def test_the_state_of_a_machine_follows_its_fault(history: History) -> None:
    expr = Query(expr=state("instance"), legend="").promql

    def at(when: float, model: str) -> str:
        (found,) = history.query(filled_in(expr, model=model, rate_interval="1m", shown="95m"), when)
        number: str = found["value"][1]
        return number

    middle = (history.fault_start + history.fault_end) / 2
    assert [at(when, "pump") for when in (history.fault_start, middle, history.end)] == ["0", "1", "0"]
    assert [at(when, "booster") for when in (history.fault_start, middle, history.end)] == ["0", "0", "0"]
