from __future__ import annotations

from pathlib import Path

import pytest
from conftest import MODEL

from vae_detect.runtime import session
from vae_detect.runtime.doctor import machine, software, speed
from vae_detect.runtime.doctor.examine import Asked, examine
from vae_detect.runtime.doctor.findings import Finding
from vae_detect.runtime.doctor.system import System
from vae_detect.runtime.errors import ProviderError
from vae_detect.runtime.session import Library

OF_MACHINE = ["processor", "CPUs", "memory", "clock", "timer", "folder", "temporary", "open files"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_MOST_ROUNDS", 1)
    monkeypatch.setattr(session, "_plugins", {})


def checks(findings: list[Finding]) -> list[str]:
    return [finding.check for finding in findings if not finding.check.startswith("extra")]


def test_a_machine_that_tells_nothing_is_looked_at_all_the_same(tmp_path: Path) -> None:
    """Without /proc and /sys; what cannot be seen is unknown, and nothing is wrong."""
    findings = examine(Asked(MODEL, "cpu"), System(tmp_path))
    assert checks(findings) == [
        *("vae-detect", "ONNX Runtime", "telemetry", "provider"),
        *OF_MACHINE[:6],
        *("temporary", "model folder", "open files", "model", "nodes", "speed"),
    ]
    unknown = {finding.check for finding in findings if finding.state == "unknown"}
    assert {"processor", "memory", "timer"} <= unknown
    assert [finding for finding in findings if finding.state == "wrong"] == []


def test_this_machine_is_looked_at() -> None:
    findings = examine(Asked(), System())
    assert {*OF_MACHINE, "ONNX Runtime"} <= {*checks(findings)}
    assert len({finding.check for finding in findings}) == len(findings)
    assert {"could not be looked at" in finding.found for finding in findings} == {False}


def test_without_onnxruntime_the_rest_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Finding("ONNX Runtime", "wrong", "no ONNX Runtime is installed", "pip install 'vae-detect[cpu]'")
    monkeypatch.setattr(software, "check_onnxruntime", lambda: missing)
    findings = examine(Asked(MODEL, libraries=[Library("tpu", Path("t.so"), {})]), System(tmp_path))
    assert {*OF_MACHINE} <= {*checks(findings)}
    assert {"provider", "telemetry", "nodes", "library tpu"} & {*checks(findings)} == set()
    assert findings[1] == missing
    assert findings[-1] == Finding("model", "unknown", "cannot be looked at without ONNX Runtime")


def test_a_check_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: System) -> Finding:
        raise ValueError("odd")

    monkeypatch.setattr(machine, "check_processor", fail)
    findings = examine(Asked(), System(tmp_path))
    assert Finding("processor", "unknown", "could not be looked at: ValueError: odd") in findings
    assert {*OF_MACHINE} <= {*checks(findings)}


def test_a_library_that_is_none_is_wrong_and_a_provider_of_it_too(tmp_path: Path) -> None:
    findings = examine(Asked(provider="tpu", libraries=[Library("tpu", tmp_path / "t.so", {})]), System(tmp_path))
    wrong = {finding.check: finding.found for finding in findings if finding.state == "wrong"}
    assert wrong["library tpu"] == f"{tmp_path / 't.so'}: no such file; expected a library with an execution provider"
    assert "'tpu' is unknown" in wrong["provider"]
    assert len(wrong) == 2


def test_a_library_that_is_one_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[Library] = []
    monkeypatch.setattr("vae_detect.runtime.doctor.examine.register_library", registered.append)
    library = Library("tpu", Path("t.so"), {"a": "b"})
    findings = examine(Asked(MODEL, "tpu", libraries=[library]), System(tmp_path))
    found = {finding.check: finding for finding in findings}
    assert registered == [library]
    assert found["library tpu"].found == "t.so is loaded"
    assert found["provider"].state == "fine"
    assert found["model"].state == "wrong"  # nothing is registered here in truth
    assert "nodes" not in found


def test_a_model_that_the_provider_refuses_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ProviderError("provider tpu takes no node of pump.onnx")

    monkeypatch.setattr("vae_detect.runtime.detector.Session", refuse)
    finding = examine(Asked(MODEL), System(tmp_path))[-1]
    assert (finding.check, finding.state, finding.found) == (
        "model",
        "wrong",
        "provider tpu takes no node of pump.onnx",
    )
