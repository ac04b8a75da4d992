"""Bodies of every form: the same rows from each, and the same words for what is wrong with one."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from vae_detect.runtime.bundle import Bundle, Column
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, TooLargeError
from vae_detect.runtime.layout import Layout, Stamps, TableFormat
from vae_detect.runtime.rows.chunk import Rows, joined
from vae_detect.runtime.rows.pieces import MAX_ROWS, MAX_VALUES, PIECE
from vae_detect.runtime.service.refusals import RefusedError
from vae_detect.runtime.service.request_reader import RequestReader, form_of, reads_at_once

LINES, CSV, JSON = "application/x-ndjson", "text/csv", "application/json"
BEGIN = 1767592800  # 2026-01-05 06:00:00 UTC
MODE = Column("mode", "", 0.0, 1.0, "category", levels=(0.0, 1.0), texts=("auto", "manual"))


def bundle_of(detector: Detector, *columns: Column, layout: Layout | None = None) -> Bundle:
    columns = columns or (Column("a", "", 0.0, 1.0), Column("b", "", 0.0, 1.0))
    data = replace(detector.bundle.data, time_column=None, layout=layout or Layout())
    if layout is not None and layout.stamps is not None:
        data = replace(data, time_column=layout.stamps.column)
    return replace(detector.bundle, columns=columns, data=data)


@pytest.fixture(scope="module")
def plain(detector: Detector) -> RequestReader:
    return RequestReader(bundle_of(detector))


@pytest.fixture(scope="module")
def timed(detector: Detector) -> RequestReader:
    """Knows a time column t, and a key column m."""
    return RequestReader(bundle_of(detector, layout=Layout(stamps=Stamps("t"), key="m")))


def told(rows: Rows) -> dict[int, str]:
    return {index: str(why) for index, why in sorted(rows.bad.items())}


def in_pieces(reader: RequestReader, body: bytes, content_type: str, **options: Any) -> Rows:
    pieces = reader.pieces(body, content_type, **options)
    rows = joined([pieces.read(first, end) for first, end in pieces])
    assert len(pieces) == len(rows.values)
    return rows


def same(one: Rows, other: Rows) -> None:
    assert one.values.tobytes() == other.values.tobytes()
    assert (one.first, told(one), one.keys) == (other.first, told(other), other.keys)
    assert (one.times is None) == (other.times is None)
    if one.times is not None and other.times is not None:
        np.testing.assert_array_equal(one.times, other.times)


def as_csv(header: list[str] | None, rows: list[list[Any]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([*([header] if header else []), *rows])
    return out.getvalue().encode()


# --- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b"[[1, 2], [3, 4]]"),
        ("application/json; charset=utf-8", b'[[1, 2], {"b": 4, "a": 3}]'),
        ("application/x-www-form-urlencoded", b"[[1, 2], [3, 4]]"),
        ("text/plain;charset=UTF-8", b"[[1, 2], [3, 4]]"),
        ("application/vnd.x+json", b"[[1, 2], [3, 4]]"),
        ("application/octet-stream", b"[[1, 2], [3, 4]]"),
        ("application/x-ndjson", b"[1, 2]\n[3, 4]"),
        ("Application/NDJSON; charset=utf-8", b'\xef\xbb\xbf{"a": 1, "b": 2}\r\n\r\n  [3, 4]\r\n'),
        ("application/jsonl", b"[1, 2]\n\n[[3, 4]]\n"),
        ("application/jsonlines", b"[1, 2]\n[3, 4]\n"),
        ("text/csv", b"a,b\n1,2\n3,4\n"),
        ("text/csv", b'\xef\xbb\xbf"b", x ,a\r\n2,"q""",1\r\n\r\n4,, 3'),
        ("text/csv", b"1,2\n3,4"),
        ("text/csv; charset=us-ascii; header=absent", b"1,2\n3,4"),
        ("TEXT/CSV; Header=Present", b"b,a\n2,1\n4,3\n"),
        ("application/csv", "a,b\n1,2\n3,4\n".encode("utf-16")),
        ("text/csv", b"a,b,,\n1,2\n3,4,\n"),
    ],
)
def test_every_form_gives_the_rows(plain: RequestReader, content_type: str, body: bytes) -> None:
    for rows in (plain.read(body, content_type), in_pieces(plain, body, content_type)):
        assert rows.values.dtype == np.float32
        assert (rows.first, rows.values.tolist()) == (0, [[1, 2], [3, 4]])
        assert (rows.bad, rows.times, rows.keys) == ({}, None, None)


NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
ODD: st.SearchStrategy[Any] = st.sampled_from(["much", "", "1e39", "\u00b0C", True, None])
ROW = st.tuples(NUMBER, NUMBER)


@given(st.lists(ROW, min_size=1, max_size=5))
@settings(deadline=None)
def test_csv_and_lines_and_json_hold_the_same(plain: RequestReader, rows: list[tuple[float, float]]) -> None:
    expected = np.array(rows, np.float64).astype(np.float32)
    lists = plain.read(json.dumps(rows).encode())
    np.testing.assert_array_equal(lists.values, expected)
    objects = [{"b": b, "a": a, "note": "x:y"} for a, b in rows]
    # An integer -0 has no sign, in JSON and here.
    for body, form in (
        (json.dumps(objects).encode(), JSON),
        ("\n".join(json.dumps(row) for row in rows).encode(), LINES),
        ("\n".join(json.dumps(row) for row in objects).encode(), LINES),
        (as_csv(["a", "b"], [[*row] for row in rows]), CSV),
        (as_csv(["b", "note", "a"], [[b, 'x"\u00e9', a] for a, b in rows]), CSV),
        (as_csv(None, [[*row] for row in rows]), CSV),
        (json.dumps({"metrics": [{"name": "m", "fields": row} for row in objects]}).encode(), JSON),
    ):
        same(plain.read(body, form), lists)
        same(in_pieces(plain, body, form), lists)


