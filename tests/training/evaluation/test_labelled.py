"""Labels from a column, from a file and from folders, and the masks beside them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.layout import Layout
from vae_detect.runtime.scoring.framing import windows_at
from vae_detect.training.evaluation.labelled import score_labelled

CSV = Layout()


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
