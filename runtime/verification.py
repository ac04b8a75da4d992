"""Whether a file is the detector that its metadata says: the graph's interface, and the golden rows replayed."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import graph
from .bundle import Bundle
from .errors import ModelError
from .limits import breaks_any
from .metadata import read_part
from .session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCORE_TOLERANCE = 1e-4
"""How far, relative, two engines may be from each other with a score, and both be right."""

P_TOLERANCE = 0.01
"""The same of log10 of a p-value, absolute, beside what the score's tolerance makes of it."""

PARTS = ("encoder", "decoder")
"""What a detector is made of beside the scorer."""

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


def part_file(scorer: Path, name: str) -> Path:
    """Where the part of this name stands, beside the scorer."""
    return scorer.with_name(f"{scorer.stem}.{name}.onnx")


def kept_file(scorer: Path, export_id: str) -> Path:
    """Where a scorer is kept for the way back when one with another export id takes its name."""
    return scorer.with_name(f"{scorer.stem}.{export_id}.onnx")


def is_kept(path: Path) -> bool:
    """Whether a file has the name of one that is kept for the way back, and is not served beside its successor."""
    return re.fullmatch(r".+\.[0-9a-f]{16}", path.stem) is not None


def check_part(session: Session, content: bytes, name: str, bundle: Bundle) -> None:
    """Raises ModelError when a file of this content is not the part, one of `PARTS`, that the detector came with."""
    found, source = read_part(session.metadata, session.source), session.source
    if found.part != name or found.export_id != bundle.export_id:
        raise ModelError(f"{source}: {found.part} of export {found.export_id}, expected {name} of {bundle.export_id}")
    expected = getattr(bundle.parts, f"{name}_sha256")
    if sha256(content).hexdigest() != expected:
        raise ModelError(f"{source}: the file was changed after export (its sha256 is not {expected[:12]}...)")


def score_slack(expected: NDArray[np.floating], threshold: float) -> NDArray[np.float64]:
    """How far from these scores an engine may be that is right: (inputs,); 0 where a score is not finite.

    A score below a tenth of the threshold is compared on that scale: near 0 a free energy is a difference of large
    numbers, and all of it is rounding.
    """
    size = np.abs(np.where(np.isfinite(expected), expected, 0.0).astype(np.float64))
    slack: NDArray[np.float64] = SCORE_TOLERANCE * np.maximum(size, max(1e-6, 0.1 * abs(threshold)))
    return slack


def relative_errors(
    expected: NDArray[np.floating], found: NDArray[np.floating], threshold: float
) -> NDArray[np.float64]:
    """Differences of scores as `SCORE_TOLERANCE` bounds them, infinite where only one is finite: (inputs,)."""
    a, b = np.isfinite(expected), np.isfinite(found)
    difference = np.abs(np.where(a, expected, 0.0).astype(np.float64) - np.where(b, found, 0.0))
    return np.where(
        a & b, difference / (score_slack(expected, threshold) / SCORE_TOLERANCE), np.where(a == b, 0, np.inf)
    )


def flipped(
    expected: NDArray[np.floating],
    verdicts: NDArray[np.bool_],
    expected_verdicts: NDArray[np.bool_],
    threshold: float,
    limited: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """Which verdicts differ though their scores are finite and clear of the threshold; all (inputs,).

    A score within rounding of the threshold may fall on either side; no one can promise more in float32. Those of
    inputs that break a limit, which are `limited`, are certain.
    """
    distance = np.abs(np.where(np.isfinite(expected), expected, threshold).astype(np.float64) - threshold)
    certain = distance > score_slack(expected, threshold)
    if limited is not None:
        certain |= limited
    return np.flatnonzero(certain & (verdicts != expected_verdicts))


def check_replay(
    bundle: Bundle,
    score: NDArray[np.float32],
    p_value: NDArray[np.float32],
    is_anomaly: NDArray[np.bool_],
    *,
    source: str,
    provider: str,
) -> None:
    """Raises ModelError when the golden inputs, scored here, (inputs,), differ from what was recorded."""
    golden, threshold = bundle.golden, bundle.calibration.threshold
    recorded = np.asarray(golden.score)
    errors = relative_errors(recorded, score, threshold)
    if not errors.max() <= SCORE_TOLERANCE:
        worst = int(errors.argmax())
        raise ModelError(
            f"{source}: golden row {worst} scores {score[worst]:.6g} on {provider}, "
            f"recorded {recorded[worst]:.6g}; this file or this provider cannot be trusted"
        )
    if not (_follows_table(bundle, p_value) and _follows_table(bundle, np.asarray(golden.p_value))):
        raise ModelError(f"{source}: a golden row has another p-value on {provider} than recorded")
    limited = breaks_any(np.asarray(golden.x, np.float32), bundle.limits, bundle.names) if bundle.limits else None
    if len(flipped(recorded, is_anomaly, np.asarray(golden.is_anomaly), threshold, limited)):
        raise ModelError(f"{source}: a golden row has another verdict on {provider} than recorded")


def _follows_table(bundle: Bundle, p_value: NDArray[np.floating]) -> bool:
    """Whether p-values of the golden inputs are those of scores within their slack: p may be steep between two."""
    calibration, score = bundle.calibration, np.asarray(bundle.golden.score)
    slack = score_slack(score, calibration.threshold)
    highest, lowest = (
        np.interp(score + way, calibration.knot_scores, calibration.knot_log10_p) for way in (-slack, slack)
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # a p-value of 0 or less is no p-value, and in no range
        found = np.log10(p_value)
    return bool(np.all((found >= lowest - P_TOLERANCE) & (found <= highest + P_TOLERANCE)))
