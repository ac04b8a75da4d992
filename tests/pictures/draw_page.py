"""The live page as docs/page.md shows it: `make page-pictures` leaves it in docs/pictures/. The suite leaves it out."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path

import pytest
from browser import chromium, show_as
from conftest import ROOT
from PIL import Image as Pillow
from played import play
from server_process import process, url_of

PICTURES = ROOT / "docs" / "pictures"
DRAWN_S = 2.5
"""Seconds until bars and chart have come to rest."""


@pytest.mark.parametrize(
    ("name", "width", "height", "dark"), [("page-alarm", 1440, 900, False), ("page-phone", 390, 780, True)]
)
def test_draw(name: str, width: int, height: int, dark: bool, tmp_path: Path) -> None:
    with process(before=play("alarm")) as running, chromium(tmp_path) as browser:
        show_as(browser, width, height, dark=dark)
        browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        browser.get(url_of(running))
        time.sleep(DRAWN_S)
        content = base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", {})["data"])
        browser.get("about:blank")
    picture = Pillow.open(io.BytesIO(content)).convert("RGB")
    picture.save(PICTURES / f"{name}.png", optimize=True)
