"""Time and key of rows that come as JSON: where an object says them, as the columns of a recording do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layout import Layout
from .cells import BadCell
from .chunk import Rows
from .forms import StampColumn

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Labels:
    """Reads the time stamps and keys of one stream, or of one request.

    Parameters
    ----------
    layout : where the time stamps are, and which column is the key
    key : whose rows those are that do not say it themselves; without it such a row is bad where the model knows a key
    """

    def __init__(self, layout: Layout, *, key: str | None = None) -> None:
        self._layout = layout
        self._time_columns = layout.stamps.columns if layout.stamps else ()
        self._is_settled = layout.declares_time_format
        self._column, self._key = layout.key, key

    def put(self, rows: Rows, cells: Sequence[Any], others: Sequence[str] | None = None) -> Rows:
        """The rows with times and keys; `cells` are the same ones as lists and objects.

        Parameters
        ----------
        others : in place of `key`, for each of these rows; "" for none
        """
        times = self._times(cells) if self._time_columns else None
        if times is not None:
            rows = rows._replace(times=times)
        if others is None and self._key is not None:
            others = [self._key] * len(cells)
        keys = self._keys(rows, cells, others)
        return rows if keys is None else rows._replace(keys=keys)

    def _keys(self, rows: Rows, cells: Sequence[Any], others: Sequence[str] | None) -> list[str] | None:
        """Whose row each is, "" of those that do not say it, which become bad ones where the model knows a key."""
        if self._column is None:
            return None if others is None else [*others]
        keys = [_written(row.get(self._column)) if isinstance(row, dict) else "" for row in cells]
        if others is not None:
            keys = [key or other for key, other in zip(keys, others, strict=True)]
        for index, found in enumerate(keys):
            if not found and index not in rows.bad:
                rows.values[index] = np.nan
                rows.bad[index] = BadCell(self._column, "is missing, expected whose row it is")
        return keys

    def _times(self, cells: Sequence[Any]) -> NDArray[np.float64] | None:
        """Seconds, NaN where unreadable; None where no row has a time stamp."""
        if not any(isinstance(row, dict) and self._time_columns[0] in row for row in cells):
            return None
        stamps = [
            " ".join([_written(row.get(name)) for name in self._time_columns]) if isinstance(row, dict) else ""
            for row in cells
        ]
        filled = [stamp for stamp in stamps if stamp.strip()]
        if not filled:
            return None
        times = self._column_of_stamps.read(stamps)
        if not self._is_settled and not np.isfinite(times).all():
            self._column_of_stamps.settle(filled, lambda: filled)
            times = self._column_of_stamps.read(stamps)
        self._is_settled = True
        return times

    @cached_property
    def _column_of_stamps(self) -> StampColumn:
        assert self._layout.stamps is not None
        return StampColumn(self._layout.stamps)


def _written(cell: Any) -> str:
    return "" if cell is None else str(cell)
