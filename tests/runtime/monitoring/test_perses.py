import re
from typing import Any

import pytest
from drawn import DASHBOARDS

from vae_detect.runtime.monitoring.panels import Dashboard
from vae_detect.runtime.monitoring.perses import as_perses


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_has_one_place(name: str) -> None:
    spec = as_perses(DASHBOARDS[name])["spec"]
    items = [item for layout in spec["layouts"] for item in layout["spec"]["items"]]
    assert [item["content"]["$ref"] for item in items] == [f"#/spec/panels/{key}" for key in spec["panels"]]
    assert all(item["x"] + item["width"] <= 24 for item in items)


def queries(dashboard: Dashboard) -> list[dict[str, Any]]:
    panels = as_perses(dashboard)["spec"]["panels"].values()
    return [query["spec"]["plugin"]["spec"] for panel in panels for query in panel["spec"]["queries"]]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_queries_are_those_of_grafana(name: str) -> None:
    found = queries(DASHBOARDS[name])
    expected = [query for panel in DASHBOARDS[name].panels for query in panel.queries]
    assert [query["query"] for query in found] == [query.promql for query in expected]
    assert {query["datasource"] for query in found} == {"$datasource"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_colour_is_one_that_perses_takes(name: str) -> None:
    text = str(as_perses(DASHBOARDS[name]))
    colours = re.findall(r"'(?:color|colorValue|defaultColor)': '([^']*)'", text)
    assert colours
    assert all(re.fullmatch(r"#[0-9a-f]{6}(?:00)?", colour) for colour in colours)


def test_rows_that_are_folded_in_grafana_are_so_here() -> None:
    layouts = as_perses(DASHBOARDS["model"])["spec"]["layouts"]
    assert [layout["spec"].get("display") for layout in layouts] == [
        None,
        {"title": "Does the promise hold?", "collapse": {"open": True}},
        {"title": "How far the columns have moved", "collapse": {"open": False}},
        {"title": "Inside the network", "collapse": {"open": False}},
    ]


def test_what_is_chosen_at_first_is_all_or_one_model() -> None:
    variables = [each["spec"] for each in as_perses(DASHBOARDS["model"])["spec"]["variables"]]
    assert [(each["name"], each["allowAllValue"], each.get("defaultValue")) for each in variables] == [
        ("datasource", False, None),
        ("job", True, ["$__all"]),
        ("instance", True, ["$__all"]),
        ("model", False, None),
    ]
    assert variables[3]["plugin"]["spec"] == {
        "labelName": "model",
        "matchers": ['vae_detect_threshold{job=~"$job", instance=~"$instance"}'],
    }
