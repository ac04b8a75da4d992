"""What metrics tell beyond scores: a closer look at some inputs, in a thread of its own, for which nobody waits."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..detector import Detector
from ..limits import newest_rows
from ..scoring.framing import Framed
from ..scoring.results import Results

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAUSE_S, IDLE_S = 0.1, 10.0
"""Seconds, at least, between two looks; and without inputs until the thread ends, to begin again with the next."""

MOST_INPUTS, MOST_VALUES = 64, 1 << 16
"""Inputs, and numbers in them, in one look; alarms are counted apart. What comes beyond is passed over."""


class Seen(NamedTuple):
    """What a look found."""

    detector: Detector
    """The version that was asked."""
    terms: dict[str, NDArray[np.float32]]
    """Reconstruction error, KL and ELBO of inputs (n,), those that the recipe has, nats."""
    rows: NDArray[Any]
    """Their newest rows (n, features); none of images."""
    contribution: NDArray[np.float32] | None
    """Of alarms, as `Explanation` has it; None where there were none."""


class CloserLook:
    """Takes inputs that were scored, and tells what else the graph says of them.

    Parameters
    ----------
    tell : told what was found, in another thread
    """

    def __init__(self, tell: Callable[[Seen], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._watch(None)

    def watch(self, detector: Detector | None) -> None:
        """Looks at inputs of this version from now on, or of none."""
        with self._lock:
            self._watch(detector)

    def _watch(self, detector: Detector | None) -> None:
        self._detector = detector
        self._most = 0
        if detector is not None:
            self._most = max(1, min(MOST_INPUTS, MOST_VALUES // math.prod(detector.bundle.input_shape)))
        self._clear()

    def _clear(self) -> None:
        self._inputs: list[NDArray[Any]] = []
        self._alarms: list[NDArray[Any]] = []
        self._room = self._alarm_room = self._most

    def offer(self, detector: Detector, framed: Framed, results: Results, *, has_alarms: bool) -> None:
        """Takes inputs and what came of them; has_alarms: whether any of them may be an anomaly."""
        inputs = framed.inputs
        if not len(inputs) or detector is not self._detector or not (self._room or (has_alarms and self._alarm_room)):
            return
        with self._lock:
            # Copies: a slice would keep the arrays of a large request.
            self._inputs.append(inputs[: self._room].copy())
            self._room -= len(self._inputs[-1])
            if has_alarms and detector.bundle.image is None:
                alarm = (results.scores.is_anomaly & results.scores.scored)[framed.full]
                self._alarms.append(inputs[alarm][: self._alarm_room])
                self._alarm_room -= len(self._alarms[-1])
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="closer look", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait(IDLE_S)
            with self._lock:
                if not self._wake.is_set():
                    self._thread = None
                    return
                self._wake.clear()
                detector, inputs, alarms = self._detector, self._inputs, self._alarms
                self._clear()
            if detector is not None and inputs:
                with suppress(Exception):  # of the graph, on a device that is gone: the scores say so, and this goes on
                    self._tell(_look(detector, np.concatenate(inputs), alarms))
            del detector, inputs, alarms  # or the last version would stay in memory
            time.sleep(PAUSE_S)


def _look(detector: Detector, inputs: NDArray[Any], alarms: list[NDArray[Any]]) -> Seen:
    explained = np.concatenate(alarms) if alarms else inputs[:0]
    contribution = detector.explain(explained).contribution if len(explained) else None
    rows = inputs[:, 0, 0, :0] if detector.bundle.image is not None else newest_rows(inputs)
    return Seen(detector, detector.terms(inputs), rows, contribution)
