"""Samples of 16 bits, grey or in colour: how bright they get, and brought to 8.

A camera of 12 bits writes 0 to 4095 into a file for 65535. Divided by 256, 16 grey levels would be left of it, so
training looks how many bits its images use (`Image.bits`), and 2^bits - 1 becomes 255.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

_AT_ONCE = 1 << 18
"""Pixels that are worked on together, since looking one up takes 8 bytes for each sample."""

_LOWER = {"16B": "16L", "16L": "16B"}
"""How Pillow reads colours of 16 bits, by their upper byte, and how it reads the lower byte instead."""


class Deep(NamedTuple):
    """A decoded picture of 16 bits a sample, upright."""

    picture: Picture
    """Grey in all its bits; in colour, with alpha or not, the upper bytes."""
    lower: Picture | None
    """Of colour the lower bytes."""
    transparent: int | tuple[int, ...] | None
    """The samples of the pixels that do not show, where there is no alpha."""


def deep_of(opened: ImageFile, content: bytes) -> Deep | None:
    """Decodes a picture of 16 bits, grey or a PNG or TIFF in colour; of any other nothing is decoded."""
    from PIL import ImageOps

    lower = None
    if not opened.mode.startswith("I;16") and not (opened.mode == "I" and opened.format == "PNG"):
        lower = _lower_of(opened, content)
        if lower is None:
            return None
    for picture in (opened, lower):
        if picture is not None:
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
    return Deep(opened, lower, opened.info.pop("transparency", None))


def _lower_of(opened: ImageFile, content: bytes) -> ImageFile | None:
    """What gives the lower bytes of colours of 16 bits, not yet decoded; None where the picture has none.

    Of compressed TIFFs and of grey with alpha Pillow gives only the upper bytes, which then stand for both.
    """
    from PIL import Image as Pillow

    how = opened.tile[0][3] if opened.tile else None  # the name of a mode of the file, or a tuple that begins with it
    name = how[0] if isinstance(how, tuple) and how else how
    mode, _, order = str(name).partition(";")
    if opened.mode not in ("RGB", "RGBA") or mode not in (opened.mode, "LA"):
        return None
    if order == "16N" or (mode, order) == ("LA", "16B"):
        return opened
    if order not in _LOWER:
        return None
    lower, wanted = Pillow.open(io.BytesIO(content), formats=[str(opened.format)]), f"{mode};{_LOWER[order]}"
    asked = (wanted, *how[1:]) if isinstance(how, tuple) else wanted
    lower.tile = [(*tile[:3], asked) for tile in lower.tile]  # type: ignore[misc]  # plain tuples in older versions
    return lower


def brightest(deep: Deep) -> int:
    """The largest sample of the colours that show, 0 where none does."""
    most = 0
    for _, values in _pieces(deep):
        seen = values[_is_seen(values, deep.transparent)]  # samples of grey, pixels of colour
        most = max(most, int((seen if seen.ndim == 1 else seen[:, :3]).max(initial=0)))
    return most


def to_8_bits(deep: Deep, bits: int) -> Picture:
    """The picture in mode L, RGB or RGBA, where samples from 2^bits - 1 on are 255; what does not show is white."""
    from PIL import Image as Pillow

    made = Pillow.new("L", deep.picture.size) if deep.lower is None else deep.picture
    level_of = np.rint(np.minimum(np.arange(65536) / (2**bits - 1), 1) * 255).astype(np.uint8)
    for box, values in _pieces(deep):
        levels = level_of[values]
        if values.shape[2:] == (4,):
            levels[..., 3] = values[..., 3] >> 8  # opaque is 65535 whatever the camera
        else:
            levels[~_is_seen(values, deep.transparent)] = 255
        made.paste(Pillow.fromarray(levels), box)
    return made


def _is_seen(values: NDArray[Any], transparent: int | tuple[int, ...] | None) -> NDArray[np.bool_]:
    """Which pixels of a piece show, (height, width)."""
    if values.shape[2:] == (4,):
        seen: NDArray[np.bool_] = values[..., 3] > 0
    elif transparent is None:
        seen = np.ones(values.shape[:2], np.bool_)
    else:
        seen = (values.reshape(*values.shape[:2], -1) != transparent).any(axis=-1)
    return seen


def _pieces(deep: Deep) -> Iterator[tuple[tuple[int, int, int, int], NDArray[Any]]]:
    """Where a piece lies, and its samples: (height, width) or (height, width, channels)."""
    width, height = deep.picture.size
    across = min(width, _AT_ONCE)
    down = _AT_ONCE // across
    for top in range(0, height, down):
        for left in range(0, width, across):
            box = left, top, min(left + across, width), min(top + down, height)
            values = np.asarray(deep.picture.crop(box))
            if deep.lower is not None:
                values = values.astype(np.uint16) << 8 | np.asarray(deep.lower.crop(box))
            yield box, values
