"""Columns from which nothing can be learnt that holds later: counters, texts that do not come again, labels."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...runtime.errors import few
from ...runtime.rows.forms import has_day, possible_patterns
from .neighbours import is_evident
from .sentinels import is_nothing, shortest

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_LEVELS = 32
"""Distinct values up to which a column can be a category, a class or a label."""

_MOSTLY = 0.8
"""Share of the rows whose texts come in a single run each from which on the column's texts do not come again."""

_LEAST_LEVELS, _LEAST_COUNTED = 20, 5
"""Distinct values of a counter in general, and of one that goes up by 1: fewer may be setpoints."""

_FAIR = 0.2
"""Part of the mean that each quarter of a recording has in the rise of a counter; what warms up has stopped before."""

_JUMP = 10.0
"""Median steps that a single one counts at most: a counter may have gone on while nothing was recorded."""

_REGULAR = 0.2
"""Interquartile range over the median, of the steps of a counter and of the rows between them. Values drawn at random
and sorted have 1.6, ones that come up 30 times each 0.25."""

_GLITCH = 5
"""Rows of a running median, in which up to two wrong readings of a counter do not show."""

_MONTHS = frozenset({"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"})
"""How the names of months begin, in more languages than one."""

_LABELS = frozenset(
    {"label", "labels", "labeled", "labelled", "anomaly", "anomalies", "anomalous", "abnormal", "outlier", "outliers"}
    | {"attack", "attacks", "failure", "failures", "faulty", "changepoint", "novelty"}
)
"""Last words of headers that name labels."""

_NORMAL = frozenset({"normal", "healthy", "benign", "no failure", "no fault", "no_failure", "no_fault"})
"""Texts of labels that say that all is well."""

_RARE = 0.2
"""Share of the rows up to which a label or a flag is rarely set."""

_NEARLY = 0.9
"""Share of its rows in which the flag of a cause comes with the label."""

_FAULTS = frozenset({"fault", "faults", "defect", "defects", "error", "errors", "damage", "stoerung", "störung"})
"""Last words of headers that name what is not normal, where one of several classes is set."""

_LEAST_CHOICES = 3
"""Flags of which one is set in each row: of two, the other may be the first one turned round."""

_ONLY_LABELS = frozenset(
    {"y", "target", "class", "normal", "is_normal", "fault", "faults", "is_fault", "has_fault", "defect", "defective"}
    | {"change_point", "ground_truth", "groundtruth", "truth", "gt", "att_flag", "failure_type", "fault_type"}
)
"""Headers that name labels as a whole."""


class Doubt(Enum):
    """Why a column is left out, and the treatment that keeps it."""

    COUNTER = "it only rises or falls, like a counter, and later rows lie beyond", "linear"
    PASSING = "its texts do not come again, like dates or lots", "category"
    LABEL = "it is named like a label and is the same in every row", "constant"
    NOTHING = "it holds nothing but a number that loggers write for want of a value", "constant"


class Suspects(NamedTuple):
    """Columns that say little of later rows, or what a detector should not be told."""

    doubts: dict[str, Doubt]
    """By column, why it is to be left out."""
    rising: list[str]
    """Columns that only rise or fall, perhaps because the table is sorted by them."""
    labels: list[str]
    """Columns named like labels that vary, and flags that are set where these are."""
    choices: tuple[tuple[str, ...], ...] = ()
    """Flags beside each other of which each row has one set, where their names do not say that they are labels."""

    def but_for(self, key: str | None) -> Suspects:
        """The same without the column of which more is known: that it tells machines apart."""
        return self._replace(rising=[name for name in self.rising if name != key])

    def describe(self, *, kept: str) -> list[str]:
        """In lines for the user; `kept` says why columns to be left out are nevertheless there, "" if they are not."""
        lines = []
        for doubt in Doubt:
            names = [name for name, found in self.doubts.items() if found == doubt]
            why, treatment = doubt.value
            if names and kept:
                lines.append(f"better left out, since {why}: {few(map(repr, names))}; kept, since {kept}")
            elif names:
                lines.append(
                    f"left out, since {why}: {few(map(repr, names))}; --treat '{names[0]}={treatment}' keeps it"
                )
        if self.rising:
            lines.append(
                f"only rising or falling, as where rows are sorted by it: {few(map(repr, self.rising))}; if it is a "
                f"counter, --exclude {self.rising[0]}"
            )
        if self.labels:
            lines.append(
                f"named or set like labels: {few(map(repr, self.labels))}; if that says what is normal, --exclude "
                f"{shlex.quote(','.join(self.labels))}, or the detector is told the answers"
            )
        lines += [
            f"one of {few(map(repr, names))} is set in each row, as where classes are spelt out; if that says what is "
            f"normal, --exclude {shlex.quote(','.join(names))}"
            for names in self.choices
        ]
        return lines


