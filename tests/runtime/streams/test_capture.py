"""Captured rows against what the readers make of the files."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from command_line import run
from conftest import MODEL
from numpy.typing import NDArray

from vae_detect.runtime.bundle import Bundle, Column
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Declared, Layout, Long, Stamps
from vae_detect.runtime.rows.tables import read_rows
from vae_detect.runtime.streams.capture import Capture

NOON = 1_767_700_800.0  # 2026-01-06T12:00:00Z


def like(bundle: Bundle, *, columns: tuple[Column, ...] = (), **layout: object) -> Bundle:
    layouts = msgspec.structs.replace(bundle.data.layout, **layout)
    data = msgspec.structs.replace(bundle.data, layout=layouts)
    return msgspec.structs.replace(bundle, data=data, columns=columns or bundle.columns)


def read(bundle: Bundle, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str] | None]:
    """As `score` reads it."""
    (rows,) = read_rows(path, bundle.columns, layout=bundle.data.complete(Layout(declared=Declared())))
    assert rows.times is not None
    return rows.values, rows.times, rows.keys


def filled(bundle: Bundle, rows: NDArray[np.float32], keys: tuple[str, ...] = ("",), most: int = 1 << 20) -> Capture:
    """Rows of the machines in turn, one every 10 s."""
    capture = Capture(bundle, most_bytes=most)
    for number, row in enumerate(rows):
        capture.add(keys[number % len(keys)], np.array([NOON + 10 * number]), row[None])
    return capture


def test_what_is_written_reads_as_what_was_seen(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    bundle = detector.bundle
    path = filled(bundle, normal_rows).write("", 1e6, tmp_path / "normal")
    assert path == tmp_path / "normal" / "rows-20260106T135950Z.csv"
    values, times, _ = read(bundle, path)
    np.testing.assert_array_equal(values, normal_rows)
    np.testing.assert_array_equal(times, NOON + 10 * np.arange(720))
    assert path.read_text().splitlines()[0] == ",".join([bundle.data.time_column or "time", *bundle.names])


def test_the_last_minutes_of_one_machine(detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path) -> None:
    capture = filled(detector.bundle, normal_rows, ("p1", "p2"))
    values, times, _ = read(detector.bundle, capture.write("p2", 5, tmp_path))
    assert times.tolist() == [NOON + 10 * number for number in range(689, 720, 2)]  # 300 s up to its newest row
    np.testing.assert_array_equal(values, normal_rows[689::2])


@pytest.mark.parametrize("at_once", [1, 3, 40, 500])
def test_the_oldest_rows_go_first(detector: Detector, at_once: int, tmp_path: Path) -> None:
    columns = len(detector.bundle.columns)
    capture = Capture(detector.bundle, most_bytes=100 * (4 * columns + 16))
    rows = np.arange(1000 * columns, dtype=np.float32).reshape(1000, columns)
    for begin in range(0, 1000, at_once):
        part = rows[begin : begin + at_once]
        capture.add("ab"[begin // at_once % 2], np.arange(begin, begin + len(part), dtype=np.float64) + NOON, part)
    assert len(capture) == 100
    found = {row: key for key in "ab" for row in _written(capture, key, detector.bundle, tmp_path)}
    assert sorted(found) == list(range(900, 1000))
    assert all(key == "ab"[row // at_once % 2] for row, key in found.items())


def _written(capture: Capture, key: str, bundle: Bundle, folder: Path) -> list[int]:
    try:
        values, times, _ = read(bundle, capture.write(key, 1e6, folder))
    except InputError:
        return []
    assert (np.diff(times) > 0).all()
    numbers: list[int] = (values[:, 0] / values.shape[1]).astype(int).tolist()
    return numbers


def test_texts_flags_and_missing_cells_are_written_as_the_recording_had_them(
    detector: Detector, tmp_path: Path
) -> None:
    mode = Column("mode", "", 0, 1, "category", levels=(0.0, 1.0, 2.0), texts=("auto", "hand, slow", 'off "x"'))
    flow = Column("flow [l/s]", "l/s", 0, 1)
    bundle = like(detector.bundle, columns=(mode, flow), most_missing=1)
    rows = np.array([[0, 1.1], [1, np.nan], [2, 1e-7], [np.nan, 3e9]], np.float32)
    path = filled(bundle, rows).write("", 60, tmp_path)
    assert [line.partition(",")[2] for line in path.read_text().splitlines()] == [
        *("mode,flow [l/s]", "auto,1.1", '"hand, slow",', '"off ""x""",1e-07', ",3e+09")
    ]
    np.testing.assert_array_equal(read(bundle, path)[0], rows)


