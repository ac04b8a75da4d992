"""What a person sees of a panel in Grafana, where the types cannot tell."""

from typing import Any

from vae_detect.runtime.monitoring.grafana_panels import field_config, options, transformations
from vae_detect.runtime.monitoring.panels import Kind, Name, Panel, Query, Step


def panel(kind: Kind, *queries: Query, **given: Any) -> Panel:
    return Panel(title="x", description="", kind=kind, unit="number", queries=queries, width=8, height=8, **given)


def properties(drawn: dict[str, Any], matched: str) -> dict[str, Any]:
    (found,) = [each for each in drawn["overrides"] if each["matcher"]["options"] == matched]
    return {each["id"]: each["value"] for each in found["properties"]}


def test_nothing_is_grey_and_named_whatever_the_colours_of_numbers() -> None:
    drawn = field_config(panel("number", names=(Name(0, "off", "red"),), empty="no model"))["defaults"]
    named, nothing = drawn["mappings"]
    assert named["options"] == {"0": {"color": "red", "index": 0, "text": "off"}}
    assert nothing == {
        "type": "special",
        "options": {"match": "null+nan", "result": {"color": "text", "index": 1, "text": "no model"}},
    }
    assert drawn["noValue"] == "no model"


def test_a_range_is_shaded_between_its_two_ends() -> None:
    queries = Query(expr="a", legend="rate"), Query(expr="b", legend="high", colour="green", fill_to="low", dashed=True)
    drawn = properties(field_config(panel("lines", *queries)), "B")
    assert drawn["custom.fillBelowTo"] == "low"
    assert drawn["color"] == {"mode": "fixed", "fixedColor": "green"}
    assert drawn["custom.lineStyle"]["fill"] == "dash"


def test_a_line_is_drawn_at_a_step_and_none_without() -> None:
    def style(*steps: Step) -> str:
        found: str = field_config(panel("lines", steps=steps))["defaults"]["custom"]["thresholdsStyle"]["mode"]
        return found

    assert (style(Step(None, "green")), style(Step(None, "green"), Step(1, "red"))) == ("off", "line")


def test_a_table_has_its_labels_and_queries_as_columns_in_this_order() -> None:
    table = panel(
        "table",
        Query(expr="a", legend="Rate", unit="ratio", steps=(Step(None, "green"),)),
        Query(expr="b", legend="Age", unit="seconds"),
        labels=(("model", "Model"),),
        sorted_by="Rate",
        link=("Model", "/d/x"),
    )
    (merge, _), (organize, given) = transformations(table)
    assert (merge, organize) == ("merge", "organize")
    assert given["renameByName"] == {"model": "Model", "Value #A": "Rate", "Value #B": "Age"}
    assert given["indexByName"] == {"model": 0, "Value #A": 1, "Value #B": 2}
    assert options(table)["sortBy"] == [{"displayName": "Rate", "desc": True}]
    drawn = field_config(table)
    assert properties(drawn, "Age") == {"unit": "s"}
    assert properties(drawn, "Model")["links"][0]["url"] == "/d/x"
    assert properties(drawn, "Rate")["custom.cellOptions"] == {"type": "color-background", "mode": "basic"}


def test_the_only_value_of_a_table_has_no_letter() -> None:
    _, (_, given) = transformations(panel("table", Query(expr="a", legend="Rate")))
    assert given["renameByName"] == {"Value": "Rate"}
