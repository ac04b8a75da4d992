"""A large body of JSON rows in pieces, each of which is quickly read, with the limits that can be told before that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from ..errors import InputError, TooLargeError
from .json_rows import MAX_ROWS, MAX_VALUES, JsonRowsError, RowReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIECE = 128 * 1024
"""Bytes that are read at once: 1 to 5 ms, of which 10 where something is wrong with them."""

_COLUMN = 256  # bytes that a column may add to a row: its name and its value
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])


class Pieces:
    """The rows of a body, not yet read.

    >>> pieces = Pieces(b"[[1, 2], [3, 4], [5, 6]]", 2, size=13)
    >>> len(pieces), [pieces.read(RowReader(["a", "b"]), *span).tolist() for span in pieces]
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
        if body.count(b",") >= MAX_VALUES:
            raise TooLargeError(f"the body holds more than {MAX_VALUES} values")
        self._body = body
        self._rows = _rows(body)  # [] for a single row, however it is written
        if len(self) > MAX_ROWS:
            raise TooLargeError(f"the body holds {len(self)} rows, expected at most {MAX_ROWS}", rows=len(self))
        self._spans: list[tuple[int, int]] = []
        first = held = 0
        largest = PIECE + _COLUMN * columns
        for index, length in enumerate(map(len, self._rows) if self._rows else [len(body)]):
            if length > largest:
                raise TooLargeError(
                    f"row {index} has {length} bytes, expected at most {largest}; send only what the model reads",
                    rows=len(self),
                    row=index,
                )
            if held and held + length > size:
                self._spans.append((first, index))
                first, held = index, 0
            held += length
        self._spans.append((first, len(self)))

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows) or 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The first row of each piece, and the first of the next."""
        return iter(self._spans)

    def read(self, reader: RowReader, first: int, end: int) -> NDArray[np.float32]:
        """The rows of a piece; errors name the row in the whole body."""
        if not self._rows:
            return reader.read(self._body)
        if not _is_row(self._rows[first]):  # read would take the numbers that follow for one row
            raise InputError(f"row {first} is neither a list nor an object", rows=len(self), row=first)
        try:
            return reader.read(b"[" + b",".join(self._rows[first:end]) + b"]")
        except JsonRowsError as error:
            raise error.moved(first, len(self)) from None


def _rows(body: bytes) -> list[msgspec.Raw]:
    try:
        found = _ROWS.decode(body)
    except msgspec.ValidationError:
        return []
    except RecursionError:
        raise InputError("the body is nested too deeply; expected rows of numbers") from None
    except msgspec.DecodeError as error:
        raise InputError(f"the body is not valid JSON: {error}") from None
    return found if found and _is_row(found[0]) else []


def _is_row(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:1]) in (b"[", b"{")
