"""Answers: one for each sample, in order, with the id, time and key that it came with, in what it was written in."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.line_protocol import parse_metric
from vae_detect.runtime.scoring.score import score_stream
from vae_detect.runtime.scoring.state import StreamState
from vae_detect.runtime.streams.answers import answers
from vae_detect.runtime.streams.payloads import Payloads
from vae_detect.runtime.streams.samples import Answer, Sample

Floats = NDArray[np.float32]


def answered(detector: Detector, *payloads: Any, key: str = "", input_format: Any = "auto") -> list[Answer]:
    encoded = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in payloads]
    found = Payloads(detector.bundle, input_format).read([Sample(each, key) for each in encoded])
    (results,) = score_stream(detector, [found.rows], StreamState(detector.bundle))
    return answers(found, results)


def told(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.body.split(b"\n")]


def test_every_row_is_answered_in_order(detector: Detector, normal_rows: Floats) -> None:
    rows = normal_rows[:6].tolist()
    found = answered(detector, rows[0], {"id": "b", "values": rows[1]}, rows[2:5], b"{", [1.0], rows[5], key="m1")
    scores = detector.score(normal_rows[:6]).score.tolist()
    assert [len(told(answer)) for answer in found] == [1, 1, 3, 1, 1, 1]
    flat = [record for answer in found for record in told(answer)]
    assert [record["score"] for record in flat if record.get("score")] == scores
    assert [record.get("row", record.get("id")) for record in flat] == [0, "b", 2, 3, 4, None, 5, 6]
    assert [record.get("key") for record in flat] == ["m1"] * 5 + [None] + ["m1"] * 2
    assert flat[5] == {"status": "bad", "reason": found[3].poison}
    assert found[4].poison == told(found[4])[0]["reason"] == "has 1 values, expected 8"
    assert [bool(answer.poison) for answer in found] == [False, False, False, True, True, False]


def test_a_time_and_a_key_in_the_message_are_told(detector: Detector, normal_rows: Floats) -> None:
    names = [column.name for column in detector.bundle.columns]
    row = dict(zip(names, normal_rows[0].tolist(), strict=True))
    stamp = detector.bundle.data.time_column or "time"
    (answer,) = answered(detector, row | {stamp: "2026-01-05T07:00:00+01:00", "key": "m1", "id": 5})
    (record,) = told(answer)
    assert list(record)[:3] == ["id", "time", "key"]
    assert (record["id"], record["time"], record["key"]) == (5, "2026-01-05T06:00:00Z", "m1")
    assert answer.sample.key == "m1"


def test_line_protocol_is_answered_in_line_protocol(detector: Detector, normal_rows: Floats) -> None:
    names = [column.name for column in detector.bundle.columns]
    fields = ",".join(f"{name}={cell!r}" for name, cell in zip(names, normal_rows[0].tolist(), strict=True))
    line, bad, other = f"pump,site=n {fields} 1767592800000000000".encode(), b"pump flow_m3h=1 5", b"cpu usage=5"
    found = answered(detector, line, bad, other, b"nonsense", input_format="influx")
    assert found[0].body.startswith(line.rsplit(b" ", 1)[0] + b",score=")
    metric, flagged = parse_metric(found[0].body), parse_metric(found[1].body)
    assert metric is not None
    assert flagged is not None
    score = detector.score(normal_rows[:1])
    assert metric.timestamp == 1767592800000000000
    assert metric.fields["score"] == score.score.item()
    assert metric.fields["severity"] == score.severity.item()
    assert (metric.fields["is_anomaly"], metric.fields["status"]) == (False, "ok")
    assert (flagged.fields["status"], "score" in flagged.fields, found[1].poison != "") == ("bad", False, True)
    assert found[2].body == other
    assert (found[3].body, found[3].poison != "") == (b"", True)


def test_a_header_is_answered_with_nothing(detector: Detector, normal_rows: Floats) -> None:
    names = ",".join(column.name for column in detector.bundle.columns).encode()
    found = answered(detector, names, ",".join(map(str, normal_rows[0].tolist())).encode())
    assert found[0].body == b""
    assert found[0].poison == ""
    assert told(found[1])[0]["status"] == "ok"
