"""The score's terms by hand on a linear model, and against the closed form of probabilistic PCA."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm
from torch import Tensor, nn

from vae_detect.runtime.bundle import Column, Image
from vae_detect.runtime.errors import InputError
from vae_detect.training.fitting.objective import OUTLIER_BOUND, Losses, Objective
from vae_detect.training.model.autoencoder import (
    LOG_VARIANCE_BOUNDS,
    Autoencoder,
    example_input,
    heat_map,
    noise_points,
)
from vae_detect.training.model.networks import MlpDecoder, MlpEncoder
from vae_detect.training.model.steps import Step
from vae_detect.training.model.terms import Terms, log_mean_exp
from vae_detect.training.settings.config import TrainConfig, configure
from vae_detect.training.settings.recipes import RECIPES

LINEAR = TrainConfig(recipe="vae", hidden=(), latent=1)


def numbers(center: Sequence[float], scale: Sequence[float]) -> tuple[Column, ...]:
    return tuple(Column(f"f{i}", "", a, b) for i, (a, b) in enumerate(zip(center, scale, strict=True)))


def build(
    config: TrainConfig,
    *,
    center: list[float] | None = None,
    scale: list[float] | None = None,
    columns: tuple[Column, ...] = (),
    image: Image | None = None,
    classes: Sequence[float] = (),
) -> Autoencoder:
    """A model in eval mode with random weights, without gradients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(config, columns or numbers(center or [], scale or []), image, classes)
    return model.eval().requires_grad_(False)


def only_layer(network: nn.Module) -> nn.Linear:
    assert isinstance(network, MlpEncoder | MlpDecoder)
    (layer,) = network.layers
    assert isinstance(layer, nn.Linear)
    return layer


def set_linear(network: nn.Module, weight: list[list[float]], bias: list[float]) -> None:
    layer = only_layer(network)
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
    assert kl_of(terms).tolist() == pytest.approx([0.75 + math.log(2)])
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
    assert kl_of(terms).tolist() == pytest.approx([0.75 + math.log(2)])


def test_several_noise_points_are_averaged(by_hand: Autoencoder) -> None:
    terms = by_hand.terms(X, torch.tensor([[[-1.0]], [[0.0]]]))
    torch.testing.assert_close(terms.contribution, torch.tensor([[0.0625, 0.625]]))  # of (0, 1/8) and (1/8, 9/8)
    torch.testing.assert_close(terms.reconstruction, torch.tensor([[12.5, 32.0]]))
    assert terms.reconstruction_error.tolist() == pytest.approx([0.6875])


class StillStep(Step):
    """A step whose noise is always the same number."""

    def normal(self, *shape: int) -> Tensor:
        return torch.full((self.total, *shape), NOISE)[self.rows]


NOISE = -1.0


def loss(model: Autoencoder, standardised: Tensor, *, beta: float = 1.0) -> Losses:
    step = StillStep(torch.Generator(), len(standardised), slice(None))
    losses: Losses = Objective(model)(standardised, None, step, beta)
    return losses


def validated(model: Autoencoder, standardised: Tensor) -> tuple[float, float]:
    """Means over the batch of the two terms at the posterior's mean."""
    nll, kl = Objective(model).validate(standardised, None)
    return float(nll) / len(standardised), float(kl) / len(standardised)


def test_training_terms_are_the_terms(by_hand: Autoencoder) -> None:
    nll, kl = validated(by_hand, by_hand.standardise(X))
    terms = by_hand.terms(X)
    assert nll == pytest.approx(float(terms.reconstruction_error + terms.log_normaliser))
    assert kl == pytest.approx(kl_of(terms).item())
    losses = loss(by_hand, by_hand.standardise(X), beta=0.5)
    # at noise -1 the error is 1/8, and the normaliser log(2 pi); the KL is that of the posterior, whatever the noise
    assert losses.reconstruction.item() == pytest.approx(0.125 + math.log(2 * math.pi), abs=1e-6)
    assert losses.kl.item() == pytest.approx(0.75 + math.log(2))
    assert losses.loss.item() == pytest.approx(float(losses.reconstruction + 0.5 * losses.kl))


