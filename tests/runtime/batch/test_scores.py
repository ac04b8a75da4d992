"""A CSV in, a CSV of scores out: every row answered, in order, in constant memory."""

from __future__ import annotations

import csv
import io
import math
import os
import tracemalloc
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.batch import scores as batch
from vae_detect.runtime.batch.scores import schema_of, score_file, score_files, score_tables, write_scores
from vae_detect.runtime.batch.summary import Summary
from vae_detect.runtime.bundle import Image
from vae_detect.runtime.detector import HEAT_WHITE, Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.images.folders import ImageFile, find_images
from vae_detect.runtime.images.pictures import picture_paths
from vae_detect.runtime.layout import Declared, Layout
from vae_detect.runtime.rows.writers import CsvWriter
from vae_detect.runtime.scoring.state import StreamState

Floats = NDArray[np.float32]
CSV = Layout()


def lines_of(detector: Detector, rows: Floats) -> list[str]:
    return [",".join(detector.bundle.names), *(",".join(map(str, row)) for row in rows)]


def score(detector: Detector, path: Path, lines: list[str], layout: Layout = CSV) -> tuple[Summary, list[str]]:
    path.write_text("\n".join(lines) + "\n")
    out = io.StringIO()
    results = score_file(detector, path, layout, StreamState(detector.bundle))
    summary = write_scores(results, CsvWriter(out, schema_of(detector.bundle)))
    return summary, out.getvalue().splitlines()


