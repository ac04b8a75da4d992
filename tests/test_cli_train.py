"""Training by the command: what it says and writes, and how it goes on after it was killed."""

from __future__ import annotations

import csv
import json
import subprocess
import time
from pathlib import Path

import onnxruntime
import pytest
from command_line import COMMAND, refused, run
from conftest import run_here

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def trained(normal_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained by the command, few epochs."""
    out = tmp_path_factory.mktemp("trained") / "pump.onnx"
    made = run("train", normal_csv, "--out", out, "--set", "hidden=16", "latent=3", "epochs=4", "--far", "0.3")
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == [str(out.with_name(f"pump{part}.onnx")) for part in ("", ".encoder", ".decoder")]
    return out


def test_train_says_what_it_did(trained: Path, normal_csv: Path, tmp_path: Path) -> None:
    again = run_here(
        "train",
        normal_csv,
        "--out",
        tmp_path / "pump.onnx",
        "hidden=16",
        "latent=3",
        "epochs=4",
        "--far",
        "30%",
        "--json",
    )
    assert "time stamps: column 'timestamp'" in again.stderr
    assert "1440 rows of 8 columns" in again.stderr
    assert "promised false-alarm rate 0.3" in again.stderr
    facts = json.loads(again.stdout)
    assert facts["settings"]["hidden"] == [16]
    assert facts["calibration"]["far"] == 0.3
    assert not list(tmp_path.glob("*.checkpoint"))
    # Settings and data are the same, so the files are the same, byte for byte.
    for part in ("", ".encoder", ".decoder"):
        assert (tmp_path / f"pump{part}.onnx").read_bytes() == trained.with_name(f"pump{part}.onnx").read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        ["recipe=vae", "hidden=16", "latent=3", "epochs=15", "patience=15"],
        ["recipe=adversarial", "hidden=16", "epochs=15", "dropout=0.2", "corruption=mask", "precision=bfloat16"],
        ["recipe=dbn", "hidden=32,16", "epochs=2", "pretrain_epochs=9"],  # killed while it pretrains
    ],
)
def test_training_goes_on_after_kill_9(normal_csv: Path, tmp_path: Path, settings: list[str]) -> None:
    whole, killed = tmp_path / "whole.onnx", tmp_path / "killed.onnx"
    assert run_here("train", normal_csv, "--out", whole, *settings).returncode == 0
    process = subprocess.Popen(
        [COMMAND, "train", str(normal_csv), "--out", str(killed), *settings],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not killed.with_suffix(".checkpoint").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not killed.exists()
    resumed = run_here("train", normal_csv, "--out", killed, *settings, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    for part in ("", ".encoder", ".decoder"):
        assert (tmp_path / f"killed{part}.onnx").read_bytes() == (tmp_path / f"whole{part}.onnx").read_bytes()


def test_train_windows_and_ae(normal_csv: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.toml"
    config.write_text('recipe = "ae"\nhidden = [16]\nlatent = 2\nepochs = 9\n')
    made = run_here("train", normal_csv, "--out", tmp_path / "w.onnx", "--kind", "windows", "--window", "4",
                    "--stride", "2", "--config", config, "--set", "epochs=2",
                    "--exclude", "vibration_mm_s")  # fmt: skip
    assert made.returncode == 0, made.stderr
    facts = json.loads(run_here("inspect", tmp_path / "w.onnx", "--json").stdout)
    assert (facts["recipe"], facts["kind"], facts["window"], facts["stride"]) == ("ae", "windows", 4, 2)
    assert (facts["settings"]["epochs"], facts["latent"], len(facts["columns"])) == (2, 2, 7)
    assert "elbo" not in onnxruntime_outputs(tmp_path / "w.onnx")
    scored = run_here("score", normal_csv, "--model", tmp_path / "w.onnx")
    lines = list(csv.DictReader(scored.stdout.splitlines()))
    assert [line["status"] for line in lines[:5]] == ["warming"] * 3 + ["ok"] * 2
    assert len(lines) == 1440


def onnxruntime_outputs(path: Path) -> list[str]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return [output.name for output in onnxruntime.InferenceSession(path, options).get_outputs()]


def test_train_refuses_a_rate_that_the_data_cannot_support(normal_csv: Path, tmp_path: Path) -> None:
    tried = run_here("train", normal_csv, "--out", tmp_path / "x.onnx", "--far", "1/week", "--rate", "1kHz")
    refused(tried, 2)
    tried = run_here("train", normal_csv, "--out", tmp_path / "x.onnx", "--far", "0.00001")
    refused(tried, 2, "false-alarm rate", "calibration rows")
    assert not list(tmp_path.iterdir())
