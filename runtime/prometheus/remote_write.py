"""Scores written to a Prometheus, or what speaks its remote write (version 1: protobuf, packed by snappy)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..errors import InputError, MissingExtraError
from ..rows.times import LEAST_EPOCH_S
from ..scoring.framing import MOST_KEYS
from ..scoring.results import Results
from .client import Client, RequestRefusedError

METRICS = ("vae_detect_score", "vae_detect_severity", "vae_detect_anomaly")

_ENDPOINTS = ("/write", "/push", "/receive")
"""How addresses end that name where to write; others are a Prometheus'."""

_MESSAGES: dict[str, list[tuple[str, str, bool]]] = {
    "Sample": [("value", "double", False), ("timestamp", "int64", False)],
    "Label": [("name", "string", False), ("value", "string", False)],
    "TimeSeries": [("labels", "Label", True), ("samples", "Sample", True)],
    "WriteRequest": [("timeseries", "TimeSeries", True)],
}
"""Of remote write: by message its fields in the order of their numbers, the type of each and whether it repeats."""


class RemoteWriter:
    """Sends the score, the severity and the verdict of rows, at the times of the rows, chunk by chunk.

    Series have the label `model`, and `key` where the model has keys, of which there are at most `MOST_KEYS`.
    """

    def __init__(self, client: Client, model: str) -> None:
        _packer(), _request()  # what is missing is told before anything is scored
        self._client, self._model = client, model
        self._path = "" if client.address.url.endswith(_ENDPOINTS) else "/api/v1/write"
        self._last: dict[str, float] = {}
        """The newest time by key."""

    def add(self, results: Results) -> None:
        """Sends the next rows, those that have a verdict.

        Raises
        ------
        InputError
            when rows have no time or do not stand in its order, there are too many keys, or the server refuses them
        UnavailableError
            when it cannot be reached, or stays busy
        """
        request = _request()()
        known = np.flatnonzero(results.scores.scored | results.scores.is_anomaly).tolist()
        series: dict[tuple[str, str], Any] = {}
        for index in known:
            key = "" if results.keys is None else results.keys[index]
            milliseconds = round(self._time(results, index, key) * 1000)
            scores = results.scores
            values = [scores.score[index], scores.severity[index], scores.is_anomaly[index]]
            for name, value in zip(METRICS, values, strict=True):
                if name != METRICS[2] and not scores.scored[index]:
                    continue
                if (name, key) not in series:
                    series[name, key] = self._series(request, name, None if results.keys is None else key)
                series[name, key].samples.add(value=float(value), timestamp=milliseconds)
        if known:
            self._send(request.SerializeToString(), results.first, len(results.status))

    def _time(self, results: Results, index: int, key: str) -> float:
        row, last = results.first + index, self._last.get(key, -np.inf)
        time = np.nan if results.times is None else float(results.times[index])
        if not time >= LEAST_EPOCH_S:
            raise InputError(f"row {row} has no time; --to writes scores at the times of their rows, which need a date")
        if time <= last:
            raise InputError(f"row {row} is not later than the row before it; --to takes rows in order of their times")
        if key not in self._last and len(self._last) >= MOST_KEYS:
            raise InputError(f"row {row} is of one key more than {MOST_KEYS}; --to makes no more series")
        self._last[key] = time
        return time

    def _series(self, request: Any, name: str, key: str | None) -> Any:
        series = request.timeseries.add()
        labels = {"__name__": name, "model": self._model} | ({} if key is None else {"key": key})
        for label, value in sorted(labels.items()):
            series.labels.add(name=label, value=value)
        return series

    def _send(self, content: bytes, first: int, rows: int) -> None:
        headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "snappy",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
        try:
            self._client.post(self._path, bytes(_packer()(content)), headers)
        except RequestRefusedError as error:
            late = any(word in str(error) for word in ("out of bounds", "too old", "out of order"))
            hint = "; it takes old samples with storage.tsdb.out_of_order_time_window" if late else ""
            where = f"rows {first} to {first + rows - 1}"
            raise InputError(f"{self._client.address}: refuses the scores of {where}: {error}{hint}") from None


@cache
def _packer() -> Any:
    try:
        from cramjam import snappy
    except ImportError as error:
        raise _missing(error) from None
    return snappy.compress_raw


@cache
def _request() -> Any:
    """The class of WriteRequest, made from `_MESSAGES`."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise _missing(error) from None
    field: Any = descriptor_pb2.FieldDescriptorProto
    file: Any = descriptor_pb2.FileDescriptorProto(name="remote.proto", package="prometheus", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (called, kind, repeats) in enumerate(fields, start=1):
            label = field.LABEL_REPEATED if repeats else field.LABEL_OPTIONAL
            added = message.field.add(name=called, number=number, label=label)
            if kind in _MESSAGES:
                added.type, added.type_name = field.TYPE_MESSAGE, f".prometheus.{kind}"
            else:
                added.type = getattr(field, f"TYPE_{kind.upper()}")
    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory: Any = message_factory
    return factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


def _missing(error: ImportError) -> MissingExtraError:
    return MissingExtraError(f"writing to a Prometheus needs {error.name}: pip install 'vae-detect[prometheus]'")
