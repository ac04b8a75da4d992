"""Image files as the detector sees them: read within limits, brought to one size and mode.

The one reader of images: training and scoring both come here, so that they see the same pixels.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..bundle import Image
from ..errors import InputError, MissingExtraError, first_line
from ..opening import read_whole
from .depth import brightest, deep_of, to_8_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

T = TypeVar("T")

MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 40_000_000

_FORMATS = (
    ("PNG", (b"\x89PNG\r\n\x1a\n",)),
    ("JPEG", (b"\xff\xd8\xff",)),
    ("GIF", (b"GIF87a", b"GIF89a")),
    ("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("BMP", (b"BM",)),
)
EXPECTED = "expected PNG, JPEG, BMP, TIFF, WebP or GIF"

# One image at a time: 40 Mpx are 160 MB while they are decoded (twice that with transparency), and Pillow's warnings
# about odd files can only be silenced for the whole process. What libtiff prints about them cannot be silenced at all.
_DECODING = threading.Lock()


def import_pillow() -> None:
    """Raises MissingExtraError when Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"images need Pillow ({error}): pip install 'vae-detect[images]'") from None


def image_format(content: bytes) -> str:
    """Which of the readable formats these bytes begin like, "" for none; no more than a look at the first bytes."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    return next((name for name, starts in _FORMATS if content.startswith(starts)), "")


def read_image(source: Path | bytes, image: Image) -> NDArray[np.uint8]:
    """The first frame of an image file, or of its bytes, as the detector takes it: shape ``image.shape``, 0 to 255.

    Turned upright as its EXIF orientation says; palettes, one bit, CMYK and 16 bits (2^bits - 1 of `image`, and more,
    becomes 255) are made plain; resized to (height, width) whatever its aspect ratio with Pillow's Lanczos filter,
    which antialiases; what is transparent is laid over white; then to grey (0.299 R + 0.587 G + 0.114 B) or to red,
    green, blue. Colour profiles are not applied.

    Raises
    ------
    InputError
        whose message is only the reason, without the path: no regular file, more than `MAX_BYTES` or `MAX_PIXELS`
        (both looked up before anything is decoded), none of the formats, damaged
    MissingExtraError
        when Pillow is not installed
    """
    return _read(source, lambda opened, content: _decode(opened, content, image))


def brightest_sample(source: Path | bytes) -> int:
    """The largest sample of an image of 16 bits, 0 for any other, which is not decoded. Raises as `read_image` does."""
    return _read(source, lambda opened, content: brightest(deep) if (deep := deep_of(opened, content)) else 0)


def _read(source: Path | bytes, decode: Callable[[ImageFile, bytes], T]) -> T:
    """What `decode` makes of an image file that may be opened. Raises as `read_image` says."""
    import_pillow()
    content = source if isinstance(source, bytes) else read_whole(source, most=MAX_BYTES)
    if len(content) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES // 1024**2} MiB")
    kind = image_format(content)
    if not kind:
        raise InputError(f"is no image: {EXPECTED}" if content else f"is empty: {EXPECTED}")
    try:
        with _DECODING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(content, kind) as opened:
                return decode(opened, content)
    except InputError:
        raise
    except Exception as error:  # Pillow raises a dozen unrelated classes for damaged files
        raise InputError(f"is damaged: {first_line(error)}") from None


def _opened(content: bytes, kind: str) -> ImageFile:
    """The image with its size looked up and nothing decoded."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        opened = Pillow.open(io.BytesIO(content), formats=[kind])
    except Pillow.DecompressionBombError:  # Pillow's own limit is higher, and comes first
        raise InputError(f"has more than {MAX_PIXELS // 10**6} megapixels") from None
    except UnidentifiedImageError:  # its message is the address of our buffer
        raise InputError(f"is damaged: begins like {kind} and goes on otherwise") from None
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise InputError(f"has {width} x {height} pixels, expected at most {MAX_PIXELS // 10**6} megapixels")
    return opened


def _decode(opened: ImageFile, content: bytes, image: Image) -> NDArray[np.uint8]:
    from PIL import Image as Pillow
    from PIL import ImageOps

    deep = deep_of(opened, content)
    opened.load()
    upright = opened if deep is None else to_8_bits(deep, image.bits)
    del deep  # the lower bytes, before resizing takes as much again
    ImageOps.exif_transpose(upright, in_place=True)
    plain = _plain(upright)
    resized = plain.resize((image.width, image.height), Pillow.Resampling.LANCZOS)
    if resized.mode == "RGBA":
        # After resizing, which weighs colours by their opacity: laying 40 Mpx over white takes another 320 MB.
        resized = Pillow.alpha_composite(Pillow.new("RGBA", resized.size, "white"), resized).convert("RGB")
    pixels = np.array(resized.convert("L" if image.mode == "grey" else "RGB"))
    return pixels.reshape(image.shape)


def _plain(picture: Picture) -> Picture:
    """The same picture in mode L, RGB or RGBA, where equal colours are equal numbers whatever the file had."""
    if picture.mode in ("I", "F"):
        raise InputError(f"has 32 bits per pixel (mode {picture.mode}), expected 8 or 16")
    mode = "RGBA" if picture.has_transparency_data else "L" if picture.mode in ("1", "L") else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)  # which would copy what is as wanted
