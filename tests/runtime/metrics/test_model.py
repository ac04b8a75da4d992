from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from pathlib import Path
from threading import Lock

import numpy as np
import onnxruntime
import pytest
from conftest import MODEL
from msgspec.structs import replace
from numpy.typing import NDArray
from versions import version_of

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.metrics.closer_look import MOST_INPUTS, PAUSE_S, CloserLook, Seen
from vae_detect.runtime.metrics.model import ModelMetrics, term_bounds
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.scoring.drift import DriftMonitor
from vae_detect.runtime.scoring.framing import Framed, Framer
from vae_detect.runtime.scoring.results import Results
from vae_detect.runtime.scoring.score import score_framed, score_images

Floats = NDArray[np.float32]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def scored(detector: Detector, rows: Floats) -> tuple[Framed, Results]:
    framed, _ = Framer.of(detector.bundle).frame(Rows(0, rows, {}, None))
    return framed, score_framed(detector, [(framed, rows)])[0]


def shown(detector: Detector) -> ModelMetrics:
    made = ModelMetrics(Lock())
    made.show(detector, DriftMonitor(detector.bundle.calibration, None))
    return made


def broken(rows: Floats, column: int) -> Floats:
    """Rows with one column far out."""
    made = rows.copy()
    made[:, column] *= 5
    return made


def test_terms_are_those_of_the_graph(detector: Detector, normal_rows: Floats) -> None:
    metrics = shown(detector)
    metrics.look_at(detector, *scored(detector, normal_rows[:50]), has_alarms=False)
    wait_for(lambda: metrics.terms["kl"].count == 50)
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    names = ["reconstruction_error", "elbo", "kl"]
    for name, values in zip(names, session.run(names, {"x": normal_rows[:50]}), strict=True):
        buckets, total = metrics.terms[name].buckets()
        assert total == pytest.approx(values.sum(dtype=float), rel=1e-5)
        for bucket in buckets:
            assert bucket[1] == np.sum(values <= float(bucket[0]))


def test_a_row_that_overflows_spoils_no_sum(detector: Detector, normal_rows: Floats) -> None:
    metrics = shown(detector)
    rows = normal_rows[:5].copy()
    rows[2, :] = 3e38
    framed, results = scored(detector, rows)
    assert results.status[2] == "overflow"
    metrics.look_at(detector, framed, results, has_alarms=False)
    wait_for(lambda: metrics.terms["kl"].count > 0)
    assert metrics.terms["reconstruction_error"].count == 4
    assert all(np.isfinite(histogram.sum) for histogram in metrics.terms.values())


def test_columns_are_those_of_the_newest_rows(windows_detector: Detector, normal_rows: Floats) -> None:
    metrics = shown(windows_detector)
    rows = normal_rows[:40].copy()
    rows[:, 1] = 1e4
    metrics.look_at(windows_detector, *scored(windows_detector, rows), has_alarms=False)
    wait_for(lambda: metrics.terms["reconstruction_error"].count > 0)
    shift = metrics.columns.shift
    assert max(shift, key=lambda name: abs(shift[name])) == windows_detector.bundle.names[1]


def test_only_alarms_have_contributions_and_the_broken_column_has_most(detector: Detector, normal_rows: Floats) -> None:
    metrics = shown(detector)
    rows = np.concatenate([normal_rows[:30], broken(normal_rows[30:34], 7)])
    framed, results = scored(detector, rows)
    alarms = int(results.scores.is_anomaly.sum())
    metrics.look_at(detector, framed, results, has_alarms=True)
    wait_for(lambda: sum(metrics.contributions.totals.values()) > 0)
    totals = metrics.contributions.totals
    assert sum(totals.values()) == pytest.approx(alarms)
    assert max(totals, key=totals.__getitem__) == detector.bundle.names[7]


def test_images_have_no_columns(images_detector: Detector, photos: NDArray[np.uint8]) -> None:
    detector = copy(images_detector)
    detector.bundle = replace(detector.bundle, terms={"reconstruction_error": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)})
    metrics = shown(detector)
    framed = Framed(0, photos[:3], np.ones(3, np.bool_), ["ok"] * 3, [""] * 3)
    results = score_images(detector, 0, [*photos[:3]])
    metrics.look_at(detector, framed, results, has_alarms=True)
    wait_for(lambda: metrics.terms["reconstruction_error"].count == 3)
    assert (metrics.columns.shift, metrics.contributions.totals) == ({}, {})


