"""The report as a browser shows it: complete, silent, off the network, and with hostile names as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from browser import chromium
from numpy.typing import NDArray
from PIL import Image as Pillow
from selenium import webdriver
from selenium.webdriver.common.by import By

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.simulation import Fault, csv_lines, simulate
from vae_detect.training.data.selection import Selection
from vae_detect.training.evaluation.evaluate import evaluate, judge
from vae_detect.training.evaluation.labelled import score_labelled
from vae_detect.training.evaluation.report import page as page_of
from vae_detect.training.settings.config import TrainConfig
from vae_detect.training.train import train

CSV = Layout()
HOSTILE = "<script>alert(1)</script>"
QUOTED = "\"><img src=http://example.org/x.png> & 'more'"


# --- reports of each kind --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def series_report(windows_detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six hours with two faults, scored by a detector of windows."""
    folder = tmp_path_factory.mktemp("series")
    faults = [Fault.parse("leak@1h+30m"), Fault.parse("cavitation@4h+20m")]
    recording = simulate(duration_s=6 * 3600, period_s=120, seed=3, faults=faults)
    (folder / "faults.csv").write_text("".join(csv_lines(recording, labels=True)))
    evaluate(windows_detector, folder / "faults.csv", "label", CSV, point_adjusted=True, report=folder / "report.html")
    return folder / "report.html"


