"""The last images, each with its heat map, for people to see: a few, small, and not made while nobody looks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..images.pictures import heat_png, png
from .schemas import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT = 4
"""Newest images, and newest anomalies."""
LARGEST = 512
"""Pixels of a side; larger ones are thinned out."""
PERIOD_S = 1.0
"""Seconds between two of a kind: a heat map takes as long as a score."""


class Pictures(NamedTuple):
    """What is kept of one image."""

    frame: Frame
    image: bytes
    heat: bytes


class Frames:
    """What GET /frames lists.

    Parameters
    ----------
    seen : whether somebody looks
    """

    def __init__(self, seen: Callable[[], bool] = bool) -> None:
        self._seen = seen
        self._kept = {kind: deque[Pictures](maxlen=KEPT) for kind in (False, True)}
        self._next = {False: 0.0, True: 0.0}
        self._number = 0

    def wants(self, is_anomaly: bool) -> bool:
        """Whether to make the pictures of an image: of anomalies, and of others while somebody looks."""
        return (is_anomaly or self._seen()) and time.monotonic() >= self._next[is_anomaly]

    def keep(
        self,
        model: str,
        pixels: NDArray[np.uint8],
        heat: NDArray[np.float32],
        white: float,
        *,
        is_anomaly: bool,
        severity: float | None,
    ) -> None:
        """Makes its pictures, and room for them.

        Parameters
        ----------
        pixels : (height, width, channels)
        heat, white : (height, width), and what is white of it
        """
        self._next[is_anomaly] = time.monotonic() + PERIOD_S
        self._number += 1
        height, width = heat.shape
        step = -(-max(height, width) // LARGEST)
        frame = Frame(self._number, time.time(), model, is_anomaly, severity, width, height)
        pictures = Pictures(frame, png(pixels[::step, ::step]), heat_png(heat[::step, ::step], white))
        self._kept[is_anomaly].append(pictures)  # from another thread than those that read, which a deque allows

    def listed(self) -> list[Frame]:
        """The newest first."""
        return [pictures.frame for pictures in sorted(self._all(), key=lambda each: -each.frame.number)]

    def find(self, number: int) -> Pictures | None:
        """One of them; None where it made room for others."""
        return next((pictures for pictures in self._all() if pictures.frame.number == number), None)

    def _all(self) -> list[Pictures]:
        return [*self._kept[False], *self._kept[True]]
