"""A day in front of the live page, a minute every 40 ms: `make soak`. The suite leaves it out."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import NamedTuple

import httpx
from browser import chromium, show_as
from played import play
from selenium import webdriver
from server_process import process, url_of

MINUTES = 1440
LOOK_S = 0.04


class Size(NamedTuple):
    """Of the page and of the service."""

    nodes: int
    heap_mb: float
    listeners: int
    service_mb: float


def size(browser: webdriver.Chrome, pid: int) -> Size:
    browser.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    told = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    found = {each["name"]: each["value"] for each in told}
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    heap = found["JSHeapUsedSize"] / 1e6
    return Size(int(found["Nodes"]), heap, int(found["JSEventListeners"]), int(kilobytes) / 1000)


def test_a_day_of_events_grows_nothing(tmp_path: Path) -> None:
    with process(before=play("normal", kind="Day"), PERIOD_S=LOOK_S) as running, chromium(tmp_path) as browser:
        url = url_of(running)
        show_as(browser, 1440, 900)
        browser.execute_cdp_cmd("Performance.enable", {})
        browser.get(url)
        sizes, last = list[Size](), 0

        def minutes() -> int:
            newest = httpx.get(f"{url}/events?limit=1").json()
            return 2 * int(newest[0]["id"]) if newest else 0

        while last < MINUTES:
            time.sleep(1)
            if minutes() >= last + 120:
                last = minutes()
                sizes.append(size(browser, running.pid))
        shown = browser.execute_script("return document.querySelectorAll('.event').length")
        told = [each["message"] for each in browser.get_log("browser")]
        browser.get("about:blank")
    print("\n", *sizes, sep="\n")  # noqa: T201  # what `make soak` is run for
    first, last_ones = sizes[1 : len(sizes) // 2], sizes[len(sizes) // 2 :]
    # The least of each, since at any moment some of what came last is on its way.
    early, late = (Size(*map(min, zip(*half, strict=True))) for half in (first, last_ones))
    assert told == []
    assert shown == 50
    assert late.nodes <= 1.05 * early.nodes
    assert late.listeners <= 1.05 * early.listeners
    assert late.heap_mb <= early.heap_mb + 0.5
    assert late.service_mb <= early.service_mb + 4  # with hundreds of events more in memory
