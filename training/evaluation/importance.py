"""How probable a model with a posterior finds inputs: log p(x) by importance sampling, from the ONNX files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import onnx
from scipy.special import logsumexp
from scipy.stats import norm

from ...runtime import graph
from ...runtime.bundle import Prior
from ...runtime.detector import Detector
from ...runtime.opening import read_model_file
from ...runtime.scoring.framing import windows_at
from ...runtime.session import Session
from ..export.opened import open_at_code
from .labelled import Labelled

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIKELIHOOD_ROWS, LIKELIHOOD_CELLS = 500, 200_000
"""Normal inputs, at most, over which the log-likelihood is estimated; fewer where inputs are large."""

LIKELIHOOD_SAMPLES = 200
"""Importance samples for each of them."""


class LogLikelihood(msgspec.Struct, frozen=True):
    """How probable the model finds normal inputs, nats per standardised input, means over `inputs` of them."""

    inputs: int
    samples: int
    elbo: float
    """E_q[log p(x, z) / q(z | x)] over these samples, a lower bound. The score takes it at the posterior's mean."""
    log_likelihood: float
    """log 1/K sum_k p(x, z_k) / q(z_k | x) with K = `samples` (Burda et al. 2016, section 5)."""


def log_likelihood(detector: Detector, labelled: Labelled) -> LogLikelihood | None:
    """Estimated over a sample of the normal inputs with a score, the same at every call; None without a posterior."""
    bundle = detector.bundle
    if bundle.prior is None or bundle.active_units is None:
        return None
    normal = np.flatnonzero(labelled.scored & ~labelled.truth)
    most = max(20, min(LIKELIHOOD_ROWS, LIKELIHOOD_CELLS // int(np.prod(bundle.input_shape))))
    chosen = normal if len(normal) <= most else np.sort(np.random.default_rng(0).choice(normal, most, replace=False))
    x = windows_at(labelled.values, chosen, bundle.window)
    log_weights = importance_weights(detector, x, samples=LIKELIHOOD_SAMPLES)
    estimate = logsumexp(log_weights, axis=0) - np.log(LIKELIHOOD_SAMPLES)
    return LogLikelihood(len(x), LIKELIHOOD_SAMPLES, float(log_weights.mean()), float(estimate.mean()))


def importance_weights(detector: Detector, x: NDArray[Any], *, samples: int, seed: int = 0) -> NDArray[np.float64]:
    """log p(x, z_k) - log q(z_k | x) at codes drawn from q, of the standardised inputs: (samples, inputs).

    From the ONNX files alone: the encoder gives q, and the scorer is opened where it decodes z_k.

    Parameters
    ----------
    x : inputs as the scorer takes them, of a recipe with a posterior

    Raises
    ------
    ModelError
        when the encoder beside the scorer is missing, or is not the one that was exported with it
    """
    bundle = detector.bundle
    assert bundle.prior is not None
    feeds = {graph.X: x}
    mean, log_variance = detector.open_part("encoder")[0].run([graph.MEAN, graph.LOG_VARIANCE], feeds)
    scorer, source = onnx.load_from_string(read_model_file(detector.path)), str(detector.path)
    at_code = Session(open_at_code(scorer).SerializeToString(), source=source)
    error, kl, elbo = Session(scorer.SerializeToString(), source=source).run(
        [graph.RECONSTRUCTION_ERROR, graph.KL, graph.ELBO], feeds
    )
    log_normaliser = float(np.median(-(elbo + error + kl).astype(np.float64)))
    scale = np.exp(0.5 * log_variance.astype(np.float64))
    generator = np.random.default_rng(seed)
    log_weights: list[NDArray[np.float64]] = []
    for _ in range(samples):
        z = mean.astype(np.float64) + scale * generator.standard_normal((1, bundle.latent), dtype=np.float32)
        (error,) = at_code.run([graph.RECONSTRUCTION_ERROR], {**feeds, graph.LATENT: z.astype(np.float32)})
        log_q = norm.logpdf(z, mean, scale).sum(axis=1)
        log_weights.append(-error - log_normaliser + log_prior(z, bundle.prior) - log_q)
    return np.array(log_weights)


def log_prior(z: NDArray[np.float64], prior: Prior) -> NDArray[np.float64]:
    """log p(z) of codes (inputs, latent): (inputs,)."""
    each = norm.logpdf(z[:, None], np.array(prior.means), np.array(prior.scales)).sum(axis=2)  # (inputs, components)
    log_p: NDArray[np.float64] = logsumexp(each + np.log(prior.weights), axis=1)
    return log_p
