"""Pixels of defects: areas against scikit-learn and brute force, masks by their names, and what is left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.ndimage import label
from sklearn.metrics import roc_auc_score

from vae_detect.runtime.bundle import Image
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.layout import Layout
from vae_detect.training.evaluation.labelled import Labelled, score_labelled
from vae_detect.training.evaluation.regions import LARGEST_FALSE_RATE, judge_pixels, pixel_areas, read_masks

# --- areas -----------------------------------------------------------------------------------------------------------


def slow_aupro(masks: NDArray[np.bool_], heat: NDArray[np.float32]) -> float:
    """As Bergmann et al. 2021 describe it: a threshold at every value, the overlap of every region, the trapezoid."""
    regions = []
    for number, mask in enumerate(masks):
        numbered, count = label(mask, structure=np.ones((3, 3)))
        regions += [heat[number][numbered == region] for region in range(1, count + 1)]
    normal = heat[~masks]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(heat)[::-1]:
        rates.append(float((normal >= threshold).mean()))
        overlaps.append(float(np.mean([(region >= threshold).mean() for region in regions])))
    below = np.array(rates) < LARGEST_FALSE_RATE
    x = [*np.array(rates)[below], LARGEST_FALSE_RATE]
    y = [*np.array(overlaps)[below], np.interp(LARGEST_FALSE_RATE, rates, overlaps)]
    return float(np.trapezoid(y, x)) / LARGEST_FALSE_RATE


@pytest.mark.parametrize("levels", [3, 10, 10_000])
def test_areas_are_those_of_scikit_learn_and_of_brute_force(levels: int) -> None:
    generator = np.random.default_rng(levels)
    masks = generator.random((6, 12, 9)) < 0.15
    masks[0] = False
    heat = generator.integers(0, levels, masks.shape).astype(np.float32) + masks * (levels // 3)
    roc_auc, aupro = pixel_areas(masks, heat)
    assert roc_auc == pytest.approx(roc_auc_score(masks.ravel(), heat.ravel()))
    assert aupro == pytest.approx(slow_aupro(masks, heat))


def test_areas_by_hand() -> None:
    # regions: the first column (2 pixels) and the pixel at the right, which a corner does not join to it
    masks = np.array([[[1, 0, 0, 0], [1, 0, 0, 1]]], np.bool_)
    heat = np.array([[[9, 5, 2, 2], [3, 2, 2, 8]]], np.float32)
    # normal pixels are 5, 2, 2, 2, 2: only the defect's 3 lies below one of them, at a rate of 1 / 5
    assert pixel_areas(masks, heat) == pytest.approx((1 - 1 / 5 / 3, 1 - 1 / 4 * (1 / 5) / 0.3))


def test_a_corner_joins_pixels_to_one_region() -> None:
    # three pixels in a row, and one below their end or one row further; only that one is hotter than all normal ones
    for row, expected in ((1, 1 / 4), (2, 1 / 2)):  # one of four pixels of a region, one of two regions
        masks = np.zeros((1, 4, 4), np.bool_)
        masks[0, [0, 0, 0, row], [0, 1, 2, 3]] = True
        heat = np.where(masks, 0, 1).astype(np.float32)
        heat[0, row, 3] = 2
        assert pixel_areas(masks, heat)[1] == pytest.approx(expected)


@given(arrays.arrays(np.bool_, (2, 5, 5)).filter(lambda masks: masks.any() and not masks.all()), st.integers(0, 99))
@settings(deadline=None)
def test_perfect_heat_has_all_of_the_area_and_its_negative_none(masks: NDArray[np.bool_], seed: int) -> None:
    heat = (masks + np.random.default_rng(seed).random(masks.shape) / 2).astype(np.float32)
    assert pixel_areas(masks, heat) == pytest.approx((1, 1))
    assert pixel_areas(masks, -heat) == pytest.approx((0, 0))


# --- masks -----------------------------------------------------------------------------------------------------------


def folder_of(path: Path, photos: NDArray[np.uint8], names: list[str]) -> Path:
    """A folder in the layout of MVTec with these images under test/."""
    for name, pixels in zip(names, photos, strict=False):
        file = path / "test" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(pixels).save(file)
    (path / "ground_truth").mkdir()
    return path


def write_mask(path: Path, mask: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.asarray(mask, np.uint8)).save(path)


def labelled(detector: Detector, folder: Path) -> Labelled:
    return score_labelled(detector, folder, None, Layout())


def test_masks_are_found_by_name_and_brought_to_the_size_of_images(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    names = ["bent/a.png", "bent/b.png", "bent/c.png", "bent/d.png", "good/a.png"]
    folder = folder_of(tmp_path, photos, names)
    block = np.zeros((24, 32))  # twice the size of the detector's images
    block[4:12, 8:20] = 1
    write_mask(folder / "ground_truth" / "bent" / "a_mask.png", 255 * block)
    write_mask(folder / "ground_truth" / "bent" / "b.bmp", block)  # of 0 and 1, and another kind of file
    write_mask(folder / "ground_truth" / "bent" / "c_mask.png", 0 * block)
    write_mask(folder / "ground_truth" / "good" / "a_mask.png", 255 * block)  # a normal image has no defect
    expected = np.zeros((12, 16), np.bool_)
    expected[2:6, 4:10] = True
    scored = labelled(images_detector, folder)
    assert scored.masks is not None
    found = read_masks(scored.masks, scored.names, scored.truth, Image(12, 16, "colour"))
    for place, mask in zip(range(5), [expected, expected, 0 * expected, 0 * expected, 0 * expected], strict=True):
        np.testing.assert_array_equal(found[place], mask)
    judged = judge_pixels(images_detector, scored)
    assert judged is not None
    assert (judged.masks, judged.without_mask) == (2, 2)


def test_a_defect_smaller_than_a_pixel_is_not_lost(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, photos, ["bent/a.png", "good/a.png"])
    dot = np.zeros((120, 160))
    dot[52:56, 83:87] = 255  # a sixth of one of the detector's pixels
    write_mask(folder / "ground_truth" / "bent" / "a_mask.png", dot)
    scored = labelled(images_detector, folder)
    assert scored.masks is not None
    assert np.argwhere(read_masks(scored.masks, scored.names, scored.truth, Image(12, 16, "colour"))).tolist() == [
        [0, 5, 8]
    ]


def test_heat_at_a_mended_block_is_measured(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    broken = photos[0].copy()
    broken[3:8, 4:9] = 255 - broken[3:8, 4:9]
    folder = folder_of(tmp_path, np.stack([broken, *photos[1:5]]), ["cut/0.png", *(f"good/{n}.png" for n in range(4))])
    mask = np.zeros((12, 16))
    mask[3:8, 4:9] = 255
    write_mask(folder / "ground_truth" / "cut" / "0_mask.png", mask)
    judged = judge_pixels(images_detector, labelled(images_detector, folder))
    assert judged is not None
    assert judged.roc_auc is not None
    assert judged.aupro is not None
    assert judged.roc_auc > 0.95
    assert judged.aupro > 0.9


def test_without_masks_there_are_no_figures(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, photos, ["bent/a.png", "good/a.png"])
    write_mask(folder / "ground_truth" / "bent" / "another_mask.png", np.ones((4, 4)))
    judged = judge_pixels(images_detector, labelled(images_detector, folder))
    assert judged is not None
    assert (judged.masks, judged.without_mask, judged.roc_auc, judged.aupro) == (0, 1, None, None)
    scored = replace(labelled(images_detector, folder), masks=None)
    assert judge_pixels(images_detector, scored) is None


def test_a_damaged_mask_is_refused_with_its_path(
    images_detector: Detector, photos: NDArray[np.uint8], tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, photos, ["bent/a.png", "good/a.png"])
    damaged = folder / "ground_truth" / "bent" / "a_mask.png"
    damaged.parent.mkdir()
    damaged.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"ground_truth/bent/a_mask\.png: is no image"):
        judge_pixels(images_detector, labelled(images_detector, folder))


def test_magnetic_tiles_have_masks(images_detector: Detector, real_data: Path) -> None:
    """Every anomalous tile of the real set has its mask, but for a few that mark nothing."""
    scored = labelled(images_detector, real_data / "images" / "magnetic_tile")
    judged = judge_pixels(images_detector, scored)
    assert judged is not None
    assert judged.masks + judged.without_mask == scored.truth.sum() == 392
    assert judged.without_mask == 6
