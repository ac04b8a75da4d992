"""One version of a model and what belongs to it: streams by key, watch, metrics; remembered only when accepted."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import MODEL, Client
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.scoring.adaptive import STEP
from vae_detect.runtime.scoring.framing import MOST_KEYS, Framer
from vae_detect.runtime.scoring.score import score_rows
from vae_detect.runtime.service.models import Served

Floats = NDArray[np.float32]


def together(client: Client, *asked: tuple[str, Any]) -> list[httpx.Response]:
    """The answers to requests that come at the same time, in this order."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            return await asyncio.gather(*(http.post(f"/score{query}", json=body) for query, body in asked))

    return asyncio.run(run())


def served(client: Client) -> Served:
    assert client.model.served is not None
    return client.model.served


def test_a_key_has_windows_of_its_own(windows_detector: Detector, normal_rows: Floats) -> None:
    client = Client(windows_detector)
    expected, _ = score_rows(windows_detector, Framer.of(windows_detector.bundle), Rows(0, normal_rows[:12], {}, None))
    cuts = [slice(0, 1), slice(1, 3), slice(3, 4), slice(4, 12)]  # the cuts change no result
    for cut in cuts:
        for key in ("pump 1", "pump 2"):
            found = client.results(normal_rows[cut].tolist(), f"?key={key}")
            assert [each["status"] for each in found] == expected.status[cut]
            assert [each["key"] for each in found] == [key] * len(found)
            scores = [np.nan if each["score"] is None else each["score"] for each in found]
            assert np.allclose(scores, expected.scores.score[cut], rtol=1e-5, atol=0, equal_nan=True)
    assert client.series()["vae_detect_keys[]"] == 2
    assert client.results(normal_rows[0].tolist())[0]["status"] == "warming"  # without a key it stands alone


