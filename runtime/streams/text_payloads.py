"""Payloads that are text but no JSON: lines of CSV below a header that came before, and line protocol."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ..errors import InputError
from ..layout import Layout
from ..rows.cells import BadCell
from ..rows.chunk import Rows
from ..rows.csv_lines import CsvLines, cells_of, csv_below
from ..rows.csv_text import header_names
from ..rows.fields import Field
from ..rows.json_rows import RowReader
from ..rows.labels import Labels
from ..rows.line_protocol import parse_metric
from ..rows.telegraf import MetricNames, MetricRows
from .keys import Keyed

_SOURCE = "the payload"


class Found(NamedTuple):
    """What a payload holds."""

    rows: Rows | None
    """None where it has no row, like a header."""
    metrics: tuple[tuple[bytes, int], ...] = ()
    """Of line protocol: each line, and which of the rows it is a part of, -1 for none."""


class CsvPayloads:
    """Reads lines of CSV; the header that came before them is remembered, for each key."""

    def __init__(self, columns: Sequence[Field], layout: Layout) -> None:
        self._tables = Keyed(lambda _: _Table(columns, layout))
        self._blanks = b" \t\r\n".replace(layout.format.delimiter.encode(), b"")

    def read(self, payload: bytes, key: str, *, first: int) -> Found:
        """The rows of one or several lines. Raises InputError for what is no header of the model, nor below one."""
        lines = [line for line in (line.strip(self._blanks) for line in payload.split(b"\n")) if line]
        return Found(self._tables.of(key).read(lines, key, first))


class _Table:
    """The lines of one key."""

    def __init__(self, columns: Sequence[Field], layout: Layout) -> None:
        self._columns, self._layout = columns, layout
        self.reader: CsvLines | None = None
        self._header, self._above, self._units = b"", layout.format.skip, 0
        self._labels: Labels | None = None

    def read(self, lines: Sequence[bytes], key: str, first: int) -> Rows | None:
        rows = [line for line in lines if not self._is_no_row(line, key)]
        if not rows or self.reader is None:
            return None
        found = self.reader.parse(first, rows)
        if found.bad and len(rows) == 1 and self.reader.is_units(rows[0]):
            with suppress(InputError):  # another header, as after a change of the program that writes
                self._begin(rows[0], key)
                return None
        return found if self._labels is None else self._labels.put(found, [None] * len(rows), [key] * len(rows))

    def _is_no_row(self, line: bytes, key: str) -> bool:
        if self.reader is None:
            if not self._layout.format.header:
                self.reader, self._labels = self._headless(), self._own_labels(key)
                return False
            try:
                self._begin(line, key)
            except InputError:
                if not self._above:
                    raise
                self._above -= 1
            return True
        if line == self._header:
            return True
        if self._units and self.reader.is_units(line):
            self._units -= 1
            return True
        self._units = 0
        return False

    def _begin(self, header: bytes, key: str) -> None:
        """Lines below this header follow. Raises InputError when it is none of the model."""
        (cells,) = cells_of([header], self._layout.format)
        names = [] if isinstance(cells, BadCell) else header_names(cells, self._layout.format)
        says_key = self._layout.key in names or not key
        layout = self._layout if says_key else replace(self._layout, key=None)
        self.reader = csv_below(header, self._columns, layout, _SOURCE)
        self._labels = self._own_labels(key) if self._layout.key not in names else None
        self._header, self._units = header, self._layout.format.below

    def _headless(self) -> CsvLines:
        return CsvLines(None, self._columns, replace(self._layout, key=None), _SOURCE)

    def _own_labels(self, key: str) -> Labels | None:
        return Labels(Layout(key=self._layout.key)) if key or self._layout.key is not None else None


class MetricPayloads:
    """Reads line protocol, as Telegraf writes it: a line for each metric.

    Metrics of one payload, of the same time and tags, are a row, as in JSON of Telegraf.
    """

    def __init__(self, columns: Sequence[Field], layout: Layout) -> None:
        self._columns, self._layout = columns, layout
        self._reader = RowReader(columns, most_missing=layout.most_missing)
        self._names = MetricNames(columns, None)

    def read(self, payload: bytes, key: str, *, first: int) -> Found:
        """The rows of one or several lines; raises InputError where one is none of line protocol."""
        lines = [line for line in map(bytes.strip, payload.split(b"\n")) if line and not line.startswith(b"#")]
        known: list[bytes] = []
        places: list[int] = []
        for line in lines:
            metric = parse_metric(line)
            if metric is None:
                raise InputError("is no line protocol, expected MEASUREMENT,TAG=VALUE FIELD=NUMBER TIME")
            is_known = any(self._names.column(metric.name, name) for name in metric.fields)
            places.append(len(known) if is_known else -1)
            if is_known:
                known.append(msgspec.json.encode(metric._asdict()))
        if not known:
            return Found(None, tuple((line, -1) for line in lines))
        rows, groups = self.rows_of(known, key, first=first)
        row_of = {at: row for row, group in enumerate(groups) for at in group}
        return Found(rows, tuple((line, row_of.get(at, -1)) for line, at in zip(lines, places, strict=True)))

    def rows_of(self, metrics: Sequence[bytes | msgspec.Raw], key: str, *, first: int) -> tuple[Rows, list[list[int]]]:
        """The rows of metrics of JSON, and the places of those that each is made of."""
        found = MetricRows(metrics, self._columns, self._layout.key)
        labels = Labels(self._layout, key=key or None)
        parts = len(found.groups)
        return found.read(self._reader, labels, 0, parts)._replace(first=first), found.groups
