"""Reconstructions and samples as files: raw units, the names and texts of the data, a line for each row."""

from __future__ import annotations

import csv
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.batch.reconstructions import write_reconstructions, write_samples
from vae_detect.runtime.bundle import Prior
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, ModelError
from vae_detect.runtime.layout import Layout

Floats = NDArray[np.float32]
CSV = Layout()


def write_rows(path: Path, detector: Detector, rows: Floats) -> Path:
    lines = [",".join(map(str, row)) for row in rows.tolist()]
    path.write_text("\n".join([",".join(detector.bundle.names), *lines]))
    return path


def read_cells(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    return header, lines


def numbers(lines: list[list[str]]) -> Floats:
    return np.array([[float(cell or "nan") for cell in line] for line in lines], np.float32)


@pytest.fixture
def with_texts(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> Detector:
    """The committed detector, told that its first columns are a category, one of texts, and two classes."""
    columns = list(detector.bundle.columns)
    facts = [("category", (0.5, 2), ()), ("category", (0, 1), ("slow", "fast")), ("class", (3, 7), ()),
             ("class", (0, 1), ("new", "worn"))]  # fmt: skip
    for place, (treatment, levels, texts) in enumerate(facts):
        changes = {"treatment": treatment, "levels": levels, "texts": texts}
        columns[place] = msgspec.structs.replace(columns[place], **changes)
    monkeypatch.setattr(detector, "bundle", msgspec.structs.replace(detector.bundle, columns=tuple(columns)))
    return detector


@pytest.fixture
def windows_with_prior(windows_detector: Detector, monkeypatch: pytest.MonkeyPatch) -> Detector:
    prior = Prior((1.0,), ((0.0,) * 3,), ((1.0,) * 3,))
    monkeypatch.setattr(windows_detector, "bundle", msgspec.structs.replace(windows_detector.bundle, prior=prior))
    return windows_detector


# --- reconstructions -------------------------------------------------------------------------------------------------


def test_rows_are_reconstructed_line_by_line(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    rows = np.tile(normal_rows, (2, 1))  # more than a chunk
    rows[1100, 2] = np.nan
    summary = write_reconstructions(
        detector, write_rows(tmp_path / "rows.csv", detector, rows), tmp_path / "out.csv", layout=CSV
    )
    assert summary.describe() == "1440 rows: 1439 reconstructed, 1 bad"
    header, lines = read_cells(tmp_path / "out.csv")
    assert tuple(header) == detector.bundle.names
    assert lines[1100] == [""] * 8
    expected = detector.reconstruct(rows)
    expected[1100] = np.nan
    np.testing.assert_allclose(numbers(lines), expected, rtol=1e-4)


def test_a_window_gives_its_newest_row(windows_detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.csv", windows_detector, normal_rows[:6])
    write_reconstructions(windows_detector, data, tmp_path / "out.csv", layout=CSV)
    _, lines = read_cells(tmp_path / "out.csv")
    assert lines[:3] == [[""] * 8] * 3
    expected = windows_detector.reconstruct(np.stack([normal_rows[i : i + 4] for i in range(3)]))[:, -1]
    np.testing.assert_allclose(numbers(lines[3:]), expected, rtol=1e-4)


def test_texts_and_classes_are_written_as_they_are_read(with_texts: Detector, tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    names = with_texts.bundle.names
    lines = ["2,fast,7,new,1,2,3,4", "0.5,slow,,,1,2,3,4", "1,slow,4,new,1,2,3,4", "1,Slow,3,new,1,2,3,4"]
    data.write_text("\n".join([",".join(names), *lines]))
    summary = write_reconstructions(with_texts, data, tmp_path / "out.csv", layout=CSV)
    assert summary.by_status == {"ok": 2, "bad": 2}
    _, cells = read_cells(tmp_path / "out.csv")
    assert [line[2:4] for line in cells[:2]] == [["7", "new"], ["", ""]]  # classes are given, not expected
    for line in cells[:2]:
        assert line[0] in ("0.5", "2")
        assert line[1] in ("slow", "fast")
        assert np.isfinite([float(cell) for cell in line[4:]]).all()
    assert cells[2:] == [[""] * 8] * 2


def test_images_become_pngs_of_their_names(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    data, out = tmp_path / "photos", tmp_path / "out"
    (data / "b").mkdir(parents=True)
    Pillow.fromarray(photos[0]).save(data / "b" / "one.png")
    Pillow.fromarray(photos[1]).save(data / "two.bmp")
    (data / "a.png").write_bytes(b"x")
    summary = write_reconstructions(images_detector, data, out, layout=CSV)
    assert summary.describe() == "3 images: 2 reconstructed, 1 bad"
    found = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert sorted(found) == ["b/one.png", "two.bmp.png"]
    expected = np.rint(images_detector.reconstruct(photos[:2]))
    for name, pixels in zip(sorted(found), expected, strict=True):
        assert np.array_equal(np.asarray(Pillow.open(found[name])), pixels)
    with pytest.raises(InputError, match=r"out/b/one\.png: exists already; pass --force"):
        write_reconstructions(images_detector, data, out, layout=CSV)
    write_reconstructions(images_detector, data, out, layout=CSV, force=True)


def test_folders_that_cannot_take_images_are_refused(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    data = tmp_path / "photos"
    data.mkdir()
    Pillow.fromarray(photos[0]).save(data / "a.bmp")
    (tmp_path / "file").touch()
    for out, message in [
        (tmp_path / "out.csv", "go into a folder, not into a file"),
        (tmp_path / "file", "go into a folder, not into a file"),
        (data / "out", "lies within"),
        (tmp_path / "file" / "out", "cannot be made: Not a directory"),
    ]:
        with pytest.raises(InputError, match=message):
            write_reconstructions(images_detector, data, out, layout=CSV)
    Pillow.fromarray(photos[0]).save(data / "a.bmp.png")
    with pytest.raises(InputError, match=r"two images would have the reconstruction a\.bmp\.png; rename one"):
        write_reconstructions(images_detector, data, tmp_path / "out", layout=CSV)


def test_rows_and_images_that_are_all_bad_have_no_reconstruction(
    detector: Detector, images_detector: Detector, normal_rows: Floats, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "rows.csv", detector, np.full_like(normal_rows[:3], np.nan))
    assert write_reconstructions(detector, data, tmp_path / "out.csv", layout=CSV).by_status == {"bad": 3}
    assert read_cells(tmp_path / "out.csv")[1] == [[""] * 8] * 3
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("no image")
    out = tmp_path / "out"
    assert write_reconstructions(images_detector, tmp_path / "photos", out, layout=CSV).by_status == {"bad": 1}
    assert not out.exists()


# --- samples ---------------------------------------------------------------------------------------------------------


def test_rows_are_sampled_with_their_names(detector: Detector, tmp_path: Path) -> None:
    write_samples(detector, 20, tmp_path / "new.csv", seed=3)
    header, lines = read_cells(tmp_path / "new.csv")
    assert tuple(header) == detector.bundle.names
    assert np.array_equal(numbers(lines), detector.sample(20, seed=3))


def test_windows_are_sampled_in_blocks(windows_with_prior: Detector, tmp_path: Path) -> None:
    write_samples(windows_with_prior, 3, tmp_path / "new.csv")
    header, lines = read_cells(tmp_path / "new.csv")
    assert header == ["window", "row", *windows_with_prior.bundle.names]
    assert [line[:2] for line in lines] == [[str(window), str(row)] for window in range(3) for row in range(4)]
    values = numbers([line[2:] for line in lines]).reshape(3, 4, 8)
    assert np.array_equal(values, windows_with_prior.sample(3))


def test_a_column_that_is_called_like_a_counter_keeps_its_name(
    windows_with_prior: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = list(windows_with_prior.bundle.columns)
    columns[0] = msgspec.structs.replace(columns[0], name="row")
    bundle = msgspec.structs.replace(windows_with_prior.bundle, columns=tuple(columns))
    monkeypatch.setattr(windows_with_prior, "bundle", bundle)
    write_samples(windows_with_prior, 1, tmp_path / "new.csv")
    header, lines = read_cells(tmp_path / "new.csv")
    assert header == ["window", "row_number", "row", *bundle.names[1:]]
    assert np.array_equal(numbers([line[2:] for line in lines])[None], windows_with_prior.sample(1))


def test_samples_are_written_with_the_nearest_text(
    with_texts: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [[0.6, 0, 3, 1, 1.5, 2, 3, 4], [9, 0.7, -1, -1, 1, 2, 3, 1e20], [-9, 5, 4.9, -0.4, 1, 2, 3, 4]]
    monkeypatch.setattr(with_texts, "sample", lambda n, *, seed: np.array(rows, np.float32)[:n])
    write_samples(with_texts, 3, tmp_path / "new.csv")
    assert read_cells(tmp_path / "new.csv")[1] == [
        ["0.5", "slow", "3", "worn", "1.5", "2.0", "3.0", "4.0"],
        ["2", "fast", "", "", "1.0", "2.0", "3.0", "1e+20"],
        ["0.5", "fast", "3", "new", "1.0", "2.0", "3.0", "4.0"],
    ]


def test_images_are_sampled_into_a_grid(
    images_detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = Prior((1.0,), ((0.0, 0.0),), ((15.0, 1.0),))
    monkeypatch.setattr(images_detector, "bundle", msgspec.structs.replace(images_detector.bundle, prior=prior))
    write_samples(images_detector, 5, tmp_path / "new.png")
    pixels = np.asarray(Pillow.open(tmp_path / "new.png"))
    samples = np.rint(np.clip(images_detector.sample(5), 0, 255)).astype(np.uint8)
    assert pixels.shape == (2 + 2 * 98, 2 + 3 * 130, 3)  # 12 x 16 pixels, 8 times as large
    assert np.array_equal(pixels[2:98:8, 2:130:8], samples[0])
    assert np.array_equal(pixels[100:196:8, 132:260:8], samples[4])
    assert (pixels[98:, 262:] == 255).all()


def test_what_cannot_be_sampled_is_refused(
    detector: Detector, images_detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    for model, n, name, message in [
        (detector, 1, "new.png", r"new\.png: expected a name that ends in \.csv"),
        (images_detector, 1, "new.csv", r"new\.csv: expected a name that ends in \.png"),
        (detector, 1, "mine.csv", "exists already; pass --force"),
        (detector, -1, "new.csv", "n is -1, expected 0 or more"),
    ]:
        with pytest.raises(InputError, match=message):
            write_samples(model, n, tmp_path / name)
    monkeypatch.setattr(detector, "bundle", msgspec.structs.replace(detector.bundle, prior=None))
    with pytest.raises(ModelError, match="recipe vae has no prior to sample from"):
        write_samples(detector, 1, tmp_path / "new.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
