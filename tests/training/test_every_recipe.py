"""What every detector must do, whatever its recipe: one list of properties, run over all of `RECIPES`."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from sklearn.metrics import roc_auc_score

from vae_detect.runtime import graph
from vae_detect.runtime.bundle import Bundle
from vae_detect.runtime.describe import describe
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, ModelError
from vae_detect.runtime.rows.csv_text import TableFormat
from vae_detect.runtime.session import Session, read_model_file
from vae_detect.training.data.loading import Selection
from vae_detect.training.settings.config import configure
from vae_detect.training.settings.recipes import RECIPES
from vae_detect.training.train import train

FEATURES, WINDOW, SIDE = 6, 8, 16

CASES: dict[str, dict[str, Any]] = {
    **{name: {"recipe": name, "kind": "windows" if RECIPES[name].convolutional else "rows"} for name in RECIPES},
    "ensemble, windows": {"recipe": "ensemble", "kind": "windows"},
    "ensemble, images": {"recipe": "ensemble", "kind": "images"},
    "ae, two layers, tied": {"recipe": "ae", "hidden": "", "tied": "true"},
    "sparse, l1": {"recipe": "sparse", "penalty": "l1"},
    "denoising, mask": {"recipe": "denoising", "corruption": "mask"},
    "contractive, deep": {"recipe": "contractive", "hidden": "16"},
    "vae, points": {"recipe": "vae", "points": 4},
    "beta-vae, annealed": {"recipe": "beta-vae", "annealing": 2, "free_bits": 0.1},
    "vae, gru": {"recipe": "vae", "kind": "windows", "network": "gru", "hidden": "8"},
    "ae, laplace": {"recipe": "ae", "likelihood": "laplace"},
    "vae, images": {"recipe": "vae", "kind": "images"},
    "conv-unpool, images": {"recipe": "conv-unpool", "kind": "images"},
    "rbm, images": {"recipe": "rbm", "kind": "images"},
    "vae, images, continuous-bernoulli": {"recipe": "vae", "kind": "images", "likelihood": "continuous-bernoulli"},
}
SMALL = {"epochs": 8, "pretrain_epochs": 3, "learning_rate": 5e-3, "batch": 32}


class Trained(NamedTuple):
    path: Path
    detector: Detector
    normal: NDArray[Any]
    """Inputs that took no part in training."""
    faulty: NDArray[Any]

    @property
    def bundle(self) -> Bundle:
        return self.detector.bundle


def table(rows: int, seed: int) -> NDArray[np.float64]:
    """Two slow hidden causes behind six columns, and a class in front that shifts them."""
    generator = np.random.default_rng(seed)
    time = np.arange(rows) / 7 + seed
    causes = np.stack([np.sin(time), np.cos(0.37 * time)], axis=1)
    mixing = np.random.default_rng(99).normal(size=(2, FEATURES))
    values = causes @ mixing + 0.1 * generator.normal(size=(rows, FEATURES))
    kind = generator.integers(0, 2, size=rows)
    return np.column_stack([kind, values + kind[:, None]])


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    """Stripes of random phase: (count, SIDE, SIDE, 1)."""
    generator = np.random.default_rng(seed)
    phase = generator.uniform(0, 2 * np.pi, size=(count, 1, 1))
    stripes = 128 + 80 * np.sin(np.arange(SIDE)[None, None] / 2 + phase)
    noisy = stripes + generator.normal(0, 8, size=(count, SIDE, SIDE))
    return np.clip(noisy, 0, 255).astype(np.uint8)[..., None]


def write_table(path: Path, values: NDArray[np.float64]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", *(f"c{place}" for place in range(FEATURES))])
        writer.writerows([["idle", "busy"][int(row[0])], *row[1:]] for row in values)


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("recipe")
    normal: NDArray[Any]
    faulty: NDArray[Any]
    config = configure({**SMALL, **CASES[request.param]})
    if config.kind == "windows":
        config = configure({**SMALL, "window": WINDOW, **CASES[request.param]})
    wants_class = RECIPES[config.recipe].prior == "classes"
    if config.kind == "images":
        config = replace(config, size=(SIDE,))
        data = folder / "images"
        data.mkdir()
        for number, pixels in enumerate(pictures(200, seed=0)):
            Pillow.fromarray(pixels[..., 0]).save(data / f"{number}.png")
        normal = pictures(30, seed=1)
        faulty = normal.copy()
        faulty[:, 4:12, 4:12] = 255 - faulty[:, 4:12, 4:12]
    else:
        data = folder / "normal.csv"
        write_table(data, table(900, seed=0))
        rows = table(120, seed=1)[:, 0 if wants_class else 1 :].astype(np.float32)
        broken = rows.copy()
        broken[:, -1] += 8
        windows = np.arange(100)[:, None] + np.arange(WINDOW)
        normal, faulty = (rows[windows], broken[windows]) if config.kind == "windows" else (rows, broken)
    selection = (
        Selection(class_column="kind") if wants_class else Selection(exclude=("kind",) * (data.suffix == ".csv"))
    )
    out = folder / "model.onnx"
    train(data, out, config, selection=selection, form=TableFormat(), far="0.05")
    return Trained(out, Detector.load(out, provider="cpu"), normal, faulty)


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


def test_a_fault_scores_higher(trained: Trained) -> None:
    normal, faulty = (trained.detector.score(x).score for x in (trained.normal, trained.faulty))

    assert np.isfinite(normal).all()
    assert np.isfinite(faulty).all()
    assert roc_auc_score([0] * len(normal) + [1] * len(faulty), [*normal, *faulty]) > 0.9


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
