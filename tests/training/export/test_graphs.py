"""The exported graphs: what is in them, and that they compute what torch computes."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_exports import CALIBRATION, CONFIGS, POINT_CODES, Exported, build, export, overridable, some_inputs

from vae_detect.runtime.errors import ParityError
from vae_detect.training.export.constants import Constants
from vae_detect.training.export.files import export_id
from vae_detect.training.export.graphs import build_graphs, p_value, scorer_outputs

TABLE = ["threshold", "calibration_knots", "calibration_inverse_widths", "calibration_log_steps"]

RANDOM_OPS = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}


@pytest.fixture(params=CONFIGS)
def exported(request: pytest.FixtureRequest) -> Exported:
    return export(request.param)


@pytest.fixture(scope="module")
def vae() -> Exported:
    return export("vae")


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


def test_the_scorer_takes_x_and_nothing_else(exported: Exported) -> None:
    main = exported.graphs.scorer.graph
    assert [item.name for item in main.input] == ["x"]
    assert set(TABLE) <= {tensor.name for tensor in main.initializer}
    assert not {"x", "code_of_x"} & {tensor.name for tensor in main.initializer}


def test_an_overridable_scorer_has_optional_inputs_with_defaults_in_the_file() -> None:
    for exported, noise in ((overridable("ae"), []), (overridable("vae"), ["noise"])):
        main = exported.graphs.scorer.graph
        assert [item.name for item in main.input] == ["x", *TABLE, *noise]
        assert {*TABLE, *noise} <= {tensor.name for tensor in main.initializer}
        assert list(exported.session().inputs) == ["x"]


def test_nodes_that_make_outputs_carry_their_names(exported: Exported) -> None:
    for model in exported.graphs:
        makers = {name: node.name for node in model.graph.node for name in node.output}
        assert all(makers[output.name] == output.name for output in model.graph.output)
        names = [node.name for node in model.graph.node]
        assert len(set(names)) == len(names)


def test_noise_of_the_posteriors_mean_costs_no_node(vae: Exported) -> None:
    assert len(vae.graphs.scorer.graph.node) < len(overridable("vae").graphs.scorer.graph.node)
    assert "noise" not in {tensor.name for tensor in vae.graphs.scorer.graph.initializer}


def test_output_names() -> None:
    head, tail = (
        ["score", "p_value", "is_anomaly", "reconstruction_error"],
        ["contribution", "reconstruction", "latent"],
    )
    for name in CONFIGS:
        exported = export(name)
        middle = [] if name in POINT_CODES else ["elbo", "kl"]  # a point code has no ELBO and does not fake one
        expected = [*head, *middle, *tail, *(["heat_map"] if name == "images" else [])]
        assert [item.name for item in exported.graphs.scorer.graph.output] == expected
        assert list(scorer_outputs(exported.model)) == expected


def test_names_of_the_parts() -> None:
    for name in CONFIGS:
        exported = export(name)
        encoder, decoder = exported.session("encoder"), exported.session("decoder")
        assert list(encoder.inputs) == ["x"]
        codes = ("latent",) if name in POINT_CODES else ("mean", "log_variance")
        places = ("indices",) if name == "images" else ()  # it pools, and its decoder needs to know where
        assert encoder.outputs == (*codes, *places)
        assert tuple(decoder.inputs) == ("latent", *places)
        assert decoder.outputs == ("reconstruction", "scale")


def test_two_exports_of_a_model_are_equal_to_the_byte(vae: Exported) -> None:
    again = build_graphs(build("vae"), Constants.of(vae.model, CALIBRATION))
    for first, second in zip(vae.graphs, again, strict=True):
        assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert export_id(vae.graphs, "{}") == export_id(again, "{}")


# --- what they compute -----------------------------------------------------------------------------------------------


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


def test_a_weight_that_is_not_a_number_is_refused() -> None:
    model = build("ae")
    with torch.no_grad():
        model.get_parameter("decoder.layers.0.weight")[1, 0] = torch.nan
    with pytest.raises(ParityError, match=r"decoder\.layers\.0\.weight' is not finite; training has diverged"):
        build_graphs(model, Constants.of(model, CALIBRATION))


@pytest.mark.parametrize("name", ["mixed", "cvae"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_flag_category_or_class_that_is_not_finite_has_no_finite_score(name: str, bad: float) -> None:
    # 0 * x must survive the optimisations of ONNX Runtime
    exported = export(name)
    for position in range(len(exported.model.columns)):
        x = exported.x[:2].copy()
        x[1, ..., position] = bad
        good, refused = exported.run(x)["score"]
        assert np.isfinite(good)
        assert not np.isfinite(refused)


# --- optional inputs -------------------------------------------------------------------------------------------------


def test_the_threshold_can_be_overridden() -> None:
    vae = overridable("vae")
    score = vae.run(vae.x)["score"]
    middle = np.sort(score)[24:26].mean(dtype=np.float32)
    assert vae.run(vae.x, threshold=np.asarray(middle, np.float32))["is_anomaly"].sum() == 25


def test_the_noise_can_be_overridden() -> None:
    vae = overridable("vae")
    noise = np.array([[0.5, -1.5]], np.float32)
    found = vae.run(vae.x, noise=noise)["score"]
    with torch.no_grad():
        expected = vae.model.terms(torch.from_numpy(vae.x), torch.from_numpy(noise)).score.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_p_value_table_can_be_overridden_by_one_of_another_length() -> None:
    vae = overridable("vae")
    knots, log_p = np.array([0.0, 10.0, 1e6]), np.log([1.0, 0.5, 0.5])
    table = (knots[:-1, None], 1 / np.diff(knots)[:, None], np.diff(log_p))
    found = vae.run(vae.x, **{name: array.astype(np.float32) for name, array in zip(TABLE[1:], table, strict=True)})
    np.testing.assert_allclose(found["p_value"], np.exp(np.interp(found["score"], knots, log_p)), rtol=1e-5)


def test_overridable_or_not_the_outputs_are_the_same(vae: Exported) -> None:
    found, expected = overridable("vae").run(vae.x), vae.run(vae.x)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6, err_msg=name)


# --- p-values --------------------------------------------------------------------------------------------------------


def interpolated(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    log10_p = np.interp(scores.astype(np.float64), CALIBRATION.knot_scores, CALIBRATION.knot_log10_p)
    return np.asarray(10.0**log10_p)


def table() -> list[torch.Tensor]:
    arrays = Constants(CALIBRATION.threshold, CALIBRATION.knot_scores, CALIBRATION.knot_log10_p, None).arrays()
    assert list(arrays) == TABLE
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


def test_constants_of_a_model(vae: Exported) -> None:
    assert Constants.of(export("ae").model, CALIBRATION).noise is None
    assert Constants.of(vae.model, CALIBRATION).noise is None  # the posterior's mean
    assert Constants.of(vae.model, CALIBRATION, overridable=True).arrays()["noise"].tolist() == [[0.0, 0.0]]
    noise = Constants.of(export("bernoulli, 8 points").model, CALIBRATION).arrays()["noise"]
    assert (noise.shape, noise.dtype) == ((8, 1, 2), np.dtype(np.float32))


def test_constants_can_be_replaced_without_touching_the_model(vae: Exported) -> None:
    first = Constants.of(vae.model, CALIBRATION)
    assert replace(first, threshold=1.0).arrays()["threshold"].tolist() == 1.0
    assert first.threshold == CALIBRATION.threshold