def find_suspects(
    values: NDArray[np.float32],
    names: Sequence[str],
    texts: Mapping[str, Sequence[str]],
    segment: NDArray[np.int64] | None,
) -> Suspects:
    """The columns of (rows, columns) to leave out, and others that may be wrong.

    A column of text holds the places of its `texts`. `segment` (rows,) numbers the stretches of rows without time
    stamps, None where there are some. If neither these nor neighbouring rows say that there is an order, a column that
    rises may be the one by which the rows lie sorted: it is then a counter only if it counts the rows regularly.
    """
    doubts, labels = dict[str, Doubt](), list[str]()
    rises = np.array([name not in texts and is_counter(cells) for name, cells in zip(names, values.T, strict=True)])
    ordered = segment is None or (rises.any() and is_evident(values[:, ~rises], segment))
    rising = list[str]()
    for name, cells, counter in zip(names, values.T, rises, strict=True):
        if name in texts and len(texts[name]) > 1 and _NORMAL & {text.strip().lower() for text in texts[name]}:
            labels.append(name)
        elif is_label(name) and (distinct := len(np.unique(cells))) <= MOST_LEVELS:
            if distinct == 1:
                doubts[name] = Doubt.LABEL
            else:
                labels.append(name)
        if name not in texts and len(cells) and is_nothing(shortest(cells[0])) and np.all(cells == cells[0]):
            doubts[name] = Doubt.NOTHING
        if name in texts and is_passing(cells, texts[name]):
            doubts[name] = Doubt.PASSING
        if counter and (ordered or counts_rows(cells)):
            doubts[name] = Doubt.COUNTER
        elif counter:
            rising.append(name)
    labels += _causes(values, names, texts, [name for name in labels if name not in doubts])
    choices = _choices(values, names, texts)
    told = [each for each in choices if {*each} & {*labels} or any(map(_names_fault, each))]
    labels += [name for each in told for name in each if name not in labels]
    return Suspects(doubts, rising, labels, tuple(each for each in choices if each not in told))


def _choices(
    values: NDArray[np.float32], names: Sequence[str], texts: Mapping[str, Sequence[str]]
) -> list[tuple[str, ...]]:
    """Flags beside each other of which exactly one is set in each row: a class for each, three or more."""
    columns = zip(names, values.T, strict=True)
    flags = [name not in texts and set(np.unique(cells)) == {0.0, 1.0} for name, cells in columns]
    found, begin = list[tuple[str, ...]](), 0
    while begin < len(names):
        total, end = np.zeros(len(values)), begin
        while end < len(names) and flags[end] and total.max(initial=0.0) <= 1 and not total.all():
            total += values[:, end]
            end += 1
        is_choice = end - begin >= _LEAST_CHOICES and bool(np.all(total == 1))
        found += [tuple(names[begin:end])] if is_choice else []
        begin = end if is_choice else begin + 1
    return found


