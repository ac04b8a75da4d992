"""The score's terms by hand on a linear model, and against the closed form of probabilistic PCA."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm
from torch import Tensor, nn

from vae_detect.training.data import Scaling
from vae_detect.training.model import (
    LOG_VARIANCE_BOUNDS,
    OUTLIER_BOUND,
    Autoencoder,
    Terms,
    example_input,
    noise_points,
)
from vae_detect.training.recipes import TrainConfig

LINEAR = TrainConfig(hidden=(), latent=1)


def build(config: TrainConfig, *, center: list[float], scale: list[float], seed: int = 0) -> Autoencoder:
    """A model in eval mode with random weights, without gradients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Autoencoder(config, Scaling(np.array(center, np.float32), np.array(scale, np.float32)))
    return model.eval().requires_grad_(False)


def set_linear(network: nn.Sequential, weight: list[list[float]], bias: list[float]) -> None:
    (layer,) = network
    assert isinstance(layer, nn.Linear)
    layer.weight.copy_(torch.tensor(weight))
    layer.bias.copy_(torch.tensor(bias))


@pytest.fixture
def by_hand() -> Autoencoder:
    """u = ((x0 - 10) / 2, (x1 - 20) / 4); mean = (u0 + u1) / 2, variance 1/4; output = (z, 2 z + 1/2), scale 1."""
    model = build(LINEAR, center=[10.0, 20.0], scale=[2.0, 4.0])
    set_linear(model.encoder, [[0.5, 0.5], [0.0, 0.0]], [0.0, math.log(0.25)])
    set_linear(model.decoder, [[1.0], [2.0]], [0.0, 0.5])
    return model


X = torch.tensor([[12.0, 28.0]])


def test_the_elbo_at_the_posterior_mean_by_hand(by_hand: Autoencoder) -> None:
    terms = by_hand.terms(X)
    # u = (1, 2), so mean = 3/2 and output = (3/2, 7/2)
    assert terms.latent.tolist() == [[1.5]]
    # in raw units 10 + 2 * 3/2 and 20 + 4 * 7/2
    torch.testing.assert_close(terms.reconstruction, torch.tensor([[13.0, 34.0]]))
    # residuals (-1/2, -3/2): half their squares are 1/8 and 9/8
    torch.testing.assert_close(terms.contribution, torch.tensor([[0.125, 1.125]]))
    assert terms.reconstruction_error.tolist() == pytest.approx([1.25])
    # 1/2 (9/4 + 1/4 - log 1/4 - 1) = 3/4 + log 2
    assert terms.kl.tolist() == pytest.approx([0.75 + math.log(2)])
    assert terms.score.tolist() == pytest.approx([2 + math.log(2)])
    # the normaliser is log(2 pi) / 2 for each of 2 features at scale 1
    assert terms.log_normaliser.item() == pytest.approx(math.log(2 * math.pi), abs=1e-6)
    assert terms.elbo.tolist() == pytest.approx([-math.log(2 * math.pi) - 2 - math.log(2)])


def test_a_noise_point_by_hand(by_hand: Autoencoder) -> None:
    terms = by_hand.terms(X, torch.tensor([[-1.0]]))
    # z = 3/2 - 1/2 = 1 and output (1, 5/2): residuals (0, -1/2); mean, code and KL stay
    torch.testing.assert_close(terms.contribution, torch.tensor([[0.0, 0.125]]))
    torch.testing.assert_close(terms.reconstruction, torch.tensor([[12.0, 30.0]]))
    assert terms.latent.tolist() == [[1.5]]
    assert terms.kl.tolist() == pytest.approx([0.75 + math.log(2)])


def test_several_noise_points_are_averaged(by_hand: Autoencoder) -> None:
    terms = by_hand.terms(X, torch.tensor([[[-1.0]], [[0.0]]]))
    torch.testing.assert_close(terms.contribution, torch.tensor([[0.0625, 0.625]]))  # of (0, 1/8) and (1/8, 9/8)
    torch.testing.assert_close(terms.reconstruction, torch.tensor([[12.5, 32.0]]))
    assert terms.reconstruction_error.tolist() == pytest.approx([0.6875])


