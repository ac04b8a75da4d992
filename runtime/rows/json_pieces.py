"""A large body of JSON rows in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from ..errors import InputError
from .chunk import Rows
from .json_problems import MOST_LEVELS
from .json_rows import RowReader
from .labels import Labels
from .pieces import PIECE, check_rows, check_values, spans

_CONSTANTS = re.compile(rb"NaN|-?Infinity")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_MARKED = {b'"\\u0000%b"' % constant: constant for constant in (b"NaN", b"-Infinity", b"Infinity")}
"""What stands for constants that are no JSON while a body is cut into rows, so that only their rows are bad."""

_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(u[dD][89a-fA-F][\da-fA-F]{2})|.)", re.DOTALL
)
"""What a backslash begins: both halves of a character, one of them alone, or anything else."""
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])


class Pieces:
    """The rows of a body, not yet read.

    >>> pieces = Pieces(b"[[1, 2], [3, 4], [5, 6]]", 2, size=205)
    >>> len(pieces), [pieces.read(RowReader(["a", "b"]), *span).values.tolist() for span in pieces]
    (3, [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]])

    Parameters
    ----------
    body : as `RowReader.read` takes it
    columns : of the model
    size : bytes of a piece, about; a larger row is a piece of its own

    Raises
    ------
    TooLargeError
        when there are too many rows or values, or a row is too large to be one of this model
    InputError
        when the body is not valid JSON
    """

    def __init__(self, body: bytes, columns: int, *, size: int = PIECE) -> None:
        check_values(1 + body.count(b","))
        self._body = body
        self._rows = _rows(body)  # [] for a single row, however it is written
        check_rows(len(self))
        sizes = map(len, self._rows) if self._rows else [len(body)]
        self._spans = spans(sizes, columns, len(self), piece=size)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows) or 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The first row of each piece, and the first of the next."""
        return iter(self._spans)

    def read(self, reader: RowReader, first: int, end: int, labels: Labels | None = None) -> Rows:
        """The rows of a piece."""
        if not self._rows:
            return reader.read(self._body, labels)
        rows = self._rows[first:end]
        if not any(map(_is_row, rows)):  # together they would be taken for one row
            return reader.read_lines([bytes(memoryview(row)) for row in rows], labels, first=first)
        text = b"[" + b",".join(rows) + b"]"
        for marked, constant in _MARKED.items():
            text = text.replace(marked, constant)
        return reader.read(text, labels, first=first)


def _rows(body: bytes) -> list[msgspec.Raw]:
    try:
        found = _ROWS.decode(body)
    except msgspec.ValidationError:
        return []
    except RecursionError:
        raise InputError(
            f"the body is nested deeper than {MOST_LEVELS} levels; expected rows of numbers", limit="depth"
        ) from None
    except msgspec.DecodeError as error:
        marked = _paired(_with_marks(body))
        if marked == body:
            raise InputError(f"the body is not valid JSON: {error}") from None
        return _rows(marked)
    return found if any(map(_is_row, found)) else []


def _with_marks(body: bytes) -> bytes:
    """The body with what `_MARKED` has in place of constants outside texts.

    >>> _with_marks(b'[[NaN, 2, "NaN"]]')
    b'[["\\\\u0000NaN", 2, "NaN"]]'
    """
    marks = {constant: mark for mark, constant in _MARKED.items()}
    parts, at, is_text = list[bytes](), 0, False
    for found in _CONSTANTS.finditer(body):
        between = body[at : found.start()]
        is_text ^= _ESCAPE.sub(b"", between).count(b'"') % 2 == 1
        parts += [between, found[0] if is_text else marks[found[0]]]
        at = found.end()
    return b"".join([*parts, body[at:]])


def _paired(body: bytes) -> bytes:
    """The body with U+FFFD for halves of characters, as a reader has them that lets such a text pass.

    >>> _paired(rb'[1, "\\ud83d", "\\ud83d\\ude00"]')
    b'[1, "\\\\ufffd", "\\\\ud83d\\\\ude00"]'
    """
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], body)


def _is_row(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:1]) in (b"[", b"{")
