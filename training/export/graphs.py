"""From a trained network to three ONNX files, and the proof that they compute the same.

The only module that touches ``torch.onnx``. Nothing is written before the parity certificate is computed.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from ...runtime import bundle as graph
from ...runtime.bundle import Bundle, Calibration, Golden, Parity, Part
from ...runtime.errors import InputError, ParityError
from ...runtime.session import Session
from ..labels.feedback import Correction
from ..model.autoencoder import Autoencoder, example_input

OPSET = 18
IR_VERSION = 8
"""Loads on ONNX Runtime 1.15 and later, hence on every Jetson in the field."""

PARITY_BATCHES = (1, 3, 1024)
IMAGE_BATCHES = (1, 3, 64)
PARITY_TOLERANCE = 1e-4
"""Relative difference of scores between torch and ONNX Runtime above which nothing is written."""

_RANDOM_OPS = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}
)


_REPLACED = (graph.SCORE, graph.P_VALUE, graph.IS_ANOMALY)
_OLD_SCORE = "score_before_labels"
"""What `graft` replaces, and what it calls the score that it leads into the correction."""


class Files(NamedTuple):
    """Where the three files of a detector stand."""

    scorer: Path
    encoder: Path
    decoder: Path

    @classmethod
    def named(cls, scorer: Path) -> Files:
        """The three names that belong to a scorer NAME.onnx."""
        if scorer.suffix != ".onnx":
            raise InputError(f"{scorer}: expected a file name that ends in .onnx")
        return cls(scorer, *(scorer.with_name(f"{scorer.stem}.{part}.onnx") for part in ("encoder", "decoder")))


@dataclass(frozen=True)
class Defaults:
    """Values of the scorer's optional inputs, stored in the file as initializers."""

    threshold: float
    knot_scores: Sequence[float]
    knot_log10_p: Sequence[float]
    noise: NDArray[np.float32] | None

    @classmethod
    def of(cls, model: Autoencoder, calibration: Calibration) -> Defaults:
        noise = None if model.noise is None else model.noise.numpy()
        return cls(calibration.threshold, calibration.knot_scores, calibration.knot_log10_p, noise)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """By input name, in the order of the scorer's arguments."""
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


