"""From a CSV or a folder of images to training, validation and calibration inputs, split before any statistic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ...runtime.bundle import Image, Treatment
from ...runtime.errors import InputError
from ...runtime.images.folders import ImageFile, image_files, read_file
from ...runtime.rows.cells import bad_reason
from ...runtime.rows.csv_text import TableFormat
from ...runtime.rows.fields import Field
from ...runtime.rows.tables import read_column, read_rows, read_sample
from ...runtime.rows.times import TIME_NAMES, is_break, parse_time, period_of
from .columns import MOST_LEVELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARES = {"calibration": 0.2, "validation": 0.1, "train": 0.7}
"""Share of the inputs that each part of the split gets, in the order in which they follow each other in time."""

_BLOCKS = 10
"""Ordered data is cut into this many blocks and each block is split, so that every part sees the whole recording:
with one cut, slow drift (the day, the season) would all land in the calibration rows."""

_LEAST_WITH_GAP = 4
"""Windows in the validation part of a block from which on there is a gap between the parts."""

_MOST_BAD = 0.2
"""Share of bad rows above which training is refused: the rest is no longer a fair sample."""

_LEAST_OF_A_TEXT = 10
"""How often each text of a category must come up, on average."""

CHANNELS = {"grey": ("grey",), "colour": ("red", "green", "blue")}
"""Names of the columns of an image, which are its channels."""

_LOOKED_AT, _COLOUR = 50, 24
"""Images that decide whether a folder is in colour, and how far apart the channels of a pixel must be for it."""


@dataclass(frozen=True)
class Selection:
    """Which columns of a file are features, and what is done with them; empty leaves the choice to `choose_columns`."""

    columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    time_column: str | None = None
    class_column: str | None = None
    """What recipe cvae is conditioned on."""
    treatments: Mapping[str, Treatment] = field(default_factory=dict)
    """By column, what is done with its values; see `columns.plan_columns`."""


class Table(NamedTuple):
    """Normal rows or images, ready to be split.

    `values` is float32 (rows, features) without bad rows, or uint8 (images, height, width, channels); `segment` (rows,)
    numbers the stretches of rows that follow each other without a bad row or a jump in time; `period_s` is the median
    time step, None without time stamps; `notes` say what was done to the columns and rows, for the user; `texts` are
    those of the columns that hold text; `classes` are the folders of the images and `class_of` each image's.
    """

    values: NDArray[np.float32] | NDArray[np.uint8]
    names: tuple[str, ...]
    time_column: str | None
    segment: NDArray[np.int64]
    period_s: float | None
    notes: list[str]
    sha256: str
    texts: Mapping[str, tuple[str, ...]] = {}
    image: Image | None = None
    classes: tuple[str, ...] = ()
    class_of: NDArray[np.int64] | None = None


class Split(NamedTuple):
    """Index of the first row of every input of each part."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]


def load_table(path: Path, selection: Selection, form: TableFormat, *, numbers_only: bool = False) -> Table:
    """The features of a CSV file. Columns of a few texts are categories, unless `numbers_only`.

    Raises
    ------
    InputError
        when there is nothing to learn from: no numeric column, a column named in `selection` that is missing or
        holds text, or more than a fifth of the rows bad
    """
    header, sample = read_sample(path, form)
    time_column = find_time_column(header, sample, selection.time_column)
    texts = {} if numbers_only else few_texts(path, header, sample, selection, time_column, form)
    names, notes = choose_columns(header, sample, selection, time_column, form, texts)
    if not form.header and names != header:
        missed = next(name for at, name in enumerate(header) if names[at : at + 1] != [name])
        raise InputError(
            f"{path}: column {missed!r} is no feature or out of order, but columns can be told apart only by a header; "
            "add one, or leave only the features in the file"
        )
    if time_column is not None:
        notes.insert(0, f"time stamps: column {time_column!r}")
    fields = [Field(name, tuple(texts.get(name, ()))) for name in names]
    chunks = list(read_rows(path, fields, form=form, time_column=time_column))
    values = np.concatenate([chunk.values for chunk in chunks])
    bad = {chunk.first + index: cell for chunk in chunks for index, cell in chunk.bad.items()}
    times = np.concatenate([chunk.times for chunk in chunks if chunk.times is not None]) if time_column else None
    if bad:
        row, why = next(iter(bad.items()))
        text = f"{len(bad)} of {len(values)} rows left out: a missing or bad cell (first: row {row}, {why})"
        if len(bad) > _MOST_BAD * len(values):
            raise InputError(f"{path}: {text}; more than a fifth is too much, mend the file or --exclude the column")
        notes.append(text)
    kept = np.ones(len(values), np.bool_)
    kept[list(bad)] = False
    segment, period_s = _segments(kept, times)
    digest = sha256(path.read_bytes()).hexdigest()
    return Table(values[kept], tuple(names), time_column, segment[kept], period_s, notes, digest, texts)


