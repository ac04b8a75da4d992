"""Requests that are taken at once: the same answers as the usual way gives, and what is odd is left to that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from conftest import Client
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.hosting.logs import Log
from vae_detect.runtime.service import at_once
from vae_detect.runtime.service.access import Access, Tokens, doors
from vae_detect.runtime.service.answers import encoded
from vae_detect.runtime.service.endpoints import MAX_REQUESTS
from vae_detect.runtime.service.request_reader import RequestReader
from vae_detect.runtime.service.requests import Application

JSON = [(b"content-type", b"application/json")]
INFER = "/v2/models/pump/infer"


class Pending:
    """A request whose client waits, or has left."""

    def __init__(self, *, left: bool = False) -> None:
        self.answer: Any = None
        self.usually = self.closed = False
        self._left = left

    def gone(self) -> bool:
        return self._left

    def reply(self, headers: list[tuple[bytes, bytes]], parts: Sequence[bytes], *, close: bool) -> None:
        assert headers == JSON
        self.answer, self.closed = json.loads(b"".join(parts)), close

    def ask_usually(self) -> None:
        self.usually = True


def take(
    client: Client,
    *bodies: Any,
    path: str = "/score",
    query: bytes = b"",
    pending: Pending | None = None,
    **more: bytes,
) -> list[tuple[bool, Pending]]:
    """Whether each body was taken, all in one turn of the event loop, and what came of it."""

    async def run() -> list[tuple[bool, Pending]]:
        headers = [*JSON, *((name.replace("_", "-").encode(), value) for name, value in more.items())]
        scope = {"path": path, "query_string": query, "headers": headers}
        found = []
        for body in bodies:
            one = pending or Pending()
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            found.append((client.app.take(scope, content, one), one))
        await asyncio.sleep(0.01)
        return found

    return asyncio.run(run())


def infer(rows: list[list[float]], **more: Any) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": rows}
    return {"inputs": [tensor], "id": "7", **more}


def test_the_answers_are_those_of_the_usual_way(client: Client, normal_rows: NDArray[np.float32]) -> None:
    rows = normal_rows[:5].tolist()
    for path, body in (("/score", rows), ("/score", rows[0]), (INFER, infer(rows))):
        ((taken, pending),) = take(client, body, path=path)
        assert taken
        assert pending.answer == client.ask("POST", path, json=body).json()
    assert client.service.requests == 0


def test_what_comes_together_is_scored_and_counted_as_if_it_came_alone(
    client: Client, detector: Detector, normal_rows: NDArray[np.float32]
) -> None:
    found = take(client, *normal_rows[:40].tolist())
    scores = [pending.answer["results"][0]["score"] for _, pending in found]
    assert scores == pytest.approx(detector.score(normal_rows[:40]).score.tolist(), rel=1e-5)
    series = client.series()
    assert series["vae_detect_batch_rows_sum[]"] == 40
    assert series["vae_detect_batch_rows_count[]"] == 1
    assert series["vae_detect_requests_total[('code', '200'), ('route', 'score')]"] == 40
    assert series["vae_detect_rows_scored_total[]"] == series["vae_detect_rows_received_total[]"] == 40


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (b"[1, 2]", {}),
        (b"no JSON", {}),
        (None, {"query": b"explain=1"}),
        (None, {"query": b"key=a"}),
        (None, {"path": "/v2/models/other/infer"}),
        (None, {"path": "/v2/models/pump/encoder/infer"}),
        (None, {"path": "/nothing"}),
        (None, {"content_encoding": b"gzip"}),
        (None, {"x_request_id": b"a"}),
        (b" " * 70_000, {}),
    ],
)
def test_what_is_odd_is_left_alone(client: Client, row: list[float], body: bytes | None, more: dict[str, Any]) -> None:
    ((taken, pending),) = take(client, row if body is None else body, **more)
    assert not taken
    assert pending.answer is None
    assert not pending.usually
    assert client.series()["vae_detect_rows_received_total[]"] == client.service.requests == 0


def test_outputs_beside_the_verdict_are_left_alone(client: Client, row: list[float]) -> None:
    for outputs, expected in (([{"name": "score"}], True), ([{"name": "score"}, {"name": "elbo"}], False)):
        ((taken, _),) = take(client, infer([row], outputs=outputs), path=INFER)
        assert taken == expected


def test_a_score_that_overflows_is_told_by_the_usual_way_and_its_neighbours_are_answered(
    client: Client, row: list[float]
) -> None:
    (_, first), (taken, large), (_, last) = take(client, row, [3.4e38] * 8, row)
    assert taken
    assert large.usually
    assert large.answer is None
    assert first.answer == last.answer == client.score(row).json()
    assert client.series()["vae_detect_rows_received_total[]"] == 3
    assert client.service.requests == 0


def test_a_client_that_has_left_is_not_scored(client: Client, row: list[float]) -> None:
    ((taken, pending),) = take(client, row, pending=Pending(left=True))
    assert taken
    assert pending.usually
    assert client.series()["vae_detect_rows_scored_total[]"] == 0


def test_a_fault_is_met_again_by_the_usual_way_and_harms_no_other(
    client: Client, row: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = encoded
    answers = iter([True, False, True])
    monkeypatch.setattr(at_once, "encoded", lambda *asked: written(*asked) if next(answers) else 1 / 0)
    found = [pending for _, pending in take(client, row, row, row)]
    assert [pending.usually for pending in found] == [False, True, False]
    assert found[0].answer == found[2].answer
    monkeypatch.setattr(RequestReader, "read", lambda *_: 1 / 0)
    ((taken, pending),) = take(client, row)
    assert not taken
    assert not pending.usually


def test_no_more_is_taken_than_may_be_worked_on(client: Client, row: list[float]) -> None:
    found = take(client, *[row] * (MAX_REQUESTS + 5))
    assert [taken for taken, _ in found] == [True] * MAX_REQUESTS + [False] * 5


def test_the_last_answer_of_a_service_closes_the_connection(client: Client, row: list[float]) -> None:
    client.service.keep_alive = False
    ((_, pending),) = take(client, row)
    assert pending.closed


def test_images_and_keys_take_their_time(images_detector: Detector) -> None:
    images = Client(images_detector)
    ((taken, _),) = take(images, b"\x89PNG")
    assert not taken


def test_windows_stand_alone(windows_detector: Detector, normal_rows: NDArray[np.float32]) -> None:
    client = Client(windows_detector)
    (_, pending), (_, other) = take(client, normal_rows[:6].tolist(), normal_rows[:2].tolist())
    assert [result["status"] for result in pending.answer["results"]] == ["warming"] * 3 + ["ok"] * 3
    assert [result["status"] for result in other.answer["results"]] == ["warming"] * 2


def test_doors_let_through_what_may_be_taken(client: Client, row: list[float]) -> None:
    token = "a-token-of-some-length"
    access = Access(Tokens(token, "here"))
    main, metrics = doors(client.app, access, log=Log(lambda _: None), count=lambda *_: None, split=True)
    body, bearer = json.dumps(row).encode(), (b"authorization", f"Bearer {token}".encode())

    async def taken(door: Application, *headers: tuple[bytes, bytes]) -> tuple[bool, Any]:
        pending = Pending()
        found = door.take({"path": "/score", "query_string": b"", "headers": [*JSON, *headers]}, body, pending)
        await asyncio.sleep(0.01)
        return found, pending.answer

    assert asyncio.run(taken(main, bearer)) == (True, client.score(row).json())
    for door, headers in ((main, ()), (main, [(b"authorization", b"Bearer another")]), (metrics, [bearer])):
        assert asyncio.run(taken(door, *headers)) == (False, None)
