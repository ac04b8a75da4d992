"""`vae-detect finetune` as one function: labels, a corrected score, its threshold set anew, export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..runtime.batch.inputs import refuse_folder
from ..runtime.bundle import SCHEMA_VERSION, Bundle, Calibration, Finetuning, is_ordered
from ..runtime.calibration.calibration import calibrate, event_rows, min_calibration_rows, supported_rate
from ..runtime.describe import describe_calibration
from ..runtime.detector import Detector
from ..runtime.errors import InputError
from ..runtime.layout import Layout
from ..runtime.limits import breaks_any
from ..runtime.opening import digest, read_model_file
from ..runtime.output import keep_existing
from ..runtime.rows.table_files import find_tables, name_of
from ..runtime.scoring.framing import windows_at
from .data.loading import load_table
from .data.selection import Selection
from .data.split import split
from .export.files import Exported, Files, Graphs, export_id, finish_parts, write_detector
from .labels.origin import read_labels
from .labels.reviews import ScoredRows, choose_labels, in_parts, joined, score_recording
from .labels.words import FAULT

if TYPE_CHECKING:
    from .labels.feedback import Fit

# torch is imported where the labels have been read: it takes seconds, for which a wrong file need not wait.

METHOD = "Gaussian-process classification"

_CERTIFIED = 1024
_GOLDEN_LABELS = 2
"""Of each kind, beside the golden inputs that the model had."""

_NEAR = 1.25
"""Times the promised rate that the new one may be. A rate that nobody asked for is the smallest that the scores of
training supported, and the corrected scores of the same rows may support a little less."""


class Normal(NamedTuple):
    """Rows from which the new threshold comes: their recording, which they are, and their corrected scores."""

    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    source: tuple[Path, ...]


def finetune(
    model: Path,
    labels: Path,
    out: Path,
    *,
    label_column: str = "label",
    anomalous: Sequence[str] = (),
    data: Path | Sequence[Path] = (),
    layout: Layout,
    force: bool = False,
    overridable: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Correct a detector by confirmed faults and false alarms, and write the three files of a new one.

    Parameters
    ----------
    model : the scorer to start from; its encoder and decoder stand beside it
    labels : CSV with the model's columns
    label_column : its labels, as `labels.origin.read_labels` takes them: 1 a confirmed fault, 0 a confirmed false
        alarm or normal, empty not reviewed
    anomalous : labels that are confirmed faults, all others being normal; empty to go by what they mean
    out : the new scorer's path, NAME.onnx
    data : recordings of normal operation for the new threshold, as `find_tables` finds them; of all those of the
        training only the rows that were held out are used. Empty takes the rows of `labels` that are no faults
    overridable : whether threshold and p-value table are inputs too, and the noise where `model` holds any
    say : called with a line for the user

    Raises
    ------
    InputError
        when the labels cannot be used, contradict each other, or too few rows are left for the promised rate
    ParityError
        when the exported graph disagrees with PyTorch; nothing is written then
    """
    files = Files.named(out)
    keep_existing(files, force=force)
    detector = Detector.load(model, provider="cpu")
    _refuse_unfit(detector, label_column)
    recording, label = _review(detector, labels, label_column, layout, anomalous, say)
    labelled = choose_labels(detector.bundle, labels, recording, label, say)
    _tell_limits(detector.bundle, recording, labelled, label, say)
    fit = _learn(detector.bundle, recording, labelled, label)
    say(fit.describe())
    normal = _of_data(detector, fit, data, layout) if data else _of_labels(fit, recording, label, labels, say)
    calibration = _calibrate(detector.bundle, normal, say, of_labels=not data)
    say(describe_calibration(calibration))
    made = _export(detector, fit, recording, normal, calibration, files=files, labels=labels, overridable=overridable)
    say(f"parity with ONNX Runtime: scores within {made.bundle.parity.max_relative_error:.1e}, no verdict flips")
    return made


def _review(
    detector: Detector,
    path: Path,
    label_column: str,
    layout: Layout,
    anomalous: Sequence[str],
    say: Callable[[str], None],
) -> tuple[ScoredRows, NDArray[np.int64]]:
    """The rows of a recording and what people say of them, (rows,)."""
    refuse_folder(detector, path)
    form = detector.bundle.data.complete(layout)
    labels = read_labels(path, label_column, form, anomalous=anomalous, partly=True, say=say)
    recording = score_recording(detector, path, layout)
    return recording, labels(len(recording.score), recording.times)


