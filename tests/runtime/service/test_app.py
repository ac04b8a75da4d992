"""The HTTP application without a socket: answers, refusals, metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import httpx
import numpy as np
import pytest
from conftest import MODEL, Client
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.scoring.watch import Watch
from vae_detect.runtime.service import bodies
from vae_detect.runtime.service.app import App
from vae_detect.runtime.service.bodies import MAX_BODY
from vae_detect.runtime.service.request_reader import RequestReader


def test_a_row_gets_the_verdict_of_the_detector(client: Client, detector: Detector, row: list[float]) -> None:
    response = client.score(row)
    expected = detector.score([row])
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "model": detector.bundle.export_id,
        "results": [
            {
                "row": 0,
                "score": expected.score[0].item(),
                "severity": expected.severity[0].item(),
                "p_value": expected.p_value[0].item(),
                "is_anomaly": bool(expected.is_anomaly[0]),
                "status": "ok",
                "reason": None,
            }
        ],
    }


def test_golden_rows_keep_their_scores_over_http(client: Client, detector: Detector) -> None:
    golden = detector.bundle.golden
    results = client.results(golden.x)
    assert [result["score"] for result in results] == pytest.approx(golden.score, rel=1e-4)
    assert [result["is_anomaly"] for result in results] == golden.is_anomaly


def test_many_rows_score_like_one_by_one(client: Client, normal_rows: NDArray[np.float32]) -> None:
    rows = normal_rows[:50].tolist()
    together = client.results(rows)
    alone = [client.results(row)[0] for row in rows]
    assert [result["row"] for result in together] == list(range(50))
    assert [result["score"] for result in together] == pytest.approx([one["score"] for one in alone], rel=1e-5)
    assert client.results(rows[7]) == [alone[7]]


def test_a_large_request_is_scored_in_order_over_its_chunks(
    client: Client, detector: Detector, normal_rows: NDArray[np.float32]
) -> None:
    rows = np.tile(normal_rows, (4, 1))
    results = client.results(rows.tolist())
    assert [result["row"] for result in results] == list(range(len(rows)))
    assert [result["score"] for result in results] == pytest.approx(detector.score(rows).score.tolist(), rel=1e-5)


def test_objects_score_like_lists_in_any_order(client: Client, detector: Detector, row: list[float]) -> None:
    names = detector.bundle.names
    there = dict(zip(names, row, strict=True))
    back = {"timestamp": "2024-01-01", **dict(reversed(there.items())), "ok": True, "note": None}
    results = client.results([row, there, back])
    assert len({(result["score"], result["p_value"]) for result in results}) == 1
    assert client.results(there)[0]["score"] == client.results(row)[0]["score"]
    del back[names[3]]
    refused = client.score([row, back])
    assert refused.status_code == 400
    assert refused.json() == {"error": f"row 1, column {names[3]!r} is missing"}


@pytest.mark.parametrize("query", ["?explain=1", "?explain=true"])
def test_explain_names_the_largest_contributions(
    client: Client, detector: Detector, row: list[float], query: str
) -> None:
    strange = list(row)
    strange[6] += 30  # the bearing is hot
    plain, told = client.results([row, strange]), client.results([row, strange], query)
    contributions = [result.pop("contributions") for result in told]
    assert told == plain
    explanation = detector.explain([row, strange])
    for index, found in enumerate(contributions):
        sizes = [np.float32(one["contribution"]) for one in found]
        assert sizes == sorted(explanation.contribution[index].tolist(), reverse=True)[:5]
    top = contributions[1][0]
    assert top["column"] == detector.bundle.names[6]
    assert np.float32(top["actual"]) == np.float32(strange[6])
    assert top["expected"] == pytest.approx(explanation.expected[1, 6], rel=1e-5)


@pytest.mark.parametrize("query", ["?explain=5", "?explain=", "?explain=0", "?explain", "?explian=1", "?" + "x" * 5000])
def test_other_queries_are_refused(client: Client, row: list[float], query: str) -> None:
    response = client.score(row, query)
    assert response.status_code == 400
    assert len(response.content) < 200


def test_a_windows_model_takes_the_request_as_a_recording(windows_detector: Detector, normal_csv: Path) -> None:
    client = Client(windows_detector)
    lines = normal_csv.read_text().splitlines()[1:11]
    rows = [[float(cell) for cell in line.split(",")[1:]] for line in lines]
    results = client.results(rows)
    assert [result["status"] for result in results] == ["warming"] * 3 + ["ok"] * 7
    assert results[0]["score"] is None
    assert "fill the window" in results[0]["reason"]
    assert results[3]["score"] == pytest.approx(windows_detector.score([rows[:4]]).score[0], rel=1e-5)
    told = client.results(rows, "?explain=1")
    assert ["contributions" in result for result in told] == [False] * 3 + [True] * 7
    assert told[9]["contributions"][0]["actual"] in np.array(rows[9], np.float32)
    series = client.series()
    assert series["vae_detect_rows_flagged_total[('reason', 'warming')]"] == 6
    assert series["vae_detect_rows_scored_total[]"] == 14


def test_a_score_that_overflows_refuses_the_request(client: Client, row: list[float], detector: Detector) -> None:
    for value in (3.4e38, -3.4e38):
        response = client.score([row, [value] * 8])
        assert response.status_code == 400
        assert response.json()["error"].startswith(f"row 1, column {detector.bundle.names[0]!r}: the score exceeds")


def hostile(row: list[float]) -> list[bytes]:
    """Bodies that must not be scored: broken JSON, then sound JSON around one bad cell, then odd rows."""
    cells = [
        "null", "true", "false", '""', '"1"', '"1,5"', '"0x1A"', '"NaN"', "NaN", "nan", "Infinity", "-Infinity", "inf",
        "1e999", "-1e999", "3.5e38", "9" * 60, "9" * 5000, "1e", "1.", ".5", "+1", "01", "0x1A", "1_0", "1,5", "\u0661",
        "[1]", "[]", "{}", '{"a": 1}', "undefined", "'1'", '"\\ud800"', '"\\u0000"', '"' + "x" * 9000 + '"', "--1",
    ]  # fmt: skip
    good = ", ".join(map(repr, row[1:]))
    whole = f"[1, {good}]"
    wholes = [
        "", " ", "\n", "\x00", "{", "[", "]", "}", "[[", "[}", '"', "null", "true", "12", '"text"', "[]", "{}", "[[]]",
        "[{}]", "[null]", '["a"]', "[" * 100_000, "[" * 500 + "]" * 500, '{"a":' * 100_000, f"[[{whole}]]", f"[{good}]",
        f"[1, {good}, 2]", f"[{whole}, [{good}]]", f"[{whole}, 3]", whole[:-1], f"[1, {good},]", f"{whole} []",
        f"{whole}x", f"// no\n{whole}", f"data={whole}", '{"speed_rpm": 1, "speed_rpm": 2}', "<xml/>", f"\ufeff{whole}",
        "\U0001f600", "[" + ",".join(["[1]"] * 1000) + "]", "a,b\n1,2\n", "[" + "1," * 100_000 + "1]",
        json.dumps(dict(enumerate(row))),
    ]  # fmt: skip
    raw = [b"\xff\xfe", b"\x80", b"[\xc3\x28]", whole.encode("utf-16"), b"\x1f\x8b\x08\x00", bytes(range(256))]
    return [*(f"[{whole}, [{cell}, {good}]]".encode() for cell in cells), *map(str.encode, wholes), *raw]


def test_hostile_bodies_are_refused_and_change_no_score(client: Client, row: list[float]) -> None:
    before = client.results(row)
    bodies = hostile(row)
    assert len(bodies) >= 60
    for body in bodies:
        response = client.score(body)
        assert response.status_code == (413 if len(body) > 140_000 else 400), body[:80]
        assert list(response.json()) == ["error"], body[:80]
        assert len(response.content) < 1000, body[:80]
        assert "x" * 65 not in response.text
    assert client.results(row) == before


def test_refused_rows_name_row_and_column(client: Client, row: list[float], detector: Detector) -> None:
    response = client.score([row, row, row, [*row[:1], "much", *row[2:]]])
    name = detector.bundle.names[1]
    assert response.json() == {"error": f"row 3, column {name!r} holds 'much', expected a number"}


def test_bodies_beyond_the_limit_are_refused_with_and_without_a_length(client: Client) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 2**20 + 1):
            yield b" " * 2**20

    assert client.ask("POST", "/score", content=chunks()).status_code == 413
    assert client.score(b" " * (MAX_BODY + 1)).status_code == 413
    assert client.score(b" " * MAX_BODY).status_code == 400
    assert client.score([[1]] * 100_001).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("POST", "/score/", {}, 404),
        ("GET", "/../etc/passwd", {}, 404),
        ("GET", "/metrics/%00", {}, 404),
        ("POST", "/" + "x" * 10_000, {}, 404),
        ("GET", "/score", {}, 405),
        ("PUT", "/score", {}, 405),
        ("DELETE", "/model", {}, 405),
        ("BREW", "/healthz", {}, 405),
        ("POST", "/score", {"content-encoding": "br"}, 415),
        ("POST", "/score", {"content-encoding": "identity, br"}, 415),
    ],
)
def test_wrong_requests_get_a_short_json_error(
    client: Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = client.ask(method, path, headers=headers, content=b"[1]" if method == "POST" else None)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert len(response.content) < 200
    assert "xxx" not in response.text


def test_405_names_the_allowed_method(client: Client) -> None:
    assert client.ask("GET", "/score").headers["allow"] == "POST"


def test_options_are_told_on_known_paths(client: Client) -> None:
    for path, method in (("/score", "POST"), ("/", "GET"), ("/healthz", "GET"), ("/metrics", "GET")):
        response = client.ask("OPTIONS", path)
        assert (response.status_code, response.content) == (204, b"")
        assert {method, "OPTIONS"} <= set(response.headers["allow"].split(", "))
    assert client.ask("OPTIONS", "/nothing").status_code == 404
    assert client.series()["vae_detect_requests_total[('code', '405'), ('route', 'score')]"] == 0


def test_a_large_body_is_told_what_is_wrong_where(client: Client, row: list[float], detector: Detector) -> None:
    name = detector.bundle.names[2]
    for bad, reason in (
        ([*row[:2], "much", *row[3:]], f", column {name!r} holds 'much', expected a number"),
        (row[:-1], f" has {len(row) - 1} values, expected {len(row)}"),
        (7, " holds 7, expected a list or an object"),
    ):
        response = client.score([*[row] * 9000, bad, row])
        assert (response.status_code, response.json()) == (400, {"error": f"row 9000{reason}"})
    assert client.score(json.dumps([row] * 9000).encode()[:-1]).status_code == 400
    series = client.series()
    assert series["vae_detect_rows_refused_total[]"] == series["vae_detect_rows_received_total[]"] == 3 * 9002


def test_one_row_of_a_million_keys_is_refused_before_it_is_read(client: Client, row: list[float]) -> None:
    names = client.ask("GET", "/model").json()["columns"]
    there = dict(zip((column["name"] for column in names), row, strict=True))
    many = {f"key{index}": index for index in range(20_000)}
    for body in (there | many, [there, there | many], [1] * 100_000):
        response = client.score(body)
        assert response.status_code == 413
        assert "bytes, expected at most 133120; send only what the model reads" in response.json()["error"]
    assert client.score([there, there | dict(list(many.items())[:5000])]).status_code == 200


def test_explanations_are_for_ten_thousand_rows_at_most(client: Client, row: list[float]) -> None:
    response = client.score([row] * 10_001, "?explain=1")
    assert response.status_code == 413
    assert response.json() == {"error": "the body holds 10001 rows, expected at most 10000 with explain=1"}
    assert client.series()["vae_detect_rows_refused_total[]"] == 10_001
    assert len(client.results([row] * 300, "?explain=1")) == 300


def test_answers_count_in_the_memory_of_all(client: Client, row: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps([row] * 3000).encode()
    assert client.score(body).status_code == 200
    monkeypatch.setattr(bodies, "MAX_HELD", 400_000)
    assert len(body) < 400_000
    assert client.score(body).status_code == 503
    assert client.score([row] * 1000).status_code == 200
    assert client.service._memory.held == 0
    series = client.series()
    assert series["vae_detect_rows_received_total[]"] == 7000
    assert series["vae_detect_rows_refused_total[]"] == 3000


def test_the_model_tells_its_promise_and_no_rows(client: Client, detector: Detector) -> None:
    facts = client.ask("GET", "/model").json()
    calibration = detector.bundle.calibration
    assert facts["export_id"] == detector.bundle.export_id
    assert [column["name"] for column in facts["columns"]] == list(detector.bundle.names)
    assert facts["provider"] == "cpu"
    assert facts["calibration"]["threshold"] == calibration.threshold
    assert facts["calibration"]["far_high"] == calibration.far_high
    assert "golden" not in facts
    assert "knot_scores" not in facts["calibration"]
    assert str(MODEL.parent) not in json.dumps(facts)


def test_the_index_lists_every_endpoint(client: Client, detector: Detector) -> None:
    endpoints = client.ask("GET", "/").json()["endpoints"]
    assert list(endpoints)[:3] == ["POST /score", "GET /model", "GET /healthz"]
    assert {"GET /openapi.json", "POST /v2/models/{name}/infer"} <= endpoints.keys()
    for endpoint in endpoints:
        method, path = endpoint.split()
        path = path.format(name="pump", version=detector.bundle.export_id, file="page.js", id=1, number=1)
        if path == "/live":  # has no end
            method = "HEAD"
        if not path.endswith("/unload"):
            missing = 404 if "/frames/" in path else 415 if method == "POST" else 200
            assert client.ask(method, path).status_code in (200, 400, missing)


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/v2", "/v2/models/pump", "/v2/models/pump/stats"])
def test_a_query_that_means_nothing_is_refused(client: Client, path: str) -> None:
    for query in ("?x=1", "?model=pump"):
        answer = client.ask("GET", f"{path}{query}")
        assert (answer.status_code, answer.json()) == (400, {"error": "this endpoint takes no query"})
    assert client.ask("GET", "/nothing?x=1").status_code == 404
    assert client.ask("POST", "/v2/repository/index?x=1").status_code == 400
    assert client.ask("DELETE", f"{path}?x=1").status_code == 405


def test_the_model_takes_its_name_alone(client: Client) -> None:
    assert client.ask("GET", "/model?model=pump").status_code == 200
    answer = client.ask("GET", "/model?explain=1")
    assert (answer.status_code, answer.json()) == (400, {"error": "query 'explain' is unknown; expected model"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"])
def test_scrapers_and_load_balancers_may_send_queries_of_their_own(client: Client, path: str) -> None:
    assert client.ask("GET", f"{path}?module=x&_=1").status_code == 200


@pytest.mark.parametrize(
    "path", ["/model/", "/v2/", "/v2/models/", "/v2/models/pump/", "/v2/models/pump//config", "/v2/models/pump/ready/"]
)
def test_another_path_is_another_path(client: Client, path: str) -> None:
    answer = client.ask("GET", path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
    assert client.ask("POST", "/v2/models/pump//infer", content=b"{}").status_code == 404


def test_what_takes_tensors_takes_them_by_post(client: Client) -> None:
    for method in ("GET", "HEAD", "PUT"):
        answer = client.ask(method, "/v2/models/pump/infer")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert client.ask("OPTIONS", "/v2/models/pump/infer").headers["allow"] == "POST, OPTIONS"


def test_head_is_get_without_a_body(client: Client) -> None:
    for path in ("/", "/model", "/openapi.json", "/v2", "/healthz", "/nothing"):
        asked, told = client.ask("GET", path), client.ask("HEAD", path)
        assert (told.status_code, told.headers, told.content) == (asked.status_code, asked.headers, b"")


def test_alive_but_not_ready_until_a_model_is_there(detector: Detector, row: list[float]) -> None:
    client = Client(None)
    assert client.ask("GET", "/healthz").status_code == 200
    for method, path in (("GET", "/readyz"), ("GET", "/model"), ("POST", "/score")):
        response = client.ask(method, path)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json() == {"error": "not ready: the model is being loaded"}
    assert client.series()["vae_detect_ready[]"] == 0
    client.use(detector)
    assert client.ask("GET", "/readyz").json() == {"status": "ready", "calibration": "calibration holds"}
    assert client.results(row)


def test_a_broken_promise_is_told_and_keeps_the_service_ready(
    client: Client, detector: Detector, row: list[float]
) -> None:
    assert client.series()["vae_detect_calibration_holds[]"] == 1
    bad = detector.bundle.golden.x[detector.bundle.golden.is_anomaly.index(True)]
    client.results([bad] * 1507)
    assert client.series()["vae_detect_calibration_holds[]"] == 1
    client.results(bad)  # the last of 4 blocks of 377 rows, which hold one alarm at far_high = 0.0027
    assert client.series()["vae_detect_calibration_holds[]"] == 0
    ready = client.ask("GET", "/readyz")
    assert ready.status_code == 200
    assert ready.json()["calibration"].startswith(
        "calibration no longer holds: 1 of the last 1508 inputs alarmed, promised 0.001, "
    )


def test_an_adaptive_service_learns_a_lasting_fault_as_normal(detector: Detector, row: list[float]) -> None:
    client = Client(detector, adaptive=True)
    bad = [3 * row[0], *row[1:]]  # p = 1e-9
    first, then = client.results([bad] * 34), client.results([bad] * 100)
    # an alarm takes 0.03 x 0.999 of alpha away: after 34 there is nothing left
    assert [result["is_anomaly"] for result in first] == [True] * 34
    assert [result["is_anomaly"] for result in then] == [False] * 100
    assert then[0]["severity"] > 1  # of the p-value, which stays what it is


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_refused_request_leaves_no_trace(detector: Detector, row: list[float], adaptive: bool) -> None:
    client, untouched = (Client(detector, adaptive=adaptive) for _ in range(2))
    bad = [3 * row[0], *row[1:]]  # an alarm each, over many chunks; the last row is refused
    assert client.score([bad] * 20_000 + [[3e38] * 8]).status_code == 400
    assert client.score([bad] * 20_000 + [[None] * 8]).status_code == 400
    found, before = client.series(), untouched.series()
    changed = {name for name in before if before[name] != found[name] and name.startswith("vae_detect")}
    assert changed == {
        *("vae_detect_rows_received_total[]", "vae_detect_rows_refused_total[]"),
        "vae_detect_requests_total[('code', '400'), ('route', 'score')]",
        "vae_detect_last_input_age_seconds[('source', 'http')]",
    }
    assert client.model.served is not None
    assert client.model.served.watch.memory == Watch(detector.bundle, adaptive=adaptive).memory
    assert client.results([bad] * 40) == untouched.results([bad] * 40)


def test_a_client_that_leaves_is_its_own_fault(client: Client) -> None:
    messages = iter([{"type": "http.request", "body": b"[1,", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b"", "headers": []}
    asyncio.run(App(client.service)(scope, receive, send))
    series = client.series()
    assert series["vae_detect_requests_total[('code', '400'), ('route', 'score')]"] == 1
    assert series["vae_detect_requests_total[('code', '500'), ('route', 'score')]"] == 0


def test_an_answer_is_of_the_version_that_was_served_when_the_request_came(
    detector: Detector, windows_detector: Detector, row: list[float]
) -> None:
    client = Client(detector)

    async def swap_while_a_body_arrives() -> httpx.Response:
        async def body() -> AsyncIterator[bytes]:
            yield b"["
            client.use(windows_detector)
            yield json.dumps(row).encode() + b"]"

        transport = httpx.ASGITransport(App(client.service))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.post("/score", content=body())

    answer = asyncio.run(swap_while_a_body_arrives()).json()
    assert answer["model"] == detector.bundle.export_id
    assert answer["results"][0]["status"] == "ok"
    assert client.score([row]).json()["model"] == windows_detector.bundle.export_id
    series = client.series()  # counts go on over versions
    assert (
        series["vae_detect_rows_scored_total[]"],
        series["vae_detect_rows_flagged_total[('reason', 'warming')]"],
    ) == (1, 1)


def test_a_closing_service_is_not_ready_but_still_answers(client: Client, row: list[float]) -> None:
    async def close() -> None:
        client.service.close()

    asyncio.run(close())
    assert client.ask("GET", "/readyz").json() == {"error": "not ready: the service is stopping"}
    assert client.series()["vae_detect_ready[]"] == 0
    assert "connection" not in client.score(row).headers
    client.service.keep_alive = False
    response = client.score(row)
    assert (response.status_code, response.headers["connection"]) == (200, "close")


def test_accounting_closes_and_no_request_makes_a_series(client: Client, row: list[float]) -> None:
    before = client.series()
    assert len(before) < 200
    sent = 0
    for rows in ([row], [row] * 20, [row] * 3000):
        client.score(rows)
        sent += len(rows)
    client.score([row] * 4 + [[None] * 8])
    client.score([row] * 6 + [[3.4e38] * 8])
    sent += 5 + 7
    for index in range(100):
        client.ask("GET", f"/junk{index}", headers={f"x-{index}": "1"})
        client.score(b"{" * index, f"?explain={index + 2}")
    client.ask("POST", "/score", headers={"content-encoding": "br"})
    client.ask("GET", "/score")
    after = client.series()
    assert after.keys() == before.keys()
    received = after["vae_detect_rows_received_total[]"]
    flagged = sum(value for name, value in after.items() if name.startswith("vae_detect_rows_flagged_total"))
    assert received == sent
    assert received == after["vae_detect_rows_scored_total[]"] + flagged + after["vae_detect_rows_refused_total[]"]
    assert after["vae_detect_rows_refused_total[]"] == 12
    assert after["vae_detect_requests_total[('code', '200'), ('route', 'score')]"] == 3
    assert after["vae_detect_requests_total[('code', '400'), ('route', 'score')]"] == 102
    assert after["vae_detect_requests_total[('code', '415'), ('route', 'score')]"] == 1
    assert after["vae_detect_requests_total[('code', '405'), ('route', 'score')]"] == 1
    assert after["vae_detect_score_threshold_ratio_count[]"] == 3021


def test_a_bug_is_a_short_error_without_a_traceback(client: Client, detector: Detector, row: list[float]) -> None:
    class Broken(RequestReader):
        def read(self, *_: Any, **__: Any) -> NoReturn:
            raise ZeroDivisionError("a secret")

    assert client.model.served is not None
    client.model.served = replace(client.model.served, reader=Broken(detector.bundle))

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(App(client.service), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await http.post("/score", json=row)

    response = asyncio.run(once())
    assert (response.status_code, response.json()) == (500, {"error": "internal error"})
    assert client.series()["vae_detect_requests_total[('code', '500'), ('route', 'score')]"] == 1
