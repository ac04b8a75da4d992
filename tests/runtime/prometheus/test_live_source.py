"""A Prometheus asked as time goes on: every step once, in order, also after it was away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

from vae_detect.runtime.errors import InputError, UnavailableError
from vae_detect.runtime.prometheus.live_source import LAG_S, LiveSource
from vae_detect.runtime.prometheus.moments import Grid
from vae_detect.runtime.prometheus.range_reader import RangeReader, Row


class _Client:
    address = "http://127.0.0.1:9090"


class _Reader:
    """Has a row at each time, and notes what it was asked for."""

    client = _Client()

    def __init__(self) -> None:
        self.queries = {"flow": "a", "pressure": "b"}
        self.asked: list[tuple[int, int]] = []
        self.error: Exception | None = None

    def rows(self, grid: Grid) -> Iterator[Row]:
        if self.error is not None:
            raise self.error
        self.asked.append((grid.first_ms, grid.steps))
        for step in range(grid.steps):
            yield Row(grid.first_ms + step * grid.step_ms, "m1", ["1.5", "NaN" if step else "2"])


class _Clock:
    now = 1_767_592_800.0 + LAG_S

    def __call__(self) -> float:
        return self.now


def source_of(reader: _Reader, clock: _Clock, said: list[str]) -> LiveSource:
    return LiveSource(cast(RangeReader, reader), 15_000, time_column="time", say=said.append, clock=clock)


def next_samples(batches: Iterator[list[Any]]) -> list[dict[str, Any]]:
    return [json.loads(sample.payload) for sample in next(batches)]


def test_each_step_is_asked_for_once_it_is_past() -> None:
    reader, clock, said = _Reader(), _Clock(), list[str]()
    source = source_of(reader, clock, said)
    batches = source.batches()
    assert next_samples(batches) == []
    clock.now += 31
    assert next_samples(batches) == [
        {"time": "2026-01-05T06:00:15Z", "values": {"flow": 1.5, "pressure": 2.0}},
        {"time": "2026-01-05T06:00:30Z", "values": {"flow": 1.5, "pressure": None}},
    ]
    clock.now += 14
    assert [sample.key for sample in next(batches)] == ["m1"]
    assert reader.asked == [(1_767_592_815_000, 2), (1_767_592_845_000, 1)]
    source.close()
    assert [*batches] == []
    assert said == []


def test_what_was_missed_is_asked_for_afterwards() -> None:
    reader, clock, said = _Reader(), _Clock(), list[str]()
    source = source_of(reader, clock, said)
    batches = source.batches()
    clock.now += 15
    reader.error = UnavailableError("http://127.0.0.1:9090: cannot be reached")
    assert next_samples(batches) == []
    assert next_samples(batches) == []
    assert said == ["http://127.0.0.1:9090: cannot be reached; trying again"]
    reader.error, source._again_at = None, 0.0
    clock.now += 100_000  # more than is asked for
    assert len(next_samples(batches)) == 240
    source.close()


def test_what_is_refused_is_left_out() -> None:
    reader, clock, said = _Reader(), _Clock(), list[str]()
    source = source_of(reader, clock, said)
    batches = source.batches()
    clock.now += 15
    reader.error = InputError("gives 2 series")
    assert next_samples(batches) == []
    reader.error = None
    clock.now += 15
    assert len(next_samples(batches)) == 1
    assert reader.asked == [(1_767_592_830_000, 1)]
    source.close()
