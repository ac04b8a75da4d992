"""Payloads of JSON: one row or several, as objects by column name, as lists, or in an envelope with an id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ..errors import InputError, first_line
from ..layout import Layout
from ..rows.cells import BadCell, is_utf8
from ..rows.chunk import Rows
from ..rows.csv_text import MAX_LINE_BYTES
from ..rows.fields import Field
from ..rows.json_rows import RowReader
from ..rows.labels import Labels
from ..rows.times import parse_time

Scalar = int | float | str | bool | None

MOST_ID = 256
"""Characters of an id that is told again."""

_SEVERAL = re.compile(rb"\[\s*[\[{]")
_RAW, _RAWS = msgspec.json.Decoder(msgspec.Raw), msgspec.json.Decoder(list[msgspec.Raw])
_NO_JSON = msgspec.MsgspecError, ValueError, RecursionError


class JsonLine(NamedTuple):
    """A row that is still text."""

    text: bytes
    told: dict[str, Any] | None = None
    """Time, key and id of an envelope; None of a row without one."""


class JsonPayloads:
    """Reads the rows of one model.

    Parameters
    ----------
    layout : of the model's recordings, which says where time and key are
    """

    def __init__(self, columns: Sequence[Field], layout: Layout) -> None:
        names = {column.name for column in columns}
        self._reader = RowReader(columns, most_missing=layout.most_missing)
        self._labels, self._knows_key = Labels(layout), layout.key is not None
        self._time = "" if layout.stamps is not None or "time" in names else "time"
        """Where objects say their time, if the model does not know another place."""
        self._key = "" if layout.key is not None or "key" in names else "key"
        self._id = "" if "id" in names else "id"
        stamps = layout.stamps.columns if layout.stamps is not None else ("time",)
        self._envelope = None if "values" in names else _envelope([*stamps], layout.key or "key")

    def lines(self, payload: bytes) -> list[JsonLine]:
        """The rows of a payload, not yet read. Raises InputError when it holds none."""
        if _SEVERAL.match(payload):
            try:
                texts = [bytes(memoryview(row)) for row in _RAWS.decode(payload)]
            except _NO_JSON as error:
                raise InputError(f"is not valid JSON: {first_line(error)}") from None
        elif b"\n" in payload and not _is_one(payload):
            texts = [line for line in map(bytes.strip, payload.split(b"\n")) if line]
        else:
            texts = [payload]
        if self._envelope is None:
            return [JsonLine(text) for text in texts]
        return [self._opened(text) if b'"values"' in text else JsonLine(text) for text in texts]

    def read(
        self, lines: Sequence[JsonLine], keys: Sequence[str], *, first: int
    ) -> tuple[Rows, list[Scalar], dict[int, str]]:
        """The rows, the ids that they come with, and which lines hold no row at all, with the reason.

        Parameters
        ----------
        keys : whose rows those are that do not say it, "" for none
        """
        rows, cells = self._reader.read_cells([line.text for line in lines], first=first)
        none = {at: cells[at].reason for at in rows.bad if isinstance(cells[at], BadCell)} if rows.bad else {}
        told = [cell if line.told is None else line.told for line, cell in zip(lines, cells, strict=True)]
        if not any(type(each) is dict for each in told):
            others = keys if any(keys) else None
            if others is not None or self._knows_key:
                rows = self._labels.put(rows, told, others)
            return rows, [None] * len(lines), none
        others = keys
        if self._key:
            others = [_key_in(each, self._key) or key for each, key in zip(told, keys, strict=True)]
        rows = self._labels.put(rows, told, others if any(others) else None)
        if self._knows_key:
            rows = rows._replace(keys=[*map(_whole, rows.keys or [])])
        if self._time:
            times = np.array([_time_in(each, self._time) for each in told])
            rows = rows if np.isnan(times).all() else rows._replace(times=times)
        return rows, [_id_in(each, self._id) for each in told], none

    def _opened(self, text: bytes) -> JsonLine:
        """What is in an envelope; the text itself where it is none."""
        assert self._envelope is not None
        try:
            found = self._envelope.decode(text)
        except msgspec.ValidationError as error:
            if "missing required field `values`" in str(error):
                return JsonLine(text)
            raise InputError(f"has another form than id, time, key and values: {first_line(error)}") from None
        except _NO_JSON:
            return JsonLine(text)  # whose reader says what is wrong
        told = msgspec.structs.asdict(found)
        return JsonLine(bytes(memoryview(told.pop("values"))), told)


def check_size(payload: bytes) -> None:
    """Raises InputError for a payload that is larger than a line may be."""
    if len(payload) > MAX_LINE_BYTES:
        raise InputError(f"is longer than {MAX_LINE_BYTES} bytes")


def _envelope(times: Sequence[str], key: str) -> msgspec.json.Decoder[Any]:
    names = [name for name in dict.fromkeys(["id", key, *times]) if name.isidentifier() and name != "values"]
    fields: list[Any] = [("values", msgspec.Raw), *((name, Scalar, None) for name in names)]
    return msgspec.json.Decoder(msgspec.defstruct("Envelope", fields))


def _is_one(payload: bytes) -> bool:
    try:
        _RAW.decode(payload)
    except _NO_JSON:
        return False
    return True


def _id_in(told: Any, name: str) -> Scalar:
    found = told.get(name) if type(told) is dict else None
    if type(found) is str and not (len(found) <= MOST_ID and is_utf8(found)):
        return None
    return found if type(found) in (int, float, bool, str) else None


def _key_in(told: Any, name: str) -> str:
    found = told.get(name) if type(told) is dict else None
    return _whole(str(found)[:MOST_ID]) if type(found) in (str, int, float) else ""


def _whole(text: str) -> str:
    """The text with ? for halves of characters."""
    return text if is_utf8(text) else text.encode(errors="replace").decode()


def _time_in(told: Any, name: str) -> float:
    found = told.get(name) if type(told) is dict else None
    return parse_time(str(found)) if type(found) in (str, int, float) else np.nan
