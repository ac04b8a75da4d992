"""From a trained network to the three ONNX graphs of a detector. The only module that touches ``torch.onnx``."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from ...runtime import graph
from ...runtime.bundle import Limit
from ...runtime.errors import ParityError
from ..model.autoencoder import Autoencoder, example_input
from .constants import Constants, store
from .files import Graphs
from .verdict import Verdict

OPSET = 18

IR_VERSION = 8
"""Loads on ONNX Runtime 1.15 and later, hence on every Jetson in the field."""

_RANDOM_OPS = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"}
)


class Scorer(nn.Module):
    """The whole detector as one graph: raw units in, `scorer_outputs` out."""

    def __init__(self, model: Autoencoder, limits: Sequence[Limit] = ()) -> None:
        super().__init__()
        self.model = model
        self.verdict = Verdict(limits, [column.name for column in model.columns])

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
        outputs = [score, p, self.verdict(x, score, threshold), terms.reconstruction_error]
        if terms.kl is not None:
            outputs += [terms.elbo, terms.kl]
        outputs += [terms.contribution, terms.reconstruction, terms.latent]
        return (*outputs, *([] if terms.heat_map is None else [terms.heat_map]))


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

    with the three arrays from `Constants.arrays`. It takes 5 operators, and differences of knots are not taken at every
    call, as they would be with the table itself as input.
    """
    reached = torch.clamp((score - knots) * inverse_widths, 0.0, 1.0)  # (knots - 1, batch): long rows vectorise
    return torch.exp(log_steps @ reached)


def build_graphs(model: Autoencoder, constants: Constants, limits: Sequence[Limit] = ()) -> Graphs:
    """The three graphs of a model on the CPU, in eval mode."""
    x = example_input(model, 2)
    arrays = constants.arrays()
    example = [torch.from_numpy(array) for array in arrays.values()]
    axes: dict[str, Any] = {graph.X: {0: "batch"}, graph.THRESHOLD: None}
    axes |= {name: {0: "knots"} for name in (graph.KNOTS, graph.INVERSE_WIDTHS, graph.LOG_STEPS)}
    if graph.NOISE in arrays:
        axes[graph.NOISE] = None
    scorer = to_onnx(Scorer(model, limits), (x, *example), axes, (graph.X, *arrays), scorer_outputs(model))
    store(scorer, constants)
    codes = (graph.MEAN, graph.LOG_VARIANCE) if model.is_gaussian else (graph.LATENT,)
    latent, indices = torch.zeros(2, model.config.latent), _example_indices(model, x)
    places = (graph.INDICES,) if indices else ()
    inputs = (graph.LATENT, *places)
    encoder = to_onnx(Encoder(model), (x,), {graph.X: {0: "batch"}}, (graph.X,), (*codes, *places))
    axes = {name: {0: "batch"} for name in inputs}
    decoder = to_onnx(Decoder(model), (latent, *indices), axes, inputs, (graph.RECONSTRUCTION, graph.SCALE))
    for each in (scorer, encoder, decoder):
        refuse_unsound(each)
    return Graphs(scorer, encoder, decoder)


def _example_indices(model: Autoencoder, x: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        indices = model.encode(model.see(x)).indices
    return () if indices is None else (indices,)


def to_onnx(
    module: nn.Module,
    example: tuple[Tensor, ...],
    axes: Mapping[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """The graph of a module; `axes` says by input which of its axes have no fixed length."""
    with _quiet_exporter(), _operators_kept(), _nothing_collected(), torch.no_grad():
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
    strip(model)
    name_outputs(model)
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


@contextmanager
def _operators_kept() -> Iterator[None]:
    """Lends the exporter its tables of operators, which it would build for every graph: a second of each."""
    try:
        from torch._export import utils
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        tables: tuple[tuple[Any, str], ...] = (
            (ONNXRegistry, "from_torchlib"),
            (utils, "_collect_all_valid_cia_ops_for_namespace"),
        )
        own = [vars(owner)[name] for owner, name in tables]
    except (ImportError, KeyError):  # no public part of torch: where another version has it elsewhere, it takes longer
        yield
        return
    for owner, name in tables:
        setattr(owner, name, _kept(owner, name))
    try:
        yield
    finally:
        for (owner, name), first in zip(tables, own, strict=True):
            setattr(owner, name, first)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Puts off Python's search for garbage, a fifth of the time of an export, which keeps most of what it makes."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@cache
def _kept(owner: Any, name: str) -> Any:
    return staticmethod(cache(getattr(owner, name)))


def strip(model: onnx.ModelProto) -> None:
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


def name_outputs(model: onnx.ModelProto) -> None:
    """Gives each node that makes an output the output's name, by which tools and other engines show it."""
    outputs = {item.name for item in model.graph.output}
    for node in model.graph.node:
        node.name = next((name for name in node.output if name in outputs), node.name)


def refuse_unsound(model: onnx.ModelProto) -> None:
    """Raises ParityError for a graph with a random operator or a weight that is not finite."""
    random = _RANDOM_OPS & {node.op_type for node in model.graph.node}
    if random:
        raise ParityError(f"the graph has a random operator: {', '.join(sorted(random))}")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if np.issubdtype(values.dtype, np.floating) and not np.all(np.isfinite(values)):
            raise ParityError(f"weight {tensor.name!r} is not finite; training has diverged")