def test_training_means_over_the_batch(by_hand: Autoencoder) -> None:
    batch = torch.cat([X, X + 1, X - 3])
    nll, kl = validated(by_hand, by_hand.standardise(batch))
    terms = by_hand.terms(batch)
    assert nll == pytest.approx(float(terms.reconstruction_error.mean() + terms.log_normaliser))
    assert kl == pytest.approx(float(kl_of(terms).mean()))
    noisy, losses = by_hand.terms(batch, torch.tensor([[NOISE]])), loss(by_hand, by_hand.standardise(batch))
    assert losses.reconstruction.item() == pytest.approx(
        float(noisy.reconstruction_error.mean() + noisy.log_normaliser)
    )
    assert losses.kl.item() == pytest.approx(float(kl_of(terms).mean()))


def test_an_outlier_is_clamped_while_training_only(by_hand: Autoencoder) -> None:
    far, bound = torch.tensor([[1000.0, 0.0]]), torch.tensor([[OUTLIER_BOUND, 0.0]])  # both beyond the clip
    assert validated(by_hand, far) == validated(by_hand, bound)
    assert loss(by_hand, far) == loss(by_hand, bound)


def kl_of(terms: Terms) -> Tensor:
    assert terms.kl is not None
    return terms.kl


# --- probabilistic PCA -----------------------------------------------------------------------------------------------


def pca_model(points: int) -> tuple[Autoencoder, Tensor, Tensor, float]:
    """x = W z + b + s e with orthogonal columns of W: the exact posterior is diagonal (Tipping and Bishop 1999).

    It is N(M^-1 W^T (x - b), s^2 M^-1) with M = W^T W + s^2 I.
    """
    w = torch.tensor([[1.0, 1.0], [1.0, -1.0], [2.0, 0.0]])  # columns orthogonal: 1 - 1 + 0 = 0
    b, s = torch.tensor([0.5, -1.0, 0.25]), 0.5
    config = TrainConfig(recipe="vae", hidden=(), latent=2, points=points, clip=100.0)
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
    only_layer(model.encoder).bias[0] += 0.3
    x = torch.tensor([[2.0, -0.5, 3.0]])
    covariance = (w @ w.T + s * s * torch.eye(3)).double().numpy()
    marginal = multivariate_normal(b.double().numpy(), covariance).logpdf(x.double().numpy())
    # log p(x) - ELBO = KL(q || posterior) = 0.3^2 / (2 variance), with variance s^2 / M = 0.25 / 6.25
    assert float(marginal) - model.terms(x, model.noise).elbo.item() == pytest.approx(0.09 / 2 / 0.04, abs=5e-3)


# --- properties ------------------------------------------------------------------------------------------------------

CONFIGS = {
    "vae": TrainConfig(recipe="vae", hidden=(6,), latent=2),
    "vae, 8 points": TrainConfig(recipe="vae", hidden=(6,), latent=2, points=8),
    "ae": TrainConfig(hidden=(6,), latent=2, recipe="ae"),
    "laplace": TrainConfig(recipe="vae", hidden=(6,), latent=2, likelihood="laplace"),
    "bernoulli": TrainConfig(recipe="vae", hidden=(6,), latent=2, likelihood="bernoulli"),
    "continuous bernoulli": TrainConfig(recipe="vae", hidden=(6,), latent=2, likelihood="continuous-bernoulli"),
    "windows": TrainConfig(recipe="vae", hidden=(6,), latent=2, kind="windows", window=4),
    "windows, 8 points": TrainConfig(recipe="vae", hidden=(6,), latent=2, kind="windows", window=4, points=8),
    "conv1d": TrainConfig(recipe="vae", hidden=(3, 3), latent=2, kind="windows", window=4, network="conv1d"),
    "conv1d with pooling": TrainConfig(hidden=(3, 3), latent=2, kind="windows", window=4, recipe="conv-unpool"),
    "gru": TrainConfig(recipe="vae", hidden=(3,), latent=2, kind="windows", window=4, network="gru"),
    "sparse": TrainConfig(hidden=(6,), latent=2, recipe="sparse"),
    "sparse coding": TrainConfig(hidden=(), latent=2, recipe="sparse-coding"),
    "rbm": TrainConfig(hidden=(), latent=2, recipe="rbm", tied=True),
    "gan": TrainConfig(hidden=(6,), latent=2, recipe="gan"),
    "iwae": TrainConfig(hidden=(6,), latent=2, recipe="iwae", points=8),
    "mixture-vae": TrainConfig(hidden=(6,), latent=2, recipe="mixture-vae", components=3),
    "mixed": TrainConfig(recipe="vae", hidden=(6,), latent=2),
    "mixed windows": TrainConfig(recipe="vae", hidden=(6,), latent=2, kind="windows", window=4),
    "cvae": TrainConfig(hidden=(6,), latent=2, recipe="cvae"),
}
MIXED = (
    Column("a", "", 1.0, 1.0, "log"),
    Column("b", "", 0.0, 1.0, "category", levels=(0.0, 0.5, 1.0)),
    Column("c", "", 0.0, 0.5, "binary", levels=(0.0, 0.5)),
)
CLASSES = (Column("a", "", 1.0, 2.0), Column("b", "", -2.0, 3.0), Column("c", "", 0.0, 1.0, "class", levels=(0.0, 1.0)))
NUMBERS = numbers([1.0, -2.0, 0.0], [1.0, 3.0, 0.5])


