"""What comes of rows and images: a status for each, and a score where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..rows.times import write_time

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
    times: NDArray[np.float64] | None = None
    """Seconds, NaN where unknown; None where the rows have no times to tell."""
    blamed: list[str] | None = None
    """The column that contributes most, of rows that alarm, "" of others; None where it was not asked for."""
    file: str | None = None
    """The file that the rows are from; None where there is only one."""

    def table(self, label: str, names: Sequence[int | str] | None = None) -> Table:
        """`file`, a column `label` with the number or name of each row, `time`, `COLUMNS`, `column`; as in `schema`.

        What does not exist is absent.
        """
        numbers: Sequence[NDArray[Any]] = self.scores[:4]
        if not self.scores.scored.all():
            numbers = [np.ma.array(values, mask=~self.scores.scored) for values in numbers]
        first = range(self.first, self.first + len(self.status)) if names is None else names
        reasons = [text or None for text in self.reason]
        found: dict[str, Any] = {} if self.file is None else {"file": [self.file] * len(self.status)}
        found[label] = first
        if self.times is not None:
            found["time"] = list(map(write_time, self.times.tolist()))
        found |= dict(zip(COLUMNS, (*numbers, self.status, reasons), strict=True))
        if self.blamed is not None:
            found["column"] = [name or None for name in self.blamed]
        return found


def schema(label: str, *, filed: bool = False, timed: bool = False, blamed: bool = False) -> dict[str, type]:
    """The columns of `Results.table` and their types; `filed`, `timed` and `blamed` where the results have these."""
    return {
        **({"file": str} if filed else {}),
        label: str if label == "file" else int,
        **({"time": str} if timed else {}),
        **COLUMNS,
        **({"column": str} if blamed else {}),
    }
