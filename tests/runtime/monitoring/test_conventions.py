"""What every dashboard keeps to: the rules of the field's linter of dashboards, checked by a parser of PromQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from conftest import ROOT
from drawn import DASHBOARDS, Asked, asked, filled_in
from promql_parser import Call, Expr, MatchOp, VectorSelector, parse, walk

from vae_detect.runtime.monitoring.grafana_v1 import as_grafana_v1
from vae_detect.runtime.monitoring.panels import Panel, Variable
from vae_detect.runtime.monitoring.states import STATES

RATE_INTERVAL, SHOWN = "11m", "13m"
"""Lengths that no query has by itself."""

HOUR, FIVE, ALL_SHOWN = timedelta(hours=1), timedelta(minutes=5), timedelta(minutes=13)
OTHER_WINDOWS = {
    # The two windows of the alert VaeDetectAnomalyBurst, whose line they draw.
    **{state.text.capitalize(): {HOUR, FIVE} for state in STATES},
    "Each machine over time": {HOUR, FIVE},
    "State now": {HOUR, FIVE},
    "Worst models of the last hour": {HOUR},  # a table is of one moment, and a promise needs rows to be held against
    "Anomaly rate": {ALL_SHOWN},  # one number for all that is shown
    "Events": {ALL_SHOWN},
}
"""Panels with rates over something else than $__rate_interval."""

COUNTS = ("_total", "_bucket", "_sum", "_count")
OF_RATES = ("rate", "irate", "increase")
QUERIES = asked()
PANELS = [panel for dashboard in DASHBOARDS.values() for panel in dashboard.panels]


def read(query: Asked) -> Expr:
    return parse(filled_in(query.promql, model="pump", rate_interval=RATE_INTERVAL, shown=SHOWN))


def inside(query: Asked, kind: type[Any]) -> Iterator[Any]:
    """The parts of a query that are of this kind."""
    found: list[Any] = []
    walk(read(query), found.append)
    yield from (part for part in found if isinstance(part, kind))


def selectors(query: Asked) -> list[VectorSelector]:
    return [*inside(query, VectorSelector)]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}: {query.panel}")
def test_every_selector_asks_for_the_chosen_jobs_and_instances(query: Asked) -> None:
    assert selectors(query)
    for selector in selectors(query):
        chosen = {(m.name, m.value) for m in selector.matchers.matchers if m.op == MatchOp.Re}
        assert {("job", ".+"), ("instance", ".+")} <= chosen, selector


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}: {query.panel}")
def test_the_model_is_chosen_where_it_can_be(query: Asked) -> None:
    if any(variable.name == "model" for variable in DASHBOARDS[query.dashboard].variables):
        of_models = [each for each in selectors(query) if each.name not in ("up", "vae_detect_ready")]
        assert all(("model", "pump") in {(m.name, m.value) for m in each.matchers.matchers} for each in of_models)
    else:
        assert "$model" not in query.promql


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}: {query.panel}")
def test_rates_are_over_the_interval_that_fits_the_picture(query: Asked) -> None:
    windows = {each.args[0].range for each in inside(query, Call) if each.func.name in OF_RATES}
    assert windows <= OTHER_WINDOWS.get(query.panel, {timedelta(minutes=11)})


def test_no_panel_is_excepted_that_is_not_there() -> None:
    assert OTHER_WINDOWS.keys() <= {panel.title for panel in PANELS}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}: {query.panel}")
def test_counts_are_only_asked_for_as_rates(query: Asked) -> None:
    rates = [str(each.args[0].vector_selector.name) for each in inside(query, Call) if each.func.name in OF_RATES]
    counts = [name for each in selectors(query) if (name := str(each.name)).endswith(COUNTS)]
    assert sorted(rates) == sorted(counts)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_every_panel_says_what_it_shows(panel: Panel) -> None:
    assert panel.title == panel.title.strip() != ""
    assert re.fullmatch(r"[A-Z0-9].{30,}\.", panel.description, re.DOTALL)
    assert len(panel.queries) > 0
    assert all(query.legend for query in panel.queries)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_titles_are_told_apart(name: str) -> None:
    titles = [panel.title for panel in DASHBOARDS[name].panels]
    assert len({*titles}) == len(titles)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_fill_the_width_and_do_not_overlap(name: str) -> None:
    drawn = as_grafana_v1(DASHBOARDS[name])["panels"]
    for panels in [drawn, *(panel["panels"] for panel in drawn if panel.get("panels"))]:
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len({*cells}) == len(cells)
        lines = [y for _, y in cells]
        assert {lines.count(y) for y in lines} == {24}


OF_GRAFANA = {"__rate_interval", "__range", "__data", "__url_time_range", "__all"}


def variables_in(text: str) -> set[str]:
    return {*re.findall(r"\$\{?(\w+)", text)} - OF_GRAFANA


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_is_there_and_used(name: str) -> None:
    dashboard = DASHBOARDS[name]
    there = {variable.name for variable in dashboard.variables} | {"datasource"}
    text = " ".join(query.promql for query in QUERIES if query.dashboard == name)
    assert variables_in(text) == there - {"datasource"}
    assert variables_in(str(as_grafana_v1(dashboard))) <= there


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_linter_of_the_field_would_agree_on_the_variables(name: str) -> None:
    source, *others = as_grafana_v1(DASHBOARDS[name])["templating"]["list"]
    assert (source["name"], source["label"], source["type"], source["query"]) == (
        "datasource",
        "Data source",
        "datasource",
        "prometheus",
    )
    for variable in others:
        assert variable["type"] == "query"
        assert variable["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert variable["label"] == variable["name"].capitalize()
        assert variable["refresh"] == 2  # when the range of time changes
        selector = re.fullmatch(rf"label_values\((.*), {variable['name']}\)", variable["query"]["query"])
        assert selector
        parse(selector[1])
        if variable["name"] in ("job", "instance"):
            assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_and_query_asks_the_chosen_source(name: str) -> None:
    def panels(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for panel in found:
            yield panel
            yield from panels(panel.get("panels", []))

    drawn = [*panels(as_grafana_v1(DASHBOARDS[name])["panels"])]
    numbers = [panel["id"] for panel in drawn]
    assert len({*numbers}) == len(numbers)
    for panel in drawn:
        if panel["type"] != "row":
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
            assert panel["fieldConfig"]["defaults"]["unit"]


OF_PROMETHEUS = {"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
"""Metrics that are not ours to document."""

DOCUMENTED = {
    name: {*re.findall(r"\w+", labels)}
    for name, labels in re.findall(
        r"^\| `(vae_detect_\w+)` \|[^|]*\|[^|]*\|([^|]*)\|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE
    )
}
"""The labels of every metric in the table."""


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}: {query.panel}")
def test_every_metric_and_label_is_in_the_table(query: Asked) -> None:
    for selector in selectors(query):
        family = re.sub(r"_(bucket|sum|count)$", "", str(selector.name))
        labels = {matcher.name for matcher in selector.matchers.matchers} - {"job", "instance", "le"}
        assert labels <= (set() if family in OF_PROMETHEUS else DOCUMENTED[family]), family


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}: {query.panel}")
def test_what_a_legend_names_is_a_label_of_a_metric_that_is_asked_for(query: Asked) -> None:
    families = {re.sub(r"_(bucket|sum|count)$", "", str(each.name)) for each in selectors(query)}
    known = {"job", "instance"}.union(*(DOCUMENTED.get(family, set()) for family in families))
    assert {*re.findall(r"\{\{(\w+)\}\}", query.legend)} <= known


@pytest.mark.parametrize("variable", [v for each in DASHBOARDS.values() for v in each.variables], ids=lambda v: v.name)
def test_what_is_chosen_from_is_in_the_table(variable: Variable) -> None:
    metric = re.split(r"\W", variable.selector)[0]
    assert variable.name in DOCUMENTED[metric] | {"job", "instance"}