def _learn(bundle: Bundle, recording: ScoredRows, labelled: NDArray[np.int64], label: NDArray[np.int64]) -> Fit:
    from .labels.feedback import Fit

    return Fit(bundle, recording, labelled, label[labelled] == FAULT, near=event_rows(bundle))


def _tell_limits(
    bundle: Bundle,
    recording: ScoredRows,
    labelled: NDArray[np.int64],
    label: NDArray[np.int64],
    say: Callable[[str], None],
) -> None:
    """Says which labels cannot do what they ask."""
    beyond = labelled[breaks_any(recording.values[labelled], bundle.limits, bundle.names) & (label[labelled] != FAULT)]
    if len(beyond):
        say(
            f"{len(beyond)} rows labelled as false alarms or normal break a limit (first: row {beyond[0]}), and go on "
            "alarming: no label changes a limit, only a training with another --limit"
        )


def _refuse_unfit(detector: Detector, label_column: str) -> None:
    bundle, path = detector.bundle, detector.path
    if bundle.kind == "images":
        raise InputError(f"{path}: a detector of images cannot be fine-tuned, only one of rows or windows")
    if bundle.finetuning is not None:
        raise InputError(
            f"{path}: was fine-tuned already; start again from {bundle.finetuning.parent}, the model that it came "
            "from, with old and new labels in one file"
        )
    if label_column in bundle.names:
        raise InputError(f"--label-column {label_column!r} is a column that the model scores; name the one with labels")


def _of_labels(
    fit: Fit, recording: ScoredRows, label: NDArray[np.int64], path: Path, say: Callable[[str], None]
) -> Normal:
    """The rows that nobody called a fault, each scored without its own label."""
    rows = _within_limits(fit.bundle, recording, np.flatnonzero(recording.usable & (label != FAULT)))
    before = fit.bundle.calibration
    alarms = float(np.mean(recording.score[rows] > before.threshold)) if len(rows) else 0.0
    if alarms > before.far_high:
        say(
            f"{alarms:.2g} of the rows of {path} that are no confirmed faults raise alarms with the old threshold, "
            f"which promised {before.far:.3g}: unknown faults among them make the new one too high. Label them, or add "
            "--data, a recording of normal operation"
        )
    scores = fit.correct(recording.values, rows, recording.score[rows], fit.columns_of(rows))
    return Normal(recording.values, rows, scores, (path,))


def _of_data(detector: Detector, fit: Fit, data: Path | Sequence[Path], layout: Layout) -> Normal:
    """The rows of recordings of normal operation; of those that the model learnt from, the ones that were held out."""
    bundle, files = detector.bundle, find_tables(data).files
    if digest(*files) == bundle.data.sha256:
        values, rows = _held_out(bundle, files, layout)
        inputs = (windows_at(values, part, bundle.window) for part in in_parts(rows))
        score = np.concatenate([detector.score(x).score for x in inputs])
    else:
        if learnt := next((path for path in files if digest(path) in bundle.data.files), None):
            raise InputError(
                f"{learnt}: is one of the {len(bundle.data.files)} files that the model was trained on, whose rows "
                "look more normal to it than others; give them all, as in training, or other recordings"
            )
        recording = joined([score_recording(detector, path, layout) for path in files])
        values, rows = recording.values, _within_limits(bundle, recording, np.flatnonzero(recording.usable))
        score = recording.score[rows]
    return Normal(values, rows, fit.correct(values, rows, score, np.zeros(len(rows), np.int64)), tuple(files))


