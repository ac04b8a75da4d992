"""How people write which rows are anomalous, and what each way of it says."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import InputError, few
from ...runtime.rows.cells import shown
from ..data.wording import FAULT_WORDS, NORMAL_WORDS, number_of, word_of

FAULT, NORMAL, UNREVIEWED = 1, 0, -1
"""What a label says of a row; the last where nobody has looked."""

_CLEARLY = 0.4
"""Share of the rows below which the rarer one of -1 and 1 is the anomaly, whichever it is."""

_SHOWN = 8


class Column(NamedTuple):
    """Cells of labels, and where they are, for messages."""

    cells: Sequence[str]
    where: str
    """Like "a.csv: column 'label'"."""
    name: str


class _Counted(NamedTuple):
    """The words of a column."""

    column: Column
    words: list[str]
    """One a row, "" where a cell says nothing."""
    counts: Counter[str]
    """Of those that say something."""
    empty: int


def read_words(column: Column, anomalous: Sequence[str] = (), *, partly: bool) -> tuple[NDArray[np.int64], str]:
    """`FAULT`, `NORMAL` or `UNREVIEWED` by row (rows,), and a line for the user where that had to be worked out.

    Case, blanks around, `_` and `.` for blanks, and 1.0 for 1 make no difference.

    Parameters
    ----------
    anomalous : cells that are anomalies as the user says, all others being normal; empty to go by what the words mean
    partly : rows may be unlabelled, so that an empty cell says nothing, and the share of a label neither; else every
        row is normal or anomalous

    Raises
    ------
    InputError
        when the words do not say which rows are anomalous, with what to type; with the row where one cell is to blame
    """
    counted = _count(column)
    meant, note = _as_told(counted, anomalous) if anomalous else _by_itself(counted, partly=partly)
    if counted.empty:
        if "" not in meant and not partly:
            raise _refusal(counted, "", "is empty, expected " + " or ".join(sorted(counted.counts)[:_SHOWN]))
        meant = {**meant, "": UNREVIEWED if partly else NORMAL}
    return np.array([meant[word] for word in counted.words], np.int64), note


def _count(column: Column) -> _Counted:
    written = {cell: word_of(cell) for cell in set(column.cells)}
    words = [written[cell] for cell in column.cells]
    counts = Counter(words)
    empty = counts.pop("", 0)
    if not counts:
        raise InputError(f"{column.where} is empty, expected 1 for anomalous rows and 0 for normal ones")
    return _Counted(column, words, counts, empty)


def _as_told(counted: _Counted, anomalous: Sequence[str]) -> tuple[dict[str, int], str]:
    told = {word_of(value) for value in anomalous}
    found = told & set(counted.counts)
    if not found and len(counted.counts) > 1:
        asked = few(map(shown, anomalous))
        raise InputError(f"{counted.column.where} holds no {asked}, as --anomaly-label says, but {_listed(counted)}")
    meant = {word: FAULT if word in told else NORMAL for word in counted.counts}
    return {**meant, "": NORMAL}, _described(counted, meant)


def _by_itself(counted: _Counted, *, partly: bool) -> tuple[dict[str, int], str]:
    numbers = {word: number for word in counted.counts if (number := number_of(word)) is not None}
    if numbers and len(numbers) < len(counted.counts):
        rarer = min((word for word in counted.counts), key=lambda word: counted.counts[word])
        rest = ", ".join(sorted(word for word in counted.counts if (word in numbers) != (rarer in numbers))[:_SHOWN])
        raise _refusal(counted, rarer, f"holds {shown(_first(counted, rarer))}, expected {rest} as in other rows")
    if numbers:
        return _of_numbers(counted, numbers, partly=partly)
    normal, known = NORMAL_WORDS & set(counted.counts), (NORMAL_WORDS | FAULT_WORDS) & set(counted.counts)
    whole = len(known) == len(counted.counts) and not (counted.empty and not normal and not partly)
    if whole:
        return {word: NORMAL if word in normal else FAULT for word in counted.counts}, ""
    return _events(counted, normal, partly=partly)


def _of_numbers(counted: _Counted, numbers: Mapping[str, float], *, partly: bool) -> tuple[dict[str, int], str]:
    """0 is normal and what is above it are faults, by number; of -1 and 1 the rarer one."""
    values = set(numbers.values())
    strange = next((word for word, number in numbers.items() if not number.is_integer()), None)
    if strange is not None:
        raise _refusal(counted, strange, f"holds {shown(_first(counted, strange))}, expected 0 or 1")
    if values == {-1.0, 1.0} and not partly and not counted.empty:
        rarer = min(counted.counts, key=lambda word: counted.counts[word])
        if counted.counts[rarer] < _CLEARLY * counted.counts.total():
            meant = {word: FAULT if word == rarer else NORMAL for word in counted.counts}
            return meant, f"{_described(counted, meant)}: of -1 and 1 the rarer one; --anomaly-label says otherwise"
    if min(values) < 0:
        raise _asked(counted)
    if values <= {0.0, 1.0} and not (values == {1.0} and counted.empty and not partly):
        return {word: int(number) for word, number in numbers.items()}, ""
    return _events(counted, {"0"} & set(numbers), partly=partly)


def _events(counted: _Counted, normal: Iterable[str], *, partly: bool) -> tuple[dict[str, int], str]:
    """What is not normal is the name of an event; where no word is normal, empty cells are."""
    if not normal and (partly or not counted.empty):
        raise _asked(counted)
    meant = {word: NORMAL if word in normal else FAULT for word in counted.counts}
    empty = {} if normal else {"": NORMAL}
    return {**meant, **empty}, _described(counted, {**meant, **empty})


def _asked(counted: _Counted) -> InputError:
    rarest = _first(counted, min(counted.counts, key=lambda word: counted.counts[word])).strip()
    return InputError(
        f"{counted.column.where} holds {_listed(counted)}, which does not say what is normal; name what is anomalous, "
        f"like --anomaly-label {shlex.quote(rarest)}, as often as needed",
        column=counted.column.name,
    )


def _refusal(counted: _Counted, word: str, what: str) -> InputError:
    row = counted.words.index(word)
    path, _, where = counted.column.where.rpartition(": ")
    return InputError(f"{path}: row {row}, {where} {what}", row=row, column=counted.column.name)


def _first(counted: _Counted, word: str) -> str:
    """How a word is written where it comes up first."""
    return counted.column.cells[counted.words.index(word)].strip()


def _listed(counted: _Counted, words: Iterable[str] | None = None) -> str:
    chosen = sorted(counted.counts if words is None else words, key=lambda word: (-counted.counts[word], word))
    return few([f"{_first(counted, word)} ({_rows(counted.counts[word])})" for word in chosen], _SHOWN)


def _rows(n: int) -> str:
    return f"{n} row{'s' * (n != 1)}"


def _described(counted: _Counted, meant: Mapping[str, int]) -> str:
    """What is normal and what is anomalous, for the user."""
    parts = []
    for what, label in (("normal", NORMAL), ("anomalous", FAULT)):
        words = [word for word in counted.counts if meant[word] == label]
        empty = [f"empty ({_rows(counted.empty)})"] if counted.empty and meant.get("") == label else []
        listed = ", ".join([*([_listed(counted, words)] if words else []), *empty])
        parts.append(f"{what} is {listed or 'none'}")
    return f"labels in {counted.column.where}: {'; '.join(parts)}"
