"""The inputs of a scorer from the tensors of a request: one tensor `x`, as its graph has it, or one of each column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import graph
from ..arrays import as_uint8
from ..bundle import Bundle
from ..errors import InputError
from ..rows.cells import FLOAT32_MAX, BadCell
from ..rows.fields import UNKNOWN, Absences, Field, as_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Inputs:
    """Reads the inputs of a scorer, (n, features), (n, window, features) or images, from the tensors of a request.

    A column of texts stands in `x` as the places of its texts, as it does in the graph; by itself it is of BYTES. A
    class that is not known is NaN, or an empty text, or its tensor is absent.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._shape, self._names = bundle.input_shape, bundle.names
        self._is_images = bundle.image is not None
        self._fields = as_fields(bundle.columns)
        self._absences = Absences(self._fields, bundle.data.layout.most_missing)
        self._coded = [(place, field, _codes(field)) for place, field in enumerate(self._fields) if not field.is_number]

    def read(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Raises InputError, with the number of rows refused, naming the row and the column that is wrong."""
        if self._is_images:
            return self._images(tensors)
        if graph.X in tensors and (len(tensors) == 1 or graph.X not in self._names):
            return self._sound(self._matrix(tensors))
        return self._sound(self._joined(tensors))

    def _images(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        x = tensors.get(graph.X)
        expected = f"[n, {', '.join(map(str, self._shape))}]"
        if x is None or len(tensors) > 1:
            raise InputError(f"this model takes one input 'x' of UINT8, shape {expected}")
        if x.shape[1:] != self._shape:
            raise InputError(f"input 'x' has shape {shape_text(x.shape)}, expected {expected}")
        try:
            return as_uint8(x)
        except InputError as error:
            raise InputError(f"input 'x': {error}", rows=len(x)) from None

    def _matrix(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The one tensor that holds all columns."""
        x = tensors[graph.X]
        other = next((name for name in tensors if name != graph.X), None)
        if other is not None:
            raise InputError(f"input {other[:40]!r} stands beside 'x', which holds all columns; send one or the other")
        # A model of one column that is called x takes that column.
        if x.shape[1:] != self._shape and not (self._names == (graph.X,) and x.shape[1:] == self._shape[:-1]):
            expected = ", ".join(map(str, self._shape))
            raise InputError(f"input 'x' has shape {shape_text(x.shape)}, expected [n, {expected}]")
        if x.dtype.kind not in "iuf":
            raise InputError(f"input 'x' is of {'BOOL' if x.dtype.kind == 'b' else 'BYTES'}, expected numbers")
        return x.reshape(-1, *self._shape)

    def _joined(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """One tensor of each column, (n,) or (n, 1), for windows (n, window), side by side."""
        unknown = [name for name in tensors if name not in self._names]
        if unknown:
            raise InputError(f"input {unknown[0][:40]!r} is no column; expected 'x', or one tensor for each column")
        if not tensors:
            raise InputError("the request has no inputs; expected 'x', or one tensor for each column")
        n = len(next(iter(tensors.values())))
        columns = [self._column(field, tensors.get(field.name), n) for field in self._fields]
        return np.stack(columns, axis=-1)

    def _column(self, field: Field, values: NDArray[Any] | None, n: int) -> NDArray[np.float64]:
        window = self._shape[:-1]
        if values is None:
            if not field.optional and not self._absences.most:
                raise InputError(f"column {field.name!r} is missing", rows=n, column=field.name)
            return np.full((n, *window), np.nan)
        if values.shape not in ((n, *window), (n, *window, 1)):
            raise InputError(
                f"input {field.name!r} has shape {shape_text(values.shape)}, expected {shape_text((n, *window))}"
            )
        values = values.reshape((n, *window))
        if values.dtype.kind in "iuf" and not field.texts:
            return values.astype(np.float64)
        cells: list[Any] = values.ravel().tolist()
        codes = {cell: self._code(field, cell) for cell in {*cells}}
        numbers = [codes[cell] for cell in cells]
        if None in numbers:
            raise _refused(field, numbers.index(None) * n // len(numbers), n)
        return np.array(numbers, np.float64).reshape(values.shape)

    def _code(self, field: Field, cell: str | float | bool) -> float | None:
        """What the graph takes for a text or a truth, NaN for none; None where the column cannot hold it."""
        known = field.meant(cell) if isinstance(cell, bool) else cell
        if isinstance(known, bool) or (isinstance(known, float | int) and not field.flag):
            return None
        if field.is_number:
            return None if isinstance(known, str) else known
        code = field.number(known)
        if code is None and known == "" and (field.optional or self._absences.most):
            return np.nan
        return code

    def _sound(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """The same in float32, where every number is one, or missing where it may be."""
        for place, field, codes in self._coded:
            x = self._known(x, place, field, codes)
        is_good = np.abs(x) <= FLOAT32_MAX if x.dtype == np.float64 else np.isfinite(x)
        if self._absences.most:
            is_good |= np.isnan(x)
        if not is_good.all():
            row, *_, place = np.argwhere(~is_good)[0].tolist()
            name = self._names[place]
            text = "is not a finite number within float32 (3.4e38)"
            raise InputError(f"row {row}, column {name!r} {text}", rows=len(x), row=row, column=name)
        found = x.astype(np.float32)  # aligned, and our own
        missed: dict[int, BadCell] = {}
        self._absences.settle(found.reshape(-1, x.shape[-1]), missed)
        if missed:
            first = min(missed)
            row = first // (x[0].size // x.shape[-1])
            raise InputError(f"row {row}, {missed[first]}", rows=len(x), row=row)
        return found

    def _known(self, x: NDArray[Any], place: int, field: Field, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same where a column that holds only what `codes` says does, and UNKNOWN for a class that is not known."""
        x = x.astype(np.float64)
        column = x[..., place]
        if field.optional:
            column[np.isnan(column)] = UNKNOWN
        with np.errstate(over="ignore"):  # what becomes infinite is no code
            is_code = np.isin(column.astype(np.float32), codes)
        if self._absences.most:
            is_code |= np.isnan(column)
        if not is_code.all():
            raise _refused(field, int(np.argwhere(~is_code)[0][0]), len(x))
        return x


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as messages tell it."""
    return f"[{', '.join(map(str, shape))}]"


def _codes(field: Field) -> NDArray[np.float32]:
    """What the graph takes in a column of texts, or of a few numbers."""
    codes = range(len(field.texts)) if field.texts else field.levels
    return np.array([*codes, *([UNKNOWN] if field.optional else [])], np.float32)


def _refused(field: Field, row: int, n: int) -> InputError:
    expected = "numbers" if field.is_number else field.expected
    return InputError(f"row {row}, column {field.name!r}: expected {expected}", rows=n, row=row, column=field.name)
