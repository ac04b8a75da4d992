"""The live page in a real browser: what people see, by mouse, by keyboard, on a phone, behind a proxy, with a token."""

from __future__ import annotations

import contextlib
import itertools
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from browser import barriers, chromium, show_as
from numpy.typing import NDArray
from played import Scene, play
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from server_process import addresses, command, connect, process, url_of

from vae_detect.runtime.images.pictures import png

PHONE, DESK = (390, 844), (1440, 900)
HOSTILE = """<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>/../#?&"'\N{SNOWMAN}"""


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def browser(chrome: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """Nothing that a page has done wrong is in its log at the end: no exception, no refused resource, no CSP report."""
    show_as(chrome, *DESK)
    chrome.get_log("browser")
    yield chrome
    told = [each["message"] for each in chrome.get_log("browser")]
    chrome.get("about:blank")
    assert told == []


@pytest.fixture(scope="module")
def scenes() -> Iterator[Callable[[Scene], str]]:
    """The address of a service that shows a scene."""
    with contextlib.ExitStack() as stack:
        started: dict[Scene, str] = {}

        def address(scene: Scene) -> str:
            if scene not in started:
                started[scene] = url_of(stack.enter_context(process(before=play(scene))))
            return started[scene]

        yield address


@contextlib.contextmanager
def played(browser: webdriver.Chrome, scene: Scene, *, machines: int = 8, more: Sequence[str] = ()) -> Iterator[str]:
    """The address of a service of one's own, which the page leaves before it ends."""
    with process(before=play(scene, machines=machines, more=more)) as running:
        yield url_of(running)
        browser.get("about:blank")


def wait(browser: webdriver.Chrome, condition: Callable[[], object], what: str = "") -> None:
    WebDriverWait(browser, 10, 0.05).until(lambda _: condition(), what)


def text(browser: webdriver.Chrome, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def opened(browser: webdriver.Chrome, url: str) -> None:
    """The page, once it shows what there is."""
    browser.get("about:blank")
    browser.get(url)
    wait(browser, lambda: text(browser, "#link") == "live", "live")
    wait(browser, lambda: not text(browser, "#chart-readout").startswith("no rows"), "a chart")


def key(browser: webdriver.Chrome, *keys: str) -> None:
    webdriver.ActionChains(browser).send_keys(*keys).perform()


# --- what is seen ----------------------------------------------------------------------------------------------------

SAYS = {
    "empty": "No machines yet",
    "normal": "All 8 machines are normal",
    "alarm": "Anomaly on pump-03, no verdict on pump-05, pump-06 is silent",
    "stale": "No verdict on pump-02, 7 machines are silent",
}


@pytest.mark.parametrize("scene", SAYS)
def test_everybody_can_use_it(browser: webdriver.Chrome, scenes: Callable[[Scene], str], scene: Scene) -> None:
    opened(browser, scenes(scene))
    assert text(browser, "#summary") == SAYS[scene]
    assert browser.title.endswith(f"{SAYS[scene]} – vae-detect")
    for size, dark in itertools.product((PHONE, DESK), (False, True)):
        show_as(browser, *size, dark=dark)
        wide = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
        assert barriers(browser) == [], (size, dark)


def test_states_are_told_by_mark_and_word_and_the_worst_comes_first(
    browser: webdriver.Chrome, scenes: Callable[[Scene], str]
) -> None:
    opened(browser, scenes("alarm"))
    machines = browser.find_elements(By.CSS_SELECTOR, ".machine")
    told = [re.split(r"\s*\n\s*| · ", each.text)[:2] for each in machines]
    assert told[:4] == [["pump-03", "anomaly"], ["pump-05", "cannot tell"], ["pump-06", "stale"], ["pump-01", "normal"]]
    marks = [each.find_element(By.CSS_SELECTOR, "use").get_attribute("href") for each in machines]
    assert marks[:4] == ["#mark-anomaly", "#mark-cannot-tell", "#mark-stale", "#mark-normal"]
    sentence = "Anomaly for 10 minutes: vibration_mm_s is 3.8 mm/s where 1.9 is expected."
    wait(browser, lambda: text(browser, "#detail-sentence") == sentence, sentence)
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#columns tr")]
    assert rows[0].split() == ["vibration_mm_s", "79", "%", "3.8", "mm/s", "1.9", "mm/s"]
    model = text(browser, "#model-list")
    assert "Promised: 1 false alarm in 1,000 normal rows." in model
    assert "Calibration holds." in model
    assert "lies between 0.7 and 1.3 in 1,000" in model
    assert "on the CPU" in model


def test_what_comes_from_data_is_only_ever_text(browser: webdriver.Chrome) -> None:
    with played(browser, "alarm", more=[HOSTILE]) as url:
        opened(browser, url)
        wait(browser, lambda: HOSTILE in text(browser, "#machine-list"), "the name")
        (link,) = [each for each in browser.find_elements(By.CSS_SELECTOR, ".machine") if HOSTILE in each.text]
        link.click()
        wait(browser, lambda: HOSTILE in text(browser, "#detail-title"), "its details")
        wait(browser, lambda: not text(browser, "#chart-readout").startswith("no rows"), "a chart")
        assert "taken" not in browser.title
        browser.get(f"{url}/#/%/%E0%A4%A")  # no name at all
        wait(browser, lambda: text(browser, "#detail-title") == "%E0%A4%A", "what was typed")
        assert not browser.find_elements(By.CSS_SELECTOR, "main img[src='x'], main script")


def test_a_row_can_be_sent_as_the_empty_page_says(browser: webdriver.Chrome, scenes: Callable[[Scene], str]) -> None:
    url = scenes("empty")
    opened(browser, url)
    wanted = re.compile(rf"curl '{re.escape(url)}/score\?key=pump-1' -d '(\[[-\d.,\[\]]+\])'")
    wait(browser, lambda: wanted.fullmatch(text(browser, "#example")), "an example")
    (row,) = wanted.findall(text(browser, "#example"))
    assert httpx.post(f"{url}/score?key=pump-1", content=row).status_code == 200


def test_a_thousand_machines_stay_smooth(browser: webdriver.Chrome) -> None:
    with played(browser, "alarm", machines=1000) as url:
        opened(browser, url)
        assert len(browser.find_elements(By.CSS_SELECTOR, ".machine")) == 200
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})  # whatever else runs

        def busy() -> float:
            metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

        before = busy()
        time.sleep(2)
        spent = (busy() - before) / 2
        assert spent < 0.3
        box = browser.find_element(By.ID, "filter")
        box.send_keys("pump-0")
        wait(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, ".machine")) < 10, "fewer")
        box.clear()
        box.send_keys("pump-987", Keys.ENTER)  # not among those listed
        wait(browser, lambda: text(browser, "#detail-title") == "pump-987", "one that is not listed")


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_all_can_be_reached_by_keyboard_and_the_focus_is_seen(
    browser: webdriver.Chrome, scenes: Callable[[Scene], str]
) -> None:
    opened(browser, scenes("alarm"))
    wanted = browser.execute_script(
        "return [...document.querySelectorAll('a, button, input, [tabindex=\"0\"]')]"
        ".filter((node) => node.offsetParent !== null).length"
    )
    seen, invisible = set[str](), []
    for _ in range(wanted):
        key(browser, Keys.TAB)
        focus: Any = browser.execute_script(
            "const node = document.activeElement, style = getComputedStyle(node);"
            "node.dataset.at ??= String(document.querySelectorAll('[data-at]').length);"
            "return [node.dataset.at, node.outerHTML.slice(0, 80), style.outlineStyle, parseFloat(style.outlineWidth)]"
        )
        seen.add(focus[0])
        if focus[2] == "none" or focus[3] < 2:
            invisible.append(focus[1])
    assert invisible == []
    assert len(seen) == wanted


