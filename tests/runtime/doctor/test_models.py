from __future__ import annotations

from pathlib import Path

import pytest
from conftest import MODEL

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.doctor import models
from vae_detect.runtime.errors import ProviderError


def test_a_sound_model_is_told_in_a_line() -> None:
    finding, detector = models.check_model(MODEL, "cpu", 1)
    assert finding.state == "fine"
    assert finding.found == (
        f"{MODEL}: vae, rows of 8, export 0fc2e898d8035d70; 8 golden inputs score on cpu as recorded"
    )
    assert detector is not None


def test_a_file_that_is_no_model_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "short.onnx").write_bytes(MODEL.read_bytes()[:-1])
    for name in ("short.onnx", "absent.onnx"):
        finding, detector = models.check_model(tmp_path / name, "cpu", 1)
        assert (finding.state, detector) == ("wrong", None)
        assert finding.found.startswith(f"{tmp_path / name}: ")


def test_all_nodes_on_one_provider_are_fine(detector: Detector, images_detector: Detector) -> None:
    for one in (detector, images_detector):
        finding = models.check_nodes(one)
        assert finding.state == "fine"
        assert finding.found.endswith(" on cpu")
        assert int(finding.found.split()[0]) > 10
        assert finding.facts["nodes"] == {"cpu": int(finding.found.split()[0])}


def test_nodes_on_two_providers_are_worth_a_look(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "count_nodes", lambda *_, **__: {"cuda": 30, "cpu": 6})
    finding = models.check_nodes(detector)
    assert (finding.state, finding.found) == ("look", "30 on cuda, 6 on cpu")


@pytest.mark.parametrize("error", [FileNotFoundError("No usable temporary directory"), ProviderError("it is gone")])
def test_nodes_that_cannot_be_counted_are_unknown(
    error: Exception, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> dict[str, int]:
        raise error

    monkeypatch.setattr(models, "count_nodes", fail)
    finding = models.check_nodes(detector)
    assert (finding.state, finding.found) == ("unknown", f"cannot be counted: {error}")
