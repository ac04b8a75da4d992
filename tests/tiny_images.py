"""A detector of images of a few hundred bytes, written with onnx alone: one linear code, a Gaussian of known scale."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vae_detect.runtime import graph
from vae_detect.runtime.bundle import (
    METADATA_KEY,
    SCHEMA_VERSION,
    Bundle,
    Calibration,
    Column,
    DataFacts,
    Golden,
    Image,
    Parity,
    Part,
    Parts,
    Prior,
)
from vae_detect.runtime.session import Session

EXPORT_ID = "0123456789abcdef"
LATENT = 2
SCALE = 10.0
"""Standard deviation of a pixel in grey levels: the score is sum((x - expected)^2) / 200, heat is its mean of 3 x 3."""


def normal_images(image: Image, n: int = 40, seed: int = 0) -> NDArray[np.uint8]:
    """Images of a gradient from left to right, as bright as chance has it, with noise."""
    generator = np.random.default_rng(seed)
    ramp = np.linspace(60, 160, image.width)[:, None] + np.zeros(image.shape)
    noisy = ramp + generator.normal(0, 15, (n, 1, 1, 1)) + generator.normal(0, 5, (n, *image.shape))
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


def write_detector(path: Path, image: Image, *, recipe: str = "conv", prior: Prior | None = None) -> Path:
    """Writes the three files of a detector; recipe conv-unpool gives the encoder `indices`, which its decoder needs."""
    unpools = recipe == "conv-unpool"
    encoder, decoder = _encoder(image, unpools), _decoder(image, unpools)
    contents = {part: _finish(model, _part(part)) for part, model in (("encoder", encoder), ("decoder", decoder))}
    for part, content in contents.items():
        path.with_name(f"{path.stem}.{part}.onnx").write_bytes(content)
    parts = Parts(*(sha256(contents[part]).hexdigest() for part in ("encoder", "decoder")))
    normal = normal_images(image)
    bad = normal[0].copy()
    bad[: image.height // 2] = 255 - bad[: image.height // 2]
    golden = np.stack([*normal[1:4], bad])
    session = Session(_scorer(image, 0.0).SerializeToString(), source="tiny", provider="cpu")
    threshold = float(session.run([graph.SCORE], {graph.X: normal})[0].max()) * 1.5
    scorer = _scorer(image, threshold)
    session = Session(scorer.SerializeToString(), source="tiny", provider="cpu")
    score, p_value, verdict = session.run([graph.SCORE, graph.P_VALUE, graph.IS_ANOMALY], {graph.X: golden})
    assert verdict.tolist() == [False, False, False, True]
    facts = Bundle(
        schema_version=SCHEMA_VERSION,
        export_id=EXPORT_ID,
        recipe=recipe,
        kind="images",
        columns=tuple(
            Column(name, "", 110.0, SCALE) for name in (("grey",), ("red", "green", "blue"))[image.mode != "grey"]
        ),
        window=1,
        stride=1,
        latent=LATENT,
        likelihood="gaussian",
        image=image,
        prior=prior,
        score="reconstruction error, nats",
        calibration=Calibration(
            far=0.01,
            threshold=threshold,
            n=1000,
            effective_n=1000,
            far_low=0.006,
            far_high=0.015,
            method="conformal",
            resolution=1 / 1001,
            knot_scores=(0.0, threshold),
            knot_log10_p=(0.0, -2.0),
        ),
        golden=Golden([], score.tolist(), p_value.tolist(), verdict.tolist(), golden.tobytes()),
        parity=Parity(0.0, 0, len(golden), (1,)),
        parts=parts,
        data=DataFacts("0" * 64, 40, 20, 10, 10),
        settings={},
        versions={},
    )
    path.write_bytes(_finish(scorer, facts.to_json()))
    return path


def _ramp(image: Image) -> NDArray[np.float32]:
    return np.asarray(np.linspace(60, 160, image.width)[:, None] + np.zeros(image.shape), np.float32)


def _encoder(image: Image, unpools: bool) -> onnx.ModelProto:
    """The code is the mean brightness above the ramp, and a zero."""
    nodes = [
        *_code(),
        *([helper.make_node("ArgMax", ["flat"], ["indices"], axis=1, keepdims=1)] if unpools else []),
    ]
    outputs = [_info(graph.LATENT, TensorProto.FLOAT, ["batch", LATENT])]
    if unpools:
        outputs.append(_info(graph.INDICES, TensorProto.INT64, ["batch", 1]))
    return _model(nodes, [_input(image)], outputs, _constants(image))


def _decoder(image: Image, unpools: bool) -> onnx.ModelProto:
    nodes = _expected(graph.LATENT)
    inputs = [_info(graph.LATENT, TensorProto.FLOAT, ["batch", LATENT])]
    if unpools:  # the indices do nothing but be there
        inputs.append(_info(graph.INDICES, TensorProto.INT64, ["batch", 1]))
        nodes += [
            helper.make_node("Cast", [graph.INDICES], ["place"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["place", "zero"], ["nothing"]),
            helper.make_node("Reshape", ["nothing", "as_brightness"], ["nothings"]),
            helper.make_node("Add", ["expected", "nothings"], [graph.RECONSTRUCTION]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["expected"], [graph.RECONSTRUCTION]))
    outputs = [_info(graph.RECONSTRUCTION, TensorProto.FLOAT, ["batch", *image.shape])]
    return _model(nodes, inputs, outputs, _constants(image))


def _scorer(image: Image, threshold: float) -> onnx.ModelProto:
    nodes = [
        *_code(),
        *_expected(graph.LATENT),
        helper.make_node("Identity", ["expected"], [graph.RECONSTRUCTION]),
        helper.make_node("Sub", ["pixels", graph.RECONSTRUCTION], ["residual"]),
        helper.make_node("Mul", ["residual", "residual"], ["squared"]),
        helper.make_node("Mul", ["squared", "precision"], [graph.CONTRIBUTION]),
        helper.make_node("ReduceSum", [graph.CONTRIBUTION, "inner"], [graph.SCORE], keepdims=0),
        helper.make_node("Identity", [graph.SCORE], [graph.RECONSTRUCTION_ERROR]),
        helper.make_node("Mul", [graph.SCORE, "slope"], ["unclipped"]),
        helper.make_node("Max", ["unclipped", "lowest"], ["log_p"]),
        helper.make_node("Exp", ["log_p"], [graph.P_VALUE]),
        helper.make_node("Greater", [graph.SCORE, graph.THRESHOLD], [graph.IS_ANOMALY]),
        helper.make_node("ReduceSum", [graph.CONTRIBUTION, "channel"], ["per_pixel"], keepdims=0),
        helper.make_node("Unsqueeze", ["per_pixel", "one"], ["plane"]),
        helper.make_node("AveragePool", ["plane"], ["smooth"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Squeeze", ["smooth", "one"], [graph.HEAT_MAP]),
    ]
    one: list[str | int] = ["batch"]
    shaped = [*one, *image.shape]
    outputs = [
        *(_info(name, TensorProto.FLOAT, one) for name in (graph.SCORE, graph.P_VALUE, graph.RECONSTRUCTION_ERROR)),
        _info(graph.IS_ANOMALY, TensorProto.BOOL, one),
        *(_info(name, TensorProto.FLOAT, shaped) for name in (graph.CONTRIBUTION, graph.RECONSTRUCTION)),
        _info(graph.LATENT, TensorProto.FLOAT, ["batch", LATENT]),
        _info(graph.HEAT_MAP, TensorProto.FLOAT, ["batch", image.height, image.width]),
    ]
    constants = {
        **_constants(image),
        "precision": np.float32(1 / (2 * SCALE**2)),
        "inner": np.array([1, 2, 3]),
        "channel": np.array([3]),
        "one": np.array([1]),
        "lowest": np.float32(np.log(0.01)),
        "slope": np.float32(np.log(0.01) / max(threshold, 1.0)),
        graph.THRESHOLD: np.float32(threshold),
    }
    return _model(nodes, [_input(image)], outputs, constants)


def _code() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [graph.X], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "ramp"], ["above"]),
        helper.make_node("Flatten", ["above"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mean"], [graph.LATENT]),
    ]


def _expected(latent: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", [latent, "first"], ["brightness"]),
        helper.make_node("Reshape", ["brightness", "as_brightness"], ["level"]),
        helper.make_node("Add", ["ramp", "level"], ["expected"]),
    ]


def _constants(image: Image) -> dict[str, NDArray[np.generic] | np.generic]:
    mean = np.zeros((int(np.prod(image.shape)), LATENT), np.float32)
    mean[:, 0] = 1 / len(mean)
    return {
        "ramp": _ramp(image),
        "mean": mean,
        "first": np.array([[1.0], [0.0]], np.float32),
        "as_brightness": np.array([-1, 1, 1, 1]),
        "zero": np.float32(0),
    }


def _input(image: Image) -> onnx.ValueInfoProto:
    return _info(graph.X, TensorProto.UINT8, ["batch", *image.shape])


def _info(name: str, kind: int, shape: Sequence[str | int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[np.generic] | np.generic],
) -> onnx.ModelProto:
    used = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used]
    made = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _part(part: str) -> str:
    return Part(schema_version=SCHEMA_VERSION, export_id=EXPORT_ID, part=part).to_json()  # type: ignore[arg-type]


def _finish(model: onnx.ModelProto, text: str) -> bytes:
    helper.set_model_props(model, {METADATA_KEY: text})
    return bytes(model.SerializeToString(deterministic=True))
