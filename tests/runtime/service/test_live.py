"""How every machine is right now."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from conftest import Client
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.service import live as module
from vae_detect.runtime.service.live import Live, MachineNow, _order
from vae_detect.runtime.streams.machines import StateNow

Floats = NDArray[np.float32]


def live_of(client: Client) -> Live:
    return Live(client.repository.all_served, lambda: 7)


def snapshot(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(live_of(client).snapshot())
    return found


def detail(client: Client, key: str) -> dict[str, Any]:
    content = live_of(client).detail("pump", key)
    assert content is not None
    found: dict[str, Any] = json.loads(content)
    return found


def broken(row: Floats) -> list[float]:
    return [3 * float(row[0]), *row[1:].tolist()]


def test_before_the_first_row_there_is_the_model_alone(detector: Detector) -> None:
    told = snapshot(Client(detector))
    assert (told["machines"], told["machines_total"], told["change"]) == ([], 0, 7)
    (model,) = told["models"]
    calibration = detector.bundle.calibration
    assert (model["name"], model["version"], model["kind"]) == ("pump", detector.bundle.export_id, "rows")
    assert (model["far"], model["calibration_rows"]) == (calibration.far, calibration.n)
    assert (model["promise"], model["holds"], model["rows"]) == ("calibration holds", True, 0)
    assert model["columns"] == list(detector.bundle.names)


def test_the_worst_comes_first(detector: Detector, windows_detector: Detector, normal_rows: Floats) -> None:
    client = Client(detector)
    client.results(normal_rows[:2].tolist(), "?key=calm")
    client.results([broken(normal_rows[0])], "?key=bad")
    client.results(normal_rows[:1].tolist())
    told = snapshot(client)
    assert [(each["key"], each["state"]) for each in told["machines"][:1]] == [("bad", "anomaly")]
    assert {each["key"]: each["state"] for each in told["machines"]} == {
        "bad": "anomaly",
        "calm": "normal",
        "": "normal",
    }
    worst = told["machines"][0]
    assert (worst["model"], worst["source"], worst["own"]) == ("pump", "http", False)
    assert worst["severity"] == pytest.approx(3.0, abs=0.01)
    assert abs(worst["time"] - time.time()) < 30

    client = Client(windows_detector)
    client.results(normal_rows[:2].tolist(), "?key=new")
    (machine,) = snapshot(client)["machines"]
    assert (machine["state"], machine["severity"]) == ("cannot tell", None)
    assert machine["why"].startswith("warming: the recording begins")


def test_a_machine_that_sends_nothing_is_stale(detector: Detector, normal_rows: Floats) -> None:
    client = Client(detector)
    client.results([broken(normal_rows[0])], "?key=a")
    served = client.model.served
    assert served is not None
    served.stream("a").machine.seen -= 10 * detector.bundle.data.period_s + 1  # type: ignore[operator]
    (machine,) = snapshot(client)["machines"]
    assert (machine["state"], machine["why"]) == ("stale", "no row for 5 min")


def test_who_is_unlike_the_others_comes_before_who_is_normal(detector: Detector, normal_rows: Floats) -> None:
    client = Client(detector)
    for number in range(6):
        client.results(normal_rows[:40].tolist(), f"?key={number}")
    served = client.model.served
    assert served is not None
    odd = served.stream("4").machine.history
    odd._total = type(odd._total)("f", [5 * total for total in odd._total])
    told = snapshot(client)["machines"]
    assert [each["key"] for each in told if each["is_odd"]] == ["4"]
    assert told[0]["key"] == "4" or told[0]["state"] == "anomaly"
    assert all(each["odd"] is not None for each in told)


def test_of_many_the_worst_are_told(detector: Detector, normal_rows: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MACHINES", 2)
    client = Client(detector)
    for key in "abc":
        client.results(normal_rows[:1].tolist(), f"?key={key}")
    client.results([broken(normal_rows[0])], "?key=d")
    told = snapshot(client)
    assert (len(told["machines"]), told["machines_total"], told["machines"][0]["key"]) == (2, 4, "d")


def test_one_machine_closely(windows_detector: Detector, normal_rows: Floats) -> None:
    client = Client(windows_detector)
    client.results(normal_rows[:3].tolist(), "?key=a")
    found = detail(client, "a")
    assert (found["severity"], found["columns"], found["status"]) == ([], [], "warming")
    assert [each[1:] for each in found["recent"]] == [[None, "warming"]] * 3

    rows = normal_rows[3:6].copy()
    rows[2, 4] *= 3
    client.results(rows.tolist(), "?key=a")
    found = detail(client, "a")
    assert (found["status"], found["threshold"]) == ("ok", "")
    assert len(found["severity"]) >= 1
    names = windows_detector.bundle.names
    assert found["columns"][0]["column"] == names[4]
    assert found["columns"][0]["actual"] == pytest.approx(float(rows[2, 4]))
    contributions = [each["contribution"] for each in found["columns"]]
    assert contributions == sorted(contributions, reverse=True)
    assert {each["column"] for each in found["columns"]} == {*names}

    live = live_of(client)
    assert (live.detail("pump", "b"), live.detail("fan", "a"), live.detail("pump", "")) == (None, None, None)


def test_normal_machines_do_not_change_places_for_a_little_severity() -> None:
    def now(key: str, severity: float, state: StateNow = "normal", *, is_odd: bool = False) -> MachineNow:
        return MachineNow("pump", key, "http", state, "", severity, 0.0, None, is_odd, None, False)

    machines = [now("a", 0.1), now("b", 0.4), now("c", 0.6), now("d", 1.2, "anomaly"), now("e", 1.3, "anomaly")]
    machines += [now("f", 0.2, is_odd=True), now("g", 0.3, "stale")]
    assert "".join(machine.key for machine in sorted(machines, key=_order)) == "edfgcab"
