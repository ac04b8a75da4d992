"""Where results go beside the CSV, and what does not fit."""

from __future__ import annotations

import csv
import io
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import refused
from conftest import MODEL, run_here
from prometheus_server import prometheus

from vae_detect.runtime.simulation import csv_lines, simulate


def test_scores_are_written_and_read_back(tmp_path: Path) -> None:
    begin = int(time.time() // 60 * 60) - 1800
    start = datetime.fromtimestamp(begin, UTC).replace(tzinfo=None)
    recording, scores = tmp_path / "rows.csv", tmp_path / "scores.csv"
    recording.write_text("".join(csv_lines(simulate(duration_s=1200, period_s=30, seed=5, start=start))))
    with prometheus(tmp_path, "--web.enable-remote-write-receiver") as where:
        address = f"prometheus+http://{where}/"
        done = run_here("score", recording, "--model", MODEL, "--out", scores, "--to", address)
        assert done.returncode == 0, done.stderr
        assert "http" not in scores.read_text()
        # as the columns of a recording: what the scores were comes back as rows
        queries = ["--query", 'x=vae_detect_score{model="vae"}', "--query", "y=vae_detect_anomaly"]
        moments = ["--start", str(begin), "--end", str(begin + 1170), "--step", "30s"]
        training: list[str | Path] = [
            "train",
            address,
            *queries,
            *moments,
            "--out",
            tmp_path / "m.onnx",
            "--kind",
            "rows",
        ]
        done = run_here(*training, "--recipe", "vae", "epochs=1")
        assert f"{address.removeprefix('prometheus+').rstrip('/')}: 40 rows of 2 queries" in done.stderr
    assert len(list(csv.DictReader(io.StringIO(scores.read_text())))) == 40


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-", "--to", "prometheus+http://127.0.0.1:9/"], "are for files"),
        (["rows.csv", "--to", "http://127.0.0.1:9/"], "expected prometheus+http://HOST"),
        (["rows.csv", "--to-token-file", "token"], "goes with --to"),
        (["rows.csv", "--to", "prometheus+http://127.0.0.1:9/", "--to-token-file", "token"], "token: no such file"),
        (["rows.csv", "--metrics-textfile", "rows.txt"], "ends in .prom"),
        (["rows.csv", "--metrics-textfile", "rows.csv"], "is what this command reads"),
    ],
)
def test_what_does_not_fit_is_refused(words: list[str], told: str, own_folder: Path) -> None:
    (own_folder / "rows.csv").write_text("a\n1\n")
    refused(run_here("score", "--model", MODEL, *words), 2, told)
