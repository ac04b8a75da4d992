"""How many requests to infer a model had, and how long they took: what clients of Triton ask for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

STEPS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
"""Of a request. Nothing waits in a queue that could be told from computing."""


@dataclass(slots=True)
class RequestTimes:
    """Of one model, or of its encoder or decoder, by the Open Inference Protocol since the service was started.

    >>> times = RequestTimes()
    >>> times.answered(7, 0.25)
    >>> times.rows, times.counts["success"], times.seconds["success"]
    (7, 1, 0.25)
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STEPS, 0))
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))
    rows: int = 0
    last_ms: int = 0
    """When the last request was answered, in milliseconds since 1970; 0 where none was."""

    def took(self, step: str, seconds: float) -> None:
        """Counts a step of one request."""
        self.counts[step] += 1
        self.seconds[step] += seconds

    def answered(self, rows: int, seconds: float) -> None:
        """Counts a request that was answered with so many rows."""
        self.took("success", seconds)
        self.rows += rows
        self.last_ms = time.time_ns() // 1_000_000
