"""Folders of images of more than 8 bits: how many are used, by the images and by the command."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import run_here
from PIL import Image as Pillow

from vae_detect.runtime.detector import Detector
from vae_detect.training.data.images import load_images

SIZE = 16


def shot(number: int, bits: int) -> Pillow.Image:
    """A grey picture of 8 bits, which begins with black and white, or its twin of so many bits in a file of 16."""
    levels = np.random.default_rng(number).integers(90, 140, (SIZE, SIZE))
    levels[0, :2] = 0, 255
    top = 2**bits - 1
    return Pillow.fromarray(np.rint(levels * (top / 255)).astype(np.uint8 if bits == 8 else np.uint16))


def folder_of(path: Path, *bits: int) -> Path:
    """A folder with an image of each of these depths."""
    path.mkdir()
    for number, each in enumerate(bits):
        shot(number, each).save(path / f"{number:02}.png")
    return path


@pytest.mark.parametrize(
    ("depths", "bits", "notes"),
    [
        ((8, 8, 8), 16, []),
        ((12, 12, 12), 12, ["16-bit images: samples go up to 4095, so white is 4095"]),
        ((10, 12, 8), 12, ["16-bit images: samples go up to 4095, so white is 4095"]),
        ((8, 16), 16, ["16-bit images: samples go up to 65535, so white is 65535"]),
    ],
)
def test_the_scale_is_that_of_the_brightest_image(
    tmp_path: Path, depths: tuple[int, ...], bits: int, notes: list[str]
) -> None:
    found = load_images(folder_of(tmp_path / "in", *depths), (SIZE,), "auto")
    assert found.image is not None
    assert (found.image.bits, found.notes) == (bits, notes)
    for number, depth in enumerate(depths):
        if depth in (8, bits):
            assert np.array_equal(found.values[number, :, :, 0], np.asarray(shot(number, 8)))


def test_dark_images_are_scaled_by_what_they_use(tmp_path: Path) -> None:
    dark = np.random.default_rng(0).integers(0, 60, (SIZE, SIZE)).astype(np.uint16)
    for place, top in (("a", 59), ("b", 300)):
        dark[0, 0] = top
        (tmp_path / place).mkdir()
        Pillow.fromarray(dark).save(tmp_path / place / "0.png")
    found = [load_images(tmp_path / place, (SIZE,), "grey").image for place in "ab"]
    assert [image and image.bits for image in found] == [8, 9]


def test_damaged_images_do_not_count(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", *[12] * 9)
    (folder / "99.png").write_bytes((folder / "00.png").read_bytes()[:300])
    found = load_images(folder, (SIZE,), "grey")
    assert found.image is not None
    assert found.image.bits == 12
    assert found.notes[0].startswith("1 of 10 images left out (first: 99.png is damaged")


def test_twins_of_12_and_8_bits_score_alike_by_the_command(tmp_path: Path) -> None:
    normal, out = folder_of(tmp_path / "normal", *[12] * 60), tmp_path / "a.onnx"
    settings = ["--recipe", "vae", "--size", "16", "--set", "epochs=1", "--set", "hidden=4", "--set", "latent=2"]
    trained = run_here("train", normal, "--out", out, "--far", "0.2", *settings)
    assert trained.returncode == 0, trained.stderr
    assert "16-bit images: samples go up to 4095, so white is 4095" in trained.stderr
    assert "grey images of 16 x 16 (height x width), 12 bits of 16-bit ones" in run_here("inspect", out).stdout
    image = Detector.load(out, provider="cpu").bundle.image
    assert image is not None
    assert image.bits == 12
    columns = []
    for depth in (12, 8):
        folder = folder_of(tmp_path / f"of{depth}", *[depth] * 5)
        scored = run_here("score", folder, "--model", out, "--out", tmp_path / f"{depth}.csv")
        assert scored.returncode == 0, scored.stderr
        with (tmp_path / f"{depth}.csv").open() as file:
            columns.append([row["score"] for row in csv.DictReader(file)])
    assert columns[0] == columns[1]
    assert len(set(columns[0])) == 5
