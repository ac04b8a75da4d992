"""How well heat maps point at defects: pixels against the masks of a folder laid out like MVTec's data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ...runtime.bundle import Image
from ...runtime.detector import Detector
from ...runtime.errors import InputError
from ...runtime.images.folders import image_files, read_file
from .labelled import Labelled

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_FALSE_RATE = 0.3
"""Up to where the per-region overlap is integrated (Bergmann et al. 2021): beyond it maps are useless."""


class Pixels(msgspec.Struct, frozen=True):
    """Heat maps against masks, over the normal images and the anomalous ones with a mask."""

    masks: int
    without_mask: int
    """Anomalous images that are left out, since they have no mask or one that marks nothing."""
    roc_auc: float | None
    """How well heat ranks pixels of defects above all others; None without masks."""
    aupro: float | None
    """Area under the per-region overlap up to a false-positive rate of `LARGEST_FALSE_RATE`, over that rate: defects
    count alike, however large (Bergmann et al. 2021)."""


def judge_pixels(detector: Detector, labelled: Labelled) -> Pixels | None:
    """The figures, or None where there is no folder of masks.

    Raises
    ------
    InputError
        when a mask cannot be read
    """
    if labelled.masks is None or detector.bundle.image is None:
        return None
    masks = read_masks(labelled.masks, labelled.names, labelled.truth, detector.bundle.image)
    marked = masks.any(axis=(1, 2)) & labelled.scored
    used = (labelled.scored & ~labelled.truth) | marked
    left_out = int((labelled.scored & labelled.truth & ~marked).sum())
    if not marked.any():
        return Pixels(0, left_out, None, None)
    roc_auc, aupro = pixel_areas(masks[used], detector.heat_map(labelled.values[used]))
    return Pixels(int(marked.sum()), left_out, roc_auc, aupro)


def read_masks(folder: Path, names: Sequence[str], truth: NDArray[np.bool_], image: Image) -> NDArray[np.bool_]:
    """The pixels of defects, (images, height, width); none in normal images, and in those that have no mask.

    The mask of crack/7.png is crack/7_mask.png in `folder`, or crack/7.png, with any suffix of images. It is read
    like an image, brought to the same size with the same filter. A pixel is of a defect where the result is above half
    its largest value, so that masks of 0 and 1, and defects smaller than a pixel, are not lost.
    """
    files = {file.name.rpartition(".")[0]: file for file in image_files(folder).files}
    masks = np.zeros((len(names), image.height, image.width), np.bool_)
    grey = Image(image.height, image.width, "grey")
    for place in np.flatnonzero(truth).tolist():
        stem = names[place].rpartition(".")[0]
        file = files.get(f"{stem}_mask") or files.get(stem)
        if file is None:
            continue
        try:
            values = read_file(file, grey)[:, :, 0]
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from None
        masks[place] = values > values.max() / 2
    return masks


def pixel_areas(masks: NDArray[np.bool_], heat: NDArray[np.float32]) -> tuple[float, float]:
    """Area under the ROC curve of pixels, and under the per-region overlap.

    A pixel j of a region with n_j pixels, R regions in all, raises the overlap by w_j = 1 / (R n_j) at the
    false-positive rate f_j, the share of normal pixels that are at least as hot. So the area up to rate L, over L, is

        sum_j w_j max(0, 1 - f_j / L)

    and the area under the ROC curve is the same with L = 1 and equal w_j. A region is connected through sides or
    corners.

    Parameters
    ----------
    masks : (images, height, width), with pixels of defects and others
    heat : (images, height, width), higher is worse
    """
    from scipy.ndimage import label

    weights = np.zeros(masks.shape)
    regions = 0
    for mask, weight in zip(masks, weights, strict=True):
        numbered, count = label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(numbered.ravel())
        weight[mask] = 1 / sizes[numbered[mask]]
        regions += count
    normal, hot = np.sort(heat[~masks]), heat[masks]
    # Among equally hot pixels the curve rises in a straight line, from the rate of hotter ones to that with these.
    above, from_ = (1 - np.searchsorted(normal, hot, side=side) / len(normal) for side in ("right", "left"))
    by_pixel = _area(above, from_, 1.0).mean()
    by_region = (weights[masks] / regions) @ _area(above, from_, LARGEST_FALSE_RATE)
    return float(by_pixel), float(by_region)


def _area(start: NDArray[np.float64], end: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Area up to `limit`, over `limit`, under steps of height 1 that rise in a straight line from `start` to `end`."""
    width = np.maximum(end - start, np.finfo(np.float64).tiny)
    cut = np.clip(limit - start, 0, None)
    area: NDArray[np.float64] = np.where(end <= limit, limit - (start + end) / 2, cut**2 / (2 * width)) / limit
    return area
