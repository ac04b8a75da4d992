"""Each limit of the service: one below is answered, one above is refused with a message of its own, and counted."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from conftest import ROOT, Client, parse
from server_process import connect, process, read_all, url_of

from vae_detect.runtime.rows.json_problems import MOST_LEVELS
from vae_detect.runtime.rows.pieces import MAX_ROWS, MAX_VALUES, PIECE
from vae_detect.runtime.service import bodies
from vae_detect.runtime.service.answers import MAX_EXPLAINED
from vae_detect.runtime.service.bodies import MAX_BODY
from vae_detect.runtime.service.connection import MAX_HEAD
from vae_detect.runtime.service.endpoints import MAX_REQUESTS
from vae_detect.runtime.service.refusals import LIMITS

ROW = b"[1450,172,1,3,33,19,40,2]"
LARGEST_ROW = PIECE + 256 * 8


def counted(client: Client) -> dict[str, float]:
    series = client.series()
    return {limit: series[f"vae_detect_limits_exceeded_total[('limit', '{limit}')]"] for limit in LIMITS}


def rows(n: int) -> bytes:
    return b"[%b]" % b",".join([ROW] * n)


def padded(size: int) -> bytes:
    """Two rows in a body of so many bytes."""
    return rows(2)[:-1] + b" " * (size - len(rows(2))) + b"]"


def nested(levels: int) -> bytes:
    """A row whose cell that nobody reads is nested so deep that the whole is of so many levels."""
    names = b"speed_rpm pressure_kpa vibration_mms".split()
    return b'[{"%b":1,"other":%b}]' % (names[0], b"[" * (levels - 2) + b"]" * (levels - 2))


def values(n: int) -> bytes:
    """So many values in rows of 100, of which the last may be longer."""
    row = b"[%b]" % b",".join([b"1"] * 100)
    return b"[%b,[%b]]" % (b",".join([row] * (n // 100 - 1)), b",".join([b"1"] * (100 + n % 100)))


def long_row(size: int) -> bytes:
    """Two rows, of which the first has so many bytes: only large bodies have this limit."""
    first = b"[" + b" " * (size - len(ROW)) + ROW[1:]
    assert len(first) == size
    return b"[%b,%b]" % (first, ROW)


@pytest.mark.parametrize(
    ("limit", "pair", "status", "message", "options"),
    [
        ("body", (padded(MAX_BODY), padded(MAX_BODY + 1)), 413, "the body is larger than 16 MiB", {}),
        (
            "body",
            (gzip.compress(padded(MAX_BODY), 1), gzip.compress(padded(MAX_BODY + 1), 1)),
            413,
            "the body holds more than 16777216 bytes when it is unpacked",
            {"headers": {"content-encoding": "gzip"}},
        ),
        ("rows", (rows(MAX_ROWS), rows(MAX_ROWS + 1)), 413, "the body holds 100001 rows, expected at most 100000", {}),
        (
            "rows",
            (rows(MAX_EXPLAINED), rows(MAX_EXPLAINED + 1)),
            413,
            "the body holds 10001 rows, expected at most 10000 with explain=1",
            {"params": {"explain": "1"}},
        ),
        ("row", (long_row(LARGEST_ROW), long_row(LARGEST_ROW + 1)), 413, "row 0 has 133121 bytes, expected", {}),
        ("encoding", (ROW, ROW), 415, "the body is encoded; send it with", {"headers": {"content-encoding": "br"}}),
    ],
)
def test_one_below_is_answered_and_one_above_refused_and_counted(
    client: Client, limit: str, pair: tuple[bytes, bytes], status: int, message: str, options: dict[str, Any]
) -> None:
    below, above = pair
    fine = {} if limit == "encoding" else options
    assert client.ask("POST", "/score", content=below, **fine).status_code == 200
    assert counted(client) == dict.fromkeys(LIMITS, 0)
    response = client.ask("POST", "/score", content=above, **options)
    assert response.status_code == status
    assert response.json()["error"].startswith(message)
    assert counted(client) == dict.fromkeys(LIMITS, 0) | {limit: 1}


@pytest.mark.parametrize(
    ("limit", "body", "most", "status", "message"),
    [
        ("depth", nested, MOST_LEVELS, 400, "the body is nested deeper than 64 levels"),
        ("values", values, MAX_VALUES, 413, "the body holds more than 1000000 values"),
    ],
)
def test_one_below_is_refused_for_another_reason(
    client: Client, limit: str, body: Callable[[int], bytes], most: int, status: int, message: str
) -> None:
    for size, is_over in ((most, False), (most + 1, True)):
        response = client.score(body(size))
        assert response.json()["error"].startswith(message) == is_over
        assert response.status_code == (status if is_over else response.status_code)
        assert counted(client) == dict.fromkeys(LIMITS, 0) | {limit: int(is_over)}


@pytest.mark.parametrize(
    ("limit", "shape", "data", "status"),
    [
        ("rows", [MAX_ROWS + 1, 8], b"[0]", 413),
        ("values", [MAX_ROWS, 11], b"[0]", 413),
        ("depth", [1, 8], b"[" * 99 + b"]" * 99, 400),
    ],
)
def test_tensors_have_the_same_limits(client: Client, limit: str, shape: list[int], data: bytes, status: int) -> None:
    body = b'{"inputs":[{"name":"x","shape":%b,"datatype":"FP32","data":%b}]}' % (json.dumps(shape).encode(), data)
    response = client.ask("POST", "/v2/models/pump/infer", content=body)
    assert response.status_code == status, response.text
    assert counted(client) == dict.fromkeys(LIMITS, 0) | {limit: 1}


def test_memory_is_shared_and_too_much_is_counted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_HELD", 1000)
    assert client.score(rows(1)).status_code == 200
    response = client.score(rows(40))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["error"] == "too many large requests at once; try again"
    assert counted(client) == dict.fromkeys(LIMITS, 0) | {"memory": 1}


def test_as_many_requests_as_may_be_are_answered_and_one_more_is_not(client: Client) -> None:
    async def run(n: int) -> list[httpx.Response]:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await asyncio.gather(*(http.post("/score", content=ROW) for _ in range(n)))

    assert {answer.status_code for answer in asyncio.run(run(MAX_REQUESTS))} == {200}
    answers = asyncio.run(run(MAX_REQUESTS + 1))
    (refused,) = [answer for answer in answers if answer.status_code != 200]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"] == "too many requests at once; try again"
    assert counted(client) == dict.fromkeys(LIMITS, 0) | {"requests": 1}


def test_heads_that_are_too_large_or_too_slow_are_counted() -> None:
    """Of the connection, before there is a request."""

    def exceeded(url: str) -> dict[str, float]:
        series = parse(httpx.get(f"{url}/metrics").text)
        return {limit: series[f"vae_detect_limits_exceeded_total[('limit', '{limit}')]"] for limit in LIMITS}

    def asked(url: str, size: int) -> bytes:
        """The answer to a request with so many bytes of URL, names and values of headers."""
        with connect(url) as connection:
            filled = size - len("/healthz") - len("host") - 1 - len("x") - len("connection") - len("close")
            head = f"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {'x' * filled}\r\n\r\n"
            connection.sendall(head.encode())
            return read_all(connection)

    with process(HEAD_S=1.0) as running:
        url = url_of(running)
        assert asked(url, MAX_HEAD - 200).startswith(b"HTTP/1.1 200 ")
        assert exceeded(url)["head"] == 0
        answer = asked(url, MAX_HEAD + 1)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"headers are larger than 64 KiB" in answer
        assert exceeded(url) == dict.fromkeys(LIMITS, 0) | {"head": 1}
        with connect(url) as slow:
            slow.sendall(b"GET / HTTP/1.1\r\nHost:")
            assert read_all(slow) == b""
        assert exceeded(url) == dict.fromkeys(LIMITS, 0) | {"head": 1, "time": 1}


def test_a_body_that_is_too_slow_is_counted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.service._bodies, "_limit_s", 0.05)
    sent: list[Any] = []

    async def run() -> None:
        asked = iter([{"type": "http.request", "body": b"[", "more_body": True}])

        async def receive() -> Any:
            for message in asked:
                return message
            await asyncio.sleep(10)
            return None

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b"", "headers": []}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vae_detect.runtime.service.requests.LINGER_S", 0.01)
            await client.app(scope, receive, send)

    started = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - started < 5
    assert sent[0]["status"] == 408
    assert counted(client) == dict.fromkeys(LIMITS, 0) | {"time": 1}
    assert sum(thread.name != "closer look" for thread in threading.enumerate()) < 20


def test_the_page_names_every_limit() -> None:
    page = (ROOT / "docs" / "runtime.md").read_text()
    table = page.partition("### Limits of a service")[2].partition("###")[0]
    for limit in LIMITS:
        assert f"| `{limit}` |" in table
