"""From a folder of images to a table of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...runtime.bundle import Image
from ...runtime.errors import InputError, few
from ...runtime.images.folders import ImageFile, digest_of, image_files, read_file
from ...runtime.images.reading import brightest_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray
from .holes import MOST_BAD
from .loading import Table
from .wording import seems_normal

CHANNELS = {"grey": ("grey",), "colour": ("red", "green", "blue")}
"""Names of the columns of an image, which are its channels."""

_LOOKED_AT, _COLOUR = 50, 24
"""Images that decide whether a folder is in colour, and how far apart the channels of a pixel must be for it."""


def load_images(
    folder: Path, size: Sequence[int], colour: str, *, by_class: bool = False, normal: Sequence[str] = ()
) -> Table:
    """The images of a folder; of one laid out like MVTec (`train/good`, `test/...`) those in `train`.

    Parameters
    ----------
    size : (height, width) in pixels, to which every image is brought
    colour : "grey", "colour", or "auto" for colour where one of the first images has some
    by_class : take the names of the subfolders as classes
    normal : names of the subfolders to take; empty for all

    Raises
    ------
    InputError
        when there are no images, more than a fifth of them are bad, there are no subfolders to tell classes, or their
        names say that some are not normal and nobody chose
    """
    root = folder / "train" if (folder / "train").is_dir() else folder
    files = image_files(root, folder).files
    files = files if by_class and not normal else choose_folders(files, root, normal)
    brightest = _brightest(files)
    bits = max(8, brightest.bit_length()) if brightest else 16
    mode = _mode(files, colour, bits)
    image = Image(int(size[0]), int(size[-1]), mode, bits)
    values, kept, notes = _read(root, files, image)
    if brightest:
        notes.append(f"16-bit images: samples go up to {brightest}, so white is {2**bits - 1}")
    folders = [file.name.rpartition("/")[0] for file in kept]
    classes = tuple(sorted(set(folders))) if by_class else ()
    if by_class and len(classes) < 2:
        raise InputError(f"{root}: recipe cvae takes the folders of images as their classes, expected at least 2")
    return Table(
        values,
        CHANNELS[mode],
        None,
        np.zeros(len(values), np.int64),
        None,
        notes,
        digest_of(kept),
        image=image,
        classes=classes,
        class_of=np.array([classes.index(name) for name in folders]) if by_class else None,
    )


def choose_folders(files: Sequence[ImageFile], root: Path, normal: Sequence[str]) -> list[ImageFile]:
    """Those in folders of these names, all for none. Raises InputError where that is none, or had better be asked."""
    folders = sorted({name for file in files for name in file.name.split("/")[:-1]})
    missing = [name for name in normal if name not in folders]
    if missing:
        raise InputError(f"{root}: holds no folder {missing[0]!r}; its folders are {few(map(repr, folders))}")
    good = [name for name in folders if seems_normal(name)]
    if not normal and good and any(seems_normal(name) is False for name in folders):
        raise InputError(
            f"{root}: not all of its folders seem to be of normal images: {few(map(repr, folders))}; name those that "
            f"are, like {' '.join(f'--normal {shlex.quote(name)}' for name in good)}"
        )
    return [file for file in files if not normal or {*normal} & {*file.name.split("/")[:-1]}]


def _read(root: Path, files: Sequence[ImageFile], image: Image) -> tuple[NDArray[np.uint8], list[ImageFile], list[str]]:
    """The images that can be read (images, height, width, channels), their files, and notes for the user."""
    values, kept, bad = [], [], []
    for file in files:
        try:
            values.append(read_file(file, image))
            kept.append(file)
        except InputError as error:
            bad.append(f"{file.name} {error}")
    notes = []
    if bad:
        notes.append(f"{len(bad)} of {len(files)} images left out (first: {bad[0]})")
        if len(bad) > MOST_BAD * len(files):
            raise InputError(f"{root}: {notes[0]}; more than a fifth is too much, mend the folder")
    if len(values) > 1 and all(np.array_equal(values[0], each) for each in values[1:]):
        notes.append(f"all {len(values)} images are the same: whatever differs from them will be an anomaly")
    return np.stack(values), kept, notes


def _brightest(files: Sequence[ImageFile]) -> int:
    """The largest sample of the images of 16 bits, 0 where there is none."""
    most = 0
    for file in files:
        if not file.refusal:
            with suppress(InputError):  # which is said when it is read
                most = max(most, brightest_sample(file.path))
    return most


def _mode(files: Sequence[ImageFile], colour: str, bits: int) -> Literal["grey", "colour"]:
    if colour != "auto":
        return "grey" if colour == "grey" else "colour"
    small = Image(32, 32, "colour", bits)
    for file in files[:_LOOKED_AT]:
        with suppress(InputError):
            pixels = read_file(file, small)
            if np.ptp(pixels.astype(np.int64), axis=-1).max() > _COLOUR:
                return "colour"
    return "grey"
