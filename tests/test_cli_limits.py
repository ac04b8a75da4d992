"""Hard limits beside what is learnt, as people use them: trained, scored, served, evaluated, fine-tuned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from command_line import read_csv, refused, run
from conftest import Client, run_here

from vae_detect.runtime.detector import Detector

pytestmark = pytest.mark.usefixtures("own_folder")

LIMITS = ("--limit", "vibration_mm_s<5", "--limit", "flow_m3h >= 50")
BROKEN = {300: ("vibration_mm_s", "5"), 700: ("vibration_mm_s", "9.2"), 701: ("flow_m3h", "-0.5")}
"""Readings in two days of normal operation that break them."""


@pytest.fixture(scope="module")
def recording(normal_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`normal_csv` with the readings of `BROKEN`."""
    header, *lines = normal_csv.read_text().splitlines()
    rows = [line.split(",") for line in lines]
    for row, (name, reading) in BROKEN.items():
        rows[row][header.split(",").index(name)] = reading
    path = tmp_path_factory.mktemp("limits") / "recording.csv"
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    return path


@pytest.fixture(scope="module")
def model(recording: Path) -> Path:
    """A small detector of windows with `LIMITS`, trained by the command."""
    out = recording.with_name("pump.onnx")
    made = run("train", recording, *LIMITS, "--window", "4", "--recipe", "vae", "--far", "0.3", "--out", out,
               "hidden=16", "latent=3", "epochs=4")  # fmt: skip
    assert made.returncode == 0, made.stderr
    line = "3 of 1440 rows left out: they break a limit (first: row 300, vibration_mm_s is 5, limit < 5)"
    assert line in made.stderr.splitlines()
    assert "1437 rows of 8 columns" in made.stderr
    return out


def alarms_by_limit(scores: Path) -> dict[int, str]:
    """The rows of a CSV of scores with a reason although they have a score: all alarm."""
    told = [row for row in read_csv(scores) if row["status"] == "ok" and row["reason"]]
    assert all(row["is_anomaly"] == "1" for row in told)
    return {int(row["row"]): row["reason"] for row in told}


REASONS = {
    300: "vibration_mm_s is 5, limit < 5",
    700: "vibration_mm_s is 9.2, limit < 5",
    701: "flow_m3h is -0.5, limit >= 50",
}


@pytest.mark.parametrize("adaptive", [[], ["--adaptive"]])
def test_a_row_beyond_a_limit_alarms_and_says_why(
    recording: Path, model: Path, tmp_path: Path, adaptive: list[str]
) -> None:
    out = tmp_path / "scores.csv"
    assert run_here("score", recording, "--model", model, "--out", out, *adaptive).returncode == 0
    assert alarms_by_limit(out) == REASONS  # and not the windows after, in which such a row is an older one
    assert [read_csv(out)[row]["column"] for row in BROKEN] == [name for name, _ in BROKEN.values()]


def test_a_pipe_and_the_service_say_so_too(recording: Path, model: Path) -> None:
    lines = recording.read_text().splitlines(keepends=True)
    piped = run_here("score", "-", "--model", model, stdin="".join([lines[0], *lines[297:303]]))
    results = [json.loads(line) for line in piped.stdout.splitlines()]
    assert [row["reason"] for row in results[3:]] == [None, REASONS[300], None]
    first = run_here("score", "-", "--model", model, "--fail-on-anomaly", stdin="".join([lines[0], lines[301]]))
    assert first.returncode == 1  # a window is not full, and the limit is broken all the same
    answer = json.loads(first.stdout)
    assert (answer["status"], answer["score"], answer["is_anomaly"]) == ("warming", None, True)
    rows = [list(map(float, line.split(",")[1:])) for line in lines[298:302]]
    *_, served = Client(Detector.load(model, provider="cpu")).results(rows)
    assert (served["is_anomaly"], served["status"], served["reason"]) == (True, "ok", REASONS[300])