class Scorer(nn.Module):
    """The whole detector as one graph: raw units in, `scorer_outputs` out."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        x: Tensor,
        threshold: Tensor,
        knots: Tensor,
        inverse_widths: Tensor,
        log_steps: Tensor,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        terms = self.model.terms(x, noise)
        score = terms.score
        p = p_value(score, knots, inverse_widths, log_steps)
        outputs = [score, p, score > threshold, terms.reconstruction_error]
        if terms.kl is not None:
            outputs += [terms.elbo, terms.kl]
        outputs += [terms.contribution, terms.reconstruction, terms.latent]
        return (*outputs, *([] if terms.heat_map is None else [terms.heat_map]))


class Finetuned(nn.Module):
    """What replaces the end of a scorer's graph: the score is corrected before it becomes a p-value and a verdict."""

    def __init__(self, correction: Correction) -> None:
        super().__init__()
        self.correction = correction

    def forward(
        self, x: Tensor, score: Tensor, threshold: Tensor, knots: Tensor, inverse_widths: Tensor, log_steps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        corrected = self.correction(x, score)
        return corrected, p_value(corrected, knots, inverse_widths, log_steps), corrected > threshold


def scorer_outputs(model: Autoencoder) -> tuple[str, ...]:
    """Names of the scorer's outputs. A recipe without a posterior has no ELBO and does not fake one."""
    bayesian = (graph.ELBO, graph.KL) if model.is_gaussian else ()
    return (
        *(graph.SCORE, graph.P_VALUE, graph.IS_ANOMALY, graph.RECONSTRUCTION_ERROR),
        *bayesian,
        *(graph.CONTRIBUTION, graph.RECONSTRUCTION, graph.LATENT),
        *((graph.HEAT_MAP,) if model.image else ()),
    )


def p_value(score: Tensor, knots: Tensor, inverse_widths: Tensor, log_steps: Tensor) -> Tensor:
    """p-values (batch,) by interpolation of log p between knots, held at both ends.

    log p(s) = sum_j log_steps_j clip((s - knots_j) inverse_widths_j, 0, 1)

    with the three arrays from `Defaults.arrays`. It takes 5 operators, and differences of knots are not taken at every
    call, as they would be with the table itself as input.
    """
    reached = torch.clamp((score - knots) * inverse_widths, 0.0, 1.0)  # (knots - 1, batch): long rows vectorise
    return torch.exp(log_steps @ reached)


class Encoder(nn.Module):
    """`x` to the posterior (mean, log-variance), or to the code; and to the places of the maxima where it pools."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        code = self.model.encode(self.model.see(x))
        return tuple(part for part in code if part is not None)


class Decoder(nn.Module):
    """A code to the reconstruction in raw units, and the likelihood's scale of each feature.

    The scale is in the units in which `reconstruction` was standardised: raw ones for a linear column.
    """

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, latent: Tensor, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output = self.model.decode(latent, indices)
        reconstruction = self.model.to_raw(output)
        return reconstruction, self.model.scale_of(output).expand_as(reconstruction)


class Graphs(NamedTuple):
    """The three graphs before their metadata is known."""

    scorer: onnx.ModelProto
    encoder: onnx.ModelProto
    decoder: onnx.ModelProto


def build_graphs(model: Autoencoder, defaults: Defaults) -> Graphs:
    """The three graphs of a model on the CPU, in eval mode."""
    x = example_input(model, 2)
    arrays = defaults.arrays()
    example = [torch.from_numpy(array) for array in arrays.values()]
    axes: dict[str, Any] = {graph.X: {0: "batch"}, graph.THRESHOLD: None}
    axes |= {name: {0: "knots"} for name in (graph.KNOTS, graph.INVERSE_WIDTHS, graph.LOG_STEPS)}
    if graph.NOISE in arrays:
        axes[graph.NOISE] = None
    scorer = _export(Scorer(model), (x, *example), axes, (graph.X, *arrays), scorer_outputs(model))
    _add_defaults(scorer, arrays)
    codes = (graph.MEAN, graph.LOG_VARIANCE) if model.is_gaussian else (graph.LATENT,)
    latent, indices = torch.zeros(2, model.config.latent), _example_indices(model, x)
    places = (graph.INDICES,) if indices else ()
    inputs = (graph.LATENT, *places)
    encoder = _export(Encoder(model), (x,), {graph.X: {0: "batch"}}, (graph.X,), (*codes, *places))
    axes = {name: {0: "batch"} for name in inputs}
    decoder = _export(Decoder(model), (latent, *indices), axes, inputs, (graph.RECONSTRUCTION, graph.SCALE))
    for each in (scorer, encoder, decoder):
        _refuse_unsound(each)
    return Graphs(scorer, encoder, decoder)


def graft(scorer: onnx.ModelProto, correction: Correction, defaults: Defaults, x: Tensor) -> onnx.ModelProto:
    """A scorer's graph with its score corrected; `x` is an example of two inputs.

    The names of inputs and outputs stay. What led from the old score to the old p-value and verdict goes.
    """
    arrays = defaults.arrays()
    example = [torch.from_numpy(array) for array in arrays.values()]
    axes: dict[str, Any] = {graph.X: {0: "batch"}, graph.SCORE: {0: "batch"}, graph.THRESHOLD: None}
    axes |= {name: {0: "knots"} for name in (graph.KNOTS, graph.INVERSE_WIDTHS, graph.LOG_STEPS)}
    inputs = (graph.X, _OLD_SCORE, *arrays)
    new = _export(Finetuned(correction), (x, torch.zeros(2), *example), axes, inputs, _REPLACED)
    # Names inside a graph must be unique: those of the new end get a prefix, but for what both share.
    new = onnx.compose.add_prefix(new, "finetuned.", rename_inputs=False, rename_outputs=False)
    outputs = [output.name for output in scorer.graph.output]
    kept = [name for name in outputs if name not in _REPLACED[1:]]
    inner = [item.name for item in scorer.graph.input if item.name not in arrays]
    base = onnx.utils.Extractor(scorer).extract_model(inner, kept)
    _rename(base.graph, graph.SCORE, _OLD_SCORE)
    ends = {output.name: output for part in (base, new) for output in part.graph.output}
    merged = onnx.ModelProto()
    merged.CopyFrom(base)
    main = merged.graph
    main.name = scorer.graph.name
    main.node.extend(new.graph.node)
    main.initializer.extend(new.graph.initializer)
    main.input.extend(item for item in new.graph.input if item.name in arrays)
    del main.output[:]
    main.output.extend(ends[name] for name in outputs)
    _add_defaults(merged, arrays)
    _strip(merged)
    onnx.checker.check_model(merged, full_check=True)
    _refuse_unsound(merged)
    return merged


def _rename(main: onnx.GraphProto, old: str, new: str) -> None:
    for names in (*(node.input for node in main.node), *(node.output for node in main.node)):
        names[:] = [new if name == old else name for name in names]
    for item in main.output:
        item.name = new if item.name == old else item.name


def _example_indices(model: Autoencoder, x: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        indices = model.encode(model.see(x)).indices
    return () if indices is None else (indices,)


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    axes: Mapping[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple(axes.values()),
            verbose=False,
        )
    if program is None:
        raise ParityError("torch.onnx.export gave no graph")
    model = program.model_proto
    _strip(model)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns about its own internals; none of it is the user's business."""
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            exporter_log.setLevel(level)


def _strip(model: onnx.ModelProto) -> None:
    """Drops stack traces and local paths: they name the user's machine and make two exports differ."""
    model.producer_name, model.producer_version, model.doc_string = "vae-detect", "", ""
    del model.metadata_props[:]
    main = model.graph
    main.doc_string = ""
    for item in (main, *main.node, *main.input, *main.output, *main.value_info, *main.initializer):
        item.doc_string = ""
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]
    del main.value_info[:]


