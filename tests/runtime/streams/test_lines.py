"""Lines from a pipe: each answered before the next is read, whatever it holds."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.batch.scores import score_file
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout, TableFormat
from vae_detect.runtime.rows.csv_text import MAX_LINE_BYTES
from vae_detect.runtime.rows.writers import records
from vae_detect.runtime.scoring.state import StreamState
from vae_detect.runtime.streams.lines import InputFormat, score_lines

Floats = NDArray[np.float32]
Result = dict[str, Any]
CSV = Layout()
NAMES = (
    *("speed_rpm", "flow_m3h", "suction_pressure_bar", "discharge_pressure_bar"),
    *("motor_current_a", "power_kw", "bearing_temperature_c", "vibration_mm_s"),
)
HEADER = ",".join(NAMES).encode()


def run(detector: Detector, content: bytes, form: Layout = CSV) -> list[Result]:
    found = score_lines(detector, io.BytesIO(content), form, StreamState(detector.bundle))
    results = [record for one in found for record in records(one.table("row"))]
    for result in results:
        json.dumps(result, allow_nan=False)
    assert [result["row"] for result in results] == list(range(len(results)))
    return results


def as_csv(row: Floats) -> bytes:
    return ",".join(map(str, row.tolist())).encode()


def as_list(row: Floats) -> bytes:
    return json.dumps(row.tolist()).encode()


def as_object(row: Floats) -> bytes:
    return json.dumps({"id": "p1", **dict(zip(reversed(NAMES), reversed(row.tolist()), strict=True))}).encode()


def statuses(results: list[Result]) -> list[str]:
    return [result["status"] for result in results]


def verdict(detector: Detector, row: Floats) -> tuple[Any, ...]:
    found = detector.score(row[None])
    return tuple(getattr(found, name).item() for name in ("score", "severity", "p_value", "is_anomaly"))


def numbers(result: Result) -> tuple[Any, ...]:
    return tuple(result[name] for name in ("score", "severity", "p_value", "is_anomaly"))


@pytest.mark.parametrize(("head", "line"), [([HEADER], as_csv), ([], as_list), ([], as_object)])
def test_every_line_is_answered_with_its_score(
    detector: Detector, normal_rows: Floats, head: list[bytes], line: Callable[[Floats], bytes]
) -> None:
    rows = normal_rows[:20].copy()
    rows[11, 7] *= 5
    results = run(detector, b"\n".join([*head, *map(line, rows)]))  # the last line has no end
    assert [numbers(result) for result in results] == [verdict(detector, row) for row in rows]
    assert statuses(results) == ["ok"] * 20
    assert [result["row"] for result in results if result["is_anomaly"]] == [11]


def test_lists_and_objects_may_be_mixed(detector: Detector, normal_rows: Floats) -> None:
    results = run(detector, as_list(normal_rows[0]) + b"\n" + as_object(normal_rows[1]) + b"\n")
    assert [numbers(result) for result in results] == [verdict(detector, row) for row in normal_rows[:2]]


def test_json_may_be_indented_whatever_the_delimiter(detector: Detector, normal_rows: Floats) -> None:
    content = b" \t" + as_list(normal_rows[0]) + b"\t \n"
    for form in (CSV, Layout(TableFormat("\t")), Layout(TableFormat(" "))):
        assert numbers(run(detector, content * 2, form)[1]) == verdict(detector, normal_rows[0])


def test_columns_are_found_by_name(detector: Detector, normal_rows: Floats) -> None:
    row = normal_rows[0]
    content = b"note," + ",".join(reversed(NAMES)).encode() + b"\nx," + as_csv(row[::-1]) + b"\n"
    assert numbers(run(detector, content)[0]) == verdict(detector, row)


def test_without_a_header_the_first_line_is_a_row(detector: Detector, normal_rows: Floats) -> None:
    results = run(detector, as_csv(normal_rows[0]) + b"\n" + as_csv(normal_rows[1]), Layout(TableFormat(header=False)))
    assert [numbers(result) for result in results] == [verdict(detector, row) for row in normal_rows[:2]]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: b"\n\r\n  \n" + content.replace(b"\n", b"\n\n \t \n") + b"\n\n",
        lambda content: content.removesuffix(b"\n"),
    ],
    ids=["BOM", "CRLF", "blank lines", "no last newline"],
)
@pytest.mark.parametrize(("head", "line"), [(HEADER + b"\n", as_csv), (b"", as_list)])
def test_these_change_nothing(
    detector: Detector,
    normal_rows: Floats,
    change: Callable[[bytes], bytes],
    head: bytes,
    line: Callable[[Floats], bytes],
) -> None:
    content = head + b"".join(line(row) + b"\n" for row in normal_rows[:5])
    assert run(detector, change(content)) == run(detector, content)


@pytest.mark.parametrize("content", [b"", b"\n", b"  \r\n\n", b"\xef\xbb\xbf", HEADER, HEADER + b"\n"])
def test_no_rows_no_results(detector: Detector, content: bytes) -> None:
    assert run(detector, content) == []


def test_tabs_at_the_ends_of_a_line_are_empty_cells(detector: Detector, normal_rows: Floats) -> None:
    form = Layout(TableFormat("\t"))
    row = as_csv(normal_rows[0]).replace(b",", b"\t")
    content = b"\t" + HEADER.replace(b",", b"\t") + b"\tnote\n" + b"\t" + row + b"\t\n" + b"\t" * 9 + b"\n"
    results = run(detector, content, form)
    assert statuses(results) == ["ok", "bad"]
    assert results[1]["reason"] == "column 'speed_rpm' is empty"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2,3\n", "the first row holds only numbers, expected column names; pass --no-header"),
        (b"a,b\n1,2\n", "standard input: columns 'speed_rpm', .* are missing"),
        (HEADER + b",flow_m3h\n", "column 'flow_m3h' stands in the header more than once"),
        (HEADER.replace(b",", b";"), "that seems to be separated by ';'; pass --delimiter"),
        (b"\xff\xfea\0,\0", "standard input: the header is no line of CSV: 'utf-8' codec"),
        (b'"a,b\n', "the header is no line of CSV: unexpected end of data"),
        (b"x" * (MAX_LINE_BYTES + 1), "the header is longer than 1048576 bytes"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(detector: Detector, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(detector, content)


# --- text and classes ------------------------------------------------------------------------------------------------


@pytest.fixture
def with_texts(detector: Detector) -> Iterator[Detector]:
    """The committed detector, told that its first column is text and its last a class."""
    whole = detector.bundle
    columns = list(whole.columns)
    columns[0] = msgspec.structs.replace(columns[0], treatment="category", levels=(0, 1), texts=("slow", "fast"))
    columns[7] = msgspec.structs.replace(columns[7], treatment="class", levels=(0, 1), texts=("new", "worn"))
    detector.bundle = msgspec.structs.replace(whole, columns=tuple(columns))
    yield detector
    detector.bundle = whole


@pytest.mark.parametrize(
    "content",
    [
        HEADER + b"\nfast,1,2,3,4,5,6,worn\nslow,1,2,3,4,5,6,\n",
        b'["fast",1,2,3,4,5,6,"worn"]\n["slow",1,2,3,4,5,6,null]\n',
        as_object(np.arange(8, dtype=np.float32)).replace(b"0.0", b'"fast"').replace(b"7.0", b'"worn"')
        + b"\n"
        + as_object(np.arange(8, dtype=np.float32)).replace(b"0.0", b'"slow"').replace(b'"vibration_mm_s": 7.0, ', b""),
    ],
    ids=["CSV", "lists", "objects"],
)
def test_texts_and_unknown_classes_are_scored(with_texts: Detector, content: bytes) -> None:
    rows = np.array([[1, 1, 2, 3, 4, 5, 6, 1], [0, 1, 2, 3, 4, 5, 6, -1]], np.float32)
    results = run(with_texts, content)
    assert [numbers(result) for result in results] == [verdict(with_texts, row) for row in rows]


@pytest.mark.parametrize("head", [HEADER + b"\n", b""])
def test_another_text_is_a_bad_row(with_texts: Detector, head: bytes) -> None:
    line = b"Fast,1,2,3,4,5,6,worn\n" if head else b'["Fast",1,2,3,4,5,6,"worn"]\n'
    (result,) = run(with_texts, head + line)
    assert result["reason"] == "column 'speed_rpm' holds 'Fast', expected one of 'slow', 'fast'"


def test_a_class_may_be_absent_from_the_header(with_texts: Detector) -> None:
    results = run(with_texts, HEADER.removesuffix(b",vibration_mm_s") + b"\nslow,1,2,3,4,5,6\nfast,1,2\n")
    assert statuses(results) == ["ok", "bad"]
    assert numbers(results[0]) == verdict(with_texts, np.array([0, 1, 2, 3, 4, 5, 6, -1], np.float32))


# --- bad lines -------------------------------------------------------------------------------------------------------

LONG = b"1" * (MAX_LINE_BYTES + 10)
EIGHT = b"1,1,1,1,1,1,1,"

BAD_CSV = [
    (b"x", "has 1 cells, expected 8"),
    (EIGHT + b"1,1", "has 9 cells, expected 8"),
    (EIGHT + b"NaN", "column 'vibration_mm_s' holds 'NaN', expected a finite number"),
    (EIGHT, "column 'vibration_mm_s' is empty"),
    (EIGHT + b"\xff", "is no line of CSV: 'utf-8' codec can't decode byte 0xff"),
    (EIGHT + b'"1', "is no line of CSV: unexpected end of data"),
    (EIGHT + b'"1"2', "is no line of CSV: ',' expected after"),
    (EIGHT + b"1\0", "column 'vibration_mm_s' holds '1\\x00'"),
    (EIGHT + b"\xc2\xa01", "column 'vibration_mm_s' holds '\\xa01'"),
    (b"\xef\xbb\xbf" + EIGHT + b"1", "column 'speed_rpm' holds '\\ufeff1'"),  # a mark is one only at the start
    (b"1\r" + EIGHT + b"1", "is no line of CSV: new-line character"),
    (LONG, "is longer than 1048576 bytes"),
    (LONG * 3, "is longer than 1048576 bytes"),
    (b"{}", "has 1 cells, expected 8"),
]

BAD_JSON = [
    (b"{", ""),
    (b"[1, 2", ""),
    (b"[1,1,1,1,1,1,1]", "has 7 values, expected 8"),
    (b"[]", ""),
    (b"{}", ""),
    (b"1", ""),
    (b"null", ""),
    (b'"text"', ""),
    (b"1,1,1,1,1,1,1,1", ""),
    (b"[" + EIGHT + b"null]", "column 'vibration_mm_s' holds null, expected a number"),
    (b"[" + EIGHT + b"true]", "column 'vibration_mm_s' holds true, expected a number"),
    (b"[" + EIGHT + b'"1"]', "column 'vibration_mm_s' holds '1', expected a number"),
    (b"[" + EIGHT + b"NaN]", "column 'vibration_mm_s' holds NaN, expected a finite number"),
    (b"[" + EIGHT + b"1e39]", "column 'vibration_mm_s' holds 1e+39 beyond the range of float32"),
    (b"[" + EIGHT + b"1e999]", "column 'vibration_mm_s' "),
    (b"[" + EIGHT + b"1" + b"0" * 5000 + b"]", ""),
    (b"[" + EIGHT + b"[]]", ""),
    (b'{"speed_rpm": 1}', "column 'flow_m3h' is missing"),
    (b'{"a\xff": 1}', ""),
    (b'["\xff"]', ""),
    (b'{"\\ud800": 1}', "column 'speed_rpm' is missing"),
    (b"[" * 100_000, ""),
    (b'{"a":' * 100_000, ""),
    (b"[[" + EIGHT + b"1],[" + EIGHT + b"1]]", "holds 2 rows, expected one a line"),
    (b"[" + LONG + b"]", "is longer than 1048576 bytes"),
]


def check_bad_line(detector: Detector, content: list[bytes], row: Floats, reason: str) -> None:
    before, bad, after = run(detector, b"\n".join(content))
    assert bad["status"] == "bad"
    assert numbers(bad) == (None,) * 4
    assert bad["reason"].startswith(reason)
    assert bad["reason"]
    assert len(bad["reason"]) < 400
    assert "\n" not in bad["reason"]
    assert numbers(before) == numbers(after) == verdict(detector, row)


@pytest.mark.parametrize(("line", "reason"), BAD_CSV, ids=lambda value: repr(value[:20]))
def test_a_bad_line_of_csv_is_a_bad_row(detector: Detector, normal_rows: Floats, line: bytes, reason: str) -> None:
    good = as_csv(normal_rows[0])
    check_bad_line(detector, [HEADER, good, line, good], normal_rows[0], reason)


@pytest.mark.parametrize(("line", "reason"), BAD_JSON, ids=lambda value: repr(value[:20]))
def test_a_bad_line_of_json_is_a_bad_row(detector: Detector, normal_rows: Floats, line: bytes, reason: str) -> None:
    good = as_list(normal_rows[0])
    check_bad_line(detector, [good, line, good], normal_rows[0], reason)


def test_a_repeated_column_in_an_object_is_bad(detector: Detector, normal_rows: Floats) -> None:
    good = as_object(normal_rows[0])
    twice = b'{"flow_m3h": 1, ' + good[1:]
    check_bad_line(detector, [good, twice, good], normal_rows[0], "column 'flow_m3h' stands in the object more than")


def test_an_overflow_is_flagged(detector: Detector, normal_rows: Floats) -> None:
    content = as_list(normal_rows[0]) + b"\n" + json.dumps([3.4e38] * 8).encode()
    results = run(detector, content)
    assert statuses(results) == ["ok", "overflow"]
    assert numbers(results[1]) == (None,) * 4


def test_a_line_of_exactly_the_limit_is_read(detector: Detector, normal_rows: Floats) -> None:
    line = as_list(normal_rows[0])[:-1]
    line += b" " * (MAX_LINE_BYTES - 2 - len(line)) + b"]\n"
    assert len(line) == MAX_LINE_BYTES
    assert statuses(run(detector, line * 2)) == ["ok", "ok"]


@settings(deadline=None, max_examples=150)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"[1,1,1,1,1,1,1,1]", EIGHT + b"1"]), max_size=4))
def test_any_bytes_are_answered_line_by_line(detector: Detector, lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    for head in (HEADER, b"[1,1,1,1,1,1,1,1]"):
        results = run(detector, b"\n".join([head, *lines]))
        not_blank = [line for line in lines if line.strip(b" \t\r\n")]
        assert len(results) == len(not_blank) + (head != HEADER)


# --- order -----------------------------------------------------------------------------------------------------------


class Pipe:
    """A file of which every line but the first `head` ones is handed out only after the one before was answered."""

    def __init__(self, lines: list[bytes], *, head: int) -> None:
        self._lines: Iterator[bytes] = iter(lines)
        self.read, self.answered, self._head = 0, 0, head

    def readline(self, _limit: int) -> bytes:
        assert self.read - self._head <= self.answered
        self.read += 1
        return next(self._lines, b"")


@pytest.mark.parametrize(("head", "line"), [([HEADER + b"\n"], as_csv), ([], as_list), ([], as_object)])
def test_a_line_is_answered_before_the_next_is_read(
    detector: Detector, normal_rows: Floats, head: list[bytes], line: Callable[[Floats], bytes]
) -> None:
    pipe = Pipe([*head, *(line(row) + b"\n" for row in normal_rows[:10])], head=len(head))
    for result in score_lines(detector, pipe, CSV, StreamState(detector.bundle)):  # type: ignore[arg-type]
        pipe.answered += 1
        assert result.first == pipe.answered - 1
        assert pipe.read == pipe.answered + len(head)
    assert pipe.answered == 10


# --- recordings ------------------------------------------------------------------------------------------------------


def test_a_pipe_gives_what_the_file_gives(windows_detector: Detector, normal_csv: Path, tmp_path: Path) -> None:
    lines = normal_csv.read_bytes().splitlines()[:60]
    del lines[20:30]  # a jump in time
    lines[40] = lines[40].replace(b",", b",x", 1)  # a bad cell
    lines[46] = b"later" + lines[46][lines[46].index(b",") :]  # an unreadable time
    lines[48] = b"   "
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\n".join(lines))
    scored = score_file(windows_detector, path, CSV, StreamState(windows_detector.bundle))
    from_file = [record for each in scored for record in records(each.table("row"))]
    from_pipe = run(windows_detector, path.read_bytes())
    assert {"ok", "warming", "gap", "bad"} == {*statuses(from_file)}
    for mine, theirs in zip(from_pipe, from_file, strict=True):
        for name in ("row", "status", "reason", "is_anomaly"):
            assert mine[name] == theirs[name]
        for name in ("score", "severity", "p_value"):
            assert mine[name] == theirs[name] or math.isclose(mine[name], theirs[name], rel_tol=1e-4)


def test_times_of_objects_show_gaps(windows_detector: Detector, normal_rows: Floats) -> None:
    def line(i: int, time: object) -> bytes:
        return b'{"timestamp": ' + json.dumps(time).encode() + b", " + as_object(normal_rows[i])[1:]

    times: list[object] = [0, 120, 240, "1970-01-01T00:06:00Z", None, 600, 4000, 4120, 4240, 4360]
    results = run(windows_detector, b"\n".join(line(i, time) for i, time in enumerate(times)))
    assert statuses(results) == ["warming"] * 3 + ["ok"] * 3 + ["gap"] * 3 + ["ok"]
    assert results[6]["reason"] == "time jumps by 3400 s before row 6; 3 more rows fill the window"


def test_the_first_stamp_tells_how_those_of_a_stream_are_written(
    windows_detector: Detector, normal_rows: Floats
) -> None:
    def line(i: int, gap: int) -> bytes:
        time = f"13/01/1970 {(2 * i + gap) // 60:02}.{(2 * i + gap) % 60:02}"
        return json.dumps(
            {"timestamp": time, **dict(zip(windows_detector.bundle.names, normal_rows[i].tolist(), strict=True))}
        ).encode()

    results = run(windows_detector, b"\n".join(line(i, 60 * (i > 5)) for i in range(10)))
    assert statuses(results) == ["warming"] * 3 + ["ok"] * 3 + ["gap"] * 3 + ["ok"]
    assert results[6]["reason"].startswith("time jumps by 3720 s")
    head = b"timestamp," + ",".join(windows_detector.bundle.names).encode()
    rows = [f"13/01/1970 0.{2 * i:02}".encode() + b"," + as_csv(normal_rows[i]) for i in range(6)]
    assert statuses(run(windows_detector, b"\n".join([head, *rows]))) == ["warming"] * 3 + ["ok"] * 3


@pytest.mark.parametrize("before", [["online"], ["online", "pump 7, ready"], ["speed_rpm,flow_m3h", "# hello"]])
def test_lines_before_json_are_bad_rows(detector: Detector, normal_rows: Floats, before: list[str]) -> None:
    row = json.dumps(normal_rows[0].tolist())
    found = run(detector, "\n".join([*before, row, "offline", row]).encode())
    assert [result["status"] for result in found] == [*["bad"] * len(before), "ok", "bad", "ok"]
    assert found[0]["reason"].startswith("is not valid JSON")


def test_a_format_that_is_told_is_not_guessed(detector: Detector, normal_rows: Floats) -> None:
    row = json.dumps(normal_rows[0].tolist()).encode()

    def told(content: bytes, input_format: InputFormat) -> list[str]:
        state = StreamState(detector.bundle)
        found = score_lines(detector, io.BytesIO(content), CSV, state, input_format=input_format)
        return [status for results in found for status in results.status]

    assert told(b"online\n" * 20 + row, "json") == ["bad"] * 20 + ["ok"]
    assert told(HEADER + b"\n" + row, "csv") == ["bad"]
    with pytest.raises(InputError, match=r"columns .* are missing; .*of JSON lines, say --input-format json"):
        told(b"online\n" * 20 + row, "auto")
    with pytest.raises(InputError, match="are missing"):
        told(row + b"\n", "csv")


@pytest.mark.parametrize(
    ("form", "above", "below", "join"),
    [
        (TableFormat(" "), "", "", "  \t "),
        (TableFormat(";", ",", encoding="cp1252"), "", "", ";"),
        (TableFormat(skip=2), "Pump station 7\nof the 5th, at night\n", "", ","),
        (TableFormat(below=1), "", "rpm,m3/h,bar,bar,A,kW,C,mm/s\n", ","),
        (TableFormat(comment="#"), "# ", "", ","),
        (TableFormat(), "", "", ", "),
    ],
    ids=["white space", "semicolons", "a preamble", "units", "a comment", "blanks"],
)
def test_a_stream_is_read_in_the_form_of_a_file(
    detector: Detector, normal_rows: Floats, form: TableFormat, above: str, below: str, join: str
) -> None:
    rows = [join.join(str(cell).replace(".", form.decimal) for cell in row.tolist()) for row in normal_rows[:3]]
    content = f"{above}{join.join(NAMES)}\n{below}" + "\n".join(rows)
    found = run(detector, content.encode(form.encoding), Layout(form))
    plain = run(detector, b"\n".join([HEADER, *map(as_csv, normal_rows[:3])]))
    assert found == plain
    assert statuses(found) == ["ok"] * 3


def test_what_stood_around_the_header_may_be_absent(detector: Detector, normal_rows: Floats) -> None:
    content = b"\n".join([HEADER, *map(as_csv, normal_rows[:2])])
    assert run(detector, content, Layout(TableFormat(skip=2, below=1))) == run(detector, content)


def test_the_header_of_a_cp1252_stream_is_read(detector: Detector, normal_rows: Floats) -> None:
    content = "°C,".encode("cp1252") + HEADER + b"\n0," + as_csv(normal_rows[0])
    assert statuses(run(detector, content, Layout(TableFormat(encoding="cp1252")))) == ["ok"]
