"""A CSV file, or a folder of images, to a CSV of scores, in memory that does not grow with it."""

from __future__ import annotations

import csv
import os
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import chain, count, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np

from ..bundle import Image
from ..detector import HEAT_WHITE, Detector
from ..errors import InputError
from ..images.reading import ImageFile, ImageFolder, heat_png, image_files, import_pillow, read_file
from ..rows.tables import TableFormat, read_rows, read_sample
from ..scoring.results import OK, Recording, Results, Watch, score_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ("row", "score", "severity", "p_value", "is_anomaly", "status", "reason")

IMAGES_AT_ONCE = 64
"""Images in one batch, at most; `Detector.chunk` makes it fewer where they are large."""


class Summary(NamedTuple):
    """What a run over a file came to."""

    rows: int
    anomalies: int
    by_status: dict[str, int]

    def describe(self, what: str = "rows") -> str:
        """One line for the terminal."""
        scored = self.by_status.get(OK, 0)
        share = f" ({self.anomalies / scored:.2%})" if scored else ""
        others = "".join(f", {count} {status}" for status, count in self.by_status.items() if status != OK)
        return f"{self.rows} {what}: {scored} scored, {self.anomalies} anomalies{share}{others}"


def score_file(
    detector: Detector, path: Path, form: TableFormat, *, stop_on_bad: bool = False, watch: Watch | None = None
) -> Iterator[Results]:
    """Results of a CSV file, chunk by chunk and in order, one for every row.

    Raises
    ------
    InputError
        when the file is no CSV text, a column of the detector is missing or stands twice in its header, or, with
        `stop_on_bad`, at the first bad row
    """
    recording = Recording(detector, watch=watch)
    facts = detector.bundle
    for rows in read_rows(path, facts.columns, form=form, time_column=facts.data.time_column):
        if stop_on_bad and rows.bad:
            index, why = next(iter(rows.bad.items()))
            raise InputError(f"{path}: row {rows.first + index}, {why}", row=rows.first + index, column=why.column)
        yield recording.push(rows)


def refuse_folder(detector: Detector, path: Path) -> None:
    """Raises InputError when a detector of rows or windows is given a folder."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, and this model scores {detector.bundle.kind}; expected a CSV file")


def find_images(path: Path) -> ImageFolder:
    """The images of a folder, or the one that the path names. Raises InputError when there is none."""
    if path.is_dir():
        return image_files(path)
    return ImageFolder([ImageFile(path.name, path, "")], 0)


def score_files(
    detector: Detector,
    files: Sequence[ImageFile],
    *,
    stop_on_bad: bool = False,
    heat_maps: Sequence[Path] = (),
    watch: Watch | None = None,
) -> Iterator[Results]:
    """Results of image files, batch by batch and in order, one for every file; the next are read in the meantime.

    Parameters
    ----------
    heat_maps : where to write the heat map of each file as `images.heat_png`, white at `HEAT_WHITE` times
        ``detector.normal_heat``; from `picture_paths`, empty for none

    Raises
    ------
    InputError
        with `stop_on_bad`, at the first file that cannot be read; or when a heat map cannot be written
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
                raise InputError(f"{files[first + bad].path}: {batch[bad]}", row=first + bad)
            yield score_images(detector, first, batch, watch)
            if heat_maps:
                _write_heat_maps(detector, batch, heat_maps[first : first + at_once])


def picture_paths(folder: Path, data: Path, files: Sequence[ImageFile], *, what: str, force: bool) -> list[Path]:
    """Where a picture of each file goes, like its heat map: under its name, with .png after it when it ends otherwise.

    Raises InputError when one is there already, unless `force`, when two would have one name, or when the next run
    would take them for images.
    """
    if data.is_dir() and folder.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{folder}: lies within {data}, where {what}s would be taken for images the next time")
    names = [file.name if file.name.endswith(".png") else f"{file.name}.png" for file in files]
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise InputError(f"{data}: two images would have the {what} {twice}; rename one")
    paths = [folder / name for name in names]
    taken = None if force else next((path for path in paths if path.exists()), None)
    if taken is not None:
        raise InputError(f"{taken}: exists already; pass --force to replace it")
    return paths


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


def write_picture(path: Path, content: bytes) -> None:
    """Writes to one of the `picture_paths`, which have asked whether it may be replaced, and makes its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made: {error.strerror or error}") from None
    with written_aside(path, force=True) as out:
        out.buffer.write(content)


def write_scores(scored: Iterable[Results], out: IO[str], files: Sequence[ImageFile] = ()) -> Summary:
    """Writes a header and a line for every row, or for every one of `files`; returns what was counted."""
    writer = csv.writer(out, lineterminator="\n")
    scored = iter(scored)
    first = next(scored, None)  # before the header: a file that is refused writes nothing
    writer.writerow(("file", *COLUMNS[1:]) if files else COLUMNS)
    labels: Iterator[object] = (file.name for file in files) if files else count()
    rows, anomalies, by_status = 0, 0, Counter[str]()
    for results in chain([] if first is None else [first], scored):
        writer.writerows(_lines(results, labels))
        rows += len(results.status)
        anomalies += int(results.scores.is_anomaly.sum())
        by_status.update(results.status)
    return Summary(rows, anomalies, dict(by_status))


def _lines(results: Results, labels: Iterator[object]) -> Iterator[tuple[Any, ...]]:
    scores = results.scores
    # str of a float32 has the fewest digits that read back as the same float32.
    texts = [values.astype(str).tolist() for values in (scores.score, scores.severity, scores.p_value)]
    verdicts = scores.is_anomaly.astype(int).tolist()
    for index, (status, reason) in enumerate(zip(results.status, results.reason, strict=True)):
        label = next(labels)
        if status == OK:
            yield (label, *(text[index] for text in texts), verdicts[index], status, reason)
        else:
            yield label, "", "", "", "", status, reason


@contextmanager
def written_aside(path: Path, *, force: bool = False) -> Iterator[TextIO]:
    """A text file that appears under its name only when complete; an existing one is kept unless `force`.

    Raises InputError when the file exists or cannot be written.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no regular file")
        if path.exists() and not force:
            raise InputError(f"{path}: exists already; pass --force to replace it")
        with aside.open("w", encoding="utf-8", newline="") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        aside.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            aside.unlink()


def ignored_columns(detector: Detector, path: Path, form: TableFormat) -> list[str]:
    """Columns of a file that the detector does not use, in their order."""
    header, _ = read_sample(path, form, rows=1)
    used = {*detector.bundle.names, detector.bundle.data.time_column}
    return [name for name in header if name not in used] if form.header else []
