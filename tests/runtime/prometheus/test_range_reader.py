"""Answers of a Prometheus, written by hand, as rows; and which of them are refused, with what to type."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
from answering import Reply, answering

from vae_detect.runtime.errors import InputError, TooLargeError
from vae_detect.runtime.prometheus import range_reader
from vae_detect.runtime.prometheus.client import Client
from vae_detect.runtime.prometheus.moments import Grid
from vae_detect.runtime.prometheus.range_reader import RangeReader, Row

GRID = Grid(0, 4, 15_000)
"""0, 15, 30 and 45 s."""


def reply(*series: tuple[dict[str, str], dict[float, str]], warnings: tuple[str, ...] = ()) -> Reply:
    """What a range query is answered with: labels and values by time."""
    result = [{"metric": labels, "values": [list(item) for item in values.items()]} for labels, values in series]
    told = {"status": "success", "data": {"resultType": "matrix", "result": result}, "warnings": warnings}
    return Reply(200, json.dumps(told).encode())


def rows_of(*replies: Reply, queries: int = 1, key: str | None = None, most: int = 100, grid: Grid = GRID) -> list[Row]:
    with answering(*replies) as (address, _):
        names = {"abc"[at]: f"metric_{at}" for at in range(queries)}
        return list(RangeReader(Client(address), names, key=key, most_points=most).rows(grid))


def test_columns_stand_side_by_side_and_a_gap_stays_one() -> None:
    a = reply(({}, {0: "1", 15: "NaN", 45: "+Inf"}))
    b = reply(({"job": "x"}, {0: "2.5", 15: "1e+06"}))
    found = rows_of(a, b, queries=2)
    # at 30 s there is nothing: no row; at 45 s only a
    assert found == [Row(0, "", ["1", "2.5"]), Row(15_000, "", ["NaN", "1e+06"]), Row(45_000, "", ["+Inf", ""])]


def test_each_key_has_its_rows() -> None:
    a = reply(({"m": "y"}, {0: "1", 15: "2"}), ({"m": "x"}, {15: "3"}))
    b = reply(({"m": "y", "other": "z"}, {15: "4"}))
    found = rows_of(a, b, queries=2, key="m")
    assert found == [Row(0, "y", ["1", ""]), Row(15_000, "x", ["3", ""]), Row(15_000, "y", ["2", "4"])]


def test_what_is_asked_is_cut_into_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_reader, "_MOST_STEPS", 3)
    replies = reply(({}, {0: "1", 30: "2"})), reply(({}, {45: "3"}), warnings=("a part is missing",))
    with answering(*replies) as (address, asked):
        reader = RangeReader(Client(address), {"a": "rate(x[5m])"}, most_points=10)
        assert [row.time_ms for row in reader.rows(GRID)] == [0, 30_000, 45_000]
        reader.check_all_found(GRID)
    bodies = [parse_qs(one.body.decode()) for one in asked]
    assert [(body["start"], body["end"]) for body in bodies] == [(["0.000"], ["30.000"]), (["45.000"], ["45.000"])]
    assert bodies[0]["query"] == ["rate(x[5m])"]
    assert bodies[0]["step"] == ["15.000"]
    assert [*reader.warnings] == ["a part is missing"]


@pytest.mark.parametrize(
    ("key", "series", "told"),
    [
        (
            None,
            ({"__name__": "up", "job": "p", "pod": "x"}, {"__name__": "up", "job": "p", "pod": "y"}),
            r'--query a: gives 2 series, expected one: up{job="p", pod="x"}, up{job="p", pod="y"}; take one by a '
            r'matcher, like {pod="x"}, or join them, like avg \(...\), or keep them apart with --key pod in `train`',
        ),
        (
            "m",
            ({"m": "1", "pod": "x"}, {"m": "1", "pod": "y"}),
            r"gives 2 series for m='1', expected one: .* like avg by \(m\) \(...\)$",
        ),
        ("m", ({"pod": "x"},), r"has no label 'm', the key; keep it, like sum by \(m\) \(...\)"),
    ],
)
def test_several_series_are_refused_with_what_to_type(
    key: str | None, series: tuple[dict[str, str], ...], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        rows_of(reply(*((labels, {0.0: "1"}) for labels in series)), key=key)


def test_a_series_that_changes_its_labels_is_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_reader, "_MOST_STEPS", 2)
    with pytest.raises(InputError, match="gives 2 series"):
        rows_of(reply(({"pod": "x"}, {0: "1"})), reply(({"pod": "y"}, {30: "1"})))


def test_too_much_is_refused_before_anything_is_asked() -> None:
    # 4 steps of 3 queries are 12 values; of 11 a step of 12 * 15 / 11 = 16.4 s would do
    with answering(reply()) as (address, asked):
        reader = RangeReader(Client(address), {"a": "x", "b": "y", "c": "z"}, most_points=11)
        with pytest.raises(TooLargeError, match=r"4 steps of 3 queries are 12 values.* --step of 17s or more"):
            list(reader.rows(GRID))
        assert asked == []


def test_too_many_keys_are_refused() -> None:
    many = reply(*(({"m": str(number)}, {0.0: "1", 15.0: "1"}) for number in range(3)))
    with pytest.raises(TooLargeError, match="more than --most-points 5 values"):
        rows_of(many, key="m", most=5)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Reply(200, b"<html>"), "answers with what is none of Prometheus"),
        (Reply(400, b'{"status":"error","error":"parse error: here"}'), "--query a=metric_0: parse error: here"),
        (reply(({}, {})), "native histograms"),
        (reply(({}, {75: "1"})), "times that were not asked for"),
    ],
)
def test_other_answers_are_refused(answer: Reply, told: str) -> None:
    with pytest.raises(InputError, match=told):
        rows_of(answer)


def test_a_query_without_a_series_is_told_at_the_end() -> None:
    with answering(reply(({}, {0: "1"})), reply()) as (address, _):
        reader = RangeReader(Client(address), {"a": "x", "b": "nothing"}, most_points=100)
        assert len(list(reader.rows(GRID))) == 1
        with pytest.raises(InputError, match="no series for --query b=nothing; 0 to 45, every 15 s"):
            reader.check_all_found(GRID)
