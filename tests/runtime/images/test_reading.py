"""The one reader of images: twins of a picture give equal pixels, bad files a reason, bombs no memory."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from vae_detect.runtime.bundle import Image
from vae_detect.runtime.errors import InputError, MissingExtraError
from vae_detect.runtime.images import reading as images
from vae_detect.runtime.images.folders import image_files
from vae_detect.runtime.images.pictures import heat_png
from vae_detect.runtime.images.reading import image_format, read_image

GREY, COLOUR = Image(24, 18, "grey"), Image(24, 18, "colour")
EVERY_MODE = pytest.mark.parametrize("image", [GREY, COLOUR], ids=["grey", "colour"])


def photo(mode: str = "RGB", size: tuple[int, int] = (60, 40), seed: int = 0) -> Pillow.Image:
    """A smooth picture with noise, which no two pixels and no symmetry of have in common."""
    generator = np.random.default_rng(seed)
    width, height = size
    ramp = np.linspace(0, 180, width)[None, :, None] + np.linspace(0, 50, height)[:, None, None] * [1, 0.5, 0.2]
    pixels = np.clip(ramp + generator.integers(0, 25, (height, width, 3)), 0, 255).astype(np.uint8)
    return Pillow.fromarray(pixels).convert(mode)


def encoded(picture: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def read(source: bytes | Path, image: Image = COLOUR) -> NDArray[np.int64]:
    pixels = read_image(source, image)
    assert pixels.dtype == np.uint8
    assert pixels.shape == image.shape
    assert pixels.flags.c_contiguous
    return pixels.astype(np.int64)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, whatever they hold."""
    parts = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def png_header(width: int, height: int, bits: int = 8, colour: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)


# --- twins -----------------------------------------------------------------------------------------------------------


@EVERY_MODE
@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PNG"])
def test_lossless_formats_give_equal_pixels(kind: str, image: Image) -> None:
    assert np.array_equal(read(encoded(photo(), kind), image), read(encoded(photo()), image))


@EVERY_MODE
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"big_tiff": True}),
        ("PNG", {"compress_level": 0}),
    ],
)
def test_ways_to_write_a_format_change_nothing(kind: str, options: dict[str, Any], image: Image) -> None:
    assert np.array_equal(read(encoded(photo(), kind, **options), image), read(encoded(photo()), image))


@EVERY_MODE
@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"optimize": True}, {"progressive": True, "optimize": True}]
)
def test_a_progressive_jpeg_is_its_baseline_twin(options: dict[str, Any], image: Image) -> None:
    assert np.array_equal(read(encoded(photo(), "JPEG", **options), image), read(encoded(photo(), "JPEG"), image))


TRANSPOSED = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_90,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_270,
}


@EVERY_MODE
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_the_exif_orientation_is_applied(kind: str, orientation: int, image: Image) -> None:
    """A camera that writes orientation n stores the picture turned the other way, so that it is upright when shown."""
    stored = photo().transpose(TRANSPOSED[orientation]) if orientation in TRANSPOSED else photo()
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    turned = read(encoded(stored, kind, exif=exif, **options), image)
    assert np.array_equal(turned, read(encoded(photo()), image))