def write_hostile(path: Path, rows: int, seed: int) -> None:
    """Two columns with names that would be dangerous in a page, a text column, and labels."""
    generator = np.random.default_rng(seed)
    label = np.arange(rows) % 20 == 7
    first = generator.normal(size=rows)
    second = first + generator.normal(0, 0.1, size=rows) + 5 * label * (generator.random(rows) < 0.8)
    lines = [f'"{HOSTILE}","{QUOTED.replace(chr(34), 2 * chr(34))}",mode,label']
    lines += [
        f"{a:.4f},{b:.4f},{'<b>on</b>' if at % 2 else 'off'},{int(bad)}"
        for at, (a, b, bad) in enumerate(zip(first, second, label, strict=True))
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def table_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows without an order, with hostile names of columns, texts and files."""
    folder = tmp_path_factory.mktemp("table")
    write_hostile(folder / "normal.csv", 700, seed=0)
    data = folder / f"{HOSTILE.replace('/', '')}.csv"
    write_hostile(data, 400, seed=1)
    out = folder / "<b>model</b>.onnx".replace("/", "")
    config = TrainConfig(recipe="vae", hidden=(8,), latent=1, epochs=4, learning_rate=0.01)
    train(folder / "normal.csv", out, config, selection=Selection(exclude=("label",)), layout=CSV, far="0.05")
    evaluate(Detector.load(out, provider="cpu"), data, "label", CSV, report=folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def images_report(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Normal and broken images, of which one has a mask."""
    folder = tmp_path_factory.mktemp("images")
    broken = photos[30:34].copy()
    broken[:, 3:8, 4:9] = 255 - broken[:, 3:8, 4:9]
    for name, images in (("good", photos[:10]), ("cut <i>deep", broken), ("dim", photos[10:12])):
        (folder / "test" / name).mkdir(parents=True)
        for number, pixels in enumerate(images):
            Pillow.fromarray(pixels).save(folder / "test" / name / f"{number}.png")
    mask = np.zeros((12, 16), np.uint8)
    mask[3:8, 4:9] = 255
    (folder / "ground_truth" / "cut <i>deep").mkdir(parents=True)
    Pillow.fromarray(mask).save(folder / "ground_truth" / "cut <i>deep" / "0_mask.png")
    evaluate(images_detector, folder, None, CSV, report=folder / "report.html")
    return folder / "report.html"


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(params=["series", "table", "images"])
def page(request: pytest.FixtureRequest, browser: webdriver.Chrome) -> webdriver.Chrome:
    """The browser with one of the reports open."""
    browser.get_log("performance")  # forgets what another page did
    browser.get(request.getfixturevalue(f"{request.param}_report").as_uri())
    return browser


def requested(browser: webdriver.Chrome) -> list[str]:
    """Addresses that the page asked for, but for what lies within itself; its own among them."""
    messages = [msgspec.json.decode(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    # The browser's own first page asks for things too, which are not ours.
    urls = [one["request"]["url"] for one in sent if not one["documentURL"].startswith("chrome://")]
    return [url for url in urls if not url.startswith("data:")]


def test_the_page_is_silent_and_asks_for_nothing(page: webdriver.Chrome) -> None:
    assert page.get_log("browser") == []
    assert requested(page) == [page.current_url]
    assert page.find_elements(By.TAG_NAME, "script") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_pictures_are_there_in_both_looks_and_have_a_text(page: webdriver.Chrome, scheme: str) -> None:
    features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
    pictures = page.find_elements(By.TAG_NAME, "img")
    assert len(pictures) >= 3
    for picture in pictures:
        page.execute_async_script("arguments[0].decode().finally(arguments[1])", picture)
        assert int(picture.get_property("naturalWidth")) > 0  # type: ignore[arg-type]
        assert len(str(picture.get_attribute("alt"))) > 10
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) > 3 * 128) == (scheme == "light")


def test_the_page_is_no_wider_than_a_telephone(page: webdriver.Chrome) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 380
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def text_of(browser: webdriver.Chrome, report: Path) -> str:
    browser.get(report.as_uri())
    return browser.find_element(By.TAG_NAME, "body").text


def test_hostile_names_are_text(browser: webdriver.Chrome, table_report: Path) -> None:
    text = text_of(browser, table_report)
    for name in (HOSTILE, QUOTED, "<b>model<b>.onnx", "<script>alert(1)<script>.csv"):
        assert name in text
    assert browser.title == "<b>model<b>.onnx on <script>alert(1)<script>.csv"
    assert browser.find_elements(By.CSS_SELECTOR, "b, i, script, img[src^=http]") == []


def test_a_series_shows_time_events_and_figures(browser: webdriver.Chrome, series_report: Path) -> None:
    text = text_of(browser, series_report)
    for words in (
        "Score over time",
        "Calibration",
        "Training",
        "VUS-PR",
        "events found",
        "row ",
        "2026-",
        "Kim et al.",
    ):
        assert words in text
    further = text.split("More figures")[1].split("Score over time")[0]
    assert "median delay" in further
    for headline in ("VUS-PR", "false-alarm rate", "found of", "at the shipped threshold"):
        assert headline not in further
    assert len(browser.find_elements(By.CSS_SELECTOR, "section > figure img")) == 5


def test_images_stand_beside_what_was_expected(browser: webdriver.Chrome, images_report: Path) -> None:
    text = text_of(browser, images_report)
    assert "cut <i>deep/0.png: score" in text
    assert "Training" not in text  # this model's file has no history
    captions = [one.text for one in browser.find_elements(By.CSS_SELECTOR, ".pictures figcaption")]
    assert captions.count("image") == captions.count("expected") == captions.count("heat map") >= 4
    assert captions.count("mask") == 1
    assert "AUPRO" in text
    assert "masks: 1; anomalous images without one, left out: 5" in text


# --- without a browser -----------------------------------------------------------------------------------------------


def test_the_heading_names_model_export_data_and_date(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    lines = [",".join(map(str, [*row, int(at > 40)])) for at, row in enumerate(normal_rows[:50].tolist())]
    path.write_text("\n".join([",".join([*detector.bundle.names, "label"]), *lines]) + "\n")
    labelled = score_labelled(detector, path, "label", CSV)
    page = page_of(detector, labelled, judge(detector, labelled), data_name="a.csv", now=datetime(2031, 5, 6))
    for words in ("<h1>vae.onnx on a.csv</h1>", detector.bundle.export_id, "2031-05-06"):
        assert words in page
    assert "None." in page  # no alarm, so nothing is false


@pytest.mark.parametrize("kind", ["series", "table", "images"])
def test_no_address_is_in_the_page(kind: str, request: pytest.FixtureRequest) -> None:
    page = request.getfixturevalue(f"{kind}_report").read_text()
    assert re.findall(r"<[^<>]*(?:src|href|srcset)=.(?!data:)[^<>]*", page) == []
    assert "url(" not in page
    assert len(page) < 2_000_000
