"""The one reader of what samples hold, whatever their source: JSON, CSV, line protocol, the metrics of Telegraf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from msgspec.structs import replace

from ..bundle import Bundle
from ..errors import InputError
from ..layout import Declared, Layout
from ..rows.chunk import Rows, joined
from ..rows.fields import as_fields
from ..rows.line_protocol import parse_metric
from ..rows.telegraf import metrics_of
from .json_payloads import JsonLine, JsonPayloads, Scalar, check_size
from .samples import Sample
from .text_payloads import CsvPayloads, Found, MetricPayloads

if TYPE_CHECKING:
    from numpy.typing import NDArray

PayloadFormat = Literal["auto", "csv", "json", "influx"]

_MARK = b"\xef\xbb\xbf"


class Part(NamedTuple):
    """What one sample came to."""

    sample: Sample
    rows: int
    """How many it holds."""
    poison: str = ""
    """Why it holds none, where it should."""
    metrics: tuple[tuple[bytes, int], ...] = ()
    """Of line protocol: each line, and which of the sample's rows it is a part of, -1 for none."""


class Read(NamedTuple):
    """The rows of samples, in their order."""

    rows: Rows
    ids: list[Scalar]
    """That the rows came with."""
    parts: list[Part]
    """One for each sample, in their order."""
    quiet: bool = False
    """Whether who reads the answers knows nothing but line protocol."""

    @property
    def taken(self) -> list[Sample]:
        """The sample of each row."""
        return [part.sample for part in self.parts for _ in range(part.rows)]

    @property
    def poison(self) -> list[tuple[Sample, str]]:
        """The samples without any row that should have one, and why they have none."""
        return [(part.sample, part.poison) for part in self.parts if part.poison]


@dataclass(slots=True)
class _Batch:
    """What is put together of the samples of one call."""

    first: int
    columns: int
    parts: list[Part] = field(default_factory=list)
    chunks: list[Rows] = field(default_factory=list)
    ids: list[Scalar] = field(default_factory=list)
    lines: list[JsonLine] = field(default_factory=list)
    """JSON that is not yet read."""
    keys: list[str] = field(default_factory=list)

    @property
    def next(self) -> int:
        """The number of the next row."""
        return self.first + len(self.ids)

    def add(self, sample: Sample, found: Found) -> None:
        rows = found.rows
        count = 0 if rows is None else len(rows.values)
        self.parts.append(Part(sample, count, metrics=found.metrics))
        if rows is not None:
            self.chunks.append(rows)
            self.ids += [None] * count

    def rows(self) -> Rows:
        if self.chunks:
            return joined(self.chunks)
        return Rows(self.first, np.empty((0, self.columns), np.float32), {}, None)


class Payloads:
    """Reads the samples of one source for one model.

    A payload is a row, or several: JSON, lines of CSV below a header that stands in it or came before, or line
    protocol. Rows are counted from 0 on.

    Parameters
    ----------
    layout : what was said of how CSV is written; the rest is as in the model's recordings
    """

    def __init__(self, bundle: Bundle, input_format: PayloadFormat = "auto", layout: Layout | None = None) -> None:
        layout = bundle.data.complete(layout or Layout(declared=Declared()))
        if layout.declared is not None:
            layout = replace(layout, format=layout.format.as_declared(layout.declared))
        self._columns, self._format = as_fields(bundle.columns), input_format
        self._json = JsonPayloads(self._columns, layout)
        self._csv = CsvPayloads(self._columns, layout)
        self._metrics = MetricPayloads(self._columns, layout)
        self._first = 0

    def read(self, samples: Sequence[Sample]) -> Read:
        """What these samples hold."""
        batch = _Batch(self._first, len(self._columns))
        for sample in samples:
            try:
                self._take(sample, batch)
            except InputError as error:
                self._read_lines(batch)
                batch.parts.append(Part(sample, 0, str(error)))
        self._read_lines(batch)
        self._first = batch.next
        return Read(batch.rows(), batch.ids, batch.parts, self._format == "influx")

    def _take(self, sample: Sample, batch: _Batch) -> None:
        payload = sample.payload
        check_size(payload)
        payload = payload.removeprefix(_MARK).strip(b" \r\n")
        begin = payload.lstrip(b"\t")[:1]
        if not begin:
            raise InputError("is empty")
        if self._format == "json" or (self._format == "auto" and begin in b"[{"):
            metrics = metrics_of(payload, self._columns) if begin == b"{" else None
            if metrics is None:
                lines = self._json.lines(payload)
                batch.parts.append(Part(sample, len(lines)))
                batch.lines += lines
                batch.keys += [sample.key] * len(lines)
                return
            self._read_lines(batch)
            rows, _ = self._metrics.rows_of(metrics, sample.key, first=batch.next)
            batch.add(sample, Found(rows))
            return
        self._read_lines(batch)
        batch.add(sample, self._text(payload, sample.key, batch.next))

    def _text(self, payload: bytes, key: str, first: int) -> Found:
        if self._format == "influx" or (self._format == "auto" and _is_metric(payload)):
            return self._metrics.read(payload, key, first=first)
        try:
            return self._csv.read(payload, key, first=first)
        except InputError as error:
            if self._format == "csv":
                raise
            raise InputError(f"is neither JSON nor line protocol, nor CSV of this model: {error}") from None

    def _read_lines(self, batch: _Batch) -> None:
        """Reads the JSON that waits. What is no row leaves its sample without any."""
        if not batch.lines:
            return
        lines, keys = batch.lines, batch.keys
        batch.lines, batch.keys = [], []
        rows, ids, none = self._json.read(lines, keys, first=batch.next)
        if none:
            keep = _keep(batch.parts, len(lines), none)
            rows = _chosen(rows, keep)
            ids = [ids[at] for at in keep.tolist()]
        if ids:
            batch.chunks.append(rows)
            batch.ids += ids


def _is_metric(payload: bytes) -> bool:
    if b"=" not in payload:
        return False
    line = next((line for line in payload.split(b"\n") if not line.startswith(b"#")), b"")
    return parse_metric(line.strip()) is not None


def _keep(parts: list[Part], count: int, none: dict[int, str]) -> NDArray[np.int64]:
    """The lines that are rows; samples that hold another line are poison as a whole."""
    keep = np.ones(count, np.bool_)
    end = count
    for place in range(len(parts) - 1, -1, -1):
        if not end:
            break
        part = parts[place]
        begin = end - part.rows
        why = next((none[at] for at in range(begin, end) if at in none), None)
        if why is not None:
            keep[begin:end] = False
            parts[place] = Part(part.sample, 0, why)
        end = begin
    return np.flatnonzero(keep)


def _chosen(rows: Rows, keep: NDArray[np.int64]) -> Rows:
    """These rows of a chunk, as if there were no others."""
    bad = {place: rows.bad[at] for place, at in enumerate(keep.tolist()) if at in rows.bad}
    times = None if rows.times is None else rows.times[keep]
    keys = None if rows.keys is None else [rows.keys[at] for at in keep.tolist()]
    return Rows(rows.first, rows.values[keep], bad, times, keys)
