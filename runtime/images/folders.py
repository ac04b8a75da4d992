"""Image files of a folder: which there are, and which must not be read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..bundle import Image
from ..errors import InputError
from ..opening import read_whole
from .reading import EXPECTED, MAX_BYTES, read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
"""What files of a folder are taken for images; what they are is then decided by content."""


class ImageFile(NamedTuple):
    """One file of a folder."""

    name: str
    """Relative to the folder, with slashes; bytes that are no UTF-8 are written as \\x.."""
    path: Path
    refusal: str
    """Why the file must not be read, "" when it may be."""


class ImageFolder(NamedTuple):
    """The images of a folder, sorted by name, and how many other files lie beside them."""

    files: list[ImageFile]
    others: int


def read_file(file: ImageFile, image: Image) -> NDArray[np.uint8]:
    """An image of a folder, as `read_image` reads it. Raises like it, and InputError for one that must not be read."""
    if file.refusal:
        raise InputError(file.refusal)
    return read_image(file.path, image)


def digest_of(files: Sequence[ImageFile]) -> str:
    """The sha256 of images, by their names and contents; raises InputError, naming the file, for one without."""
    digest = sha256()
    for file in files:
        try:
            digest.update(file.name.encode() + b"\0" + read_whole(file.path, most=MAX_BYTES))
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from None
    return digest.hexdigest()


def find_images(path: Path, within: Path | None = None) -> ImageFolder:
    """The images of a folder, as `image_files` finds them, or the one that the path names; InputError for none."""
    if path.is_dir():
        return image_files(path, within)
    return ImageFolder([ImageFile(path.name, path, "")], 0)


def image_files(folder: Path, within: Path | None = None) -> ImageFolder:
    """The image files under a folder, known by their suffix.

    Links are followed only to files and folders `within` a folder, by default this one; those that lead out, to nothing
    or round in a circle, like pipes, devices and folders that cannot be listed, come with a refusal.

    Raises
    ------
    InputError
        when the folder has no image, or is none
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder")
    root = (within or folder).resolve()
    files: list[ImageFile] = []
    others = 0
    for path in _walk(folder, folder, root, files):
        if path.suffix.lower() not in SUFFIXES and not path.is_dir():
            others += 1
        else:
            files.append(ImageFile(_name(path, folder), path, _refusal(path, root)))
    if not files:
        raise InputError(f"{folder}: holds no image; {EXPECTED}, known by the suffix")
    return ImageFolder(sorted(files), others)


def _walk(
    start: Path, folder: Path, root: Path, refused: list[ImageFile], above: tuple[Path, ...] = ()
) -> Iterator[Path]:
    """All that is no folder, and links to folders that are not followed: out of `root`, or to one that they lie in.

    A folder that cannot be listed goes to `refused`; `above` are those in which the links lie that led to `start`.
    """

    def refuse(error: OSError) -> None:
        path = Path(error.filename)
        refused.append(ImageFile(_name(path, folder), path, f"cannot be listed: {error.strerror}"))

    for parent, folders, names in os.walk(start, onerror=refuse):
        yield from (Path(parent, name) for name in names)
        for path in (path for name in folders if (path := Path(parent, name)).is_symlink()):
            target, holds = path.resolve(), (*above, Path(parent).resolve())
            if target.is_relative_to(root) and not any(each.is_relative_to(target) for each in holds):
                yield from _walk(path, folder, root, refused, holds)
            else:
                yield path


def _name(path: Path, folder: Path) -> str:
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def _refusal(path: Path, root: Path) -> str:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return "is a link that leads nowhere, or a file that cannot be reached"
    if not target.is_relative_to(root):
        return "is a link out of the folder"
    if target.is_dir():
        return "is a link to a folder that it lies in"
    return "" if target.is_file() else "is no regular file"
