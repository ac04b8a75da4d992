"""JSON to rows in the model's order: a body of many, or lines of one; strict, and exact about what is wrong where."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..bundle import Column
from ..errors import InputError
from .cells import FLOAT32_MAX, BadCell
from .chunk import Rows
from .fields import Absences, Field, as_fields
from .json_problems import Pairs, is_deep, is_json, number_of, problem_of, slow_rows
from .labels import Labels
from .pieces import MAX_VALUES, check_rows, check_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Cell = int | float | str | bool | None | list[Any] | dict[str, Any]
_Object = dict[str, _Cell]
_NUMBERS = msgspec.json.Decoder(list[float | list[float] | _Object] | _Object)
_Text = float | str | None
_Truth = float | str | bool | None
_ALL = msgspec.json.Decoder(list[_Truth | list[_Truth] | _Object] | _Object)
_TEXTS = msgspec.json.Decoder(list[_Text | list[_Text] | _Object] | _Object)

_NUMBER_TYPES = {float, int}

_DOUBTS = (msgspec.MsgspecError, ValueError, TypeError, KeyError, OverflowError, RecursionError, struct.error)
"""What the quick way raises for all that needs a closer look."""


class RowReader:
    """Reads JSON for a model with these columns, of which so many cells of a row may be missing.

    >>> reader = RowReader(["flow", "pressure"])
    >>> reader.read(b'[[1, 2], {"pressure": 4, "flow": 3}]').values.tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """

    def __init__(self, columns: Sequence[str | Column | Field], *, most_missing: int = 0) -> None:
        self._fields = as_fields(columns)
        self._absences = Absences(self._fields, most_missing)
        self._columns = tuple(field.name for field in self._fields)
        self._coded = [(place, field) for place, field in enumerate(self._fields) if not field.is_number]
        self._truths = [(place, field) for place, field in enumerate(self._fields) if field.knows_truths]
        self._are_plain = not (self._coded or self._truths or most_missing)
        self._decode = (_ALL if most_missing else _TEXTS if self._coded else _NUMBERS).decode
        self._pick = _picker(self._fields, may_lack=most_missing > 0)

    def read(self, body: bytes, labels: Labels | None = None, *, first: int = 0) -> Rows:
        """The rows, of shape (rows, columns), all finite float32 but for NaN where a cell is missing that may be.

        Parameters
        ----------
        body : JSON: a list of numbers in the order of the columns, an object by column name (others are ignored), or
            a list of such; text where the column holds text, null or no key for a class that is not known and
            for a cell that may be missing
        labels : where objects say time and key
        first : the number of the first row

        Raises
        ------
        TooLargeError
            when there are more than `MAX_ROWS` rows or `MAX_VALUES` values
        InputError
            for anything else that is no rows
        """
        if len(body) > MAX_VALUES:
            check_values(1 + body.count(b","))
        try:
            cells = self._cells(body)
            values = self._values(cells, body)
        except _DOUBTS:
            try:
                cells, unsound = slow_rows(body)
            except InputError as error:
                raise InputError(f"the body {error}", limit=error.limit) from None
            check_rows(len(cells))
            return self._one_by_one(cells, [unsound] * len(cells), labels, first)
        check_rows(len(cells))
        return self._labelled(Rows(first, values, {}, None), cells, labels)

    def read_lines(self, lines: Sequence[bytes], labels: Labels | None = None, *, first: int = 0) -> Rows:
        """A row for each line, a bad one where it holds none or several."""
        rows, cells = self.read_cells(lines, first=first)
        return rows if labels is None else labels.put(rows, cells)

    def read_cells(self, lines: Sequence[bytes], *, first: int = 0) -> tuple[Rows, list[Any]]:
        """The rows of lines without times and keys, and what each line holds: a list or a dictionary, or a BadCell
        where that is no row at all."""
        try:
            cells = [_only(self._cells(line)) for line in lines]
            values = self._values(cells, b"\n".join(lines))
        except _DOUBTS:
            found = [_slow_line(line) for line in lines]
            cells = [dict(row) if isinstance(row, Pairs) else row for row, _ in found]
            return self._one_by_one([row for row, _ in found], [unsound for _, unsound in found], None, first), cells
        return self._labelled(Rows(first, values, {}, None), cells, None), cells

    def read_objects(self, cells: list[Any], labels: Labels | None = None, *, first: int = 0) -> Rows:
        """A row for each dictionary by column name; what is a BadCell instead is a bad one."""
        try:
            values = self._values(cells)
        except _DOUBTS:
            return self._one_by_one(cells, [""] * len(cells), labels, first)
        return self._labelled(Rows(first, values, {}, None), cells, labels)

    def _labelled(self, rows: Rows, cells: list[Any], labels: Labels | None) -> Rows:
        """Rows whose missing cells are settled, with their times and keys."""
        self._absences.settle(rows.values, rows.bad)
        return rows if labels is None else labels.put(rows, cells)

    def _one_by_one(self, cells: list[Any], unsound: Sequence[str], labels: Labels | None, first: int) -> Rows:
        """The rows with a closer look at each; `unsound` says why its text is no JSON, "" if it is."""
        bad: dict[int, BadCell] = {}
        known = [dict(row) if isinstance(row, Pairs) else row for row in cells]
        for index, (row, why) in enumerate(zip(cells, unsound, strict=True)):
            problem = row if isinstance(row, BadCell) else problem_of(row, self._fields, may_lack=self._may_lack)
            if problem is None and why and not is_json(row):
                problem = BadCell("", why)
            if problem is not None:
                bad[index] = problem
        values = np.full((len(cells), len(self._columns)), np.nan, np.float32)
        good = [index for index in range(len(cells)) if index not in bad]
        if good:
            values[good] = self._values([known[index] for index in good])
        return self._labelled(Rows(first, values, bad, None), known, labels)

    @property
    def _may_lack(self) -> bool:
        return self._absences.most > 0

    def _cells(self, body: bytes) -> list[Any]:
        """The rows of JSON, lists or dictionaries; a ValueError or RecursionError for what needs a closer look."""
        has_truths = self._truths and (b"true" in body or b"false" in body)
        decoded: list[Any] | _Object = _ALL.decode(body) if has_truths else self._decode(body)
        if isinstance(decoded, dict) or (decoded and not isinstance(decoded[0], list | dict)):
            return [decoded]
        if not decoded:
            raise ValueError("no rows")
        return decoded

    def _values(self, cells: list[Any], body: bytes | None = None) -> NDArray[np.float32]:
        """Rows as numbers, before it is settled which are missing; one of `_DOUBTS` where that needs a closer look."""
        rows = cells
        objects = [row for row in cells if type(row) is dict] if dict in {*map(type, cells)} else []
        if objects:
            if body is not None:
                _check_objects(objects, body)
            rows = [self._pick(row) if type(row) is dict else row for row in cells]
        if not self._are_plain:
            rows = [self._numbers(row) for row in rows]
        elif objects and not {*map(type, chain.from_iterable(rows))} <= _NUMBER_TYPES:
            raise ValueError("not a number")
        shape = (len(rows), len(self._columns))
        if {*map(len, rows)} != {shape[1]}:
            raise ValueError("not a row")
        flat: list[float] = []
        for row in rows:
            flat += row
        numbers = np.frombuffer(struct.pack(f"{len(flat)}d", *flat)).reshape(shape)  # half the time of numpy's own ways
        # Compared in float64: a number just above the largest float32 must not be rounded down to it.
        if np.fmax.reduce(np.abs(numbers), axis=None) > FLOAT32_MAX:
            raise ValueError("beyond the range of float32")
        return numbers.astype(np.float32)

    def _numbers(self, row: Sequence[Any]) -> list[float]:
        """A row of cells as numbers: truth values, texts, unknown classes, and NaN for those that are missing."""
        if len(row) != len(self._fields):
            raise ValueError("not a row")
        numbers = [*row]
        for place, field in self._truths:
            numbers[place] = field.meant(row[place]) if type(row[place]) is bool else row[place]
        for place, field in self._coded:
            numbers[place] = number_of(field, numbers[place])
        if self._absences.most:
            for place, field in enumerate(self._fields):
                if row[place] is None and not field.optional:
                    numbers[place] = math.nan
        if not {*map(type, numbers)} <= _NUMBER_TYPES:
            raise ValueError("not a number, or another text than the column holds")
        return numbers


def _picker(fields: Sequence[Field], *, may_lack: bool) -> Callable[[dict[str, Any]], Sequence[Any]]:
    """What takes the cells out of an object in the order of the columns; a KeyError where one must not be absent."""
    names = [field.name for field in fields]
    if may_lack:
        return lambda row: [row.get(name) for name in names]
    if len(fields) < 2 or any(field.optional for field in fields):
        return lambda row: [row.get(field.name) if field.optional else row[field.name] for field in fields]
    return itemgetter(*names)


def _check_objects(objects: Sequence[dict[str, Any]], body: bytes) -> None:
    """Raises ValueError where the text may repeat a key in one of these objects, or be nested too deeply.

    Decoding keeps the last of equal keys. As many colons as keys, but for those in texts, are no more keys than there
    are, and no objects in objects.
    """
    colons, keys = body.count(b":"), sum(map(len, objects))
    if colons != keys:
        if b"\\" in body:  # a colon may be written otherwise
            raise ValueError("a key may stand there twice")
        texts = [text for row in objects for text in chain(row, row.values()) if type(text) is str]
        if colons != keys + "".join(texts).count(":"):
            raise ValueError("a key may stand there twice")
    if is_deep(body):
        raise ValueError("nested too deeply")


def _only(cells: list[Any]) -> Any:
    if len(cells) != 1:
        raise ValueError("not one row")
    return cells[0]


def _slow_line(line: bytes) -> tuple[Any, str]:
    """The row of a line and why it is no JSON, as `slow_rows` tells; a BadCell for what is not one row."""
    try:
        cells, unsound = slow_rows(line)
    except InputError as error:
        return BadCell("", str(error)), ""
    if len(cells) != 1:
        return BadCell("", f"holds {len(cells)} rows, expected one a line"), ""
    return cells[0], unsound
