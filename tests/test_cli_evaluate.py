"""Measuring a detector by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import refused
from conftest import MODEL, run_here

pytestmark = pytest.mark.usefixtures("own_folder")


def test_evaluate_prints_figures(rows_csv: Path) -> None:
    shown = run_here("evaluate", rows_csv, "--labels", "label", "--model", MODEL)
    for words in ("ROC-AUC", "z-score", "random", "promised 0.001", "1 of 1"):
        assert words in shown.stdout
    figures = json.loads(run_here("evaluate", rows_csv, "--labels", "label", "--model", MODEL, "--json").stdout)
    assert figures["detector"]["roc_auc"] > 0.9
    assert figures["events"]["found"] == 1
    assert all(len(curve) <= 200 for curves in figures["curves"].values() for curve in curves.values())
    assert figures["point_adjusted"] is None
    refused(run_here("evaluate", rows_csv, "--labels", "truth", "--model", MODEL), 2, "'truth'", "missing")


def test_evaluate_takes_labels_as_people_write_them(rows_csv: Path, tmp_path: Path) -> None:
    expected = run_here("evaluate", rows_csv, "--labels", "label", "--model", MODEL)
    written = {"sign": {"0": "1", "1": "-1"}, "kinds": {"0": "1", "1": "2"}, "words": {"0": "", "1": "leak"}}
    for name, words in written.items():
        header, *lines = rows_csv.read_text().splitlines()
        text = [f"{line.rpartition(',')[0]},{words[line.rpartition(',')[2]]}" for line in lines]
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *text]) + "\n")
    for name, options in (("sign", []), ("kinds", ["--anomaly-label", "2"]), ("words", [])):
        found = run_here("evaluate", tmp_path / f"{name}.csv", "--labels", "label", "--model", MODEL, *options)
        assert found.stdout == expected.stdout
        assert "column 'label': normal is " in found.stderr
    tried = run_here("evaluate", tmp_path / "kinds.csv", "--labels", "label", "--model", MODEL)
    refused(tried, 2, "does not say what is normal", "--anomaly-label 2")
    shown = run_here("evaluate", rows_csv, "--labels", "none", "--model", MODEL)
    assert "all of them normal" in shown.stdout
    figures = json.loads(run_here("evaluate", rows_csv, "--labels", "none", "--model", MODEL, "--json").stdout)
    assert figures["false_alarm_rate"] == figures["alarms"] / figures["scored"]


def test_evaluate_writes_a_report_once(rows_csv: Path, tmp_path: Path) -> None:
    page_file = tmp_path / "report.html"
    command: list[str | Path] = ["evaluate", rows_csv, "--labels", "label", "--model", MODEL, "--report", page_file]
    shown = run_here(*command, "--point-adjust")
    assert shown.returncode == 0, shown.stderr
    assert "warning           one alarm anywhere in an event" in shown.stdout
    page = page_file.read_text()
    assert page.startswith("<!doctype html>")
    assert "vae.onnx on rows.csv" in page
    assert shown.stdout.splitlines()[0] in page
    refused(run_here(*command), 2, "report.html: exists already; pass --force to replace it")
    assert run_here(*command, "--force").returncode == 0
    assert list(tmp_path.iterdir()) == [page_file]
