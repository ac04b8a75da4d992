"""Codes of rows and images, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..detector import Detector
from ..errors import InputError
from ..layout import Layout
from ..output import check_suffix, keep_inputs, text_written_aside, written_aside
from ..rows.table_files import find_tables, name_of
from ..rows.writers import CsvWriter, ParquetWriter, Schema, Table, Writer
from ..scoring.framing import fill
from ..scoring.results import SCORED
from .inputs import mark_overflows, read_inputs
from .summary import Summary

if TYPE_CHECKING:
    from numpy.typing import NDArray

CodePlot = Callable[["NDArray[np.float32]", "NDArray[np.float32]", "NDArray[np.bool_]"], bytes]
"""Codes (n, latent), their severities and their verdicts (n,) to a PNG."""

_MOST_POINTS = 10_000
"""Normal points in a picture, and anomalies; more only take longer to draw over each other."""


class Codes(NamedTuple):
    """Codes of consecutive rows or images, an element for each.

    `names` are row numbers, or names of files within their folder. Wherever there is no score, `latent` (n, latent) and
    `severity` (n,) are NaN and `is_anomaly` is False.
    """

    names: Sequence[int | str]
    latent: NDArray[np.float32]
    severity: NDArray[np.float32]
    is_anomaly: NDArray[np.bool_]
    status: list[str]
    file: str | None = None
    """The file that rows are from, where there are several."""


def encode(detector: Detector, data: Path | Sequence[Path], layout: Layout) -> Iterator[Codes]:
    """Codes of every row of tables (of the window that ends there) or every image of a folder, in order.

    Raises
    ------
    InputError
        when `data` is not what the detector takes, or cannot be read; a bad row or image does not raise
    """
    for names, framed, file in read_inputs(detector, data, layout):
        latent, scores = detector.encode(framed.inputs), detector.score(framed.inputs)
        # Scored too, so that a row has the status that `score` gives it.
        fine = np.asarray(scores.scored & np.isfinite(latent).all(axis=1))
        mark_overflows(framed, fine)
        latent[~fine] = scores.severity[~fine] = np.nan
        latent, severity, is_anomaly = (
            fill(part, framed.full, len(framed.status)) for part in (latent, scores.severity, scores.is_anomaly & fine)
        )
        yield Codes(names, latent, severity, is_anomaly, framed.status, file)


def write_codes(
    detector: Detector,
    data: Path | Sequence[Path],
    out: Path,
    *,
    layout: Layout,
    picture: Path | None = None,
    draw: CodePlot | None = None,
    force: bool = False,
) -> Summary:
    """Writes the codes of tables, as `find_tables` finds them, or of a folder of images as a table.

    Its columns are `row` (`file` for images, both for several tables), `status`, `z0`, `z1`, ...; the codes are empty
    where there is none.

    Parameters
    ----------
    out : NAME.csv, in memory that does not grow with `data`, or NAME.parquet
    picture : a PNG to write too, which `draw` makes of the codes

    Raises
    ------
    InputError
        when `data` is not what the detector takes, or a file to write exists and not `force`
    MissingExtraError
        when Parquet is wanted and Polars is not installed
    """
    check_suffix(out, ".csv", ".parquet")
    summary, cloud = Summary(detector.bundle.kind, "encoded"), _Cloud(detector.bundle.latent)
    with ExitStack() as stack:
        files = [] if detector.bundle.kind == "images" else find_tables(data).files
        keep_inputs([out, picture], files)
        writer = _writer(detector, out, stack, several=len(files) > 1, force=force)
        plot = None
        if picture is not None:
            check_suffix(picture, ".png")
            plot = stack.enter_context(written_aside(picture, force=force))
        for codes in encode(detector, data, layout):
            summary.add(codes.status)
            if draw is not None:
                cloud.add(codes)
            writer.write(_table(codes, detector))
        writer.close()
        if plot is not None and draw is not None:
            if not summary.scored:
                raise InputError(f"{name_of(data)}: there is no code to draw in {summary.describe()}")
            plot.write(draw(*cloud.points()))
    return summary


def _writer(detector: Detector, out: Path, stack: ExitStack, *, several: bool, force: bool) -> Writer:
    is_images = detector.bundle.kind == "images"
    schema: Schema = {
        **({"file": str} if is_images or several else {}),
        **({} if is_images else {"row": int}),
        "status": str,
        **{f"z{place}": float for place in range(detector.bundle.latent)},
    }
    if out.suffix == ".csv":
        return CsvWriter(stack.enter_context(text_written_aside(out, force=force)), schema)
    return ParquetWriter(stack.enter_context(written_aside(out, force=force)), schema)


def _table(codes: Codes, detector: Detector) -> Table:
    label = "file" if detector.bundle.kind == "images" else "row"
    is_absent = np.array([status not in SCORED for status in codes.status], np.bool_)
    latent = np.ma.array(codes.latent, mask=np.broadcast_to(is_absent[:, None], codes.latent.shape))
    file = {} if codes.file is None else {"file": [codes.file] * len(codes.status)}
    return {**file, label: codes.names, "status": codes.status} | {f"z{place}": z for place, z in enumerate(latent.T)}


class _Cloud:
    """Codes for a picture: all of them, or of very many every second, fourth, ..., anomalies and others apart."""

    def __init__(self, latent: int) -> None:
        self._kept = {flag: np.empty((0, latent + 1), np.float32) for flag in (False, True)}
        self._step = {False: 1, True: 1}
        self._seen = {False: 0, True: 0}

    def add(self, codes: Codes) -> None:
        points = np.column_stack([codes.latent, codes.severity])
        for flag in (False, True):
            new = points[np.isfinite(codes.severity) & (codes.is_anomaly == flag)]
            places = np.arange(self._seen[flag], self._seen[flag] + len(new))
            self._seen[flag] += len(new)
            kept = np.concatenate([self._kept[flag], new[places % self._step[flag] == 0]])
            while len(kept) > _MOST_POINTS:
                kept, self._step[flag] = kept[::2], 2 * self._step[flag]
            self._kept[flag] = kept

    def points(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
        """Codes, severities and verdicts, as `CodePlot` takes them."""
        points = np.concatenate([self._kept[False], self._kept[True]])
        return points[:, :-1], points[:, -1], np.arange(len(points)) >= len(self._kept[False])
