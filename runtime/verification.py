"""Whether a file is the detector that its metadata says: the graph's interface, and the golden rows replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import graph
from .bundle import Bundle
from .errors import ModelError
from .session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN_TOLERANCE = 1e-4
"""Relative difference between recorded and replayed golden scores above which a model is refused."""

GOLDEN_P_TOLERANCE = 0.01
"""Absolute difference in log10 of the p-values, likewise: between two knots p may be steep."""

VERDICT = (graph.SCORE, graph.P_VALUE, graph.IS_ANOMALY)
"""What every scorer answers."""


def check_graph(session: Session, bundle: Bundle) -> None:
    """Raises ModelError when a scorer's graph has not the inputs and outputs that its metadata promises."""
    is_images, source = bundle.image is not None, session.source
    needed = (*VERDICT, graph.CONTRIBUTION, graph.RECONSTRUCTION, *((graph.HEAT_MAP,) if is_images else ()))
    missing = [name for name in needed if name not in session.outputs]
    if missing:
        raise ModelError(f"{source}: the graph has no output {missing[0]!r}")
    inputs, expected = session.input_types, "tensor(uint8)" if is_images else "tensor(float)"
    if inputs != {graph.X: expected}:
        found = ", ".join(f"{name} of {kind}" for name, kind in inputs.items())
        raise ModelError(f"{source}: the graph asks for {found}, expected {graph.X} of {expected} only")
    shape = session.inputs[graph.X][1:]
    if tuple(shape) != bundle.input_shape:
        raise ModelError(f"{source}: the graph takes {shape}, its metadata says {list(bundle.input_shape)}")


def check_replay(
    session: Session,
    bundle: Bundle,
    score: NDArray[np.float32],
    p_value: NDArray[np.float32],
    is_anomaly: NDArray[np.bool_],
) -> None:
    """Raises ModelError when the golden inputs, scored here, (inputs,), differ from what was recorded."""
    golden, source, provider = bundle.golden, session.source, session.provider
    recorded = np.asarray(golden.score)
    difference = np.abs(score - recorded) / np.maximum(
        np.abs(recorded), max(1e-6, 0.01 * abs(bundle.calibration.threshold))
    )
    if not np.all(difference <= GOLDEN_TOLERANCE):  # not all(<=), so that NaN fails too
        worst = int(np.nan_to_num(difference, nan=np.inf).argmax())
        raise ModelError(
            f"{source}: golden row {worst} scores {score[worst]:.6g} on {provider}, "
            f"recorded {recorded[worst]:.6g}; this file or this provider cannot be trusted"
        )
    if not np.allclose(np.log10(p_value), np.log10(golden.p_value), atol=GOLDEN_P_TOLERANCE):
        raise ModelError(f"{source}: a golden row has another p-value on {provider} than recorded")
    if is_anomaly.tolist() != golden.is_anomaly:
        raise ModelError(f"{source}: a golden row has another verdict on {provider} than recorded")