def load_images(folder: Path, size: Sequence[int], colour: str, *, by_class: bool = False) -> Table:
    """The images of a folder; of one laid out like MVTec (`train/good`, `test/...`) those in `train`.

    Parameters
    ----------
    size : (height, width) in pixels, to which every image is brought
    colour : "grey", "colour", or "auto" for colour where one of the first images has some
    by_class : take the names of the subfolders as classes

    Raises
    ------
    InputError
        when there are no images, more than a fifth of them are bad, or there are no subfolders to tell classes
    """
    root = folder / "train" if (folder / "train").is_dir() else folder
    files = image_files(root).files
    mode = _mode(files, colour)
    image = Image(int(size[0]), int(size[-1]), mode)
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
        if len(bad) > _MOST_BAD * len(files):
            raise InputError(f"{root}: {notes[0]}; more than a fifth is too much, mend the folder")
    if len(values) > 1 and all(np.array_equal(values[0], each) for each in values[1:]):
        notes.append(f"all {len(values)} images are the same: whatever differs from them will be an anomaly")
    digest = sha256()
    for file in kept:
        digest.update(file.name.encode() + b"\0" + file.path.read_bytes())
    folders = [file.name.rpartition("/")[0] for file in kept]
    classes = tuple(sorted(set(folders))) if by_class else ()
    if by_class and len(classes) < 2:
        raise InputError(f"{root}: recipe cvae takes the folders of images as their classes, expected at least 2")
    return Table(
        np.stack(values),
        CHANNELS[mode],
        None,
        np.zeros(len(values), np.int64),
        None,
        notes,
        digest.hexdigest(),
        image=image,
        classes=classes,
        class_of=np.array([classes.index(name) for name in folders]) if by_class else None,
    )


def _mode(files: Sequence[ImageFile], colour: str) -> Literal["grey", "colour"]:
    if colour != "auto":
        return "grey" if colour == "grey" else "colour"
    small = Image(32, 32, "colour")
    for file in files[:_LOOKED_AT]:
        with suppress(InputError):
            pixels = read_file(file, small)
            if np.ptp(pixels.astype(np.int64), axis=-1).max() > _COLOUR:
                return "colour"
    return "grey"


def few_texts(
    path: Path,
    header: Sequence[str],
    sample: Sequence[Sequence[str]],
    selection: Selection,
    time_column: str | None,
    form: TableFormat,
) -> dict[str, tuple[str, ...]]:
    """By column, the texts of those that hold at most `MOST_LEVELS` different ones, each several times."""
    found = {}
    wanted = {*(selection.columns or header), *([selection.class_column] if selection.class_column else [])}
    for position, name in enumerate(header):
        cells = [row[position].strip() for row in sample if position < len(row) and row[position].strip()]
        numeric = sum(not bad_reason(form.with_point(cell)) for cell in cells)
        if name not in wanted or name in selection.exclude or name in ("", time_column) or 2 * numeric > len(cells):
            continue
        filled = [cell for cell in map(str.strip, read_column(path, name, form)) if cell]
        texts = sorted(set(filled))
        if 1 < len(texts) <= MOST_LEVELS and len(filled) >= _LEAST_OF_A_TEXT * len(texts):
            found[name] = tuple(texts)
    return found


def find_time_column(header: Sequence[str], sample: Sequence[Sequence[str]], named: str | None) -> str | None:
    """The column that holds time stamps: the one named, else one with a usual name, else a first column of dates."""
    if named is not None:
        if named not in header:
            raise InputError(f"time column {named!r} is not in the header: {', '.join(map(repr, header))}")
        return named
    for position, name in enumerate(header):
        cells = [row[position] for row in sample if position < len(row) and row[position].strip()]
        readable = [cell for cell in cells if not np.isnan(parse_time(cell))]
        dates = [cell for cell in readable if bad_reason(cell)]
        # Half, not all: a few damaged stamps must not turn the clock into a feature.
        stamps = readable if name.lower() in TIME_NAMES else dates if position == 0 else []
        if 2 * len(stamps) > len(cells):
            return name
    return None


