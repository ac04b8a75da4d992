"""A recording in one form, scored in others, as it is typed."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from conftest import run_here


def table(path: Path, rows: int, *, seed: int, delimiter: str, decimal: str, encoding: str, above: str = "") -> Path:
    rng = np.random.default_rng(seed)
    lines = [f"Temp °C{delimiter}Flow"]
    for a, b in np.round(rng.normal(20, 2, (rows, 2)), 3).tolist():
        lines.append(f"{a}{delimiter}{b}".replace(".", decimal))
    path.write_bytes((above + "\n".join(lines) + "\n").encode(encoding))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    data = table(folder / "a.csv", 400, seed=0, delimiter=";", decimal=",", encoding="cp1252", above="A title\r\n\r\n")
    settings = ["--recipe", "vae", "--kind", "rows", "--far", "0.1", "epochs=2", "hidden=4"]
    done = run_here("train", data, "--out", folder / "a.onnx", *settings)
    assert done.returncode == 0, done.stderr
    assert "text: CP1252, cells between semicolons, decimal comma, a header after 2 lines" in done.stderr
    return folder / "a.onnx"


@pytest.mark.parametrize(
    ("delimiter", "decimal", "encoding"),
    [(";", ",", "cp1252"), (",", ".", "utf-8"), ("\t", ".", "utf-16"), (";", ".", "utf-8"), ("\t", ",", "utf-8-sig")],
)
def test_the_form_changes_no_score(model: Path, tmp_path: Path, delimiter: str, decimal: str, encoding: str) -> None:
    plain = table(tmp_path / "plain.csv", 50, seed=1, delimiter=",", decimal=".", encoding="utf-8")
    other = table(tmp_path / "other.csv", 50, seed=1, delimiter=delimiter, decimal=decimal, encoding=encoding)
    answers = [run_here("score", path, "--model", model) for path in (plain, other)]
    assert [answer.returncode for answer in answers] == [0, 0], answers[1].stderr
    rows = list(csv.DictReader(io.StringIO(answers[1].stdout)))
    assert [row["status"] for row in rows] == ["ok"] * 50
    assert answers[0].stdout == answers[1].stdout


def test_a_wrong_declaration_is_not_mended(model: Path, tmp_path: Path) -> None:
    data = table(tmp_path / "a.csv", 10, seed=1, delimiter=";", decimal=",", encoding="utf-8")
    done = run_here("score", data, "--model", model, "--delimiter", "|")
    assert done.returncode == 2
    assert "missing" in done.stderr or "--delimiter" in done.stderr
