"""Small models of every shape, exported, for the tests of this folder."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from conftest import Run, made_once
from numpy.typing import NDArray
from onnx import numpy_helper

from vae_detect.runtime.bundle import Column, Image
from vae_detect.runtime.calibration.calibration import calibrate
from vae_detect.runtime.session import Session
from vae_detect.training.export.constants import Constants
from vae_detect.training.export.files import Graphs
from vae_detect.training.export.graphs import build_graphs
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.settings.config import TrainConfig

CONFIGS = {
    "vae": TrainConfig(recipe="vae", hidden=(6,), latent=2),
    "ae": TrainConfig(hidden=(6,), latent=2, recipe="ae", likelihood="laplace"),
    "bernoulli, 8 points": TrainConfig(recipe="vae", hidden=(6,), latent=2, likelihood="bernoulli", points=8),
    "windows": TrainConfig(recipe="vae", hidden=(), latent=2, kind="windows", window=4),
    "mixed": TrainConfig(hidden=(6,), latent=2, recipe="mixture-vae", components=3),
    "cvae": TrainConfig(hidden=(6,), latent=2, recipe="cvae", kind="windows", window=4, network="gru"),
    "images": TrainConfig(kind="images", size=(8, 12), hidden=(4, 4), latent=2, recipe="conv-unpool"),
}

POINT_CODES = {"ae", "images"}
"""Configurations without a posterior."""

CALIBRATION = calibrate(np.random.default_rng(1).gamma(3.0, 2.0, size=400), far=0.05)

NUMBERS = (Column("a", "", 1.0, 1.0), Column("b", "", -2.0, 3.0), Column("c", "", 30.0, 0.5))

SHARES = tuple(Column(name, "", 0.0, 1.0) for name in "abc")

MIXED = (
    Column("a", "", 1.0, 0.5, "log", knee=2.0),
    Column("b", "", 0.0, 1.0, "category", levels=(0.0, 1.0, 2.0)),
    Column("c", "", 0.0, 2.0, "binary", levels=(0.0, 2.0)),
    Column("d", "", 0.0, 1.0, "logit", levels=(0.0, 100.0)),
)

CLASSES = (*NUMBERS[:2], Column("c", "", 0.0, 1.0, "class", levels=(0.0, 1.0)))


def build(name: str) -> Autoencoder:
    config, image, classes = CONFIGS[name], None, (0.25, 0.75) if name == "cvae" else ()
    columns = {"mixed": MIXED, "cvae": CLASSES, "bernoulli, 8 points": SHARES}.get(name, NUMBERS)
    if name == "images":
        columns, image = (Column("grey", "", 100.0, 50.0),), Image(8, 12, "grey")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return Autoencoder(config, columns, image, classes).eval()


@dataclass(frozen=True)
class Exported:
    model: Autoencoder
    graphs: Graphs
    x: NDArray[Any]

    def session(self, part: str = "scorer") -> Session:
        content = getattr(self.graphs, part).SerializeToString()
        return Session(content, source=part, provider="cpu")

    def run(self, x: NDArray[Any], **feeds: NDArray[Any]) -> dict[str, NDArray[Any]]:
        session = self.session()
        return dict(zip(session.outputs, session.run(session.outputs, {"x": x, **feeds}), strict=True))


def some_inputs(model: Autoencoder, rows: int) -> NDArray[Any]:
    generator = np.random.default_rng(2)
    shape = (rows, *model.input_shape)
    if model.image:
        return generator.integers(0, 256, size=shape, dtype=np.uint8)
    center, scale = (np.array([getattr(column, name) for column in model.columns]) for name in ("center", "scale"))
    x = center + 2 * scale * generator.normal(size=shape)
    for position, column in enumerate(model.columns):
        if column.treatment in ("category", "binary", "class"):
            x[..., position] = generator.choice(column.levels, size=shape[:-1])
    return x.astype(np.float32)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def tampered(model: onnx.ModelProto, *, by: float = 1.01) -> onnx.ModelProto:
    """A copy with the largest element of its largest weight multiplied."""
    copy = copied(model)
    weights = [tensor for tensor in copy.graph.initializer if tensor.name.endswith("weight")]
    tensor = max(weights, key=lambda weight: np.prod(weight.dims))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[np.abs(values).argmax()] *= by
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy


def graphs_of(name: str, *, overridable: bool) -> Graphs:
    """The graphs of a configuration, made once a run, whichever of its processes asks first: it takes seconds."""

    def make(folder: Path) -> None:
        model = build(name)
        made = build_graphs(model, Constants.of(model, CALIBRATION, overridable=overridable))
        for part, graph in made._asdict().items():
            onnx.save(graph, folder / part)

    folder = made_once(Run.factory, f"{'overridable' if overridable else 'export'} {name}", make)
    return Graphs(*(onnx.load(folder / part) for part in Graphs._fields))


@cache
def export(name: str) -> Exported:
    """A configuration exported."""
    model = build(name)
    return Exported(model, graphs_of(name, overridable=False), some_inputs(model, 50))


@cache
def overridable(name: str) -> Exported:
    """The same with optional inputs."""
    model = build(name)
    return Exported(model, graphs_of(name, overridable=True), some_inputs(model, 50))
