"""Pieces of a text to lines, wherever they are cut."""

from __future__ import annotations

import pytest

from vae_detect.runtime.rows.csv_text import MAX_LINE_BYTES
from vae_detect.runtime.streams.line_cutter import LineCutter


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_how_a_text_comes_changes_no_line(size: int) -> None:
    text = b"a,b\n1,2\r\n\n  \n3,4\n\0\0\0\n\0\0" + b"5,6\n7,8"
    cutter, found = LineCutter(), []
    for first in range(0, len(text), size):
        found += cutter.add(text[first : first + size])
    assert [*found, cutter.end()] == [b"a,b", b"1,2\r", b"3,4", b"5,6", b"7,8"]
    assert cutter.end() is None


def test_of_a_line_that_is_too_long_only_the_beginning_is_held() -> None:
    cutter = LineCutter()
    for _ in range(40):
        assert cutter.add(b"x" * 100_000) == []
    assert len(cutter._held) == MAX_LINE_BYTES + 1
    assert cutter.add(b"\nshort\n") == [b"x" * (MAX_LINE_BYTES + 1), b"short"]