def test_the_graph_alone_knows_the_limits(recording: Path, model: Path) -> None:
    detector = Detector.load(model, provider="cpu")
    names, normal = detector.bundle.names, detector.golden_inputs()[:1]  # the lowest score of all
    x = np.repeat(normal, 4, axis=0)
    x[1, -1, names.index("vibration_mm_s")] = 5
    x[2, -1, names.index("vibration_mm_s")] = np.nextafter(np.float32(5), np.float32(0))
    x[3, 0, names.index("vibration_mm_s")] = 5  # in an older row
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    score, verdict = session.run(["score", "is_anomaly"], {"x": x})
    over = score > np.float32(detector.bundle.calibration.threshold)
    assert verdict.tolist() == [False, True, over[2], over[3]]


def test_the_limits_are_told_and_golden_inputs_break_them(model: Path) -> None:
    assert "limits       vibration_mm_s < 5, flow_m3h >= 50" in run_here("inspect", model).stdout
    bundle = Detector.load(model, provider="cpu").bundle
    newest = np.array(bundle.golden.x, np.float32)[:, -1]
    assert (newest[:, bundle.names.index("vibration_mm_s")] == 5).sum() == 1
    assert (newest[:, bundle.names.index("flow_m3h")] == np.nextafter(np.float32(50), np.float32(0))).sum() == 1
    assert bundle.golden.is_anomaly[-2:] == [True, True]


def test_an_evaluation_judges_the_promise_by_the_score_alone(recording: Path, model: Path) -> None:
    found = json.loads(run_here("evaluate", recording, "--model", model, "--labels", "none", "--json").stdout)
    detector = Detector.load(model, provider="cpu")
    assert found["beyond_limits"] == 3
    values = np.array([line.split(",")[1:] for line in recording.read_text().splitlines()[1:]], np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(values, 4, axis=0).transpose(0, 2, 1)
    over = detector.score(windows).score > detector.bundle.calibration.threshold
    assert found["alarms"] == over.sum()


def test_fine_tuning_keeps_the_limits(recording: Path, model: Path, tmp_path: Path) -> None:
    header, *lines = recording.read_text().splitlines()
    labels = {100: "1", 101: "1", 300: "0", 500: "0"}
    text = [f"{header},label", *(f"{line},{labels.get(row, '')}" for row, line in enumerate(lines))]
    (tmp_path / "labels.csv").write_text("\n".join(text) + "\n")
    out, scores = tmp_path / "tuned.onnx", tmp_path / "scores.csv"
    tuned = run_here("finetune", "--model", model, "--labels", tmp_path / "labels.csv", "--data", recording,
                     "--out", out)  # fmt: skip
    assert tuned.returncode == 0, tuned.stderr
    assert (
        "1 rows labelled as false alarms or normal break a limit (first: row 300), and go on alarming" in tuned.stderr
    )
    assert run_here("score", recording, "--model", out, "--out", scores).returncode == 0
    assert alarms_by_limit(scores) == REASONS


def test_look_counts_the_rows_and_proposes_the_limits(recording: Path) -> None:
    looked = run_here("look", recording, *LIMITS).stdout.splitlines()
    assert any(line.startswith("3 of 1440 rows left out: they break a limit") for line in looked)
    assert "--limit 'vibration_mm_s<5' --limit 'flow_m3h >= 50'" in looked[-1]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("vibration<5", ["column 'vibration' is not in the header", "'vibration_mm_s'"]),
        ("vibration_mm_s=5", ["--limit vibration_mm_s=5 is no limit"]),
        ("vibration_mm_s<1.2", ["rows left out: they break a limit", "more than a fifth"]),
    ],
)
@pytest.mark.parametrize("command", [["look"], ["train", "--out", "none.onnx"]])
def test_wrong_limits_are_refused(recording: Path, command: list[str], limit: str, words: list[str]) -> None:
    refused(run_here(*command, recording, "--limit", limit), 2, *words)


def test_images_have_no_limits(tmp_path: Path) -> None:
    made = run_here("train", tmp_path, "--kind", "images", "--limit", "a<3", "--out", tmp_path / "none.onnx")
    refused(made, 2, "--limit is for tables; images have no columns")
