"""Series of a Prometheus as rows: a column for each query, a row for each time at which one of them has a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

import msgspec

from ..errors import InputError, TooLargeError, few
from .client import Client, RequestRefusedError
from .moments import Grid

TIME = "time"
"""The column of the time stamps."""

_MOST_STEPS = 11_000
"""That Prometheus answers at once."""

_MOST_STEPS_OF_MANY = 1_000
"""That are asked for at once where a query has a series for each key."""

_SHOWN = 4
"""Series that a message shows."""


class _Series(msgspec.Struct, frozen=True):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct, frozen=True):
    result: list[_Series]


class _Answer(msgspec.Struct, frozen=True):
    data: _Data
    warnings: list[str] = []


class Row(NamedTuple):
    """The cells of one time, and of one key where there are keys."""

    time_ms: int
    key: str
    cells: list[str]
    """As Prometheus writes them; "" where a query has no value: nothing was scraped, or the series is stale."""


class RangeReader:
    """Reads the rows of queries, each of which has one series, or one for each value of a label, the key.

    Parameters
    ----------
    queries : PromQL by the name of the column
    key : the label that says whose series it is; None where there is one series
    most_points : values that are read in all; one more is refused
    """

    def __init__(self, client: Client, queries: Mapping[str, str], *, key: str | None = None, most_points: int) -> None:
        self.client, self.queries, self.key = client, dict(queries), key
        self._most = most_points
        self._points = 0
        self._labels: dict[tuple[str, str], dict[str, str]] = {}
        """Of the series of each column and key that were found in these rows."""
        self.warnings: dict[str, None] = {}
        """What the server had to say, like that a part of it did not answer."""

    @property
    def header(self) -> list[str]:
        """The names of the columns of `tables`."""
        return [TIME, *([self.key] if self.key is not None else []), *self.queries]

    def rows(self, grid: Grid) -> Iterator[Row]:
        """The rows of these times, in their order, those of one time by their keys. A time without any value has none.

        Raises
        ------
        TooLargeError
            before anything is read, where this can be foreseen, when there are more than `most_points`
        InputError
            when the server refuses a query, or one has several series, or none with the key
        """
        self._points, self._labels = 0, {}
        if (points := grid.steps * len(self.queries)) > self._most:
            least = -(-grid.step_ms * points // self._most)
            raise TooLargeError(
                f"{grid.steps} steps of {len(self.queries)} queries are {points} values, and --most-points is "
                f"{self._most}; ask for less time, for a --step of {-(-least // 1000)}s or more, or raise --most-points"
            )
        for piece in grid.pieces(_MOST_STEPS if self.key is None else _MOST_STEPS_OF_MANY):
            yield from self._rows_of(piece)

    def check_all_found(self, grid: Grid) -> None:
        """Raises InputError when a query had no value at any of the times that were read."""
        lacking = [name for name in self.queries if not any(name == found for found, _ in self._labels)]
        if lacking:
            told = few([f"{name}={self.queries[name]}" for name in lacking], 3)
            raise InputError(f"{self.client.address}: there is no series for --query {told}; {grid}")

    def _rows_of(self, grid: Grid) -> Iterator[Row]:
        found: dict[str, list[list[str]]] = {}
        for place, name in enumerate(self.queries):
            for key, series in self._ask(name, grid).items():
                columns = found.setdefault(key, [[] for _ in self.queries])
                columns[place] = self._cells(series, grid)
        blank = [""] * grid.steps
        tables = {key: list(zip(*(column or blank for column in found[key]), strict=True)) for key in sorted(found)}
        for step in range(grid.steps):
            for key, table in tables.items():
                if any(table[step]):
                    yield Row(grid.first_ms + step * grid.step_ms, key, list(table[step]))

    def _cells(self, series: _Series, grid: Grid) -> list[str]:
        """The values of a series, at their places in the grid."""
        self._points += len(series.values)
        if self._points > self._most:
            raise TooLargeError(
                f"{self.client.address}: more than --most-points {self._most} values; ask for less time, for a longer "
                "--step, or raise --most-points"
            )
        cells = [""] * grid.steps
        for time_s, value in series.values:
            place = round((time_s * 1000 - grid.first_ms) / grid.step_ms)
            if not 0 <= place < grid.steps:
                raise InputError(f"{self.client.address}: answers with times that were not asked for")
            cells[place] = value
        return cells

    def _ask(self, name: str, grid: Grid) -> dict[str, _Series]:
        """The series of a query by key, "" without keys."""
        asked = {
            "query": self.queries[name],
            "start": f"{grid.first_ms / 1000:.3f}",
            "end": f"{grid.last_ms / 1000:.3f}",
            "step": f"{grid.step_ms / 1000:.3f}",
        }
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            content = self.client.post("/api/v1/query_range", urlencode(asked).encode(), form)
            answer = msgspec.json.decode(content, type=_Answer)
        except msgspec.MsgspecError:
            raise InputError(f"{self.client.address}: answers with what is none of Prometheus") from None
        except TooLargeError as error:
            raise TooLargeError(f"--query {name}: {error}: fewer series, by matchers or an aggregation") from None
        except RequestRefusedError as error:
            raise InputError(f"{self.client.address}: --query {name}={self.queries[name]}: {error}") from None
        self.warnings.update(dict.fromkeys(answer.warnings))
        return self._by_key(name, answer.data.result)

    def _by_key(self, name: str, found: Sequence[_Series]) -> dict[str, _Series]:
        by_key: dict[str, _Series] = {}
        for series in found:
            if not series.values:
                raise InputError(f"--query {name}: gives no numbers but native histograms; take one, like their rate")
            key = "" if self.key is None else series.metric.get(self.key, "")
            if self.key is not None and not key:
                raise InputError(
                    f"--query {name}: gives {_shown(series.metric)}, which has no label {self.key!r}, the key; keep "
                    f"it, like sum by ({self.key}) (...)"
                )
            other = by_key[key].metric if key in by_key else self._labels.setdefault((name, key), series.metric)
            if key in by_key or other != series.metric:
                raise InputError(self._too_many(name, key, [each.metric for each in found], other))
            by_key[key] = series
        return by_key

    def _too_many(self, name: str, key: str, found: Sequence[dict[str, str]], other: dict[str, str]) -> str:
        """What is wrong where a column would be of several series, and what to type."""
        if self.key is not None:
            found = [labels for labels in found if labels.get(self.key) == key]
        found = found if other in found else [other, *found]
        differs = next(
            (label for label in sorted({*other, *found[-1]}) if other.get(label) != found[-1].get(label)), ""
        )
        whose = f" for {self.key}={key!r}" if self.key is not None else ""
        matcher = f'{{{differs}="{other.get(differs, "")}"}}'
        by = "" if self.key is None else f" by ({self.key})"
        apart = f", or keep them apart with --key {differs} in `train`" if self.key is None else ""
        return (
            f"--query {name}: gives {len(found)} series{whose}, expected one: {few(map(_shown, found), _SHOWN)}; take "
            f"one by a matcher, like {matcher}, or join them, like avg{by} (...){apart}"
        )


def _shown(labels: Mapping[str, str]) -> str:
    """The labels of a series as PromQL writes them."""
    pairs = (f'{label}="{value}"' for label, value in labels.items() if label != "__name__")
    return f"{labels.get('__name__', '')}{{{', '.join(pairs)}}}"
