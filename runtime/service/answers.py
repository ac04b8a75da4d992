"""From a body to an answer: rows or an image, scored, accepted, encoded."""

from __future__ import annotations

import asyncio
import base64
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..bundle import Image
from ..detector import HEAT_WHITE, Detector
from ..errors import InputError
from ..images.pictures import heat_png
from ..images.reading import image_format, read_image
from ..rows.chunk import Rows
from ..rows.writers import records
from ..scoring.results import OVERFLOW, Results
from ..scoring.score import score_images, score_rows
from .bodies import MAX_BUFFERED
from .models import Served
from .refusals import RefusedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK_ROWS = 1024  # between chunks the loop answers others, so that a scrape never waits for 100 000 rows
_LARGEST = 5
_LEAST_WAITING = 1024 * 1024
"""Bytes that an image counts for while it waits to be decoded, at least: a small file may hold 40 megapixels."""


async def answer_rows(served: Served, body: bytes, explain: bool) -> bytes:
    """The answer to rows, all or none of them: watch and metrics see them only when the last one has a score.

    Raises RefusedError when a row cannot be read or scored.
    """
    if image_format(body):
        raise RefusedError(415, "the body is an image, and this model scores rows; expected JSON")
    try:
        values = served.reader.read(body)
    except InputError as error:
        raise RefusedError.of(error) from None
    scored: list[tuple[Rows, Results, float]] = []
    framer = served.framer
    for first in range(0, len(values), _CHUNK_ROWS):
        if first:
            await asyncio.sleep(0)
        rows = Rows(first, values[first : first + _CHUNK_ROWS], {}, None)
        started = perf_counter()
        results, framer = score_rows(served.detector, framer, rows, explain=explain)
        scored.append((rows, results, perf_counter() - started))
        if OVERFLOW in results.status:
            raise _overflow(results, rows, served.detector.bundle.names, len(values))
    accepted = [(rows, _accept(served, results, seconds)) for rows, results, seconds in scored]
    parts = [b'{"model":', msgspec.json.encode(served.detector.bundle.export_id), b',"results":[']
    for rows, results in accepted:
        if rows.first:
            parts.append(b",")
            await asyncio.sleep(0)
        parts.append(_encode(results, rows, served.detector.bundle.names))
    return b"".join((*parts, b"]}"))


class ImageDesk:
    """Answers images of one service, and decodes as many at a time as its memory allows."""

    def __init__(self) -> None:
        self._waiting = 0  # bytes of images that wait to be decoded

    async def answer(self, served: Served, image: Image, body: bytes, explain: bool) -> bytes:
        """The answer to an image. Raises RefusedError when it cannot be read or scored."""
        if body and not image_format(body):
            raise RefusedError(
                415, "the body is no image, and this model scores images; expected PNG, JPEG, BMP, TIFF, WebP or GIF"
            )
        pixels = await self._decode(body, image)
        started = perf_counter()
        results = score_images(served.detector, 0, [pixels])
        seconds = perf_counter() - started
        if OVERFLOW in results.status:
            raise RefusedError(400, "the score of the image exceeds float32", rows=1)
        heat = _heat(served.detector, pixels) if explain else {}
        (record,) = records(_accept(served, results, seconds).table("row"))
        return msgspec.json.encode({"model": served.detector.bundle.export_id, "results": [record | heat]})

    async def _decode(self, body: bytes, image: Image) -> NDArray[np.uint8]:
        """The pixels, decoded in a thread, since 40 megapixels take a second in which others want to be answered."""
        cost = max(len(body), _LEAST_WAITING)
        if self._waiting + cost > MAX_BUFFERED:
            raise RefusedError(503, "too many images at once; try again", rows=1)
        self._waiting += cost
        try:
            return await asyncio.to_thread(read_image, body, image)
        except InputError as error:
            raise RefusedError(400, f"the image {error}", rows=1) from None
        finally:
            self._waiting -= cost


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
    """The results as JSON without the brackets around them. msgspec writes a float32 so that it is read back equal."""
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
    return msgspec.json.encode(answers)[1:-1]


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