def test_training_terms_are_the_terms(by_hand: Autoencoder) -> None:
    nll, kl = by_hand.training_terms(by_hand.standardise(X), None)
    terms = by_hand.terms(X)
    assert nll.item() == pytest.approx(float(terms.reconstruction_error + terms.log_normaliser))
    assert kl.item() == pytest.approx(terms.kl.item())
    nll_at_noise, _ = by_hand.training_terms(by_hand.standardise(X), torch.tensor([[-1.0]]))
    assert nll_at_noise.item() == pytest.approx(0.125 + math.log(2 * math.pi), abs=1e-6)


def test_training_means_over_the_batch(by_hand: Autoencoder) -> None:
    batch = torch.cat([X, X + 1, X - 3])
    nll, kl = by_hand.training_terms(by_hand.standardise(batch), None)
    terms = by_hand.terms(batch)
    assert nll.item() == pytest.approx(float(terms.reconstruction_error.mean() + terms.log_normaliser))
    assert kl.item() == pytest.approx(float(terms.kl.mean()))


def test_an_outlier_is_clamped_while_training_only(by_hand: Autoencoder) -> None:
    far, bound = torch.tensor([[1000.0, 0.0]]), torch.tensor([[OUTLIER_BOUND, 0.0]])  # both beyond the clip
    assert by_hand.training_terms(far, None)[0].item() == by_hand.training_terms(bound, None)[0].item()


# --- probabilistic PCA -----------------------------------------------------------------------------------------------


def pca_model(points: int) -> tuple[Autoencoder, Tensor, Tensor, float]:
    """x = W z + b + s e with orthogonal columns of W: the exact posterior is diagonal (Tipping and Bishop 1999).

    It is N(M^-1 W^T (x - b), s^2 M^-1) with M = W^T W + s^2 I.
    """
    w = torch.tensor([[1.0, 1.0], [1.0, -1.0], [2.0, 0.0]])  # columns orthogonal: 1 - 1 + 0 = 0
    b, s = torch.tensor([0.5, -1.0, 0.25]), 0.5
    config = TrainConfig(hidden=(), latent=2, points=points, clip=100.0)
    model = build(config, center=[0.0, 0.0, 0.0], scale=[1.0, 1.0, 1.0])
    m = torch.diag(w.T @ w) + s * s  # (6, 2) + 1/4
    project = w.T / m[:, None]  # (2, 3)
    weight = torch.cat([project, torch.zeros(2, 3)])
    bias = torch.cat([-project @ b, torch.log(s * s / m)])
    set_linear(model.encoder, weight.tolist(), bias.tolist())
    set_linear(model.decoder, w.tolist(), b.tolist())
    low, width = model.likelihood.low, model.likelihood.width
    assert isinstance(low, float)
    assert isinstance(width, float)
    share = (math.log(s) - low) / width
    model.get_parameter("likelihood.raw_scale").fill_(math.log(share / (1 - share)))
    torch.testing.assert_close(model.likelihood.scale(), torch.full((3,), s))
    return model, w, b, s


def test_with_the_exact_posterior_the_elbo_is_the_marginal_likelihood() -> None:
    model, w, b, s = pca_model(points=4096)
    x = torch.tensor([[0.0, 0.0, 0.0], [0.5, -1.0, 0.25], [2.0, -0.5, 3.0], [-4.0, 3.0, 1.0]])

    elbo = model.terms(x, model.noise).elbo.numpy()

    covariance = (w @ w.T + s * s * torch.eye(3)).double().numpy()
    expected = multivariate_normal(b.double().numpy(), covariance).logpdf(x.double().numpy())
    np.testing.assert_allclose(elbo, expected, rtol=0, atol=2e-3)


