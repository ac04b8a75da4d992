"""One table, written as CSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.rows.writers import CsvWriter, JsonLinesWriter, ParquetWriter, Schema, Table, records

SCHEMA: Schema = {"row": int, "score": float, "alarm": bool, "reason": str}
FIRST: Table = {
    "row": range(2),
    "score": np.array([0.1, 3.4e38], np.float32),
    "alarm": np.array([True, False]),
    "reason": [None, 'a, "quoted" one'],
}
SECOND: Table = {
    "row": range(2, 4),
    "score": np.ma.array(np.array([math.nan, 2], np.float32), mask=[True, False]),
    "alarm": np.ma.array([False, True], mask=[True, False]),
    "reason": ["bad", None],
}


def test_a_csv_has_the_fewest_digits_and_nothing_for_what_is_absent() -> None:
    out = io.StringIO()
    writer = CsvWriter(out, SCHEMA)
    assert out.getvalue() == ""
    writer.write(FIRST)
    writer.write(SECOND)
    writer.close()
    assert out.getvalue().splitlines() == [
        "row,score,alarm,reason",
        "0,0.1,1,",
        '1,3.4e+38,0,"a, ""quoted"" one"',
        "2,,,bad",
        "3,2.0,1,",
    ]


def test_json_lines_are_strict_and_null_where_something_is_absent() -> None:
    out = io.StringIO()
    writer = JsonLinesWriter(out)
    writer.write(FIRST)
    writer.write(SECOND)
    writer.close()
    lines = [json.loads(line, parse_constant=pytest.fail) for line in out.getvalue().splitlines()]
    assert lines[0] == {"row": 0, "score": float(np.float32(0.1)), "alarm": True, "reason": None}
    assert lines[2] == {"row": 2, "score": None, "alarm": None, "reason": "bad"}
    assert [type(line["alarm"]) for line in (lines[1], lines[3])] == [bool, bool]


def test_parquet_keeps_the_types() -> None:
    out = io.BytesIO()
    writer = ParquetWriter(out, SCHEMA)
    writer.write(FIRST)
    writer.write(SECOND)
    assert out.getvalue() == b""
    writer.close()
    frame = polars.read_parquet(io.BytesIO(out.getvalue()))
    assert frame.schema == {
        "row": polars.Int64,
        "score": polars.Float32,
        "alarm": polars.Boolean,
        "reason": polars.String,
    }
    assert frame.rows() == [tuple(record.values()) for table in (FIRST, SECOND) for record in records(table)]


def test_a_table_without_a_row_has_its_columns() -> None:
    text, binary = io.StringIO(), io.BytesIO()
    for writer in (CsvWriter(text, SCHEMA), ParquetWriter(binary, SCHEMA)):
        writer.close()
    assert text.getvalue() == "row,score,alarm,reason\n"
    assert polars.read_parquet(io.BytesIO(binary.getvalue())).schema == {
        "row": polars.Int64,
        "score": polars.Float64,
        "alarm": polars.Boolean,
        "reason": polars.String,
    }


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False) | st.none(), min_size=1))
def test_every_float32_is_read_back_from_each(values: list[float | None]) -> None:
    mask = [value is None for value in values]
    column = np.ma.array(np.array([value or 0 for value in values], np.float32), mask=mask)
    text, lines, binary = io.StringIO(), io.StringIO(), io.BytesIO()
    for writer in (CsvWriter(text, {"x": float}), JsonLinesWriter(lines), ParquetWriter(binary, {"x": float})):
        writer.write({"x": column})
        writer.close()
    cells = [line[0] if line else "" for line in csv.reader(text.getvalue().splitlines()[1:])]
    assert [None if cell == "" else np.float32(cell) for cell in cells] == values
    assert [json.loads(line)["x"] for line in lines.getvalue().splitlines()] == values
    assert polars.read_parquet(io.BytesIO(binary.getvalue()))["x"].to_list() == values
