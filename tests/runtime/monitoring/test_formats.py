import json
import re
from typing import Any

import _jsonnet
import pytest
from conftest import ROOT

from vae_detect.runtime.graph import TERMS
from vae_detect.runtime.monitoring.facts import Facts
from vae_detect.runtime.monitoring.formats import FORMATS, all_dashboards, files_of, of_model, text_of

PUMP = Facts("pump", ("flow 12 m3/h", "power 1.5 kW"), terms=TERMS)
GRAFANA = ROOT / "deploy" / "grafana"


@pytest.mark.parametrize(("form", "folder"), [("grafana-v1", "v1"), ("grafana-v2", "v2"), ("perses", "perses")])
def test_the_ready_ones_are_those_of_the_code(form: str, folder: str) -> None:
    there = {path.name: path.read_text() for path in (GRAFANA / folder).iterdir()}
    assert there == files_of(all_dashboards([]), form), "make dashboards"


def test_a_model_adds_one_that_begins_with_it_and_names_its_columns() -> None:
    names = [*files_of(all_dashboards([PUMP]), "grafana-v1")]
    assert names == ["fleet.json", "model.json", "service.json", "model-pump.json"]
    drawn = json.loads(text_of(of_model(PUMP), "grafana-v1"))
    assert (drawn["uid"], drawn["title"]) == ("vae-detect-model-pump", "vae-detect: pump")
    (variable,) = [each for each in drawn["templating"]["list"] if each["name"] == "model"]
    assert variable["current"] == {"text": "pump", "value": "pump"}
    assert "flow 12 m3/h; power 1.5 kW" in json.dumps(drawn)


@pytest.mark.parametrize("form", FORMATS)
def test_a_model_has_no_panel_for_what_it_has_not(form: str) -> None:
    with_kl, without = (text_of(of_model(PUMP._replace(terms=terms)), form) for terms in (TERMS, TERMS[:1]))
    assert re.findall(r"vae_detect_(?:kl|elbo)_", with_kl)
    assert not re.findall(r"vae_detect_(?:kl|elbo)_", without)
    assert "vae_detect_reconstruction_error_" in without
    assert "Inside the network" not in text_of(of_model(PUMP._replace(terms=())), form)


@pytest.mark.parametrize("name", ["a.b", "ab", "p" * 30, "p" * 31])
def test_every_model_has_an_address_of_its_own_that_grafana_takes(name: str) -> None:
    uid = of_model(PUMP._replace(name=name)).uid
    assert re.fullmatch(r"[\w-]{1,40}", uid, re.ASCII)
    assert uid not in {of_model(PUMP._replace(name=other)).uid for other in ("a-b", "p" * 32)}


def evaluated(text: str, fields: str) -> Any:
    """What Jsonnet makes of the hidden fields of a mixin, as other tools ask for them."""
    return json.loads(_jsonnet.evaluate_snippet(str(GRAFANA / "it.jsonnet"), f"local m = ({text}); {{ {fields} }}"))


def test_the_mixin_of_the_command_has_the_same_dashboards() -> None:
    (text,) = files_of(all_dashboards([PUMP]), "mixin").values()
    found = evaluated(text, "dashboards: m.grafanaDashboards")["dashboards"]
    assert [*found] == sorted(f"vae-detect-{name}.json" for name in ("fleet", "model", "model-pump", "service"))
    assert found["vae-detect-fleet.json"] == json.loads((GRAFANA / "v1" / "fleet.json").read_text())


def test_one_dashboard_is_a_mixin_too() -> None:
    found = evaluated(text_of(of_model(PUMP), "mixin"), "dashboards: m.grafanaDashboards")["dashboards"]
    assert [*found] == ["vae-detect-model-pump.json"]


def test_the_ready_mixin_has_the_ready_dashboards_and_every_rule_once() -> None:
    fields = "dashboards: m.grafanaDashboards, alerts: m.prometheusAlerts, records: m.prometheusRules"
    found = evaluated((GRAFANA / "mixin.libsonnet").read_text(), fields)
    ready = {name: json.loads((GRAFANA / "v1" / f"{name}.json").read_text()) for name in ("fleet", "model", "service")}
    assert found["dashboards"] == {f"vae-detect-{name}.json": drawn for name, drawn in ready.items()}
    written = re.findall(r"^ *- (alert|record): (\S+)", (ROOT / "deploy" / "rules.yml").read_text(), re.MULTILINE)
    for kind, there in (("alert", found["alerts"]), ("record", found["records"])):
        rules = [rule for group in there["groups"] for rule in group["rules"]]
        assert [rule[kind] for rule in rules] == [name for of, name in written if of == kind] != []
        assert all(rule["expr"] for rule in rules)
