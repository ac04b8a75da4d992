from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from conftest import MODEL

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.doctor import speed
from vae_detect.runtime.doctor.speed import Setting, Times, advise

ONE, TWO, FOUR, GPU = Setting("cpu", 1), Setting("cpu", 2), Setting("cpu", 4), Setting("cuda", 1)
NOW = Times([1.0, 1.0, 1.0, 1.0], [8.0, 8.0, 8.0, 8.0])


def test_a_clear_gain_is_advised() -> None:
    times = {ONE: NOW, TWO: Times([2.0] * 4, [4.0, 4.1, 3.9, 4.0])}
    assert advise(times, ONE, "row") == "for many at once --provider cpu --threads 2 is 2.0 times as fast"
    assert advise(times, TWO, "row") == "for one row at a time --provider cpu --threads 1 is 2.0 times as fast"


def test_each_kind_of_work_gets_its_own_advice() -> None:
    times = {TWO: NOW, ONE: Times([0.5] * 4, [16.0] * 4), GPU: Times([3.0] * 4, [2.0] * 4)}
    assert advise(times, TWO, "window") == (
        "for one window at a time --provider cpu --threads 1 is 2.0 times as fast; "
        "for many at once --provider cuda --threads 1 is 4.0 times as fast"
    )


@pytest.mark.parametrize(
    "batch",
    [
        [7.3, 7.3, 7.3, 7.3],  # less than a tenth
        [2.0, 2.0, 9.0, 9.0],  # half of the rounds say the contrary
        [8.0, 8.0, 8.0, 8.0],
    ],
)
def test_noise_is_not_advised(batch: list[float]) -> None:
    assert advise({ONE: NOW, TWO: Times([1.0] * 4, batch)}, ONE, "row") == ""


def test_of_settings_that_are_as_good_the_one_with_fewest_threads_is_advised() -> None:
    times = {ONE: NOW, FOUR: Times([1.0] * 4, [3.9] * 4), TWO: Times([1.0] * 4, [4.0] * 4)}
    assert "--threads 2 is 2.0 times as fast" in advise(times, ONE, "row")
    times[TWO] = Times([1.0] * 4, [7.4] * 4)  # nearly as good as 6.8, and less than a tenth better than now
    times[FOUR] = Times([1.0] * 4, [6.8] * 4)
    assert "--threads 4 is 1.2 times as fast" in advise(times, ONE, "row")
    times[FOUR] = Times([1.0] * 4, [3.0] * 4)
    assert "--threads 4 is 2.7 times as fast" in advise(times, ONE, "row")


def test_one_round_is_enough_for_a_slow_model() -> None:
    assert "2.0 times" in advise({ONE: Times([1.0], [8.0]), TWO: Times([1.0], [4.0])}, ONE, "row")


@pytest.mark.parametrize(
    ("usable", "settings"),
    [(1, {ONE}), (2, {ONE, TWO}), (6, {ONE, TWO, FOUR, Setting("cpu", 6)})],
)
def test_threads_are_tried_up_to_what_can_be_used(
    usable: int, settings: set[Setting], detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "available_providers", lambda: ["cpu", "openvino"])
    assert set(speed._loaded(detector, ONE, usable)) == settings


def test_a_provider_that_cannot_be_had_is_left_out(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "available_providers", lambda: ["cuda", "cpu"])
    monkeypatch.setattr("vae_detect.runtime.session._built_in", lambda _: ["cpu"])
    assert set(speed._loaded(detector, ONE, 1)) == {ONE}


def test_settings_are_measured_in_turns(detector: Detector) -> None:
    """A batch of 1024 rows takes longer than one, and a round of each setting stands beside that of the others."""
    begin = time.perf_counter()
    times = speed.measure({ONE: detector, TWO: Detector.load(MODEL, provider="cpu", threads=2)}, 1024)
    assert time.perf_counter() - begin < 5
    rounds = {len(kind) for kinds in times.values() for kind in kinds}
    assert len(rounds) == 1
    assert min(rounds) >= 1
    assert min(times[ONE].batch) > min(times[ONE].one) > 0


def test_the_finding_says_what_was_measured(
    detector: Detector, images_detector: Detector, windows_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_MOST_ROUNDS", 1)
    for one, words in ((detector, "one row "), (images_detector, "one image "), (windows_detector, "one window ")):
        finding = speed.check_speed(one, 1, 1)
        assert finding.found.startswith(words)
        assert " at once " in finding.found
        assert finding.state == "fine"
        assert "'threads': 1, 'one_s': " in str(finding.facts["settings"])


def test_a_slow_model_is_measured_with_fewer_inputs_at_once(
    detector: Detector, images_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_timed", lambda *_: 1e-6)
    assert speed._batch_of(detector) == 1024
    large = math.prod(images_detector.bundle.input_shape)
    assert speed._batch_of(images_detector) == min(1024, (1 << 20) // large)
    monkeypatch.setattr(speed, "_timed", lambda *_: 0.015)
    assert speed._batch_of(detector) == 13  # 0.2 s of them
    monkeypatch.setattr(speed, "_timed", lambda *_: 3.0)
    assert speed._batch_of(detector) == 1


def test_a_setting_that_is_better_is_advised(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "measure", lambda *_: {TWO: NOW, ONE: Times([1.0] * 4, [4.0] * 4)})
    finding = speed.check_speed(detector, 2, 2)
    assert finding.state == "look"
    assert finding.found == "one row 1 s, 1024 at once 8 s, with --provider cpu --threads 2"
    assert finding.advice == "for many at once --provider cpu --threads 1 is 2.0 times as fast"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(2.34e-5, "23.4 µs"), (0.9994e-3, "999 µs"), (1.4e-3, "1.4 ms"), (2.5, "2.5 s")]
)
def test_seconds_for_people(seconds: float, shown: str) -> None:
    assert speed._shown(seconds) == shown


def test_the_model_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "pump.onnx"
    path.write_bytes(MODEL.read_bytes())
    detector = Detector.load(path, provider="cpu")
    path.unlink()
    assert set(speed._loaded(detector, ONE, 4)) == {ONE}