@given(st.lists(st.tuples(ROW, st.booleans(), ODD), min_size=1, max_size=6))
@settings(deadline=None)
def test_bad_rows_change_no_neighbour(plain: RequestReader, rows: list[tuple[tuple[float, float], bool, Any]]) -> None:
    written = [{"a": odd if is_bad else row[0], "b": row[1]} for row, is_bad, odd in rows]
    alone = [row for row, is_bad, _ in rows if not is_bad]
    good = plain.read(json.dumps(alone).encode()).values if alone else np.empty((0, 2), np.float32)
    for body, form in (
        (json.dumps(written).encode(), JSON),
        ("\n".join(map(json.dumps, written)).encode(), LINES),
        (as_csv(["a", "b"], [[*row.values()] for row in written]), CSV),
        (json.dumps({"metrics": [{"fields": row} for row in written]}).encode(), JSON),
    ):
        found = plain.read(body, form, flag_bad=True)
        assert [*told(found)] == [index for index, (_, is_bad, _) in enumerate(rows) if is_bad]
        kept = [index for index in range(len(rows)) if index not in found.bad]
        assert found.values[kept].tobytes() == good.tobytes()
        assert np.isnan(found.values[[*found.bad]]).all()
        same(in_pieces(plain, body, form, flag_bad=True), found)
        if found.bad:
            first = min(found.bad)
            for read in (plain.read, lambda *given: in_pieces(plain, *given)):
                with pytest.raises(InputError) as refused:
                    read(body, form)
                assert str(refused.value) == f"row {first}, {found.bad[first]}"
                assert (refused.value.rows, refused.value.row, refused.value.column) == (len(rows), first, "a")


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b'[[3, 4], {"a": "x", "b": 2}]', JSON, "column 'a' holds 'x', expected a number"),
        (b'[[3, 4], {"a": 1}]', JSON, "column 'b' is missing"),
        (b"[[3, 4], [1]]", JSON, "has 1 values, expected 2"),
        (b"[[3, 4], 7]", JSON, "holds 7, expected a list or an object"),
        (b"[[3, 4], [1, NaN]]", JSON, "column 'b' holds NaN, expected a finite number"),
        (b'[[3, 4], {"a": 1, "b": 2, "a": 1}]', JSON, "column 'a' stands in the object more than once"),
        (b"[3, 4]\n[1, 2", LINES, "is not valid JSON: Expecting ',' delimiter at character 5"),
        (b"[3, 4]\nonline", LINES, "is not valid JSON: Expecting value at character 0"),
        (b"[3, 4]\n[[1, 2], [3, 4]]", LINES, "holds 2 rows, expected one a line"),
        (b"[3, 4]\n[1, 1e999]", LINES, "column 'b' holds a number beyond the range of float32 (3.4e38)"),
        (b"[3, 4]\n" + b"[" * 99, LINES, "is nested deeper than 64 levels; expected rows of numbers"),
        (b"a,b\n3,4\n1,much", CSV, "column 'b' holds 'much', expected a number"),
        (b"a,b\n3,4\n1", CSV, "has 1 cells, expected 2"),
        (b'a,b\n3,4\n"1"x,2', CSV, "is no line of CSV: ',' expected after '\"'"),
        (b"a,b\n3,4\n1,\xff", CSV, "is no line of CSV: 'utf-8' codec can't decode byte 0xff in position 2: invalid"),
        (b"3,4\n1,much", CSV, "column 'b' holds 'much', expected a number"),
        (b'{"metrics": [{"fields": {"a": 3, "b": 4}}, {"fields": {"a": 1}}]}', JSON, "column 'b' is missing"),
        (b'{"metrics": [{"fields": {"a": 3, "b": 4}}, {"fields": 1}]}', JSON, "is no metric: Expected `object`"),
    ],
)
def test_a_bad_row_is_told_as_in_a_pipe(plain: RequestReader, body: bytes, content_type: str, reason: str) -> None:
    rows = plain.read(body, content_type, flag_bad=True)
    assert rows.values[0].tolist() == [3, 4]
    assert [*rows.bad] == [1]
    assert told(rows)[1].startswith(reason)
    with pytest.raises(InputError) as refused:
        plain.read(body, content_type)
    assert refused.value.rows == 2


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"", JSON, "the body is not valid JSON"),
        (b"[]", JSON, "the body is empty"),
        (b"[1, 2", JSON, r"^the body is not valid JSON: Expecting ',' delimiter at character 5$"),
        (b"a=1", "application/x-www-form-urlencoded", "of CSV say Content-Type: text/csv, of a row a line"),
        (b'{"metrics": []}', JSON, "holds no metrics"),
        (b"", LINES, "the body is empty, expected a row a line"),
        (b" \r\n\n", LINES, "the body is empty, expected a row a line"),
        (b"\n\n", CSV, "the body is empty, expected CSV"),
        (b"a,b\n", CSV, "holds a header and no rows"),
        (b"a,c\n1,2\n", CSV, "the body: column 'b' is missing; the header has 'a', 'c'; of rows without a header say"),
        (b"1,much\n3,4\n", CSV, "the header has '1', 'much'; of rows without a header say .*header=absent"),
        (b"1,2\n3,4\n", "text/csv; header=present", "columns 'a', 'b' are missing; the header has '1', '2'$"),
        (b"a,b,a\n1,2,3\n", CSV, "column 'a' stands in the header more than once"),
        (b'a,b,note\n1,2,"see\n3,4,5"\n', CSV, "row 0 opens a quote and does not close it"),
        (b'a,b,note\n1,2,x\n3,4,"5', CSV, "row 1 opens a quote and does not close it"),
        (b"[" * 65 + b"]" * 65, JSON, "the body is nested deeper than 64 levels"),
        (b'{"a": 1, "b": 2, "x": ' + b"[" * 64 + b"]" * 64 + b"}", JSON, "nested deeper than 64 levels"),
    ],
)
def test_what_is_no_rows_is_refused_flagged_or_not(
    plain: RequestReader, body: bytes, content_type: str, message: str
) -> None:
    for flag_bad in (False, True):
        with pytest.raises(InputError, match=message) as refused:
            plain.read(body, content_type, flag_bad=flag_bad)
        assert not isinstance(refused.value, TooLargeError)


