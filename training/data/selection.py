"""Which columns of a table are features, as asked for or as their first rows say."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...runtime.bundle import Limit, Treatment
from ...runtime.errors import InputError, few
from ...runtime.layout import Layout
from ...runtime.rows.cell_units import unit_in
from ...runtime.rows.cells import bad_reason, is_missing, is_utf8, shown
from ...runtime.rows.times import TIME_NAMES
from .sources import Source, read_texts
from .suspects import MOST_LEVELS

_CLOCK = re.compile(r"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?")

_LEAST_OF_A_TEXT = 10
"""How often each text of a category must come up, on average."""


@dataclass(frozen=True)
class Selection:
    """Which columns of a file are features, and what is done with them; empty leaves the choice to `choose_columns`."""

    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    time_column: str | None = None
    """The time stamps; two columns with a comma between them."""
    class_column: str | None = None
    """What recipe cvae is conditioned on."""
    treatments: Mapping[str, Treatment] = field(default_factory=dict)
    """By column, what is done with its values; see `columns.plan_columns`."""
    normal: tuple[str, ...] = ()
    """Of images, the names of the folders to learn from; empty for all."""
    missing_values: tuple[float, ...] | Mapping[str, tuple[float, ...]] | None = None
    """Numbers that stand for no value, in every column or by column; None leaves it to `sentinels.find_sentinels`."""
    limits: tuple[Limit, ...] = ()
    """What readings keep in normal operation."""
    max_missing: float | None = None
    """Share of the cells of a row that may be missing; None leaves it to `holes.most_missing`."""

    def named_in(self, header: Sequence[str]) -> Selection:
        """The same with lists of columns, like "Temp, C,flow", taken apart into the names of a header."""
        columns, exclude = (
            tuple(name for text in texts for name in split_names(text, header))
            for texts in (self.columns, self.exclude)
        )
        return replace(self, columns=columns, exclude=exclude)

    def asks_for(self, name: str) -> bool:
        """Whether the user wants this very column."""
        return name in self.columns or name in self.treatments or name == self.class_column


def are_numbers(cells: Sequence[str], layout: Layout) -> bool:
    """Whether most of these filled cells are numbers, with a unit behind them or without."""
    numeric = sum(not bad_reason(layout.format.with_point(cell)) for cell in cells)
    return 2 * numeric > len(cells) or bool(unit_in(cells, layout.format))


def split_names(text: str, header: Sequence[str]) -> list[str]:
    """The names in a list between commas; those of the header may hold commas, or be quoted.

    >>> split_names("Temp, C,flow", ["flow", "Temp, C"]), split_names("Temp, C", ["Temp", "C"])
    (['Temp, C', 'flow'], ['Temp', 'C'])
    """
    parts, names = text.split(","), list[str]()
    while parts:
        ends = range(len(parts), 0, -1)  # the longest name first
        joined = [",".join(parts[:end]).strip() for end in ends]
        known = (each for each in zip(ends, joined, strict=True) if {each[1], each[1].strip('"')} & set(header))
        end, name = next(known, (1, joined[-1]))
        names.append(name if name in header else name.strip('"'))
        parts = parts[end:]
    return names


def few_texts(
    sources: Sequence[Source],
    header: Sequence[str],
    sample: Sequence[Sequence[str]],
    selection: Selection,
    time_columns: Collection[str],
    layout: Layout,
) -> dict[str, tuple[str, ...]]:
    """By column, the texts of those that hold at most `MOST_LEVELS` different ones, each several times."""
    found = {}
    wanted = {*(selection.columns or header), *([selection.class_column] if selection.class_column else [])}
    for position, name in enumerate(header):
        cells = [row[position].strip() for row in sample if position < len(row) and not is_missing(row[position])]
        is_none = not name or list(header).count(name) > 1 or name in time_columns or name in selection.exclude
        if name not in wanted or is_none or are_numbers(cells, layout) or _is_clock(name, cells):
            continue
        filled = [cell for cell in map(str.strip, read_texts(sources, name)) if cell and is_utf8(cell)]
        texts = sorted(set(filled))
        if 1 < len(texts) <= MOST_LEVELS and len(filled) >= _LEAST_OF_A_TEXT * len(texts):
            found[name] = tuple(texts)
    return found


def _is_clock(name: str, cells: Sequence[str]) -> bool:
    """Whether a column called like time stamps holds only times of day, as spreadsheets leave them of a date."""
    return name.strip().lower() in TIME_NAMES and bool(cells) and all(map(_CLOCK.fullmatch, map(str.strip, cells)))


def choose_columns(
    header: Sequence[str],
    sample: Sequence[Sequence[str]],
    selection: Selection,
    time_columns: Collection[str],
    layout: Layout,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Names of the feature columns, and why others are none.

    Columns that the user names must be numeric. Otherwise every column is taken whose filled cells in the first rows
    are mostly numbers.
    """
    named = [selection.class_column] if selection.class_column else []
    limited = [limit.column for limit in selection.limits]
    for name in (*selection.columns, *selection.exclude, *selection.treatments, *named, *limited):
        if name not in header:
            raise InputError(f"column {name!r} is not in the header: {few(map(shown, header), 12)}")
    candidates = [n for n in selection.columns or header if n not in selection.exclude and n not in time_columns]
    candidates += [name for name in named if name not in candidates]
    chosen, left_out = list[str](), dict[str, str]()
    for name in candidates:
        if not name or re.fullmatch(r"Unnamed: \d+", name):  # the row numbers that pandas writes, and reads
            left_out[name] = "may number the rows"
            continue
        if list(header).count(name) > 1 and not selection.asks_for(name):
            left_out[name] = "stands in the header more than once"
            continue
        position = list(header).index(name)
        cells = [row[position] for row in sample if position < len(row) and not is_missing(row[position])]
        if are_numbers(cells, layout) or name in (texts or {}):
            chosen.append(name)
            continue
        what = f"holds text ({shown(cells[0])})" if cells else "is empty"
        if _is_clock(name, cells):
            what = f"holds times of day without a date ({shown(cells[0])})"
        if name in (*selection.columns, *named):
            raise InputError(
                f"column {name!r} {what}, expected numbers, or 2 to {MOST_LEVELS} different texts that come up at "
                f"least {_LEAST_OF_A_TEXT} times each on average"
            )
        left_out[name] = what
    if not chosen:
        raise InputError("no numeric column is left to learn from; the header has " + few(map(shown, header), 12))
    return chosen, left_out
