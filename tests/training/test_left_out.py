"""A detector keeps its promise on later rows, whatever counters, days and labels stand beside the signals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from conftest import run_here

QUICK = ("--recipe", "ae", "--far", "0.02", "hidden=8", "epochs=5", "--kind", "rows")


def record(path: Path, rows: range, *, broken: int = 0) -> Path:
    """Signals a row of two minutes, beside a row number, energy so far, day and label; `broken` rows last."""
    random = np.random.default_rng(rows.start)
    lines = ["time,id,kwh,day,label,temp,flow"]
    for row in rows:
        day, minute = 5 + row // 720, 2 * (row % 720)
        is_broken = row >= rows.stop - broken
        temp = random.normal(20, 1) + 15 * is_broken
        lines.append(
            f"2026-01-{day:02}T{minute // 60:02}:{minute % 60:02}:00,{row},{row * 1.5 + random.uniform():.2f},"
            f"2026-01-{day:02},{int(is_broken)},{temp:.3f},{2 * temp + random.normal():.3f}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def test_later_rows_are_scored_and_keep_the_promise(tmp_path: Path) -> None:
    train = record(tmp_path / "train.csv", range(2000))
    later = record(tmp_path / "later.csv", range(2000, 4000), broken=100)
    made = run_here("train", train, "--out", tmp_path / "m.onnx", *QUICK)
    assert made.returncode == 0, made.stderr
    assert made.stderr.count("left out, since") == 3
    assert "2000 rows of 2 columns" in made.stderr
    found = run_here("evaluate", later, "--labels", "label", "--model", tmp_path / "m.onnx", "--json")
    assert found.returncode == 0, found.stderr
    figures = json.loads(found.stdout)
    assert (figures["scored"], figures["anomalous"]) == (2000, 100)
    assert figures["at_threshold"]["false_alarm_rate"] < 0.05
    assert figures["at_threshold"]["recall"] > 0.9


def test_the_z_score_is_not_drowned_by_a_text_of_many_kinds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name, rows in (("train", 1000), ("test", 400)):
        faulty = [int(name == "test" and row % 4 == 0) for row in range(rows)]
        cells = [f"t{random.integers(20):02},{random.normal() + 8 * each:.3f},{each}" for each in faulty]
        (tmp_path / f"{name}.csv").write_text("product,flow,label\n" + "\n".join(cells) + "\n")
    made = run_here("train", tmp_path / "train.csv", "--out", tmp_path / "m.onnx", *QUICK)
    assert made.returncode == 0, made.stderr
    assert "taken as category: product" in made.stderr
    found = run_here("evaluate", tmp_path / "test.csv", "--labels", "label", "--model", tmp_path / "m.onnx", "--json")
    assert json.loads(found.stdout)["z_score"]["roc_auc"] > 0.99