def test_requests_of_one_key_that_come_together_follow_each_other(
    windows_detector: Detector, normal_rows: Floats
) -> None:
    client = Client(windows_detector)
    n = 40
    expected, _ = score_rows(windows_detector, Framer.of(windows_detector.bundle), Rows(0, normal_rows[:n], {}, None))
    asked = [("?key=a" if number % 2 else "?key=b", normal_rows[number // 2].tolist()) for number in range(2 * n)]
    answers = together(client, *asked)
    for key in (0, 1):
        found = [answer.json()["results"][0] for answer in answers[key::2]]
        assert [each["status"] for each in found] == expected.status
        assert np.allclose([each["score"] or np.nan for each in found], expected.scores.score, 1e-5, 0, equal_nan=True)


def test_what_is_refused_leaves_no_row_in_the_windows_of_its_key(
    windows_detector: Detector, normal_rows: Floats
) -> None:
    client, untouched = Client(windows_detector), Client(windows_detector)
    good, more = normal_rows[:3].tolist(), normal_rows[3:6].tolist()
    for each in (client, untouched):
        each.results(good, "?key=a")
    for bad in ([None] * 8, [3e38] * 8, [1.0] * 7):
        assert client.score([more[0], bad], "?key=a").status_code == 400
    assert client.results(more, "?key=a") == untouched.results(more, "?key=a")
    assert served(client).watch.memory == served(untouched).watch.memory


def test_a_flagged_row_breaks_the_windows_of_its_key_alone(windows_detector: Detector, normal_rows: Floats) -> None:
    client = Client(windows_detector)
    for key in ("a", "b"):
        client.results(normal_rows[:4].tolist(), f"?key={key}")
    assert client.results([[None] * 8], "?key=a&on_bad_row=flag")[0]["status"] == "bad"
    assert client.results(normal_rows[4].tolist(), "?key=a")[0]["status"] == "gap"
    assert client.results(normal_rows[4].tolist(), "?key=b")[0]["status"] == "ok"


def test_a_threshold_that_follows_is_that_of_its_key(detector: Detector, row: list[float]) -> None:
    client = Client(detector, adaptive=True)
    far = detector.bundle.calibration.far
    broken = [3 * row[0], *row[1:]]
    p = client.results(broken)[0]["p_value"]
    # alpha falls by gamma (1 - far) with every alarm, from far on: it alarms while p < alpha.
    expected = [p < far - number * STEP * far * (1 - far) for number in range(60)]
    assert 20 < sum(expected) < 60
    assert [client.results(broken, "?key=a")[0]["is_anomaly"] for _ in expected] == expected
    assert client.results(broken, "?key=b")[0]["is_anomaly"]
    assert not client.results(broken, "?key=a")[0]["is_anomaly"]


def test_every_score_counts_in_the_watch_of_the_model(detector: Detector, row: list[float]) -> None:
    client, plain = Client(detector), Client(detector)
    broken = [3 * row[0], *row[1:]]
    for number in range(3):
        for body in ([row] * 5, [broken] * 3):
            client.results(body, f"?key={number}")
            plain.results(body)
    assert served(client).watch.memory.drift == served(plain).watch.memory.drift
    own = served(client).stream("1").machine.state.watch.memory.drift
    assert own != served(client).watch.memory.drift
    series, without = client.series(), plain.series()
    assert series["vae_detect_anomalies_total[]"] == without["vae_detect_anomalies_total[]"] == 9
    assert series["vae_detect_rows_scored_total[]"] == without["vae_detect_rows_scored_total[]"] == 24


def test_events_are_runs_of_anomalies_in_a_key_and_in_what_has_none(detector: Detector, row: list[float]) -> None:
    client, broken = Client(detector), [3 * row[0], *row[1:]]
    started = "vae_detect_events_started_total[]"
    for body, query, events in (
        ([row, broken, broken, row, broken], "", 2),
        ([broken, row], "", 2),  # goes on
        ([broken], "?key=a", 3),
        ([broken], "?key=b", 4),
        ([broken, row, broken], "?key=a", 5),
        ([broken], "", 6),
        ([broken, None, broken], "?key=b&on_bad_row=flag", 6),  # goes on, and so over a row without a score
        ([row, broken], "?key=b", 7),
    ):
        sent = [each if each is not None else [None] * 8 for each in body]
        client.results(sent, query)
        assert client.series()[started] == events, (body, query)


def test_one_key_too_many_forgets_the_oldest_and_counts_it(windows_detector: Detector, normal_rows: Floats) -> None:
    client = Client(windows_detector)
    rows = normal_rows[:3].tolist()
    asked = [(f"?key={number}", rows) for number in range(MOST_KEYS)]
    for first in range(0, MOST_KEYS, 200):
        assert {answer.status_code for answer in together(client, *asked[first : first + 200])} == {200}
    series = client.series()
    assert (series["vae_detect_keys[]"], series["vae_detect_keys_forgotten_total[]"]) == (MOST_KEYS, 0)
    client.results(rows, "?key=one more")
    series = client.series()
    assert (series["vae_detect_keys[]"], series["vae_detect_keys_forgotten_total[]"]) == (MOST_KEYS, 1)
    newest = normal_rows[3].tolist()
    assert client.results(newest, "?key=1")[0]["status"] == "ok"
    assert client.results(newest, "?key=0")[0]["status"] == "warming"
    client.use(windows_detector)  # the same version: its keys go on, and so does the count
    assert client.series()["vae_detect_keys_forgotten_total[]"] == 2


def test_a_refused_request_among_others_that_come_with_it(detector: Detector, normal_rows: Floats) -> None:
    client, untouched = Client(detector), Client(detector)
    good = [("", each.tolist()) for each in normal_rows[:20]]
    bad = [("", [normal_rows[0].tolist(), [3e38] * 8]), ("", [None] * 8), ("", {"rubbish": 1})]
    answers = together(client, *good[:7], bad[0], *good[7:12], *bad[1:], *good[12:])
    alone = together(untouched, *good)
    assert [answer.status_code for answer in answers if answer.status_code != 200] == [400, 400, 400]
    fine = [answer.json()["results"][0] for answer in answers if answer.status_code == 200]
    for one, other in zip(fine, [answer.json()["results"][0] for answer in alone], strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-5)
    assert served(client).watch.memory == served(untouched).watch.memory
    found, before = client.series(), untouched.series()
    names = ("scored_total[]", "flagged_total[('reason', 'overflow')]", "flagged_total[('reason', 'bad')]")
    assert [found[f"vae_detect_rows_{name}"] for name in names] == [before[f"vae_detect_rows_{name}"] for name in names]
    assert found["vae_detect_rows_received_total[]"] == 20 + found["vae_detect_rows_refused_total[]"]


def test_the_same_row_alone_and_among_forty(detector: Detector, normal_rows: Floats) -> None:
    client = Client(detector)
    alone = [client.results(each.tolist())[0] for each in normal_rows[:40]]
    at_once = [
        answer.json()["results"][0] for answer in together(client, *(("", x.tolist()) for x in normal_rows[:40]))
    ]
    for one, other in zip(alone, at_once, strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-5)
        assert one["is_anomaly"] == other["is_anomaly"]
    batches = client.series()["vae_detect_batch_rows_count[]"]
    assert 41 <= batches < 80  # those that came together were scored together


def test_a_version_that_is_replaced_leaves_the_memory_at_once(row: list[float]) -> None:
    """Not when the garbage is looked through: a large model would stay for a day."""
    gc.collect()
    gc.disable()
    try:
        detector = Detector.load(MODEL, provider="cpu")
        client = Client(detector)
        client.results(row)
        client.results([row] * 3000, "?key=a")
        client.score([row, [None] * 8])
        tensor = {"name": "x", "shape": [1, 8], "datatype": "FP32", "data": row}
        assert client.ask("POST", "/v2/models/pump/infer", json={"inputs": [tensor]}).status_code == 200
        gone = [weakref.ref(each) for each in (detector, served(client), served(client).turns, detector.session)]
        del detector
        asyncio.run(client.repository.unload("pump"))
        client.model.before = None
        assert [one() for one in gone] == [None] * 4
    finally:
        gc.enable()