def model_of(name: str) -> Autoencoder:
    columns = MIXED if "mixed" in name else CLASSES if name == "cvae" else NUMBERS
    return build(CONFIGS[name], columns=columns, classes=(0.25, 0.75) if name == "cvae" else ())


MODELS = {name: model_of(name) for name in CONFIGS}
ROWS = st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=12, max_size=12), min_size=1, max_size=4)


def inputs(model: Autoencoder, rows: list[list[float]]) -> Tensor:
    """The first 3 of 12 numbers as a row, or all of them as a window of 4 rows."""
    x = torch.tensor(rows)
    return x[:, :3] if model.config.kind == "rows" else x.reshape(-1, 4, 3)


@pytest.mark.parametrize("name", MODELS)
@settings(deadline=None, max_examples=20)
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
    if model.ingredients.score != "free-energy" and name != "iwae":
        assert bool((terms.score >= -1e-6).all())
    if model.ingredients.score == "error":
        assert torch.equal(terms.score, terms.reconstruction_error)
    if terms.kl is not None:
        assert bool((terms.kl >= -1e-6).all())
    if model.ingredients.score == "elbo":
        torch.testing.assert_close(-terms.elbo - terms.log_normaliser, terms.score, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@settings(deadline=None, max_examples=15)
@given(rows=ROWS)
def test_a_row_scores_the_same_alone_and_in_a_batch(name: str, rows: list[list[float]]) -> None:
    model = MODELS[name]
    x = inputs(model, rows)
    together = model.terms(x, model.noise).score
    alone = torch.cat([model.terms(x[i : i + 1], model.noise).score for i in range(len(x))])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["vae", "windows", "bernoulli", "conv1d", "gru", "mixture-vae", "mixed", "cvae"])
def test_zero_noise_is_the_posterior_mean(name: str) -> None:
    model = MODELS[name]
    x = inputs(model, [[float(i) for i in range(12)], [0.5] * 12])
    assert model.noise is not None
    assert model.noise.tolist() == [[0.0, 0.0]]
    expected = model.terms(x)
    for found in (model.terms(x, model.noise), model.terms(x, torch.zeros(3, 1, 2))):
        for field in set(Terms._fields) - {"heat_map"}:
            torch.testing.assert_close(getattr(found, field), getattr(expected, field))


@pytest.mark.parametrize("name", MODELS)
def test_terms_are_deterministic(name: str) -> None:
    model = MODELS[name]
    x = inputs(model, [[float(i) for i in range(12)]])
    first, second = model.terms(x, model.noise), model.terms(x, model.noise)
    for a, b in zip(first, second, strict=True):
        assert a is b is None or (a is not None and b is not None and torch.equal(a, b))


@pytest.mark.parametrize("name", ["windows", "conv1d", "gru"])
def test_a_window_is_normalised_for_each_of_its_rows(name: str) -> None:
    rows, windows = MODELS["vae"].terms(torch.zeros(1, 3)), MODELS[name].terms(torch.zeros(1, 4, 3))
    assert windows.log_normaliser.item() == pytest.approx(4 * rows.log_normaliser.item())


