"""How every machine is right now, for the page."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from ..arrays import short
from ..calibration.peers import ODD, Hour, odd_ones
from ..detector import Detector
from ..scoring.framing import Framed
from ..scoring.results import OK, Cause
from ..scoring.score import explain_framed
from ..streams.machines import STALE, Machine, Newest, StateNow
from .models import Served

MOST_MACHINES = 200
"""That are told at once, the worst."""

_PEERS_S = 10.0
"""Seconds until machines are compared with their peers again: a thousand take 10 ms."""

_RANKS: Mapping[StateNow, int] = {"anomaly": 0, "cannot tell": 2, "stale": 3, "normal": 4}
_ODD_RANK = 1


class MachineNow(msgspec.Struct, frozen=True):
    """One machine, or all that comes without a key."""

    model: str
    key: str
    source: str
    state: StateNow
    why: str
    severity: float | None
    """The largest of the newest ten seconds that have one."""
    time: float | None
    """Of its newest row, seconds since 1970."""
    odd: float | None
    """How far its last hour stands out from that of its peers, see `peers.odd_ones`; None without peers."""
    is_odd: bool
    event: int | None
    """The number of the event that runs."""
    own: bool
    """Whether it is judged by a threshold of its own."""


class ModelNow(msgspec.Struct, frozen=True):
    """One model, in plain numbers."""

    name: str
    version: str
    recipe: str
    kind: str
    provider: str
    far: float
    far_low: float
    far_high: float
    threshold: float
    calibration_rows: int
    effective_rows: float
    promise: str
    holds: bool
    evidence: float
    """That speaks against the promise, 0 to 1."""
    rows: int
    """That were scored."""
    columns: tuple[str, ...]
    units: tuple[str, ...]


class Snapshot(msgspec.Struct, frozen=True):
    """All of it."""

    time: float
    models: list[ModelNow]
    machines: list[MachineNow]
    machines_total: int
    change: int
    """The last change of the events."""


class Detail(msgspec.Struct, frozen=True):
    """One machine, closely."""

    model: str
    key: str
    severity: list[tuple[float, float, float]]
    """Time, largest and mean severity of each ten seconds of the last hour that have a score."""
    recent: list[tuple[float, float | None, str]]
    """Time, severity and status of the newest rows."""
    columns: list[Cause]
    """Of the newest input, the largest contributions first."""
    status: str
    reason: str
    threshold: str
    """Whose is in force, in words; "" where it is the model's, as of all machines."""


class Live:
    """Reads what is remembered of machines; called on the event loop.

    Parameters
    ----------
    served : the versions that answer now, by name
    last_change : of the events
    """

    def __init__(self, served: Callable[[], Iterable[Served]], last_change: Callable[[], int]) -> None:
        self._served, self._last_change = served, last_change
        self._odd: dict[str, tuple[float, dict[str, float]]] = {}

    def snapshot(self) -> bytes:
        """`Snapshot` as JSON."""
        models, machines = [], list[MachineNow]()
        for served in self._served():
            models.append(_model_now(served))
            odd = self._odd_ones(served)
            machines += [_now(served.name, key, each, odd.get(key)) for key, each in _machines(served)]
        machines.sort(key=_order)
        told = Snapshot(time.time(), models, machines[:MOST_MACHINES], len(machines), self._last_change())
        return msgspec.json.encode(told)

    def detail(self, model: str, key: str) -> bytes | None:
        """`Detail` as JSON; None where there is no such machine."""
        for served in self._served():
            if served.name == model:
                machine = dict(_machines(served)).get(key)
                return None if machine is None else msgspec.json.encode(_detail(served, key, machine))
        return None

    def _odd_ones(self, served: Served) -> dict[str, float]:
        now = time.monotonic()
        last, found = self._odd.get(served.name, (-math.inf, {}))
        if now - last >= _PEERS_S:
            found = odd_ones({key: _hour(stream.machine) for key, stream in served.keys.items()})
            self._odd[served.name] = now, found
        return found


def _hour(machine: Machine) -> Hour:
    return Hour(*machine.history.mean, None if machine.own is None else machine.own.usual)


def _machines(served: Served) -> Iterable[tuple[str, Machine]]:
    """Those that have had a row."""
    if served.unkeyed.has_rows:
        yield "", served.unkeyed
    for key, stream in served.keys.items():
        if stream.machine.has_rows:
            yield key, stream.machine


def _now(model: str, key: str, machine: Machine, odd: float | None) -> MachineNow:
    state = machine.state_now
    event = machine.alarm.event
    return MachineNow(
        model,
        key,
        machine.source,
        state,
        f"no row for {_duration(time.monotonic() - machine.seen)}" if state == STALE else machine.alarm.why,
        _known(machine.history.worst),
        _known(machine.newest_time),
        None if odd is None else round(odd, 2),
        odd is not None and odd >= ODD,
        None if event is None else event.id,
        machine.own is not None and machine.own.calibration is not None,
    )


def _duration(seconds: float) -> str:
    """As people say it, so that it need not be told anew every second.

    >>> _duration(45), _duration(840), _duration(86400)
    ('45 s', '14 min', '24 h')
    """
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{round(minutes / 60)} h"


def _order(machine: MachineNow) -> tuple[int, float, str]:
    rank, severity = _RANKS[machine.state], machine.severity or 0.0
    if machine.state == "normal":
        severity = math.floor(2 * severity) / 2  # so that those that are told of many stay the same for a while
    return min(rank, _ODD_RANK) if machine.is_odd else rank, -severity, machine.key


def _model_now(served: Served) -> ModelNow:
    detector, bundle, monitor = served.detector, served.detector.bundle, served.watch.monitor
    promised = bundle.calibration
    columns = () if bundle.image is not None else bundle.columns
    return ModelNow(
        served.name,
        served.version,
        bundle.recipe,
        bundle.kind,
        detector.provider,
        promised.far,
        promised.far_low,
        promised.far_high,
        promised.threshold,
        promised.n,
        promised.effective_n,
        monitor.describe(),
        monitor.holds,
        monitor.evidence,
        monitor.memory.rows,
        tuple(column.name for column in columns),
        tuple(column.unit for column in columns),
    )


def _detail(served: Served, key: str, machine: Machine) -> Detail:
    newest = machine.newest or Newest(None, np.empty(0, np.float32), "", "")
    recent = [(at, _known(severity), status) for at, severity, status in machine.history.recent()]
    return Detail(
        served.name,
        key,
        [
            (slot.time, short(np.float32(slot.largest)), short(np.float32(slot.mean)))
            for slot in machine.history.slots()
        ],
        recent,
        _columns(served.detector, newest),
        newest.status,
        newest.reason,
        "" if machine.own is None else machine.own.describe(),
    )


def _columns(detector: Detector, newest: Newest) -> list[Cause]:
    """All columns of the newest input, the one that contributes most first."""
    if newest.input is None or detector.bundle.image is not None:
        return []
    framed = Framed(0, newest.input, np.ones(1, np.bool_), [OK], [""])
    contribution, expected = (values[0] for values in explain_framed(detector, framed))
    told: list[Any] = [
        Cause(name, *map(_short, (contribution[place], newest.row[place], expected[place])))
        for place, name in enumerate(detector.bundle.names)
    ]
    return sorted(told, key=lambda cause: -(cause.contribution or 0.0))


def _short(value: np.float32) -> float | None:
    return short(value) if np.isfinite(value) else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
