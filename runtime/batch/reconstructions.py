"""What a detector expects instead of rows and images, and new ones from its prior: back from numbers to data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..bundle import Bundle, Column
from ..detector import Detector
from ..errors import InputError
from ..images.folders import find_images
from ..images.pictures import grid, picture_paths, png, to_pixels, write_picture
from ..layout import Layout
from ..output import check_suffix, text_written_aside, written_aside
from ..rows.fields import UNKNOWN, write_number
from ..rows.writers import CsvWriter, Schema, Table
from ..scoring.framing import fill
from ..scoring.results import SCORED
from .inputs import mark_overflows, read_inputs
from .summary import Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray


def reconstruct(detector: Detector, data: Path, layout: Layout) -> Iterator[tuple[NDArray[np.float32], list[str]]]:
    """What is expected instead of every row of a CSV or every image of a folder, in order, and their status.

    In raw units, (n, features) or (n, height, width, channels); of a window its newest row; NaN where there is
    none. A class column is given to the model, not expected by it: it stays as it was.

    Raises
    ------
    InputError
        when `data` is not what the detector takes, or cannot be read; a bad row or image does not raise
    """
    classes = [place for place, column in enumerate(detector.bundle.columns) if column.treatment == "class"]
    for _, framed, _ in read_inputs(detector, data, layout):
        values, inputs = detector.reconstruct(framed.inputs), framed.inputs
        if detector.bundle.kind == "windows":
            values, inputs = values[:, -1], inputs[:, -1]
        values[:, classes] = inputs[:, classes]
        mark_overflows(framed, np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim)))))
        yield fill(values, framed.full, len(framed.status)), framed.status


def write_reconstructions(detector: Detector, data: Path, out: Path, *, layout: Layout, force: bool = False) -> Summary:
    """Writes what the detector expects instead of a CSV, or instead of a folder of images.

    A CSV gets the detector's columns and a line for every row, of empty cells where there is no reconstruction.
    Images become PNGs with their names in the folder `out`; one that cannot be read has none.

    Raises
    ------
    InputError
        when `data` is not what the detector takes, or a file to write exists and not `force`
    """
    bundle = detector.bundle
    summary = Summary(bundle.kind, "reconstructed")
    if bundle.image is not None:
        paths = iter(_png_paths(out, data, force=force))
        for values, status in reconstruct(detector, data, layout):
            _write_images(values, status, paths)
            summary.add(status)
        return summary
    check_suffix(out, ".csv")
    with text_written_aside(out, force=force) as file:
        writer = CsvWriter(file, _schema(bundle))
        for values, status in reconstruct(detector, data, layout):
            writer.write(_table(values, bundle.columns, np.array([one not in SCORED for one in status], np.bool_)))
            summary.add(status)
        writer.close()
    return summary


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
    if bundle.image is not None:
        with written_aside(out, force=force) as picture:
            picture.write(png(grid(to_pixels(samples))))
        return
    counted = _counters(bundle, len(samples))
    with text_written_aside(out, force=force) as file:
        writer = CsvWriter(file, {**dict.fromkeys(counted, int), **_schema(bundle)})
        writer.write({**counted, **_table(samples.reshape(-1, len(bundle.columns)), bundle.columns)})
        writer.close()


# --- tables ----------------------------------------------------------------------------------------------------------


def _schema(bundle: Bundle) -> Schema:
    return {column.name: str if column.treatment in ("category", "class") else float for column in bundle.columns}


def _counters(bundle: Bundle, n: int) -> dict[str, NDArray[np.int64]]:
    """Which window each row of `n` samples belongs to, and which row of it it is; nothing for samples of rows."""
    if bundle.kind == "rows":
        return {}
    numbers = {"window": np.repeat(np.arange(n), bundle.window), "row": np.tile(np.arange(bundle.window), n)}
    return {f"{name}_number" if name in bundle.names else name: values for name, values in numbers.items()}


def _table(values: NDArray[np.float32], columns: Sequence[Column], is_absent: NDArray[np.bool_] | None = None) -> Table:
    """Rows (n, features) as a table has them: categories and classes by their nearest level, as it is written."""
    absent = np.zeros(len(values), np.bool_) if is_absent is None else is_absent
    return {
        column.name: _texts(values[:, place], column, absent)
        if column.treatment in ("category", "class")
        else np.ma.array(values[:, place], mask=absent)
        for place, column in enumerate(columns)
    }


def _texts(values: NDArray[np.float32], column: Column, is_absent: NDArray[np.bool_]) -> list[str | None]:
    names = column.texts or tuple(map(write_number, column.levels))
    levels = np.arange(len(names)) if column.texts else np.array(column.levels)
    nearest = np.abs(np.nan_to_num(values)[:, None] - levels).argmin(axis=1)
    unknown = is_absent | ((values == UNKNOWN) & (column.treatment == "class"))
    return [None if nothing else names[place] for place, nothing in zip(nearest, unknown, strict=True)]


# --- images ----------------------------------------------------------------------------------------------------------


def _write_images(images: NDArray[np.float32], status: Sequence[str], paths: Iterator[Path]) -> None:
    for image, one, path in zip(images, status, paths, strict=False):  # of `paths` the rest is for the next images
        if one in SCORED:
            write_picture(path, png(to_pixels(image)))


def _png_paths(folder: Path, data: Path, *, force: bool) -> list[Path]:
    """Where the reconstruction of each image goes."""
    if (folder.exists() and not folder.is_dir()) or folder.suffix == ".csv":
        raise InputError(f"{folder}: reconstructions of images go into a folder, not into a file")
    return picture_paths(folder, data, find_images(data).files, what="reconstruction", force=force)
