"""Recordings with missing cells, through the command: learnt from, scored, explained, corrected by labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import run_here

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.json_rows import RowReader

NAMES = ("a", "b", "c", "d", "e", "f", "mode")
MISSING = ("", "?", "NaN", "-")


def recording(rows: int, seed: int, share: float = 0.05) -> list[list[str]]:
    """Time, six tied numbers, of which the last is a flag, and a text; a share of the cells holds nothing."""
    generator = np.random.default_rng(seed)
    causes = np.cumsum(generator.normal(0, 0.3, (rows, 2)), axis=0) * 0.1 + generator.normal(0, 1, (rows, 2))
    numbers = causes @ np.random.default_rng(9).normal(size=(2, 5)) + 0.1 * generator.normal(size=(rows, 5))
    flags, modes = (causes[:, 0] > 0).astype(int), np.where(causes[:, 1] > 0, "auto", "manual")
    found = []
    for row in range(rows):
        cells = [*(f"{value:.4f}" for value in numbers[row]), str(flags[row]), str(modes[row])]
        cells = [MISSING[row % 4] if generator.random() < share else cell for cell in cells]
        cells[6] = "" if cells[6] in MISSING else cells[6]  # other marks would be texts like any
        found.append([f"2026-01-05 {row // 60:02}:{row % 60:02}:00", *cells])
    return found


def write(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("\n".join([",".join(["time", *NAMES]), *map(",".join, rows)]) + "\n")
    return path


@pytest.fixture(
    scope="module", params=[["--recipe", "vae", "--kind", "rows"], ["--window", "4"]], ids=["rows", "windows"]
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("missing")
    data = write(folder / "normal.csv", recording(1200, 1))
    settings = ["--set", "epochs=3", "hidden=8", "latent=2"]
    done = run_here("train", data, "--out", folder / "model.onnx", "--max-missing", "0.3", *request.param, *settings)
    assert done.returncode == 0, done.stderr
    assert "up to 2 of the 7 cells of a row are filled with what is expected there" in done.stderr
    return folder / "model.onnx"


def score(model: Path, data: Path) -> list[dict[str, str]]:
    out = data.with_suffix(".scores.csv")
    done = run_here("score", data, "--model", model, "--out", out, "--force")
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        return list(csv.DictReader(file))


def test_rows_that_lack_a_few_cells_are_scored_and_others_are_bad(model: Path, tmp_path: Path) -> None:
    rows = recording(60, 2, share=0)
    rows[20][1] = "?"
    rows[30][1], rows[30][7] = "", "n/a"
    rows[40][1:4] = ["", "", ""]
    found = score(model, write(tmp_path / "rows.csv", rows))
    assert found[19]["status"] == "ok"
    assert (found[20]["status"], found[20]["reason"]) == ("filled", "1 of 7 cells filled: 'a'")
    assert (found[30]["status"], found[30]["reason"]) == ("filled", "2 of 7 cells filled: 'a', 'mode'")
    assert found[40]["status"] == "bad"
    assert found[40]["reason"] == "misses 3 of 7 cells, at most 2 can be filled: 'a', 'b', 'c'"
    assert all(row["score"] for row in (found[20], found[30]))
    assert not found[40]["score"]


def test_whoever_sends_them_gets_the_same_scores(model: Path, tmp_path: Path) -> None:
    rows = [*recording(20, 7, share=0), *recording(60, 3, share=0.1)[20:]]
    expected = score(model, write(tmp_path / "rows.csv", rows))
    lines = []
    for _, *cells in rows:
        numbers = [None if cell in MISSING else float(cell) for cell in cells[:6]]
        known = dict(zip(NAMES, [*numbers, None if cells[6] in MISSING else cells[6]], strict=True))
        lines.append(json.dumps({name: cell for name, cell in known.items() if cell is not None or name != "b"}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    detector = Detector.load(model, provider="cpu")
    reader = RowReader(detector.bundle.columns, most_missing=2)
    usable = [place for place, row in enumerate(expected) if row["status"] in ("ok", "filled")]
    assert {"ok", "filled"} <= {row["status"] for row in expected}
    read = [reader.read_lines([line.encode()], first=place) for place, line in enumerate(lines)]
    window = detector.bundle.window
    for place in usable:
        x = np.concatenate([each.values for each in read[place + 1 - window : place + 1]])
        found = detector.score(x if window == 1 else x[None]).score[0]
        assert float(found) == pytest.approx(float(expected[place]["score"]), rel=1e-6)


def test_nothing_is_blamed_on_a_cell_that_was_not_there(model: Path, tmp_path: Path) -> None:
    detector = Detector.load(model, provider="cpu")
    rows = recording(200, 4, share=0)
    body = json.dumps([[*map(float, row[1:7]), row[7]] for row in rows]).encode()
    read = RowReader(detector.bundle.columns).read(body).values
    x = read if detector.bundle.window == 1 else np.lib.stride_tricks.sliding_window_view(read, 4, 0).transpose(0, 2, 1)
    holed = x.copy()
    holed[..., 1] = np.nan
    holed[:, ..., 6] = np.nan
    contribution, expected = detector.explain(holed)
    assert (contribution[..., [1, 6]] == 0).all()
    assert np.isfinite(expected).all()
    assert (contribution >= 0).all()
    scores = detector.score(holed).score
    assert np.isfinite(scores).all()
    if detector.bundle.recipe == "ensemble":
        np.testing.assert_allclose(contribution.reshape(len(x), -1).sum(1), scores, rtol=1e-4)
    assert np.isfinite(detector.encode(holed)).all()
    holed[..., 2] = np.nan
    assert np.isnan(detector.score(holed).score).all()


def test_the_golden_inputs_hold_missing_cells(model: Path) -> None:
    detector = Detector.load(model, provider="cpu")
    lacking = np.isnan(detector.golden_inputs()).sum(-1).reshape(len(detector.bundle.golden.x), -1)
    assert 0 < np.count_nonzero((lacking == 2).all(axis=1)) < len(lacking)
    assert lacking.max() == 2
    assert "missing      up to 2 of 7 cells of a row are filled" in run_here("inspect", model).stdout


def test_labels_correct_rows_with_missing_cells_too(model: Path, tmp_path: Path) -> None:
    rows = recording(700, 5)
    for place, row in enumerate(rows):
        row.append("1" if place in (100, 200) else "0" if place % 50 == 25 else "")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join([",".join(["time", *NAMES, "label"]), *map(",".join, rows)]) + "\n")
    done = run_here("finetune", "--model", model, "--labels", labels, "--out", tmp_path / "tuned.onnx",
                    "--data", model.with_name("normal.csv"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = score(tmp_path / "tuned.onnx", write(tmp_path / "rows.csv", recording(50, 6)))
    assert all(bool(row["score"]) == (row["status"] in ("ok", "filled")) for row in found)
    assert "filled" in {row["status"] for row in found}
