"""Every dashboard, drawn by Perses from what Prometheus holds of a watched service, has data in all its panels.

`make pictures` runs it and leaves what was drawn in docs/pictures/. The suite leaves it out: half a GB of npm packages.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from browser import chromium
from conftest import ROOT, run_here
from PIL import Image as Pillow
from selenium import webdriver
from stations import Watched, watched_stations

from vae_detect.runtime.monitoring.formats import all_dashboards, text_of

PAGE = ROOT / ".perses" / "page" / "page.html"
PICTURES = ROOT / "docs" / "pictures"
SHOWN_S = 6 * 3600
WIDTH, TALL = 1400, 5000
"""Of the browser's window: a panel that was never in view is not drawn."""

UNFINISHED = """
const panels = [...document.querySelectorAll("[data-testid=panel]")];
const waiting = panels.filter((panel) => panel.querySelector(".MuiSkeleton-root, [role=progressbar]"));
return panels.length ? waiting.length : 1;
"""
TEXTS = """
const panels = [...document.querySelectorAll("[data-testid=panel]")];
return panels.map((panel) => [panel.innerText.trim(), panel.querySelector("[role=alert]") !== null]);
"""
HEIGHT = "return document.querySelector('[data-testid=dashboard-toolbar]').parentElement.scrollHeight"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A Prometheus that has watched pump stations, by a model that promises one false alarm in a hundred rows."""
    folder = tmp_path_factory.mktemp("stations")
    recording, model = folder / "normal.csv", folder / "pump.onnx"
    run_here("simulate", "--duration", "14d", "--period", "30s", "--seed", "1", "--out", recording)
    trained = run_here("train", recording, "--kind", "rows", "--recipe", "vae", "--far", "0.01", "--out", model)
    assert trained.returncode == 0, trained.stderr
    with watched_stations(model, folder) as seen:
        yield seen


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def unfolded(name: str) -> dict[str, Any]:
    """The dashboard as it is written for Perses, but for rows that are folded until somebody asks for them."""
    dashboard: dict[str, Any] = json.loads(text_of(all_dashboards([])[name], "perses"))
    for row in dashboard["spec"]["layouts"]:
        if "display" in row["spec"]:
            row["spec"]["display"]["collapse"]["open"] = True
    return dashboard


def draw(browser: webdriver.Chrome, dashboard: dict[str, Any], watched: Watched, **chosen: str) -> list[str]:
    """Draws a dashboard in Perses' form, with these values of its variables, and returns what is wrong with it."""
    resize(browser, TALL)
    asked: dict[str, str | int] = {"start": (watched.end - SHOWN_S) * 1000, "end": watched.end * 1000}
    asked |= {f"var-{name}": value for name, value in chosen.items()}
    browser.get(f"{PAGE.as_uri()}?{urlencode(asked)}")
    browser.execute_script("draw(arguments[0], arguments[1])", dashboard, watched.url)
    wait_until_drawn(browser)
    resize(browser, int(browser.execute_script(HEIGHT)))
    wait_until_drawn(browser)
    said = [str(entry["message"]) for entry in browser.get_log("browser")]
    return said + without_data(browser, dashboard)


def without_data(browser: webdriver.Chrome, dashboard: dict[str, Any]) -> list[str]:
    """What stands in panels that have failed, say so themselves, or have axes and a title and no curve to name."""
    panels = [panel["spec"] for panel in dashboard["spec"]["panels"].values()]
    over_time = {panel["display"]["name"] for panel in panels if panel["plugin"]["kind"] == "TimeSeriesChart"}
    shown: list[tuple[str, bool]] = browser.execute_script(TEXTS)
    assert len(shown) == len(panels)
    return [text for text, failed in shown if failed or "No data" in text or text in over_time]


def resize(browser: webdriver.Chrome, height: int) -> None:
    size = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def wait_until_drawn(browser: webdriver.Chrome) -> None:
    """Until every panel has what it asked for, and a moment for curves that grow."""
    deadline = time.monotonic() + 60
    time.sleep(2)
    while browser.execute_script(UNFINISHED):
        assert time.monotonic() < deadline, "panels still wait for data after 60 s"
        time.sleep(0.2)
    time.sleep(2)


def save(browser: webdriver.Chrome, path: Path) -> None:
    """Keeps what is in view."""
    taken = base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
    Pillow.open(io.BytesIO(taken)).convert("RGB").save(path, optimize=True)


@pytest.mark.parametrize(("name", "chosen"), [("fleet", {}), ("model", {"instance": "harbour:8000"}), ("service", {})])
def test_no_panel_is_empty(name: str, chosen: dict[str, str], browser: webdriver.Chrome, watched: Watched) -> None:
    wrong = draw(browser, unfolded(name), watched, **chosen)
    save(browser, PICTURES / f"grafana-{name}.png")
    assert wrong == []