def test_a_jpeg_on_its_side_is_upright() -> None:
    smooth = photo().resize((240, 160), Pillow.Resampling.BICUBIC)
    exif = Pillow.Exif()
    exif[0x0112] = 6
    side = encoded(smooth.transpose(Pillow.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    assert np.abs(read(side) - read(encoded(smooth, "JPEG", quality=95))).max() <= 3


def test_a_damaged_exif_block_does_not_matter() -> None:
    plain = encoded(photo(), "JPEG")
    segment = b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff" + b"\x12\x01" * 20
    odd = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
    assert np.array_equal(read(odd), read(plain))


@EVERY_MODE
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_is_its_plain_twin(kind: str, image: Image) -> None:
    palette = photo().quantize(64)
    assert np.array_equal(read(encoded(palette, kind), image), read(encoded(palette.convert("RGB")), image))


@EVERY_MODE
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_one_bit_is_its_plain_twin(kind: str, image: Image) -> None:
    bits = photo().convert("1")
    assert np.array_equal(read(encoded(bits, kind), image), read(encoded(bits.convert("L")), image))


@EVERY_MODE
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_grey_picture_is_the_same_in_every_mode(mode: str, kind: str, image: Image) -> None:
    if (mode, kind) == ("LA", "TIFF"):
        kind = "PNG"
    grey = photo("L")
    assert np.array_equal(read(encoded(grey.convert(mode), kind), image), read(encoded(grey), image))


@EVERY_MODE
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_an_opaque_alpha_channel_does_not_matter(kind: str, image: Image) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(read(encoded(photo("RGBA"), kind, **options), image), read(encoded(photo()), image))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_its_plain_twin(kind: str) -> None:
    smooth = photo().resize((240, 160), Pillow.Resampling.BICUBIC)
    options = {"quality": 100} if kind == "JPEG" else {}
    assert np.abs(read(encoded(smooth.convert("CMYK"), kind, **options)) - read(encoded(smooth))).max() <= 3


@EVERY_MODE
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind: str, image: Image) -> None:
    grey = np.asarray(photo("L"))
    deep = Pillow.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(read(encoded(deep, kind), image), read(encoded(photo("L")), image))
    finer = Pillow.fromarray((grey.astype(np.uint16) * 257 + 100).clip(0, 65535).astype(np.uint16))
    assert np.abs(read(encoded(finer, kind), image) - read(encoded(photo("L")), image)).max() <= 1


def test_16_bit_grey_by_hand() -> None:
    values = np.array([[0, 128, 129, 257, 65279, 65407, 65535]], np.uint16)
    found = read(encoded(Pillow.fromarray(values)), Image(1, 7, "grey"))
    assert found.ravel().tolist() == [0, 0, 1, 1, 254, 255, 255]
    assert read(encoded(Pillow.fromarray(values.byteswap().view(">u2")), "TIFF"), Image(1, 7, "grey")).max() == 255


def test_a_16_bit_colour_png_is_read() -> None:
    line = b"\0" + struct.pack(">6H", 0, 32768, 65535, 65535, 257, 512)
    deep = png(png_header(2, 1, 16, 2), (b"IDAT", zlib.compress(line)), (b"IEND", b""))
    assert np.abs(read(deep, Image(1, 2, "colour")).ravel() - [0, 128, 255, 255, 1, 2]).max() <= 1


def test_32_bits_are_refused() -> None:
    for mode in ("I", "F"):
        with pytest.raises(InputError, match=rf"^has 32 bits per pixel \(mode {mode}\), expected 8 or 16$"):
            read(encoded(photo("L").convert(mode), "TIFF"))


@EVERY_MODE
def test_what_is_transparent_lies_over_white(image: Image) -> None:
    half = photo("RGBA")
    half.putalpha(Pillow.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 30, axis=1).repeat(40, axis=0)))
    pixels = read(encoded(half), image)
    assert (pixels[:, :6] == 255).all()
    assert np.array_equal(pixels[:, 12:], read(encoded(photo()), image)[:, 12:])
    clear = Pillow.new("RGBA", (8, 8), (200, 10, 10, 0))
    assert (read(encoded(clear), image) == 255).all()
    black_at_half = Pillow.new("LA", (8, 8), (0, 128))
    assert set(np.unique(read(encoded(black_at_half), image))) <= {126, 127, 128}


@pytest.mark.parametrize(
    ("picture", "kind", "transparency"),
    [
        (Pillow.new("P", (8, 8), 3), "PNG", 3),
        (Pillow.new("P", (8, 8), 3), "GIF", 3),
        (Pillow.new("L", (8, 8), 40), "PNG", 40),
        (Pillow.new("1", (8, 8), 0), "PNG", 0),
        (Pillow.new("RGB", (8, 8), (1, 2, 3)), "PNG", (1, 2, 3)),
        (Pillow.fromarray(np.full((8, 8), 4000, np.uint16)), "PNG", 4000),
    ],
)
def test_a_transparent_colour_is_white(picture: Pillow.Image, kind: str, transparency: Any) -> None:
    if picture.mode == "P":
        picture.putpalette([5] * 768)
    assert (read(encoded(picture, kind, transparency=transparency)) == 255).all()


def test_only_the_first_frame_counts() -> None:
    frames = [photo(seed=seed).quantize(32) for seed in range(3)]
    for kind in ("GIF", "PNG", "TIFF"):
        animated = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.array_equal(read(animated), read(encoded(frames[0].convert("RGB"))))


