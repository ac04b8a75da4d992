"""From what a decoder expects to what might be observed: x ~ p(x | z), column by column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .bundle import Bundle, Column

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EDGE = 1e-6  # of a share, so that its logit is finite


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
        is_number = column.treatment in ("linear", "log", "logit")
        if column.treatment == "binary" or (is_number and bundle.likelihood == "bernoulli"):
            share = (mean - column.center) / column.scale
            drawn[..., place] = column.center + column.scale * (generator.random(mean.shape) < share)
        elif is_number and bundle.likelihood in ("gaussian", "laplace"):
            drawn[..., place] = _raw(_treated(mean, column) + draw(0, scale[..., place]), column)
    return drawn


def _treated(x: NDArray[np.float64], column: Column) -> NDArray[np.float64]:
    if column.treatment == "log":
        return np.sign(x) * np.log1p(np.abs(x) / column.knee)
    if column.treatment == "logit":
        low, high = column.levels
        share = np.clip((x - low) / (high - low), _EDGE, 1 - _EDGE)
        return np.log(share / (1 - share))
    return x


def _raw(x: NDArray[np.float64], column: Column) -> NDArray[np.float64]:
    if column.treatment == "log":
        return np.sign(x) * np.expm1(np.abs(x)) * column.knee
    if column.treatment == "logit":
        low, high = column.levels
        return low + (high - low) / (1 + np.exp(-x))
    return x
