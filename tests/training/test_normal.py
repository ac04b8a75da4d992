"""Which scores `calibrate` takes from recordings."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.images.folders import digest_of, find_images
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.opening import digest
from vae_detect.runtime.scoring.framing import windows_at
from vae_detect.training.normal import Normal, of_recordings


def table(path: Path, rows: NDArray[np.float32], names: tuple[str, ...], *, key: list[str] | None = None) -> Path:
    header = ["time_s", *(["machine"] if key else []), *names]
    lines = [",".join(header)]
    for row, values in enumerate(rows.tolist()):
        lines.append(",".join([str(30 * row), *([key[row]] if key else []), *map(repr, values)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def of(detector: Detector, *paths: Path) -> Normal:
    return of_recordings(detector, paths, Layout())


def test_every_row_that_has_a_score_counts(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    rows = normal_rows[:50].copy()
    rows[7, 2] = np.nan
    first = table(tmp_path / "a.csv", rows, detector.bundle.names)
    second = table(tmp_path / "b.csv", normal_rows[50:80], detector.bundle.names)
    normal = of(detector, first, second)
    expected = detector.score(np.delete(normal_rows[:80], 7, axis=0)).score
    np.testing.assert_allclose(normal.scores, expected, rtol=1e-5)
    assert normal.inputs is not None
    np.testing.assert_array_equal(normal.inputs, np.delete(normal_rows[:80], 7, axis=0))
    assert normal.sha256 == digest(first, second)
    assert normal.told == f"{first}, {second}: 80 rows, 79 with a score to calibrate by"


def test_rows_that_break_a_limit_are_not_normal(
    limited_detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    rows = normal_rows[:50].copy()
    rows[:, 5] = 5
    rows[[3, 4], 5] = 18
    normal = of(limited_detector, table(tmp_path / "a.csv", rows, limited_detector.bundle.names))
    assert len(normal.scores) == 48
    assert normal.told.endswith("48 with a score to calibrate by; 2 break a limit and are left out")


def test_windows_of_each_recording_are_its_own(
    windows_detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    bundle = windows_detector.bundle
    period, window = bundle.data.period_s, bundle.window
    assert period is not None

    def timed(name: str, rows: NDArray[np.float32]) -> Path:
        lines = [f"{period * row:g},{','.join(map(repr, values))}" for row, values in enumerate(rows.tolist())]
        (tmp_path / name).write_text("\n".join([f"{bundle.data.time_column},{','.join(bundle.names)}", *lines]) + "\n")
        return tmp_path / name

    normal = of(windows_detector, timed("a.csv", normal_rows[:60]), timed("b.csv", normal_rows[60:160]))
    inputs = [
        windows_at(part, np.arange(window - 1, len(part)), window) for part in (normal_rows[:60], normal_rows[60:160])
    ]
    np.testing.assert_allclose(normal.scores, windows_detector.score(np.concatenate(inputs)).score, rtol=1e-4)


def test_machines_come_one_after_the_other(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = msgspec.structs.replace(
        detector.bundle.data, layout=msgspec.structs.replace(detector.bundle.data.layout, key="machine")
    )
    monkeypatch.setattr(detector, "bundle", msgspec.structs.replace(detector.bundle, data=data))
    path = table(tmp_path / "a.csv", normal_rows[:60], detector.bundle.names, key=["p2", "p1", "p3"] * 20)
    expected = detector.score(np.concatenate([normal_rows[1:60:3], normal_rows[0:60:3], normal_rows[2:60:3]])).score
    np.testing.assert_allclose(of(detector, path).scores, expected, rtol=1e-5)


def test_images_are_scored_too(images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path) -> None:
    from PIL import Image

    for number, photo in enumerate(photos):
        Image.fromarray(photo.squeeze()).save(tmp_path / f"{number:03}.png")
    normal = of(images_detector, tmp_path)
    np.testing.assert_allclose(normal.scores, images_detector.score(photos).score, rtol=1e-5)
    assert normal.told == f"{tmp_path}: {len(photos)} images, {len(photos)} with a score to calibrate by"


def test_images_that_the_model_has_learnt_are_no_measure(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    for number, photo in enumerate(photos):
        Image.fromarray(photo.squeeze()).save(tmp_path / f"{number:03}.png")
    learnt = digest_of(find_images(tmp_path).files)
    data = msgspec.structs.replace(images_detector.bundle.data, sha256=learnt)
    monkeypatch.setattr(images_detector, "bundle", msgspec.structs.replace(images_detector.bundle, data=data))
    with pytest.raises(InputError, match="the model was trained on this"):
        of(images_detector, tmp_path)
    (tmp_path / "000.png").unlink()
    assert len(of(images_detector, tmp_path).scores) == len(photos) - 1


def test_a_long_recording_gives_some_inputs_of_all_of_it(detector: Detector, tmp_path: Path) -> None:
    rows = np.tile(detector.golden_inputs()[:1], (5000, 1))
    rows[:, 0] += np.arange(5000) / 1000
    normal = of(detector, table(tmp_path / "a.csv", rows.astype(np.float32), detector.bundle.names))
    assert normal.inputs is not None
    assert len(normal.scores) == 5000
    assert 512 < len(normal.inputs) <= 1024
    places = (normal.inputs[:, 0] - rows[0, 0]) * 1000
    assert np.abs(np.diff(places)).max() < 20
    assert places[0] < 10
    assert places[-1] > 4980


def test_what_the_model_has_learnt_is_no_measure(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = table(tmp_path / "a.csv", normal_rows[:50], detector.bundle.names)
    other = table(tmp_path / "b.csv", normal_rows[50:], detector.bundle.names)
    for facts in ({"sha256": digest(one)}, {"files": (digest(one),)}):
        data = msgspec.structs.replace(detector.bundle.data, **facts)
        monkeypatch.setattr(detector, "bundle", msgspec.structs.replace(detector.bundle, data=data))
        with pytest.raises(InputError, match=r"a\.csv: the model was trained on this"):
            of(detector, other, one)
    data = msgspec.structs.replace(detector.bundle.data, sha256=digest(one, other), files=())
    monkeypatch.setattr(detector, "bundle", msgspec.structs.replace(detector.bundle, data=data))
    with pytest.raises(InputError, match=r"a\.csv: the model was trained on this"):
        of(detector, one, other)
    assert len(of(detector, other).scores) == len(normal_rows) - 50


def test_a_recording_without_a_score_is_refused(
    detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    rows = np.full_like(normal_rows[:5], np.nan)
    with pytest.raises(InputError, match=r"a\.csv: none of 5 rows has a score to calibrate by"):
        of(detector, table(tmp_path / "a.csv", rows, detector.bundle.names))