def choose_columns(
    header: Sequence[str],
    sample: Sequence[Sequence[str]],
    selection: Selection,
    time_column: str | None,
    form: TableFormat,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[str], list[str]]:
    """Names of the feature columns, and notes on those left out.

    Columns that the user names must be numeric. Otherwise every column is taken whose filled cells in the first rows
    are mostly numbers.
    """
    named = [selection.class_column] if selection.class_column else []
    for name in (*selection.columns, *selection.exclude, *selection.treatments, *named):
        if name not in header:
            raise InputError(f"column {name!r} is not in the header: {', '.join(map(repr, header))}")
    candidates = [n for n in selection.columns or header if n not in selection.exclude and n != time_column]
    candidates += [name for name in named if name not in candidates]
    chosen, notes = [], []
    for name in candidates:
        if not name:  # the row numbers that pandas writes
            notes.append("a column without a name left out")
            continue
        position = list(header).index(name)
        cells = [row[position] for row in sample if position < len(row) and row[position].strip()]
        numeric = [cell for cell in cells if not bad_reason(form.with_point(cell))]
        if len(numeric) * 2 > len(cells) or name in (texts or {}):
            chosen.append(name)
            continue
        what = f"holds text ({cells[0]!r})" if cells else "is empty"
        if name in (*selection.columns, *named):
            raise InputError(
                f"column {name!r} {what}, expected numbers, or 2 to {MOST_LEVELS} different texts that come up at "
                f"least {_LEAST_OF_A_TEXT} times each on average"
            )
        notes.append(f"column {name!r} left out: {what}")
    if not chosen:
        raise InputError("no numeric column is left to learn from; the header has " + ", ".join(map(repr, header)))
    return chosen, notes


def _segments(kept: NDArray[np.bool_], times: NDArray[np.float64] | None) -> tuple[NDArray[np.int64], float | None]:
    """Number of each row's unbroken stretch, and the median time step."""
    breaks = np.zeros(len(kept), np.int64)
    breaks[1:] |= ~kept[:-1]
    if times is None or len(times) == 1:
        return np.cumsum(breaks), None
    period_s = period_of(times)
    if period_s is None:
        raise InputError("the time stamps never go forward; name the right column with --time-column")
    breaks[1:] |= is_break(np.diff(times), 1, period_s)
    return np.cumsum(breaks), period_s


def split(table: Table, *, window: int, stride: int, ordered: bool, seed: int) -> Split:
    """Inputs for training, validation and calibration. None of calibration shares a row with another part.

    Ordered data is split in blocks, with a gap of one window between the parts where blocks are long enough, since
    neighbours are alike and would make validation and calibration too easy. The last block ends in its training part,
    since what will be scored is most like what was recorded last, and every other block is turned round: blocks of
    whole days would else be calibrated by the same hours of each. Other rows are shuffled.
    """
    rows = len(table.values)
    if not ordered:
        order = np.random.default_rng(seed).permutation(rows)
        first, second = (round(share * rows) for share in (SHARES["train"], SHARES["train"] + SHARES["validation"]))
        return Split(*(np.sort(part) for part in np.split(order, [first, second])))
    blocks = max(1, min(_BLOCKS, rows // (20 * window)))
    edges = np.linspace(0, rows, blocks + 1).astype(int)
    cuts = np.cumsum([0.0, *SHARES.values()])
    gap = window if SHARES["validation"] * rows / blocks >= _LEAST_WITH_GAP * window else 0
    parts: dict[str, list[NDArray[np.int64]]] = {name: [] for name in SHARES}
    for number, (low, high) in enumerate(pairwise(edges), start=1):
        turned = (blocks - number) % 2 == 1
        places = low + np.rint((1 - cuts[::-1] if turned else cuts) * (high - low)).astype(int)
        for name, (begin, end) in zip(reversed(SHARES) if turned else SHARES, pairwise(places), strict=True):
            # An input ends a gap before its part does. Where there is none, validation reaches into the training rows:
            # a tenth of a short recording may hold no window, and nothing is promised from it.
            reach = window - 1 if name == "validation" and not gap else 0
            first, last = (max(begin - reach, low), end) if turned else (begin, min(end + reach, high))
            parts[name].append(np.arange(first, last - window - gap + 1))
    found = {name: _unbroken(np.concatenate(part), table.segment, window) for name, part in parts.items()}
    return Split(found["train"][::stride], found["validation"], found["calibration"])


def _unbroken(starts: NDArray[np.int64], segment: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Those of the inputs that lie within one segment."""
    unbroken: NDArray[np.int64] = starts[segment[starts] == segment[starts + window - 1]]
    return unbroken


def covered_rows(starts: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """The rows that inputs starting at `starts` touch, each once."""
    touched = np.zeros(int(starts.max()) + window, np.bool_)
    for offset in range(window):
        touched[starts + offset] = True
    return np.flatnonzero(touched)
