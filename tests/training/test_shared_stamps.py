"""Ten rows a second whose time stamps are whole seconds: the right rate, and windows without a gap."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from vae_detect.runtime.describe import describe
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.scoring.framing import Framer
from vae_detect.training.data.selection import Selection
from vae_detect.training.evaluation.evaluate import evaluate
from vae_detect.training.evaluation.figures import Evaluation
from vae_detect.training.settings.config import TrainConfig
from vae_detect.training.train import train

ANY, CSV = Selection(), Layout()
CONFIG = TrainConfig(kind="windows", window=8, recipe="vae", hidden=(4,), latent=1, epochs=1)
ROWS = 1000


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normal, but for its label: rows from 500 on are called anomalous."""
    path, start = tmp_path_factory.mktemp("shared") / "fast.csv", datetime(2026, 1, 5)
    lines = []
    for row, (a, b) in enumerate(np.random.default_rng(0).normal(size=(ROWS, 2))):
        lines.append(f"{start + timedelta(seconds=row // 10)},{a:.4f},{b:.4f},{row // 500}")
    path.write_text("\n".join(["time,a,b,label", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def model(recording: Path) -> Detector:
    said: list[str] = []
    out = recording.with_name("a.onnx")
    train(recording, out, CONFIG, selection=Selection(exclude=("label",)), layout=CSV, far="0.1", say=said.append)
    assert "rows share time stamps, 1 s apart: a row counts as 0.1 s" in said
    return Detector.load(out, provider="cpu")


def test_a_rate_in_time_is_of_the_rows_not_of_the_stamps(recording: Path) -> None:
    with pytest.raises(InputError, match=r"a false-alarm rate of 1\.16e-06 needs"):  # 1 in 864 000
        train(recording, recording.with_name("no.onnx"), CONFIG, selection=ANY, layout=CSV, far="1/day")


def test_the_model_knows_its_clock(model: Detector) -> None:
    assert model.bundle.data.period_s == pytest.approx(0.1)
    assert model.bundle.data.stamp_s == 1.0
    assert f"{ROWS} rows, a row every 0.1 s, time stamps of 1 s in 'time'" in describe(model.bundle)


@pytest.mark.parametrize("size", [1, 7, 10, 400])
def test_no_row_is_a_gap_but_after_one(model: Detector, size: int) -> None:
    times = np.floor(1e9 + np.arange(400) / 10).astype(np.float64)
    times[300:] += 3
    framer, found = Framer.of(model.bundle), []
    for start, end in pairwise([*range(0, 400, size), 400]):
        framed, framer = framer.frame(Rows(start, np.zeros((end - start, 2), np.float32), {}, times[start:end]))
        found += framed.status
    assert found == ["warming"] * 7 + ["ok"] * 293 + ["gap"] * 7 + ["ok"] * 93


def test_false_events_are_counted_by_the_day_of_the_rows(model: Detector, recording: Path) -> None:
    found = evaluate(model, recording, "label", CSV)
    assert isinstance(found, Evaluation)
    events = found.events
    assert events is not None
    assert events.false_events
    assert events.false_events_per_day == pytest.approx(events.false_events / (493 * 0.1 / 86400))
