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

_NUMBERS = ("score", "severity", "p_value", "is_anomaly")


class Results(NamedTuple):
    """Results of consecutive rows, one element a row; `scores` is NaN wherever `status` is not ok."""

    first: int
    scores: Scores
    status: list[str]
    reason: list[str]
    explanation: Explanation | None

    def table(self, label: str, names: Sequence[int | str] | None = None) -> Table:
        """A column `label` with the number or the name of each row, then `COLUMNS`; what does not exist is absent."""
        scores = self.scores
        numbers: dict[str, NDArray[Any]] = {name: getattr(scores, name) for name in _NUMBERS}
        if not scores.scored.all():
            numbers = {name: np.ma.array(values, mask=~scores.scored) for name, values in numbers.items()}
        return {
            label: names if names is not None else range(self.first, self.first + len(self.status)),
            **numbers,
            "status": self.status,
            "reason": [text or None for text in self.reason],
        }
