"""What Telegraf sends as JSON to rows: the metrics of one moment and the same tags are one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from ..errors import InputError
from .cells import BadCell
from .chunk import Rows
from .fields import Field
from .json_problems import MOST_LEVELS, is_deep
from .json_rows import RowReader
from .labels import Labels
from .pieces import PIECE, check_rows, check_values, spans
from .times import parse_time


class _Metric(msgspec.Struct):
    fields: dict[str, Any]
    name: str = ""
    tags: dict[str, Any] | None = None
    timestamp: int | float | str | None = None


class _Head(msgspec.Struct):
    tags: dict[str, Any] | None = None
    timestamp: int | float | str | None = None


_BODY = msgspec.json.Decoder(dict[str, msgspec.Raw])
_METRICS = msgspec.json.Decoder(list[msgspec.Raw])
_NO_JSON = msgspec.MsgspecError, UnicodeDecodeError, RecursionError
"""What reading raises for what is no such JSON."""
_MOST_KNOWN = 10_000
"""Names of fields that are remembered."""
_HEAD, _METRIC = msgspec.json.Decoder(_Head), msgspec.json.Decoder(_Metric)


def metrics_of(body: bytes, columns: Sequence[Field]) -> Sequence[bytes | msgspec.Raw] | None:
    """The metrics of a body, not yet read, or None where it holds something else, such as a row of these columns.

    >>> len(metrics_of(b'{"metrics": [{"fields": {"flow": 3}}]}', [])), metrics_of(b'{"flow": 3}', [])
    (1, None)
    """
    if b'"metrics"' not in body and b'"fields"' not in body:
        return None
    try:
        found = _BODY.decode(body)
        if any(field.name in found for field in columns):
            return None
        if "metrics" in found:
            return _METRICS.decode(found["metrics"])
    except _NO_JSON:
        return None
    return [body] if bytes(memoryview(found.get("fields", b""))[:1]) == b"{" else None


class MetricRows:
    """The rows that metrics make, in the order of their first metrics.

    A column is called like a field, or NAME_FIELD, or NAME.FIELD, after the name of the metric; the column of the key,
    and columns of texts, may be tags. Metrics without a timestamp are a row each.

    Raises TooLargeError when there are too many metrics or values, or a row is too large, and InputError when there are
    none.
    """

    def __init__(self, metrics: Sequence[bytes | msgspec.Raw], columns: Sequence[Field], key: str | None) -> None:
        if not metrics:
            raise InputError("the body holds no metrics")
        check_rows(len(metrics))
        self._metrics = metrics
        self._names = MetricNames(columns, key)
        self._tagged = {column.name for column in columns if column.texts} | ({key} if key is not None else set())
        self.groups = _grouped(metrics)
        """The places of the metrics of each row."""
        sizes = [sum(len(memoryview(metrics[at])) for at in group) for group in self.groups]
        check_values(sum(bytes(memoryview(metric)).count(b",") for metric in metrics) + len(metrics))
        self.spans = spans(sizes, len(columns), len(self.groups), piece=PIECE // 4)

    def read(self, reader: RowReader, labels: Labels, first: int, end: int) -> Rows:
        """The rows of a piece; a timestamp is their time."""
        found = [self._row(group) for group in self.groups[first:end]]
        rows = reader.read_objects([row for row, _ in found], labels, first=first)
        times = np.array([time for _, time in found])
        return rows._replace(times=times) if np.isfinite(times).any() else rows

    def _row(self, group: Sequence[int]) -> tuple[dict[str, Any] | BadCell, float]:
        """The cells of a row by column, or why it is none, and its time."""
        row: dict[str, Any] = {}
        tags: dict[str, Any] = {}
        time = np.nan
        for at in group:
            if is_deep(bytes(memoryview(self._metrics[at]))):
                return BadCell("", f"is nested deeper than {MOST_LEVELS} levels"), np.nan
            try:
                metric = _METRIC.decode(self._metrics[at])
            except _NO_JSON as error:
                return BadCell("", f"is no metric: {error}"[:200]), np.nan
            time = np.nan if metric.timestamp is None else parse_time(str(metric.timestamp))
            for name, cell in metric.fields.items():
                column = self._names.column(metric.name, name)
                if column in row:
                    return BadCell(column, "stands in the metrics more than once"), time
                if column:
                    row[column] = cell
            tags = {name: cell for name, cell in (metric.tags or {}).items() if name in self._tagged}
        return tags | row, time


class MetricNames:
    """What these columns, and that of the key, are called in metrics."""

    def __init__(self, columns: Sequence[Field], key: str | None) -> None:
        self._columns = frozenset(column.name for column in columns) | ({key} if key is not None else frozenset())
        self._known: dict[tuple[str, str], str] = {}

    def column(self, name: str, field: str) -> str:
        """What the model calls a field of a metric, "" where it knows neither."""
        column = self._known.get((name, field))
        if column is None:
            names = (f"{name}_{field}", f"{name}.{field}", field)
            column = next((called for called in names if called in self._columns), "")
            if len(self._known) < _MOST_KNOWN:
                self._known[name, field] = column
        return column


def _grouped(metrics: Sequence[bytes | msgspec.Raw]) -> list[list[int]]:
    """The places of the metrics that are a row."""
    groups: dict[Any, list[int]] = {}
    for at, metric in enumerate(metrics):
        moment: Any = at
        try:
            head = _HEAD.decode(metric)
            if head.timestamp is not None:
                moment = (head.timestamp, msgspec.json.encode(head.tags or {}, order="sorted"))
        except _NO_JSON:
            pass
        groups.setdefault((type(moment), moment), []).append(at)
    return list(groups.values())