@pytest.mark.parametrize("name", ["ae", "sparse", "sparse coding", "rbm", "gan"])
def test_a_point_code_has_no_kl_and_no_elbo(name: str) -> None:
    model = MODELS[name]
    terms = model.terms(torch.ones(3, 3), torch.ones(1, 2))
    assert terms.kl is None
    with pytest.raises(AssertionError):
        _ = terms.elbo
    assert model.noise is None
    assert model.encode(torch.zeros(1, 3)).log_variance is None
    assert torch.equal(terms.score, model.terms(torch.ones(3, 3)).score)  # noise moves nothing


@pytest.mark.parametrize(("bias", "bound"), [(1e6, LOG_VARIANCE_BOUNDS[1]), (-1e6, LOG_VARIANCE_BOUNDS[0])])
def test_log_variances_are_bounded(bias: float, bound: float) -> None:
    model = build(LINEAR, center=[0.0], scale=[1.0])
    set_linear(model.encoder, [[0.0], [0.0]], [0.0, bias])
    log_variance = model.encode(torch.tensor([[3.0]])).log_variance
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
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_not_finite_never_gets_a_finite_score(name: str, position: int, bad: float) -> None:
    model = MODELS[name]
    hostile = [0.0] * 12
    hostile[position] = bad
    x = inputs(model, [[0.0] * 12, hostile])
    good, refused = model.terms(x, model.noise).score.tolist()
    assert math.isfinite(good)
    assert not math.isfinite(refused)


class MetaStep(Step):
    """A step on the device "meta", which has no random numbers."""

    def normal(self, *shape: int) -> Tensor:
        return torch.zeros(self.total, *shape, device="meta")

    def uniform(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)


@pytest.mark.parametrize(
    "name", ["ae", "vae", "iwae", "sparse", "sparse coding", "rbm", "gan", "mixture-vae", "mixed", "cvae", "gru"]
)
def test_every_term_stays_on_the_device_of_the_input(name: str) -> None:
    # A scalar made on the CPU cannot be stacked with one on the accelerator; "meta" shows it without having one.
    objective = Objective(model_of(name)).to("meta")
    x = torch.zeros(4, *objective.model.input_shape, device="meta")
    nll, kl = objective.validate(x, None)
    losses: Losses = objective(x, None, MetaStep(torch.Generator(), 4, slice(None)), 1.0)
    assert {value.device.type for value in (nll, kl, *losses)} == {"meta"}
    assert {value.shape for value in (nll, kl, *losses)} == {()}


# --- other scores ----------------------------------------------------------------------------------------------------


def test_a_free_energy_by_hand() -> None:
    model = build(TrainConfig(recipe="rbm", hidden=(), latent=2, tied=True), center=[10.0, 0.0], scale=[2.0, 1.0])
    set_linear(model.encoder, [[1.0, 0.0], [1.0, 2.0]], [0.0, -1.0])
    model.decoder.get_parameter("layers.0.bias").copy_(torch.tensor([0.5, -0.5]))
    # v = (1, 2): visible term (1/4 + 25/4) / 2 = 13/4; drives 1 and 1 + 4 - 1 = 4
    expected = 3.25 - math.log(1 + math.e) - math.log(1 + math.exp(4))
    assert model.terms(torch.tensor([[12.0, 2.0]])).score.item() == pytest.approx(expected, rel=1e-6)
    model.energy_offset.fill_(-1.5)
    assert model.terms(torch.tensor([[12.0, 2.0]])).score.item() == pytest.approx(expected + 1.5, rel=1e-6)


def test_a_far_outlier_keeps_raising_the_free_energy() -> None:
    x = torch.zeros(4, 3)
    x[:, 0] = torch.tensor([10.0, 100.0, 1e3, 1e4])
    score = MODELS["rbm"].terms(x).score
    assert bool((score.diff() > 0).all())


def test_a_latent_distance_by_hand() -> None:
    model = build(TrainConfig(recipe="gan", hidden=(), latent=2), center=[0.0], scale=[1.0])
    assert model.second_encoder is not None
    set_linear(model.encoder, [[1.0], [2.0]], [0.0, 0.0])
    set_linear(model.decoder, [[1.0, 1.0]], [0.0])
    set_linear(model.second_encoder, [[1.0], [-1.0]], [0.5, 0.0])
    # x = 1: code (1, 2), output 3, second code (3.5, -3): distances 2.5 and 5
    assert model.terms(torch.tensor([[1.0]])).score.item() == pytest.approx(7.5)


