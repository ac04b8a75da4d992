"""Lines as InfluxDB and Telegraf write them: `measurement,tag=value field=1.5,other=2i 1767592800000000000`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .cells import is_plain

Cell = float | int | bool | str

_NAME = r"(?:[^\\, =\n]|\\.)+"
_MEASUREMENT = r"(?:[^\\, \n]|\\.)+"
_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^", =\n]+)'
_FIELD = rf"{_NAME}={_VALUE}"
_LINE = re.compile(
    rf"(?P<name>{_MEASUREMENT})(?P<tags>(?:,{_NAME}={_NAME})*) +(?P<fields>{_FIELD}(?:,{_FIELD})*)"
    r"(?: +(?P<time>-?\d{1,19}))?\s*",
    re.DOTALL,
)
_FIELDS = re.compile(rf"({_NAME})=({_VALUE})(?:,|$)", re.DOTALL)
_TAGS = re.compile(rf",({_NAME})=({_NAME})", re.DOTALL)
_ESCAPE = re.compile(r"\\([, =])")
_ESCAPE_OF_TEXT = re.compile(r'\\(["\\])')
_WHOLE = re.compile(r"[+-]?\d{1,20}[iu]")
_TRUTHS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}


class Metric(NamedTuple):
    """What a line says."""

    name: str
    tags: dict[str, str]
    fields: dict[str, Cell]
    timestamp: int | None
    """Nanoseconds since 1970, unless somebody set another precision."""


def parse_metric(line: bytes) -> Metric | None:
    """The metric of a line, None for what is none.

    >>> parse_metric(b'pump,site=north flow=3.5,on=t 1767592800000000000')
    Metric(name='pump', tags={'site': 'north'}, fields={'flow': 3.5, 'on': True}, timestamp=1767592800000000000)
    """
    try:
        found = _LINE.fullmatch(line.decode())
    except UnicodeDecodeError:
        return None
    if found is None:
        return None
    fields: dict[str, Cell] = {}
    for name, text in _FIELDS.findall(found["fields"]):
        cell = _cell(text)
        if cell is None:
            return None
        fields[_plain(name)] = cell
    tags = {_plain(name): _plain(value) for name, value in _TAGS.findall(found["tags"])} if found["tags"] else {}
    return Metric(_plain(found["name"]), tags, fields, None if found["time"] is None else int(found["time"]))


def with_fields(line: bytes, fields: Mapping[str, Cell]) -> bytes:
    """A line that `parse_metric` reads, with more fields; those that it has already are replaced.

    >>> with_fields(b"pump flow=3.5 1", {"score": 2.5, "is_anomaly": True, "status": "ok"})
    b'pump flow=3.5,score=2.5,is_anomaly=true,status="ok" 1'
    """
    found = _LINE.fullmatch(line.decode())
    assert found is not None
    own = found["fields"]
    if any(f"{name}=" in own for name in fields):
        own = ",".join(f"{name}={text}" for name, text in _FIELDS.findall(own) if _plain(name) not in fields)
    added = ",".join(f"{name}={_written(cell)}" for name, cell in fields.items())
    end = "" if found["time"] is None else f" {found['time']}"
    return f"{found['name']}{found['tags']} {own + ',' if own else ''}{added}{end}".encode()


def _cell(text: str) -> Cell | None:
    if text[0] == '"':
        return _ESCAPE_OF_TEXT.sub(r"\1", text[1:-1])
    truth = _TRUTHS.get(text)
    if truth is not None:
        return truth
    if _WHOLE.fullmatch(text):
        return int(text[:-1])
    try:
        return float(text) if is_plain(text) else None
    except ValueError:
        return None


def _plain(name: str) -> str:
    return _ESCAPE.sub(r"\1", name) if "\\" in name else name


def _written(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        return '"' + cell.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'
    return f"{cell}i" if isinstance(cell, int) else repr(cell)