def _names_fault(name: str) -> bool:
    """Whether a header, perhaps of one class among several, names what is not normal, or says that all is well."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return is_label(name) or bool(words and words[-1] in _FAULTS) or bool({"normal", "healthy"} & {*words})


def _causes(
    values: NDArray[np.float32], names: Sequence[str], texts: Mapping[str, Sequence[str]], labels: Sequence[str]
) -> list[str]:
    """Rare flags that are set where a label is, nearly always: they tell why it is."""
    found = []
    for name, cells in zip(names, values.T, strict=True):
        is_flag = name not in labels and name not in texts and set(np.unique(cells)) == {0.0, 1.0}
        if not is_flag or cells.mean() > _RARE:
            continue
        for label in labels:
            of_label = values[:, list(names).index(label)]
            levels, counts = np.unique(of_label, return_counts=True)
            odd = of_label != levels[counts.argmax()]
            if odd.mean() < _RARE and odd[cells == 1].mean() >= _NEARLY:
                found.append(name)
                break
    return found


def is_label(name: str) -> bool:
    """Whether a header is one that labels have.

    >>> is_label("is_anomaly"), is_label("Normal/Attack"), is_label("y"), is_label("fault_code"), is_label("y [mm]")
    (True, True, True, False, False)
    """
    words = re.findall(r"[a-z]+|[^\sa-z_/.-]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return bool(words) and (words[-1] in _LABELS or "_".join(words) in _ONLY_LABELS)


def is_passing(places: NDArray[np.floating], texts: Sequence[str]) -> bool:
    """Whether the texts of a column (rows,), given as their places, are dates or come in a single run each.

    Two words without a digit may be a switch that was thrown once: they are not, but for months.
    """
    found = possible_patterns(texts)
    if found and has_day(found[0]):
        return True
    months = all(text[:3].lower() in _MONTHS for text in texts)
    if len(texts) == 2 and not months and not any(re.search(r"\d", text) for text in texts):
        return False
    begins = np.flatnonzero(np.diff(places, prepend=np.nan) != 0)
    runs = np.bincount(places[begins].astype(np.int64), minlength=len(texts))
    return float(np.mean(runs[places.astype(np.int64)] == 1)) > _MOSTLY


def is_counter(cells: NDArray[np.floating]) -> bool:
    """Whether the values (rows,) only rise or only fall, up to ties and single wrong readings, all the way."""
    steps = _steps(cells)
    size = np.abs(steps)
    moved = size[size > 0]
    if not len(moved) or min((steps > 0).sum(), (steps < 0).sum()) > 0:
        return False
    levels = len(moved) + 1
    if levels < _LEAST_LEVELS:
        counted = levels >= _LEAST_COUNTED and np.median(moved) == 1
        finest = np.spacing(np.float32(np.abs(cells).max()))  # seconds since 1970 are so large that most fall together
        counted = counted or bool(1 < np.median(moved) <= finest) or _are_days(np.unique(cells))
        return bool(counted) and len(cells) >= _LEAST_LEVELS
    size = np.minimum(size, _JUMP * np.median(moved))
    rise = np.array([part.sum() for part in np.array_split(size, 4)])
    return bool(rise.min() >= _FAIR * rise.mean())


def counts_rows(cells: NDArray[np.floating]) -> bool:
    """Whether a counter (rows,) goes on by as much each time, and after as many rows, or would but for rounding."""
    steps = np.abs(_steps(cells))
    moved = np.flatnonzero(steps)
    way = np.cumsum(steps)
    off = np.abs(way - np.linspace(steps[0], way[-1], len(way)))
    if off.max() <= np.median(steps[moved]):
        return True
    return _is_regular(steps[moved]) and (len(moved) < 2 or _is_regular(np.diff(moved).astype(np.float64)))


def _steps(cells: NDArray[np.floating]) -> NDArray[np.float64]:
    from scipy.ndimage import median_filter  # takes as long to import as all that comes before

    smooth = np.asarray(median_filter(cells.astype(np.float64), _GLITCH))
    return np.diff(smooth[_GLITCH // 2 : len(smooth) - _GLITCH // 2])


def _is_regular(sizes: NDArray[np.float64]) -> bool:
    low, middle, high = np.quantile(sizes, (0.25, 0.5, 0.75))
    return bool(high - low <= _REGULAR * middle)


def _are_days(levels: NDArray[np.floating]) -> bool:
    """Whether numbers are days like 20260105, of which float32 holds every other."""
    return all(1.9e7 < level < 2.1e7 and level % 100 < 33 and 0 < level // 100 % 100 < 13 for level in levels)