def test_what_is_nested_as_deep_as_may_be_is_ignored(plain: RequestReader) -> None:
    body = b'{"a": 1, "b": 2, "x [m]": "[[[[", "x": %b%b}' % (b"[" * 63, b"]" * 63)
    assert plain.read(body).values.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("application/xml", "the content type is 'application/xml', expected application/json, application/x-ndjson"),
        ("multipart/form-data; boundary=x", "the content type is 'multipart/form-data'"),
        ("text/csv; header=maybe", "header is 'maybe' in the content type, expected present or absent"),
        ("text/csv; charset=latin-1", "the charset is 'latin-1', expected utf-8"),
        ("text/csv; charset=klingon", "the charset is 'klingon', expected utf-8"),
    ],
)
def test_what_a_body_cannot_be_is_refused_with_415(plain: RequestReader, content_type: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refused:
        plain.read(b"a,b\n1,2\n", content_type)
    assert refused.value.status == 415


@pytest.mark.parametrize("content_type", ["", JSON, LINES, CSV])
def test_an_image_is_refused_with_415(plain: RequestReader, content_type: str) -> None:
    with pytest.raises(RefusedError, match="the body is an image, and this model scores rows") as refused:
        plain.read(b"\x89PNG\r\n\x1a\n" + bytes(20), content_type)
    assert refused.value.status == 415


def test_the_form_is_known_from_the_content_type() -> None:
    assert form_of('text/csv; charset="utf-8"; header=absent')[:3] == ("csv", False, "utf-8")
    assert form_of("text/csv")[:3] == ("csv", None, None)
    assert form_of("text/json").kind == "json"


# --- time and key ----------------------------------------------------------------------------------------------------


def test_objects_and_csv_tell_time_and_key(timed: RequestReader) -> None:
    rows: list[dict[str, Any]] = [
        {"a": 1, "b": 2, "t": "2026-01-05T06:00:00Z", "m": "x"},
        {"a": 3, "b": 4, "t": BEGIN + 10, "m": 7},
    ]
    for body, form in (
        (json.dumps(rows).encode(), JSON),
        ("\n".join(map(json.dumps, rows)).encode(), LINES),
        (as_csv([*rows[0]], [[*row.values()] for row in rows]), CSV),
    ):
        found = timed.read(body, form)
        assert found.times is not None
        assert (found.values.tolist(), found.times.tolist(), found.keys) == (
            [[1, 2], [3, 4]],
            [BEGIN, BEGIN + 10],
            ["x", "7"],
        )


def test_a_bad_row_does_not_change_time_and_key(timed: RequestReader) -> None:
    body = b'[{"a": 1, "b": 2, "t": 20260105060000, "m": 9007199254740993}, {"a": "x", "b": 2, "t": "?", "m": 7}]'
    rows = timed.read(body, flag_bad=True)
    assert rows.keys == ["9007199254740993", "7"]
    assert rows.times is not None
    assert rows.times[0] == BEGIN
    assert math.isnan(rows.times[1])
    assert [*rows.bad] == [1]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'[[1, 2], {"a": 3, "b": 4, "m": "x"}]', JSON),
        (b'[{"a": 1, "b": 2}, {"a": 3, "b": 4, "m": "x"}]', JSON),
        (b'[{"a": 1, "b": 2, "m": null}, {"a": 3, "b": 4, "m": "x"}]', JSON),
        (b'[1, 2]\n{"a": 3, "b": 4, "m": "x"}', LINES),
        (b'{"metrics": [{"fields": {"a": 1, "b": 2}}, {"fields": {"a": 3, "b": 4}, "tags": {"m": "x"}}]}', JSON),
    ],
)
def test_a_row_without_its_key_is_bad_unless_the_request_names_it(
    timed: RequestReader, body: bytes, content_type: str
) -> None:
    with pytest.raises(InputError, match="row 0, column 'm' is missing, expected whose row it is"):
        timed.read(body, content_type)
    flagged = timed.read(body, content_type, flag_bad=True)
    assert (told(flagged), flagged.keys) == ({0: "column 'm' is missing, expected whose row it is"}, ["", "x"])
    named = timed.read(body, content_type, key="pump")
    assert (named.values.tolist(), named.keys) == ([[1, 2], [3, 4]], ["pump", "x"])


