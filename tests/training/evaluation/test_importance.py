"""The log-likelihood by importance sampling: weights from the files, the bound, the prior."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from vae_detect.runtime.bundle import Prior
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import ModelError
from vae_detect.runtime.opening import read_model_file
from vae_detect.runtime.session import Session
from vae_detect.runtime.simulation import simulate
from vae_detect.training.evaluation.importance import importance_weights, log_prior


def test_importance_weights_are_those_of_the_encoder_and_decoder_files(detector: Detector) -> None:
    """log p(x | z) + log p(z) - log q(z | x), with p(x | z) from the decoder's file instead of the scorer's noise."""
    x = simulate(duration_s=600, period_s=30, seed=9).values.astype(np.float32)
    scale_of_columns = np.array([column.scale for column in detector.bundle.columns])

    found = importance_weights(detector, x, samples=3, seed=5)

    encoder, decoder = (
        Session(read_model_file(path), source=str(path), provider="cpu")
        for path in (detector.path.with_name(f"vae.{part}.onnx") for part in ("encoder", "decoder"))
    )
    mean, log_variance = encoder.run(["mean", "log_variance"], {"x": x})
    noise = np.random.default_rng(5)
    for weights in found:
        z = mean + np.exp(log_variance / 2) * noise.standard_normal((1, mean.shape[1]), dtype=np.float32)
        expected, scale = decoder.run(["reconstruction", "scale"], {"latent": z.astype(np.float32)})
        log_likelihood = norm.logpdf(x, expected, scale).sum(1) + np.log(scale_of_columns).sum()
        log_ratio = norm.logpdf(z).sum(1) - norm.logpdf(z, mean, np.exp(log_variance / 2)).sum(1)
        np.testing.assert_allclose(weights, log_likelihood + log_ratio, rtol=1e-3, atol=2e-2)


def test_an_encoder_of_another_export_is_refused(
    detector: Detector, windows_detector: Detector, tmp_path: Path
) -> None:
    copied = tmp_path / "vae.onnx"
    shutil.copy(detector.path, copied)
    foreign = windows_detector.path.with_name(f"{windows_detector.path.stem}.encoder.onnx")
    shutil.copy(foreign, tmp_path / "vae.encoder.onnx")
    x = simulate(duration_s=600, period_s=30, seed=9).values.astype(np.float32)
    with pytest.raises(ModelError, match=f"expected encoder of {detector.bundle.export_id}"):
        importance_weights(Detector.load(copied, provider="cpu"), x, samples=3)


def test_more_samples_give_a_higher_bound(detector: Detector) -> None:
    x = simulate(duration_s=3600, period_s=30, seed=9).values.astype(np.float32)

    weights = importance_weights(detector, x, samples=64)

    bounds = []
    for count in (1, 4, 16, 64):
        groups = weights.reshape(-1, count, len(x))
        bounds.append(float((logsumexp(groups, axis=1) - np.log(count)).mean()))
    assert bounds == sorted(bounds)


def test_the_prior_of_a_mixture_is_a_mixture(detector: Detector) -> None:
    z = np.array([[0.5, -1.0], [3.0, 0.0]])
    prior = Prior(weights=(0.25, 0.75), means=((0.0, 0.0), (3.0, 1.0)), scales=((1.0, 1.0), (2.0, 0.5)))

    first, second = norm.pdf(z, (0, 0), (1, 1)).prod(1), norm.pdf(z, (3, 1), (2, 0.5)).prod(1)

    np.testing.assert_allclose(log_prior(z, prior), np.log(0.25 * first + 0.75 * second))
