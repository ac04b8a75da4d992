"""Where labels come from: a column of the recording, a file with one, or a file of ranges of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, few
from ...runtime.layout import Declared, Layout
from ...runtime.rows.cells import shown
from ...runtime.rows.table_files import name_of
from ...runtime.rows.tables import read_column, read_sample
from ..data.suspects import is_label
from .ranges import Ranges, find_ends, labels_of, read_ranges
from .words import NORMAL, UNREVIEWED, Column, read_words

Labels: TypeAlias = Callable[[int, NDArray[np.float64] | None], NDArray[np.int64]]
"""From the number of rows and their times, seconds (rows,), None without any, to `FAULT`, `NORMAL` or `UNREVIEWED`."""

_LABEL, _KEY = "label", "key"
"""Headers of a file of ranges that say what each is, and whose: those of the events that a service kept."""

ALL_NORMAL = "none"
"""What is typed for labels where nothing is anomalous."""


def read_labels(
    data: Path | Sequence[Path],
    where: str,
    layout: Layout,
    *,
    anomalous: Sequence[str] = (),
    partly: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Labels:
    """The labels of a recording, or of several one after the other, for when their rows are read.

    Parameters
    ----------
    where : a column of `data`; or a CSV file with a label for each row, or with ranges of time in columns like start
        and end; or `ALL_NORMAL`
    layout : of `data`; a file of labels is recognised
    anomalous, partly : as in `words.read_words`; rows outside of all ranges are normal, or `UNREVIEWED` where `partly`
    say : called with a line for the user, where what labels say had to be worked out

    Raises
    ------
    InputError
        when column or file are missing, or do not say which rows are anomalous; later, when there are not as many
        labels as rows, or no row lies in any range
    """
    files = [data] if isinstance(data, Path) else data
    if where in read_sample(files[0], layout, rows=1)[0]:  # a file cannot hijack a column
        return _of_column(files, where, layout, anomalous, partly, say)
    path, form = Path(where), Layout(declared=Declared())
    if not path.is_file():
        if where == ALL_NORMAL:
            return lambda rows, times: np.full(rows, NORMAL)
        return _of_column(files, where, layout, anomalous, partly, say)  # which says what columns there are
    header, _ = read_sample(path, form)
    ends = find_ends(header)
    if ends is None:
        return _of_column([path], _label_column(path, header), form, anomalous, partly, say)
    begins, finishes = (read_column(path, name, form) for name in ends)
    ranges = read_ranges(begins, finishes, str(path), layout.stamps)
    if _LABEL in header:
        ranges = ranges._replace(labels=labels_of(read_column(path, _LABEL, form), anomalous))
    keys = None
    if _KEY in header:
        ranges = ranges._replace(keys=[cell.strip() for cell in read_column(path, _KEY, form)])
        keys = _keys_of(files, layout, ranges)
    outside = UNREVIEWED if partly else NORMAL
    return lambda rows, times: ranges.at(times, outside=outside, say=say, keys=keys)


def _keys_of(files: Sequence[Path], layout: Layout, ranges: Ranges) -> NDArray[np.str_] | None:
    """Whose rows those of a recording are, (rows,); None where it does not say so."""
    if layout.key is not None:
        return np.array([cell.strip() for path in files for cell in read_column(path, layout.key, layout)])
    known = sorted(set(ranges.keys or ()))
    if len(known) > 1:
        raise InputError(
            f"{ranges.source}: is about {len(known)} keys, {few(map(shown, known))}, and the recording has no column "
            "of keys that the model knows; keep the lines of the one that it is of"
        )
    return None


def _label_column(path: Path, header: Sequence[str]) -> str:
    named = [name for name in header if is_label(name)]
    if len(header) == 1 or len(named) == 1:
        return (named or list(header))[0]
    raise InputError(
        f"{path}: is no file of labels; expected one column, one that is named label, or two that are named start and "
        f"end for ranges of time, and found {few(map(shown, header), 12)}"
    )


def _of_column(
    files: Sequence[Path],
    name: str,
    layout: Layout,
    anomalous: Sequence[str],
    partly: bool,
    say: Callable[[str], None],
) -> Labels:
    cells, named = [cell for path in files for cell in read_column(path, name, layout)], name_of(files)
    label, note = read_words(Column(cells, f"{named}: column {name!r}", name), anomalous, partly=partly)
    if note:
        say(note)

    def of_rows(rows: int, _times: NDArray[np.float64] | None) -> NDArray[np.int64]:
        if rows != len(label):
            raise InputError(f"{len(label)} labels in {named} for {rows} rows")
        return label

    return of_rows
