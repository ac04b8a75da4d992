"""What comes of rows and images: a status for each, and a score where there is one."""

from __future__ import annotations

from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from ..rows.times import write_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ..detector import Explanation, Scores
    from ..rows.writers import Table

OK, FILLED, WARMING, GAP, LATE, REPEATED = "ok", "filled", "warming", "gap", "late", "repeated"
BAD, OVERFLOW = "bad", "overflow"
STATUSES = (OK, FILLED, WARMING, GAP, LATE, REPEATED, BAD, OVERFLOW)
"""ok: scored. filled: scored, with what is expected in cells that are missing. warming: the recording is still shorter
than a window. gap: the window holds a bad row or a jump in time. late, repeated: of a time before that of the row
before, or the same, and in no window. bad: a cell of this row is no finite number, or this image cannot be read.
overflow: the score exceeds float32."""

SCORED = (OK, FILLED)
"""Those that come with a score."""

COLUMNS = {"score": float, "severity": float, "p_value": float, "is_anomaly": bool, "status": str, "reason": str}
"""What a result tells, and its type, after the number or the name that says whose it is."""


class Cause(msgspec.Struct, frozen=True):
    """What a column has to do with an alarm."""

    column: str
    contribution: float | None
    """To the score; None of a row without one, whose reading is beyond a limit."""
    actual: float | None
    """None where the cell is missing."""
    expected: float | None


class Results(NamedTuple):
    """Results of consecutive rows, one element a row; `scores` is NaN wherever `status` is none of `SCORED`, where only
    rows that break a limit alarm."""

    first: int
    scores: Scores
    status: list[str]
    reason: list[str]
    explanation: Explanation | None
    times: NDArray[np.float64] | None = None
    """Seconds, NaN where unknown; None where the rows have no times to tell."""
    blamed: list[str] | None = None
    """The column that contributes most, of rows that alarm, "" of others; None where it was not asked for."""
    causes: list[tuple[Cause, ...]] | None = None
    """The columns that contribute most, of rows that alarm, none of others; None where they were not asked for."""
    file: str | None = None
    """The file that the rows are from; None where there is only one."""
    keys: list[str] | None = None
    """Whose row each is; None where the model knows no keys."""
    limited: NDArray[np.bool_] | None = None
    """Which rows break a limit: anomalies, whatever their score. None where the model has no limits."""

    @property
    def all_scored(self) -> bool:
        """Whether every row has a score."""
        return bool(self.scores.scored.all())

    def cut(self, first: int, end: int) -> Results:
        """Those of so many rows, counted from `first` of them on."""
        cut = slice(first, end)
        cuts = {
            name: values[cut]
            for name, values in self._asdict().items()
            if name not in ("first", "scores", "explanation", "file") and values is not None
        }
        scores: list[Any] = [each[cut] for each in self.scores]
        return self._replace(first=first, scores=type(self.scores)(*scores), **cuts)

    def table(self, label: str, names: Sequence[int | str] | None = None) -> Table:
        """`file`, `label` with the number or name of each row, `time`, `key`, `COLUMNS`, `column`: see `schema`.

        What does not exist is absent.
        """
        numbers: Sequence[NDArray[Any]] = self.scores[:4]
        if not self.scores.scored.all():
            absent = ~self.scores.scored
            # A row that breaks a limit has a verdict without a score.
            masks = [absent] * 3 + [absent if self.limited is None else absent & ~self.limited]
            numbers = [np.ma.array(values, mask=mask) for values, mask in zip(numbers, masks, strict=True)]
        first = range(self.first, self.first + len(self.status)) if names is None else names
        reasons = [text or None for text in self.reason]
        found: dict[str, Any] = {} if self.file is None else {"file": [self.file] * len(self.status)}
        found[label] = first
        if self.times is not None:
            found["time"] = list(map(write_time, self.times.tolist()))
        if self.keys is not None:
            found["key"] = self.keys
        found |= dict(zip(COLUMNS, (*numbers, self.status, reasons), strict=True))
        if self.blamed is not None:
            found["column"] = [name or None for name in self.blamed]
        return found


def joined(parts: Sequence[Results]) -> Results:
    """Results of several recordings as if they were one: scores, status, reason and broken limits."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return Results(
        0,
        type(first.scores)(*map(np.concatenate, zip(*(part.scores for part in parts), strict=True))),
        list(chain.from_iterable(part.status for part in parts)),
        list(chain.from_iterable(part.reason for part in parts)),
        None,
        limited=None if first.limited is None else np.concatenate([part.limited for part in parts]),
    )


def parted(whole: Results, parts: Sequence[Results]) -> list[Results]:
    """The parts that were `joined`, with the verdicts of the whole."""
    ends = list(accumulate(len(part.status) for part in parts))
    cuts = map(slice, [0, *ends], ends)
    verdicts = whole.scores.is_anomaly
    return [
        part._replace(scores=part.scores._replace(is_anomaly=verdicts[cut]))
        for part, cut in zip(parts, cuts, strict=True)
    ]


def in_order(parts: Sequence[Results], numbers: NDArray[np.int64]) -> Results:
    """The results of all parts as one, in the order of `numbers`, which are those of their rows."""
    place = np.argsort(numbers, kind="stable")

    def gathered(values: Sequence[Any]) -> Any:
        if any(each is None for each in values):
            return None
        if isinstance(values[0], list):
            flat = [cell for each in values for cell in each]
            return [flat[row] for row in place.tolist()]
        return np.concatenate(values)[place]

    told = ("status", "reason", "times", "blamed", "causes", "keys", "limited")
    scores = type(parts[0].scores)(*map(gathered, zip(*(part.scores for part in parts), strict=True)))
    return parts[0]._replace(
        scores=scores, **{name: gathered([getattr(part, name) for part in parts]) for name in told}
    )


def in_file_order(parts: Sequence[Results], numbers: NDArray[np.int64]) -> Iterator[Results]:
    """The same results, one for each part, in the order of the file; `numbers` are the rows that they came for."""
    whole = in_order(parts, numbers)
    sizes = [len(part.status) for part in parts]
    for first, size in zip(accumulate(sizes, initial=0), sizes, strict=False):
        yield whole.cut(first, first + size)


def schema(
    label: str, *, filed: bool = False, timed: bool = False, keyed: bool = False, blamed: bool = False
) -> dict[str, type]:
    """The columns of `Results.table` and their types; `filed`, `timed`, ... where the results have these."""
    return {
        **({"file": str} if filed else {}),
        label: str if label == "file" else int,
        **({"time": str} if timed else {}),
        **({"key": str} if keyed else {}),
        **COLUMNS,
        **({"column": str} if blamed else {}),
    }
