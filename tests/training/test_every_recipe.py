"""What every detector must do, whatever its recipe: one list of properties, run over all of `RECIPES`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import Client
from every_recipe import CASES, SETPOINT, Trained, trained_model
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from vae_detect.runtime import graph
from vae_detect.runtime.describe import describe
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, ModelError
from vae_detect.runtime.opening import read_model_file
from vae_detect.runtime.protocol.tensors import datatype_of
from vae_detect.runtime.session import Session
from vae_detect.runtime.verification import VERDICT, check_replay
from vae_detect.training.settings.recipes import RECIPES


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_model(tmp_path_factory, request.param)


def test_the_same_input_gives_the_same_score(trained: Trained) -> None:
    first, second = trained.detector.score(trained.normal), trained.detector.score(trained.normal.copy())

    np.testing.assert_array_equal(first.score, second.score)


def test_neither_order_nor_company_changes_a_score(trained: Trained) -> None:
    together = trained.detector.score(trained.normal).score
    floor = abs(trained.bundle.calibration.threshold)

    backwards = trained.detector.score(trained.normal[::-1].copy()).score[::-1]
    alone = np.array([trained.detector.score_one(one).score for one in trained.normal[:10]])

    np.testing.assert_allclose(backwards, together, rtol=1e-5, atol=1e-5 * floor)
    np.testing.assert_allclose(alone, together[:10], rtol=1e-5, atol=1e-5 * floor)


def test_a_reloaded_detector_scores_the_same_bits(trained: Trained) -> None:
    again = Detector.load(trained.path, provider="cpu")

    np.testing.assert_array_equal(again.score(trained.normal).score, trained.detector.score(trained.normal).score)


def test_onnx_runtime_gives_the_scores_of_torch(trained: Trained) -> None:
    parity = trained.bundle.parity

    assert parity.max_relative_error <= 1e-4
    assert parity.verdict_flips == 0
    assert parity.rows > 10


def test_another_order_of_operations_is_no_other_model(trained: Trained) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # no fused kernels
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(read_model_file(trained.path), options)

    golden = trained.detector.golden_inputs()
    alone = [session.run(VERDICT, {graph.X: one[None]}) for one in golden]
    for found in (session.run(VERDICT, {graph.X: golden}), [*map(np.concatenate, zip(*alone, strict=True))]):
        check_replay(trained.bundle, *found, source="model.onnx", provider="cpu")


def test_a_fault_scores_higher(trained: Trained) -> None:
    normal, faulty = (trained.detector.score(x).score for x in (trained.normal, trained.faulty))

    assert np.isfinite(normal).all()
    assert np.isfinite(faulty).all()
    assert roc_auc_score([0] * len(normal) + [1] * len(faulty), [*normal, *faulty]) > 0.9


@pytest.mark.parametrize("value", [0.0, 59.999, 60.001, 66.0, 240.0, -1e9])
def test_a_constant_that_changes_is_an_anomaly_whatever_the_recipe(trained: Trained, value: float) -> None:
    if trained.bundle.kind == "images":
        return
    at = trained.bundle.names.index("setpoint")
    changed = trained.normal.copy()
    changed[(..., -1, at) if trained.bundle.kind == "windows" else (..., at)] = value

    found = trained.detector.score(changed)
    contribution = trained.detector.explain(changed)[0].reshape(-1, len(trained.bundle.names))

    assert found.is_anomaly.all()
    assert np.isfinite(found.score).all()
    assert found.score.min() > 100 * trained.bundle.calibration.threshold
    assert (contribution.max(0)[at] > 100 * np.delete(contribution.max(0), at)).all()


def test_rounding_does_not_change_a_constant(trained: Trained) -> None:
    if trained.bundle.kind == "images":
        return
    rounded = trained.normal.copy()
    rounded[..., trained.bundle.names.index("setpoint")] = np.float32(60.000001) + np.spacing(np.float32(SETPOINT))

    np.testing.assert_array_equal(trained.detector.score(rounded).score, trained.detector.score(trained.normal).score)


def test_contributions_add_up_and_expectations_have_the_shape_of_the_input(trained: Trained) -> None:
    contribution, expected = trained.detector.explain(trained.normal)
    session = Session(read_model_file(trained.path), source="scorer", provider="cpu")
    joined = RECIPES[trained.bundle.recipe].score == "joined"
    (whole,) = session.run([graph.SCORE if joined else graph.RECONSTRUCTION_ERROR], {graph.X: trained.normal})

    assert contribution.shape == expected.shape == trained.normal.shape
    assert contribution.min() >= 0
    np.testing.assert_allclose(contribution.reshape(len(contribution), -1).sum(1), whole, rtol=1e-4)
    np.testing.assert_array_equal(trained.detector.reconstruct(trained.normal), expected)


def test_encoder_and_decoder_are_the_two_halves_of_the_scorer(trained: Trained) -> None:
    detector, x = trained.detector, trained.normal[:5]
    codes = detector.encode(x)

    assert codes.shape == (5, trained.bundle.latent)
    session = Session(read_model_file(trained.path), source="scorer", provider="cpu")
    reconstruction, latent = session.run([graph.RECONSTRUCTION, graph.LATENT], {graph.X: x})
    np.testing.assert_allclose(codes, latent, rtol=1e-4, atol=1e-5)
    if trained.bundle.settings["points"] != 1:
        return  # the scorer's reconstruction is a mean over the points
    if trained.bundle.recipe == "conv-unpool":
        with pytest.raises(InputError, match="indices"):
            detector.decode(codes)
        return
    scale = np.abs(reconstruction).max()
    np.testing.assert_allclose(detector.decode(codes), reconstruction, rtol=1e-4, atol=1e-5 * scale)


def test_only_a_recipe_with_a_prior_makes_new_inputs(trained: Trained) -> None:
    if RECIPES[trained.bundle.recipe].prior == "none":
        with pytest.raises(ModelError, match="no prior"):
            trained.detector.sample(3)
        return
    made = trained.detector.sample(40, seed=1)

    assert made.shape == (40, *trained.bundle.input_shape)
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(made, trained.detector.sample(40, seed=1))
    assert not np.array_equal(made, trained.detector.sample(40, seed=2))


def test_the_graphs_say_what_they_have_and_fake_nothing(trained: Trained) -> None:
    recipe = RECIPES[trained.bundle.recipe]
    paths = [trained.path, *(trained.path.with_name(f"model.{part}.onnx") for part in ("encoder", "decoder"))]
    graphs = [onnx.load(path).graph for path in paths]
    outputs = [{output.name for output in each.output} for each in graphs]

    assert ({"elbo", "kl"} <= outputs[0]) == recipe.posterior
    assert ("heat_map" in outputs[0]) == (trained.bundle.kind == "images")
    assert outputs[1] >= ({"mean", "log_variance"} if recipe.posterior else {"latent"})
    assert ("indices" in outputs[1]) == recipe.pooling
    assert [entry.name for entry in graphs[2].input] == ["latent", *(["indices"] if recipe.pooling else [])]
    operators = {node.op_type for each in graphs for node in each.node}
    assert not {name for name in operators if name.startswith("Random") or name in ("Bernoulli", "Dropout")}


def test_inspect_tells_the_recipe(trained: Trained) -> None:
    text = describe(trained.bundle)

    assert trained.bundle.recipe in text
    assert (trained.bundle.active_units is not None) == RECIPES[trained.bundle.recipe].posterior


def infer(trained: Trained, name: str, **tensors: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """All outputs of a model by the Open Inference Protocol."""
    client = Client(trained.detector)
    sent = [
        {"name": key, "shape": values.shape, "datatype": datatype_of(values), "data": values.tolist()}
        for key, values in tensors.items()
    ]
    outputs = [{"name": output["name"]} for output in client.ask("GET", f"/v2/models/{name}").json()["outputs"]]
    answer = client.ask("POST", f"/v2/models/{name}/infer", json={"inputs": sent, "outputs": outputs})
    assert answer.status_code == 200, answer.text
    return {one["name"]: np.reshape(one["data"], one["shape"]) for one in answer.json()["outputs"]}


def test_it_is_served_with_all_its_outputs(trained: Trained) -> None:
    x = trained.normal[:20]
    expected = trained.detector.score(x)

    found = infer(trained, "pump", x=x)

    for name in ("score", "severity", "p_value", "is_anomaly"):
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-5)
    assert {len(values) for values in found.values()} == {20}


def test_its_parts_are_served_where_it_has_them(trained: Trained) -> None:
    if not trained.detector.parts():
        return
    x = trained.normal[:20]

    codes = infer(trained, "pump/encoder", x=x)
    code = codes.get("mean", codes.get("latent"))
    assert code is not None
    np.testing.assert_allclose(code, trained.detector.encode(x), rtol=1e-4, atol=1e-6)

    given = {"latent": code.astype(np.float32)}
    if "indices" in codes:
        given["indices"] = codes["indices"].astype(np.int64)
    found = infer(trained, "pump/decoder", **given)["reconstruction"]
    np.testing.assert_allclose(found, trained.detector.decode(*given.values()), rtol=1e-4, atol=1e-4)
