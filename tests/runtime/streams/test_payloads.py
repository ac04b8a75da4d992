"""Payloads of every kind to rows: whose they are, when, under which id, and what holds no row at all."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from vae_detect.runtime.bundle import Bundle
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Stamps
from vae_detect.runtime.rows.csv_text import MAX_LINE_BYTES
from vae_detect.runtime.streams.payloads import PayloadFormat, Payloads, Read
from vae_detect.runtime.streams.samples import Sample

Floats = NDArray[np.float32]
ROW = [1480.0, 52.5, 1.25, 6.5, 31.0, 17.5, 48.0, 2.25]
NAMES = (
    *("speed_rpm", "flow_m3h", "suction_pressure_bar", "discharge_pressure_bar"),
    *("motor_current_a", "power_kw", "bearing_temperature_c", "vibration_mm_s"),
)
OBJECT = dict(zip(NAMES, ROW, strict=True))
HEADER = ",".join(NAMES).encode()
LINE = ",".join(map(str, ROW)).encode()
METRIC = b"pump " + b",".join(f"{name}={cell}".encode() for name, cell in OBJECT.items())
EPOCH = 1767592800.0  # 2026-01-05T06:00:00Z


@pytest.fixture(scope="module")
def bundle(detector: Detector) -> Bundle:
    return detector.bundle


@pytest.fixture(scope="module")
def keyed(detector: Detector) -> Bundle:
    """Of a model that knows the key `machine` and the time stamps `stamp`."""
    data = detector.bundle.data
    layout = replace(data.layout, key="machine", stamps=Stamps("stamp"))
    return replace(detector.bundle, data=replace(data, layout=layout, time_column="stamp"))


def read(bundle: Bundle, *payloads: Any, key: str = "", input_format: PayloadFormat = "auto") -> Read:
    encoded = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in payloads]
    return Payloads(bundle, input_format).read([Sample(each, key) for each in encoded])


def whys(found: Read) -> list[str]:
    return [why for _, why in found.poison]


@pytest.mark.parametrize(
    ("payload", "ident"),
    [
        (ROW, None),
        (OBJECT, None),
        (OBJECT | {"id": 7, "note": "x:y"}, 7),
        ({"id": "a-1", "values": ROW}, "a-1"),
        ({"values": OBJECT, "id": 2.5}, 2.5),
        (json.dumps({"id": True, "values": ROW}, indent=1).encode(), True),
        (METRIC, None),
        (METRIC + b" 1767592800000000000\r\n", None),
        ({"name": "pump", "fields": OBJECT, "timestamp": EPOCH}, None),
        ({"metrics": [{"name": "pump", "fields": OBJECT}]}, None),
        (HEADER + b"\n" + LINE, None),
        (b"\xef\xbb\xbf " + json.dumps(ROW).encode() + b"\r\n", None),
    ],
)
def test_a_row_is_read_whatever_it_is_written_in(bundle: Bundle, payload: Any, ident: Any) -> None:
    found = read(bundle, payload)
    assert found.rows.values.tolist() == [ROW]
    assert (found.rows.bad, found.poison) == ({}, [])
    assert found.ids == [ident]
    assert [part.rows for part in found.parts] == [1]


@pytest.mark.parametrize(
    "payload",
    [
        [ROW, ROW, ROW],
        [OBJECT, ROW, {"values": ROW}],
        b"\n".join([json.dumps(ROW).encode(), b"", json.dumps(OBJECT).encode(), json.dumps(ROW).encode()]),
        b"\n".join([HEADER, LINE, LINE, LINE]),
        b"\n".join([METRIC + b" 1", METRIC + b" 2", b"# comment", METRIC + b" 3", b"other a=1 3"]),
    ],
)
def test_several_rows_of_a_payload_are_all_read(bundle: Bundle, payload: Any) -> None:
    found = read(bundle, ROW, payload, OBJECT)
    assert found.rows.values.tolist() == [ROW] * 5
    assert [part.rows for part in found.parts] == [1, 3, 1]
    assert found.taken[1] is found.taken[3]


def test_metrics_of_one_moment_and_the_same_tags_are_a_row(bundle: Bundle) -> None:
    first = b"a,site=n " + b",".join(f"{name}={OBJECT[name]}".encode() for name in NAMES[:3]) + b" 15"
    second = b"b,site=n " + b",".join(f"{name}={OBJECT[name]}".encode() for name in NAMES[3:]) + b" 15"
    found = read(bundle, first + b"\n" + second)
    assert found.rows.values.tolist() == [ROW]
    assert found.parts[0].metrics == ((first, 0), (second, 0))


def test_rows_are_counted_over_calls_whatever_is_between(bundle: Bundle) -> None:
    payloads = Payloads(bundle)
    good = Sample(json.dumps(ROW).encode())
    one = payloads.read([good, Sample(b"{"), good, Sample(HEADER), Sample(LINE)])
    two = payloads.read([good, good])
    assert [one.rows.number(index) for index in range(3)] == [0, 1, 2]
    assert [two.rows.number(index) for index in range(2)] == [3, 4]
    assert [part.rows for part in one.parts] == [1, 0, 1, 0, 1]
    assert len(one.poison) == 1


def test_a_header_counts_for_its_own_key(bundle: Bundle) -> None:
    backward = ",".join(reversed(NAMES)).encode()
    payloads = Payloads(bundle)
    assert payloads.read([Sample(HEADER, "a"), Sample(backward, "b")]).parts[1].rows == 0
    found = payloads.read([Sample(LINE, "a"), Sample(",".join(map(str, ROW[::-1])).encode(), "b"), Sample(LINE, "c")])
    assert found.rows.values.tolist() == [ROW, ROW]
    assert found.rows.keys == ["a", "b"]
    assert "the first row holds only numbers" in whys(found)[0]


def test_a_header_may_come_again_and_change(bundle: Bundle) -> None:
    backward = ",".join(reversed(NAMES)).encode()
    found = read(bundle, HEADER, LINE, HEADER, LINE, backward, ",".join(map(str, ROW[::-1])).encode())
    assert found.rows.values.tolist() == [ROW] * 3
    assert [part.rows for part in found.parts] == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "is empty"),
        (b" \r\n", "is empty"),
        (b"{", "is not valid JSON"),
        (b'{"id": 1, "values": [1,', "is not valid JSON"),
        (b"[[1, 2], [3", "is not valid JSON"),
        (b"[" * 70 + b"]" * 70, "is nested deeper than 64 levels"),
        (b"[[" + b"[" * 99_999 + b"]" * 99_999 + b"]]", "nested|recursion"),
        (b"[]", "is empty"),
        (b"{}", "is empty"),
        ({"id": [1], "values": ROW}, "has another form than id, time, key and values"),
        (b"[" + b"1," * MAX_LINE_BYTES + b"1]", f"is longer than {MAX_LINE_BYTES} bytes"),
        (b"\x00\x01\xff", "is neither JSON nor line protocol, nor CSV of this model"),
        (b"hello", "is neither JSON nor line protocol, nor CSV of this model: .* missing"),
        (b"null", "is neither JSON"),
        (json.dumps([ROW, ROW]).encode()[:-1] + b", 7]", "expected a list or an object|holds 7"),
    ],
)
def test_what_is_no_row_at_all_is_poison_and_its_neighbours_are_read(bundle: Bundle, payload: Any, why: str) -> None:
    found = read(bundle, ROW, payload, OBJECT)
    assert found.rows.values.tolist() == [ROW, ROW]
    assert [part.rows for part in found.parts] == [1, 0, 1]
    (told,) = whys(found)
    assert re.search(why, told)
    assert len(told) < 400


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (ROW[:-1], "has 7 values, expected 8"),
        (b"[1, NaN, 3, 4, 5, 6, 7, 8]", "holds NaN"),
        (OBJECT | {"flow_m3h": None}, "holds null, expected a number"),
        (b'{"flow_m3h": 1, "flow_m3h": 2, ' + json.dumps(OBJECT).encode()[1:], "more than once"),
        ({"id": 1, "values": ROW[:-1]}, "has 7 values"),
        (METRIC.replace(b"power_kw=17.5", b'power_kw="high"'), "expected a number"),
        (b"pump flow_m3h=1", "is missing"),
    ],
)
def test_a_bad_cell_is_a_bad_row_and_no_poison(bundle: Bundle, payload: Any, why: str) -> None:
    found = read(bundle, ROW, payload, OBJECT)
    assert found.poison == []
    assert [*found.rows.bad] == [1]
    assert why in str(found.rows.bad[1])
    assert found.rows.values[[0, 2]].tolist() == [ROW, ROW]


def test_time_and_key_are_where_the_model_says(keyed: Bundle) -> None:
    stamp = "2026-01-05T06:00:00Z"
    tagged = METRIC.replace(b"pump", b"pump,machine=m5") + b" 1767592800000000000"
    found = read(
        keyed,
        OBJECT | {"machine": "m1", "stamp": stamp},
        {"id": 1, "machine": "m2", "stamp": EPOCH, "values": ROW},
        ROW,
        b"machine,stamp," + HEADER + b"\nm3," + stamp.encode() + b"," + LINE,
        tagged,
        key="topic",
    )
    assert found.rows.keys == ["m1", "m2", "topic", "m3", "m5"]
    assert found.rows.times is not None
    assert np.nan_to_num(found.rows.times).tolist() == [EPOCH, EPOCH, 0, EPOCH, EPOCH]


def test_a_row_without_its_key_is_bad_where_the_model_knows_one(keyed: Bundle) -> None:
    found = read(keyed, ROW, OBJECT | {"machine": "m1"})
    assert str(found.rows.bad[0]) == "column 'machine' is missing, expected whose row it is"


def test_time_and_key_may_be_told_where_the_model_knows_neither(bundle: Bundle) -> None:
    plain = replace(bundle, data=replace(bundle.data, time_column=None))
    found = read(plain, OBJECT | {"time": EPOCH, "key": "m1"}, {"values": ROW, "key": 7}, ROW, key="topic")
    assert found.rows.keys == ["m1", "7", "topic"]
    assert found.rows.times is not None
    assert found.rows.times[0] == EPOCH
    assert np.isnan(found.rows.times[1:]).all()
    assert read(plain, ROW, OBJECT).rows.keys is None


def test_labels_of_the_model_are_columns_where_they_are_its_own(bundle: Bundle) -> None:
    names = ["id", "time", "key", "values"]
    columns = tuple(replace(column, name=name) for column, name in zip(bundle.columns, names, strict=False))
    found = read(replace(bundle, columns=columns), dict(zip(names, [1, 2, 3, 4], strict=True)))
    assert found.rows.values.tolist() == [[1, 2, 3, 4]]
    assert found.ids == [None]
    assert found.rows.keys is None


def test_metrics_of_others_hold_no_row(bundle: Bundle) -> None:
    found = read(bundle, b"cpu,host=a usage=5", METRIC)
    assert [part.rows for part in found.parts] == [0, 1]
    assert found.parts[0].metrics == ((b"cpu,host=a usage=5", -1),)
    assert found.poison == []


@pytest.mark.parametrize(
    ("input_format", "payload", "why"),
    [
        ("json", b"a,b", "is not valid JSON"),
        ("csv", b"[1]", "the payload: column"),
        ("influx", b"[1]", "is no line protocol"),
        ("influx", b"\xff", "is no line protocol"),
    ],
)
def test_a_declared_format_decides(bundle: Bundle, input_format: PayloadFormat, payload: bytes, why: str) -> None:
    (told,) = whys(read(bundle, payload, input_format=input_format))
    assert why in told
    assert "neither" not in told


def test_half_of_a_character_harms_nothing_but_its_row(keyed: Bundle) -> None:
    half = json.dumps(OBJECT | {"id": "\ud83d", "machine": "\ud83d", "stamp": EPOCH}).encode()
    found = read(keyed, half, OBJECT | {"machine": "m1"})
    assert found.ids == [None, None]
    assert found.rows.keys == ["?", "m1"]
    assert [*found.rows.bad] == [0]
