"""From files to a table of numbers: which of its columns are features, which hold texts, which the time."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec.structs import replace

from ...runtime.bundle import Image, Limit
from ...runtime.errors import InputError, few
from ...runtime.layout import Declared, Layout
from ...runtime.opening import digest
from ...runtime.rows.cell_units import unit_in
from ...runtime.rows.cells import shown
from ...runtime.rows.fields import Field
from ...runtime.rows.forms import describe_stamps
from ...runtime.rows.table_files import Tables, find_tables
from .date_columns import spare_parts
from .declared_limits import refuse_unscored, within_limits
from .holes import describe_bad, describe_filled, settle_holes
from .mixture import describe_mixture, find_mixture, is_like_long
from .selection import Selection, choose_columns, few_texts
from .sentinels import Sentinel, blank_columns, declared_sentinels, describe_sentinels, find_sentinels
from .sources import (
    Read,
    Source,
    describe_sheets,
    describe_text,
    read_features,
    read_texts,
    sample_of,
    sources_of,
    stamped,
    with_late_columns,
)
from .stamps import find_stamps, gap_that_helps, segments_of, summer_time
from .suspects import Doubt, Suspects, find_suspects

if TYPE_CHECKING:
    from numpy.typing import NDArray


_TOLD = 3
"""Files whose order is told of."""


class Table(NamedTuple):
    """Normal rows or images, ready to be split.

    `values` is float32 (rows, features) without bad rows, NaN where a cell is missing that may be, or uint8
    (images, height, width, channels); `segment` (rows,) numbers the stretches of rows that follow each other
    without a bad row or a jump in time; `period_s` is the time from row to row, None without time stamps; `notes`
    say what was done to the columns and rows, for the user; `texts` are those of the columns that hold text,
    `units` those that stand in the cells of a column; `stamp_s` is the time between stamps that several rows share,
    else 0; `classes` are the folders of the images and `class_of` each image's; `ordered` says that neighbouring
    rows are so much alike that they follow each other, time stamps or not; `longer_gap_s` is a step up to which
    there would hardly be a gap in a recording with many, 0 for others; `layout` is how the recording is written, as
    declared and as found out; `missing` are by column the numbers that stand for no value; `recording` (rows,)
    numbers the files, or keys, that the rows are from, None for one; `files` are the sha256 of these files where
    there are several; `mixture` says how rows of several machines are mixed without a key, "" where they are not;
    `limits` are kept by all of the rows.
    """

    values: NDArray[np.float32] | NDArray[np.uint8]
    names: tuple[str, ...]
    time_column: str | None
    segment: NDArray[np.int64]
    period_s: float | None
    notes: list[str]
    sha256: str
    texts: Mapping[str, tuple[str, ...]] = {}
    units: Mapping[str, str] = {}
    stamp_s: float = 0.0
    image: Image | None = None
    classes: tuple[str, ...] = ()
    class_of: NDArray[np.int64] | None = None
    ordered: bool = False
    longer_gap_s: float = 0.0
    layout: Layout = Layout()
    missing: Mapping[str, tuple[float, ...]] = {}
    recording: NDArray[np.int64] | None = None
    files: tuple[str, ...] = ()
    mixture: str = ""
    limits: tuple[Limit, ...] = ()


class Survey(NamedTuple):
    """A recording as it was read, and what was understood of it."""

    tables: Tables
    sources: list[Source]
    written: str
    """How the text is written, where that was recognised and is not the plain form."""
    names: list[str]
    """The columns that are features."""
    left_out: dict[str, str]
    """By column, why it is none; the time stamps, suspects and what the user excluded are not among them."""
    suspects: Suspects
    kept: str
    """Why columns of these are features that had better not be, "" where none is."""
    texts: Mapping[str, tuple[str, ...]]
    """By column, the texts of those that hold text."""
    units: Mapping[str, str]
    """By column, what stands behind the numbers in its cells."""
    read: Read
    """The features, and what could not be read of them."""
    sentinels: Mapping[str, Sentinel]
    """By column, the numbers that stand for no value."""
    key: str | None
    """The column that tells mixed machines apart, where nobody has named it."""
    limits: tuple[Limit, ...] = ()

    @property
    def fields(self) -> list[Field]:
        """How the features are read."""
        return [
            Field(
                name, self.texts.get(name, ()), unit=self.units.get(name, ""), missing=_values_of(self.sentinels, name)
            )
            for name in self.names
        ]

    @property
    def remedy(self) -> tuple[str, str] | None:
        """The option that tells mixed rows apart, where nobody gave it, and its value."""
        if self.key is None:
            return None
        values = self.read.values[self.read.kept]
        others = [name for at, name in enumerate(self.names) if name != self.key and np.ptp(values[:, at])]
        if len(others) == 1 and is_like_long(self.key, others[0]):
            return "--long", f"{self.key},{others[0]}"
        return "--key", self.key

    @property
    def mixture(self) -> str:
        """What is mixed and what helps, "" where nothing is."""
        if self.key is None or self.remedy is None:
            return ""
        option, value = self.remedy
        does = "keeps them apart" if option == "--key" else "makes a column of each"
        what = describe_mixture(self.key, self.texts, option, timed=self.read.times is not None)
        return f"{what}; {option} {shlex.quote(value)} {does}"

    @property
    def layout(self) -> Layout:
        """As declared and as found out, of the first file: the others may be of another format."""
        return self.sources[0].layout

    def describe_columns(self) -> list[str]:
        """A line for each column that is left out, or for several where the reason is one."""
        lines = [
            f"column {name!r} left out: {why}" if name else f"a column without a name left out: it {why}"
            for name, why in self.left_out.items()
        ]
        return [*lines, *describe_sentinels(self.sentinels), *self.suspects.describe(kept=self.kept)]


def load_table(
    data: Path | Sequence[Path], selection: Selection, layout: Layout, *, numbers_only: bool = False
) -> Table:
    """The features of a table, or of several files as `find_tables` finds them. Columns of a few texts are categories,
    unless `numbers_only`.

    Raises
    ------
    InputError
        when there is nothing to learn from: no numeric column, a column named in `selection` that is missing or
        holds text, or more than a fifth of the rows bad
    """
    return table_of(survey(data, selection, layout, numbers_only=numbers_only))


def survey(data: Path | Sequence[Path], selection: Selection, layout: Layout, *, numbers_only: bool = False) -> Survey:
    """What is in the files, before it is asked whether that will do. Raises as `load_table`, but for bad rows."""
    tables = find_tables(data)
    sources = sources_of(tables, layout)
    written = describe_text(sources) if layout.declared is not None else ""
    header, sample, left_out = with_late_columns(sources, sample_of(sources))
    selection = selection.named_in(header)
    if layout.stamps is None:
        sources = _stamped(sources, header, sample, selection.time_column, layout.declared or Declared())
    layout = sources[0].layout
    if layout.long is not None:
        _refuse_not_long(layout, header)
        header, sample, left_out = with_late_columns(sources, sample_of(sources))
    spare = [name for name in spare_parts(header, sample, layout.stamps) if not selection.asks_for(name)]
    left_out |= dict.fromkeys(spare, "says a part of the date, as the time stamps do")
    taken = (*layout.stamps.columns, *spare) if layout.stamps else ()
    selection = _but_for_key(selection, layout.key, header)
    texts = {} if numbers_only else few_texts(sources, header, sample, selection, taken, layout)
    names, others = choose_columns(header, sample, selection, taken, layout, texts)
    units = _units(header, sample, texts, layout)
    fields = [Field(name, texts.get(name, ()), unit=units.get(name, "")) for name in names]
    read = read_features(sources, fields)
    sentinels = _find_sentinels(read, names, texts, selection)
    blank = blank_columns(sentinels, [name for name in names if not selection.asks_for(name)])
    names = [name for name in names if name not in blank]
    fields = [dataclasses.replace(field, missing=_values_of(sentinels, field.name)) for field in fields]
    if blank:
        fields = [field for field in fields if field.name in names]
        read = read_features(sources, fields)
    elif sentinels:
        read = read.settled(fields)
    key = find_mixture(read, names) if layout.key is None else None
    suspects = _find_suspects(read, names, texts, selection).but_for(key)
    left = [name for name in names if name not in suspects.doubts]
    kept = "" if left else "no other column is left"
    if len(left) < len(names) and not kept:
        names, fields = left, [field for field in fields if field.name in left]
        read = read_features(sources, fields)  # again: a row whose bad cell was in a column left out is a good one
    sources, fields, read, empty = settle_holes(sources, fields, read, selection)
    names, others = [field.name for field in fields], others | empty
    texts = {name: found for name, found in texts.items() if name in names}
    sentinels = {name: found for name, found in sentinels.items() if name in names}
    left_out |= others | blank
    refuse_unscored(selection.limits, names, left_out, suspects.doubts, layout)
    return Survey(
        tables, sources, written, names, left_out, suspects, kept, texts, units, read, sentinels, key, selection.limits
    )


def _refuse_not_long(layout: Layout, header: Sequence[str]) -> None:
    for name in (layout.long.name, layout.long.value) if layout.long is not None else ():
        if name not in header:
            raise InputError(f"--long: {name!r} is not in the header: {few(map(shown, header), 12)}")
    if layout.stamps is None:
        raise InputError("--long needs the times that say which values belong together; name their --time-column")


def _but_for_key(selection: Selection, key: str | None, header: Sequence[str]) -> Selection:
    """The same without the key, unless somebody wants it for a feature."""
    if key is None or selection.asks_for(key):
        return selection
    if key not in header:
        raise InputError(f"--key {key!r} is not in the header: {few(map(shown, header), 12)}")
    return dataclasses.replace(selection, exclude=(*selection.exclude, key))


def _stamped(
    sources: Sequence[Source],
    header: Sequence[str],
    sample: Sequence[Sequence[str]],
    named: str | None,
    declared: Declared,
) -> list[Source]:
    """The files with their time stamps, as declared and as found out."""
    pattern = declared.time_format
    stamps = find_stamps(header, sample, named, lambda name: read_texts(sources, name), pattern=pattern)
    if stamps is not None and declared.time_zone is not None:
        stamps = replace(stamps, zone=declared.time_zone)
    return stamped(sources, stamps, is_said=pattern is not None)


def table_of(found: Survey) -> Table:
    """What was read as a table to learn from. Raises InputError when too many of the rows are bad."""
    read, stamps = found.read, found.layout.stamps
    notes = [told] if (told := found.tables.describe()) else []
    notes += describe_sheets(found.sources)
    if read.keys:
        each = f"{len(read.keys)} recordings, one for each {found.layout.key!r}"
        notes.append(f"{each}: {few(map(repr, dict.fromkeys(read.keys)))}")
    notes += [f"text: {found.written}"] if found.written else []
    notes += [*([describe_stamps(stamps)] if stamps else []), *found.describe_columns()]
    notes += [
        *read.told[:_TOLD],
        *([f"{len(read.told) - _TOLD} more files likewise"] if len(read.told) > _TOLD else []),
    ]
    if summer := summer_time(read.times, read.recording, stamps):
        notes.append(summer)
    if filled := describe_filled(read, found.layout.most_missing):
        notes.append(filled)
    if read.bad:
        notes.append(describe_bad(read, found.sources, found.fields, found.tables.name))
    read = within_limits(read, found.limits, found.names, notes.append)
    segment, clock = segments_of(read.kept, read.times, read.recording, found.layout.max_gap_s)
    period_s, stamp_s = (None, 0.0) if clock is None else (clock.period_s, clock.stamp_s)
    if stamp_s:
        notes.append(f"rows share time stamps, {stamp_s:g} s apart: a row counts as {period_s:.4g} s")
    return Table(
        read.values[read.kept],
        tuple(found.names),
        stamps.column if stamps else None,
        segment[read.kept],
        period_s,
        notes,
        digest(*found.tables.files),
        found.texts,
        found.units,
        stamp_s,
        layout=found.layout,
        missing={name: each.values for name, each in found.sentinels.items()},
        recording=read.recording[read.kept],
        longer_gap_s=0.0 if clock is None or read.times is None else gap_that_helps(read.times, read.recording, clock),
        files=tuple(map(digest, found.tables.files)) if len(found.tables.files) > 1 else (),
        mixture=found.mixture,
        limits=found.limits,
    )


def _units(
    header: Sequence[str], sample: Sequence[Sequence[str]], texts: Mapping[str, object], layout: Layout
) -> dict[str, str]:
    """By column, the unit in its cells, where they have one."""
    numeric = [(at, name) for at, name in enumerate(header) if name not in texts]
    cells = {name: [row[at] for row in sample if at < len(row)] for at, name in numeric}
    return {name: unit for name in cells if (unit := unit_in(cells[name], layout.format))}


def _find_sentinels(
    read: Read, names: list[str], texts: Mapping[str, Sequence[str]], selection: Selection
) -> dict[str, Sentinel]:
    """Among the columns of numbers, by what was declared or by what is found."""
    places = [at for at, name in enumerate(names) if name not in texts]
    values, numbers = read.values[:, places], [names[at] for at in places]
    if selection.missing_values is None:
        return find_sentinels(values, numbers)
    return declared_sentinels(values, numbers, selection.missing_values)


def _values_of(sentinels: Mapping[str, Sentinel], name: str) -> tuple[float, ...]:
    return sentinels[name].values if name in sentinels else ()


def _find_suspects(read: Read, names: list[str], texts: Mapping[str, Sequence[str]], selection: Selection) -> Suspects:
    """Among the columns that nobody asked for."""
    free = [at for at, name in enumerate(names) if not selection.asks_for(name)]
    if not free or not read.kept.any():
        return Suspects({}, [], [])
    wanted = [names[at] for at in free]
    segment = None if read.times is not None else np.cumsum(~read.kept, dtype=np.int64)
    found = find_suspects(
        read.values[read.kept][:, free], wanted, texts, None if segment is None else segment[read.kept]
    )
    # A counter may begin anew in each recording.
    longest = read.kept & (read.recording == np.bincount(read.recording[read.kept]).argmax())
    own = find_suspects(read.values[longest][:, free], wanted, texts, None if segment is None else segment[longest])
    counters = {name: doubt for name, doubt in own.doubts.items() if doubt == Doubt.COUNTER}
    return found._replace(doubts=found.doubts | counters, rising=[n for n in found.rising if n not in counters])
