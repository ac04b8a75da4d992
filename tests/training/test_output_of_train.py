"""What train does with files that are there already, and what it says on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import run_here

from vae_detect.runtime.output import locked
from vae_detect.training.commands.train import Lines
from vae_detect.training.fitting.fit import Epoch

QUICK = ("--recipe", "ae", "hidden=8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_keeps_a_model_that_exists(here: Path, normal_csv: Path) -> None:
    first = run_here("train", normal_csv, "--out", "m.onnx", *QUICK, "epochs=1", "--resume")
    assert first.returncode == 0, first.stderr
    assert "m.checkpoint: no checkpoint yet, so training starts from the beginning" in first.stderr
    assert "stopped at its limit, epochs=1," in first.stderr
    assert "--set epochs=2" in first.stderr
    made = {path.name: path.read_bytes() for path in here.iterdir()}
    assert sorted(made) == ["m.decoder.onnx", "m.encoder.onnx", "m.onnx"]
    for more, said in (("--json", "--resume goes on with a stopped training"), ("--resume", "no stopped training")):
        again = run_here("train", normal_csv, "--out", "m.onnx", *QUICK, "epochs=2", more)
        assert again.returncode == 2
        assert "m.onnx: exists already; pass --force to replace it" in again.stderr
        assert said in again.stderr
    assert {path.name: path.read_bytes() for path in here.iterdir()} == made
    forced = run_here("train", normal_csv, "--out", "m.onnx", *QUICK, "epochs=2", "--force")
    assert forced.returncode == 0, forced.stderr
    assert (here / "m.onnx").read_bytes() != made["m.onnx"]


def test_of_two_trainings_with_one_output_the_second_is_refused_at_once(here: Path, normal_csv: Path) -> None:
    with locked(here / "m.onnx", "busy"):
        second = run_here("train", normal_csv, "--out", "m.onnx", *QUICK)
        assert second.returncode == 2
        assert "another training is at work on it" in second.stderr
        assert [path.name for path in here.iterdir()] == [".m.onnx.lock"]
    assert [*here.iterdir()] == []


def test_progress_in_a_log_is_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    lines = Lines(100, clock=lambda: now)
    for number in range(11, 21):
        now += 4.0
        lines(Epoch(number, 2.0, 1.0, 1.0, 3.0, True))
    assert capsys.readouterr().err.splitlines() == [
        "epoch 13 of 100: loss 2.000, validation 3.000, at most 6 min left",
        "epoch 16 of 100: loss 2.000, validation 3.000, at most 6 min left",
        "epoch 19 of 100: loss 2.000, validation 3.000, at most 5 min left",
    ]