def test_what_comes_too_fast_is_passed_over_but_alarms_have_room_of_their_own(
    detector: Detector, normal_rows: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_detect.runtime.metrics.closer_look.PAUSE_S", 3600.0)  # one look, and then a long pause
    looks: list[Seen] = []
    look = CloserLook(looks.append)
    look.watch(detector)
    look.offer(detector, *scored(detector, normal_rows[:10]), has_alarms=False)
    wait_for(lambda: len(looks) == 1)
    for _ in range(3):
        look.offer(detector, *scored(detector, normal_rows[:50]), has_alarms=False)
    look.offer(detector, *scored(detector, broken(normal_rows[:9], 7)), has_alarms=True)
    assert sum(map(len, look._inputs)) == MOST_INPUTS
    assert sum(map(len, look._alarms)) == 9
    assert len(looks) == 1


def test_what_another_version_has_scored_is_not_looked_at(
    detector: Detector, normal_rows: Floats, tmp_path: Path
) -> None:
    other = Detector.load(version_of(tmp_path, "other", "b" * 16, 2.0), provider="cpu")
    looks: list[Seen] = []
    look = CloserLook(looks.append)
    look.watch(detector)
    look.offer(other, *scored(other, normal_rows[:10]), has_alarms=False)
    look.offer(detector, *scored(detector, normal_rows[:5]), has_alarms=False)
    wait_for(lambda: len(looks) == 1)
    assert len(looks[0].rows) == 5
    look.watch(None)
    look.offer(detector, *scored(detector, normal_rows[:5]), has_alarms=False)
    time.sleep(2 * PAUSE_S)
    assert len(looks) == 1


def test_a_look_that_fails_is_not_the_last(
    detector: Detector, normal_rows: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_detect.runtime.metrics.closer_look.PAUSE_S", 0.01)
    looks: list[Seen] = []

    def tell(seen: Seen) -> None:
        looks.append(seen)
        if len(looks) == 1:
            raise RuntimeError("the device is gone")

    look = CloserLook(tell)
    look.watch(detector)
    for wanted in (1, 2):
        look.offer(detector, *scored(detector, normal_rows[:5]), has_alarms=False)
        wait_for(lambda wanted=wanted: len(looks) == wanted)  # type: ignore[misc]


def test_no_thread_waits_where_nothing_comes(
    detector: Detector, normal_rows: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_detect.runtime.metrics.closer_look.PAUSE_S", 0.0)
    monkeypatch.setattr("vae_detect.runtime.metrics.closer_look.IDLE_S", 0.01)
    looks: list[Seen] = []
    look = CloserLook(looks.append)
    look.watch(detector)
    for wanted in (1, 2):
        look.offer(detector, *scored(detector, normal_rows[:5]), has_alarms=False)
        wait_for(lambda wanted=wanted: len(looks) == wanted and look._thread is None)  # type: ignore[misc]


def test_counts_go_on_with_a_version_of_other_buckets_and_columns(detector: Detector, normal_rows: Floats) -> None:
    metrics = shown(detector)
    metrics.look_at(detector, *scored(detector, broken(normal_rows[:6], 7)), has_alarms=True)
    wait_for(lambda: metrics.contributions.totals[detector.bundle.names[7]] > 0)
    kept, count = metrics.contributions.totals[detector.bundle.names[7]], metrics.terms["kl"].count
    other, bundle = copy(detector), detector.bundle
    columns = (*(replace(column, name=f"new_{column.name}") for column in bundle.columns[:7]), bundle.columns[7])
    terms = {"kl": tuple(2 * value for value in bundle.terms["kl"])}
    other.bundle = replace(bundle, columns=columns, terms=terms)
    metrics.show(other, DriftMonitor(bundle.calibration, None))
    assert metrics.contributions.totals[bundle.names[7]] == kept
    assert metrics.contributions.totals.keys() == {column.name for column in columns}
    assert {name: histogram.count for name, histogram in metrics.terms.items()} == {"kl": count}


def test_a_file_from_before_terms_were_kept_has_none(detector: Detector, normal_rows: Floats) -> None:
    old = copy(detector)
    old.bundle = replace(detector.bundle, terms={})
    metrics = shown(old)
    metrics.look_at(old, *scored(old, normal_rows[:5]), has_alarms=False)
    wait_for(lambda: any(metrics.columns.shift.values()))
    assert metrics.terms == {}


def test_bounds_that_fall_together_are_one() -> None:
    assert term_bounds("reconstruction_error", (1.0,) * 7) == (1.0,)
