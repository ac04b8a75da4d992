"""CSV in a body: which line is the header, and how its text is written."""

from __future__ import annotations

import codecs

import pytest

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout, TableFormat
from vae_detect.runtime.rows.csv_bodies import CsvBody, as_utf8

A = Column("a", "", 0.0, 1.0)
MODE = Column("mode", "", 0.0, 1.0, "category", levels=(0.0, 1.0), texts=("auto", "manual"))
KIND = Column("kind", "", 0.0, 1.0, "class", levels=(0.0, 1.0), texts=("pump", "fan"))


def rows(body: bytes, *columns: Column, header: bool | None = None, layout: Layout | None = None) -> list[list[float]]:
    found = CsvBody(body, columns or (A, MODE), layout or Layout(), header=header, key=None)
    values: list[list[float]] = found.read(0, len(found.lines)).values.tolist()
    return values


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"a,mode\n1,auto\n", [[1, 0]]),
        (b"mode,a\nmanual,1\n", [[1, 1]]),
        (b"1,auto\n2,manual\n", [[1, 0], [2, 1]]),
        (b"1,manual", [[1, 1]]),
    ],
)
def test_a_first_line_of_values_is_a_row(body: bytes, expected: list[list[float]]) -> None:
    assert rows(body) == expected


def test_a_class_may_be_absent_from_header_and_row() -> None:
    assert rows(b"a\n1\n", A, KIND) == [[1, -1]]
    assert rows(b"1,\n2,fan\n", A, KIND) == [[1, -1], [2, 1]]


def test_a_first_line_that_is_neither_is_refused() -> None:
    for body in (b"1,Auto\n1,auto\n", b"1\n2\n", b"1,auto,7\n", b"a,Mode\n1,auto\n"):
        with pytest.raises(InputError, match=r"missing; the header has .*; of rows without a header say"):
            rows(body)
    with pytest.raises(InputError, match="the header is no line of CSV"):
        rows(b'"a"x,mode\n1,auto\n')


def test_titles_above_the_header_are_those_of_the_recording() -> None:
    body = b"Pump 7\nline 2\na;mode\n1;auto\n"
    assert rows(body, layout=Layout(TableFormat(";", skip=2))) == [[1, 0]]
    with pytest.raises(InputError, match="the header has 'Pump 7'"):  # of the first line, not of the last looked at
        rows(body, layout=Layout(TableFormat(";", skip=1)))


@pytest.mark.parametrize(
    ("body", "charset", "encoding", "expected"),
    [
        (b"\xc3\xa9", None, "utf-8", b"\xc3\xa9"),
        (b"\xff", None, "utf-8", b"\xff"),
        (b"\xe9", None, "cp1252", b"\xc3\xa9"),
        (b"\xe9", "CP1252", "cp1252", b"\xc3\xa9"),
        (b"\xc3\xa9", "UTF8", "cp1252", b"\xc3\xa9"),
        (b"a", "us-ascii", "cp1252", b"a"),
        (b"\x81", None, "cp1252", b"\xef\xbf\xbd"),
        ("\u00e9".encode("utf-16"), None, "cp1252", b"\xc3\xa9"),
        (codecs.BOM_UTF8 + b"a", None, "cp1252", codecs.BOM_UTF8 + b"a"),
        (b"a", "latin-1", "cp1252", None),
        (b"a", "klingon", "utf-8", None),
        (b"a", "base64", "utf-8", None),
    ],
)
def test_text_is_that_of_the_charset_or_of_the_recording(
    body: bytes, charset: str | None, encoding: str, expected: bytes | None
) -> None:
    assert as_utf8(body, charset, Layout(TableFormat(encoding=encoding))) == expected
