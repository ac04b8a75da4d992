"""The certificate: what it counts, what it refuses, and which inputs it is made with."""

import numpy as np
import pytest
from small_exports import CALIBRATION, CONFIGS, Exported, export, tampered

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.errors import ParityError
from vae_detect.runtime.verification import SCORE_TOLERANCE
from vae_detect.training.export.parity import (
    IMAGE_BATCHES,
    PARITY_BATCHES,
    certify,
    hostile_inputs,
    measure,
)
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.model.building import reference_scores
from vae_detect.training.settings.config import TrainConfig


@pytest.fixture(params=CONFIGS)
def exported(request: pytest.FixtureRequest) -> Exported:
    return export(request.param)


@pytest.fixture(scope="module")
def vae() -> Exported:
    return export("vae")


def test_the_certificate(exported: Exported) -> None:
    parity = certify(exported.model, exported.graphs.scorer, exported.x, CALIBRATION.threshold)
    assert parity.max_relative_error <= SCORE_TOLERANCE
    is_image = exported.model.image is not None
    assert (parity.verdict_flips, parity.batches) == (0, IMAGE_BATCHES if is_image else PARITY_BATCHES)
    assert parity.rows == 50 + (3 if is_image else 9)  # and the hostile ones


def test_the_batches_of_the_certificate() -> None:
    assert (PARITY_BATCHES, IMAGE_BATCHES) == ((1, 3, 1024), (1, 3, 64))


def test_the_certificate_counts_the_verdicts_that_flip(vae: Exported) -> None:
    # The graph raises one alarm; three are expected.
    x = vae.x[:4]
    expected = reference_scores(vae.model, x)
    assert (expected > CALIBRATION.threshold).tolist() == [False, True, False, False]
    parity, first_flip = measure(vae.graphs.scorer, x, expected, CALIBRATION.threshold, (1, 8))
    assert (parity.verdict_flips, first_flip) == (0, None)
    true = float(expected[0])
    expected[[0, 3]] = 2 * CALIBRATION.threshold
    parity, first_flip = measure(vae.graphs.scorer, x, expected, CALIBRATION.threshold, (1, 8))
    assert (parity.verdict_flips, parity.rows, parity.batches) == (2 + 4, 4, (1, 8))
    assert first_flip == pytest.approx((2 * CALIBRATION.threshold, true), rel=1e-4)


def test_reference_scores_do_not_depend_on_the_batch(exported: Exported) -> None:
    # more inputs than one batch of any shape
    x = np.concatenate([exported.x] * 85)
    whole = reference_scores(exported.model, x)
    assert (whole.shape, whole.dtype) == ((4250,), np.dtype(np.float32))
    parts = np.concatenate([reference_scores(exported.model, exported.x[i : i + 7]) for i in range(0, 50, 7)])
    np.testing.assert_allclose(np.tile(parts, 85), whole, rtol=1e-5, atol=1e-5)


def test_a_changed_weight_has_no_certificate(vae: Exported) -> None:
    with pytest.raises(ParityError, match=r"differ from torch's by|verdicts flip"):
        certify(vae.model, tampered(vae.graphs.scorer, by=1.05), vae.x, CALIBRATION.threshold)


def test_a_changed_threshold_has_no_certificate(vae: Exported) -> None:
    median = float(np.median(reference_scores(vae.model, vae.x)))
    with pytest.raises(ParityError, match="verdicts flip between torch"):
        certify(vae.model, vae.graphs.scorer, vae.x, median)


def test_hostile_inputs_by_hand() -> None:
    columns = [Column(name, "", center, 1.0) for name, center in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    found = hostile_inputs(
        Autoencoder(TrainConfig(recipe="vae", kind="windows", window=2, hidden=(), latent=1), columns)
    )
    assert (found.shape, found.dtype) == ((9, 2, 3), np.dtype(np.float32))
    for value in (0.0, 1.0, 1e30, -1e30, np.inf, -np.inf):
        assert any(np.all(one == np.float32(value)) for one in found)
    assert any(np.isnan(one).all() for one in found)
    assert any(np.isnan(one).sum() == 1 for one in found)
    assert any(np.array_equal(one, [[1, 2, 3]] * 2) for one in found)


def test_hostile_images_by_hand() -> None:
    found = hostile_inputs(export("images").model)
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