def _add_defaults(model: onnx.ModelProto, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Makes inputs optional: an initializer with the name of an input is its default (ONNX IR, from version 4)."""
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))


def _refuse_unsound(model: onnx.ModelProto) -> None:
    random = _RANDOM_OPS & {node.op_type for node in model.graph.node}
    if random:
        raise ParityError(f"the graph has a random operator: {', '.join(sorted(random))}")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if np.issubdtype(values.dtype, np.floating) and not np.all(np.isfinite(values)):
            raise ParityError(f"weight {tensor.name!r} is not finite; training has diverged")


def reference_scores(model: Autoencoder, x: NDArray[Any]) -> NDArray[np.float32]:
    """Scores (inputs,) that the trained network gives in torch."""
    batch = max(32, 4096 // model.cells)
    with torch.no_grad():
        parts = [
            model.terms(torch.from_numpy(x[i : i + batch]), model.noise).score.numpy() for i in range(0, len(x), batch)
        ]
    return np.concatenate(parts)


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


def certify(model: Autoencoder, scorer: onnx.ModelProto, x: NDArray[Any], threshold: float) -> Parity:
    """The parity certificate: ONNX Runtime against the trained network on these inputs and on hostile ones.

    Parameters
    ----------
    x : inputs (rows, ...) in raw units; repeated to fill the largest batch

    Raises
    ------
    ParityError
        when scores differ by more than `PARITY_TOLERANCE`, a verdict flips, or only one side is finite
    """
    rows = np.concatenate([x, hostile_inputs(model)])
    batches = PARITY_BATCHES if model.image is None else IMAGE_BATCHES
    return compare(scorer, rows, reference_scores(model, rows), threshold, batches)


def compare(
    scorer: onnx.ModelProto,
    rows: NDArray[Any],
    expected: NDArray[np.float32],
    threshold: float,
    batches: tuple[int, ...] = PARITY_BATCHES,
) -> Parity:
    """The certificate from the scores that PyTorch gave for these inputs; raises like `certify`."""
    session = Session(scorer.SerializeToString(), source="the exported scorer", provider="cpu")
    worst = 0.0
    for batch in batches:
        repeats = max(1, -(-batch // len(rows)))
        filled, reference = np.concatenate([rows] * repeats), np.tile(expected, repeats)
        found, verdicts = _run_batches(session, filled, batch)
        _compare_verdicts(reference, found, verdicts, threshold)
        worst = max(worst, _difference(reference, found, threshold))
    if not worst <= PARITY_TOLERANCE:
        raise ParityError(
            f"ONNX Runtime's scores differ from torch's by {worst:.2g} relative, more than {PARITY_TOLERANCE:g}"
        )
    return Parity(max_relative_error=worst, verdict_flips=0, rows=len(rows), batches=batches)


def _run_batches(session: Session, x: NDArray[Any], batch: int) -> tuple[NDArray[Any], NDArray[Any]]:
    runs = [
        session.run((graph.SCORE, graph.IS_ANOMALY), {graph.X: x[start : start + batch]})
        for start in range(0, len(x), batch)
    ]
    score, verdict = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    return score, verdict


def _difference(expected: NDArray[np.float32], found: NDArray[np.float32], threshold: float) -> float:
    """Largest relative difference; infinity when only one side is finite.

    A score below a hundredth of the threshold is compared on that scale: near 0 a free energy is a difference of large
    numbers, and all of it is rounding.
    """
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(found)):
        return float("inf")
    a, b = expected[finite].astype(np.float64), found[finite].astype(np.float64)
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(a), max(1e-6, 0.01 * abs(threshold))), initial=0.0))


def _compare_verdicts(
    expected: NDArray[np.float32], found: NDArray[np.float32], verdicts: NDArray[np.bool_], threshold: float
) -> None:
    # A score within rounding of the threshold may fall on either side; no one can promise more in float32.
    clear = np.isfinite(expected) & (np.abs(expected - threshold) > PARITY_TOLERANCE * abs(threshold))
    flips = int(np.sum((expected > threshold)[clear] != verdicts[clear]))
    if flips:
        row = int(np.flatnonzero(clear & ((expected > threshold) != verdicts))[0])
        raise ParityError(
            f"{flips} verdicts flip between torch ({expected[row]:.6g}) and ONNX Runtime ({found[row]:.6g})"
        )


def golden(scorer: onnx.ModelProto, x: NDArray[Any]) -> Golden:
    """Inputs with the answers that this graph gives, to be replayed wherever the file is loaded."""
    session = Session(scorer.SerializeToString(), source="the exported scorer", provider="cpu")
    score, p_value, verdict = session.run((graph.SCORE, graph.P_VALUE, graph.IS_ANOMALY), {graph.X: x})
    if not np.isfinite(x).all() or not np.isfinite(score).all():
        raise InputError("values of this size leave no room in float32 for a fault; scale the columns down")
    is_image = x.dtype == np.uint8
    return Golden(
        x=[] if is_image else _shortest(x),
        score=_shortest(score),
        p_value=_shortest(p_value),
        is_anomaly=verdict.tolist(),
        pixels=x.tobytes() if is_image else b"",
    )


def _shortest(values: NDArray[np.float32]) -> Any:
    """Nested lists of the fewest digits that are the same float32 again; half the size of their float64 digits."""
    return [float(str(v)) for v in values] if values.ndim == 1 else [_shortest(part) for part in values]


def export_id(graphs: Graphs, settings: str) -> str:
    """16 hex digits that change with any weight or setting."""
    digest = sha256(settings.encode())
    for model in graphs:
        digest.update(model.SerializeToString(deterministic=True))
    return digest.hexdigest()[:16]


def finish_part(model: onnx.ModelProto, part: Part) -> bytes:
    """The bytes of an encoder or decoder file."""
    return _with_metadata(model, part.to_json())


def finish_scorer(model: onnx.ModelProto, bundle: Bundle) -> bytes:
    """The bytes of a scorer file."""
    return _with_metadata(model, bundle.to_json())


def _with_metadata(model: onnx.ModelProto, text: str) -> bytes:
    onnx.helper.set_model_props(model, {graph.METADATA_KEY: text})
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Writes each file aside, flushes it to the disk, then renames all; a reader never sees half a file."""
    aside = {path.with_name(path.name + ".tmp"): path for path in contents}
    path = next(iter(contents))
    try:
        for temporary, path in aside.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in aside.items():
            temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    finally:
        for temporary in aside:
            with suppress(OSError):
                temporary.unlink()
