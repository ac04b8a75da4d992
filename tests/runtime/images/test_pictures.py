"""Pictures that are written: a grid of images, and under which names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.images.folders import ImageFile
from vae_detect.runtime.images.pictures import grid, picture_paths


@pytest.mark.parametrize(("n", "shape"), [(0, (2, 100, 1)), (1, (100, 100, 1)), (4, (198, 198, 1)), (5, (198, 296, 1))])
def test_a_grid_has_room_for_all(n: int, shape: tuple[int, ...]) -> None:
    assert grid(np.zeros((n, 96, 96, 1), np.uint8)).shape == shape
    assert (grid(np.zeros((n, 96, 96, 1), np.uint8)) == 0).sum() == n * 96**2


def test_large_images_stay_as_they_are() -> None:
    assert grid(np.zeros((1, 200, 97, 3), np.uint8)).shape == (204, 101, 3)


def test_heat_maps_that_would_mix_with_images_or_each_other_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    files = [ImageFile("a.jpg", folder / "a.jpg", "")]
    for inside in (folder, folder / "heat"):
        with pytest.raises(InputError, match="would be taken for images the next time"):
            picture_paths(inside, folder, files, what="heat map", force=True)
    twins = [ImageFile(name, folder / name, "") for name in ("a.jpg", "a.jpg.png")]
    with pytest.raises(InputError, match=r"two images would have the heat map a\.jpg\.png; rename one"):
        picture_paths(tmp_path / "heat", folder, twins, what="heat map", force=True)
