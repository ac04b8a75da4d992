"""Long tables, a row for each time and name, made wide: a row for each time, a column for each name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..layout import Layout


def is_long(header: Sequence[str] | None, layout: Layout) -> bool:
    """Whether a table with this header is to be made wide; one that is wide already stays so."""
    long = layout.long
    return long is not None and layout.stamps is not None and {long.name, long.value} <= {*(header or ())}


def as_wide(header: Sequence[str], rows: Iterable[Sequence[str]], layout: Layout) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the wide table: time stamps, the key where there is one, and the names as they come.

    Rows come in the order in which their times first do. A name without a value at a time has an empty cell; of
    several values the last counts. All of it is held in memory.
    """
    long, stamps = layout.long, layout.stamps
    assert long is not None
    assert stamps is not None
    kept = [*stamps.columns, *([layout.key] if layout.key is not None else [])]
    name_at, value_at, *places = map(list(header).index, (long.name, long.value, *kept))
    needed = max(name_at, value_at, *places)
    columns: dict[str, int] = {}
    found: dict[tuple[str, ...], dict[int, str]] = {}
    for row in rows:
        if len(row) <= needed or not (name := row[name_at].strip()):
            continue
        cells = found.setdefault(tuple(row[place].strip() for place in places), {})
        cells[columns.setdefault(name, len(columns))] = row[value_at]
    whole = [[*when, *(cells.get(place, "") for place in range(len(columns)))] for when, cells in found.items()]
    return [*kept, *columns], whole
