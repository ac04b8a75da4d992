"""Machines that a test plays to the page: what `Live` would tell of them, by rules simple enough to know by heart."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import Any, Literal

from vae_detect.runtime.alarms.event import Change, Event
from vae_detect.runtime.alarms.store import EventStore
from vae_detect.runtime.scoring.results import Cause

Scene = Literal["empty", "normal", "alarm", "stale"]

COLUMNS = {"flow_m3h": ("m³/h", 172.0), "pressure_bar": ("bar", 5.1), "vibration_mm_s": ("mm/s", 1.9)}
ORDER = ["anomaly", "cannot tell", "stale", "normal"]

PLAY = """
import played
from vae_detect.runtime.service.endpoints import Service
from vae_detect.runtime.service.viewers import Viewers
made = []
def begin(service, *given, first=Service.__init__, **named):
    first(service, *given, **named)
    made.append(service)
def shown(_):
    if len(made) == 1:
        made.append(played.{kind}({scene!r}, made[0].events, machines={machines}, more={more!r}))
    return made[1]
Service.__init__ = begin
Viewers.live = property(shown, lambda *_: None)
"""


def play(scene: Scene, *, machines: int = 8, more: Sequence[str] = (), kind: str = "Played") -> str:
    """Done before a service begins, it shows this scene, whatever it scores."""
    return PLAY.format(scene=scene, machines=machines, more=more, kind=kind)


class Played:
    """Of the machines pump-01, pump-02 and so on: in an alarm pump-03 is one, pump-05 has a gap, pump-06 is silent;
    when all is stale, all but pump-02 are."""

    def __init__(self, scene: Scene, events: EventStore, *, machines: int = 8, more: Sequence[str] = ()) -> None:
        self.scene, self.events, self.began = scene, events, time.time()
        self.names = [*(f"pump-{number:02}" for number in range(1, machines + 1)), *more] if scene != "empty" else []
        self.snapshots = 0
        if scene != "empty":
            self._happened(1, "pump-02", 5400, 300)
        if scene == "alarm":
            self._happened(3, "pump-03", 600, None)

    def _happened(self, peak: float, key: str, ago: float, lasted: float | None) -> None:
        start = self.began - ago
        causes = tuple(
            Cause(name, part, 2 * expected, expected)
            for part, (name, (_, expected)) in zip((5.0, 1.0), [*COLUMNS.items()][::-1], strict=False)
        )
        event = Event(model="pump", source="mqtt", key=key, start=start, end=start + (lasted or ago), rows=150)
        event.peak_severity, event.peak_score, event.columns = peak + 0.4, 40.0, causes
        self.events.apply([Change(event, "started")])
        if lasted is not None:
            event.state = "ended"
            self.events.apply([Change(event, "ended")])

    def state_of(self, name: str) -> tuple[str, str]:
        """And why."""
        if self.scene == "stale":
            return ("cannot tell", "warming: 3 of 16 rows") if name == "pump-02" else ("stale", "no row for 14 minutes")
        special = {
            "pump-03": ("anomaly", ""),
            "pump-05": ("cannot tell", "a gap of 95 s"),
            "pump-06": ("stale", "no row for 6 minutes"),
        }
        return special.get(name, ("normal", "")) if self.scene == "alarm" else ("normal", "")

    def severity(self, name: str, at: float) -> float:
        calm = 0.35 + 0.2 * math.sin(at / 40 + len(name)) * math.sin(at / 7 + sum(map(ord, name)))
        is_bad = self.state_of(name)[0] == "anomaly" and at > self.began - 600
        return 1.8 + 0.7 * math.sin((at - self.began) / 60) + calm if is_bad else calm

    def snapshot(self) -> bytes:
        self.snapshots += 1
        now = time.time()
        machines = [self._machine(name, now) for name in self.names]
        machines.sort(key=lambda machine: ORDER.index(machine["state"]))
        told = {"time": now, "models": [self._model()], "machines": machines[:200], "machines_total": len(machines)}
        return json.dumps(told | {"change": self.events.last_change()}).encode()

    def _machine(self, name: str, now: float) -> dict[str, Any]:
        state, why = self.state_of(name)
        seen = now - 840 if state == "stale" else now
        running = [event.id for event in self.events.list(key=name) if event.state == "running"]
        return {
            "model": "pump",
            "key": name,
            "source": "mqtt",
            "state": state,
            "why": why,
            "severity": None if state == "cannot tell" else self.severity(name, seen),
            "time": seen,
            "odd": 4.1 if state == "anomaly" else 0.2,
            "is_odd": state == "anomaly",
            "event": running[0] if running else None,
            "own": False,
        }

    def _model(self) -> dict[str, Any]:
        return {
            **{"name": "pump", "version": "3f9a1c22", "recipe": "vae", "kind": "rows", "provider": "cpu"},
            **{"far": 0.001, "far_low": 0.0007, "far_high": 0.0013, "threshold": 11.3},
            **{
                "calibration_rows": 24192,
                "effective_rows": 8120,
                "promise": "calibration no longer holds: 0.0121 of the last 4096 inputs alarmed, promised 0.001"
                if self.scene == "stale"
                else "calibration holds",
            },
            **{"holds": self.scene != "stale", "evidence": 0.98 if self.scene == "stale" else 0.1},
            **{"rows": 0 if self.scene == "empty" else 181244, "columns": [*COLUMNS]},
            "units": [unit for unit, _ in COLUMNS.values()],
        }

    def detail(self, model: str, key: str) -> bytes | None:
        if key not in self.names:
            return None
        told: dict[str, Any] = {"model": model, "key": key, "status": "ok", "threshold": ""}
        state, why = self.state_of(key)
        end = time.time() - (840 if state == "stale" else 0)
        slots = [slot * 10.0 for slot in range(int(end - 3600) // 10, int(end) // 10)]
        told["severity"] = [[at, 1.1 * self.severity(key, at), self.severity(key, at)] for at in slots]
        told["recent"] = [
            [end - 600 + 2 * row, None, "gap"]
            if 40 < row < 48
            else [end - 600 + 2 * row, self.severity(key, end - 600 + 2 * row), "ok"]
            for row in range(301)
        ]
        told["reason"] = why
        factor = 2.0 if state == "anomaly" else 1.02
        told["columns"] = [
            {
                "column": name,
                "contribution": part * (1 + self.snapshots),
                "actual": factor * expected,
                "expected": expected,
            }
            for part, (name, (_, expected)) in zip((5.0, 1.0, 0.3), [*COLUMNS.items()][::-1], strict=True)
        ]
        return json.dumps(told).encode()


class Day(Played):
    """Each look at it is a minute later: every second one an event begins on the next machine, and ends with the next
    look."""

    running: Event | None = None

    def state_of(self, name: str) -> tuple[str, str]:
        is_bad = self.running is not None and self.running.key == name
        return ("anomaly", "") if is_bad else ("normal", "")

    def snapshot(self) -> bytes:
        if self.running is None:
            name = self.names[self.snapshots // 2 % len(self.names)]
            self._happened(1, name, 86_400 - 60 * self.snapshots, None)
            (self.running,) = self.events.list(limit=1)
        else:
            self.running.state = "ended"
            self.events.apply([Change(self.running, "ended")])
            self.running = None
        return super().snapshot()
