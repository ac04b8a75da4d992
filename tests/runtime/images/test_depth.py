"""Pictures of 16 bits a sample: cameras of fewer bits keep their grey levels, and twins stay twins."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from vae_detect.runtime.bundle import Image
from vae_detect.runtime.images import depth
from vae_detect.runtime.images.reading import brightest_sample, read_image

PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
"""How a PNG calls grey and colour, without and with alpha."""


def deep_png(samples: NDArray[Any], *extra: tuple[bytes, bytes]) -> bytes:
    """Samples (height, width, channels) as a PNG of 16 bits."""
    height, width, channels = samples.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), *extra, (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def deep_tiff(samples: NDArray[Any], order: str, *, compressed: bool = False) -> bytes:
    """Samples (height, width, 3) as a TIFF of 16 bits a colour; order "<" or ">"."""
    height, width, channels = samples.shape
    data = samples.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if compressed else data
    begins = 8 + 2 + 12 * 9 + 4
    tags = {256: width, 257: height, 258: begins, 259: 8 if compressed else 1, 262: 2, 273: begins + 6}
    tags |= {277: channels, 278: height, 279: len(data)}
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags))
    body = b"".join(struct.pack(f"{order}HHII", tag, 4, 3 if tag == 258 else 1, value) for tag, value in tags.items())
    body = body.replace(struct.pack(f"{order}HHI", 258, 4, 3), struct.pack(f"{order}HHI", 258, 3, 3))
    return head + body + struct.pack(f"{order}I3H", 0, 16, 16, 16) + data


def pixels(content: bytes, bits: int, mode: str = "grey") -> NDArray[np.int64]:
    """As they are read at the picture's own size."""
    with Pillow.open(io.BytesIO(content)) as opened:
        width, height = opened.size
    return read_image(content, Image(height, width, mode, bits)).astype(np.int64)  # type: ignore[arg-type]


def plain(levels: NDArray[np.uint8]) -> bytes:
    """The picture of 8 bits."""
    out = io.BytesIO()
    Pillow.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).save(out, "PNG")
    return out.getvalue()


def noise(channels: int) -> NDArray[np.uint8]:
    """All levels, in every channel."""
    every = np.random.default_rng(0).permutation(256)
    return np.stack([np.roll(every, 7 * c).reshape(16, 16) for c in range(channels)], -1).astype(np.uint8)


def test_a_camera_of_12_bits_keeps_256_grey_levels() -> None:
    ramp = deep_png(np.arange(4096).reshape(16, 256, 1))
    assert brightest_sample(ramp) == 4095
    assert len(np.unique(pixels(ramp, 12))) == 256
    assert len(np.unique(pixels(ramp, 16))) == 17
    assert pixels(ramp, 12).ravel()[[0, 8, 9, 2047, 2048, 4095]].tolist() == [0, 0, 1, 127, 128, 255]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(("channels", "mode"), [(1, "grey"), (1, "colour"), (3, "colour"), (3, "grey")])
def test_the_twin_of_a_picture_of_8_bits_gives_its_pixels(bits: int, channels: int, mode: str) -> None:
    levels = noise(channels)
    twin = np.rint(levels * ((2**bits - 1) / 255))
    assert np.array_equal(pixels(deep_png(twin), bits, mode), pixels(plain(levels), 16, mode))
    assert np.array_equal(pixels(plain(levels), bits, mode), pixels(plain(levels), 16, mode))
    assert brightest_sample(deep_png(twin)) == 2**bits - 1
    assert brightest_sample(plain(levels)) == 0


def test_what_is_brighter_than_the_scale_is_white() -> None:
    found = pixels(deep_png(np.array([[[4000], [4095], [4096], [65535]]])), 12)
    assert found.ravel().tolist() == [249, 255, 255, 255]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_in_colour_is_its_png(order: str) -> None:
    twin = np.rint(noise(3) * (4095 / 255))
    assert brightest_sample(deep_tiff(twin, order)) == 4095
    assert np.array_equal(pixels(deep_tiff(twin, order), 12, "colour"), noise(3))
    # of a compressed one only the upper bytes can be read: as bright, with fewer levels
    compressed = deep_tiff(twin, order, compressed=True)
    assert brightest_sample(compressed).bit_length() == 12
    assert np.abs(pixels(compressed, 12, "colour") - noise(3)).max() <= 16


def test_of_grey_with_alpha_the_upper_bytes_are_read() -> None:
    grey = np.rint(noise(1) * (4095 / 255))
    twin = deep_png(np.concatenate([grey, np.full((16, 16, 1), 65535.0)], -1))
    assert brightest_sample(twin).bit_length() == 12
    assert np.abs(pixels(twin, 12) - noise(1)).max() <= 16


def test_alpha_is_opaque_at_65535_whatever_the_camera() -> None:
    twin = np.concatenate([np.rint(noise(3) * (4095 / 255)), np.full((16, 16, 1), 65535.0)], -1)
    assert brightest_sample(deep_png(twin)) == 4095
    assert np.array_equal(pixels(deep_png(twin), 12, "colour"), noise(3))
    twin[0, 0] = 65535, 65535, 65535, 0  # clear
    assert brightest_sample(deep_png(twin)) == 4095
    assert pixels(deep_png(twin), 12, "colour")[0, 0].tolist() == [255, 255, 255]


def test_a_transparent_sample_is_white_and_does_not_count() -> None:
    grey = deep_png(np.array([[[65535], [4095], [7]]]), (b"tRNS", struct.pack(">H", 65535)))
    assert brightest_sample(grey) == 4095
    assert pixels(grey, 12).ravel().tolist() == [255, 255, 0]
    colour = deep_png(np.array([[[9, 9, 9], [9, 9, 4095]]]), (b"tRNS", struct.pack(">3H", 9, 9, 9)))
    assert brightest_sample(colour) == 4095
    assert pixels(colour, 12, "colour").tolist() == [[[255, 255, 255], [1, 1, 255]]]


def test_deep_pictures_are_turned_upright() -> None:
    for channels in (1, 3):
        levels = noise(channels)[:8]
        exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # turned by 90 degrees
        turned = deep_png(np.rint(levels * (4095 / 255)), (b"eXIf", exif))
        expected = np.rot90(np.broadcast_to(levels, (8, 16, 3)), -1)
        assert np.array_equal(read_image(turned, Image(16, 8, "colour", 12)), expected)


def test_the_size_of_the_pieces_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = [deep_png(np.rint(noise(channels) * (4095 / 255))) for channels in (1, 3)]
    whole = [pixels(twin, 12, "colour") for twin in twins]
    for size in (1, 10, 40):
        monkeypatch.setattr(depth, "_AT_ONCE", size)
        assert all(np.array_equal(pixels(twin, 12, "colour"), one) for twin, one in zip(twins, whole, strict=True))
        assert [brightest_sample(twin) for twin in twins] == [4095, 4095]
