"""What is done with each column before the network sees it, chosen from the training rows."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

import numpy as np
from msgspec.structs import replace

from ...runtime.bundle import Column, Treatment
from ...runtime.errors import InputError, few
from ...runtime.observation import rounding_of, treat
from ...runtime.rows.fields import UNKNOWN, write_number
from ..settings.config import TrainConfig
from .angles import choose_ends, find_angle
from .declared_limits import refuse_untaken
from .loading import Table
from .selection import Selection
from .split import Split, covered_rows
from .suspects import MOST_LEVELS
from .units import is_percentage, unit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEAVY_TAIL = 30.0
"""Kurtosis above which a column is taken on a logarithmic scale. A normal distribution has 3, an exponential 9."""

_TREATMENTS: tuple[Treatment, ...] = get_args(Treatment)


def columns_of(
    table: Table, parts: Split, config: TrainConfig, selection: Selection
) -> tuple[tuple[Column, ...], list[str]]:
    """The columns of a run with the statistics of its training rows, and notes; raises like `plan_columns`."""
    has_range = config.likelihood in ("bernoulli", "continuous-bernoulli")
    if table.image is not None:
        pixels = table.values[parts.train].reshape(-1, len(table.names))
        center = pixels.mean(axis=0, dtype=np.float64)
        scale = np.maximum(pixels.std(axis=0, dtype=np.float64), 1.0)
        if has_range:
            center, scale = np.zeros_like(center), np.full_like(scale, 255.0)
        return tuple(map(Column, table.names, [""] * len(center), center.tolist(), scale.tolist())), []
    treatments = dict(selection.treatments)
    if selection.class_column is not None:
        treatments[selection.class_column] = "class"
    if has_range:
        levels = {name for name, kind in treatments.items() if kind in ("category", "class")} | set(table.texts)
        _refuse_out_of_range(table, config.likelihood, but=levels)
    columns, notes = plan_columns(
        table.values[covered_rows(parts.train, config.window)].astype(np.float32, copy=False),
        table.names,
        texts=table.texts,
        units=table.units,
        treatments=treatments,
        numeric_only=config.ingredients.training == "contrastive-divergence",
        # Prototypes find far values, which a logarithm brings near; the cells of windows gain by it.
        logarithms=config.ingredients.score != "joined" or config.kind != "rows",
        standardise=not has_range,
        everywhere=table.values.astype(np.float32, copy=False),
    )
    refuse_untaken(table.limits, columns)
    return tuple(replace(column, missing=table.missing.get(column.name, ())) for column in columns), notes


def _refuse_out_of_range(table: Table, likelihood: str, *, but: Container[str]) -> None:
    """Refuses values that the likelihood does not know, in all columns `but` those whose values are only names."""
    for index, name in enumerate(table.names):
        if name in but:
            continue
        values = _held(table.values[:, index].astype(np.float32))
        binary = likelihood == "bernoulli"
        strange = values[(values != 0) & (values != 1)] if binary else values[(values < 0) | (values > 1)]
        if len(strange):
            wanted = "of 0 and 1" if binary else "between 0 and 1"
            raise InputError(f"likelihood {likelihood} is for columns {wanted}; column {name!r} holds {strange[0]:g}")


def plan_columns(
    values: NDArray[np.float32],
    names: Sequence[str],
    *,
    texts: Mapping[str, Sequence[str]] | None = None,
    units: Mapping[str, str] | None = None,
    treatments: Mapping[str, Treatment] | None = None,
    numeric_only: bool = False,
    logarithms: bool = True,
    standardise: bool = True,
    everywhere: NDArray[np.float32] | None = None,
) -> tuple[tuple[Column, ...], list[str]]:
    """The columns with their treatments and statistics, and notes for the user.

    Parameters
    ----------
    values : (rows, features), the training rows; a column of text holds the places of its texts
    names : headers, which may end in a unit; see `unit_of`
    texts : by name, the texts of columns that hold text: these are categories
    units : by name, those that stand in the cells, which win over the header's
    treatments : by name, what the user wants
    numeric_only : take flags as numbers, for a recipe whose likelihood is one for all
    logarithms : take heavy tails as log by themselves
    standardise : False leaves values as they are, for data in [0, 1]
    everywhere : (all rows, features), held-out rows among them; a column that changes only there is no constant and
        takes its statistics from all rows. None for no others

    Raises
    ------
    InputError
        for a treatment that the column's values do not allow
    """
    texts, units, treatments = texts or {}, units or {}, treatments or {}
    columns = []
    everywhere = values if everywhere is None else everywhere
    kind: Treatment
    for position, name in enumerate(names):
        cells, along = (_held(part[:, position]) for part in (values, everywhere))
        cells = along if not cells.size or is_constant(cells) else cells
        unit = units.get(name) or unit_of(name)
        if name in texts:
            kind = treatments.get(name, "category")
        elif not standardise:
            kind = treatments.get(name, "constant" if is_constant(cells) else "linear")
        else:
            kind = treatments.get(name) or _choose(cells, unit, numeric_only=numeric_only, logarithms=logarithms)
            if kind in ("linear", "log") and name not in treatments and find_angle(name, unit, along):
                kind = "angle"
        columns.append(_fit(name, unit, cells, kind, tuple(texts.get(name, ())), standardise=standardise))
    return tuple(columns), _describe(columns)


def _held(cells: NDArray[np.float32]) -> NDArray[np.float64]:
    """Those that are not missing."""
    return cells[~np.isnan(cells)].astype(np.float64)


def _describe(columns: Sequence[Column]) -> list[str]:
    """What is done with the columns, for the user."""
    notes = []
    for treatment in ("constant", *(kind for kind in _TREATMENTS if kind not in ("constant", "linear"))):
        chosen = [column.name for column in columns if column.treatment == treatment]
        if chosen and treatment == "constant":
            notes.append(f"constant while training, so that any other value will be an anomaly: {few(chosen)}")
        elif chosen:
            notes.append(f"taken as {treatment}: {few(chosen)}")
    return notes


def parse_treatments(texts: Iterable[str]) -> dict[str, Treatment]:
    """By column, from texts like "NAME=TREATMENT,NAME=TREATMENT"; a comma before the next = is one of the name."""
    chosen: dict[str, Treatment] = {}
    for part in (part.strip(", ") for text in texts for part in re.findall(r"(?:.*?=[^=,]*|.+)(?:,|$)", text)):
        if not part:
            continue
        name, _, how = map(str.strip, part.rpartition("="))
        # A class is no treatment of a feature: only recipe cvae knows what to do with it, and asks for its column.
        treatment = next((known for known in _TREATMENTS if known == how and known != "class"), None)
        if not name or treatment is None:
            raise InputError(f"{part!r} is no treatment; expected NAME=one of {', '.join(_TREATMENTS[:-1])}")
        chosen[name] = treatment
    return chosen


def _choose(cells: NDArray[np.float64], unit: str, *, numeric_only: bool, logarithms: bool) -> Treatment:
    if is_constant(cells):
        return "constant"
    distinct = np.unique(cells)
    if len(distinct) == 2 and not numeric_only:
        return "binary"
    if len(distinct) == 2:
        return "linear"
    low, high = distinct[0], distinct[-1]
    if is_percentage(unit) and low >= 0 and high <= 100 and (low < 1 or high > 99):
        return "logit"
    if not logarithms:
        return "linear"
    centred = cells - cells.mean()
    kurtosis = (centred**4).mean() / max((centred**2).mean() ** 2, 1e-300)
    return "log" if kurtosis > _HEAVY_TAIL else "linear"


def _fit(
    name: str, unit: str, cells: NDArray[np.float64], kind: Treatment, texts: tuple[str, ...], *, standardise: bool
) -> Column:
    if texts and kind not in ("category", "class"):
        raise InputError(f"column {name!r} holds text and cannot be taken as {kind}; expected category or class")
    levels = tuple(map(float, range(len(texts)))) if texts else tuple(np.unique(cells).tolist())
    if kind == "binary":
        if len(levels) > 2:
            raise InputError(f"column {name!r} has {len(levels)} values and cannot be taken as binary, which has 2")
        low, high = levels[0], levels[-1]
        return Column(name, unit, low, _divisor(high - low) if high > low else max(abs(low), 1.0), kind, levels=levels)
    if kind in ("category", "class"):
        _check_levels(name, kind, levels, texts)
        return Column(name, unit, 0.0, 1.0, kind, levels=levels, texts=texts)
    if kind == "constant":
        if not is_constant(cells):
            raise InputError(f"column {name!r} has {len(levels)} values and cannot be taken as constant")
        value = float(np.float32(np.median(cells)))
        return Column(name, unit, value, 0.0, kind, levels=(value,))
    if kind == "angle":
        return _fit_angle(name, unit, cells, standardise=standardise)
    knee, ends = 1.0, tuple[float, ...]()
    if kind == "log":
        size = np.abs(cells[cells != 0])
        whole = bool(np.all(cells == np.rint(cells)))  # counts: a single event is where the logarithm may begin
        knee = 1.0 if whole or not len(size) else float(np.median(size))
    if kind == "logit":
        ends = (0.0, 1.0) if cells.max() <= 1 and not is_percentage(unit) else (0.0, 100.0)
        if cells.min() < 0 or cells.max() > 100:
            raise InputError(f"column {name!r} goes beyond 0 to 100 and cannot be taken as logit")
    column = Column(name, unit, 0.0, 1.0, kind, knee=knee, levels=ends)
    if not standardise:
        return column
    treated = treat(cells, column)
    center, scale = float(treated.mean()), float(treated.std())
    center, scale = (float(np.float32(value)) for value in (center, _divisor(scale)))
    return Column(name, unit, center, scale, kind, knee=knee, levels=ends)


def _fit_angle(name: str, unit: str, cells: NDArray[np.float64], *, standardise: bool) -> Column:
    """Mean direction and circular standard deviation (Mardia and Jupp 2000, equations 2.2.4 and 2.3.14)."""
    if not standardise:
        raise InputError(f"column {name!r} cannot be taken as angle by a likelihood of values from 0 to 1")
    low, high = choose_ends(unit, cells)
    turn = high - low
    if cells.min() < -turn or cells.max() > 2 * turn:
        strange = cells.min() if cells.min() < -turn else cells.max()
        raise InputError(
            f"column {name!r} holds {strange:g} and cannot be taken as angle, whose readings are from 0 to {turn:g} or "
            f"from {-turn / 2:g} to {turn / 2:g}"
        )
    mean = np.exp(2j * np.pi * cells / turn).mean()
    length = min(max(float(np.abs(mean)), 1e-6), 1 - 1e-12)
    center = low + (float(np.angle(mean)) / (2 * np.pi) * turn - low) % turn
    scale = float(np.sqrt(-2 * np.log(length))) * turn / (2 * np.pi)
    return Column(name, unit, float(np.float32(center)), float(np.float32(scale)), "angle", levels=(low, high))


def _check_levels(name: str, kind: Treatment, levels: tuple[float, ...], texts: tuple[str, ...]) -> None:
    if kind == "class" and len(levels) < 2:
        only = repr(texts[0]) if texts else write_number(levels[0])
        raise InputError(f"class column {name!r} holds only {only} in the training rows, expected at least 2 classes")
    if kind == "class" and not texts and UNKNOWN in levels:
        raise InputError(
            f"class column {name!r} holds {write_number(UNKNOWN)}, which stands for a class that is not known when "
            "scoring; number that class otherwise"
        )
    if len(levels) > MOST_LEVELS:
        raise InputError(
            f"column {name!r} has {len(levels)} values, expected at most {MOST_LEVELS} to be taken as {kind}"
        )


def _divisor(scale: float) -> float:
    """The scale, or 1 where it is 0 or so small that dividing by it leaves float32."""
    return scale if scale > 1e-30 else 1.0


def is_constant(cells: NDArray[np.floating]) -> bool:
    """Whether what varies is no more than rounding."""
    return bool(np.ptp(cells) <= rounding_of(float(np.median(cells))))
