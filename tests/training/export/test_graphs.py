"""The exported graphs: what is in the files, that they compute what torch computes, and how they are written."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from vae_detect.runtime.bundle import Column, Image
from vae_detect.runtime.errors import InputError, ParityError
from vae_detect.runtime.session import Session
from vae_detect.training.calibration import calibrate
from vae_detect.training.export.graphs import (
    IMAGE_BATCHES,
    PARITY_BATCHES,
    PARITY_TOLERANCE,
    Defaults,
    Files,
    Graphs,
    build_graphs,
    certify,
    export_id,
    hostile_inputs,
    p_value,
    reference_scores,
    scorer_outputs,
    write_files,
)
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.settings.recipes import TrainConfig

Floats = NDArray[np.float32]

CONFIGS = {
    "vae": TrainConfig(hidden=(6,), latent=2),
    "ae": TrainConfig(hidden=(6,), latent=2, recipe="ae", likelihood="laplace"),
    "bernoulli, 8 points": TrainConfig(hidden=(6,), latent=2, likelihood="bernoulli", points=8),
    "windows": TrainConfig(hidden=(), latent=2, kind="windows", window=4),
    "mixed": TrainConfig(hidden=(6,), latent=2, recipe="mixture-vae", components=3),
    "cvae": TrainConfig(hidden=(6,), latent=2, recipe="cvae", kind="windows", window=4, network="gru"),
    "images": TrainConfig(kind="images", size=(8, 12), hidden=(4, 4), latent=2, recipe="conv-unpool"),
}
POINT_CODES = {"ae", "images"}
"""Configurations without a posterior."""
CALIBRATION = calibrate(np.random.default_rng(1).gamma(3.0, 2.0, size=400), far=0.05)
OPTIONAL = ["threshold", "calibration_knots", "calibration_inverse_widths", "calibration_log_steps"]
RANDOM_OPS = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


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


@pytest.fixture(scope="module")
def exports() -> dict[str, Exported]:
    """Every configuration once: an export takes seconds."""
    made = {}
    for name in CONFIGS:
        model = build(name)
        made[name] = Exported(model, build_graphs(model, Defaults.of(model, CALIBRATION)), some_inputs(model, 50))
    return made


@pytest.fixture(params=CONFIGS)
def exported(exports: dict[str, Exported], request: pytest.FixtureRequest) -> Exported:
    return exports[request.param]


@pytest.fixture(scope="module")
def vae(exports: dict[str, Exported]) -> Exported:
    return exports["vae"]


# --- facts about the files -------------------------------------------------------------------------------------------


def strings(message: Any) -> Iterator[str]:
    """Every text anywhere in a protobuf message."""
    for field, value in message.ListFields():
        for item in value if field.is_repeated else [value]:
            if field.type == field.TYPE_MESSAGE:
                yield from strings(item)
            elif field.type == field.TYPE_STRING:
                yield item


def test_versions_and_operators(exported: Exported) -> None:
    for model in exported.graphs:
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
        assert model.ir_version == 8
        assert not model.functions
        assert not RANDOM_OPS & {node.op_type for node in model.graph.node}
        onnx.checker.check_model(model, full_check=True)


def test_the_file_holds_its_own_weights(exported: Exported) -> None:
    for model in exported.graphs:
        for tensor in model.graph.initializer:
            assert tensor.data_location == onnx.TensorProto.DEFAULT
            assert not tensor.external_data


def test_nothing_of_this_machine_is_in_the_file(exported: Exported) -> None:
    root = str(ROOT.resolve())
    for model in exported.graphs:
        content = model.SerializeToString()
        for trace in (root, "/" + "home", "site-packages", "Traceback", ".py", os.sep + "tmp"):
            assert trace.encode() not in content, trace
        assert not any("stack" in text or "\n" in text for text in strings(model))
        assert not model.doc_string
        assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
        assert not model.metadata_props


def test_optional_inputs_have_defaults_in_the_file(exports: dict[str, Exported]) -> None:
    for name, exported in exports.items():
        graph = exported.graphs.scorer.graph
        inputs = [item.name for item in graph.input]
        expected = [*OPTIONAL] if name in POINT_CODES else [*OPTIONAL, "noise"]
        assert inputs == ["x", *expected]
        assert set(expected) <= {tensor.name for tensor in graph.initializer}
        assert "x" not in {tensor.name for tensor in graph.initializer}


def test_output_names(exports: dict[str, Exported]) -> None:
    head, tail = (
        ["score", "p_value", "is_anomaly", "reconstruction_error"],
        ["contribution", "reconstruction", "latent"],
    )
    for name, exported in exports.items():
        middle = [] if name in POINT_CODES else ["elbo", "kl"]  # a point code has no ELBO and does not fake one
        expected = [*head, *middle, *tail, *(["heat_map"] if name == "images" else [])]
        assert [item.name for item in exported.graphs.scorer.graph.output] == expected
        assert list(scorer_outputs(exported.model)) == expected


def test_names_of_the_parts(exports: dict[str, Exported]) -> None:
    for name, exported in exports.items():
        encoder, decoder = exported.session("encoder"), exported.session("decoder")
        assert list(encoder.inputs) == ["x"]
        codes = ("latent",) if name in POINT_CODES else ("mean", "log_variance")
        places = ("indices",) if name == "images" else ()  # it pools, and its decoder needs to know where
        assert encoder.outputs == (*codes, *places)
        assert tuple(decoder.inputs) == ("latent", *places)
        assert decoder.outputs == ("reconstruction", "scale")


def test_two_exports_of_a_model_are_equal_to_the_byte(vae: Exported) -> None:
    again = build_graphs(build("vae"), Defaults.of(vae.model, CALIBRATION))
    for first, second in zip(vae.graphs, again, strict=True):
        assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert export_id(vae.graphs, "{}") == export_id(again, "{}")


def test_the_export_id_changes_with_a_weight_and_with_a_setting(vae: Exported) -> None:
    first = export_id(vae.graphs, "{}")
    assert len(first) == 16
    assert int(first, 16) >= 0
    assert export_id(vae.graphs, '{"latent": 3}') != first
    assert export_id(vae.graphs._replace(encoder=tampered(vae.graphs.encoder)), "{}") != first


# --- parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 1024])
def test_every_output_is_that_of_torch(exported: Exported, batch: int) -> None:
    batch = min(batch, 64) if exported.model.image else batch
    x = some_inputs(exported.model, batch)
    found = exported.run(x)
    with torch.no_grad():
        terms = exported.model.terms(torch.from_numpy(x), exported.model.noise)
    expected = {**terms._asdict(), **({} if terms.kl is None else {"elbo": terms.elbo})}
    for name in found.keys() - {"p_value", "is_anomaly"}:
        np.testing.assert_allclose(found[name], expected[name].numpy(), rtol=1e-4, atol=1e-4, err_msg=name)
    assert found["is_anomaly"].tolist() == (found["score"] > np.float32(CALIBRATION.threshold)).tolist()
    assert len(found["score"]) == batch


def test_the_parts_are_those_of_torch(exported: Exported) -> None:
    model, x = exported.model, torch.from_numpy(exported.x)
    with torch.no_grad():
        code = model.encode(model.prepare(model.standardise(x)))
        reconstruction = model.to_raw(model.decode(code.mean, code.indices))
        scale = model.likelihood.scale() * torch.tensor([column.scale for column in model.columns])
    encoder, decoder = exported.session("encoder"), exported.session("decoder")
    codes = encoder.run(encoder.outputs, {"x": exported.x})
    np.testing.assert_allclose(codes[0], code.mean.numpy(), rtol=1e-4, atol=1e-5)
    feeds = {"latent": codes[0]}
    if code.log_variance is not None:
        np.testing.assert_allclose(codes[1], code.log_variance.numpy(), rtol=1e-4, atol=1e-5)
    if code.indices is not None:
        np.testing.assert_array_equal(codes[1], code.indices.numpy())
        feeds["indices"] = codes[1]
    decoded = decoder.run(decoder.outputs, feeds)
    np.testing.assert_allclose(decoded[0], reconstruction.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(decoded[1], np.broadcast_to(scale.numpy(), decoded[0].shape), rtol=1e-5)


def test_the_certificate(exported: Exported) -> None:
    parity = certify(exported.model, exported.graphs.scorer, exported.x, CALIBRATION.threshold)
    assert parity.max_relative_error <= PARITY_TOLERANCE
    is_image = exported.model.image is not None
    assert (parity.verdict_flips, parity.batches) == (0, IMAGE_BATCHES if is_image else PARITY_BATCHES)
    assert parity.rows == 50 + (3 if is_image else 9)  # and the hostile ones


def test_the_batches_of_the_certificate() -> None:
    assert (PARITY_BATCHES, IMAGE_BATCHES) == ((1, 3, 1024), (1, 3, 64))


def test_reference_scores_do_not_depend_on_the_batch(exported: Exported) -> None:
    # more inputs than one batch of any shape
    x = np.concatenate([exported.x] * 85)
    whole = reference_scores(exported.model, x)
    assert (whole.shape, whole.dtype) == ((4250,), np.dtype(np.float32))
    parts = np.concatenate([reference_scores(exported.model, exported.x[i : i + 7]) for i in range(0, 50, 7)])
    np.testing.assert_allclose(np.tile(parts, 85), whole, rtol=1e-5, atol=1e-5)


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


def test_a_changed_weight_has_no_certificate(vae: Exported) -> None:
    with pytest.raises(ParityError, match=r"differ from torch's by|verdicts flip"):
        certify(vae.model, tampered(vae.graphs.scorer, by=1.05), vae.x, CALIBRATION.threshold)


def test_a_changed_threshold_has_no_certificate(vae: Exported) -> None:
    median = float(np.median(reference_scores(vae.model, vae.x)))
    with pytest.raises(ParityError, match="verdicts flip between torch"):
        certify(vae.model, vae.graphs.scorer, vae.x, median)


def test_a_weight_that_is_not_a_number_is_refused() -> None:
    model = build("ae")
    with torch.no_grad():
        model.get_parameter("decoder.layers.0.weight")[1, 0] = torch.nan
    with pytest.raises(ParityError, match=r"decoder\.layers\.0\.weight' is not finite; training has diverged"):
        build_graphs(model, Defaults.of(model, CALIBRATION))


def test_hostile_inputs_by_hand() -> None:
    columns = [Column(name, "", center, 1.0) for name, center in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    found = hostile_inputs(Autoencoder(TrainConfig(kind="windows", window=2, hidden=(), latent=1), columns))
    assert (found.shape, found.dtype) == ((9, 2, 3), np.dtype(np.float32))
    for value in (0.0, 1.0, 1e30, -1e30, np.inf, -np.inf):
        assert any(np.all(one == np.float32(value)) for one in found)
    assert any(np.isnan(one).all() for one in found)
    assert any(np.isnan(one).sum() == 1 for one in found)
    assert any(np.array_equal(one, [[1, 2, 3]] * 2) for one in found)


def test_hostile_images_by_hand(exports: dict[str, Exported]) -> None:
    found = hostile_inputs(exports["images"].model)
    assert (found.shape, found.dtype) == ((3, 8, 12, 1), np.dtype(np.uint8))
    assert [set(one.ravel().tolist()) for one in found] == [{0}, {255}, {0, 255}]
    assert found[2, :2, :3, 0].tolist() == [[0, 255, 0], [255, 0, 255]]


def test_hostile_inputs_have_no_finite_score_unless_they_are_finite(exported: Exported) -> None:
    x = hostile_inputs(exported.model)
    score = exported.run(x)["score"]
    if exported.model.image:
        assert np.isfinite(score).all()
    else:
        bad = ~np.isfinite(x.reshape(9, -1)).all(axis=1)
        assert bad.sum() == 4
        assert not np.isfinite(score[bad]).any()
        assert np.isfinite(score[[0, 1, 8]]).all()  # zeros, ones, the center
    alone = np.concatenate([exported.run(row[None])["score"] for row in x])
    np.testing.assert_allclose(alone, score, rtol=1e-5)  # a hostile row does not touch its neighbours


@pytest.mark.parametrize("name", ["mixed", "cvae"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_flag_category_or_class_that_is_not_finite_has_no_finite_score(
    exports: dict[str, Exported], name: str, bad: float
) -> None:
    # 0 * x must survive the optimisations of ONNX Runtime
    exported = exports[name]
    for position in range(len(exported.model.columns)):
        x = exported.x[:2].copy()
        x[1, ..., position] = bad
        good, refused = exported.run(x)["score"]
        assert np.isfinite(good)
        assert not np.isfinite(refused)


# --- optional inputs -------------------------------------------------------------------------------------------------


def test_the_threshold_can_be_overridden(vae: Exported) -> None:
    score = vae.run(vae.x)["score"]
    middle = np.sort(score)[24:26].mean(dtype=np.float32)
    assert vae.run(vae.x, threshold=np.asarray(middle, np.float32))["is_anomaly"].sum() == 25


def test_the_noise_can_be_overridden(vae: Exported) -> None:
    noise = np.array([[0.5, -1.5]], np.float32)
    found = vae.run(vae.x, noise=noise)["score"]
    with torch.no_grad():
        expected = vae.model.terms(torch.from_numpy(vae.x), torch.from_numpy(noise)).score.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


# --- p-values --------------------------------------------------------------------------------------------------------


def interpolated(scores: Floats) -> NDArray[np.float64]:
    log10_p = np.interp(scores.astype(np.float64), CALIBRATION.knot_scores, CALIBRATION.knot_log10_p)
    return np.asarray(10.0**log10_p)


def table() -> list[torch.Tensor]:
    arrays = Defaults(CALIBRATION.threshold, CALIBRATION.knot_scores, CALIBRATION.knot_log10_p, None).arrays()
    assert list(arrays) == OPTIONAL
    return [torch.from_numpy(array) for name, array in arrays.items() if name != "threshold"]


@settings(deadline=None)
@given(st.lists(st.floats(-10, 200, width=32), min_size=1, max_size=20))
def test_p_values_interpolate_the_knots(scores: list[float]) -> None:
    found = p_value(torch.tensor(scores), *table())
    np.testing.assert_allclose(found.numpy(), interpolated(np.array(scores, np.float32)), rtol=1e-4)


def test_p_values_are_held_at_both_ends() -> None:
    lowest = 10.0 ** CALIBRATION.knot_log10_p[-1]
    found = p_value(torch.tensor([-1e30, CALIBRATION.knot_scores[0], 1e30, torch.inf]), *table())
    assert found.tolist() == pytest.approx([1.0, 1.0, lowest, lowest], rel=1e-4)


def test_p_values_in_the_graph_are_those_of_the_knots(exported: Exported) -> None:
    found = exported.run(exported.x)
    np.testing.assert_allclose(found["p_value"], interpolated(found["score"]), rtol=1e-4)


def test_defaults_of_a_model(exports: dict[str, Exported]) -> None:
    assert Defaults.of(exports["ae"].model, CALIBRATION).noise is None
    noise = Defaults.of(exports["bernoulli, 8 points"].model, CALIBRATION).arrays()["noise"]
    assert (noise.shape, noise.dtype) == ((8, 1, 2), np.dtype(np.float32))


# --- writing ---------------------------------------------------------------------------------------------------------


def test_the_three_names() -> None:
    files = Files.named(Path("models") / "pump.v2.onnx")
    assert [str(path) for path in files] == [
        str(Path("models") / name) for name in ("pump.v2.onnx", "pump.v2.encoder.onnx", "pump.v2.decoder.onnx")
    ]
    with pytest.raises(InputError, match=r"pump\.pt: expected a file name that ends in \.onnx"):
        Files.named(Path("pump.pt"))


def test_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    a, b = tmp_path / "new" / "a.onnx", tmp_path / "new" / "b.onnx"
    write_files({a: b"one", b: b"two"})
    write_files({a: b"three", b: b"four"})
    assert (a.read_bytes(), b.read_bytes()) == (b"three", b"four")
    assert sorted(path.name for path in a.parent.iterdir()) == ["a.onnx", "b.onnx"]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    a, b = tmp_path / "a.onnx", tmp_path / "b.onnx"
    write_files({a: b"old a", b: b"old b"})
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")  # as write and fsync raise it: without a file name

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(InputError, match=rf"cannot write .*{'ab'[failing - 1]}\.onnx: No space left on device"):
        write_files({a: b"new a", b: b"new b"})
    assert (a.read_bytes(), b.read_bytes()) == (b"old a", b"old b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*b\.onnx: Not a directory|File exists"):
        write_files({tmp_path / "a.onnx": b"1", tmp_path / "file" / "sub" / "b.onnx": b"2"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_defaults_can_be_replaced_without_touching_the_model(vae: Exported) -> None:
    first = Defaults.of(vae.model, CALIBRATION)
    assert replace(first, threshold=1.0).arrays()["threshold"].tolist() == 1.0
    assert first.threshold == CALIBRATION.threshold