@given(st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=6))
def test_log_mean_exp_against_torch(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    torch.testing.assert_close(log_mean_exp(x), torch.logsumexp(x, 0) - math.log(len(values)))


def test_more_points_tighten_the_importance_weighted_bound() -> None:
    elbo_model, w, b, s = pca_model(points=4096)
    only_layer(elbo_model.encoder).bias[0] += 0.3
    bound_model = build(replace(elbo_model.config, recipe="iwae"), center=[0.0, 0.0, 0.0], scale=[1.0, 1.0, 1.0])
    bound_model.load_state_dict(elbo_model.state_dict())
    x = torch.tensor([[2.0, -0.5, 3.0]])
    covariance = (w @ w.T + s * s * torch.eye(3)).double().numpy()
    marginal = multivariate_normal(b.double().numpy(), covariance).logpdf(x.double().numpy())
    terms = bound_model.terms(x, bound_model.noise)
    bound = -(terms.score + terms.log_normaliser).item()
    # the ELBO of this posterior misses log p(x) by 1.125 nats; thousands of points come within a hundredth
    assert bound == pytest.approx(float(marginal), abs=0.01)


# --- classes ---------------------------------------------------------------------------------------------------------


def test_a_known_class_measures_from_its_own_mean() -> None:
    model = build(CONFIGS["cvae"], columns=CLASSES, classes=(0.25, 0.75))
    means = model.get_parameter("prior.means")
    means.copy_(torch.tensor([[3.0, 0.0], [-1.0, 1.0]]))
    encoder = model.encoder
    assert isinstance(encoder, MlpEncoder)
    last = encoder.layers[-1]
    assert isinstance(last, nn.Linear)
    last.weight.zero_()
    last.bias.copy_(torch.tensor([3.0, 0.0, 0.0, 0.0]))  # the posterior N((3, 0), I) of every row
    x = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, -1.0]])
    # 0 from class 0; (16 + 1) / 2 from class 1; unknown: -log(1/4 + 3/4 exp(-17/2))
    expected = [0.0, 8.5, -math.log(0.25 + 0.75 * math.exp(-8.5))]
    assert kl_of(model.terms(x)).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_class_is_neither_seen_nor_rebuilt() -> None:
    model = MODELS["cvae"]
    x = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, -1.0]])
    terms = model.terms(x)
    assert torch.equal(terms.latent[0], terms.latent[1])
    assert torch.equal(terms.latent[0], terms.latent[2])
    assert terms.contribution[:, 2].tolist() == [0.0] * 3
    assert terms.reconstruction[:, 2].tolist() == [-1.0] * 3  # unknown


def test_cvae_needs_classes() -> None:
    with pytest.raises(InputError, match="recipe cvae needs a class for each input: name its column with --class"):
        build(CONFIGS["cvae"], columns=NUMBERS)


def test_rbm_takes_numbers_only() -> None:
    with pytest.raises(InputError, match="recipe rbm takes numbers only; --exclude text and categories"):
        build(CONFIGS["rbm"], columns=MIXED)


# --- images ----------------------------------------------------------------------------------------------------------

GREY, COLOUR = Image(8, 12, "grey"), Image(8, 8, "colour")


def image_model(image: Image = GREY, **settings: Any) -> Autoencoder:
    channels = 1 if image.mode == "grey" else 3
    config = TrainConfig(**{"recipe": "vae", "kind": "images", "hidden": (4, 4), "latent": 2, **settings})
    return build(config, columns=numbers([100.0] * channels, [50.0] * channels), image=image)


def pictures(image: Image, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *image.shape), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("image", [GREY, COLOUR])
@pytest.mark.parametrize("settings", [{}, {"recipe": "ae"}, {"recipe": "conv-unpool"}, {"network": "mlp"}])
def test_terms_of_images(image: Image, settings: dict[str, Any]) -> None:
    model = image_model(image, **settings)
    x = pictures(image)
    terms = model.terms(x, model.noise)
    assert terms.contribution.shape == terms.reconstruction.shape == x.shape
    assert terms.heat_map is not None
    assert terms.heat_map.shape == x.shape[:3]
    torch.testing.assert_close(terms.contribution.flatten(1).sum(-1), terms.reconstruction_error)
    alone = torch.cat([model.terms(x[i : i + 1], model.noise).score for i in range(3)])
    torch.testing.assert_close(terms.score, alone, rtol=1e-5, atol=1e-5)


