"""What callers hand to a detector, as the arrays that its graphs take; refused rather than guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def short(value: np.float32) -> float:
    """The fewest digits that are the same float32, for people: 2.77, not 2.7699999809265137."""
    return float(str(value))


def as_uint8(x: ArrayLike) -> NDArray[np.uint8]:
    """`x` as contiguous uint8; raises InputError for what is not whole numbers 0 to 255, rather than scaling it."""
    try:
        array = np.asarray(x)
    except ValueError as error:  # ragged lists
        raise InputError(f"images are not an array: {error}") from None
    if array.dtype.kind not in "ui":
        raise InputError(f"images hold {array.dtype}, expected uint8: whole numbers 0 to 255")
    if array.size and (array.min() < 0 or array.max() > 255):
        raise InputError(f"images hold {array.min()} to {array.max()}, expected whole numbers 0 to 255")
    return np.ascontiguousarray(array, dtype=np.uint8)


def as_indices(x: ArrayLike | None, shape: tuple[int | str | None, ...]) -> NDArray[np.int64]:
    """`x` as contiguous int64 of this shape; raises InputError for anything else, or nothing."""
    if x is None:
        raise InputError("this decoder unpools: it needs the indices that its encoder file gives beside the code")
    array = np.asarray(x)
    if array.dtype.kind not in "ui" or array.shape != shape:
        raise InputError(f"indices are {array.dtype} of shape {array.shape}, expected int64 of shape {shape}")
    return np.ascontiguousarray(array, dtype=np.int64)


def as_float32(x: ArrayLike | Sequence[Any], wrong: str) -> NDArray[np.float32]:
    """`x` as contiguous float32; a number beyond it becomes infinity, which is refused row by row.

    Raises InputError, beginning with `wrong`, for what is no numbers; numpy by itself would read "1_0" and dates.
    """
    try:
        array = np.asarray(x)
        has_text = array.dtype.kind == "O" and any(isinstance(value, str) for value in array.flat)
        if has_text or array.dtype.kind not in "biufO":
            raise TypeError(f"it holds {'text' if has_text else array.dtype}")
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, dtype=np.float32)
    except (TypeError, OverflowError, ValueError) as error:
        raise InputError(f"{wrong}: {error}") from None
