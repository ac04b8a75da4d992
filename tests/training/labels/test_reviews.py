"""Labels as people write them, and recordings with the scores of a detector."""

from pathlib import Path

import numpy as np
import pytest

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.scoring.framing import windows_at
from vae_detect.runtime.simulation import COLUMNS
from vae_detect.training.labels.reviews import (
    MOST_LABELS,
    ScoredRows,
    choose_labels,
    in_parts,
    score_recording,
)

CSV = Layout()


def test_a_recording_has_the_scores_of_the_detector(
    detector: Detector, normal_rows: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    lines = [",".join(map(str, row)) for row in normal_rows[:5].tolist()]
    lines[2] = "," + lines[2].split(",", 1)[1]
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    found = score_recording(detector, path, CSV)
    assert found.usable.tolist() == [True, True, False, True, True]
    assert np.isnan(found.score[2])
    np.testing.assert_array_equal(found.score[found.usable], detector.score(normal_rows[[0, 1, 3, 4]]).score)
    assert found.why == {2: f"column {COLUMNS[0]!r} is empty"}


def test_windows_end_at_their_row(windows_detector: Detector, normal_csv: Path) -> None:
    found = score_recording(windows_detector, normal_csv, CSV)
    assert found.usable.tolist() == [False] * 3 + [True] * 1437
    x = windows_at(found.values, np.array([3, 700]), 4)
    np.testing.assert_array_equal(x, np.stack([found.values[0:4], found.values[697:701]]))
    np.testing.assert_allclose(windows_detector.score(x).score, found.score[[3, 700]], rtol=1e-5)


def test_an_empty_recording_and_a_folder_are_refused(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(InputError, match=r"empty\.csv: no rows after the header"):
        score_recording(detector, tmp_path / "empty.csv", CSV)
    with pytest.raises(InputError, match="is a folder, and this model scores rows"):
        score_recording(detector, tmp_path, CSV)


def test_parts_cover_all_rows_in_order() -> None:
    for n in (0, 1, 2048, 5000):
        parts = in_parts(np.arange(n))
        assert np.concatenate(parts).tolist() == list(range(n))
        assert max(map(len, parts)) <= 2048


def rows(detector: Detector, n: int) -> ScoredRows:
    values = np.arange(n * len(detector.bundle.columns), dtype=np.float32).reshape(n, -1)
    return ScoredRows(values, np.ones(n, np.float32), np.ones(n, np.bool_), {})


def test_equal_rows_with_different_labels_are_refused(detector: Detector) -> None:
    recording = rows(detector, 4)
    recording.values[3] = recording.values[1]
    label = np.array([-1, 1, -1, 0])
    with pytest.raises(InputError, match=r"a\.csv: rows 1 and 3 are the same, and labelled 1 and 0; one of"):
        choose_labels(detector.bundle, Path("a.csv"), recording, label, print)
    label[3] = 1
    assert choose_labels(detector.bundle, Path("a.csv"), recording, label, print).tolist() == [1, 3]


def test_labelled_rows_without_a_score_are_left_out_and_said(detector: Detector) -> None:
    recording, said = rows(detector, 4), list[str]()
    recording.usable[1] = False
    recording.why[1] = "column 'a' is empty"
    label = np.array([0, 1, -1, 1])
    assert choose_labels(detector.bundle, Path("a.csv"), recording, label, said.append).tolist() == [0, 3]
    assert said == ["1 of 3 labelled rows cannot be scored (row 1: column 'a' is empty); left out"]
    with pytest.raises(InputError, match=r"a\.csv: 1 of 1 labelled rows cannot be scored \(row 1: column 'a' is empty"):
        choose_labels(detector.bundle, Path("a.csv"), recording, np.array([-1, 1, -1, -1]), print)
    recording.why.clear()
    with pytest.raises(InputError, match=r"\(row 1: the score exceeds float32"):
        choose_labels(detector.bundle, Path("a.csv"), recording, np.array([-1, 1, -1, -1]), print)


def test_of_many_labels_some_are_taken_evenly(detector: Detector) -> None:
    n, said = 3 * MOST_LABELS, list[str]()
    label = np.zeros(n, np.int64)
    label[:5] = 1
    found = choose_labels(detector.bundle, Path("a.csv"), rows(detector, n), label, said.append)
    assert len(found) == 5 + MOST_LABELS
    assert found[[0, 4, 5, -1]].tolist() == [0, 4, 5, n - 1]
    assert np.diff(found[5:]).max() <= 3
    assert f"{n - 5} confirmed false alarms or normal rows: {MOST_LABELS} of them" in said[0]