def test_a_pixel_is_standardised_by_its_channel() -> None:
    x = torch.zeros(1, *GREY.shape, dtype=torch.uint8)
    x[0, 3, 5, 0] = 200
    standardised = image_model().standardise(x)
    assert standardised[0, 3, 5, 0].item() == 2.0  # (200 - 100) / 50
    assert standardised[0, 0, 0, 0].item() == -2.0


def test_a_heat_map_by_hand() -> None:
    contribution = torch.zeros(1, 9, 9, 2)
    contribution[0, 4, 4] = torch.tensor([20.0, 5.0])
    found = heat_map(contribution)[0]
    # 25 nats at one pixel, spread over its 5 x 5 neighbourhood
    expected = torch.zeros(9, 9)
    expected[2:7, 2:7] = 1.0
    torch.testing.assert_close(found, expected)
    contribution = torch.zeros(1, 8, 8, 1)
    contribution[0, 0, 0] = 9.0
    assert heat_map(contribution)[0, 0, 0].item() == pytest.approx(1.0)  # at a corner only 3 x 3 pixels exist


@pytest.mark.parametrize(
    ("settings", "image", "message"),
    [
        ({"recipe": "conv-unpool"}, Image(10, 8, "grey"), "image size 10x8 cannot be halved 2 times, .* multiple of 4"),
        ({"hidden": (4,) * 5}, GREY, "image size 8 is too small for 5 halvings; set fewer layers in hidden"),
    ],
)
def test_images_that_cannot_be_halved_are_refused(settings: dict[str, Any], image: Image, message: str) -> None:
    with pytest.raises(InputError, match=message):
        image_model(image, **settings)


def test_windows_that_cannot_be_halved_are_refused() -> None:
    config = TrainConfig(kind="windows", window=6, hidden=(4, 4), recipe="conv-unpool")
    with pytest.raises(InputError, match="window 6 cannot be halved 2 times, expected a multiple of 4"):
        build(config, columns=NUMBERS)
    with pytest.raises(InputError, match="window 3 is too small for 3 halvings"):
        build(TrainConfig(recipe="vae", kind="windows", window=3, hidden=(4, 4, 4), network="conv1d"), columns=NUMBERS)


# --- every recipe ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rows", "windows", "images"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_takes_every_kind_of_data_and_learns_from_it(recipe: str, kind: str) -> None:
    if RECIPES[recipe].convolutional and kind == "rows":
        return  # test_recipes.py holds the refusal
    image = Image(16, 16, "grey") if kind == "images" else None
    settings = {"hidden": "4,4"} if RECIPES[recipe].settings.get("hidden") != () else {}
    config = configure({"recipe": recipe, "kind": kind, "latent": 3, **settings})
    columns = numbers([1.0], [2.0]) if image else CLASSES if recipe == "cvae" else NUMBERS
    model = build(config, columns=columns, image=image, classes=(0.5, 0.5) if recipe == "cvae" else ())
    objective = Objective(model.requires_grad_(True))
    x = 3 * torch.randn(5, *model.input_shape, generator=torch.Generator().manual_seed(1))
    if recipe == "cvae" and not image:
        x[..., 2] = 1.0
    classes = torch.eye(2)[[0, 1, 0, 1, 0]] if image and recipe == "cvae" else None
    losses: Losses = objective(x, classes, Step(torch.Generator().manual_seed(0), 5, slice(None)), 1.0)
    losses.loss.backward()
    assert math.isfinite(losses.loss.item())
    gradients = [parameter.grad for parameter in model.encoder.parameters()]
    assert all(gradient is not None and bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert any(gradient is not None and bool((gradient != 0).any()) for gradient in gradients)


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


def test_an_example_image_is_uint8() -> None:
    example = example_input(image_model(COLOUR), 5)
    assert (example.shape, example.dtype) == ((5, 8, 8, 3), torch.uint8)
