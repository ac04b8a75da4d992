"""Labels from a column, from a file and from folders, and the masks beside them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout, TableFormat
from vae_detect.runtime.scoring.framing import windows_at
from vae_detect.training.evaluation.labelled import read_labels, score_labelled

CSV = Layout()


def test_labels_from_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("v,label\n1,0\n2,1\n3, 1.0 \n4,0.0\n5,TRUE\n6,false\n")
    assert read_labels(path, "label", CSV).tolist() == [False, True, True, False, True, False]


def test_labels_from_a_file(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("is_bad\n0\n1\n")
    # the data may be written otherwise: its format is not that of the labels
    data = tmp_path / "a.csv"
    data.write_text("v;label\n1,5;1\n2,5;0\n")
    found = read_labels(data, str(labels), Layout(TableFormat(delimiter=";", decimal=",")))
    assert found.tolist() == [False, True]


def test_a_column_of_the_data_wins_over_a_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("label").write_text("is_bad\n0\n1\n")
    Path("a.csv").write_text("v,label\n1,1\n2,0\n")
    assert read_labels(Path("a.csv"), "label", CSV).tolist() == [True, False]
    assert read_labels(Path("a.csv"), "./label", CSV).tolist() == [False, True]


@pytest.mark.parametrize("cell", ["2", "", "yes", "nan", "-1", "normal"])
def test_wrong_labels_are_refused_with_their_row(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"v,label\n1,0\n2,{cell}\n")
    with pytest.raises(InputError, match=rf"a\.csv: row 1, column 'label': holds '{cell}', expected 0 or 1") as refused:
        read_labels(path, "label", CSV)
    assert refused.value.row == 1


def test_labels_that_are_missing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("v,label\n1,0\n")
    with pytest.raises(InputError, match="column 'truth' is missing; the header has 'v', 'label'"):
        read_labels(path, "truth", CSV)


def test_a_file_of_labels_has_one_column(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("row,is_bad\n0,1\n")
    (tmp_path / "a.csv").write_text("v\n1\n")
    with pytest.raises(InputError, match="a file of labels has one column, this one has 2"):
        read_labels(tmp_path / "a.csv", str(labels), CSV)


def write_images(folder: Path, images: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(images):
        Pillow.fromarray(pixels).save(folder / f"{number}.png")


@pytest.mark.parametrize("given", ["", "test"])
def test_images_are_labelled_by_their_folder_and_have_masks_beside_it(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path, given: str
) -> None:
    write_images(tmp_path / "test" / "good", photos[:2])
    write_images(tmp_path / "test" / "crack", photos[-1:])
    without = score_labelled(images_detector, tmp_path / given, None, CSV)
    assert without.masks is None
    (tmp_path / "ground_truth").mkdir()
    found = score_labelled(images_detector, tmp_path / given, None, CSV)
    assert found.names == ("crack/0.png", "good/0.png", "good/1.png")
    assert found.truth.tolist() == [True, False, False]
    assert found.masks == tmp_path.resolve() / "ground_truth"
    np.testing.assert_array_equal(found.values, [photos[-1], photos[0], photos[1]])


def test_inputs_of_windows_end_at_their_row(
    windows_detector: Detector, normal_rows: NDArray[np.float32], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    lines = [",".join(map(str, [*row, int(at > 8)])) for at, row in enumerate(normal_rows[:10].tolist())]
    path.write_text("\n".join([",".join([*windows_detector.bundle.names, "label"]), *lines]) + "\n")
    found = score_labelled(windows_detector, path, "label", CSV)
    assert found.scored.tolist() == [False] * 3 + [True] * 7
    inputs = windows_at(found.values, np.array([3, 9]), 4)
    np.testing.assert_array_equal(inputs, [normal_rows[:4], normal_rows[6:10]])
    np.testing.assert_array_equal(windows_detector.score(inputs).score, found.score[[3, 9]])
    assert windows_at(found.values, np.array([], np.intp), 4).shape == (0, 4, 8)
