"""What a source is answered: a line of JSON for each row, or its line protocol with what was found."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from ..rows.line_protocol import Cell, with_fields
from ..rows.times import write_time
from ..rows.writers import records
from ..scoring.results import BAD, Results
from .payloads import Part, Read
from .samples import Answer

_encode = msgspec.json.Encoder().encode


def answers(read: Read, results: Results) -> list[Answer]:
    """The answer to each of the samples that were read, in their order.

    A row is told by its `id` where it came with one, else by its number, `row`; then its time and key where they are
    known, and what `Results.table` tells. A sample that holds no row, but a header or metrics of others, is answered
    with nothing, or with these metrics as they are. One that should hold a row and does not gets a line with the
    reason, unless `Read.quiet`.

    Parameters
    ----------
    results : of the rows of `read`, in their order
    """
    found = _records(read, results)
    return [_answer(part, read.quiet, list(islice(found, part.rows))) for part in read.parts]


def _answer(part: Part, quiet: bool, told: list[dict[str, Any]]) -> Answer:
    if part.poison:
        told_why = b"" if quiet else _encode({"status": BAD, "reason": part.poison})
        return Answer(part.sample, told_why, part.poison)
    bad = told[0]["reason"] if told and all(record["status"] == BAD for record in told) else ""
    sample = part.sample
    if len(told) == 1 and told[0].get("key"):
        sample = sample._replace(key=told[0]["key"])
    if part.metrics:
        lines = [with_fields(line, _fields(told[row])) if row >= 0 else line for line, row in part.metrics]
        return Answer(sample, b"\n".join(lines), bad)
    return Answer(sample, _encode(told[0]) if len(told) == 1 else b"\n".join(map(_encode, told)), bad)


def _records(read: Read, results: Results) -> Iterator[dict[str, Any]]:
    """What is told of each row."""
    rows = read.rows
    count = len(read.ids)
    times = [None] * count if rows.times is None else [write_time(time) for time in rows.times.tolist()]
    keys = rows.keys or [""] * count
    names = ("row", "time", "key")
    table = {name: cells for name, cells in results.table("row").items() if name not in names}
    for index, (ident, time, key, record) in enumerate(zip(read.ids, times, keys, records(table), strict=True)):
        told: dict[str, Any] = {"row": rows.number(index)} if ident is None else {"id": ident}
        if time is not None:
            told["time"] = time
        if key:
            told["key"] = key
        yield told | record


def _fields(record: dict[str, Any]) -> dict[str, Cell]:
    """What is told of a row as fields of a metric, which have no nulls."""
    names = ("score", "severity", "p_value", "is_anomaly", "status", "reason", "column")
    return {name: record[name] for name in names if record.get(name) is not None}