# --- size and mode ---------------------------------------------------------------------------------------------------


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    picture = photo(size=(18, 24))
    assert np.array_equal(read(encoded(picture)), np.asarray(picture))
    assert np.array_equal(read(encoded(picture.convert("L")), GREY)[..., 0], np.asarray(picture.convert("L")))


def test_height_and_width_are_not_mixed_up() -> None:
    wide = np.zeros((10, 40), np.uint8)
    wide[:, 20:] = 250  # right half
    found = read(encoded(Pillow.fromarray(wide)), Image(4, 8, "grey"))[..., 0]
    assert (found[:, :3] <= 5).all()
    assert (found[:, 5:] >= 245).all()


def test_resizing_averages_what_it_shrinks() -> None:
    """A board of single black and white pixels is grey from afar; without antialiasing it would be black, or white."""
    board = np.indices((400, 400)).sum(0) % 2 * 255
    found = read(encoded(Pillow.fromarray(board.astype(np.uint8))), GREY)
    assert np.abs(found - 127.5).max() < 3


def test_grey_weighs_the_colours() -> None:
    for colour, expected in (((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)):
        assert (read(encoded(Pillow.new("RGB", (5, 5), colour)), GREY) == expected).all()


def test_path_and_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "photo without suffix"
    path.write_bytes(encoded(photo()))
    assert np.array_equal(read(path), read(path.read_bytes()))


def test_threads_read_like_one() -> None:
    files = [encoded(photo(seed=seed), "JPEG") for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for found, file in zip(pool.map(read, files), files, strict=True):
            assert np.array_equal(found, read(file))


def test_one_image_is_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    decode, inside, together = images._decode, [], []

    def watched(opened: ImageFile, content: bytes, image: Image) -> NDArray[np.uint8]:
        inside.append(content)
        together.append(len(inside))
        time.sleep(0.01)  # long enough for another thread to come in, if nothing kept it out
        pixels = decode(opened, content, image)
        inside.pop()
        return pixels

    monkeypatch.setattr(images, "_decode", watched)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(read, [encoded(photo())] * 8))) == 8
    assert together == [1] * 8


