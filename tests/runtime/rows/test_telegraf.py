"""Metrics of Telegraf: which of them are a row."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.rows.fields import Field
from vae_detect.runtime.rows.json_rows import RowReader
from vae_detect.runtime.rows.labels import Labels
from vae_detect.runtime.rows.telegraf import MetricRows, metrics_of

FIELDS = (Field("a"), Field("on", flag=True), Field("mode", texts=("auto", "manual")))
GOOD: dict[str, Any] = {"a": 1, "on": True, "mode": "auto"}


def read(*metrics: Any, key: str | None = None) -> Rows:
    found = MetricRows([json.dumps(metric).encode() for metric in metrics], FIELDS, key)
    assert found.spans[0][0] == 0
    return found.read(RowReader(FIELDS), Labels(Layout(key=key)), 0, found.spans[-1][1])


def reasons(rows: Rows) -> list[str]:
    return [str(rows.bad[index]) if index in rows.bad else "" for index in range(len(rows.values))]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"metrics": []}', 0),
        (b'{"metrics": [{"fields": {}}, 1], "x": 2}', 2),
        (b' {"fields": {"a": 1}, "name": "x"}', 1),
        (b'{"fields": [1]}', None),
        (b'{"fields": {}, "a": 1}', None),
        (b'{"metrics": [{"fields": {}}], "mode": "auto"}', None),
        (b'{"metrics": 1}', None),
        (b'{"metrics": [], "\x80": 1}', None),
        (b'[{"fields": {}}]', None),
        (b'{"x": "\\"metrics\\""}', None),
        (b'{"metrics": [', None),
        (b'{"metrics"' + b"[" * 100_000, None),
    ],
)
def test_what_holds_metrics(body: bytes, expected: int | None) -> None:
    found = metrics_of(body, FIELDS)
    assert (found if found is None else len(found)) == expected


def test_a_row_is_what_shares_timestamp_and_tags() -> None:
    rows = read(
        {"fields": {"a": 1, "on": True}, "tags": {"h": "1", "m": "x"}, "timestamp": 5e8, "name": "one"},
        {"fields": {"a": 2, "on": 0, "mode": "auto"}, "tags": {"h": "1"}, "timestamp": 5e8},
        {"fields": {"mode": "manual"}, "tags": {"m": "x", "h": "1"}, "timestamp": 500_000_000, "name": "two"},
        {"fields": GOOD | {"a": 3}, "timestamp": 6e8},
        {"fields": GOOD | {"a": 4}},
        {"fields": GOOD | {"a": 5}, "tags": None, "timestamp": None},
    )
    assert rows.values.tolist() == [[1, 1, 1], [2, 0, 0], [3, 1, 0], [4, 1, 0], [5, 1, 0]]
    np.testing.assert_array_equal(rows.times, [5e8, 5e8, 6e8, np.nan, np.nan])
    assert (rows.keys, rows.bad) == (None, {})


def test_texts_and_the_key_may_be_tags() -> None:
    rows = read(
        {"fields": {"a": 1, "on": 1}, "tags": {"mode": "manual", "m": "x", "a": "9"}, "timestamp": 1},
        {"fields": {"a": 2, "on": 1, "mode": "auto", "m": 7}, "tags": {"mode": "manual"}, "timestamp": 1},
        {"fields": GOOD, "timestamp": 1},
        key="m",
    )
    assert rows.values[:2].tolist() == [[1, 1, 1], [2, 1, 0]]
    assert rows.keys == ["x", "7", ""]
    assert reasons(rows) == ["", "", "column 'm' is missing, expected whose row it is"]


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ({"fields": GOOD | {"a": "x"}}, "column 'a' holds 'x', expected a number"),
        ({"fields": GOOD | {"a": 10**30 * 10**30}}, "column 'a' holds 1e+60 beyond the range of float32 (3.4e38)"),
        ({"fields": GOOD | {"a": {"b": 1}}}, "column 'a' holds an object, expected a number"),
        ({"fields": {"a": 1, "on": True}}, "column 'mode' is missing"),
        ({"fields": None}, "is no metric: Expected `object`, got `null`"),
        ({"name": "x"}, "is no metric: Object missing required field `fields`"),
        ({"fields": GOOD, "tags": 1}, "is no metric: Expected `object | null`"),
        ({"fields": GOOD, "timestamp": []}, "is no metric: Expected `int | float | str | null`, got `array`"),
        ([1], "is no metric: Expected `object`, got `array`"),
        ({"fields": GOOD | {"x": json.loads("[" * 65 + "]" * 65)}}, "is nested deeper than 64 levels"),
    ],
)
def test_what_is_no_metric_is_a_bad_row(metric: Any, reason: str) -> None:
    rows = read({"fields": GOOD}, metric, {"fields": GOOD | {"a": 3}})
    assert rows.values[[0, 2]].tolist() == [[1, 1, 0], [3, 1, 0]]
    found = reasons(rows)
    assert (found[0], found[2]) == ("", "")
    assert found[1].startswith(reason)


def test_what_is_no_utf8_is_a_bad_row() -> None:
    metrics = [json.dumps({"fields": GOOD}).encode(), b'{"fields": {"\x80": 1}}', b'{"\x80": 1}']
    found = MetricRows(metrics, FIELDS, None).read(RowReader(FIELDS), Labels(Layout()), 0, 3)
    assert [*found.bad] == [1, 2]
    assert found.values[0].tolist() == [1, 1, 0]


def test_an_unreadable_timestamp_is_no_time() -> None:
    rows = read({"fields": GOOD, "timestamp": "soon"}, {"fields": GOOD, "timestamp": "2026-01-05T06:00:00Z"})
    np.testing.assert_array_equal(rows.times, [np.nan, 1767592800])
    assert read({"fields": GOOD, "timestamp": "soon"}).times is None


def test_no_metrics_are_no_rows() -> None:
    with pytest.raises(InputError, match="holds no metrics"):
        MetricRows([], FIELDS, None)