def test_the_column_of_keys_is_written_where_the_model_knows_it(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    bundle = like(detector.bundle, key="machine")
    path = filled(bundle, normal_rows, ("p1", "p/2")).write("p/2", 1e6, tmp_path)
    assert path.name.startswith("p_2-")
    assert set(read(bundle, path)[2] or []) == {"p/2"}


@pytest.mark.parametrize(
    "stamps", [Stamps("when"), Stamps("day", "clock"), Stamps("when", pattern="%d.%m.%Y %H:%M:%S")]
)
def test_time_stamps_stand_where_the_recording_had_them(
    detector: Detector, normal_rows: NDArray[np.float32], stamps: Stamps, tmp_path: Path
) -> None:
    bundle = like(detector.bundle, stamps=stamps)
    path = filled(bundle, normal_rows).write("", 1e6, tmp_path)
    values, times, _ = read(bundle, path)
    np.testing.assert_array_equal(times, NOON + 10 * np.arange(720))
    np.testing.assert_array_equal(values, normal_rows)


def test_time_stamps_in_many_columns_are_refused(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    bundle = like(detector.bundle, stamps=Stamps("year", others=("month", "day")))
    with pytest.raises(InputError, match="only one or two can be written"):
        filled(bundle, normal_rows).write("", 1e6, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_long_table_stays_one(detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path) -> None:
    bundle = like(detector.bundle, long=Long("sensor", "reading"))
    path = filled(bundle, normal_rows[:3]).write("", 1e6, tmp_path)
    assert path.read_text().splitlines()[:2] == [
        f"{bundle.data.time_column},sensor,reading",
        f"2026-01-06T12:00:00Z,{bundle.names[0]},{str(normal_rows[0, 0]).removesuffix('.0')}",
    ]
    np.testing.assert_array_equal(read(bundle, path)[0], normal_rows[:3])


def test_rows_of_which_nothing_is_known_are_left_out(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    rows = normal_rows[:30].copy()
    rows[[3, 29]] = np.nan
    values, times, _ = read(detector.bundle, filled(detector.bundle, rows).write("", 1e6, tmp_path))
    assert len(values) == 28
    assert times[-1] == NOON + 280


@pytest.mark.parametrize("key", ["p9", ""])
def test_no_row_to_write_is_said(
    detector: Detector, normal_rows: NDArray[np.float32], key: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no row"):
        filled(detector.bundle, normal_rows, ("p1",)).write(key, 10, tmp_path)


def test_names_are_not_taken_twice(detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path) -> None:
    capture = filled(detector.bundle, normal_rows, ("../p 1",))
    names = [capture.write("../p 1", 10, tmp_path).name for _ in range(3)]
    assert names == [f"p_1-20260106T135950Z{end}.csv" for end in ("", "-2", "-3")]


def test_threads_may_write_while_others_add(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    capture = filled(detector.bundle, normal_rows, most=20_000)
    done = threading.Event()

    def add() -> None:
        number = 720
        while not done.is_set():
            capture.add(
                "", 10 * np.arange(number, number + 7, dtype=np.float64) + NOON, np.full((7, 8), number, np.float32)
            )
            number += 7

    thread = threading.Thread(target=add)
    thread.start()
    try:
        for _ in range(20):
            _, times, _ = read(detector.bundle, capture.write("", 1e9, tmp_path))
            assert (np.diff(times) == 10).all()
    finally:
        done.set()
        thread.join()


def test_images_are_not_captured(images_detector: Detector) -> None:
    with pytest.raises(InputError, match="looks at images"):
        Capture(images_detector.bundle)


def test_the_commands_read_what_is_written(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    path = filled(detector.bundle, normal_rows).write("", 1e6, tmp_path)
    scored = run("score", path, "--model", MODEL, "--out", tmp_path / "s.csv")
    assert scored.stderr.startswith("720 rows: 720 scored")
    out = tmp_path / "x.onnx"
    calibrated = run("calibrate", path, "--model", MODEL, "--far", "0.45", "--out", out)
    assert calibrated.returncode == 0, calibrated.stderr
    assert "to 2026-01-06T13:59:50Z, a row every 10 s, no gap" in run("look", path).stdout
