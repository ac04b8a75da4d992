"""What a calibration puts into a scorer's graph: threshold and p-value table. Without torch: a box calibrates too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from ...runtime import graph
from ...runtime.bundle import Calibration
from ...runtime.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model.autoencoder import Autoencoder


@dataclass(frozen=True)
class Constants:
    """Threshold, p-value table and noise, stored in the scorer as initializers of these names."""

    threshold: float
    knot_scores: Sequence[float]
    knot_log10_p: Sequence[float]
    noise: NDArray[np.float32] | None
    overridable: bool = False
    """Whether they are inputs too, whose defaults are the initializers (ONNX IR, from version 4)."""

    @classmethod
    def of(cls, model: Autoencoder, calibration: Calibration, *, overridable: bool = False) -> Constants:
        noise = None if model.noise is None else model.noise.numpy()
        if noise is not None and not overridable and not noise.any():
            noise = None  # the posterior's mean: nothing to add to it
        return cls(calibration.threshold, calibration.knot_scores, calibration.knot_log10_p, noise, overridable)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """By name, in the order of the scorer's arguments."""
        scores, log10_p = np.asarray(self.knot_scores), np.asarray(self.knot_log10_p)
        values: dict[str, Any] = {
            graph.THRESHOLD: self.threshold,
            graph.KNOTS: scores[:-1, None],
            graph.INVERSE_WIDTHS: 1 / np.diff(scores)[:, None],
            graph.LOG_STEPS: np.diff(log10_p) * math.log(10),
        }
        if self.noise is not None:
            values[graph.NOISE] = self.noise
        return {name: np.asarray(value, np.float32) for name, value in values.items()}


def store(model: onnx.ModelProto, constants: Constants) -> None:
    """Makes of a scorer's inputs but `x` initializers, which stay inputs where they are to be overridable."""
    main = model.graph
    main.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.arrays().items())
    others = [item for item in main.input if item.name in graph.OPTIONAL]
    for item in others:
        main.input.remove(item)
    if constants.overridable:
        stored = {tensor.name: tensor for tensor in main.initializer}
        main.input.extend(_info(stored[name]) for name in graph.OPTIONAL if name in stored)


def _info(tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    """What an input says of itself whose default this is; a p-value table may have any number of knots."""
    shape: list[int | str] = [*tensor.dims]
    if tensor.name in (graph.KNOTS, graph.INVERSE_WIDTHS, graph.LOG_STEPS):
        shape[0] = "knots"
    return onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, shape)


def replace_constants(model: onnx.ModelProto, constants: Constants) -> None:
    """Puts others into a scorer that holds some; the table may have another number of knots.

    Raises ModelError when the scorer does not hold them under their names.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, array in constants.arrays().items():
        if name not in stored:
            raise ModelError(f"the graph holds no constant {name!r}, so that no other can take its place")
        stored[name].CopyFrom(numpy_helper.from_array(array, name))
    for item in model.graph.input:
        if item.name in constants.arrays():
            item.CopyFrom(_info(stored[item.name]))
