"""Recordings that people have looked at: rows, their scores, and which are confirmed faults or false alarms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...runtime.batch.inputs import refuse_folder, refuse_several_keys
from ...runtime.bundle import Bundle
from ...runtime.detector import Detector
from ...runtime.errors import InputError
from ...runtime.layout import Layout
from ...runtime.rows.tables import read_rows
from ...runtime.rows.time_order import refuse_disorder
from ...runtime.scoring.framing import Framer, fill, windows_at
from .words import FAULT, NORMAL, UNREVIEWED

MOST_LABELS = 200
"""Confirmed faults that are learnt from, and as many confirmed false alarms: each costs time at every row scored."""


_AT_ONCE = 2048


class ScoredRows(NamedTuple):
    """Rows in order, raw units, with the detector's own scores.

    `values` is (rows, features); `usable` (rows,) says which rows have a full input and a finite score, `score` (rows,)
    is NaN elsewhere; `why` says, by row, what is wrong with one that has no input; `times` are seconds, NaN where
    unreadable, or None without a time column.
    """

    values: NDArray[np.float32]
    score: NDArray[np.float32]
    usable: NDArray[np.bool_]
    why: dict[int, str]
    times: NDArray[np.float64] | None = None


def score_recording(detector: Detector, path: Path, layout: Layout) -> ScoredRows:
    """All rows of a CSV with their scores; bad rows and rows before a full window are not usable."""
    refuse_folder(detector, path)
    refuse_several_keys(detector, path, layout)
    bundle, framer = detector.bundle, Framer.of(detector.bundle)
    if bundle.data.layout.resampling is not None:
        raise InputError("a model that looks at rows on a grid of time cannot be fine-tuned with labels of rows")
    parts, why, times = [], {}, []
    for rows in read_rows(path, bundle.columns, layout=bundle.data.complete(layout)):
        if bundle.window > 1:
            refuse_disorder(rows, str(path))
        framed, framer = framer.frame(rows)
        score = fill(detector.score(framed.inputs).score, framed.full, len(rows.values))
        parts.append((rows.values, score))
        times += [] if rows.times is None else [rows.times]
        why.update({rows.first + index: reason for index, reason in enumerate(framed.reason) if reason})
    if not parts:
        raise InputError(f"{path}: no rows after the header")
    values, score = (np.concatenate(each) for each in zip(*parts, strict=True))
    return ScoredRows(values, score, np.isfinite(score), why, np.concatenate(times) if times else None)


def joined(recordings: Sequence[ScoredRows]) -> ScoredRows:
    """One after the other; what is wrong with rows is not kept."""
    values, score, usable = (np.concatenate(parts) for parts in zip(*(each[:3] for each in recordings), strict=True))
    return ScoredRows(values, score, usable, {})


def in_parts(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """In parts, since windows gathered all at once are the recording many times over."""
    return np.array_split(rows, max(1, -(-len(rows) // _AT_ONCE)))


def choose_labels(
    bundle: Bundle, path: Path, recording: ScoredRows, label: NDArray[np.int64], say: Callable[[str], None]
) -> NDArray[np.int64]:
    """The labelled rows that go into the graph, ascending."""
    reviewed = np.flatnonzero(label != UNREVIEWED)
    usable = reviewed[recording.usable[reviewed]]
    if len(usable) < len(reviewed):
        first = reviewed[~recording.usable[reviewed]][0]
        why = recording.why.get(int(first), "the score exceeds float32")
        text = f"{len(reviewed) - len(usable)} of {len(reviewed)} labelled rows cannot be scored (row {first}: {why})"
        if not len(usable):
            raise InputError(f"{path}: {text}")
        say(f"{text}; left out")
    _refuse_contradictions(bundle, path, recording.values, usable, label)
    kept = []
    for value, what in ((FAULT, "faults"), (NORMAL, "false alarms or normal rows")):
        rows = usable[label[usable] == value]
        if len(rows) > MOST_LABELS:
            say(f"{len(rows)} confirmed {what}: {MOST_LABELS} of them, spread evenly over the file, are learnt from")
            rows = rows[np.linspace(0, len(rows) - 1, MOST_LABELS).astype(int)]
        kept.append(rows)
    return np.sort(np.concatenate(kept))


def _refuse_contradictions(
    bundle: Bundle, path: Path, values: NDArray[np.float32], rows: NDArray[np.int64], label: NDArray[np.int64]
) -> None:
    seen: dict[bytes, int] = {}
    for row in rows.tolist():
        first = seen.setdefault(windows_at(values, np.array([row]), bundle.window).tobytes(), row)
        if label[first] != label[row]:
            raise InputError(
                f"{path}: rows {first} and {row} are the same, and labelled {label[first]} and {label[row]}; "
                "one of the labels is wrong",
                row=row,
            )
