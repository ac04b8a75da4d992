"""Time and key of JSON rows: of those that say them, read like those of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vae_detect.runtime.layout import Declared, Layout, Stamps
from vae_detect.runtime.rows.cells import BadCell
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.rows.labels import Labels

BEGIN = 1767592800  # 2026-01-05 06:00:00 UTC


def put(labels: Labels, *cells: Any, bad: dict[int, BadCell] | None = None) -> Rows:
    return labels.put(Rows(0, np.ones((len(cells), 1), np.float32), bad or {}, None), cells)


def times(labels: Labels, *cells: Any) -> list[float] | None:
    found = put(labels, *cells).times
    return None if found is None else found.tolist()


@pytest.mark.parametrize(
    "stamp", [BEGIN, float(BEGIN), BEGIN * 1000, str(BEGIN), "2026-01-05T06:00:00Z", 20260105060000, "2026-01-05 06:00"]
)
def test_a_stamp_is_read_in_any_form(stamp: Any) -> None:
    assert times(Labels(Layout(stamps=Stamps("t"))), {"t": stamp}) == [BEGIN]


def test_rows_without_a_stamp_have_no_time() -> None:
    labels = Labels(Layout(stamps=Stamps("t")))
    assert times(labels, [1], {"a": 1}, {"t": None}) is None
    np.testing.assert_array_equal(times(labels, [1], {"t": BEGIN}, {"t": "soon"}), [np.nan, BEGIN, np.nan])
    assert times(Labels(Layout()), {"t": BEGIN}) is None


def test_date_and_clock_may_stand_apart() -> None:
    labels = Labels(Layout(stamps=Stamps("day", "clock", "%d.%m.%Y %H:%M")))
    assert times(labels, {"day": "05.01.2026", "clock": "06:00"}) == [BEGIN]


def test_another_form_than_that_of_the_recording_is_found_out_once() -> None:
    labels = Labels(Layout(stamps=Stamps("t")))
    assert times(labels, [1]) is None
    assert times(labels, {"t": "13.01.2026 06:00"}) == [BEGIN + 8 * 86400]
    assert times(labels, {"t": "05.01.2026 06:00"}) == [BEGIN]


def test_the_form_of_the_first_stamps_is_that_of_all() -> None:
    labels = Labels(Layout(stamps=Stamps("t")))
    assert times(labels, {"t": "2026-01-05 06:00"}) == [BEGIN]
    np.testing.assert_array_equal(times(labels, {"t": "13.01.2026 06:00"}), [np.nan])


def test_a_form_that_was_declared_stays() -> None:
    labels = Labels(Layout(declared=Declared(time_format="%Y/%m/%d"), stamps=Stamps("t", pattern="%Y/%m/%d")))
    np.testing.assert_array_equal(times(labels, {"t": "13.01.2026"}, {"t": "2026/01/05"}), [np.nan, BEGIN - 6 * 3600])


def test_a_row_without_its_key_is_bad() -> None:
    labels = Labels(Layout(key="m"))
    rows = put(labels, {"m": "x"}, {"m": 7}, {"m": ""}, {"m": None}, [1], {}, bad={5: BadCell("a", "is missing")})
    assert rows.keys == ["x", "7", "", "", "", ""]
    assert {index: why.column for index, why in rows.bad.items()} == {2: "m", 3: "m", 4: "m", 5: "a"}
    assert np.isnan(rows.values[:, 0]).tolist() == [False, False, True, True, True, False]


def test_the_key_of_the_request_is_for_rows_that_say_none() -> None:
    assert put(Labels(Layout(key="m"), key="pump"), {"m": "x"}, {"m": ""}, [1]).keys == ["x", "pump", "pump"]
    assert put(Labels(Layout(), key="pump"), {"m": "x"}, [1]).keys == ["pump", "pump"]
    assert put(Labels(Layout()), {"m": "x"}).keys is None
