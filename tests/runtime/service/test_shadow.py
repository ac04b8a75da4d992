"""A second model beside the first: what is counted, worked out by hand, and that nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conftest import MODEL, Client
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from versions import version_of

from vae_detect.runtime.detector import Detector, Scores
from vae_detect.runtime.metrics.model import ShadowMetrics
from vae_detect.runtime.service import shadow as module
from vae_detect.runtime.service.metrics import ServiceMetrics
from vae_detect.runtime.service.shadow import Shadow


@pytest.fixture
def metrics() -> ShadowMetrics:
    return ServiceMetrics(CollectorRegistry()).of_model("pump").of_shadow()


@pytest.fixture(scope="module")
def heavier(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """Its score is twice the reconstruction error and the KL divergence; its threshold is 30."""
    path = version_of(tmp_path_factory.mktemp("heavier"), "heavier", "b" * 16, 2.0, threshold=30.0)
    return Detector.load(path, provider="cpu")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_what_is_counted_by_hand(
    metrics: ShadowMetrics, heavier: Detector, detector: Detector, normal_rows: NDArray[np.float32]
) -> None:
    x = normal_rows[:200].copy()
    x[:, 2] *= np.linspace(1, 1.3, 200)  # from normal to far from it, so that some verdicts differ
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    error, kl = session.run(["reconstruction_error", "kl"], {"x": x})
    own = detector.bundle.calibration.threshold
    ratio = (2 * error.astype(float) + kl) / 30 / ((error.astype(float) + kl) / own)
    differ = int(np.sum((2 * error + kl > 30) != (error + kl > own)))
    assert 5 < differ < 150
    shadow = Shadow(heavier, metrics)
    for first in (0, 120):  # in two batches
        batch = x[first : first + 120]
        shadow.compare(batch, detector.score(batch), own)
    wait_for(lambda: metrics.rows == 200)
    assert (metrics.disagreements, metrics.skipped) == (differ, 0)
    assert metrics.ratio.sum == pytest.approx(ratio.sum(), rel=1e-5)
    buckets = {bucket[0]: bucket[1] for bucket in metrics.ratio.buckets()[0]}
    for bound in ("0.75", "1.0", "1.5", "+Inf"):
        assert buckets[bound] == int(np.sum(ratio <= float(bound)))
    shadow.close()


def test_inputs_without_a_score_are_not_compared(
    metrics: ShadowMetrics, heavier: Detector, detector: Detector, normal_rows: NDArray[np.float32]
) -> None:
    x = normal_rows[:3].copy()
    x[1, 0] = 3e38
    scores = detector.score(x)
    assert scores.scored.tolist() == [True, False, True]
    shadow = Shadow(heavier, metrics)
    shadow.compare(x, scores, 1.0)
    wait_for(lambda: metrics.rows == 2)
    own = detector.score(normal_rows[:3])
    only_last = own._replace(scored=np.array([False, False, True]))  # of which the other has all three
    shadow.compare(normal_rows[:3], only_last, 1.0)
    wait_for(lambda: metrics.rows == 3)
    shadow.close()


class Stuck:
    """A detector that waits, or fails."""

    def __init__(self, detector: Detector) -> None:
        self.bundle, self._detector = detector.bundle, detector
        self.go, self.fails = threading.Event(), False

    def score(self, x: Any) -> Scores:
        assert self.go.wait(10)
        if self.fails:
            raise RuntimeError("the device is gone")
        return self._detector.score(x)


def test_what_comes_too_fast_is_passed_over_and_counted(
    metrics: ShadowMetrics, detector: Detector, normal_rows: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    stuck, x = Stuck(detector), normal_rows[:5]
    shadow = Shadow(stuck, metrics)  # type: ignore[arg-type]
    scores = detector.score(x)
    shadow.compare(x, scores, 1.0)
    wait_for(shadow._waiting.empty)
    started = time.perf_counter()
    for _ in range(6):  # two wait, the others find no place
        shadow.compare(x, scores, 1.0)
    assert time.perf_counter() - started < 0.1
    assert metrics.skipped == 20
    stuck.go.set()
    wait_for(lambda: metrics.rows == 15)
    shadow.close()


def test_a_shadow_that_fails_goes_on_with_the_next(
    metrics: ShadowMetrics, detector: Detector, normal_rows: NDArray[np.float32]
) -> None:
    stuck, x = Stuck(detector), normal_rows[:5]
    stuck.fails = True
    stuck.go.set()
    shadow = Shadow(stuck, metrics)  # type: ignore[arg-type]
    shadow.compare(x, detector.score(x), 1.0)
    wait_for(lambda: metrics.skipped == 5)
    stuck.fails = False
    shadow.compare(x, detector.score(x), 1.0)
    wait_for(lambda: metrics.rows == 5)
    shadow.close()


@pytest.mark.parametrize("waiting", [0, 2])
def test_a_closed_shadow_ends_its_thread(
    metrics: ShadowMetrics,
    detector: Detector,
    normal_rows: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    waiting: int,
) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    before = threading.active_count()
    stuck, x = Stuck(detector), normal_rows[:5]
    shadow = Shadow(stuck, metrics)  # type: ignore[arg-type]
    if waiting:
        shadow.compare(x, detector.score(x), 1.0)
        wait_for(shadow._waiting.empty)
    for _ in range(waiting):
        shadow.compare(x, detector.score(x), 1.0)
    shadow.close()
    stuck.go.set()
    wait_for(lambda: threading.active_count() == before)


def test_only_what_takes_the_same_inputs_is_compared(
    metrics: ShadowMetrics, heavier: Detector, detector: Detector, windows_detector: Detector, images_detector: Detector
) -> None:
    shadow = Shadow(heavier, metrics)
    assert shadow.problem_beside(detector) == ""
    assert "the model windows of [4, 8]" in shadow.problem_beside(windows_detector)
    assert "it takes rows of [8], the model images of [12, 16, 3]" in shadow.problem_beside(images_detector)
    shadow.close()


def test_requests_are_scored_by_both_and_answered_by_one(
    detector: Detector, heavier: Detector, normal_rows: NDArray[np.float32], row: list[float]
) -> None:
    alone, client = Client(detector), Client(detector)
    shadow = Shadow(heavier, client.model.metrics.of_shadow())
    assert client.model.served is not None
    client.model.served = replace(client.model.served, shadow=shadow)
    bodies: list[Any] = [row, normal_rows[:30].tolist(), [row] * 3000, [row, [3e38] * 8]]
    for body in bodies:
        assert client.score(body).content == alone.score(body).content
    assert client.results([row, [None] * 8], "?on_bad_row=flag") == alone.results([row, [None] * 8], "?on_bad_row=flag")
    metrics = client.model.metrics.of_shadow()
    wait_for(lambda: metrics.rows + metrics.skipped == 1 + 30 + 3000 + 1)  # not the one refused
    shadow.close()
