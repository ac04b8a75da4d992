"""A Prometheus that has watched three pump stations for hours, in minutes: a longer story than that of `watched`."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import httpx
from server_process import addresses, command
from watched import Scrape, Series, back_fill, by_series, prometheus

from vae_detect.runtime.simulation import Fault, simulate

HOURS = 7
SCRAPE_S, ROW_S = 30, 10
MORNING = datetime(2026, 1, 5, 9)
"""When the story begins for the stations; for Prometheus it ends now."""
LOOK_S = 0.11
"""Columns are looked at ten times a second: a scrape right after its rows would not tell of them yet."""

Minutes = Sequence[tuple[int, int]]
"""From when to when, since the start."""


@dataclass(frozen=True)
class Station:
    """A machine with a service of its own, what happens to it, and what its clients do wrong."""

    instance: str
    seed: int
    faults: tuple[str, ...] = ()
    without_values: Minutes = ()
    """The logger writes rows without values between the good ones."""
    without_sense: Minutes = ()
    """A client sends what is no JSON."""
    out_of_reach: Minutes = ()
    """Prometheus cannot scrape the service."""


STATIONS = (
    Station("harbour:8000", 21, ("leak@170m+18m*1.5", "cavitation@375m+44m*2"), without_values=[(250, 290)]),
    Station("mill:8000", 22, ("blocked-filter@80m+12m*1.5",), without_sense=[(200, 215)], out_of_reach=[(300, 312)]),
    Station("park:8000", 23, ("sensor-drift@190m+225m*2",)),
)
NO_VALUES, NO_SENSE = json.dumps([None] * 8).encode(), b"[1270, 138,"


class Watched(NamedTuple):
    """Where Prometheus answers, and the last second that it knows of."""

    url: str
    end: int


@contextlib.contextmanager
def watched_stations(model: Path, folder: Path) -> Iterator[Watched]:
    """It runs until the block ends; its files lie in this empty folder."""
    end = int(time.time()) // SCRAPE_S * SCRAPE_S
    series: Series = {}
    with ThreadPoolExecutor(len(STATIONS)) as pool:
        for of_one in pool.map(lambda station: _watch(station, model, end - HOURS * 3600), STATIONS):
            series |= of_one
    back_fill(folder, series)
    with prometheus(folder) as url:
        yield Watched(url, end)


def _watch(station: Station, model: Path, start: int) -> Series:
    faults = [Fault.parse(each) for each in station.faults]
    recording = simulate(duration_s=HOURS * 3600, period_s=ROW_S, seed=station.seed, faults=faults, start=MORNING)
    rows = [json.dumps(row).encode() for row in recording.values.tolist()]
    serving = command("--port", "0", "--provider", "cpu", model=Path(f"pump={model}"))
    with serving as (_, said), httpx.Client(base_url=addresses(said[-1])[0]) as client:
        scrapes = [*_scrapes(station, client, rows, start)]
    return by_series(scrapes, {"job": "vae-detect", "instance": station.instance})


def _scrapes(station: Station, client: httpx.Client, rows: list[bytes], start: int) -> Iterator[Scrape]:
    step = SCRAPE_S // ROW_S
    for first in range(0, len(rows), step):
        elapsed_s = first * ROW_S
        bodies = rows[first : first + step]
        bodies += [NO_VALUES] * _within(station.without_values, elapsed_s)
        bodies += [NO_SENSE] * _within(station.without_sense, elapsed_s)
        for body in bodies:
            client.post("/score?on_bad_row=flag", content=body)
        time.sleep(LOOK_S)
        told = "" if _within(station.out_of_reach, elapsed_s) else client.get("/metrics").text
        # On the clock of the story the process has run from its beginning.
        told = re.sub(r"(?m)^process_start_time_seconds .*", f"process_start_time_seconds {start}", told)
        yield Scrape(start + elapsed_s + SCRAPE_S, told)


def _within(spans: Minutes, elapsed_s: int) -> bool:
    return any(begin * 60 <= elapsed_s < end * 60 for begin, end in spans)