def test_csv_without_the_key_column_needs_a_request_that_names_it(timed: RequestReader) -> None:
    assert timed.read(b"b,a\n2,1\n", CSV, key="pump").keys == ["pump"]
    assert timed.read(b"1,2\n", CSV, key="pump").keys == ["pump"]
    assert timed.read(b"b,a,m\n2,1,x\n", CSV, key="pump").keys == ["x"]
    with pytest.raises(InputError, match="column 'm' is missing"):
        timed.read(b"b,a\n2,1\n", CSV)
    with pytest.raises(InputError, match="row 0, column 'm' is missing, expected whose row it is"):
        timed.read(b"1,2\n", CSV)


def test_any_model_takes_the_key_of_the_request(plain: RequestReader) -> None:
    for body, form in ((b"[[1, 2], [3, 4]]", JSON), (b"[1, 2]\n[3, 4]", LINES), (b"a,b\n1,2\n3,4", CSV)):
        assert plain.read(body, form, key="pump").keys == ["pump", "pump"]


def test_a_request_does_not_change_how_the_next_one_is_read(timed: RequestReader) -> None:
    for stamp, time in ((b"13.01.2026 06:00", BEGIN + 8 * 86400), (b"2026-01-05 06:00", BEGIN)):
        found = timed.read(b'{"a": 1, "b": 2, "t": "%b", "m": 1}' % stamp)
        assert found.times is not None
        assert found.times.tolist() == [time]


def test_csv_is_written_as_the_recording_was(detector: Detector) -> None:
    reader = RequestReader(
        bundle_of(detector, layout=Layout(TableFormat(";", ",", skip=1, below=1, encoding="cp1252")))
    )
    body = "Pumpe 7\na;b;Temp \u00b0C\n;m\u00b3/h;\n1,5;2;3\n"
    assert reader.read(body.encode("cp1252"), CSV).values.tolist() == [[1.5, 2]]
    assert reader.read(body.encode(), "text/csv; charset=utf-8").values.tolist() == [[1.5, 2]]
    assert reader.read(b"1,5;2\n", CSV).values.tolist() == [[1.5, 2]]
    with pytest.raises(RefusedError, match="the charset is 'cp437', expected utf-8 or cp1252"):
        reader.read(b"a;b\n", "text/csv; charset=cp437")


def test_a_model_of_a_table_without_a_header_reads_rows_of_places(detector: Detector) -> None:
    columns = Column("c0", "", 0.0, 1.0), Column("c2", "", 0.0, 1.0)
    reader = RequestReader(bundle_of(detector, *columns, layout=Layout(TableFormat(header=False))))
    assert reader.read(b"1,9,2\n3,9,4\n", CSV).values.tolist() == [[1, 2], [3, 4]]
    assert reader.read(b"c2,c0\n1,2\n", CSV).values.tolist() == [[2, 1]]
    assert told(reader.read(b"x,9,2\n3,9,4\n", CSV, flag_bad=True)) == {0: "column 'c0' holds 'x', expected a number"}


# --- Telegraf --------------------------------------------------------------------------------------------------------


def metric(fields: dict[str, Any], name: str = "pump", timestamp: Any = BEGIN, **tags: str) -> dict[str, Any]:
    return {"name": name, "fields": fields, "tags": tags, "timestamp": timestamp}


@pytest.mark.parametrize("timestamp", [BEGIN, BEGIN * 10**3, BEGIN * 10**6, BEGIN * 10**9, "2026-01-05T06:00:00Z"])
def test_a_single_metric_is_a_row(timed: RequestReader, timestamp: Any) -> None:
    rows = timed.read(json.dumps(metric({"a": 1, "b": 2}, timestamp=timestamp, m="x")).encode(), "text/plain")
    assert rows.times is not None
    assert (rows.values.tolist(), rows.times.tolist(), rows.keys) == ([[1, 2]], [BEGIN], ["x"])


