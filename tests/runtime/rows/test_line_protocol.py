"""Lines of InfluxDB: the examples of its documentation, what is none, and lines with more fields."""

from __future__ import annotations

import math
import time

import pytest

from vae_detect.runtime.rows.line_protocol import Cell, Metric, parse_metric, with_fields


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (b"pump flow=1", Metric("pump", {}, {"flow": 1.0}, None)),
        (b"pump flow=1i,n=-7i,u=3u", Metric("pump", {}, {"flow": 1, "n": -7, "u": 3}, None)),
        (b"pump,site=north,unit=2 flow=1e-3 15", Metric("pump", {"site": "north", "unit": "2"}, {"flow": 0.001}, 15)),
        (
            b"pump a=t,b=T,c=true,d=FALSE -1",
            Metric("pump", {}, {"a": True, "b": True, "c": True, "d": False}, -1),
        ),
        (
            rb'wea\,th\ er,lo\ c\=al=a\,\ b te\ mp=1.5,note="say \"a, b=c\" \\ "  1767592800000000000' + b"\r\n",
            Metric("wea,th er", {"lo c=al": "a, b"}, {"te mp": 1.5, "note": 'say "a, b=c" \\ '}, 1767592800000000000),
        ),
        ("größe,ort=süd wert=2.5".encode(), Metric("größe", {"ort": "süd"}, {"wert": 2.5}, None)),
        (b"a=b flow=1", Metric("a=b", {}, {"flow": 1.0}, None)),
    ],
)
def test_lines_are_read(line: bytes, meant: Metric) -> None:
    assert parse_metric(line) == meant


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"pump", b"pump flow", b"pump flow=", b"pump =1", b"flow=1", b",a=b flow=1", b"pump flow=1,"),
        *(
            b"pump flow=1 soon",
            b"pump flow=1 1 1",
            b"pump flow=1_0",
            b"pump flow=0x1",
            b"pump flow=up",
            b"pump flow=1 i",
        ),
        *(b'pump note="a', b"pump,site flow=1", b"a,b,c", b"1,2,3", b'{"a": 1}', b"pump flow=\xff", b"pump a=1\nb c=2"),
    ],
)
def test_other_lines_are_none(line: bytes) -> None:
    assert parse_metric(line) is None


@pytest.mark.parametrize(
    ("line", "more", "written"),
    [
        (b"pump flow=1", {"score": 1.5}, b"pump flow=1,score=1.5"),
        (b"pump,a=b flow=1i 15\r\n", {"n": 3, "is_anomaly": False}, b"pump,a=b flow=1i,n=3i,is_anomaly=false 15"),
        (b"pump score=9,flow=1 15", {"score": 1.5}, b"pump flow=1,score=1.5 15"),
        (b"pump score=9", {"score": 1.5}, b"pump score=1.5"),
        (b"pump my_score=9", {"score": 1.5}, b"pump my_score=9,score=1.5"),
        (rb'pu\ mp note="a\"b"', {"why": 'c "d" \\'}, rb'pu\ mp note="a\"b",why="c \"d\" \\"'),
    ],
)
def test_fields_are_added(line: bytes, more: dict[str, Cell], written: bytes) -> None:
    assert with_fields(line, more) == written
    found, before = parse_metric(written), parse_metric(line)
    assert found is not None
    assert before is not None
    assert found == before._replace(fields={**before.fields, **more} if "score" not in before.fields else found.fields)
    assert {name: found.fields[name] for name in more} == more


def test_a_long_line_that_is_none_is_told_quickly() -> None:
    started = time.perf_counter()
    for line in (
        b"a" * 1_000_000,
        b"a," * 500_000,
        b"a b=" + b"\\" * 500_001,
        b"a " + b"b=1," * 250_000,
        b'a b="' * 9999,
    ):
        assert parse_metric(line) is None
    assert time.perf_counter() - started < 3


def test_numbers_keep_their_digits() -> None:
    found = parse_metric(with_fields(b"pump flow=1", {"score": math.pi}))
    assert found is not None
    assert found.fields["score"] == math.pi
