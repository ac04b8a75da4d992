"""Recordings cut into chunks, for the tests of scoring."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.rows.cells import BadCell
from vae_detect.runtime.rows.chunk import Rows
from vae_detect.runtime.scoring.framing import Framer
from vae_detect.runtime.scoring.results import Results
from vae_detect.runtime.scoring.score import score_rows

Floats = NDArray[np.float32]
PERIOD_S = 120.0  # of the recording that the windows detector was trained on


def chunks(
    values: Floats, sizes: list[int], *, bad: tuple[int, ...] = (), times: NDArray[np.float64] | None = None
) -> list[Rows]:
    """`values` cut into chunks of these sizes, the rest in one."""
    values = values.copy()
    values[list(bad)] = np.nan
    ends = [0, *np.minimum(np.cumsum(sizes), len(values)).tolist(), len(values)]
    return [
        Rows(
            start,
            values[start:end],
            {row - start: BadCell("flow_m3h", "is empty") for row in bad if start <= row < end},
            None if times is None else times[start:end],
        )
        for start, end in pairwise(ends)
        if end > start
    ]


def run(detector: Detector, pieces: list[Rows], *, explain: bool = False) -> list[Results]:
    framer, results = Framer.of(detector.bundle), []
    for piece in pieces:
        found, framer = score_rows(detector, framer, piece, explain=explain)
        results.append(found)
    return results


def statuses(results: list[Results]) -> list[str]:
    return [status for each in results for status in each.status]


def reasons(results: list[Results]) -> list[str]:
    return [reason for each in results for reason in each.reason]


def scores(results: list[Results]) -> Floats:
    return np.concatenate([each.scores.score for each in results])


def every_window(values: Floats, window: int = 4) -> Floats:
    return np.stack([values[i : i + window] for i in range(len(values) - window + 1)])


def steps(n: int) -> NDArray[np.float64]:
    return 1e9 + PERIOD_S * np.arange(n, dtype=np.float64)
