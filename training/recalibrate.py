"""`vae-detect calibrate` as one function: a new threshold by scores of normal operation. Without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..runtime import graph
from ..runtime.bundle import SCHEMA_VERSION, Bundle, Calibration, Recalibration
from ..runtime.calibration.calibration import calibrate, event_rows
from ..runtime.calibration.stretch import moved
from ..runtime.detector import Detector
from ..runtime.errors import InputError, ModelError, ParityError
from ..runtime.limits import breaks_any
from ..runtime.opening import read_model_file
from ..runtime.output import locked, make_folder, write_together
from ..runtime.session import Session
from ..runtime.verification import PARTS, VERDICT, check_replay, kept_file, part_file
from .export.files import Exported, Files, Graphs, export_id, finish_parts, finish_scorer
from .normal import Normal

if TYPE_CHECKING:
    import onnx

# onnx is imported where it is used, so that what is wrong with the data is said first.


def recalibrate(
    detector: Detector,
    normal: Normal,
    *,
    out: Path | None = None,
    far: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Sets the threshold of a detector anew and writes its files, under a new export id.

    Parameters
    ----------
    out : the scorer to write, also where there is one; None writes in place and keeps the old files as NAME.ID.onnx,
        ID their export id
    far : the rate to promise; None for that of the detector

    Raises
    ------
    InputError
        when the scores do not support the rate, as in training
    """
    files = Files.named(out or detector.path)
    make_folder(files.scorer.parent)
    old = detector.bundle
    _tell_moves(old, normal, say)
    calibration = _calibrate(old, normal, far or old.calibration.far)
    facts = Recalibration(
        parent=old.export_id,
        parent_threshold=old.calibration.threshold,
        parent_alarms=float(np.mean(normal.scores > old.calibration.threshold)),
        source_sha256=normal.sha256,
    )
    with locked(files.scorer, "another calibration is at work on it; wait for its end"):
        return _write(detector, normal, calibration, facts, files, in_place=out is None, say=say)


def _calibrate(bundle: Bundle, normal: Normal, far: float) -> Calibration:
    run = event_rows(bundle) if normal.dependence_rows is None else normal.dependence_rows
    try:
        return calibrate(normal.scores, far=far, dependence_rows=run)
    except InputError as error:
        raise InputError(f"{normal.where}: {error}") from None


def _tell_moves(bundle: Bundle, normal: Normal, say: Callable[[str], None]) -> None:
    """Only people know whether what changed in a recording is normal; and it is why many rows are worth few."""
    run = event_rows(bundle)
    move = moved(normal.scores.astype(np.float64), run) if run and len(normal.scores) >= 8 else None
    if move is not None:
        low, high = (float(np.median(part)) for part in (normal.scores[: move.place], normal.scores[move.place :]))
        say(
            f"the level of the scores moves after {move.place} of {len(normal.scores)} of them, from {low:.3g} to "
            f"{high:.3g}: if that is a fault, the new threshold is too high; leave it out"
        )


def _write(
    detector: Detector,
    normal: Normal,
    calibration: Calibration,
    facts: Recalibration,
    files: Files,
    *,
    in_place: bool,
    say: Callable[[str], None],
) -> Exported:
    """Replaces, proves and writes; the scorer last, so that whoever sees it finds its parts."""
    import onnx

    from .export.constants import Constants, replace_constants
    from .export.parity import golden, term_quantiles

    old, content = detector.bundle, read_model_file(detector.path)
    scorer = onnx.load_from_string(content)
    constants = Constants(calibration.threshold, calibration.knot_scores, calibration.knot_log10_p, None)
    try:
        replace_constants(scorer, constants)
    except ModelError as error:
        raise ModelError(f"{detector.path}: {error}") from None
    parts = _parts(detector, say)
    graphs = Graphs(scorer, *map(onnx.load_from_string, parts)) if parts else (scorer,)
    identity = export_id(graphs, msgspec.json.encode([facts, calibration]).decode())
    finished = finish_parts(graphs, identity) if isinstance(graphs, Graphs) else None
    bundle = msgspec.structs.replace(
        old,
        schema_version=SCHEMA_VERSION,
        export_id=identity,
        calibration=calibration,
        golden=golden(scorer, detector.golden_inputs()),
        terms=old.terms if normal.inputs is None else term_quantiles(scorer, normal.inputs),
        parts=finished.digests if finished else old.parts,
        recalibration=facts,
    )
    _prove(detector, scorer, bundle, normal)
    contents = {} if finished is None else {files.encoder: finished.encoder, files.decoder: finished.decoder}
    contents[files.scorer] = finish_scorer(scorer, bundle)
    kept = _kept(detector, content, parts) if in_place else {}
    write_together(kept | contents)
    if kept:
        say(f"the old files are kept as {', '.join(path.name for path in kept)}: rename them to go back")
    return Exported(files, bundle)


def _parts(detector: Detector, say: Callable[[str], None]) -> tuple[bytes, bytes] | None:
    """Encoder and decoder; None where a box has only the scorer."""
    there = [part_file(detector.path, name).exists() for name in PARTS]
    if not all(there):
        say(
            f"{detector.path}: its encoder and decoder are not here, and stay those of export "
            f"{detector.bundle.export_id}; `encode` and `sample` need them, so calibrate where they are to use these"
        )
        return None
    encoder, decoder = (detector.open_part(name)[1] for name in PARTS)
    return encoder, decoder


def _kept(detector: Detector, content: bytes, parts: tuple[bytes, bytes] | None) -> dict[Path, bytes]:
    path = detector.path
    old = Files.named(kept_file(path, detector.bundle.export_id))
    return ({} if parts is None else {old.encoder: parts[0], old.decoder: parts[1]}) | {old.scorer: content}


def _prove(detector: Detector, scorer: onnx.ModelProto, bundle: Bundle, normal: Normal) -> None:
    """Raises ParityError unless the new graph gives the very scores of the old one, and the verdicts of its threshold.

    So the certificate against PyTorch, which is about scores, still holds.
    """
    from .export.parity import IMAGE_BATCHES, hostile_inputs

    golden_x, more = detector.golden_inputs(), [] if normal.inputs is None else [normal.inputs]
    x = np.concatenate([golden_x, hostile_inputs(bundle), *more])
    session = Session(scorer.SerializeToString(), source="the calibrated scorer", provider="cpu")
    limited, threshold = breaks_any(x, bundle.limits, bundle.names), bundle.calibration.threshold
    for first in range(0, len(x), IMAGE_BATCHES[-1]):
        cut = slice(first, first + IMAGE_BATCHES[-1])
        (before,) = detector.session.run((graph.SCORE,), {graph.X: x[cut]})
        score, _, verdict = session.run(VERDICT, {graph.X: x[cut]})
        if not np.array_equal(before, score, equal_nan=True):
            raise ParityError("the scores of the calibrated graph are not those of the old one")
        if not np.array_equal(verdict, (score > threshold) | limited[cut]):
            raise ParityError("the verdicts of the calibrated graph are not those of its threshold")
    replayed = session.run(VERDICT, {graph.X: golden_x})
    check_replay(bundle, *replayed, source="the calibrated scorer", provider="cpu")
