"""Scores of normal operation, by which `calibrate` sets a threshold: those of recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..runtime.batch.inputs import one_of_images, read_inputs
from ..runtime.detector import Detector
from ..runtime.errors import InputError
from ..runtime.images.folders import ImageFile, digest_of, find_images
from ..runtime.layout import Layout
from ..runtime.limits import breaks_any
from ..runtime.opening import digest
from ..runtime.rows.table_files import find_tables, name_of
from ..runtime.rows.tables import read_rows
from ..runtime.rows.time_order import in_time_order
from ..runtime.scoring.framing import Framed, Framer

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_INPUTS = 1024


class Normal(NamedTuple):
    """Scores of normal operation."""

    scores: NDArray[np.float32]
    """Where rows follow each other in order of time, of one machine after the other."""
    where: str
    """For people: where they come from."""
    sha256: str
    inputs: NDArray[Any] | None = None
    """Some of them; None where only scores are known."""
    dependence_rows: int | None = None
    """Where not every row has a score: over how many scores high ones may be one event."""
    told: str = ""
    """How many they are, and what was left out."""


class _Sample:
    """Some of the inputs, evenly over all."""

    def __init__(self) -> None:
        self._held: list[NDArray[Any]] = []
        self._stride, self._wait = 1, 0

    def add(self, inputs: NDArray[Any]) -> None:
        self._held += [each.copy() for each in inputs[self._wait :: self._stride]]
        self._wait = (self._wait - len(inputs)) % self._stride
        while len(self._held) > 2 * _MOST_INPUTS:
            self._held = self._held[::2]
            self._stride *= 2

    @property
    def inputs(self) -> NDArray[Any]:
        along = np.linspace(0, len(self._held) - 1, min(len(self._held), _MOST_INPUTS)).astype(int)
        return np.stack([self._held[place] for place in along.tolist()])


def of_recordings(detector: Detector, data: Sequence[Path], layout: Layout) -> Normal:
    """The scores of tables, each a recording of its own, or of a folder of images.

    Rows without a score are left out, and such as break a limit, which are not normal.

    Raises
    ------
    InputError
        when one cannot be read, or the detector has learnt from it
    """
    bundle = detector.bundle
    is_images = bundle.image is not None
    files = [one_of_images(data)] if is_images else find_tables(data).files
    identity = digest_of(_readable(files[0])) if is_images else digest(*files)
    _refuse_learnt(detector, files, identity)
    scores: list[NDArray[np.float32]] = []
    keys, sample = list[str](), _Sample()
    rows = beyond = 0
    for framed, of_rows in _framed(detector, files, layout):
        found = detector.score(framed.inputs)
        broken = breaks_any(framed.inputs, bundle.limits, bundle.names)
        usable = found.scored & ~broken
        rows, beyond = rows + len(framed.status), beyond + int(np.count_nonzero(broken))
        scores.append(found.score[usable])
        sample.add(framed.inputs[usable])
        if of_rows is not None:
            keys += [of_rows[row] for row in np.flatnonzero(framed.full)[usable].tolist()]
    where, one = name_of(data), "images" if is_images else "rows"
    whole = np.concatenate(scores) if scores else np.empty(0, np.float32)
    if not len(whole):
        raise InputError(f"{where}: none of {rows} {one} has a score to calibrate by")
    if keys:  # one machine after the other: those of a moment are no neighbours
        whole = whole[np.argsort(np.unique(keys, return_inverse=True)[1], kind="stable")]
    told = f"{where}: {rows} {one}, {len(whole)} with a score to calibrate by"
    told += f"; {beyond} break a limit and are left out" if beyond else ""
    return Normal(whole, where, identity, sample.inputs, told=told)


def _framed(detector: Detector, files: Sequence[Path], layout: Layout) -> Iterator[tuple[Framed, list[str] | None]]:
    """Inputs of all rows in order of time, or of images, with the key of each row where there are keys."""
    bundle = detector.bundle
    if bundle.image is not None:
        yield from ((inputs.framed, None) for inputs in read_inputs(detector, files, layout))
        return
    for number, path in enumerate(files):
        framer = Framer.of(bundle)
        for rows in in_time_order(read_rows(path, bundle.columns, layout=bundle.data.complete(layout))).chunks:
            framed, framer = framer.frame(rows)
            # The same key in two files is two recordings.
            yield framed, None if rows.keys is None else [f"{number} {key}" for key in rows.keys]


def _readable(folder: Path) -> list[ImageFile]:
    return [file for file in find_images(folder).files if not file.refusal]


def _refuse_learnt(detector: Detector, files: Sequence[Path], identity: str) -> None:
    """Raises InputError when these are what the detector has learnt from, or one of them is among that."""
    data = detector.bundle.data
    known = {data.sha256, *data.files}
    learnt = next((path for path in files if path.is_file() and digest(path) in known), None)
    if learnt is None and identity == data.sha256:
        learnt = files[0]
    if learnt is not None:
        raise InputError(
            f"{learnt}: the model was trained on this, so it looks more normal to it than others; give another "
            "recording of normal operation"
        )
