"""Tables as people keep them, through the command: several files, Parquet, several machines in one, long ones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import MODEL, run_here
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector

SMALL = ["--recipe", "vae", "--window", "4", "--set", "epochs=2", "hidden=8", "latent=2"]


def scores_of(model: Path, *data: str | Path) -> list[dict[str, str]]:
    out = model.parent / "scores.csv"
    done = run_here("score", *data, "--model", model, "--out", out, "--force")
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        return list(csv.DictReader(file))


def train(folder: Path, *data: str | Path) -> Path:
    model = folder / "model.onnx"
    done = run_here("train", *data, "--out", model, "--force", *SMALL)
    assert done.returncode == 0, done.stderr
    return model


def machine(number: int, rows: int = 400) -> list[list[str]]:
    """Time, temperature and flow of a machine."""
    values = number + np.random.default_rng(number).normal(0, 1, (rows, 2))
    times = [f"2026-01-05 {row // 60:02}:{row % 60:02}:00" for row in range(rows)]
    return [[when, f"{a:.3f}", f"{b:.3f}"] for when, (a, b) in zip(times, values, strict=True)]


def write(path: Path, header: str, rows: list[list[str]]) -> Path:
    path.write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    return path


def test_parquet_is_scored_like_csv(detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path) -> None:
    names = detector.bundle.names
    pl.DataFrame(normal_rows[:50].astype(float), schema=list(names), orient="row").write_parquet(tmp_path / "a.parquet")
    write(tmp_path / "a.csv", ",".join(names), [[*map(str, row)] for row in normal_rows[:50].astype(float).tolist()])
    model = tmp_path / "model.onnx"
    model.write_bytes(MODEL.read_bytes())
    both = scores_of(model, tmp_path / "a.csv", tmp_path / "a.parquet")
    assert [row.pop("file") for row in both] == [str(tmp_path / "a.csv")] * 50 + [str(tmp_path / "a.parquet")] * 50
    assert both[:50] == both[50:]


def test_a_keyed_file_is_learnt_and_scored_like_a_file_for_each(tmp_path: Path) -> None:
    machines = {"A": machine(1), "B": machine(3)}
    turns = [[row[0], key, *row[1:]] for rows in zip(*machines.values(), strict=True)
             for key, row in zip(machines, rows, strict=True)]  # fmt: skip
    together = write(tmp_path / "fleet.csv", "time,machine,temp,flow", turns)
    refusal = run_here("train", together, "--out", tmp_path / "no.onnx", *SMALL)
    assert refusal.returncode == 2
    assert "several machines share the file; --key machine keeps them apart" in refusal.stderr
    model = train(tmp_path, together, "--key", "machine")
    found = scores_of(model, together)
    assert [row["key"] for row in found[:4]] == ["A", "B", "A", "B"]
    apart = tmp_path / "apart"
    apart.mkdir()
    files = [write(apart / f"{key}.csv", "time,temp,flow", rows) for key, rows in machines.items()]
    expected = scores_of(train(apart, *files), apart)
    for number, (key, file) in enumerate(zip(machines, files, strict=True)):
        own = [row for row in found if row["key"] == key]
        alone = [row for row in expected if row["file"] == str(file)]
        assert [row["score"] for row in own] == [row["score"] for row in alone]
        assert [row["status"] for row in own] == ["warming"] * 3 + ["ok"] * 397
        assert int(own[0]["row"]) == number


@pytest.mark.parametrize("decimal", [".", ","])
def test_a_long_file_is_learnt_and_scored_like_the_wide_one(tmp_path: Path, decimal: str) -> None:
    rows = machine(1)
    wide = write(tmp_path / "wide.csv", "time,temp,flow", rows)
    long = tmp_path / "long.csv"
    lines = [f"{when};{name};{value}" for when, *values in rows
             for name, value in zip(("temp", "flow"), values, strict=True)]  # fmt: skip
    long.write_text("\n".join(["time;sensor;value", *(line.replace(".", decimal) for line in lines)]) + "\n")
    model = train(tmp_path, long, "--long", "sensor,value")
    assert scores_of(model, long) == scores_of(model, wide)
