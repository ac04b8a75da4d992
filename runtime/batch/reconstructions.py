"""What a detector expects instead of rows and images, and new ones from its prior: back from numbers to data."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..bundle import Column
from ..detector import Detector
from ..errors import InputError
from ..images.reading import import_pillow
from ..rows.fields import UNKNOWN, write_number
from ..rows.tables import TableFormat
from ..scoring.results import OK, fill
from .inputs import Outcome, check_suffix, mark_overflows, read_inputs
from .scores import find_images, picture_paths, write_picture, written_aside

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GAP, _SMALLEST_TILE = 2, 96
"""Pixels between the images of a grid, and the height below which they are enlarged."""


def reconstruct(detector: Detector, data: Path, form: TableFormat) -> Iterator[tuple[NDArray[np.float32], list[str]]]:
    """What is expected instead of every row of a CSV or every image of a folder, in order, and their status.

    In raw units, (n, features) or (n, height, width, channels); of a window its newest row; NaN where status is not
    ok. A class column is given to the model, not expected by it: it stays as it was.

    Raises
    ------
    InputError
        when `data` is not what the detector takes, or cannot be read; a bad row or image does not raise
    """
    classes = [place for place, column in enumerate(detector.bundle.columns) if column.treatment == "class"]
    for _, framed in read_inputs(detector, data, form):
        values, inputs = detector.reconstruct(framed.inputs), framed.inputs
        if detector.bundle.kind == "windows":
            values, inputs = values[:, -1], inputs[:, -1]
        values[:, classes] = inputs[:, classes]
        mark_overflows(framed, np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim)))))
        yield fill(values, framed.full, len(framed.status)), framed.status


def write_reconstructions(
    detector: Detector, data: Path, out: Path, *, form: TableFormat, force: bool = False
) -> Outcome:
    """Writes what the detector expects instead of a CSV, or instead of a folder of images.

    A CSV gets the detector's columns and a line for every row, of empty cells where there is no reconstruction.
    Images become PNGs with their names in the folder `out`; one that cannot be read has none.

    Raises
    ------
    InputError
        when `data` is not what the detector takes, or a file to write exists and not `force`
    """
    by_status = Counter[str]()

    def chunks() -> Iterator[tuple[NDArray[np.float32], list[str]]]:
        for values, status in reconstruct(detector, data, form):
            by_status.update(status)
            yield values, status

    if detector.bundle.image is not None:
        _write_images(chunks(), _png_paths(out, data, force=force))
    else:
        check_suffix(out, ".csv")
        columns = detector.bundle.columns
        with written_aside(out, force=force) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(detector.bundle.names)
            for values, status in chunks():
                for cells, one in zip(_cells(values, columns), status, strict=True):
                    writer.writerow(cells if one == OK else [""] * len(columns))
    return Outcome(detector.bundle.kind, "reconstructed", by_status)


def write_samples(detector: Detector, n: int, out: Path, *, seed: int = 0, force: bool = False) -> None:
    """Writes `n` new rows, windows or images from the prior: a CSV, or one PNG with a grid of the images.

    A CSV has the detector's columns, in raw units; before them, for windows, `window` and `row`, both from 0.

    Raises
    ------
    InputError
        when `n` is negative, or `out` exists and not `force`
    ModelError
        for a recipe without a prior
    """
    bundle = detector.bundle
    check_suffix(out, ".csv" if bundle.image is None else ".png")
    samples = detector.sample(n, seed=seed)
    with written_aside(out, force=force) as file:
        if bundle.image is not None:
            file.buffer.write(png(grid(to_pixels(samples))))
            return
        writer = csv.writer(file, lineterminator="\n")
        if bundle.kind == "rows":
            writer.writerow(bundle.names)
            writer.writerows(_cells(samples, bundle.columns))
            return
        writer.writerow(("window", "row", *bundle.names))
        for number, window in enumerate(samples):
            writer.writerows((number, row, *cells) for row, cells in enumerate(_cells(window, bundle.columns)))


# --- tables ----------------------------------------------------------------------------------------------------------


def _cells(values: NDArray[np.float32], columns: Sequence[Column]) -> Iterator[tuple[str, ...]]:
    """Rows (n, features) as a table has them: categories and classes by their nearest level, as it is written."""
    written = [_column_cells(values[:, place], column) for place, column in enumerate(columns)]
    return zip(*written, strict=True)


def _column_cells(values: NDArray[np.float32], column: Column) -> list[str]:
    if column.treatment not in ("category", "class"):
        texts: list[str] = values.astype(str).tolist()  # the fewest digits that read back as the same float32
        return texts
    names = column.texts or tuple(map(write_number, column.levels))
    levels = np.arange(len(names)) if column.texts else np.array(column.levels)
    nearest = np.abs(np.nan_to_num(values)[:, None] - levels).argmin(axis=1)  # NaN is written as empty later
    is_unknown = (values == UNKNOWN) & (column.treatment == "class")
    return ["" if unknown else names[place] for place, unknown in zip(nearest, is_unknown, strict=True)]


# --- images ----------------------------------------------------------------------------------------------------------


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


def _write_images(chunks: Iterator[tuple[NDArray[np.float32], list[str]]], paths: list[Path]) -> None:
    pairs = chain.from_iterable(zip(images, status, strict=True) for images, status in chunks)
    for path, (image, status) in zip(paths, pairs, strict=True):
        if status == OK:
            write_picture(path, png(to_pixels(image)))


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


def _png_paths(folder: Path, data: Path, *, force: bool) -> list[Path]:
    """Where the reconstruction of each image goes."""
    if (folder.exists() and not folder.is_dir()) or folder.suffix == ".csv":
        raise InputError(f"{folder}: reconstructions of images go into a folder, not into a file")
    return picture_paths(folder, data, find_images(data).files, what="reconstruction", force=force)
