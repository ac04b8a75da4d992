"""The page at / and what it asks for, without a browser."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Client
from played import Played
from starlette.types import Message, Scope

from vae_detect.runtime.alarms.event import Change, Event
from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.errors import InputError, UnavailableError
from vae_detect.runtime.service import viewers
from vae_detect.runtime.service.page_files import NAMES, PAGE_HEADERS, content_of

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
JSON = {"content-type": "application/json"}


@pytest.fixture
def client(client: Client) -> Client:
    """It shows an alarm."""
    client.service.viewers.live = Played("alarm", client.service.events)
    return client


# --- the files -------------------------------------------------------------------------------------------------------


def test_a_browser_gets_the_page_and_everybody_else_the_list(client: Client) -> None:
    page = client.ask("GET", "/", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!doctype html>")
    for accept in ({}, {"accept": "*/*"}, {"accept": "application/json"}):
        answer = client.ask("GET", "/", headers=accept)
        assert answer.json()["endpoints"]["POST /score"].startswith("score one row")
        assert answer.headers["vary"] == page.headers["vary"] == "accept"


def test_the_page_may_load_nothing_from_elsewhere(client: Client) -> None:
    for path in ("/", *(f"/page/{name}" for name in NAMES)):
        headers = client.ask("GET", path, headers=BROWSER).headers
        assert {name: headers[name] for name in PAGE_HEADERS} == PAGE_HEADERS
    policy = dict(part.strip().split(" ", 1) for part in PAGE_HEADERS["content-security-policy"].split(";"))
    assert policy == {
        **{"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'"},
        **{"img-src": "'self' data:", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"},
    }


def test_the_files_are_those_of_the_list_and_name_no_other_place() -> None:
    folder = Path(viewers.__file__).parent / "page"
    assert {path.name for path in folder.iterdir()} == {"index.html", *NAMES}
    for path in folder.iterdir():
        text = path.read_text()
        assert [*re.findall(r"https?://[^\s\"'`<]*", text)] in (
            [],
            ["http://www.w3.org/2000/svg"] * text.count("http"),
        ), path
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path
        assert not re.search(r"""(?:src|href|from|fetch\()\s*[=(]?\s*["'`]/""", text), f"{path}: an absolute path"
    assert set(re.findall(r'(?:src|href)="page/([^"]+)"', content_of("index.html").decode())) == {"page.css", "page.js"}


@pytest.mark.parametrize("name", ["index.html", "other.js", "..%2fendpoints.py", "../endpoints.py", "", "page.js/"])
def test_no_other_file_can_be_had(client: Client, name: str) -> None:
    assert client.ask("GET", f"/page/{name}").status_code == 404


def test_the_page_knows_whether_a_token_is_asked_for(client: Client) -> None:
    assert 'data-token="no"' in client.ask("GET", "/", headers=BROWSER).text
    client.service.asks_token = True
    assert 'data-token="yes"' in client.ask("GET", "/", headers=BROWSER).text


# --- who looks -------------------------------------------------------------------------------------------------------


class Viewer:
    """Asks for /live, and reads so long as it is told to."""

    def __init__(self, client: Client, query: bytes = b"", *headers: tuple[bytes, bytes], method: str = "GET") -> None:
        self._app, self.sent = client.app, list[Message]()
        self.scope: Scope = {
            **{"type": "http", "method": method, "path": "/live", "raw_path": b"/live", "query_string": query},
            **{"headers": [(b"host", b"box"), *headers], "scheme": "http", "http_version": "1.1"},
        }

    async def look(self) -> None:
        await self._app(self.scope, self._receive, self._send)

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    def events(self) -> list[tuple[str, Any]]:
        return [
            (name, json.loads(data)) for name, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", self.body.decode())
        ]


def looked(client: Client, *lookers: Viewer, for_s: float = 0.05) -> None:
    """They look for so long, until the service stops."""

    async def run() -> None:
        tasks = [asyncio.ensure_future(viewer.look()) for viewer in lookers]
        await asyncio.sleep(for_s)
        client.service.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 1)

    asyncio.run(run())


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look every 10 ms."""
    monkeypatch.setattr(viewers, "PERIOD_S", 0.01)


def test_who_looks_is_told_of_all_machines_and_of_the_one_that_was_asked_for(client: Client) -> None:
    viewer = Viewer(client, b"model=pump&key=pump-03")
    looked(client, viewer)
    headers = dict(viewer.sent[0]["headers"])
    assert (viewer.status, headers[b"content-type"], headers[b"cache-control"]) == (
        200,
        b"text/event-stream",
        b"no-store",
    )
    (live, snapshot), (name, detail) = viewer.events()
    assert (live, name) == ("live", "detail")
    assert [machine["key"] for machine in snapshot["machines"]][:3] == ["pump-03", "pump-05", "pump-06"]
    assert (detail["key"], len(detail["recent"])) == ("pump-03", 301)
    assert viewer.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.usefixtures("hasty")
def test_nothing_is_told_again_and_silence_is_no_death(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    class Still:
        made = 0

        def snapshot(self) -> bytes:
            self.made += 1
            return b'{"time":%d,"models":[]}' % self.made

        def detail(self, model: str, key: str) -> bytes:
            return b"{}"

    client.service.viewers.live = still = Still()
    viewer = Viewer(client, b"key=")
    looked(client, viewer, for_s=0.1)
    assert still.made > 3
    assert viewer.events() == [("live", {"time": 1, "models": []}), ("detail", {})]
    monkeypatch.setattr(viewers, "SIGN_OF_LIFE_S", 0.02)
    other = Client(None)
    other.service.viewers.live = still
    viewer = Viewer(other)
    looked(other, viewer, for_s=0.1)
    assert viewer.body.count(b"event:") == 1
    assert viewer.body.endswith(b": all is well\n\n")


def test_what_all_see_is_made_once(client: Client) -> None:
    live = client.service.viewers.live
    assert isinstance(live, Played)
    lookers = [Viewer(client) for _ in range(10)]
    looked(client, *lookers)
    assert live.snapshots == 1
    assert len({viewer.body for viewer in lookers}) == 1


def test_so_many_may_look_and_those_who_leave_make_room(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "MAX_VIEWERS", 2)
    lookers = [Viewer(client) for _ in range(3)]
    looked(client, *lookers)
    assert [viewer.status for viewer in lookers] == [200, 200, 503]
    assert b"look at once already" in lookers[2].body
    assert client.series()["vae_detect_limits_exceeded_total[('limit', 'viewers')]"] == 1
    assert client.service.viewers.count == 0


def test_a_service_that_stops_lets_its_viewers_go_and_takes_no_more(client: Client) -> None:
    viewer = Viewer(client)
    started = time.monotonic()
    looked(client, viewer, for_s=0)
    assert time.monotonic() - started < 0.5
    late = Viewer(client)
    looked(client, late, for_s=0)
    assert late.status == 503


def test_a_head_ends_at_once(client: Client) -> None:
    viewer = Viewer(client, method="HEAD")
    asyncio.run(asyncio.wait_for(viewer.look(), 1))
    assert (viewer.status, viewer.body) == (200, b"")


@pytest.mark.parametrize("query", [b"x=1", b"key=a&key=b", b"model=", b"key=" + b"a" * 201])
def test_a_query_that_means_nothing_is_refused(client: Client, query: bytes) -> None:
    viewer = Viewer(client, query)
    looked(client, viewer)
    assert viewer.status == 400


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_are_told_the_newest_first(client: Client) -> None:
    events = client.ask("GET", "/events").json()
    assert [(each["id"], each["key"], each["state"]) for each in events] == [
        (2, "pump-03", "running"),
        (1, "pump-02", "ended"),
    ]
    assert events[0]["columns"][0] == {"column": "vibration_mm_s", "contribution": 5.0, "actual": 3.8, "expected": 1.9}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", events[0]["start"])
    assert [each["id"] for each in client.ask("GET", "/events?limit=1").json()] == [2]
    assert [each["id"] for each in client.ask("GET", "/events?key=pump-02").json()] == [1]
    assert [each["id"] for each in client.ask("GET", f"/events?since={time.time() - 60}").json()] == [2]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "since=yesterday", "since=nan", "since=-1", "model=pump"]
)
def test_an_odd_question_for_events_is_refused(client: Client, query: str) -> None:
    answer = client.ask("GET", f"/events?{query}")
    assert answer.status_code == 400
    assert "expected" in answer.json()["error"]


def test_an_event_is_acknowledged_and_labelled(client: Client) -> None:
    before = client.service.events.last_change()
    answer = client.ask("POST", "/events/1", content=b'{"acknowledged":true}', headers=JSON)
    assert (answer.status_code, answer.json()["acknowledged"], answer.json()["label"]) == (200, True, "")
    answer = client.ask("POST", "/events/1", content=b'{"label":"fault"}', headers=JSON)
    assert (answer.json()["acknowledged"], answer.json()["label"]) == (True, "fault")
    answer = client.ask("POST", "/events/1", content=b'{"acknowledged":false}', headers=JSON)
    assert (answer.json()["acknowledged"], answer.json()["label"]) == (False, "fault")
    assert client.service.events.last_change() > before
    assert client.ask("POST", "/events/1", content=b'{"label":""}', headers=JSON).json()["label"] == ""


def test_labels_are_beside_the_events_for_finetune(client: Client, tmp_path: Path) -> None:
    store = client.service.events = EventStore(tmp_path / "events.sqlite")
    store.apply([Change(Event(key="a", start=1.7e9, end=1.7e9 + 60, state="ended"), "started")])
    client.ask("POST", "/events/1", content=b'{"label":"false-alarm"}', headers=JSON)
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    assert lines[1] == "2023-11-14T22:13:20Z,2023-11-14T22:14:20Z,false alarm,a,,1"
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "labels.csv").mkdir()  # so that it cannot be written
    answer = client.ask("POST", "/events/1", content=b'{"label":"fault"}', headers=JSON)
    assert (answer.status_code, answer.json()["label"]) == (200, "fault")
    store.close()


@pytest.mark.parametrize("number", [3, 2**63 - 1, 2**63, 10**30])
def test_there_may_be_no_such_event(client: Client, number: int) -> None:
    assert client.ask("POST", f"/events/{number}", content=b"{}", headers=JSON).status_code == 404


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"acknowledged":"yes"}', b'{"label":"odd"}', b'{"x":1}', b"\xff", b"[" * 100_000]
)
def test_an_odd_change_is_refused(client: Client, body: bytes) -> None:
    answer = client.ask("POST", "/events/1", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the body is not what this endpoint takes")


# --- other sites -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/events/1", "/normal"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_what_a_form_can_send_changes_nothing(client: Client, path: str, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    assert client.ask("POST", path, content=b'{"acknowledged":true}', headers=headers).status_code == 415
    assert not client.ask("GET", "/events?key=pump-02").json()[0]["acknowledged"]


OTHERS = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://test"},
    {"origin": "http://evil.example"},
    {"origin": "http://test.evil.example"},
    {"origin": "null"},
]


@pytest.mark.parametrize("headers", OTHERS)
def test_the_page_of_another_site_changes_nothing_and_sees_nothing(client: Client, headers: dict[str, str]) -> None:
    answer = client.ask("POST", "/events/1", content=b'{"acknowledged":true}', headers=JSON | headers)
    assert answer.status_code == 400
    assert "comes from a page of" in answer.json()["error"]
    assert client.ask("GET", "/live", headers=headers).status_code == 400
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "access-control-allow-origin" not in client.ask("OPTIONS", "/events/1", headers=headers).headers


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://test"},
        {"origin": "HTTPS://TEST"},
    ],
)
def test_our_own_page_may(client: Client, headers: dict[str, str]) -> None:
    told = JSON | {"content-type": "application/json; charset=utf-8"} | headers
    assert client.ask("POST", "/events/1", content=b'{"acknowledged":true}', headers=told).status_code == 200


# --- normal times ----------------------------------------------------------------------------------------------------


def test_the_last_minutes_are_kept_where_there_is_a_place_for_them(client: Client) -> None:
    body = b'{"model":"pump","key":"pump-02","minutes":15}'
    answer = client.ask("POST", "/normal", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["error"][-11:]) == (400, "--state DIR")
    asked = []

    def keep(model: str, key: str, minutes: float) -> Path:
        asked.append((model, key, minutes))
        if key == "none":
            raise InputError("no row of 'none' has come in the last 15 minutes")
        if key == "full":
            raise UnavailableError("no space left on device")
        return Path("/var/lib/vae-detect/normal/pump-02.csv")

    client.service.keep_normal = keep
    assert client.ask("POST", "/normal", content=body, headers=JSON).json() == {"file": "pump-02.csv"}
    assert asked == [("pump", "pump-02", 15.0)]
    answer = client.ask("POST", "/normal", content=body.replace(b"pump-02", b"none"), headers=JSON)
    assert (answer.status_code, answer.json()["error"]) == (400, "no row of 'none' has come in the last 15 minutes")
    answer = client.ask("POST", "/normal", content=body.replace(b"pump-02", b"full"), headers=JSON)
    assert (answer.status_code, answer.json()["error"]) == (503, "no space left on device")
    assert client.ask("POST", "/normal", content=body.replace(b'"pump"', b'"fan"'), headers=JSON).status_code == 404
    for minutes in (b"0", b"-1", b"1441", b'"15"', b"null"):
        assert client.ask("POST", "/normal", content=body.replace(b"15", minutes), headers=JSON).status_code == 400
