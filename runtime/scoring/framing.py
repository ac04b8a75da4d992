"""From rows that follow each other to a detector's inputs: windows, gaps, bad rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..bundle import Bundle, Kind
from ..errors import few
from ..rows.times import Clock, is_break
from .lateness import out_of_order
from .results import BAD, FILLED, GAP, OK, SCORED, WARMING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..rows.chunk import Rows


MOST_KEYS = 1000
"""Keys whose windows are remembered: each takes the memory of a window."""


class Framed(NamedTuple):
    """What a detector gets for consecutive rows.

    `inputs` has one for each row where `full`, (n, features) or (n, window, features); `status` and `reason` have an
    element for every row, and say where there is no input.
    """

    first: int
    inputs: NDArray[Any]
    full: NDArray[np.bool_]
    status: list[str]
    reason: list[str]


class Memory(NamedTuple):
    """What the windows of the next rows depend on."""

    tail: NDArray[np.float32]
    """The rows before the newest that its window reaches back to, (window - 1, features); NaN before the first."""
    run: int = 0
    """Rows that follow each other, up to the newest."""
    why: str = ""
    """Why the run was broken; "" at the start of the recording."""
    last_time: float = np.nan
    """The last readable time, seconds, and how many rows ago it was."""
    last_time_ago: int = 1
    late: int = 0
    """Rows that were late, after the newest that was not."""


@dataclass(frozen=True, slots=True)
class Framer:
    """Makes inputs of a recording that arrives in chunks of any size; the chunking changes no input.

    A window ends at its newest row. It must hold `window` rows that follow each other: after a bad row or a jump in
    time it fills anew, nothing is interpolated. A framer never changes: `frame` returns the one for the rows after.
    Rows with keys are a recording for each key.
    """

    kind: Kind
    window: int
    clock: Clock | None
    memory: Memory
    """Of rows without keys."""
    memories: Mapping[str, Memory] = field(default_factory=dict)
    """By key, at most `MOST_KEYS`; the key whose newest row is the oldest comes first."""
    names: tuple[str, ...] = ()
    """Of the columns, where cells may be missing."""

    @classmethod
    def of(cls, bundle: Bundle) -> Framer:
        """For a recording that begins."""
        tail = np.full((bundle.window - 1, len(bundle.columns)), np.nan, np.float32)
        data = bundle.data
        clock = None if data.period_s is None else Clock(data.period_s, data.stamp_s, data.layout.max_gap_s)
        names = bundle.names if data.layout.most_missing else ()
        return cls(bundle.kind, bundle.window, clock, Memory(tail), names=names)

    def frame(self, rows: Rows) -> tuple[Framed, Framer]:
        """Inputs for the next rows of the recording, and the framer for those after them."""
        if self.window == 1:
            n = len(rows.values)
            status, reason, full, inputs = [OK] * n, [""] * n, np.ones(n, np.bool_), rows.values
            if rows.bad:
                for index, why in rows.bad.items():
                    status[index], reason[index], full[index] = BAD, str(why), False
                inputs = rows.values[full]
            self._tell_filled(rows.values, full, status, reason)
            return Framed(rows.first, inputs, full, status, reason), self
        if rows.keys is not None:
            return self._frame_by_key(rows)
        astray, late = out_of_order(rows.times, self.memory.last_time, self.memory.late, self.clock)
        return self._frame_without(rows, astray, late) if astray else self._frame_in_order(rows)

    def _frame_in_order(self, rows: Rows) -> tuple[Framed, Framer]:
        jumps, last_time, last_time_ago = self._jumps(rows.times, len(rows.values))
        status, reason, run, why_broken = self._statuses(rows, jumps)
        full = np.array([one in SCORED for one in status], np.bool_)
        joined = np.concatenate([self.memory.tail, rows.values])
        if len(rows.values) == 1:  # a view of one window takes as long as ten others
            inputs = joined[np.newaxis]
        else:
            inputs = np.lib.stride_tricks.sliding_window_view(joined, self.window, axis=0).transpose(0, 2, 1)
        self._tell_filled(joined, full, status, reason)
        after = Memory(joined[len(rows.values) :].copy(), run, why_broken, last_time, last_time_ago)
        framed = Framed(rows.first, inputs if full.all() else inputs[full], full, status, reason)
        return framed, Framer(self.kind, self.window, self.clock, after, self.memories, self.names)

    def _frame_without(self, rows: Rows, astray: dict[int, tuple[str, str]], late: int) -> tuple[Framed, Framer]:
        """As `frame`, of rows some of which are out of order: these have the status and reason that is given."""
        n = len(rows.values)
        status, reason, full = [""] * n, [""] * n, np.zeros(n, np.bool_)
        for index, told in astray.items():
            status[index], reason[index] = told
        if len(astray) == n:
            nothing = np.empty((0, self.window, rows.values.shape[1]), np.float32)
            return Framed(rows.first, nothing, full, status, reason), replace(
                self, memory=self.memory._replace(late=late)
            )
        kept = np.array([index for index in range(n) if index not in astray], np.intp)
        framed, after = self._frame_in_order(rows.at(kept))
        for index, one, why in zip(kept.tolist(), framed.status, framed.reason, strict=True):
            status[index], reason[index] = one, why
        full[kept] = framed.full
        memory = after.memory._replace(late=late)
        return Framed(rows.first, framed.inputs, full, status, reason), replace(after, memory=memory)

    def _frame_by_key(self, rows: Rows) -> tuple[Framed, Framer]:
        n = len(rows.values)
        memories = dict(self.memories)
        status, reason, full = [OK] * n, [""] * n, np.zeros(n, np.bool_)
        parts, places = [np.empty((0, self.window, rows.values.shape[1]), np.float32)], [np.empty(0, np.int64)]
        for key, (index, own) in rows.by_key().items():
            memory = memories.pop(key, None) or self._first_memory(full=len(memories) >= MOST_KEYS)
            framed, after = replace(self, memory=memory).frame(own)
            memories[key] = after.memory
            if len(memories) > MOST_KEYS:
                del memories[next(iter(memories))]
            for place, one, why in zip(index.tolist(), framed.status, framed.reason, strict=True):
                status[place], reason[place] = one, why
            full[index] = framed.full
            parts.append(framed.inputs)
            places.append(index[framed.full])
        inputs = np.concatenate(parts)[np.argsort(np.concatenate(places))]
        return Framed(rows.first, inputs, full, status, reason), replace(self, memories=memories)

    def _first_memory(self, *, full: bool) -> Memory:
        """Of a key that is new, or was forgotten because the memories were full."""
        tail = np.full_like(self.memory.tail, np.nan)
        why = f"there are more than {MOST_KEYS} keys, of which the longest silent are forgotten"
        return Memory(tail, why=why) if full else Memory(tail)

    def _statuses(self, rows: Rows, jumps: dict[int, float]) -> tuple[list[str], list[str], int, str]:
        """Status and reason of every row, and the run that the newest ends, with why it was broken."""
        run, why_broken = self.memory.run, self.memory.why
        status, reason = [OK] * len(rows.values), [""] * len(rows.values)
        for index in range(len(rows.values)):
            number = rows.number(index)
            if index in rows.bad:
                run, why_broken = 0, f"row {number} in the window is bad"
                status[index], reason[index] = BAD, str(rows.bad[index])
                continue
            if index in jumps:
                run, why_broken = 0, f"time jumps by {jumps[index]:.6g} s before row {number}"
            run += 1
            if run < self.window:
                status[index] = GAP if why_broken else WARMING
                reason[index] = f"{why_broken or 'the recording begins'}; {self.window - run} more rows fill the window"
        return status, reason, run, why_broken

    def _tell_filled(
        self, joined: NDArray[np.float32], full: NDArray[np.bool_], status: list[str], reason: list[str]
    ) -> None:
        """Says of the rows where `full` which cells the graph fills; `joined` begins with the first row's window."""
        if not self.names:
            return
        missing = np.isnan(joined)
        counts = np.concatenate([[0], np.cumsum(missing.sum(axis=1))])
        in_window = counts[self.window :] - counts[: len(full)]
        for index in np.flatnonzero(full & (in_window > 0)).tolist():
            newest = missing[index + self.window - 1]
            own, older = int(newest.sum()), int(in_window[index] - newest.sum())
            names = few(repr(self.names[place]) for place in np.flatnonzero(newest))
            told = [f"{own} of {len(self.names)} cells filled: {names}"] if own else []
            told += [f"{older} cells of older rows in the window filled"] if older else []
            status[index], reason[index] = FILLED, "; ".join(told)

    def _jumps(self, times: NDArray[np.float64] | None, n: int) -> tuple[dict[int, float], float, int]:
        """By index, the steps in time that break a window; then the last readable time and how many rows ago it was.

        An unreadable time neither proves nor hides a jump.
        """
        last, ago = self.memory.last_time, self.memory.last_time_ago
        known = np.flatnonzero(np.isfinite(times)) if times is not None else np.empty(0, np.intp)
        if self.clock is None or times is None or not len(known):
            return {}, last, ago + n
        steps = np.diff(times[known], prepend=last)  # NaN before the first time, which is no break
        rows = np.diff(known, prepend=-ago)
        jumped = np.flatnonzero(is_break(steps, rows, self.clock))
        return {int(known[index]): float(steps[index]) for index in jumped}, float(times[known[-1]]), n - int(known[-1])


def windows_at(values: NDArray[Any], newest: NDArray[np.int64], window: int) -> NDArray[Any]:
    """The inputs whose newest rows these are: (n, features) from (rows, features), for a window (n, window, features).

    Images, which have a window of 1, likewise.
    """
    inputs: NDArray[Any] = values[newest] if window == 1 else values[newest[:, None] + np.arange(1 - window, 1)]
    return inputs


def fill(values: NDArray[Any], full: NDArray[np.bool_], n: int) -> NDArray[Any]:
    """`values` at the rows where `full`; NaN, or False for booleans, elsewhere."""
    out = np.full((n, *values.shape[1:]), False if values.dtype == np.bool_ else np.nan, values.dtype)
    out[full] = values
    return out
