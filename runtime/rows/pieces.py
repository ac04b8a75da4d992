"""The rows of a large body in pieces, each of which is quickly read, with the limits that can be told before that."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import TooLargeError

MAX_ROWS = 100_000
MAX_VALUES = 1_000_000
"""Numbers, texts and lists in one body. 16 MiB of "[]," would otherwise become 400 MB of Python objects."""

PIECE = 128 * 1024
"""Bytes that are read at once: 1 to 5 ms, of which 10 where something is wrong with them."""

_ROW = 96
"""Bytes that take as long as a row by itself, however short."""

_COLUMN = 256  # bytes that a column may add to a row: its name and its value


def check_values(count: int) -> None:
    """Raises TooLargeError when a body holds more values than `MAX_VALUES`."""
    if count > MAX_VALUES:
        raise TooLargeError(f"the body holds more than {MAX_VALUES} values", limit="values")


def check_rows(count: int) -> None:
    """Raises TooLargeError when a body holds more rows than `MAX_ROWS`."""
    if count > MAX_ROWS:
        raise TooLargeError(f"the body holds {count} rows, expected at most {MAX_ROWS}", rows=count, limit="rows")


def split_lines(body: bytes, blanks: bytes = b" \t\r\n") -> list[bytes]:
    """The lines of a body that hold more than blanks, without these at their ends, and without a byte order mark.

    Raises TooLargeError when there are many more than a body may have rows.
    """
    if body.count(b"\n") > 2 * MAX_ROWS:
        raise TooLargeError(
            f"the body holds more than {2 * MAX_ROWS} lines, expected at most {MAX_ROWS} rows", limit="rows"
        )
    lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [line for line in (line.strip(blanks) for line in lines) if line]


def spans(sizes: Iterable[int], columns: int, rows: int, *, piece: int = PIECE) -> list[tuple[int, int]]:
    """The first row of each piece, and the first of the next, for rows of these sizes in bytes; a large one is alone.

    There are `rows` of them. Raises TooLargeError for one that is too large to be a row of so many columns.

    >>> spans([40, 50, 60, 200], 8, 4, piece=300)
    [(0, 2), (2, 3), (3, 4)]
    """
    found: list[tuple[int, int]] = []
    first = held = 0
    largest = PIECE + _COLUMN * columns
    for index, size in enumerate(sizes):
        if size > largest:
            raise TooLargeError(
                f"row {index} has {size} bytes, expected at most {largest}; send only what the model reads",
                rows=rows,
                row=index,
                limit="row",
            )
        if held and held + size + _ROW > piece:
            found.append((first, index))
            first, held = index, 0
        held += size + _ROW
    return [*found, (first, rows)]
