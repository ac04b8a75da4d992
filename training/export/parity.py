"""The proof that an exported scorer computes what the network computed, and the golden rows that repeat it.

Nothing is written before this certificate is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ...runtime import graph
from ...runtime.bundle import TERM_LEVELS, Bundle, Golden, Limit, Parity
from ...runtime.errors import InputError, ParityError
from ...runtime.limits import breaks_any
from ...runtime.session import Session
from ...runtime.verification import SCORE_TOLERANCE, flipped, relative_errors

if TYPE_CHECKING:
    from ..model.autoencoder import Autoencoder

# torch is imported where it is used: what calibrates a detector on a box has none.

PARITY_BATCHES = (1, 3, 1024)

IMAGE_BATCHES = (1, 3, 64)


def hostile_inputs(model: Autoencoder | Bundle) -> NDArray[Any]:
    """Inputs that no sensor should send: NaN in one cell and in all, zeros, ones, +-1e30, infinities, the center.

    Of images, which cannot be as odd: black, white, a checkerboard.
    """
    shape = model.input_shape
    if model.image is not None:
        checkerboard = (np.indices(shape).sum(axis=0) % 2 * 255).astype(np.uint8)
        return np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), checkerboard])
    center = np.array([column.center for column in model.columns], np.float32)
    full = [np.full(shape, value, np.float32) for value in (0.0, 1.0, np.nan, 1e30, -1e30, np.inf, -np.inf)]
    one_nan = np.broadcast_to(center, shape).astype(np.float32)
    one_nan.flat[0] = np.nan
    return np.stack([*full, one_nan, np.broadcast_to(center, shape).astype(np.float32)])


def certify(
    model: Autoencoder, scorer: onnx.ModelProto, x: NDArray[Any], threshold: float, limits: Sequence[Limit] = ()
) -> Parity:
    """The parity certificate: ONNX Runtime against the trained network on these inputs and on hostile ones.

    Parameters
    ----------
    x : inputs (rows, ...) in raw units; repeated to fill the largest batch

    Raises
    ------
    ParityError
        when scores differ by more than `SCORE_TOLERANCE`, a verdict flips, or only one side is finite
    """
    from ..model.building import reference_scores

    rows = np.concatenate([x, hostile_inputs(model)])
    batches = PARITY_BATCHES if model.image is None else IMAGE_BATCHES
    limited = breaks_any(rows, limits, [column.name for column in model.columns])
    return compare(scorer, rows, reference_scores(model, rows), threshold, batches, limited)


def compare(
    scorer: onnx.ModelProto,
    rows: NDArray[Any],
    expected: NDArray[np.float32],
    threshold: float,
    batches: tuple[int, ...] = PARITY_BATCHES,
    limited: NDArray[np.bool_] | None = None,
) -> Parity:
    """The certificate from the scores that PyTorch gave for these inputs, of which `limited` break a limit; raises like
    `certify`."""
    parity, first_flip = measure(scorer, rows, expected, threshold, batches, limited)
    if first_flip is not None:
        of_torch, of_onnx = first_flip
        raise ParityError(
            f"{parity.verdict_flips} verdicts flip between torch ({of_torch:.6g}) and ONNX Runtime ({of_onnx:.6g})"
        )
    if not parity.max_relative_error <= SCORE_TOLERANCE:
        raise ParityError(
            f"ONNX Runtime's scores differ from torch's by {parity.max_relative_error:.2g} relative, "
            f"more than {SCORE_TOLERANCE:g}"
        )
    return parity


def measure(
    scorer: onnx.ModelProto,
    rows: NDArray[Any],
    expected: NDArray[np.float32],
    threshold: float,
    batches: tuple[int, ...],
    limited: NDArray[np.bool_] | None = None,
) -> tuple[Parity, tuple[float, float] | None]:
    """How far a scorer is from the scores that PyTorch gave, in batches of each size, whether that is bearable or not.

    Verdicts that flip are counted over all batches, in which an input may come up several times; with them come both
    scores of the first, None without any.
    """
    session = Session(scorer.SerializeToString(), source="the exported scorer", provider="cpu")
    worst, flips = 0.0, list[tuple[float, float]]()
    limited = np.zeros(len(rows), np.bool_) if limited is None else limited
    for batch in batches:
        repeats = max(1, -(-batch // len(rows)))
        filled, reference = np.concatenate([rows] * repeats), np.tile(expected, repeats)
        certain = np.tile(limited, repeats)
        found, verdicts = _run_batches(session, filled, batch)
        rows_flipped = flipped(reference, verdicts, (reference > threshold) | certain, threshold, certain)
        flips += [(float(reference[row]), float(found[row])) for row in rows_flipped]
        worst = max(worst, float(relative_errors(reference, found, threshold).max(initial=0.0)))
    parity = Parity(max_relative_error=worst, verdict_flips=len(flips), rows=len(rows), batches=batches)
    return parity, flips[0] if flips else None


def _run_batches(session: Session, x: NDArray[Any], batch: int) -> tuple[NDArray[Any], NDArray[Any]]:
    runs = [
        session.run((graph.SCORE, graph.IS_ANOMALY), {graph.X: x[start : start + batch]})
        for start in range(0, len(x), batch)
    ]
    score, verdict = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    return score, verdict


def golden(scorer: onnx.ModelProto, x: NDArray[Any]) -> Golden:
    """Inputs with the answers that this graph gives, to be replayed wherever the file is loaded."""
    session = Session(scorer.SerializeToString(), source="the exported scorer", provider="cpu")
    score, p_value, verdict = session.run((graph.SCORE, graph.P_VALUE, graph.IS_ANOMALY), {graph.X: x})
    if np.isinf(x).any() or not np.isfinite(score).all():
        raise InputError("values of this size leave no room in float32 for a fault; scale the columns down")
    is_image = x.dtype == np.uint8
    return Golden(
        x=[] if is_image else _shortest(x),
        score=_shortest(score),
        p_value=_shortest(p_value),
        is_anomaly=verdict.tolist(),
        pixels=x.tobytes() if is_image else b"",
    )


def term_quantiles(scorer: onnx.ModelProto, x: NDArray[Any]) -> dict[str, tuple[float, ...]]:
    """Quantiles of what the score of inputs is made of, by name, at `TERM_LEVELS`; none of what overflows float32."""
    session = Session(scorer.SerializeToString(), source="the exported scorer", provider="cpu")
    names = [name for name in graph.TERMS if name in session.outputs]
    runs = [session.run(names, {graph.X: x[i : i + IMAGE_BATCHES[-1]]}) for i in range(0, len(x), IMAGE_BATCHES[-1])]
    found = {name: np.concatenate(parts) for name, parts in zip(names, zip(*runs, strict=True), strict=True)}
    return {
        name: tuple(float(f"{value:.6g}") for value in np.quantile(values.astype(np.float64), TERM_LEVELS))
        for name, values in found.items()
        if np.isfinite(values).all()
    }


def _shortest(values: NDArray[np.float32]) -> Any:
    """Nested lists of the fewest digits that are the same float32 again; half the size of their float64 digits."""
    return [float(str(v)) for v in values] if values.ndim == 1 else [_shortest(part) for part in values]
