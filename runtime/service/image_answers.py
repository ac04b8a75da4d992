"""From the bytes of an image to an answer."""

from __future__ import annotations

import base64
import math
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from ..arrays import short
from ..bundle import Image
from ..detector import HEAT_WHITE, Detector
from ..errors import InputError
from ..images.pictures import heat_png
from ..images.reading import image_format, read_image
from ..rows.chunk import Rows
from ..scoring.framing import Framed
from ..scoring.results import OVERFLOW, Results
from ..scoring.score import score_images
from ..streams.parts import Part
from .answers import row_results
from .frames import Frames
from .jobs import Job
from .models import Served
from .refusals import RefusedError
from .schemas import LargestError, ScoreAnswer

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_IMAGE = 1024 * 1024
"""Bytes that an image counts for until it is answered, at least: a small file may hold 40 megapixels."""


async def answer_image(served: Served, image: Image, body: bytes, explain: bool, job: Job) -> list[bytes]:
    """The answer to an image. Raises RefusedError when it cannot be read or scored."""
    if body and not image_format(body):
        raise RefusedError(
            415, "the body is no image, and this model scores images; expected PNG, JPEG, BMP, TIFF, WebP or GIF"
        )
    job.share.hold(max(len(body), _LEAST_IMAGE), rows=1)
    try:
        results, seconds, pixels = await job.worker.run(_score_image, served.detector, image, body)
    except InputError as error:
        raise RefusedError(400, f"the image {error}", rows=1) from None
    if OVERFLOW in results.status:
        raise RefusedError(400, "the score of the image exceeds float32", rows=1)
    told = await job.worker.run(_tell_heat, served.detector, pixels) if explain else {}
    job.check(1)
    framed = Framed(0, pixels[None], np.ones(1, np.bool_), results.status, results.reason)
    part = Part(framed, Rows(0, np.empty((1, 0), np.float32), {}, None), range(1))
    (accepted,) = served.accept([(part, results)], seconds)
    await job.tell_all(served, [[part]], [[accepted]])
    await _show(served, pixels, accepted, job)
    (result,) = row_results(part, accepted)
    for name, value in told.items():
        setattr(result, name, value)
    return [msgspec.json.encode(ScoreAnswer(served.version, [result]))]


async def _show(served: Served, pixels: NDArray[np.uint8], accepted: Results, job: Job) -> None:
    """Keeps the image for people to see, where it is one of the last."""
    is_anomaly, severity = bool(accepted.scores.is_anomaly[0]), float(accepted.scores.severity[0])
    if job.frames is None or not job.frames.wants(is_anomaly):
        return

    def keep(frames: Frames) -> None:
        heat, white = _heat(served.detector, pixels)
        told = severity if math.isfinite(severity) else None
        frames.keep(served.name, pixels, heat, white, is_anomaly=is_anomaly, severity=told)

    await job.worker.run(keep, job.frames)


def _score_image(detector: Detector, image: Image, body: bytes) -> tuple[Results, float, NDArray[np.uint8]]:
    """The result, the seconds that scoring took, and the image; InputError when it cannot be read."""
    pixels = read_image(body, image)
    started = perf_counter()
    results = score_images(detector, 0, [pixels])
    return results, perf_counter() - started, pixels


def _tell_heat(detector: Detector, pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """The heat map as a picture, what white is in it, and where it is largest."""
    heat, white = _heat(detector, pixels)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return {
        "heat_map": base64.b64encode(heat_png(heat, white)).decode(),
        "heat_map_white": white,
        "largest_error": LargestError(int(row), int(column), short(heat[row, column])),
    }


def _heat(detector: Detector, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """The heat map of an image, and what is white in it."""
    return detector.heat_map(pixels[None])[0], HEAT_WHITE * detector.normal_heat
