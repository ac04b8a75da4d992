"""vae-detect calibrate as a user calls it, and the service that goes on with what it wrote."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from command_line import Serving, refused, run
from conftest import MODEL
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector, Scores
from vae_detect.runtime.scoring.results import Results
from vae_detect.runtime.simulation import csv_lines, simulate
from vae_detect.runtime.streams.score_log import ScoreLog
from vae_detect.training.export.files import Files


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five days of a station that nobody has trained on."""
    path = tmp_path_factory.mktemp("calibrate") / "normal.csv"
    path.write_text("".join(csv_lines(simulate(duration_s=5 * 86400, period_s=10, seed=77))))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for path in Files.named(MODEL):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / MODEL.name


def test_the_model_is_calibrated_in_place_and_told(model: Path, recording: Path) -> None:
    result = run("calibrate", "--model", model, recording)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(path) for path in Files.named(model)]
    said = result.stderr
    assert "43200 rows, 43200 with a score to calibrate by" in said
    assert "the old threshold 21.8367 alarmed in 2.31e-05 of these scores; promised 0.001" in said
    assert "from 43200 held-out normal scores (worth" in said
    assert "the old files are kept as vae.0fc2e898d8035d70.encoder.onnx" in said
    shown = run("inspect", model)
    assert "calibrated   anew, from export 0fc2e898d8035d70" in shown.stdout


def test_another_rate_and_another_place(model: Path, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "pump.onnx"
    result = run("calibrate", "--model", model, "--far", "20/day", "--out", out, "--json", recording)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["calibration"]["far"] == pytest.approx(20 / (86400 / facts["data"]["period_s"]))
    assert model.read_bytes() == MODEL.read_bytes()
    refused(
        run("calibrate", "--model", model, "--far", "0.01", "--out", out, recording), 2, "exists already", "--force"
    )
    assert run("calibrate", "--model", model, "--far", "0.01", "--out", out, "--force", recording).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["name recordings of normal operation, or --from-events and --state DIR"]),
        (["short.csv"], ["short.csv: a false-alarm rate of 0.001 needs 300 independent normal rows", "they support"]),
        (["none.csv"], ["none.csv", "does not exist"]),
        (["--far", "2", "short.csv"], ["2 per row is out of range"]),
        (["--out", "short.csv", "short.csv"], ["is what this command reads"]),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    model: Path, tmp_path: Path, arguments: list[str], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.csv").write_text("".join(csv_lines(simulate(duration_s=3600, period_s=10, seed=3))))
    before = sorted(path.name for path in tmp_path.iterdir())
    refused(run("calibrate", "--model", model, *arguments), 2, *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_model_is_calibrated_by_what_a_service_logged(model: Path, tmp_path: Path) -> None:
    state, scores = tmp_path / "state", np.random.default_rng(0).gamma(2, 2, size=20_000).astype(np.float32)
    log = ScoreLog(state / "vae.scores", Detector.load(model, provider="cpu").bundle.export_id)
    scored = np.ones(20_000, np.bool_)
    results = Results(0, Scores(scores, scores, scores, scored, scored), [], [], None)
    log.add("p", time.time() - 10 * np.arange(20_000.5, 0.5, -1, dtype=np.float64), results)
    log.flush()
    result = run("calibrate", "--model", model, "--from-events", "--state", state, "--since", "2d")
    assert result.returncode == 0, result.stderr
    found = re.search(r"(\d+) scores of 1 keys, (\d+) of them normal; of 0 events", result.stderr)
    assert found is not None
    assert 17_250 <= int(found[1]) == int(found[2]) <= 17_280  # two days, less what the command takes
    assert f"from {found[1]} held-out normal scores" in result.stderr
    refused(run("calibrate", "--model", model, "--state", state), 2, "name recordings", "--from-events and --state DIR")
    refused(run("calibrate", "--model", model, "--from-events"), 2, "--from-events and --state DIR")


def test_a_stream_logs_what_calibrate_takes(model: Path, tmp_path: Path) -> None:
    header, *rows = csv_lines(simulate(duration_s=12 * 3600, period_s=30, seed=77))
    state = tmp_path / "state"
    streamed = run("stream", "-m", model, "--from", "-", "--state", state, stdin="".join([header, *rows]))
    assert streamed.returncode == 0, streamed.stderr
    asked = ("calibrate", "--model", model, "--from-events", "--state", state, "--far", "0.45")
    result = run(*asked, "--since", "20000d")  # what is simulated happened years ago
    assert result.returncode == 0, result.stderr
    assert "1440 scores of 1 keys, 1440 of them normal" in result.stderr
    refused(run(*asked), 2, "no score of export")


def verdict(url: str, row: NDArray[np.float32]) -> dict[str, object]:
    with urllib.request.urlopen(f"{url}/score", data=json.dumps(row.tolist()).encode(), timeout=10) as reply:
        answer: dict[str, object] = json.load(reply)["results"][0]
    return answer


def loaded(url: str) -> str:
    with urllib.request.urlopen(f"{url}/model", timeout=10) as reply:
        facts: dict[str, str] = json.load(reply)
    return facts["export_id"]


def test_a_service_goes_on_with_the_new_threshold(
    model: Path, recording: Path, normal_rows: NDArray[np.float32]
) -> None:
    row = normal_rows[3].copy()
    with Serving("--model", str(model), "--watch") as url:
        before, first = verdict(url, row), loaded(url)
        assert run("calibrate", "--model", model, "--far", "0.05", recording).returncode == 0
        until = time.monotonic() + 20
        while loaded(url) == first and time.monotonic() < until:
            time.sleep(0.1)
        after = verdict(url, row)
    assert first == "0fc2e898d8035d70"
    assert after["score"] == before["score"]
    assert after["severity"] != before["severity"]
