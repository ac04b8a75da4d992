"""Pieces of large bodies: their limits, and where they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_detect.runtime.errors import TooLargeError
from vae_detect.runtime.rows.pieces import MAX_ROWS, MAX_VALUES, PIECE, check_rows, check_values, spans, split_lines


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(1, 2000))
def test_every_row_is_in_one_piece_and_none_is_larger_than_asked(sizes: list[int], piece: int) -> None:
    found = spans(sizes, 2, len(sizes), piece=piece)
    assert [row for first, end in found for row in range(first, end)] == [*range(len(sizes))]
    for first, end in found:
        assert end - first == 1 or sum(sizes[first:end]) <= piece


def test_short_rows_count_for_more_than_their_bytes() -> None:
    found = spans([2] * 10_000, 2, 10_000)
    assert max(end - first for first, end in found) <= PIECE // 90


def test_a_row_may_be_as_large_as_its_columns_explain() -> None:
    assert spans([PIECE + 512], 2, 1) == [(0, 1)]
    with pytest.raises(
        TooLargeError, match=f"row 1 has {PIECE + 513} bytes, expected at most {PIECE + 512}"
    ) as refused:
        spans([1, PIECE + 513], 2, 7)
    assert (refused.value.row, refused.value.rows) == (1, 7)


def test_the_limits() -> None:
    check_rows(MAX_ROWS)
    check_values(MAX_VALUES)
    with pytest.raises(TooLargeError, match="holds 100001 rows") as refused:
        check_rows(MAX_ROWS + 1)
    assert refused.value.rows == MAX_ROWS + 1
    with pytest.raises(TooLargeError, match="more than 1000000 values"):
        check_values(MAX_VALUES + 1)


def test_lines_come_without_blank_ones_and_marks() -> None:
    assert split_lines(b"\xef\xbb\xbf a b \r\n\r\n \t\nc\n\n") == [b"a b", b"c"]
    assert split_lines(b"\ta\t\n", b" \r\n") == [b"\ta\t"]
    assert split_lines(b"") == []
    assert len(split_lines(b"x\n" * 200_000)) == 200_000
    with pytest.raises(TooLargeError, match="more than 200000 lines"):
        split_lines(b"x\n" * 200_001)
