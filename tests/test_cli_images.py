"""Images by the command: scored, encoded, reconstructed, served, and refused where they cannot be."""

from __future__ import annotations

import base64
import json
import shutil
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from command_line import Serving, read_csv, refused
from conftest import MODEL, run_here
from numpy.typing import NDArray
from PIL import Image as Pillow

pytestmark = pytest.mark.usefixtures("own_folder")


@pytest.fixture(scope="module")
def photo_folder(photos: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images, the last one odd."""
    folder = tmp_path_factory.mktemp("photos")
    for index, pixels in enumerate(photos[-5:]):
        Pillow.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_score_a_folder_of_images(photo_folder: Path, images_model: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = [
        "score",
        photo_folder,
        "--model",
        images_model,
        "--out",
        "scores.csv",
        "--heat-maps",
        "heat",
    ]
    scored = run_here(*arguments)
    assert scored.returncode == 0, scored.stderr
    assert scored.stdout == ""
    assert "5 images: 5 scored, 1 anomalies (20.00%)" in scored.stderr
    lines = read_csv(tmp_path / "scores.csv")
    assert [line["file"] for line in lines] == [f"{index}.png" for index in range(5)]
    assert [line["is_anomaly"] for line in lines] == ["0", "0", "0", "0", "1"]
    assert sorted(path.name for path in (tmp_path / "heat").iterdir()) == [line["file"] for line in lines]
    refused(run_here(*arguments), 2, "heat/0.png", "exists already", "--force")
    assert run_here(*arguments, "--force", "--fail-on-anomaly").returncode == 1


def test_images_that_cannot_be_read_are_listed(photo_folder: Path, images_model: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(photo_folder, mixed)
    (mixed / "2.png").write_bytes((mixed / "2.png").read_bytes()[:100])
    (mixed / "notes.txt").write_text("text")
    clean = run_here("score", photo_folder, "--model", images_model).stdout.splitlines()
    scored = run_here("score", mixed, "--model", images_model)
    assert scored.returncode == 4
    assert f"1 files in {mixed} passed over" in scored.stderr
    lines = scored.stdout.splitlines()
    assert lines[3].startswith("2.png,,,,,bad,is damaged: ")
    assert lines[:3] + lines[4:] == clean[:3] + clean[4:]
    refused(
        run_here("score", mixed, "--model", images_model, "--on-bad-row", "fail", "--out", "x.csv"), 4, "2.png: is dam"
    )
    assert not Path("x.csv").exists()
    one = run_here("score", mixed / "1.png", "--model", images_model)
    assert (one.returncode, one.stdout.splitlines()[1]) == (0, clean[2])
    refused(run_here("score", mixed / "2.png", "--model", images_model), 2, "2.png: is damaged")


def test_images_and_tables_are_not_mixed_up(photo_folder: Path, images_model: Path, rows_csv: Path) -> None:
    by_rows: list[str | Path] = ["--model", MODEL]
    by_images: list[str | Path] = ["--model", images_model]
    refusals: list[tuple[list[str | Path], list[str]]] = [
        ([photo_folder, *by_rows], ["holds no table", "expected files", ".csv"]),
        ([photo_folder / "0.png", *by_rows], ["PNG image", "expected a table"]),
        ([rows_csv, *by_images], ["rows.csv: is no image"]),
        (["-", *by_images], ["standard input takes rows", "images"]),
        ([rows_csv, *by_rows, "--heat-maps", "heat"], ["--heat-maps is for models of images"]),
        ([photo_folder.parent, *by_images, "--heat-maps", photo_folder], ["lies within"]),
    ]
    for arguments, words in refusals:
        refused(run_here("score", *arguments, stdin=""), 2, *words)
    assert "colour images of 12 x 16" in run_here("inspect", images_model).stdout


def test_images_are_encoded_reconstructed_and_sampled(
    images_model: Path, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, pixels in enumerate(photos[:5]):
        Pillow.fromarray(pixels).save(folder / f"{number}.png")
    made = run_here("encode", folder, "--model", images_model, "--out", tmp_path / "codes.csv")
    assert "5 images: 5 encoded" in made.stderr
    assert [line["file"] for line in read_csv(tmp_path / "codes.csv")] == [f"{number}.png" for number in range(5)]
    made = run_here("reconstruct", folder, "--model", images_model, "--out", tmp_path / "expected")
    assert "5 images: 5 reconstructed" in made.stderr
    assert sorted(path.name for path in (tmp_path / "expected").iterdir()) == [f"{n}.png" for n in range(5)]
    (folder / "9.png").write_bytes(b"x")
    made = run_here("encode", folder, "--model", images_model, "--out", tmp_path / "codes.csv", "--force")
    assert (made.returncode, "5 encoded, 1 bad" in made.stderr) == (4, True)
    tried = run_here("sample", "--model", images_model, "--out", tmp_path / "new.png")
    refused(tried, 2, "recipe conv has no prior to sample from")


def test_serve_an_image(photo_folder: Path, images_model: Path) -> None:
    content = (photo_folder / "4.png").read_bytes()
    with Serving("--model", str(images_model)) as url:
        request = urllib.request.Request(f"{url}/score?explain=1", content, {"content-type": "image/png"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            (result,) = json.load(reply)["results"]
    assert result["is_anomaly"] is True
    assert base64.b64decode(result["heat_map"]).startswith(b"\x89PNG")
