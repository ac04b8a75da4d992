"""What comes of rows and images: a status for each, and a score where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..detector import Explanation, Scores
    from ..rows.writers import Table

OK, WARMING, GAP, BAD, OVERFLOW = "ok", "warming", "gap", "bad", "overflow"
STATUSES = (OK, WARMING, GAP, BAD, OVERFLOW)
"""ok: scored. warming: the recording is still shorter than a window. gap: the window holds a bad row or a jump in
time. bad: a cell of this row is no finite number, or this image cannot be read. overflow: the score exceeds float32."""

COLUMNS = {"score": float, "severity": float, "p_value": float, "is_anomaly": bool, "status": str, "reason": str}
"""What a result tells, and its type, after the number or the name that says whose it is."""


class Results(NamedTuple):
    """Results of consecutive rows, one element a row; `scores` is NaN wherever `status` is not ok."""

    first: int
    scores: Scores
    status: list[str]
    reason: list[str]
    explanation: Explanation | None

    def table(self, label: str, names: Sequence[int | str] | None = None) -> Table:
        """A column `label` with the number or the name of each row, then `COLUMNS`; what does not exist is absent."""
        numbers: Sequence[NDArray[Any]] = self.scores[:4]
        if not self.scores.scored.all():
            numbers = [np.ma.array(values, mask=~self.scores.scored) for values in numbers]
        first = range(self.first, self.first + len(self.status)) if names is None else names
        reasons = [text or None for text in self.reason]
        return dict(zip((label, *COLUMNS), (first, *numbers, self.status, reasons), strict=True))