def _within_limits(bundle: Bundle, recording: ScoredRows, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of these rows those that break no limit: others are not normal, as in training."""
    return rows[~breaks_any(recording.values[rows], bundle.limits, bundle.names)]


def _held_out(bundle: Bundle, files: Sequence[Path], layout: Layout) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The training recordings and the newest rows of the inputs that training kept for calibration."""
    missing = {column.name: column.missing for column in bundle.columns}
    own = bundle.data.layout
    selection = Selection(
        columns=bundle.names,
        missing_values=missing,
        max_missing=own.most_missing / len(bundle.names),
        limits=bundle.limits,
    )
    # Read as it was for the training: its times, their gaps and the key say where inputs begin.
    as_learnt = msgspec.structs.replace(bundle.data.complete(layout), max_gap_s=own.max_gap_s, most_missing=0)
    table = load_table(files, selection, as_learnt)
    seed, ordered = int(str(bundle.settings["seed"])), is_ordered(bundle.kind, bundle.data)
    starts = split(table, window=bundle.window, stride=bundle.stride, ordered=ordered, seed=seed).calibration
    if len(starts) != bundle.data.calibration:
        raise InputError(
            f"{name_of(files)}: the model was trained on this, but now {len(starts)} rows would be held out of "
            f"training and then {bundle.data.calibration} were; give another recording of normal operation"
        )
    return table.values.astype(np.float32, copy=False), starts + bundle.window - 1


def _calibrate(bundle: Bundle, normal: Normal, say: Callable[[str], None], *, of_labels: bool) -> Calibration:
    far, found = bundle.calibration.far, len(normal.rows)
    needed = min_calibration_rows(far)
    if found < needed:
        what = "usable rows that are no confirmed faults" if of_labels else "usable rows of normal operation"
        remedy = (
            "add --data, a recording of normal operation; the one that the model was trained on will do"
            if of_labels
            else "give a longer one"
        )
        raise InputError(
            f"{name_of(normal.source)}: {found} {what}, and the promised false-alarm rate of {far:.3g} takes {needed} "
            f"to set the new threshold; {remedy}"
        )
    run = event_rows(bundle)
    with suppress(InputError):
        near = supported_rate(normal.scores, dependence_rows=run)
        if far < near <= _NEAR * far:
            say(f"the promised false-alarm rate becomes {near:g}, from {far:g}: these rows support no lower one")
            far = near
    try:
        return calibrate(normal.scores, far=far, dependence_rows=run)
    except InputError as error:
        raise InputError(
            f"{name_of(normal.source)}: {error}. Give a longer one with --data, or fine-tune a model that promises no "
            "less than these rows support"
        ) from None


def _export(
    detector: Detector,
    fit: Fit,
    recording: ScoredRows,
    normal: Normal,
    calibration: Calibration,
    *,
    files: Files,
    labels: Path,
    overridable: bool,
) -> Exported:
    """Graft, certify and write."""
    import onnx
    import torch

    from .export.constants import Constants
    from .export.graft import graft
    from .export.parity import PARITY_BATCHES, compare, golden, hostile_inputs
    from .export.verdict import Verdict

    old, correction = detector.bundle, fit.correction()
    constants = Constants(calibration.threshold, calibration.knot_scores, calibration.knot_log10_p, None, overridable)
    parent = onnx.load_from_string(read_model_file(detector.path))
    shown = np.concatenate([fit.labelled[fit.is_fault == fault][:_GOLDEN_LABELS] for fault in (True, False)])
    golden_x = np.concatenate([detector.golden_inputs(), windows_at(recording.values, shown, old.window)])
    verdict = Verdict(old.limits, old.names)
    scorer = graft(parent, correction, constants, torch.from_numpy(golden_x[:2]), verdict)
    along = np.linspace(0, len(normal.rows) - 1, min(len(normal.rows), _CERTIFIED)).astype(int)
    x = np.concatenate([golden_x, windows_at(normal.values, normal.rows[along], old.window), hostile_inputs(old)])
    with torch.no_grad():
        expected = correction(torch.from_numpy(x), torch.from_numpy(detector.score(x).score)).numpy()
    limited = breaks_any(x, old.limits, old.names)
    parity = compare(scorer, x, expected, calibration.threshold, PARITY_BATCHES, limited)
    facts = _facts(old, fit, labels, normal.source)
    graphs = Graphs(scorer, *(onnx.load_from_string(detector.open_part(name)[1]) for name in ("encoder", "decoder")))
    identity = export_id(graphs, msgspec.json.encode(facts).decode())
    finished = finish_parts(graphs, identity)
    bundle = msgspec.structs.replace(
        old,
        schema_version=SCHEMA_VERSION,
        export_id=identity,
        score=f"{old.score}; corrected by labels",
        calibration=calibration,
        golden=golden(scorer, golden_x),
        parity=parity,
        parts=finished.digests,
        finetuning=facts,
        recalibration=None,
    )
    return write_detector(files, scorer, finished, bundle)


def _facts(old: Bundle, fit: Fit, labels: Path, source: Sequence[Path]) -> Finetuning:
    return Finetuning(
        parent=old.export_id,
        method=METHOD,
        faults=int(fit.is_fault.sum()),
        false_alarms=int((~fit.is_fault).sum()),
        labels_sha256=digest(labels),
        calibration_sha256=digest(*source),
    )