def test_measurements_of_one_moment_and_place_are_one_row(timed: RequestReader) -> None:
    metrics = [
        metric({"a": 1, "z": 9}, "one", m="x"),
        metric({"a": 3}, "one", BEGIN + 10, m="x"),
        metric({"b": 2}, "two", m="x"),
        metric({"b": 4}, "two", BEGIN + 10, m="x"),
        metric({"b": 6, "a": 5}, "two", BEGIN + 10, m="y"),
    ]
    for body, form in (
        (json.dumps({"metrics": metrics}).encode(), JSON),
        ("\n".join(map(json.dumps, metrics)).encode(), LINES),
    ):
        rows = timed.read(body, form)
        assert rows.times is not None
        assert rows.values.tolist() == [[1, 2], [3, 4], [5, 6]]
        assert rows.times.tolist() == [BEGIN, BEGIN + 10, BEGIN + 10]
        assert rows.keys == ["x", "x", "y"]


def test_a_column_may_be_called_after_metric_and_field(detector: Detector) -> None:
    names = ("pump_flow", "fan.flow", "flow", "mode")
    reader = RequestReader(bundle_of(detector, *(Column(name, "", 0.0, 1.0) for name in names[:3]), MODE))
    metrics = [
        metric({"flow": 1}, "pump", mode="manual"),
        metric({"flow": 2}, "fan", mode="manual"),
        metric({"flow": 3}, "tank", mode="manual"),
    ]
    assert reader.read(json.dumps({"metrics": metrics}).encode()).values.tolist() == [[1, 2, 3, 1]]


def test_a_row_that_only_has_such_names_beside_its_columns_is_a_row(plain: RequestReader) -> None:
    for extra in ('"fields": {"a": 9, "b": 9}', '"metrics": [{"fields": {"a": 9, "b": 9}}]', '"fields": 1'):
        body = b'{"a": 1, "b": 2, %b}' % extra.encode()
        for rows in (plain.read(body), plain.read(body, LINES), in_pieces(plain, body, JSON)):
            assert rows.values.tolist() == [[1, 2]]


def test_two_measurements_of_one_column_are_a_bad_row(plain: RequestReader) -> None:
    body = json.dumps({"metrics": [metric({"a": 1, "b": 2}, "one"), metric({"a": 1}, "two")]}).encode()
    assert told(plain.read(body, flag_bad=True)) == {0: "column 'a' stands in the metrics more than once"}


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "between", "around", "content_type"),
    [
        (b"[1, 2]", b",", (b"[", b"]"), JSON),
        (b"[1, 2]", b"\n", (b"", b""), LINES),
        (b"1,2", b"\n", (b"a,b\n", b"\n"), CSV),
        (b'{"fields":{"a":1,"b":2}}', b",", (b'{"metrics":[', b"]}"), JSON),
    ],
)
def test_limits_hold_one_below_and_one_above(
    plain: RequestReader, row: bytes, between: bytes, around: tuple[bytes, bytes], content_type: str
) -> None:
    def body(rows: int) -> bytes:
        return around[0] + between.join([row] * rows) + around[1]

    pieces = plain.pieces(body(MAX_ROWS), content_type)
    assert len(pieces) == MAX_ROWS
    held = [(end - first) * (len(row) + 1) for first, end in pieces]
    assert max(held) <= PIECE * 1.2
    with pytest.raises(TooLargeError, match=r"100001 (rows|metrics)") as refused:
        plain.pieces(body(MAX_ROWS + 1), content_type)
    assert refused.value.rows == MAX_ROWS + 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[1" + b",1" * MAX_VALUES + b"]", LINES),
        (b"a,b" + b"," * MAX_VALUES + b"\n1,2\n", CSV),
        (b"[" + b"1," * MAX_VALUES + b"1]", JSON),
    ],
)
def test_too_many_values_are_refused(plain: RequestReader, body: bytes, content_type: str) -> None:
    with pytest.raises(TooLargeError, match="more than 1000000 values"):
        plain.pieces(body, content_type)


@pytest.mark.parametrize("content_type", [LINES, CSV])
def test_millions_of_blank_lines_are_refused(plain: RequestReader, content_type: str) -> None:
    with pytest.raises(TooLargeError, match="more than 200000 lines"):
        plain.pieces(b"\n" * 1_000_000, content_type)