def test_any_other_posterior_gives_less() -> None:
    model, w, b, s = pca_model(points=4096)
    (layer,) = model.encoder
    assert isinstance(layer, nn.Linear)
    layer.bias[0] += 0.3
    x = torch.tensor([[2.0, -0.5, 3.0]])
    covariance = (w @ w.T + s * s * torch.eye(3)).double().numpy()
    marginal = multivariate_normal(b.double().numpy(), covariance).logpdf(x.double().numpy())
    # log p(x) - ELBO = KL(q || posterior) = 0.3^2 / (2 variance), with variance s^2 / M = 0.25 / 6.25
    assert float(marginal) - model.terms(x, model.noise).elbo.item() == pytest.approx(0.09 / 2 / 0.04, abs=5e-3)


# --- properties ------------------------------------------------------------------------------------------------------

CONFIGS = {
    "vae": TrainConfig(hidden=(6,), latent=2),
    "vae, 8 points": TrainConfig(hidden=(6,), latent=2, points=8),
    "ae": TrainConfig(hidden=(6,), latent=2, recipe="ae"),
    "laplace": TrainConfig(hidden=(6,), latent=2, likelihood="laplace"),
    "bernoulli": TrainConfig(hidden=(6,), latent=2, likelihood="bernoulli"),
    "windows": TrainConfig(hidden=(6,), latent=2, kind="windows", window=4),
    "windows, 8 points": TrainConfig(hidden=(6,), latent=2, kind="windows", window=4, points=8),
}
MODELS = {name: build(config, center=[1.0, -2.0, 0.0], scale=[1.0, 3.0, 0.5]) for name, config in CONFIGS.items()}
ROWS = st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=12, max_size=12), min_size=1, max_size=4)


def inputs(model: Autoencoder, rows: list[list[float]]) -> Tensor:
    """The first 3 of 12 numbers as a row, or all of them as a window of 4 rows."""
    x = torch.tensor(rows)
    return x[:, :3] if model.kind == "rows" else x.reshape(-1, 4, 3)


@pytest.mark.parametrize("name", MODELS)
@settings(deadline=None, max_examples=30)
@given(rows=ROWS)
def test_contributions_sum_to_the_reconstruction_error_and_no_term_is_negative(
    name: str, rows: list[list[float]]
) -> None:
    model = MODELS[name]
    x = inputs(model, rows)
    terms = model.terms(x, model.noise)
    assert terms.contribution.shape == terms.reconstruction.shape == x.shape
    assert terms.latent.shape == (len(x), 2)
    torch.testing.assert_close(terms.contribution.flatten(1).sum(-1), terms.reconstruction_error)
    assert bool((terms.contribution >= 0).all())
    assert bool((terms.kl >= -1e-6).all())
    assert bool((terms.score >= -1e-6).all())
    torch.testing.assert_close(-terms.elbo - terms.log_normaliser, terms.score, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@settings(deadline=None, max_examples=20)
@given(rows=ROWS)
def test_a_row_scores_the_same_alone_and_in_a_batch(name: str, rows: list[list[float]]) -> None:
    model = MODELS[name]
    x = inputs(model, rows)
    together = model.terms(x, model.noise).score
    alone = torch.cat([model.terms(x[i : i + 1], model.noise).score for i in range(len(x))])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["vae", "windows", "bernoulli"])
def test_zero_noise_is_the_posterior_mean(name: str) -> None:
    model = MODELS[name]
    x = inputs(model, [[float(i) for i in range(12)], [0.5] * 12])
    assert model.noise is not None
    assert model.noise.tolist() == [[0.0, 0.0]]
    expected = model.terms(x)
    for found in (model.terms(x, model.noise), model.terms(x, torch.zeros(3, 1, 2))):
        for field in Terms._fields:
            torch.testing.assert_close(getattr(found, field), getattr(expected, field))


@pytest.mark.parametrize("name", MODELS)
def test_terms_are_deterministic(name: str) -> None:
    model = MODELS[name]
    x = inputs(model, [[float(i) for i in range(12)]])
    first, second = model.terms(x, model.noise), model.terms(x, model.noise)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_window_is_normalised_for_each_of_its_rows() -> None:
    rows, windows = MODELS["vae"].terms(torch.zeros(1, 3)), MODELS["windows"].terms(torch.zeros(1, 4, 3))
    assert windows.log_normaliser.item() == pytest.approx(4 * rows.log_normaliser.item())


