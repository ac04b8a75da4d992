"""What a run came to, counted by hand and accepted by promtool."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import parse, run_here
from test_remote_write import results

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.prometheus.textfile import RunCounts, check_textfile


def test_counts_by_hand(detector: Detector) -> None:
    counts = RunCounts(detector.bundle, "pump")
    first = results([6.0, np.nan, 6.0], [1.7e9, 1.7e9 + 60, np.nan])
    counts.add(first._replace(status=["ok", "gap", "ok"]))
    counts.add(results([7.0, 1.0], [1.7e9 + 180, 1.7e9 + 120], first=3))
    told = {name.removeprefix("vae_detect_run_"): value for name, value in parse(counts.exposition().decode()).items()}
    own = "[('model', 'pump')]"
    # rows 0, 2 and 3 are one event: the gap of row 1 says nothing
    assert {name: told[name + own] for name in ("rows", "rows_scored", "anomalies", "events")} == {
        "rows": 5,
        "rows_scored": 4,
        "anomalies": 3,
        "events": 1,
    }
    assert told["rows_flagged[('model', 'pump'), ('reason', 'gap')]"] == 1
    assert told["rows_flagged[('model', 'pump'), ('reason', 'bad')]"] == 0
    assert told["last_row_timestamp_seconds" + own] == 1.7e9 + 180
    assert told["expected_false_alarm_ratio" + own] == detector.bundle.calibration.far


def test_score_leaves_it_for_the_collector(rows_csv: Path, tmp_path: Path) -> None:
    path = tmp_path / "vae_detect.prom"
    path.write_text("of the run before\n")
    model = Path(__file__).parents[3] / "exported" / "vae.onnx"
    words: list[str | Path] = [
        "score",
        rows_csv,
        "--model",
        model,
        "--out",
        tmp_path / "scores.csv",
        "--metrics-textfile",
        path,
    ]
    done = run_here(*words)
    assert done.returncode == 0, done.stderr
    assert 'vae_detect_run_rows{model="vae"} 240.0' in path.read_text()
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".tmp"] == []
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=path.read_text(), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_another_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"ends in \.prom"):
        check_textfile(Path("metrics.txt"))
