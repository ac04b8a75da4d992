"""Tables or a folder of images as the detector's inputs, and what those who write files from them share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..bundle import Image
from ..detector import Detector
from ..errors import InputError, few
from ..images.folders import find_images, read_file
from ..layout import Layout
from ..rows.table_files import find_tables
from ..rows.tables import read_column, read_rows
from ..rows.time_order import refuse_disorder
from ..scoring.framing import Framed, Framer
from ..scoring.results import BAD, OK, OVERFLOW

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES_AT_ONCE = 64
"""Images in one batch, at most; `Detector.chunk` makes it fewer where they are large."""


class Inputs(NamedTuple):
    """Inputs of consecutive rows or images."""

    names: Sequence[int | str]
    """Numbers of the rows, or names of the images."""
    framed: Framed
    file: str | None = None
    """The file that the rows are from, where there are several."""


def read_inputs(detector: Detector, data: Path | Sequence[Path], layout: Layout) -> Iterator[Inputs]:
    """Inputs of all rows of tables, each file a recording of its own, or of the images of a folder, in order.

    Raises
    ------
    InputError
        when `data` is not what the detector takes, or cannot be read; a bad row or image does not raise
    """
    bundle = detector.bundle
    if bundle.image is not None:
        yield from _read_images(detector, one_of_images(data), bundle.image)
        return
    files = find_tables(data).files
    for path in files:
        framer = Framer.of(bundle)
        for rows in read_rows(path, bundle.columns, layout=bundle.data.complete(layout), stream=True):
            if bundle.window > 1 and rows.keys is None:
                refuse_disorder(rows, str(path))
            framed, framer = framer.frame(rows)
            numbers = range(rows.first, rows.first + len(rows.values))
            yield Inputs(numbers, framed, str(path) if len(files) > 1 else None)


def one_of_images(data: Path | Sequence[Path]) -> Path:
    """The folder, or the image, that is named. Raises InputError when there are more."""
    named = [data] if isinstance(data, Path) else data
    if len(named) > 1:
        raise InputError(f"{named[1]}: is one too many, expected one folder or one image")
    return named[0]


def _read_images(detector: Detector, data: Path, image: Image) -> Iterator[Inputs]:
    files = iter(find_images(data).files)
    first = 0
    while chunk := list(islice(files, min(IMAGES_AT_ONCE, detector.chunk))):
        inputs = np.zeros((len(chunk), *image.shape), np.uint8)
        full, status, reason = np.ones(len(chunk), np.bool_), [OK] * len(chunk), [""] * len(chunk)
        for index, file in enumerate(chunk):
            try:
                inputs[index] = read_file(file, image)
            except InputError as error:
                if not data.is_dir():  # one image that cannot be read is a mistake to be told, in many it is a result
                    raise InputError(f"{data}: {error}") from None
                full[index], status[index], reason[index] = False, BAD, str(error)
        yield Inputs([file.name for file in chunk], Framed(first, inputs[full], full, status, reason))
        first += len(chunk)


def mark_overflows(framed: Framed, fine: NDArray[np.bool_]) -> None:
    """Changes the status of rows whose result exceeds float32; `fine` has an element for each input."""
    for index in np.flatnonzero(framed.full)[~fine]:
        framed.status[index] = OVERFLOW


def refuse_folder(detector: Detector, path: Path) -> None:
    """Raises InputError when a detector of rows or windows is given a folder."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, and this model scores {detector.bundle.kind}; expected a CSV file")


def refuse_several_keys(detector: Detector, path: Path, layout: Layout) -> None:
    """Raises InputError when windows would have to be gathered from the rows of several machines in one file."""
    data = detector.bundle.data
    key = data.layout.key
    if key is None or detector.bundle.window == 1:
        return
    found = dict.fromkeys(map(str.strip, read_column(path, key, data.complete(layout))))
    if len(found) > 1:
        raise InputError(
            f"{path}: holds the rows of several {key!r}, {few(map(repr, found), 3)}; this command takes one at a time: "
            "give a file of each"
        )