# --- what is no image ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "^is empty: expected PNG, JPEG"),
        (b"a,b\n1,2\n", "^is no image: expected PNG, JPEG, BMP, TIFF, WebP or GIF$"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "^is no image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "^is no image"),
        (b"\0\0\1\0\1\0\x10\x10", "^is no image"),  # ICO
        (b"P5 2 2 255 abcd", "^is no image"),
        (b"\x89PNG\r\n\x1a\n", "^is damaged"),
        (b"\xff\xd8\xff", "^is damaged"),
        (b"BM", "^is damaged"),
        (b"GIF89a", "^is damaged"),
        (b"II*\0", "^is damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "^is damaged"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read(content)
    assert "0x" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP"])
def test_a_truncated_file_is_refused(kind: str) -> None:
    whole = encoded(photo(size=(200, 150)), kind)
    assert image_format(whole) == kind
    for share in (0.02, 0.1, 0.5, 0.9):
        with pytest.raises(InputError, match=r"^is damaged: "):
            read(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP"])
def test_flipped_bytes_give_pixels_or_a_reason(kind: str) -> None:
    whole = encoded(photo(), kind)
    generator = np.random.default_rng(3)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, min(len(whole), 400), 3):
            damaged[place] = generator.integers(256)
        try:
            read(bytes(damaged))
        except InputError as error:
            assert len(str(error)) < 300  # noqa: PT017


# --- bombs -----------------------------------------------------------------------------------------------------------


def test_the_limit_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.MAX_PIXELS == 40_000_000
    with pytest.raises(InputError, match=r"^has 8000 x 5001 pixels, expected at most 40 megapixels$"):
        read(png(png_header(8000, 5001), (b"IDAT", b""), (b"IEND", b"")))
    with pytest.raises(InputError, match=r"^is damaged"):  # at the limit it is decoded, and has no pixels
        read(png(png_header(8000, 5000), (b"IDAT", b""), (b"IEND", b"")))
    monkeypatch.setattr(images, "MAX_PIXELS", 60 * 40)
    read(encoded(photo(size=(60, 40))))
    with pytest.raises(InputError, match=r"^has 61 x 40 pixels"):
        read(encoded(photo(size=(61, 40))))


def test_the_limit_of_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)
    with pytest.raises(InputError, match=r"^is larger than 64 MiB$"):
        read(path)
    content = encoded(photo())
    monkeypatch.setattr(images, "MAX_BYTES", len(content))
    read(content)
    with pytest.raises(InputError, match=r"^is larger than"):
        read(content + b"\0")


_REFUSE = """
import sys
from pathlib import Path
from vae_detect.runtime.bundle import Image
from vae_detect.runtime.errors import InputError
from vae_detect.runtime.images.reading import read_image
for name in sys.argv[1:]:
    try:
        read_image(Path(name), Image(64, 64, "colour"))
        print("read", name)
    except InputError as error:
        print(error)
status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent's memory at the fork
print(status.split("VmHWM:")[1].split()[0])
"""


def zeros(length: int, times: int) -> bytes:
    """So many times so many zeros as zlib packs them: one piece, repeated, since 900 MB take seconds to pack."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    piece = packer.compress(bytes(length)) + packer.flush(zlib.Z_FULL_FLUSH)
    check = (length * times % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + piece * times + packer.flush() + struct.pack(">I", check)


def test_zeros_are_unpacked() -> None:
    assert zlib.decompress(zeros(100_000, 3)) == bytes(300_000)


def bombs() -> dict[str, bytes]:
    """Small files that would be 900 and 144 megapixels, each as far as its header goes, the PNGs to the last pixel."""

    def deflated(width: int, height: int) -> bytes:
        packed = zeros(100 * (width + 1), height // 100)
        return png(png_header(width, height), (b"IDAT", packed), (b"IEND", b""))

    small = encoded(photo(size=(16, 16)), "JPEG")
    start = small.index(b"\xff\xc0") + 5
    bmp, gif, tiff = (bytearray(encoded(photo("L", (16, 16)), kind)) for kind in ("BMP", "GIF", "TIFF"))
    bmp[18:26] = struct.pack("<ii", 30_000, 30_000)
    gif[6:10] = struct.pack("<HH", 30_000, 30_000)
    webp = b"VP8L" + struct.pack("<I", 8) + b"\x2f" + struct.pack("<I", 11_999 | 11_999 << 14) + b"\0\0\0"
    tags = tiff[8:]
    for tag in (256, 257):
        place = (
            tags.index(struct.pack("<HH", tag, 4))
            if struct.pack("<HH", tag, 4) in tags
            else tags.index(struct.pack("<HH", tag, 3))
        )
        tags[place : place + 12] = struct.pack("<HHII", tag, 4, 1, 30_000)
    return {
        "900.png": deflated(30_000, 30_000),
        "144.png": deflated(12_000, 12_000),
        "900.jpg": small[:start] + struct.pack(">HH", 30_000, 30_000) + small[start + 4 :],
        "900.bmp": bytes(bmp),
        "900.gif": bytes(gif),
        "144.webp": b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp,
        "900.tif": bytes(tiff[:8] + tags),
        "text.png": png(png_header(9, 9), *[(b"zTXt", b"a\0\0" + zeros(1_000_000, 60))] * 5),
        "profile.png": png(png_header(9, 9), (b"iCCP", b"a\0\0" + zeros(1_000_000, 400))),
    }


def test_bombs_are_refused_within_300_mb(tmp_path: Path) -> None:
    made = bombs()
    for name, content in made.items():
        assert len(content) < 2_000_000
        (tmp_path / name).write_bytes(content)
    ran = subprocess.run(
        [sys.executable, "-c", _REFUSE, *(str(tmp_path / name) for name in made)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    *answers, peak_kb = ran.stdout.splitlines()
    for name, answer in zip(made, answers, strict=True):
        assert "megapixels" in answer or name in ("text.png", "profile.png"), f"{name}: {answer}"
        assert not answer.startswith("read"), name
    assert int(peak_kb) < 300_000


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_listed_by_name_at_any_depth(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.JPG", "a/10.jpeg", "Z.tiff", "a b/ü.webp", "a/b/c/d.GIF", "a.bmp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(photo()))
    for name in ("README.txt", "a/labels.csv", "mask.npy", "noext"):
        (tmp_path / name).write_text("text")
    found = image_files(tmp_path)
    assert [file.name for file in found.files] == sorted(
        ["Z.tiff", "a b/ü.webp", "a.bmp", "a/10.jpeg", "a/2.JPG", "a/b/c/d.GIF", "b.png"]
    )
    assert [file.path for file in found.files] == [tmp_path / file.name for file in found.files]
    assert not any(file.refusal for file in found.files)
    assert found.others == 4


def test_odd_entries_are_refused_without_being_read(tmp_path: Path) -> None:
    folder, outside = tmp_path / "in", tmp_path / "out"
    for each in (folder / "sub", outside):
        each.mkdir(parents=True)
    (folder / "real.png").write_bytes(encoded(photo()))
    (outside / "secret.png").write_bytes(encoded(photo()))
    links: dict[str, str | Path] = {
        "dangling.png": "nothing.png",
        "dev.png": "/dev/zero",
        "inside.png": "sub/../real.png",
        "loop.png": "loop.png",
        "outfolder": outside,
        "outside.png": outside / "secret.png",
        "sub/up": "..",
    }
    for name, target in links.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe")
    found = image_files(folder)
    assert {file.name: file.refusal for file in found.files} == {
        "dangling.png": "is a link that leads nowhere, or a file that cannot be reached",
        "dev.png": "is a link out of the folder",
        "inside.png": "",
        "loop.png": "is a link that leads nowhere, or a file that cannot be reached",
        "outfolder": "is a link out of the folder",
        "outside.png": "is a link out of the folder",
        "pipe.png": "is no regular file",
        "real.png": "",
        "sub/up": "is a link to a folder that it lies in",
    }
    assert found.others == 1
    for path in (folder / "pipe.png", Path("/dev/zero"), folder):
        with pytest.raises(InputError, match=r"^is a (pipe|device|folder), expected a file$"):
            read(path)
    with pytest.raises(InputError, match=r"^no such file$"):
        read(folder / "dangling.png")


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    for name in ("train/good", "raw/a", "raw/b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "raw" / "a" / "1.png").write_bytes(encoded(photo()))
    (tmp_path / "train" / "good" / "a").symlink_to("../../raw/a")
    (tmp_path / "raw" / "a" / "other").symlink_to("../b")
    (tmp_path / "raw" / "b" / "round").symlink_to("../a")
    found = {file.name: file.refusal for file in image_files(tmp_path / "train", tmp_path).files}
    assert found == {"good/a/1.png": "", "good/a/other/round": "is a link to a folder that it lies in"}
    alone = {file.name: file.refusal for file in image_files(tmp_path / "train").files}
    assert alone == {"good/a": "is a link out of the folder"}


def test_a_link_to_a_folder_may_itself_be_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(encoded(photo()))
    (tmp_path / "link").symlink_to("real")
    assert [(file.name, file.refusal) for file in image_files(tmp_path / "link").files] == [("a.png", "")]


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png")).write_bytes(encoded(photo()))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    (file,) = image_files(tmp_path).files
    assert file.name == "\\xff.png"
    assert read(file.path).shape == COLOUR.shape


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists everything")
def test_a_closed_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    try:
        assert "Permission denied" in image_files(tmp_path).files[0].refusal
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(InputError, match="holds no image; expected PNG"):
        image_files(tmp_path)
    with pytest.raises(InputError, match=r"a\.csv: is no folder"):
        image_files(tmp_path / "a.csv")


def test_real_images_keep_their_pixels(real_data: Path) -> None:
    found = image_files(real_data / "images" / "magnetic_tile" / "test")
    assert len(found.files) > 100
    assert not any(file.refusal for file in found.files)
    for file in found.files[::40]:
        with Pillow.open(file.path) as picture:
            assert np.array_equal(read(file.path, Image(128, 128, "grey"))[..., 0], np.asarray(picture))


# --- heat maps, Pillow -----------------------------------------------------------------------------------------------


def test_a_heat_map_is_a_grey_png_with_a_fixed_scale() -> None:
    heat = np.array([[0.0, 1.0, 2.0], [4.0, 100.0, -1.0]], np.float32)
    with Pillow.open(io.BytesIO(heat_png(heat, 4.0))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (3, 2))
        assert np.asarray(picture).tolist() == [[0, 64, 128], [255, 255, 0]]


@pytest.mark.parametrize("use", [lambda: read_image(b"", GREY), lambda: heat_png(np.zeros((2, 2), np.float32), 1.0)])
def test_a_missing_pillow_names_the_extra(use: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vae-detect\[images\]'"):
        use()
