"""Codes of rows, windows and images: a line for each, the same as the encoder gives."""

from __future__ import annotations

import csv
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.batch import codes
from vae_detect.runtime.batch.codes import write_codes
from vae_detect.runtime.batch.scores import score_file
from vae_detect.runtime.batch.summary import Summary
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, MissingExtraError
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.scoring.state import StreamState

Floats = NDArray[np.float32]
CSV = Layout()


def write_rows(path: Path, detector: Detector, rows: Floats, **odd: str) -> Path:
    """A CSV of these rows, of which those named row7="..." are replaced."""
    lines = [",".join(map(str, row)) for row in rows.tolist()]
    for name, line in odd.items():
        lines[int(name.removeprefix("row"))] = line
    path.write_text("\n".join([",".join(detector.bundle.names), *lines]))
    return path


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def latents(lines: list[dict[str, str]], width: int) -> Floats:
    return np.array([[float(line[f"z{place}"] or "nan") for place in range(width)] for line in lines], np.float32)


def test_rows_get_the_code_of_the_encoder(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    rows = np.tile(normal_rows, (2, 1))  # more than a chunk
    overflow = ",".join(["3.4e38"] * 8)
    data = write_rows(tmp_path / "rows.csv", detector, rows, row3="x", row1200=overflow)
    summary = write_codes(detector, data, tmp_path / "codes.csv", layout=CSV)
    assert summary == Summary("rows", "encoded", None, Counter(ok=1438, bad=1, overflow=1))
    assert summary.describe() == "1440 rows: 1438 encoded, 1 bad, 1 overflow"
    lines = read_table(tmp_path / "codes.csv")
    width = detector.bundle.latent
    assert list(lines[0]) == ["row", "status", *(f"z{place}" for place in range(width))]
    assert [int(line["row"]) for line in lines] == list(range(1440))
    assert list(lines[3].values()) == ["3", "bad", *[""] * width]
    assert [line["status"] for line in lines] == [
        status for part in score_file(detector, data, CSV, StreamState(detector.bundle)) for status in part.status
    ]
    expected = detector.encode(rows)
    expected[[3, 1200]] = np.nan
    np.testing.assert_allclose(latents(lines, width), expected, rtol=1e-4, atol=1e-6)


def test_windows_get_a_code_at_their_newest_row(
    windows_detector: Detector, normal_rows: Floats, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "rows.csv", windows_detector, normal_rows[:12], row6="x")
    write_codes(windows_detector, data, tmp_path / "codes.csv", layout=CSV)
    lines = read_table(tmp_path / "codes.csv")
    statuses = ["warming"] * 3 + ["ok"] * 3 + ["bad"] + ["gap"] * 3 + ["ok"] * 2
    assert [line["status"] for line in lines] == statuses
    expected = windows_detector.encode(normal_rows[2:6][None])
    np.testing.assert_allclose(latents(lines[5:6], 3), expected, rtol=1e-4, atol=1e-6)


def test_images_are_named(images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    Pillow.fromarray(photos[0]).save(folder / "b" / "one.png")
    Pillow.fromarray(photos[1]).save(folder / "two.bmp")
    (folder / "a.png").write_bytes(b"")
    summary = write_codes(images_detector, folder, tmp_path / "codes.csv", layout=CSV)
    assert summary.describe() == "3 images: 2 encoded, 1 bad"
    lines = read_table(tmp_path / "codes.csv")
    assert [(line["file"], line["status"]) for line in lines] == [
        ("a.png", "bad"),
        ("b/one.png", "ok"),
        ("two.bmp", "ok"),
    ]
    assert np.array_equal(latents(lines[1:], 2), images_detector.encode(photos[:2]))
    write_codes(images_detector, folder / "two.bmp", tmp_path / "one.csv", layout=CSV)
    assert np.array_equal(latents(read_table(tmp_path / "one.csv"), 2), images_detector.encode(photos[1:2]))
    with pytest.raises(InputError, match=r"a\.png: is empty"):
        write_codes(images_detector, folder / "a.png", tmp_path / "none.csv", layout=CSV)


def test_parquet_holds_the_same(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.csv", detector, normal_rows[:50], row3="x")
    write_codes(detector, data, tmp_path / "codes.csv", layout=CSV)
    write_codes(detector, data, tmp_path / "codes.parquet", layout=CSV)
    frame = polars.read_parquet(tmp_path / "codes.parquet")
    lines = read_table(tmp_path / "codes.csv")
    assert frame.columns == list(lines[0])
    assert frame.dtypes == [polars.Int64, polars.String, *[polars.Float32] * detector.bundle.latent]
    assert frame["row"].to_list() == list(range(50))
    assert frame["status"].to_list() == [line["status"] for line in lines]
    assert frame.row(3) == (3, "bad", *[None] * detector.bundle.latent)
    np.testing.assert_array_equal(frame[:, 2:].to_numpy(), latents(lines, detector.bundle.latent))


def test_parquet_of_no_rows(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.csv", detector, normal_rows[:0])
    write_codes(detector, data, tmp_path / "codes.parquet", layout=CSV)
    assert polars.read_parquet(tmp_path / "codes.parquet").shape == (0, 2 + detector.bundle.latent)


def test_parquet_without_polars_names_the_extra(
    detector: Detector, normal_rows: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_rows(tmp_path / "rows.csv", detector, normal_rows[:5])
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingExtraError, match=r"polars: pip install 'vae-detect\[tables\]'"):
        write_codes(detector, data, tmp_path / "codes.parquet", layout=CSV)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_memory_does_not_grow_with_the_file(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        data = write_rows(tmp_path / "rows.csv", detector, np.resize(normal_rows, (rows, 8)))
        tracemalloc.start()
        try:
            write_codes(detector, data, tmp_path / "codes.csv", layout=CSV, force=True)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(3000)  # what is imported or cached once; three chunks are as many as are held at a time
    assert peak(12_000) < peak(3000) + 300_000


# --- the picture -----------------------------------------------------------------------------------------------------


class Drawing:
    """Stands in for the drawing: keeps what it was given."""

    def __call__(self, latent: Floats, severity: Floats, is_anomaly: NDArray[np.bool_]) -> bytes:
        self.latent, self.severity, self.is_anomaly = latent, severity, is_anomaly
        return b"a picture"


def picture_of(detector: Detector, data: Path, **options: Any) -> Drawing:
    draw = Drawing()
    out = data.parent
    write_codes(detector, data, out / "codes.csv", layout=CSV, picture=out / "codes.png", draw=draw, **options)
    return draw


def test_the_picture_gets_codes_severities_and_verdicts(
    detector: Detector, normal_rows: Floats, tmp_path: Path
) -> None:
    rows = normal_rows[:60].copy()
    rows[10] *= 3
    drawn = picture_of(detector, write_rows(tmp_path / "rows.csv", detector, rows, row3="x"))
    scores = detector.score(np.delete(rows, 3, 0))
    order = np.argsort(scores.is_anomaly, kind="stable")  # anomalies last, on top
    assert drawn.is_anomaly.tolist() == scores.is_anomaly[order].tolist()
    np.testing.assert_allclose(drawn.severity, scores.severity[order], rtol=1e-4)
    np.testing.assert_allclose(drawn.latent, detector.encode(np.delete(rows, 3, 0))[order], rtol=1e-4, atol=1e-6)
    assert (tmp_path / "codes.png").read_bytes() == b"a picture"


def test_a_picture_of_many_rows_is_thinned_evenly_and_keeps_anomalies(
    detector: Detector, normal_rows: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "_MOST_POINTS", 100)
    rows = np.tile(normal_rows[:8], (200, 1))
    rows[777] *= 3
    drawn = picture_of(detector, write_rows(tmp_path / "rows.csv", detector, rows))
    assert 50 < (~drawn.is_anomaly).sum() <= 100
    assert drawn.is_anomaly.sum() >= 1
    assert drawn.severity[-1] == drawn.severity.max()


def test_nothing_to_draw_is_refused_and_nothing_is_written(
    detector: Detector, normal_rows: Floats, tmp_path: Path
) -> None:
    data = write_rows(tmp_path / "rows.csv", detector, normal_rows[:2], row0="x", row1="y")
    with pytest.raises(InputError, match=r"rows\.csv: there is no code to draw in 2 rows: 0 encoded, 2 bad"):
        picture_of(detector, data)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "picture", "message"),
    [
        ("codes.txt", "codes.png", r"codes\.txt: expected a name that ends in \.csv or \.parquet"),
        ("codes", "codes.png", r"codes: expected a name that ends in"),
        ("codes.csv", "codes.svg", r"codes\.svg: expected a name that ends in \.png"),
        ("mine.csv", "codes.png", r"mine\.csv: exists already; pass --force"),
        ("codes.csv", "mine.png", r"mine\.png: exists already; pass --force"),
    ],
)
def test_what_cannot_be_written_is_refused_first(
    detector: Detector, tmp_path: Path, out: str, picture: str, message: str
) -> None:
    for name in ("mine.csv", "mine.png"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=message):
        write_codes(
            detector, tmp_path / "absent.csv", tmp_path / out, layout=CSV, picture=tmp_path / picture, draw=Drawing()
        )
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}


def test_force_replaces_both(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.csv", detector, normal_rows[:5])
    for _ in range(2):
        picture_of(detector, data, force=True)


def test_data_of_another_kind_is_refused(detector: Detector, images_detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no table; expected files that end in"):
        write_codes(detector, tmp_path, tmp_path / "codes.csv", layout=CSV)
    (tmp_path / "rows.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match=r"rows\.csv: is no image"):
        write_codes(images_detector, tmp_path / "rows.csv", tmp_path / "codes.csv", layout=CSV)
    with pytest.raises(InputError, match="holds no image"):
        write_codes(images_detector, tmp_path, tmp_path / "codes.csv", layout=CSV)
