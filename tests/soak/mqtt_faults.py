"""MQTT over faults that take minutes: nothing is lost, memory is flat, and samples flow soon after an outage."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import MODEL
from mqtt_broker import running_broker
from mqtt_flow import Scorer, rig_of, strike
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector

Floats = NDArray[np.float32]

SAMPLES, RATE = 2000, 400
OUTAGE_S = 300.0


@pytest.mark.parametrize("fault", ["broker", "scorer", "broker and scorer"])
def test_no_sample_of_two_thousand_is_lost(tmp_path: Path, detector: Detector, normal_rows: Floats, fault: str) -> None:
    with running_broker(tmp_path / "broker") as broker, rig_of(broker) as rig:
        scorer = Scorer(broker, MODEL, "--state", str(tmp_path / "state"))
        rig.await_scorer(normal_rows)
        publishing = threading.Thread(target=rig.publish, args=(normal_rows, range(SAMPLES), RATE))
        publishing.start()
        for _ in range(2):
            time.sleep(1.5)
            strike(fault, broker, scorer, 0.5)
        publishing.join()
        lost = rig.await_results(range(SAMPLES), 60)
        assert lost == [], scorer.said()
        repeats = rig.check(normal_rows, detector.score(normal_rows).score, range(SAMPLES))
        assert scorer.stop() == 0
        assert "Traceback" not in scorer.said()
        print(  # noqa: T201  # what `make soak` is run for
            f"\n{fault}: {SAMPLES} samples at {RATE}/s, 2 faults: 0 lost, {repeats} told more than once, all alike"
        )


def test_five_minutes_without_a_broker(tmp_path: Path, normal_rows: Floats) -> None:
    with running_broker(tmp_path / "broker") as broker, rig_of(broker) as rig:
        scorer = Scorer(broker, MODEL)
        rig.await_scorer(normal_rows)
        rig.publish(normal_rows, range(SAMPLES), RATE)
        assert rig.await_results(range(SAMPLES), 60) == []
        before = scorer.rss_kb()
        broker.stop()
        most, end = 0, time.monotonic() + OUTAGE_S
        while time.monotonic() < end:
            time.sleep(1)
            most = max(most, scorer.rss_kb() - before)
        broker.start()
        began = time.monotonic()
        rig.publish(normal_rows, [SAMPLES], 1)
        assert rig.await_results([SAMPLES], 30) == [], scorer.said()
        back_s = rig.last - began
        print(  # noqa: T201  # what `make soak` is run for
            f"\n{OUTAGE_S:.0f} s without a broker: RSS + {most} kB, the first result {back_s:.1f} s after its return"
        )
        assert most < 8 * 1024
        assert back_s < 5
        assert scorer.stop() == 0