def test_a_machine_is_chosen_and_the_chart_is_read_by_keyboard(
    browser: webdriver.Chrome, scenes: Callable[[Scene], str]
) -> None:
    opened(browser, scenes("alarm"))
    browser.execute_script("document.querySelectorAll('.machine')[3].focus()")
    key(browser, Keys.ENTER)
    wait(browser, lambda: text(browser, "#detail-title") == "pump-01", "another machine")
    wait(browser, lambda: "severity" in text(browser, "#chart-readout"), "its chart")
    browser.execute_script("document.getElementById('chart').focus()")
    key(browser, Keys.HOME)
    first = browser.execute_script("return document.getElementById('chart').getAttribute('aria-valuetext')")
    key(browser, Keys.ARROW_RIGHT)
    second = browser.execute_script("return document.getElementById('chart').getAttribute('aria-valuetext')")
    assert re.match(r"\d\d:\d\d:\d\d  severity 0\.\d\d", first)
    assert first[:8] < second[:8] or first[:8].startswith("23:59")


def test_events_are_acknowledged_and_labelled(browser: webdriver.Chrome) -> None:
    with played(browser, "alarm") as url:
        opened(browser, url)
        wait(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, ".event")) == 2, "events")
        running_one = browser.find_element(By.CSS_SELECTOR, ".event")
        assert "running · peak severity 3.40 · 150 rows" in running_one.text
        running_one.find_element(By.XPATH, ".//button[text()='Acknowledge']").click()
        wait(browser, lambda: "acknowledged" in running_one.text, "acknowledged")
        running_one.find_element(By.XPATH, ".//button[text()='Fault']").click()
        wait(browser, lambda: running_one.find_elements(By.CSS_SELECTOR, "[aria-pressed=true]"), "a label")
        opened(browser, url)
        wait(browser, lambda: "acknowledged" in text(browser, ".event"), "still acknowledged")
        assert text(browser, ".event [aria-pressed=true]") == "Fault"
        browser.find_element(By.ID, "events-own").click()
        wait(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, ".event")) == 1, "its own")


