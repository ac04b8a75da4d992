"""A real browser without a window, for what is meant to be opened in one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

AXE = Path(__file__).parent.parent / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
"""What finds that people cannot use a page; `make axe` installs it."""

RUN_AXE = """
const done = arguments[0];
axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => done(violations.map(
    ({id, help, nodes}) => `${id}: ${help}: ${nodes.map(({html}) => html.slice(0, 120)).join(" ")}`)));
"""


def barriers(browser: webdriver.Chrome) -> list[str]:
    """What axe-core finds on the page that is shown."""
    if not AXE.exists():
        browser.get("about:blank")  # what the rest of the test would have expected is in its log
        browser.get_log("browser")
        pytest.skip("axe-core is not installed: make axe")
    browser.execute_script(AXE.read_text())
    found: list[str] = browser.execute_async_script(RUN_AXE)
    return found


def show_as(browser: webdriver.Chrome, width: int, height: int, *, dark: bool = False) -> None:
    """From now on pages are shown so large, in CSS pixels, in that scheme, and without motion."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme, motion = ("dark" if dark else "light"), "reduce"  # what moves has no colour that one could measure
    wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
    features = [{"name": name, "value": value} for name, value in wanted.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """It runs until the block ends, and logs what pages say and what they ask for."""
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    for name, path in found.items():
        if path is None:
            pytest.skip(f"{name} is not installed (Debian packages chromium and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(found["chromium"])
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", f"user-data-dir={profile}"),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the driver named, selenium looks for none, and downloads none.
    driver = webdriver.Chrome(options, webdriver.ChromeService(found["chromedriver"]))
    try:
        yield driver
    finally:
        driver.quit()
