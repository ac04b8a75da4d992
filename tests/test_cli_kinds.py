"""The command on images, and on tables with text, flags and classes, with right and wrong input."""

from __future__ import annotations

import base64
import csv
import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Serving, read_csv, refused
from conftest import run_here
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.training.settings.recipes import RECIPES

pytestmark = pytest.mark.usefixtures("own_folder")

SIDE = 16
MODES = ("idle", "busy")


def stripes(count: int, seed: int) -> NDArray[np.uint8]:
    """Grey stripes of random phase: (count, SIDE, SIDE)."""
    generator = np.random.default_rng(seed)
    phase = generator.uniform(0, 2 * np.pi, size=(count, 1, 1))
    clean = 128 + 80 * np.sin(np.arange(SIDE) / 2 + phase)
    return np.clip(clean + generator.normal(0, 8, size=(count, SIDE, SIDE)), 0, 255).astype(np.uint8)


def write_images(folder: Path, images: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(images):
        Pillow.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in the layout of MVTec; those under test/bad have a block turned into its negative."""
    root = tmp_path_factory.mktemp("images") / "tiles"
    write_images(root / "train" / "good", stripes(150, seed=0))
    write_images(root / "test" / "good", stripes(10, seed=1))
    broken = stripes(10, seed=2)
    broken[:, 4:12, 4:12] = 255 - broken[:, 4:12, 4:12]
    write_images(root / "test" / "bad", broken)
    return root


@pytest.fixture(scope="module")
def tiles_model(tiles: Path) -> Path:
    """Trained by the command on the folder; the kind is not named."""
    out = tiles.with_name("tiles.onnx")
    made = run_here("train", tiles, "--recipe", "vae", "--out", out, "--size", str(SIDE), "--far", "0.1", "--set",
               "colour=grey", "hidden=8,16", "latent=4", "batch=16", "epochs=12", "learning_rate=5e-3")  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "150 images of 16x16x1 values: 105 images to train, 15 to validate, 30 to calibrate, shuffled" in made.stderr
    return out


def recording(rows: int, seed: int) -> list[dict[str, Any]]:
    """Rows of a machine that is idle or busy, which lifts its power and temperature; a flag and a count."""
    generator = np.random.default_rng(seed)
    busy, flag = generator.integers(0, 2, size=(2, rows))
    power = 10 + 30 * busy + generator.normal(size=rows)
    temperature = 20 + power / 2 + generator.normal(0, 0.3, size=rows)
    faults = generator.exponential(3, size=rows).round()
    return [
        {"mode": MODES[busy[at]], "open": int(flag[at]), "power": round(power[at], 3), "faults": int(faults[at]),
         "temperature": round(temperature[at], 3)}
        for at in range(rows)
    ]  # fmt: skip


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def machine_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("machine") / "machine.csv", recording(600, seed=0))


@pytest.fixture(scope="module")
def machine_model(machine_csv: Path) -> Path:
    """A cvae of the machine's mode, trained by the command."""
    out = machine_csv.with_name("machine.onnx")
    made = run_here("train", machine_csv, "--out", out, "--recipe", "cvae", "--class-column", "mode", "--far", "0.05",
               "--treat", "faults=log", "--set", "hidden=16", "latent=2", "epochs=10",
               "learning_rate=5e-3")  # fmt: skip
    assert made.returncode == 0, made.stderr
    for words in ("taken as binary: open", "taken as log: faults", "taken as class: mode"):
        assert words in made.stderr
    return out


def test_recipes_are_listed() -> None:
    listed = run_here("recipes")
    assert listed.returncode == 0, listed.stderr
    for name, recipe in RECIPES.items():
        assert any(line.startswith(name) and recipe.summary in line for line in listed.stdout.splitlines()), name


def test_evaluate_takes_the_folders_as_labels(tiles: Path, tiles_model: Path) -> None:
    figures = json.loads(run_here("evaluate", tiles, "--model", tiles_model, "--json").stdout)
    assert (figures["scored"], figures["anomalous"], figures["events"]) == (20, 10, None)
    assert figures["detector"]["roc_auc"] > 0.9
    assert np.isfinite(figures["log_likelihood"]["log_likelihood"])
    shown = run_here("evaluate", tiles, "--model", tiles_model)
    assert "20 images, 20 scored, of them 10 anomalous (50.0%)" in shown.stdout
    assert "heat maps are not judged: no masks in ground_truth beside test" in shown.stdout


def test_evaluate_holds_heat_maps_against_masks(tiles: Path, tiles_model: Path, tmp_path: Path) -> None:
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    mask[:, 4:12, 4:12] = 255
    masked = tmp_path / "tiles"
    shutil.copytree(tiles, masked)
    write_images(masked / "ground_truth" / "bad", mask.repeat(9, axis=0))
    made = run_here("evaluate", masked, "--model", tiles_model, "--json", "--report", "report.html")
    found = json.loads(made.stdout)["pixels"]
    assert (found["masks"], found["without_mask"]) == (9, 1)
    assert found["roc_auc"] > 0.8
    assert 0.3 < found["aupro"] <= 1
    page = Path("report.html").read_text()
    assert "bad/0.png" in page
    assert "masks: 9; anomalous images without one, left out: 1" in page


def test_score_writes_heat_maps_beside_the_scores(tiles: Path, tiles_model: Path) -> None:
    scored = run_here("score", tiles / "test", "--model", tiles_model, "--heat-maps", "heat", "--out", "scores.csv")
    assert scored.returncode == 0, scored.stderr
    assert "20 images: 20 scored" in scored.stderr
    lines = {line["file"]: line for line in read_csv(Path("scores.csv"))}
    assert {name.split("/")[0] for name in lines} == {"good", "bad"}
    assert sum(line["is_anomaly"] == "1" for name, line in lines.items() if name.startswith("bad")) >= 8
    for name in lines:
        with Pillow.open(Path("heat") / name) as heat:
            assert (heat.size, heat.mode) == ((SIDE, SIDE), "L")


def test_serve_scores_a_png_as_the_file(tiles: Path, tiles_model: Path) -> None:
    path = tiles / "test" / "bad" / "0.png"
    (line,) = csv.DictReader(run_here("score", path, "--model", tiles_model).stdout.splitlines())
    with Serving("--model", str(tiles_model)) as url:
        request = urllib.request.Request(f"{url}/score?explain=1", path.read_bytes(), {"content-type": "image/png"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            (result,) = json.load(reply)["results"]
    assert np.float32(result["score"]) == np.float32(line["score"])
    assert result["is_anomaly"] == (line["is_anomaly"] == "1")
    assert base64.b64decode(result["heat_map"]).startswith(b"\x89PNG")


def test_images_are_encoded_drawn_reconstructed_and_sampled(tiles: Path, tiles_model: Path) -> None:
    made = run_here("encode", tiles / "test", "--model", tiles_model, "--out", "codes.csv", "--picture", "codes.png")
    assert made.returncode == 0, made.stderr
    lines = read_csv(Path("codes.csv"))
    assert (len(lines), list(lines[0])) == (20, ["file", "status", "z0", "z1", "z2", "z3"])
    assert Path("codes.png").read_bytes().startswith(b"\x89PNG")
    made = run_here("reconstruct", tiles / "test", "--model", tiles_model, "--out", "expected")
    assert "20 images: 20 reconstructed" in made.stderr
    with Pillow.open("expected/good/3.png") as image, Pillow.open(tiles / "test" / "good" / "3.png") as original:
        assert (image.size, image.mode) == (original.size, original.mode)
        assert np.corrcoef(np.asarray(image).ravel(), np.asarray(original).ravel())[0, 1] > 0.5
    made = run_here("sample", "--model", tiles_model, "--n", "4", "--out", "new.png")
    assert made.returncode == 0, made.stderr
    with Pillow.open("new.png") as image:
        assert image.mode == "L"
        assert np.asarray(image).std() > 0


def test_a_class_changes_the_score_and_may_be_unknown(machine_csv: Path, machine_model: Path) -> None:
    rows = recording(40, seed=1)
    known = write_rows(Path("known.csv"), rows)
    unknown = write_rows(Path("unknown.csv"), [{k: v for k, v in row.items() if k != "mode"} for row in rows])
    swapped = write_rows(Path("swapped.csv"), [{**row, "mode": MODES[row["mode"] == "idle"]} for row in rows])
    scores = {}
    for path in (known, unknown, swapped):
        scored = run_here("score", path, "--model", machine_model)
        assert scored.returncode == 0, scored.stderr
        assert "40 rows: 40 scored" in scored.stderr
        scores[path.stem] = [float(line["score"]) for line in csv.DictReader(scored.stdout.splitlines())]
    assert scores["known"] != pytest.approx(scores["unknown"])
    assert np.mean(scores["swapped"]) > np.mean(scores["known"])

    lines = known.read_text()
    as_json = "".join(json.dumps(row) + "\n" for row in rows)
    without = "".join(json.dumps({k: v for k, v in row.items() if k != "mode"}) + "\n" for row in rows)
    for stdin, expected in ((lines, "known"), (as_json, "known"), (without, "unknown")):
        answered = run_here("score", "-", "--model", machine_model, stdin=stdin)
        assert answered.returncode == 0, answered.stderr
        found = [json.loads(line)["score"] for line in answered.stdout.splitlines()]
        assert found == pytest.approx(scores[expected], rel=1e-4)

    with Serving("--model", str(machine_model)) as url:
        for body, expected in ((rows, "known"), ([{**row, "mode": None} for row in rows], "unknown")):
            with urllib.request.urlopen(f"{url}/score", data=json.dumps(body).encode(), timeout=10) as reply:
                found = [result["score"] for result in json.load(reply)["results"]]
            assert found == pytest.approx(scores[expected], rel=1e-4)


def test_a_class_that_was_not_seen_is_a_bad_row(machine_model: Path) -> None:
    write_rows(Path("rows.csv"), [{**row, "mode": "standby"} for row in recording(2, seed=1)])
    scored = run_here("score", "rows.csv", "--model", machine_model)
    for line in csv.DictReader(scored.stdout.splitlines()):
        assert line["status"] == "bad"
        for words in ("mode", "standby", "'busy', 'idle'"):
            assert words in line["reason"]


def test_tables_of_text_are_reconstructed_and_sampled(machine_csv: Path, machine_model: Path) -> None:
    made = run_here("reconstruct", machine_csv, "--model", machine_model, "--out", "expected.csv")
    assert made.returncode == 0, made.stderr
    made = run_here("sample", "--model", machine_model, "--n", "30", "--out", "new.csv")
    assert made.returncode == 0, made.stderr
    assert {line["mode"] for line in read_csv(Path("new.csv"))} == {""}  # given to the model, not made by it
    assert {line["open"] for line in read_csv(Path("new.csv"))} <= {"0.0", "1.0"}
    assert [line["mode"] for line in read_csv(Path("expected.csv"))] == [r["mode"] for r in read_csv(machine_csv)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "conv"], ["setting kind is 'rows'", "windows or images for recipe conv"]),
        (["--recipe", "vae", "tied=true"], ["setting tied", "false for recipe vae"]),
        (["--recipe", "cvae"], ["recipe cvae", "--class-column"]),
        (["--recipe", "gan", "penalty=l1"], ["setting penalty is 'l1'", "none for recipe gan"]),
        (["--recipe", "ea"], ["setting recipe is 'ea'", ", ".join(RECIPES)]),
    ],
)
def test_a_wrong_combination_is_refused_in_one_line(machine_csv: Path, arguments: list[str], words: list[str]) -> None:
    result = run_here("train", machine_csv, "--out", "x.onnx", *arguments)
    refused(result, 2, *words)
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert not list(Path().iterdir())
