"""Tables, or a folder of images, to a CSV of scores, in memory that does not grow with it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..bundle import Bundle, Image
from ..detector import HEAT_WHITE, Detector
from ..errors import InputError, RefusedError
from ..images.folders import ImageFile, read_file
from ..images.pictures import heat_png, write_picture
from ..images.reading import import_pillow
from ..layout import Layout
from ..rows.chunk import Rows
from ..rows.tables import read_rows
from ..rows.time_order import in_time_order
from ..rows.writers import Schema, Writer
from ..scoring.gaps import Gaps
from ..scoring.results import Results, in_file_order, schema
from ..scoring.score import score_images, score_stream
from ..scoring.state import StreamState
from .inputs import IMAGES_AT_ONCE
from .summary import Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray


def score_file(
    detector: Detector,
    path: Path,
    layout: Layout,
    state: StreamState,
    *,
    stop_on_bad: bool = False,
    causes: bool = False,
    unused: Callable[[list[str]], object] = lambda names: None,
) -> Iterator[Results]:
    """Results of a CSV file, chunk by chunk and in order, one for every row; `state` is that of a stream that begins.

    The file is read once, so that a pipe will do. Windows are those of the rows in order of time: where they stand in
    another one, all of the file is held in memory. `unused` gets the columns that the detector does not use.

    Raises
    ------
    InputError
        when the file is no CSV text, a column of the detector is missing or stands twice in its header
    RefusedError
        with `stop_on_bad`, at the first bad row
    """
    facts = detector.bundle

    def chunks() -> Iterator[Rows]:
        complete = facts.data.complete(layout)
        for rows in read_rows(path, facts.columns, layout=complete, stream=True, unused=unused):
            if stop_on_bad and rows.bad:
                index, why = next(iter(rows.bad.items()))
                raise RefusedError(
                    f"{path}: row {rows.first + index}, {why}", row=rows.first + index, column=why.column
                )
            yield rows

    if facts.window == 1:
        return score_stream(detector, chunks(), state, causes=causes)
    ordered = in_time_order(chunks())
    results = score_stream(detector, ordered.chunks, state, causes=causes)
    return results if ordered.numbers is None else in_file_order(list(results), ordered.numbers)


def score_tables(
    detector: Detector,
    paths: Sequence[Path],
    layout: Layout,
    state: StreamState,
    *,
    stop_on_bad: bool = False,
    causes: bool = False,
    unused: Callable[[Path, list[str]], object] = lambda path, names: None,
) -> Iterator[Results]:
    """Results of files one after the other, each a recording of its own; see `score_file`."""
    for path in paths:
        state.begin()
        tell = partial(unused, path)
        for results in score_file(detector, path, layout, state, stop_on_bad=stop_on_bad, causes=causes, unused=tell):
            yield results._replace(file=str(path)) if len(paths) > 1 else results


def score_files(
    detector: Detector,
    files: Sequence[ImageFile],
    state: StreamState,
    *,
    stop_on_bad: bool = False,
    heat_maps: Sequence[Path] = (),
) -> Iterator[Results]:
    """Results of image files, batch by batch and in order, one for every file; the next are read in the meantime.

    Parameters
    ----------
    heat_maps : where to write the heat map of each file as `images.pictures.heat_png`, white at `HEAT_WHITE` times
        ``detector.normal_heat``; from `picture_paths`, empty for none

    Raises
    ------
    RefusedError
        with `stop_on_bad`, at the first file that cannot be read
    InputError, UnavailableError
        when a heat map cannot be written
    MissingExtraError
        when Pillow is not installed
    """
    import_pillow()
    image = detector.bundle.image
    if image is None:
        raise InputError(f"{files[0].path}: this model scores {detector.bundle.kind} of a table, expected a CSV file")
    at_once = min(IMAGES_AT_ONCE, detector.chunk)
    with closing(_read_ahead(files, image, 2 * at_once)) as pictures:
        for first in range(0, len(files), at_once):
            batch = list(islice(pictures, at_once))
            bad = next((index for index, picture in enumerate(batch) if isinstance(picture, str)), None)
            if stop_on_bad and bad is not None:
                kind = RefusedError if len(files) > 1 else InputError  # a single one is a mistake in the command
                raise kind(f"{files[first + bad].path}: {batch[bad]}", row=first + bad)
            yield state.watch.accept(score_images(detector, first, batch))
            if heat_maps:
                _write_heat_maps(detector, batch, heat_maps[first : first + at_once])


def _read_ahead(files: Sequence[ImageFile], image: Image, ahead: int) -> Generator[NDArray[np.uint8] | str]:
    """Each file's pixels, or why there are none; up to `ahead` files are read in a thread before they are asked for."""
    rest = iter(files)
    pool = ThreadPoolExecutor(1, "images")
    try:
        pending = deque(pool.submit(_pixels, file, image) for file in islice(rest, ahead))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(_pixels, file, image) for file in islice(rest, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _pixels(file: ImageFile, image: Image) -> NDArray[np.uint8] | str:
    try:
        return read_file(file, image)
    except InputError as error:
        return str(error)


def _write_heat_maps(detector: Detector, batch: Sequence[NDArray[np.uint8] | str], paths: Sequence[Path]) -> None:
    readable = [(pixels, path) for pixels, path in zip(batch, paths, strict=True) if not isinstance(pixels, str)]
    if not readable:
        return
    heat = detector.heat_map(np.stack([pixels for pixels, _ in readable]))
    for each, (_, path) in zip(heat, readable, strict=True):
        write_picture(path, heat_png(each, HEAT_WHITE * detector.normal_heat))


def write_scores(
    scored: Iterable[Results], writer: Writer, files: Sequence[ImageFile] = (), *, gaps: Gaps | None = None
) -> Summary:
    """Writes a line for every row, or for every one of `files`, with the columns of `schema_of`; looks for `gaps`."""
    summary = Summary("images" if files else "rows", "scored", anomalies=0)
    started = time.process_time()
    label = "file" if files else "row"
    for results in scored:
        n = len(results.status)
        names = [file.name for file in files[results.first : results.first + n]] if files else None
        writer.write(results.table(label, names))
        summary.add(results.status, int(results.scores.is_anomaly.sum()))
        if results.times is not None:
            summary.timed = summary.timed or bool(np.isfinite(results.times).any())
            if gaps is not None:
                if not results.first:
                    gaps.begin()
                gaps.add(results.first, results.times)
    writer.close()
    summary.cpu_s = time.process_time() - started
    return summary


def schema_of(bundle: Bundle, *, several: bool = False, timed: bool = False) -> Schema:
    """What `score_tables`, of one or of several, or `score_files` tells of every row or image.

    With `timed` the rows have times even where the model knows no time stamps.
    """
    if bundle.kind == "images":
        return schema("file")
    data = bundle.data
    timed = timed or data.time_column is not None
    return schema("row", filed=several, timed=timed, keyed=data.layout.key is not None, blamed=True)