def test_what_cannot_be_kept_as_normal_is_told(browser: webdriver.Chrome, scenes: Callable[[Scene], str]) -> None:
    opened(browser, scenes("normal"))
    browser.find_element(By.ID, "normal-button").click()
    browser.find_element(By.ID, "normal-send").click()
    wait(browser, lambda: text(browser, "#normal-answer").startswith("Not kept: nothing is kept"), "an answer")
    assert barriers(browser) == []
    key(browser, Keys.ESCAPE)
    assert not browser.find_element(By.ID, "normal-dialog").is_displayed()
    refused = list[str]()

    def is_noted() -> bool:
        refused.extend(each["message"] for each in browser.get_log("browser"))
        return bool(refused)

    wait(browser, is_noted, "the note that Chromium makes of every answer of that kind, sooner or later")
    assert [each for each in refused if " 400 " not in each] == []


def test_a_phone_shows_one_thing_at_a_time(browser: webdriver.Chrome, scenes: Callable[[Scene], str]) -> None:
    show_as(browser, *PHONE)
    opened(browser, scenes("alarm"))
    listed, detail = browser.find_element(By.ID, "machine-list"), browser.find_element(By.ID, "detail")
    assert (listed.is_displayed(), detail.is_displayed()) == (True, False)
    browser.find_element(By.CSS_SELECTOR, ".machine").click()
    wait(browser, detail.is_displayed, "the machine")
    assert not listed.is_displayed()
    browser.find_element(By.ID, "back").click()
    wait(browser, listed.is_displayed, "the list")


# --- the way to the service ------------------------------------------------------------------------------------------


def test_it_says_that_the_service_is_away_and_comes_back(browser: webdriver.Chrome) -> None:
    with process(before=play("normal")) as running:
        url = url_of(running)
        opened(browser, url)
        running.terminate()
        wait(browser, lambda: text(browser, "#link") == "reconnecting", "away")
        assert running.wait(5) == 0
    with process(before=play("normal"), port=int(url.rpartition(":")[2])) as running:
        assert url_of(running) == url
        wait(browser, lambda: text(browser, "#link") == "live", "back")
        browser.get("about:blank")
    lost = [each["message"] for each in browser.get_log("browser")]
    assert [each for each in lost if "ERR_" not in each] == []  # Chromium notes every connection that fails


class Prefixing(socketserver.StreamRequestHandler):
    """A reverse proxy: what is under /box/ goes to the service, each request by a connection of its own."""

    target: str

    def handle(self) -> None:
        line, head = self.rfile.readline(), b""
        while (header := self.rfile.readline()) not in (b"\r\n", b""):
            head += b"" if header.lower().startswith(b"connection:") else header
        if not line.split()[1:2] or not line.split()[1].startswith(b"/box/"):
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        body = self.rfile.read(int(length[1])) if length else b""
        with connect(self.target) as service, contextlib.suppress(OSError):
            service.settimeout(None)
            service.sendall(line.replace(b" /box/", b" /", 1) + head + b"Connection: close\r\n\r\n" + body)
            while chunk := service.recv(65536):
                self.wfile.write(chunk)