def test_a_row_that_is_too_large_is_refused(plain: RequestReader) -> None:
    long = b"x" * (PIECE + 513)
    for body, form in (
        (b'{"a": 1, "b": 2, "x": "%b"}' % long, LINES),
        (b'[{"a": 1, "b": 2, "x": "%b"}]' % long, JSON),
        (b"a,b,x\n1,2,%b\n" % long, CSV),
        (b'{"fields": {"a": 1, "b": 2, "x": "%b"}}' % long, JSON),
    ):
        with pytest.raises(TooLargeError, match=f"row 0 has [0-9]+ bytes, expected at most {PIECE + 512}"):
            plain.pieces(body, form)


def test_a_bad_row_of_a_large_body_is_named_by_its_place(plain: RequestReader) -> None:
    rows: list[list[Any]] = [[index, 2] for index in range(30_000)]
    rows[29_000][1] = "much"
    for body, form in (
        (json.dumps(rows).encode(), JSON),
        ("\n".join(map(json.dumps, rows)).encode(), LINES),
        (as_csv(["a", "b"], rows), CSV),
    ):
        assert len([*plain.pieces(body, form)]) > 1
        with pytest.raises(InputError, match=r"^row 29000, column 'b' holds 'much', expected a number$") as refused:
            in_pieces(plain, body, form)
        assert (refused.value.rows, refused.value.row) == (30_000, 29_000)
        flagged = in_pieces(plain, body, form, flag_bad=True)
        assert [*flagged.bad] == [29_000]
        assert np.flatnonzero(flagged.values[:, 0] != np.arange(30_000)).tolist() == [29_000]


def test_what_is_no_text_in_a_large_body_is_told_by_its_piece(plain: RequestReader) -> None:
    rows = [b'{"a": 1, "b": 2}'] * 3000
    rows[2500] = b'{"a": 1, "b": 2, "\x80": 3}'
    with pytest.raises(InputError, match=r"^rows from [12]\d\d\d on: the body is not UTF-8 text") as refused:
        in_pieces(plain, b"[" + b",".join(rows) + b"]", JSON)
    assert refused.value.rows == 3000


def test_what_may_take_long_is_not_read_at_once() -> None:
    rows = ",".join(["[1, 2, 3, 4, 5, 6, 7, 8]"] * 256)
    assert reads_at_once(b"[1, 2]")
    assert reads_at_once(f"[{rows}]".encode())
    assert reads_at_once(b"1,2\n" * 256)
    for body in (b"[" + b"[1]," * 300 + b"[1]]", b"x\n" * 301, b"{}" * 301, b" " * 65_537):
        assert not reads_at_once(body)


@given(st.binary(max_size=40) | st.text('[]{},:;"\\\n\rab01.eE-ntrufalsN \u00e9', max_size=40).map(str.encode))
@settings(deadline=None)
def test_any_bytes_are_rows_or_refused(timed: RequestReader, body: bytes) -> None:
    for form in (JSON, "", LINES, CSV, "text/csv; header=absent"):
        for flag_bad in (False, True):
            try:
                rows = timed.read(body, form, flag_bad=flag_bad, key="x")
            except (InputError, RefusedError):
                continue
            assert np.isfinite(np.delete(rows.values, [*rows.bad], 0)).all()
            assert flag_bad or not rows.bad


@pytest.mark.parametrize(
    "row",
    [
        rb'[1, "\ud800"]',
        rb'[1, "\udc00 and more than the rest of a character"]',
        rb'{"speed_rpm": "\ud83d"}',
        rb'[1, "\\ud800"]',
        rb'[1, "\ud83d\ude00"]',
    ],
)
@pytest.mark.parametrize("body", [b"%b", b"[%b]", b"[[NaN], %b]"])
def test_half_a_character_makes_a_row_bad_in_small_and_in_large_bodies(
    detector: Detector, body: bytes, row: bytes
) -> None:
    reader = RequestReader(detector.bundle)
    rows = reader.read(body % row, flag_bad=True)
    pieces = reader.pieces(body % row, flag_bad=True)
    assert joined([pieces.read(*span) for span in pieces]).bad.keys() == rows.bad.keys()
    assert len(rows.bad) == len(rows.values)
