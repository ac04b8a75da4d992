"""From a body to an answer: rows or an image, scored, accepted, encoded."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from ..bundle import Image
from ..detector import HEAT_WHITE, Detector
from ..errors import InputError
from ..images.pictures import heat_png
from ..images.reading import image_format, read_image
from ..rows.chunk import Rows
from ..rows.json_pieces import Pieces
from ..rows.writers import records
from ..scoring.framing import Framer
from ..scoring.results import OVERFLOW, Results
from ..scoring.score import score_images, score_rows
from .bodies import Share
from .models import Served
from .refusals import RefusedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_T = TypeVar("_T")

MAX_EXPLAINED = 10_000
"""Rows of a request that asks for explanations: one takes as long as ten plain answers."""

_READ_AT_ONCE = 64 * 1024
_AT_ONCE, _EXPLAINED_AT_ONCE, _VALUES_AT_ONCE = 1024, 128, 1 << 14
"""Bytes that are read, and rows, and numbers in them, that are scored within about 5 ms: longer than that nothing may
hold the event loop."""

_RAW_ROW, _ANSWER, _CONTRIBUTION = 64, 160, 120
"""Bytes, about: of a row that is not yet read, beside its text; of an answer; of a contribution, beside its name."""
_LARGEST = 5
_LEAST_IMAGE = 1024 * 1024
"""Bytes that an image counts for until it is answered, at least: a small file may hold 40 megapixels."""


class Worker:
    """One thread for all that takes longer than 5 ms. Large requests come to it in slices, and so take turns."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "answers")

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """What the function returns."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


@dataclass(slots=True)
class Job:
    """One request: what it holds of the memory of all, who does its slow work, and whether its client has left."""

    share: Share
    worker: Worker
    gone: Callable[[], bool]

    async def run(self, slow: bool, function: Callable[..., _T], *arguments: Any) -> _T:
        """What the function returns; at once, or when its turn has come."""
        return await self.worker.run(function, *arguments) if slow else function(*arguments)

    def check(self, rows: int) -> None:
        """Raises RefusedError when nobody waits for the answer any more."""
        if self.gone():
            raise RefusedError(400, "the client has left", rows=rows)


async def read_rows(served: Served, body: bytes, explain: bool, job: Job) -> NDArray[np.float32]:
    """The rows of a body, a large one piece by piece. Raises RefusedError when one cannot be read."""
    if image_format(body):
        raise RefusedError(415, "the body is an image, and this model scores rows; expected JSON")
    try:
        if len(body) <= _READ_AT_ONCE:
            return served.reader.read(body)
        columns = len(served.detector.bundle.columns)
        pieces = await job.worker.run(Pieces, body, columns)
        _check_explained(explain, len(pieces))
        job.share.hold(len(body) + len(pieces) * (_RAW_ROW + 4 * columns), rows=len(pieces))
        read = []
        for first, end in pieces:
            job.check(len(pieces))
            read.append(await job.worker.run(pieces.read, served.reader, first, end))
        return np.concatenate(read)
    except InputError as error:
        raise RefusedError.of(error) from None


async def answer_rows(served: Served, values: NDArray[np.float32], explain: bool, job: Job) -> list[bytes]:
    """The answer to rows, in parts, all or none of them: watch and metrics see them only when the last has a score.

    Raises RefusedError when a row cannot be scored.
    """
    total, bundle = len(values), served.detector.bundle
    _check_explained(explain, total)
    why = _LARGEST * (_CONTRIBUTION + max(map(len, bundle.names))) if explain else 0
    job.share.hold(values.nbytes * (3 if explain else 1) + total * (_ANSWER + why), rows=total)
    step = min(_EXPLAINED_AT_ONCE if explain else _AT_ONCE, max(1, _VALUES_AT_ONCE // math.prod(bundle.input_shape)))
    slow = total > step
    scored: list[tuple[Rows, Results, float]] = []
    framer = served.framer
    for first in range(0, total, step):
        job.check(total)
        rows = Rows(first, values[first : first + step], {}, None)
        results, framer, seconds = await job.run(slow, _score, served.detector, framer, rows, explain)
        scored.append((rows, results, seconds))
        if OVERFLOW in results.status:
            raise _overflow(results, rows, bundle.names, total)
    job.check(total)
    parts = [b'{"model":%b,"results":[' % msgspec.json.encode(bundle.export_id)]
    for rows, results, seconds in scored:
        accepted = _accept(served, results, seconds)
        parts.append(await job.run(slow, _encode, accepted, rows, bundle.names))
    parts.append(b"]}")
    return parts if slow else [b"".join(parts)]


async def answer_image(served: Served, image: Image, body: bytes, explain: bool, job: Job) -> list[bytes]:
    """The answer to an image. Raises RefusedError when it cannot be read or scored."""
    if body and not image_format(body):
        raise RefusedError(
            415, "the body is no image, and this model scores images; expected PNG, JPEG, BMP, TIFF, WebP or GIF"
        )
    job.share.hold(max(len(body), _LEAST_IMAGE), rows=1)
    try:
        results, seconds, heat = await job.worker.run(_score_image, served.detector, image, body, explain)
    except InputError as error:
        raise RefusedError(400, f"the image {error}", rows=1) from None
    if OVERFLOW in results.status:
        raise RefusedError(400, "the score of the image exceeds float32", rows=1)
    job.check(1)
    (record,) = records(_accept(served, results, seconds).table("row"))
    return [msgspec.json.encode({"model": served.detector.bundle.export_id, "results": [record | heat]})]


def _check_explained(explain: bool, rows: int) -> None:
    if explain and rows > MAX_EXPLAINED:
        raise RefusedError(
            413, f"the body holds {rows} rows, expected at most {MAX_EXPLAINED} with explain=1", rows=rows
        )


def _score(detector: Detector, framer: Framer, rows: Rows, explain: bool) -> tuple[Results, Framer, float]:
    """Results of the next rows, the framer after them, and the seconds that they took."""
    started = perf_counter()
    results, framer = score_rows(detector, framer, rows, explain=explain)
    return results, framer, perf_counter() - started


def _score_image(detector: Detector, image: Image, body: bytes, explain: bool) -> tuple[Results, float, dict[str, Any]]:
    """The result, the seconds that scoring took, and what explains it; InputError when it cannot be read."""
    pixels = read_image(body, image)
    started = perf_counter()
    results = score_images(detector, 0, [pixels])
    seconds = perf_counter() - started
    return results, seconds, _heat(detector, pixels) if explain and OVERFLOW not in results.status else {}


def _accept(served: Served, results: Results, seconds: float) -> Results:
    """Remembers results that the client will get."""
    accepted = served.watch.accept(results)
    served.metrics.observe(accepted, seconds, served.detector.bundle.calibration.threshold)
    return accepted


def _overflow(results: Results, rows: Rows, names: tuple[str, ...], total: int) -> RefusedError:
    index = results.status.index(OVERFLOW)
    column = names[int(np.abs(rows.values[index]).argmax())]
    return RefusedError(
        400,
        f"row {rows.first + index}, column {column!r}: the score exceeds float32; expected smaller values",
        rows=total,
    )


def _encode(results: Results, rows: Rows, names: tuple[str, ...]) -> bytes:
    """The results as JSON as they stand in the list. msgspec writes a float32 so that it is read back equal."""
    answers = list(records(results.table("row")))
    if results.explanation is not None:
        for index in np.flatnonzero(results.scores.scored).tolist():
            contribution, expected = (values[index] for values in results.explanation)
            largest = np.argsort(-contribution, kind="stable")[:_LARGEST].tolist()
            answers[index]["contributions"] = [
                {
                    "column": names[place],
                    "contribution": _short(contribution[place]),
                    "actual": _short(rows.values[index, place]),
                    "expected": _short(expected[place]),
                }
                for place in largest
            ]
    written = msgspec.json.encode(answers)[1:-1]
    return b"," + written if rows.first else written


def _heat(detector: Detector, pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """The heat map as a picture, what white is in it, and where it is largest."""
    heat = detector.heat_map(pixels[None])[0]
    white = HEAT_WHITE * detector.normal_heat
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return {
        "heat_map": base64.b64encode(heat_png(heat, white)).decode(),
        "heat_map_white": white,
        "largest_error": {"row": int(row), "column": int(column), "nats": _short(heat[row, column])},
    }


def _short(value: np.float32) -> float:
    """The fewest digits that are the same float32, for people: 2.77, not 2.7699999809265137."""
    return float(str(value))
