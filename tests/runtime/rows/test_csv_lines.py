"""Lines of CSV: the same rows many at once as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout, Stamps, TableFormat
from vae_detect.runtime.rows.chunk import joined
from vae_detect.runtime.rows.csv_lines import TOO_LONG, UNCLOSED, CsvLines, cells_of
from vae_detect.runtime.rows.csv_text import MAX_LINE_BYTES

COLUMNS = (Column("a", "", 0.0, 1.0), Column("b", "", 0.0, 1.0))
PLAIN = TableFormat()


def reader(names: list[str] | None = None, layout: Layout | None = None) -> CsvLines:
    return CsvLines(names or ["b", "x", "a"], COLUMNS, layout or Layout(), "the body")


LINES = st.lists(
    st.sampled_from(
        [b"1,x,2", b"3,,4", b"much,,4", b"1,2", b'1,"x', b'4"', b'"1"x,,2', b"1,\xff,2", b'5,"a,b",6', b"7"]
    )
    | st.binary(min_size=1, max_size=9).filter(lambda line: not {*line} & {*b"\r\n"}),
    min_size=1,
    max_size=6,
)


@given(LINES)
def test_many_lines_are_what_each_is_alone(lines: list[bytes]) -> None:
    whole = reader().parse(3, lines)
    alone = joined([reader().parse(3 + place, [line]) for place, line in enumerate(lines)])
    np.testing.assert_array_equal(whole.values, alone.values)
    assert whole.bad == alone.bad
    assert (whole.first, whole.times, whole.keys) == (3, None, None)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"1, 2", b' "a,""b",'], [["1", "2"], ['a,"b', ""]]),
        ([b'1,"2', b'3",4'], [UNCLOSED, ['3"', "4"]]),
        ([b'1,"2'], [UNCLOSED]),
        ([b"1\r2"], None),
    ],
)
def test_a_quote_ends_on_its_line(lines: list[bytes], expected: object) -> None:
    found = cells_of(lines, PLAIN)
    if expected is None:
        assert str(found[0]).startswith("is no line of CSV: new-line character")
    else:
        assert found == expected


def test_a_long_line_is_one_bad_row() -> None:
    assert cells_of([b"1,2", b"x" * (MAX_LINE_BYTES + 1)], PLAIN) == [["1", "2"], TOO_LONG]


def test_spaces_may_separate_cells() -> None:
    assert cells_of([b" 1 \t 2", b"3 4"], TableFormat(" ")) == [["1", "2"], ["3", "4"]]


def test_units_below_the_header_are_passed_over() -> None:
    lines = [b"m,,", b'"x', b"1,,2", b"m,,"]
    found = [*reader(layout=Layout(TableFormat(below=3))).without_units(iter(lines))]
    assert found == [b'"x', b"1,,2", b"m,,"]
    assert [*reader().without_units(iter(lines))] == lines


def test_the_first_lines_decide_how_stamps_are_written() -> None:
    layout = Layout(stamps=Stamps("t"))
    lines = CsvLines(["a", "b", "t"], COLUMNS, layout, "the body")
    first = lines.parse(0, [b"1,2,13.01.2026 06:00", b"1,2,05.01.2026 06:00"])
    assert first.times is not None
    assert (first.times - 1767592800).tolist() == [8 * 86400, 0]
    then = lines.parse(2, [b"1,2,06.01.2026 06:00"])
    assert then.times is not None
    assert (then.times - 1767592800).tolist() == [86400]


def test_a_header_without_a_column_is_refused() -> None:
    with pytest.raises(InputError, match="the body: column 'b' is missing"):
        CsvLines(["a"], COLUMNS, Layout(), "the body")
