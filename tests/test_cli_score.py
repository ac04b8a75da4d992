"""Scoring, encoding and sampling by the command, on files and pipes."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from pathlib import Path
from typing import IO

import numpy as np
import polars
import pytest
from command_line import COMMAND, read_csv, refused, run
from conftest import MODEL, run_here

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.simulation import COLUMNS

pytestmark = pytest.mark.usefixtures("own_folder")


def test_score_finds_the_fault(rows_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    scored = run("score", rows_csv, "--model", MODEL, "--out", out)
    assert scored.returncode == 0
    assert "columns of" in scored.stderr
    assert "label" in scored.stderr
    assert "240 rows: 240 scored" in scored.stderr
    lines = read_csv(out)
    assert [int(line["row"]) for line in lines] == list(range(240))
    alarms = np.array([line["is_anomaly"] == "1" for line in lines])
    assert alarms[130:180].mean() > 0.9  # the fault is at its full size after a tenth of its time
    assert alarms[:120].mean() < 0.05
    assert run_here("score", rows_csv, "--model", MODEL, "--fail-on-anomaly").returncode == 1


def test_a_file_without_the_time_that_the_model_knows_is_scored_and_told(rows_csv: Path, tmp_path: Path) -> None:
    told = "no time in column 'timestamp', which the model knows: gaps between rows are not seen"
    assert told not in run_here("score", rows_csv, "--model", MODEL, "--out", tmp_path / "a.csv").stderr
    timeless = tmp_path / "timeless.csv"
    timeless.write_text(rows_csv.read_text().replace("timestamp", "when", 1))
    scored = run_here("score", timeless, "--model", MODEL, "--out", tmp_path / "b.csv")
    assert (scored.returncode, told in scored.stderr) == (0, True)


def test_score_keeps_an_existing_file(rows_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    out.write_text("mine")
    refused(run_here("score", rows_csv, "--model", MODEL, "--out", out), 2, "exists already", "--force")
    assert out.read_text() == "mine"
    assert run_here("score", rows_csv, "--model", MODEL, "--out", out, "--force").returncode == 0
    assert out.read_text().startswith("row,time,score,")


def test_a_bad_row_is_flagged_or_fails(rows_csv: Path, tmp_path: Path) -> None:
    lines = rows_csv.read_text().splitlines()
    cells = lines[4].split(",")
    cells[2] = "1,5".replace(",", "_")
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join([*lines[:4], ",".join(cells), *lines[5:]]))
    clean = run_here("score", rows_csv, "--model", MODEL).stdout.splitlines()
    found = run_here("score", bad, "--model", MODEL).stdout.splitlines()
    assert re.match(r"3,[^,]+Z,,,,,bad,", found[4])
    assert "flow_m3h" in found[4]
    assert "1_5" in found[4]
    assert found[:4] + found[5:] == clean[:4] + clean[5:]
    failed = run_here("score", bad, "--model", MODEL, "--on-bad-row", "fail", "--out", tmp_path / "scores.csv")
    refused(failed, 4, "row 3", "flow_m3h")
    assert not (tmp_path / "scores.csv").exists()


def test_encode_writes_codes_and_a_picture(rows_csv: Path, tmp_path: Path) -> None:
    codes, picture = tmp_path / "codes.csv", tmp_path / "codes.png"
    made = run_here("encode", rows_csv, "--model", MODEL, "--out", codes, "--picture", picture)
    assert made.returncode == 0, made.stderr
    assert "240 rows: 240 encoded" in made.stderr
    lines = read_csv(codes)
    width = Detector.load(MODEL).bundle.latent
    assert list(lines[0]) == ["row", "status", *(f"z{place}" for place in range(width))]
    assert len(lines) == 240
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused(run_here("encode", rows_csv, "--model", MODEL, "--out", codes), 2, "codes.csv: exists already", "--force")
    assert run_here("encode", rows_csv, "--model", MODEL, "--out", codes, "--force").returncode == 0
    assert run_here("encode", rows_csv, "--model", MODEL, "--out", tmp_path / "codes.parquet").returncode == 0
    frame = polars.read_parquet(tmp_path / "codes.parquet")
    assert frame["z0"].to_list() == pytest.approx([float(line["z0"]) for line in lines])


def test_what_is_reconstructed_and_sampled_can_be_scored(rows_csv: Path, tmp_path: Path) -> None:
    expected, new = tmp_path / "expected.csv", tmp_path / "new.csv"
    made = run_here("reconstruct", rows_csv, "--model", MODEL, "--out", expected)
    assert made.returncode == 0, made.stderr
    assert "240 rows: 240 reconstructed" in made.stderr
    assert run_here("sample", "--model", MODEL, "--n", "50", "--seed", "1", "--out", new).returncode == 0
    for path, rows in ((expected, 240), (new, 50)):
        scored = run_here("score", path, "--model", MODEL)
        assert scored.returncode == 0, scored.stderr
        assert "columns of" not in scored.stderr
        lines = list(csv.DictReader(scored.stdout.splitlines()))
        assert len(lines) == rows
        assert np.mean([line["is_anomaly"] == "1" for line in lines]) < 0.2
    again = tmp_path / "again.csv"
    assert run_here("sample", "--model", MODEL, "--n", "50", "--seed", "1", "--out", again).returncode == 0
    assert again.read_bytes() == new.read_bytes()


def test_score_says_that_the_calibration_no_longer_holds(rows_csv: Path, drifted_csv: Path, tmp_path: Path) -> None:
    assert "calibration" not in run_here("score", rows_csv, "--model", MODEL).stderr
    said = "calibration no longer holds: 1 of the last 1508 inputs alarmed, promised 0.001, "
    from_file = run_here("score", drifted_csv, "--model", MODEL, "--out", tmp_path / "scores.csv")
    assert (from_file.returncode, from_file.stdout) == (0, "")
    assert said in from_file.stderr
    from_pipe = run_here("score", "-", "--model", MODEL, stdin=drifted_csv.read_text())
    # once, and as soon as it is known
    assert from_pipe.stderr.count("calibration no longer holds: 1 of the last 1508 inputs alarmed") == 1
    assert from_pipe.stderr.count("calibration") == 1


def test_an_adaptive_threshold_follows_what_has_drifted(rows_csv: Path, drifted_csv: Path) -> None:
    # 34 alarms use the threshold up (tests/runtime/service/test_app.py); 0.03 x 0.001 a row brings it back to one
    # more in 630 rows, and then another
    for arguments in ([drifted_csv], ["-"]):
        scored = run_here("score", *arguments, "--model", MODEL, "--adaptive", stdin=drifted_csv.read_text())
        assert scored.stdout.count('"is_anomaly":true' if arguments == ["-"] else ",1,ok,") == 36
        assert "calibration no longer holds" in scored.stderr
    shown = run_here("evaluate", drifted_csv, "--labels", "label", "--model", MODEL, "--adaptive").stdout
    assert "at a threshold that follows the data" in shown
    figures = json.loads(run_here("evaluate", drifted_csv, "--labels", "label", "--model", MODEL, "--json").stdout)
    assert figures["at_threshold"]["false_alarm_rate"] == 1.0
    assert figures["promise"] == {"in_range": False, "reported_after": 1508, "reported_on_normal": True}


def test_stdin_answers_each_line_at_once() -> None:
    process = subprocess.Popen(
        [COMMAND, "score", "-", "--model", MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    send(process.stdin, ",".join(COLUMNS))
    for number, cells in enumerate(
        ["1270,138,0.344,2.77,25.9,13.0,31.4,1.54", "1270,138,0.344,oops,25.9,13.0,31.4,1.54"]
    ):
        send(process.stdin, cells)
        answer = json.loads(process.stdout.readline())  # would block for ever if the line were held back
        assert answer["row"] == number
    assert answer["status"] == "bad"
    assert "discharge_pressure_bar" in answer["reason"]
    process.stdin.close()
    assert process.wait(timeout=10) == 0
    process.stdout.close()


def send(stdin: IO[str], line: str) -> None:
    stdin.write(line + "\n")
    stdin.flush()


def test_a_reader_that_leaves_ends_the_pipe_quietly(rows_csv: Path) -> None:
    line = f"{COMMAND} simulate --duration 30d | {COMMAND} score - --model {MODEL} | head -n 1"
    ended = subprocess.run(
        ["bash", "-c", f"{line}; echo ${{PIPESTATUS[@]}}"], capture_output=True, text=True, check=True
    )
    first, codes = ended.stdout.splitlines()
    assert json.loads(first)["row"] == 0
    assert set(codes.split()[:2]) <= {"0", "141"}
    assert "Traceback" not in ended.stderr
    assert "Error" not in ended.stderr