def test_it_works_behind_the_prefix_of_a_proxy(browser: webdriver.Chrome) -> None:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with played(browser, "alarm") as url, Server(("127.0.0.1", 0), Prefixing) as proxy:
        Prefixing.target = url
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            opened(browser, f"http://127.0.0.1:{proxy.server_address[1]}/box/")
            wait(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, ".event")) == 2, "events")
            browser.find_element(By.XPATH, "//button[text()='Acknowledge']").click()
            wait(browser, lambda: "acknowledged" in text(browser, ".event"), "acknowledged")
            browser.get("about:blank")
        finally:
            proxy.shutdown()


def test_it_asks_for_the_token_and_keeps_it_in_the_tab(browser: webdriver.Chrome, tmp_path: Path) -> None:
    token = "a-token-of-the-test"
    (tmp_path / "token").write_text(token)
    (tmp_path / "token").chmod(0o600)
    with command("--port", "0", "--token-file", tmp_path / "token") as (_, said):
        url = addresses(said[-1])[0]
        browser.get(url)
        box = browser.find_element(By.ID, "token")
        wait(browser, box.is_displayed, "the door")
        assert barriers(browser) == []
        assert browser.get_log("browser") == []
        box.send_keys("another-token-of-the-test", Keys.ENTER)
        wait(browser, lambda: text(browser, "#token-error").startswith("This token is not"), "refused")
        refused = [each["message"] for each in browser.get_log("browser")]
        assert [each for each in refused if " 401 " not in each] == []
        box.send_keys(token, Keys.ENTER)
        wait(browser, lambda: text(browser, "#link") == "live", "live")
        browser.refresh()
        wait(browser, lambda: text(browser, "#link") == "live", "still live")
        assert browser.execute_script("return localStorage.length + document.cookie.length") == 0
        browser.execute_script("sessionStorage.clear()")
        browser.get("about:blank")


def test_images_stand_beside_their_heat_maps(
    browser: webdriver.Chrome, images_model: Path, photos: NDArray[np.uint8]
) -> None:
    with process(images_model) as running:
        url = url_of(running)
        httpx.post(f"{url}/score", content=png(photos[40])).raise_for_status()
        opened(browser, url)
        wait(browser, lambda: text(browser, "#frame-list").startswith("anomaly · severity"), "the anomaly")
        httpx.post(f"{url}/score", content=png(photos[0])).raise_for_status()
        wait(browser, lambda: text(browser, "#frame-list").startswith("normal · severity"), "the newest")
        drawn = "return [...document.querySelectorAll('#frame-list img')].map((each) => each.naturalWidth)"
        wait(browser, lambda: browser.execute_script(drawn) == [16] * 4, "two images and their heat maps")
        assert not browser.find_element(By.ID, "columns-card").is_displayed()
        assert barriers(browser) == []
        browser.get("about:blank")


def test_it_shows_what_a_service_scores(
    browser: webdriver.Chrome, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    with command("--port", "0", "--state", tmp_path / "state") as (_, said):
        url = addresses(said[-1])[0]
        opened(browser, url)
        assert text(browser, "#summary") == "No machines yet"
        rows = normal_rows[:40].tolist()
        for name in ("pump-1", "pump-2"):
            httpx.post(f"{url}/score?key={name}", json=rows).raise_for_status()
        wait(browser, lambda: text(browser, "#summary") == "All 2 machines are normal", "two machines")
        bad = rows[-1]
        bad[-1] *= 4
        httpx.post(f"{url}/score?key=pump-2", json=bad).raise_for_status()
        wait(browser, lambda: text(browser, "#summary") == "Anomaly on pump-2", "an anomaly")
        browser.find_element(By.XPATH, "//a[.//span[text()='pump-2']]").click()
        wait(browser, lambda: "vibration_mm_s is" in text(browser, "#detail-sentence"), "why")
        wait(browser, lambda: text(browser, ".event-list .why").startswith("vibration_mm_s"), "its event")
        browser.find_element(By.XPATH, "//a[.//span[text()='pump-1']]").click()
        wait(browser, lambda: text(browser, "#detail-title") == "pump-1", "the other")
        browser.find_element(By.ID, "normal-button").click()
        browser.find_element(By.ID, "normal-send").click()
        wait(browser, lambda: text(browser, "#normal-answer").startswith("Kept as pump-1"), "kept")
        (kept,) = (tmp_path / "state" / "normal").iterdir()
        assert kept.name in text(browser, "#normal-answer")
        assert len(kept.read_text().splitlines()) == 1 + 40
        browser.get("about:blank")
