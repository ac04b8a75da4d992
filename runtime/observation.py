"""From what a decoder expects to what might be observed: x ~ p(x | z), column by column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .bundle import Bundle, Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOGIT_EDGE = 1e-3
"""Share of the range next to each end where the logit goes on as a straight line: values outside must still count."""

_LARGEST_LOG = 80.0  # float32 ends at e^88
_ROUNDED = 4
_NOTHING = 1e-12  # what sums in float64 leave of 0, next to which the steps of float32 are smaller than any rounding


def observe(
    expected: NDArray[np.float32], scale: NDArray[np.float32], bundle: Bundle, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Rows or windows drawn around their expectation, raw units.

    Numbers get the noise of the likelihood, in the units in which the graph standardises them; flags are drawn by their
    probability; categories stay at the most likely level.

    Parameters
    ----------
    expected, scale : the two outputs of a decoder, both (batch, ..., features)
    """
    drawn = expected.copy()
    draw = generator.laplace if bundle.likelihood == "laplace" else generator.normal
    for place, column in enumerate(bundle.columns):
        mean = expected[..., place].astype(np.float64)
        is_number = column.treatment in ("linear", "log", "logit", "angle")
        if column.treatment == "binary" or (is_number and bundle.likelihood == "bernoulli"):
            share = (mean - column.center) / column.scale
            drawn[..., place] = column.center + column.scale * (generator.random(mean.shape) < share)
        elif is_number and bundle.likelihood in ("gaussian", "laplace"):
            drawn[..., place] = untreat(treat(mean, column) + draw(0, scale[..., place]), column)
    return drawn


def treat(x: NDArray[Any], column: Column) -> NDArray[Any]:
    """The treatment of a number's column without the standardisation, of raw values of any shape.

    log: sign(x) log(1 + |x| / knee). logit: log(u / (1 - u)) of the share u of the range, going on straight beyond the
    edges. angle: what stands for the same direction and is at most half a turn from the center; readings more than a
    turn outside of every usual range are as far from it as can be, and further by what is beyond. Others stay as they
    are. The graph does the same (`model.transform.Transform`).
    """
    if column.treatment == "log":
        return np.asarray(np.sign(x) * np.log(1 + np.abs(x) / column.knee))
    if column.treatment == "logit":
        low, high = column.levels
        share = (x - low) / (high - low)
        inside = np.clip(share, LOGIT_EDGE, 1 - LOGIT_EDGE)
        return np.asarray(np.log(inside / (1 - inside)) + (share - inside) / (LOGIT_EDGE * (1 - LOGIT_EDGE)))
    if column.treatment == "angle":
        turn = turn_of(column)
        inside = np.clip(x, -turn, 2 * turn)
        beyond = x - inside
        away = inside - column.center
        away = np.where(np.abs(beyond) > 0, np.sign(beyond) * turn / 2, away - turn * np.floor(away / turn + 0.5))
        return np.asarray(column.center + away + beyond)
    return x


def turn_of(column: Column) -> float:
    """What a full turn of an angle reads: 360, or 2 pi."""
    low, high = column.levels
    return high - low


def rounding_of(value: float) -> float:
    """How far from a constant a reading may be and still be the constant: four steps of float32."""
    return _ROUNDED * float(np.spacing(np.float32(abs(value)))) if value else _NOTHING


def untreat(x: NDArray[Any], column: Column) -> NDArray[Any]:
    """Raw values from treated ones."""
    if column.treatment == "log":
        return np.asarray(np.sign(x) * (np.exp(np.minimum(np.abs(x), _LARGEST_LOG)) - 1) * column.knee)
    if column.treatment == "logit":
        low, high = column.levels
        edge = np.log((1 - LOGIT_EDGE) / LOGIT_EDGE)
        inside = np.clip(x, -edge, edge)
        share = 1 / (1 + np.exp(-inside)) + (x - inside) * LOGIT_EDGE * (1 - LOGIT_EDGE)
        return np.asarray(share * (high - low) + low)
    if column.treatment == "angle":
        low, turn = column.levels[0], turn_of(column)
        return np.asarray(x - turn * np.floor((x - low) / turn))
    return x