def test_n_rows_in_n_rows_out(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    rows = np.tile(normal_rows, (4, 1))[:2500]  # more than two chunks
    rows[::7] *= 2
    summary, lines = score(detector, tmp_path / "rows.csv", lines_of(detector, rows))
    assert lines[0] == "row,time,score,severity,p_value,is_anomaly,status,reason,column"
    assert lines[0].split(",") == list(schema_of(detector.bundle))
    read = list(csv.DictReader(lines))
    assert [int(line["row"]) for line in read] == list(range(2500))
    assert {line["status"] for line in read} == {"ok"}
    assert {line["reason"] for line in read} == {""}
    # the file is scored in chunks of 1024 rows; the digits read back as the same float32
    expected = [detector.score(part) for part in np.split(rows, [1024, 2048])]
    for name in ("score", "severity", "p_value"):
        values = np.array([float(line[name]) for line in read], np.float32)
        assert values.tobytes() == b"".join(getattr(part, name).tobytes() for part in expected)
    verdicts = [line["is_anomaly"] for line in read]
    assert verdicts == [str(int(flag)) for part in expected for flag in part.is_anomaly]
    assert summary == Summary("rows", "scored", verdicts.count("1"), Counter(ok=2500))
    assert 0 < verdicts.count("1") < 2500


def test_bad_rows_leave_the_other_lines_as_they_are(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    clean = lines_of(detector, normal_rows[:30])
    dirty = clean.copy()
    dirty[4] = dirty[4].replace(",", ",NaN,", 1)
    dirty[9] = "NA" + dirty[9][dirty[9].index(",") :]
    dirty[20] = ",".join(["3.4e38"] * 8)
    _, expected = score(detector, tmp_path / "clean.csv", clean)
    summary, found = score(detector, tmp_path / "dirty.csv", dirty)
    assert len(found) == len(expected) == 31
    assert [i for i in range(31) if found[i] != expected[i]] == [4, 9, 20]
    assert found[4] == '3,,,,,,bad,"has 9 cells, expected 8",'
    assert found[9] == "8,,,,,,bad,\"column 'speed_rpm' holds 'NA', expected a number\","
    assert found[20] == "19,,,,,,overflow,the score exceeds float32,"
    assert summary.by_status == {"ok": 27, "bad": 2, "overflow": 1}


def test_a_file_of_bad_rows_only(detector: Detector, tmp_path: Path) -> None:
    summary, lines = score(detector, tmp_path / "rows.csv", [",".join(detector.bundle.names), *["x"] * 1500])
    assert summary == Summary("rows", "scored", 0, Counter(bad=1500))
    assert lines[1500] == '1499,,,,,,bad,"has 1 cells, expected 8",'


def test_a_row_tells_when_and_what_is_to_blame(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    rows = normal_rows[:4].copy()
    rows[2, detector.bundle.names.index("vibration_mm_s")] += 50
    header, *lines = lines_of(detector, rows)
    times = ("2026-01-05T06:00:00+01:00", "1767592800.5", "2026-01-05 07:00", "noon")
    timed = [f"timestamp,{header}", *map(",".join, zip(times, lines, strict=True))]
    read = list(csv.DictReader(score(detector, tmp_path / "rows.csv", timed)[1]))
    expected = ["2026-01-05T05:00:00Z", "2026-01-05T06:00:00.500000Z", "2026-01-05T07:00:00Z", ""]
    assert [line["time"] for line in read] == expected
    assert [(line["is_anomaly"], line["column"]) for line in read] == [
        *[("0", "")] * 2,
        ("1", "vibration_mm_s"),
        ("0", ""),
    ]
    without = list(csv.DictReader(score(detector, tmp_path / "rows.csv", [header, *lines])[1]))
    assert [line | {"time": ""} for line in read] == without


def test_a_header_without_rows_gives_a_header(detector: Detector, tmp_path: Path) -> None:
    summary, lines = score(detector, tmp_path / "rows.csv", lines_of(detector, np.empty((0, 8), np.float32)))
    assert summary == Summary("rows", "scored", 0)
    assert lines == [",".join(schema_of(detector.bundle))]


def test_windows_warm_up_and_fill_anew(windows_detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    lines = lines_of(windows_detector, normal_rows[:12])
    lines[6] = "x"
    summary, found = score(windows_detector, tmp_path / "rows.csv", lines)
    statuses = [line["status"] for line in csv.DictReader(found)]
    assert statuses == ["warming"] * 3 + ["ok"] * 2 + ["bad"] + ["gap"] * 3 + ["ok"] * 3
    assert summary.by_status == {"warming": 3, "ok": 5, "bad": 1, "gap": 3}


def test_a_gap_in_the_time_column_of_a_file(windows_detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    lines = lines_of(windows_detector, normal_rows[:10])
    times = [f"2026-01-01T{hour:02}:{minute:02}:00" for hour, minute in [(0, 2 * i) for i in range(5)]]
    times += [f"2026-01-01T06:{2 * i:02}:00" for i in range(5)]
    lines = [f"{time},{line}" for time, line in zip(["timestamp", *times], lines, strict=True)]
    _, found = score(windows_detector, tmp_path / "rows.csv", lines)
    statuses = [line["status"] for line in csv.DictReader(found)]
    assert statuses == ["warming"] * 3 + ["ok"] * 2 + ["gap"] * 3 + ["ok"] * 2
    assert "time jumps by 21120 s before row 5" in found[6]  # 6 h less the 8 min of the first five rows


def test_several_files_are_recordings_of_their_own(
    windows_detector: Detector, normal_rows: Floats, tmp_path: Path
) -> None:
    lines = lines_of(windows_detector, normal_rows[:40])
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path in files:
        path.write_text("\n".join(lines))
    out = io.StringIO()
    scored = score_tables(windows_detector, files, CSV, StreamState(windows_detector.bundle))
    write_scores(scored, CsvWriter(out, schema_of(windows_detector.bundle, several=True)))
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert list(rows[0])[:3] == ["file", "row", "time"]
    first, second = rows[:40], rows[40:]
    assert [{**row, "file": ""} for row in first] == [{**row, "file": ""} for row in second]
    assert {row["file"] for row in second} == {str(files[1])}
    assert second[0]["status"] == "warming"


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y %H:%M", "%m/%d/%y %I:%M:%S %p", "%Y%m%d%H%M%S", "%Y-%m-%d %H:%M:%S UTC", "%d-%b-%Y %H.%M"]
)
def test_stamps_may_be_written_in_another_form_than_those_of_the_recording(
    windows_detector: Detector, normal_rows: Floats, tmp_path: Path, form: str
) -> None:
    starts = [datetime(2026, 1, 12 + 2 * (i > 500), tzinfo=UTC) + timedelta(minutes=2 * i) for i in range(700)]
    lines = lines_of(windows_detector, normal_rows[:700])
    found = []
    for each in ("%Y-%m-%dT%H:%M:%SZ", form):
        times = ["timestamp", *(start.strftime(each) for start in starts)]
        stamped = [f"{time},{line}" for time, line in zip(times, lines, strict=True)]
        found.append(score(windows_detector, tmp_path / "rows.csv", stamped, Layout(declared=Declared()))[1])
    assert found[0] == found[1]
    assert sum(",gap," in line for line in found[0]) == 3


def test_stop_on_bad_names_the_row(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = lines_of(detector, np.tile(normal_rows, (2, 1)))
    lines[1101] = "x" + lines[1101][lines[1101].index(",") :]
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"rows\.csv: row 1100, column 'speed_rpm' holds 'x'") as caught:
        list(score_file(detector, path, CSV, StreamState(detector.bundle), stop_on_bad=True))
    assert (caught.value.row, caught.value.column) == (1100, "speed_rpm")
    path.write_text("\n".join(lines[:1101]))
    assert (
        sum(
            len(each.status) for each in score_file(detector, path, CSV, StreamState(detector.bundle), stop_on_bad=True)
        )
        == 1100
    )


def test_memory_does_not_grow_with_the_file(detector: Detector, normal_rows: Floats, tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        path.write_text("\n".join(lines_of(detector, np.resize(normal_rows, (rows, 8)))))
        tracemalloc.start()
        try:
            with (tmp_path / "scores.csv").open("w", newline="") as out:
                results = score_file(detector, path, CSV, StreamState(detector.bundle))
                write_scores(results, CsvWriter(out, schema_of(detector.bundle)))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1500)  # what is imported or cached once
    assert peak(12_000) < peak(1500) + 500_000  # 12 000 rows are 768 kB as float64, and 5 MB as text cells


# --- images ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, photos: NDArray[np.uint8]) -> Path:
    """41 images in two folders, the last one odd, with a file that is no image among them."""
    made = tmp_path / "photos"
    for index, pixels in enumerate(photos):
        path = made / f"{index // 20}" / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(pixels).save(path)
    (made / "1" / "25a.jpg").write_bytes(b"text")
    (made / "README.txt").write_text("text")
    return made


def score_folder(detector: Detector, folder: Path, **options: Any) -> tuple[Summary, list[dict[str, str]]]:
    out = io.StringIO()
    files = find_images(folder).files
    results = score_files(detector, files, StreamState(detector.bundle), **options)
    summary = write_scores(results, CsvWriter(out, schema_of(detector.bundle)), files)
    assert out.getvalue().startswith("file,score,severity,p_value,is_anomaly,status,reason\n")
    return summary, list(csv.DictReader(out.getvalue().splitlines()))


@pytest.mark.parametrize("at_once", [1, 5, 64])
def test_n_images_in_n_lines_out_sorted(
    images_detector: Detector,
    folder: Path,
    photos: NDArray[np.uint8],
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "IMAGES_AT_ONCE", at_once)
    summary, lines = score_folder(images_detector, folder)
    assert summary == Summary("images", "scored", 1, Counter(ok=41, bad=1))
    assert summary.describe().startswith("42 images: 41 scored, 1 anomalies (2.44%), 1 bad; ")
    names = [line["file"] for line in lines]
    assert names == sorted(names)
    assert len(names) == 42
    (bad,) = [line for line in lines if line["status"] == "bad"]
    assert (bad["file"], bad["score"]) == ("1/25a.jpg", "")
    assert bad["reason"].startswith("is no image: expected PNG")
    scores = [float(line["score"]) for line in lines if line["status"] == "ok"]
    np.testing.assert_allclose(scores, images_detector.score(photos).score, rtol=1e-5)
    assert [line["is_anomaly"] for line in lines if line["status"] == "ok"] == ["0"] * 40 + ["1"]


def test_stop_on_bad_names_the_image(images_detector: Detector, folder: Path) -> None:
    with pytest.raises(InputError, match=r"photos/1/25a\.jpg: is no image") as caught:
        list(
            score_files(
                images_detector, find_images(folder).files, StreamState(images_detector.bundle), stop_on_bad=True
            )
        )
    assert caught.value.row == 26


def test_a_refused_file_is_not_read(images_detector: Detector, folder: Path) -> None:
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    summary, lines = score_folder(images_detector, folder)
    assert summary.by_status == {"ok": 41, "bad": 3}
    assert [line["reason"] for line in lines[-2:]] == ["is no regular file", "is a link out of the folder"]


def test_few_images_are_read_ahead(images_detector: Detector, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def read_file(file: ImageFile, image: Image) -> NDArray[np.uint8]:
        read.append(file.path)
        return np.zeros(image.shape, np.uint8)

    monkeypatch.setattr(batch, "read_file", read_file)
    monkeypatch.setattr(batch, "IMAGES_AT_ONCE", 3)
    results = score_files(images_detector, find_images(folder).files, StreamState(images_detector.bundle))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert 3 <= len(read) <= 9
    assert read == [file.path for file in find_images(folder).files][: len(read)]


def test_heat_maps_lie_under_the_names_of_their_images(
    images_detector: Detector, folder: Path, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    Pillow.fromarray(photos[0]).save(folder / "0" / "00.bmp")
    files = find_images(folder).files
    paths = picture_paths(tmp_path / "heat", folder, files, what="heat map", force=False)
    summary, _ = score_folder(images_detector, folder, heat_maps=paths)
    found = sorted(path.relative_to(tmp_path / "heat").as_posix() for path in (tmp_path / "heat").rglob("*.*"))
    assert found == sorted([*(f"{i // 20}/{i:02}.png" for i in range(41)), "0/00.bmp.png"])
    white = HEAT_WHITE * images_detector.normal_heat
    for index in (0, 40):
        expected = np.rint(np.clip(images_detector.heat_map(photos[[index]])[0] / white, 0, 1) * 255)
        with Pillow.open(tmp_path / "heat" / f"{index // 20}" / f"{index:02}.png") as picture:
            assert picture.mode == "L"
            assert np.abs(np.asarray(picture).astype(int) - expected).max() <= 1
    with pytest.raises(InputError, match=r"heat/0/00\.bmp\.png: exists already; pass --force to replace it"):
        picture_paths(tmp_path / "heat", folder, files, what="heat map", force=False)
    assert picture_paths(tmp_path / "heat", folder, files, what="heat map", force=True) == paths
    assert summary.by_status == {"ok": 42, "bad": 1}


def test_heat_maps_that_cannot_be_written_are_one_sentence(
    images_detector: Detector, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    files = find_images(folder).files
    with pytest.raises(InputError, match="file/0: cannot be made: Not a directory"):
        score_folder(images_detector, folder, heat_maps=[tmp_path / "file" / f"{file.name}.png" for file in files])


def test_one_image_is_a_folder_of_one(images_detector: Detector, folder: Path) -> None:
    summary, (line,) = score_folder(images_detector, folder / "0" / "03.png")
    assert summary.by_status.total() == 1
    assert line["file"] == "03.png"


def test_images_for_a_model_of_rows_are_refused(detector: Detector, folder: Path) -> None:
    with pytest.raises(InputError, match="this model scores rows of a table, expected a CSV file"):
        list(score_files(detector, find_images(folder).files, StreamState(detector.bundle)))


def test_a_full_disk_is_one_sentence(detector: Detector) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left"), Path("/dev/full").open("w") as out:
        write_scores([], CsvWriter(out, schema_of(detector.bundle)))


# --- order -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [True, False])
def test_windows_are_those_of_rows_in_order_of_time(
    windows_detector: Detector, normal_rows: Floats, tmp_path: Path, newest_first: bool
) -> None:
    rows = np.tile(normal_rows, (3, 1))[:1500]  # more than a chunk
    times = [(datetime(2026, 1, 5, tzinfo=UTC) + timedelta(minutes=2 * row)).isoformat() for row in range(1500)]
    lines = [
        f"{time},{line}" for time, line in zip(["timestamp", *times], lines_of(windows_detector, rows), strict=True)
    ]
    lines[701] = lines[701].replace(",", ",x", 1)
    order = np.arange(1500)[::-1] if newest_first else np.random.default_rng(0).permutation(1500)
    _, straight = score(windows_detector, tmp_path / "rows.csv", lines)
    summary, other = score(windows_detector, tmp_path / "rows.csv", [lines[0], *(lines[1 + row] for row in order)])
    assert summary.by_status == {"ok": 1493, "warming": 3, "bad": 1, "gap": 3}
    for number, row in enumerate(order.tolist()):
        mine, theirs = other[1 + number].split(","), straight[1 + row].split(",")
        assert mine[0] == str(number)
        assert (mine[1], mine[6]) == (theirs[1], theirs[6])
        assert mine[2] == theirs[2] or math.isclose(float(mine[2]), float(theirs[2]), rel_tol=1e-4)
