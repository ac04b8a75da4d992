"""Codes of rows and images, as a table and as a picture."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np

from ..detector import Detector
from ..errors import InputError, MissingExtraError
from ..rows.tables import TableFormat
from ..scoring.results import OK, fill
from .inputs import Outcome, check_suffix, mark_overflows, read_inputs
from .scores import written_aside

if TYPE_CHECKING:
    from numpy.typing import NDArray

Draw = Callable[["NDArray[np.float32]", "NDArray[np.float32]", "NDArray[np.bool_]"], bytes]
"""Codes (n, latent), their severities and their verdicts (n,) to a PNG."""

_MOST_POINTS = 10_000
"""Normal points in a picture, and anomalies; more only take longer to draw over each other."""


class Codes(NamedTuple):
    """Codes of consecutive rows or images, an element for each.

    `names` are row numbers, or names of files within their folder. Wherever `status` is not ok, `latent` (n, latent)
    and `severity` (n,) are NaN and `is_anomaly` is False.
    """

    names: Sequence[int | str]
    latent: NDArray[np.float32]
    severity: NDArray[np.float32]
    is_anomaly: NDArray[np.bool_]
    status: list[str]


def encode(detector: Detector, data: Path, form: TableFormat) -> Iterator[Codes]:
    """Codes of every row of a CSV (of the window that ends there) or every image of a folder, in order.

    Raises
    ------
    InputError
        when `data` is not what the detector takes, or cannot be read; a bad row or image does not raise
    """
    for names, framed in read_inputs(detector, data, form):
        latent, scores = detector.encode(framed.inputs), detector.score(framed.inputs)
        # Scored too, so that a row has the status that `score` gives it.
        fine = np.asarray(scores.scored & np.isfinite(latent).all(axis=1))
        mark_overflows(framed, fine)
        latent[~fine] = scores.severity[~fine] = np.nan
        latent, severity, is_anomaly = (
            fill(part, framed.full, len(framed.status)) for part in (latent, scores.severity, scores.is_anomaly & fine)
        )
        yield Codes(names, latent, severity, is_anomaly, framed.status)


def write_codes(
    detector: Detector,
    data: Path,
    out: Path,
    *,
    form: TableFormat,
    picture: Path | None = None,
    draw: Draw | None = None,
    force: bool = False,
) -> Outcome:
    """Writes the codes of a CSV or of a folder of images as a table.

    Its columns are `row` (`file` for images), `status`, `z0`, `z1`, ...; the codes are empty where status is not ok.

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
    kind, latent = detector.bundle.kind, detector.bundle.latent
    write = _write_parquet if out.suffix == ".parquet" else _write_csv
    by_status, cloud = Counter[str](), _Cloud(latent)

    def chunks() -> Iterator[Codes]:
        for codes in encode(detector, data, form):
            by_status.update(codes.status)
            if draw is not None:
                cloud.add(codes)
            yield codes

    with ExitStack() as stack:
        table = stack.enter_context(written_aside(out, force=force))
        plot = None
        if picture is not None:
            check_suffix(picture, ".png")
            plot = stack.enter_context(written_aside(picture, force=force))
        write(chunks(), table, "file" if kind == "images" else "row", latent)
        outcome = Outcome(kind, "encoded", by_status)
        if plot is not None and draw is not None:
            if not by_status[OK]:
                raise InputError(f"{data}: there is no code to draw in {outcome.describe()}")
            plot.buffer.write(draw(*cloud.points()))
    return outcome


def _write_csv(chunks: Iterator[Codes], out: TextIO, label: str, latent: int) -> None:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((label, "status", *_code_names(latent)))
    empty = [""] * latent
    for codes in chunks:
        texts = codes.latent.astype(str).tolist()  # the fewest digits that read back as the same float32
        for name, status, cells in zip(codes.names, codes.status, texts, strict=True):
            writer.writerow((name, status, *(cells if status == OK else empty)))


def _write_parquet(chunks: Iterator[Codes], out: TextIO, label: str, latent: int) -> None:
    try:
        import polars
    except ImportError as error:
        raise MissingExtraError(f"Parquet needs {error.name}: pip install 'vae-detect[tables]'") from None
    parts = list(chunks)
    series = [
        polars.Series(label, [name for part in parts for name in part.names], polars.Int64 if label == "row" else None),
        polars.Series("status", [status for part in parts for status in part.status], polars.String),
    ]
    values = np.concatenate([np.empty((0, latent), np.float32), *(part.latent for part in parts)])
    for name, column in zip(_code_names(latent), values.T, strict=True):
        series.append(polars.Series(name, column, nan_to_null=True))
    content = io.BytesIO()
    polars.DataFrame(series).write_parquet(content)
    out.buffer.write(content.getvalue())


def _code_names(latent: int) -> list[str]:
    return [f"z{place}" for place in range(latent)]


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
        """Codes, severities and verdicts, as `Draw` takes them."""
        points = np.concatenate([self._kept[False], self._kept[True]])
        return points[:, :-1], points[:, -1], np.arange(len(points)) >= len(self._kept[False])
