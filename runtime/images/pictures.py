"""Pictures that are written: PNGs, heat maps, a grid of images, and under which names."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..output import make_folder, written_aside
from .folders import ImageFile
from .reading import import_pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GAP, _SMALLEST_TILE = 2, 96
"""Pixels between the images of a grid, and the height below which they are enlarged."""


def to_pixels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Reconstructed images as images: to the nearest whole number from 0 to 255."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (height, width, channels) as a PNG."""
    import_pillow()
    from PIL import Image as Pillow

    content = io.BytesIO()
    Pillow.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    return content.getvalue()


def heat_png(heat: NDArray[np.float32], white: float) -> bytes:
    """A heat map, shape (height, width), as a grey PNG: 0 is black, `white` nats per pixel and more are white."""
    import_pillow()
    from PIL import Image as Pillow

    grey = np.rint(np.clip(heat / white, 0, 1) * 255).astype(np.uint8)
    out = io.BytesIO()
    Pillow.fromarray(grey).save(out, "PNG")
    return out.getvalue()


def grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (n, height, width, channels) side by side on white, small ones enlarged by a whole factor."""
    factor = max(1, _SMALLEST_TILE // images.shape[1])
    tiles = images.repeat(factor, axis=1).repeat(factor, axis=2)
    n, height, width, channels = tiles.shape
    across = max(1, math.ceil(math.sqrt(n)))
    down = math.ceil(n / across)
    whole = np.full((_GAP + down * (height + _GAP), _GAP + across * (width + _GAP), channels), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top = _GAP + place // across * (height + _GAP)
        left = _GAP + place % across * (width + _GAP)
        whole[top : top + height, left : left + width] = tile
    return whole


def picture_paths(folder: Path, data: Path, files: Sequence[ImageFile], *, what: str, force: bool) -> list[Path]:
    """Where a picture of each file goes, like its heat map: under its name, with .png after it when it ends otherwise.

    Raises InputError when one is there already, unless `force`, when two would have one name, or when the next run
    would take them for images.
    """
    if data.is_dir() and folder.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{folder}: lies within {data}, where {what}s would be taken for images the next time")
    names = [file.name if file.name.endswith(".png") else f"{file.name}.png" for file in files]
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise InputError(f"{data}: two images would have the {what} {twice}; rename one")
    paths = [folder / name for name in names]
    taken = None if force else next((path for path in paths if path.exists()), None)
    if taken is not None:
        raise InputError(f"{taken}: exists already; pass --force to replace it")
    return paths


def write_picture(path: Path, content: bytes) -> None:
    """Writes to one of the `picture_paths`, which have asked whether it may be replaced, and makes its folder."""
    make_folder(path.parent)
    with written_aside(path, force=True, sweep=False) as out:  # one of many in its folder
        out.write(content)