def test_a_point_code_has_no_kl() -> None:
    model = MODELS["ae"]
    terms = model.terms(torch.ones(3, 3), torch.ones(1, 2))
    assert terms.kl.tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(terms.score, terms.reconstruction_error)
    assert model.noise is None
    assert model.encode(torch.zeros(1, 3))[1] is None
    assert torch.equal(terms.score, model.terms(torch.ones(3, 3)).score)  # noise moves nothing


@pytest.mark.parametrize(("bias", "bound"), [(1e6, LOG_VARIANCE_BOUNDS[1]), (-1e6, LOG_VARIANCE_BOUNDS[0])])
def test_log_variances_are_bounded(bias: float, bound: float) -> None:
    model = build(LINEAR, center=[0.0], scale=[1.0])
    set_linear(model.encoder, [[0.0], [0.0]], [0.0, bias])
    log_variance = model.encode(torch.tensor([[3.0]]))[1]
    assert log_variance is not None
    assert log_variance.tolist() == [[bound]]


def test_the_clip_touches_the_encoder_input_only(by_hand: Autoencoder) -> None:
    # clip 5: u = (5, 0) and u = (u0, 0) for any u0 > 5 give the same code, 5/2, hence output (5/2, 11/2)
    x = torch.tensor([[10 + 2 * u, 20.0] for u in (5.0, 10.0, 100.0, 1000.0)])
    terms = by_hand.terms(x)
    assert terms.latent.flatten().tolist() == [2.5] * 4
    # while the likelihood sees u whole: half of (u - 5/2)^2
    expected = [(u - 2.5) ** 2 / 2 for u in (5.0, 10.0, 100.0, 1000.0)]
    assert terms.contribution[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_not_finite_never_gets_a_finite_score(name: str, bad: float) -> None:
    model = MODELS[name]
    x = inputs(model, [[0.0] * 12, [bad, *[0.0] * 11]])
    good, refused = model.terms(x, model.noise).score.tolist()
    assert math.isfinite(good)
    assert not math.isfinite(refused)


@pytest.mark.parametrize("recipe", ["ae", "vae"])
def test_every_term_stays_on_the_device_of_the_input(recipe: str) -> None:
    # A scalar made on the CPU cannot be stacked with one on the accelerator; "meta" shows it without having one.
    config = TrainConfig(hidden=(6,), latent=2, recipe=recipe)
    model = build(config, center=[0.0, 0.0], scale=[1.0, 1.0]).to("meta")
    nll, kl = model.training_terms(torch.zeros(4, 2, device="meta"), None)
    assert (nll.device.type, kl.device.type) == ("meta", "meta")


# --- noise points and examples ---------------------------------------------------------------------------------------


def test_many_noise_points_have_the_moments_of_a_standard_normal() -> None:
    points = noise_points(1024, 3).double()
    assert points.shape == (1024, 1, 3)
    flat = points[:, 0]
    torch.testing.assert_close(flat.mean(0), torch.zeros(3).double(), rtol=0, atol=5e-3)
    torch.testing.assert_close(flat.T @ flat / 1024, torch.eye(3).double(), rtol=0, atol=2e-2)
    # quasi-random: each of 1024 equally likely slices holds one point, in every dimension
    for dimension in flat.T:
        slices = np.floor(norm.cdf(np.sort(dimension.numpy())) * 1024 + 1e-3)
        assert len(np.unique(slices)) >= 1000


def test_noise_points_are_fixed() -> None:
    state = torch.random.get_rng_state()
    assert torch.equal(noise_points(16, 4), noise_points(16, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert bool(torch.isfinite(noise_points(4096, 8)).all())


@pytest.mark.parametrize(
    ("changes", "shape"), [({}, (5, 3)), ({"kind": "windows", "window": 7}, (5, 7, 3))], ids=["rows", "windows"]
)
def test_example_input_has_the_shape_that_the_model_takes(changes: dict[str, Any], shape: tuple[int, ...]) -> None:
    model = build(replace(LINEAR, **changes), center=[0.0] * 3, scale=[1.0] * 3)
    assert example_input(model, 5).shape == shape
    assert model.terms(example_input(model, 5)).score.shape == (5,)
