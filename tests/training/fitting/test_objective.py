"""The loss of each recipe by hand in numpy, and the importance-weighted bound against a closed form."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import multivariate_normal, norm
from torch import Tensor, nn

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.errors import InputError
from vae_detect.training.fitting import penalties
from vae_detect.training.fitting.objective import OUTLIER_BOUND, Losses, Objective, active_units, annealed
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.model.boltzmann import contrastive_divergence
from vae_detect.training.model.steps import Step
from vae_detect.training.model.terms import Code
from vae_detect.training.settings.config import configure

Floats = NDArray[np.float64]
LOG_2PI = math.log(2 * math.pi)


def step_of(total: int, seed: int = 0) -> Step:
    return Step(torch.Generator().manual_seed(seed), total, slice(0, total))


def numbers(features: int) -> tuple[Column, ...]:
    """Columns that are standardised already."""
    return tuple(Column(f"x{position}", "", 0.0, 1.0) for position in range(features))


def build(
    columns: Sequence[Column], *, seed: int = 0, class_frequencies: Sequence[float] = (), **settings: Any
) -> Objective:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Objective(Autoencoder(configure(settings), columns, class_frequencies=class_frequencies))


def losses_of(objective: Objective, x: Tensor, *, seed: int = 0, beta: float = 1.0) -> Losses:
    found: Losses = objective(x, None, step_of(len(x), seed), beta)
    return found


def parameters(module: nn.Module) -> list[Floats]:
    return [value.detach().double().numpy() for value in module.parameters()]


def put(module: nn.Module, **values: Any) -> None:
    """Sets parameters by name, __ for a dot."""
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name.replace("__", ".")).copy_(torch.as_tensor(value))


def rows(total: int, features: int, seed: int = 1) -> Tensor:
    return torch.randn(total, features, generator=torch.Generator().manual_seed(seed))


def gaussian_nll(x: Tensor, output: Tensor) -> float:
    """At scale 1, where it begins; mean over the inputs."""
    return float(0.5 * ((x - output) ** 2).sum(-1).mean()) + x.shape[1] * LOG_2PI / 2


# --- the ELBO --------------------------------------------------------------------------------------------------------


def test_the_loss_of_a_plain_autoencoder_is_its_negative_log_likelihood() -> None:
    objective, x = build(numbers(3), recipe="ae"), rows(5, 3)
    losses = losses_of(objective, x)
    with torch.no_grad():
        output = objective.model.decode(objective.model.encode(x).mean)
    expected = -float(norm.logpdf(x.numpy(), output.numpy(), 1.0).sum(1).mean())
    assert losses.loss.item() == losses.reconstruction.item() == pytest.approx(expected, rel=1e-5)
    assert losses.kl.item() == 0


def one_draw(objective: Objective, x: Tensor, seed: int) -> tuple[Code, Tensor, Tensor]:
    """Posterior, code and output of a step with this seed, when nothing else is random."""
    with torch.no_grad():
        code = objective.model.encode(objective.model.prepare(x))
        noise = torch.randn(len(x), code.mean.shape[1], generator=torch.Generator().manual_seed(seed))
        assert code.log_variance is not None
        latent = code.mean + torch.exp(0.5 * code.log_variance) * noise
        return code, latent, objective.model.decode(latent)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_loss_of_a_vae_by_hand(beta: float) -> None:
    objective, x = build(numbers(3), recipe="vae", latent=2, seed=3), rows(5, 3)
    losses = losses_of(objective, x, seed=9, beta=beta)
    code, _, output = one_draw(objective, x, 9)
    assert code.log_variance is not None
    mu, log_variance = code.mean.double().numpy(), code.log_variance.double().numpy()
    kl = 0.5 * (mu**2 + np.exp(log_variance) - log_variance - 1).sum(1).mean()
    assert losses.reconstruction.item() == pytest.approx(gaussian_nll(x, output), rel=1e-5)
    assert losses.kl.item() == pytest.approx(kl, rel=1e-5)
    assert losses.loss.item() == pytest.approx(gaussian_nll(x, output) + beta * kl, rel=1e-5)


def test_free_bits_are_free_for_each_dimension_by_itself() -> None:
    objective = build(numbers(1), recipe="vae", latent=2, hidden=(), free_bits=0.5)
    # Means (2x, 0) and variances (1, 1) of x = -1, 1, 2: KL 1/2 (4 + 4 + 16) / 3 = 4 in the first, 0 in the second.
    put(objective.model.encoder, layers__0__weight=[[2.0], [0.0], [0.0], [0.0]], layers__0__bias=[0.0] * 4)
    losses = losses_of(objective, torch.tensor([[-1.0], [1.0], [2.0]]), beta=3.0)
    assert losses.kl.item() == pytest.approx(4.0)
    assert (losses.loss - losses.reconstruction).item() == pytest.approx(3 * (4.0 + 0.5))


def test_a_dimension_within_its_free_bits_feels_no_pull() -> None:
    objective = build(numbers(1), recipe="vae", latent=2, hidden=(), free_bits=0.5)
    put(objective.model.encoder, layers__0__weight=[[2.0], [0.1], [0.0], [0.0]], layers__0__bias=[0.0] * 4)
    put(objective.model.decoder, layers__0__weight=[[0.0, 0.0]])  # no pull from the reconstruction either
    losses_of(objective, torch.tensor([[-1.0], [1.0]])).loss.backward()
    gradient = objective.model.encoder.get_parameter("layers.0.weight").grad
    assert gradient is not None
    assert gradient[:, 0].tolist() == pytest.approx([2.0, 0.0, 0.0, 0.0])


def test_the_weight_of_the_kl_rises_in_even_steps() -> None:
    assert [annealed(4.0, 3, epoch) for epoch in range(5)] == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert [annealed(4.0, 0, epoch) for epoch in range(2)] == [4.0, 4.0]


def test_active_units_by_hand() -> None:
    # Variances 1/2 (0.2)^2 = 0.02, 1/2 (0.1)^2 = 0.005 and 0
    assert active_units(torch.tensor([[0.0, 0.0, 5.0], [0.2, 0.1, 5.0]])) == 1


def test_an_outlier_is_clamped_while_training() -> None:
    objective = build(numbers(2), recipe="ae")
    far, at_bound = torch.tensor([[1e4, 0.0]]), torch.tensor([[OUTLIER_BOUND, 0.0]])
    assert losses_of(objective, far).loss.item() == losses_of(objective, at_bound).loss.item()


def test_an_outlier_among_mixed_columns_is_clamped_and_a_level_is_not() -> None:
    columns = (Column("mode", "", 0.0, 1.0, "category", levels=(0.0, 500.0)), Column("x", "", 0.0, 1.0))
    objective = build(columns, recipe="ae")
    far, at_bound = torch.tensor([[500.0, 1e4]]), torch.tensor([[500.0, OUTLIER_BOUND]])
    assert losses_of(objective, far).loss.item() == losses_of(objective, at_bound).loss.item()
    # The level 500 is known: it costs less than one that is not.
    known, unknown = (losses_of(objective, torch.tensor([[level, 0.0]])).loss.item() for level in (500.0, 20.0))
    assert known < unknown


def test_validation_is_the_loss_at_the_posteriors_mean() -> None:
    objective, x = build(numbers(3), recipe="vae", latent=2), rows(6, 3)
    nll, kl = objective.validate(x, None)
    terms = objective.model.terms(x)
    assert terms.kl is not None
    assert nll.item() == pytest.approx((terms.reconstruction_error + terms.log_normaliser).sum().item(), rel=1e-5)
    assert kl.item() == pytest.approx(terms.kl.sum().item(), rel=1e-5)


def test_a_known_class_pulls_to_its_own_mean() -> None:
    columns = (*numbers(2), Column("y", "", 0.0, 1.0, "class", levels=(3.0, 7.0)))
    objective = build(columns, recipe="cvae", latent=2, class_frequencies=[0.5, 0.5])
    put(objective.model.prior, means=[[1.0, 0.0], [-2.0, 1.0]])
    x = torch.tensor([[0.5, -0.5, 7.0], [1.0, 2.0, 3.0]])
    losses = losses_of(objective, x)
    with torch.no_grad():
        code = objective.model.encode(objective.model.prepare(x))
    assert code.log_variance is not None
    mu, log_variance = code.mean.double().numpy(), code.log_variance.double().numpy()
    distance = mu - np.array([[-2.0, 1.0], [1.0, 0.0]])
    expected = 0.5 * (distance**2 + np.exp(log_variance) - log_variance - 1).sum(1).mean()
    assert losses.kl.item() == pytest.approx(expected, rel=1e-5)


# --- the importance-weighted bound -----------------------------------------------------------------------------------


def test_one_sample_is_the_elbo_of_one_sample() -> None:
    objective, x = build(numbers(3), recipe="iwae", latent=2, points=1, seed=4), rows(5, 3)
    losses = losses_of(objective, x, seed=8)
    code, latent, output = one_draw(objective, x, 8)
    assert code.log_variance is not None
    s = torch.exp(0.5 * code.log_variance).numpy()
    log_p = norm.logpdf(x.numpy(), output.numpy()).sum(1) + norm.logpdf(latent.numpy()).sum(1)
    log_q = norm.logpdf(latent.numpy(), code.mean.numpy(), s).sum(1)
    assert losses.loss.item() == pytest.approx(-float((log_p - log_q).mean()), rel=1e-5)
    assert losses.reconstruction.item() == pytest.approx(gaussian_nll(x, output), rel=1e-5)


W, B = np.array([[1.0, 0.5], [0.8, -0.625], [-0.3, 0.0]]), np.array([0.2, -0.1, 0.4])
"""x = W z + b + noise of variance 1; W has orthogonal columns, so that the posterior's covariance is diagonal."""


def probabilistic_pca(points: int, *, is_exact: bool) -> Objective:
    """An iwae that is probabilistic PCA; its posterior the true one, or shifted and too wide."""
    objective = build(numbers(3), recipe="iwae", latent=2, hidden=(), points=points)
    precision = np.diag(W.T @ W) + 1
    weight = W.T / precision[:, None]  # E[z | x] = (W'W + I)^-1 W' (x - b)
    bias, log_variance = -weight @ B, -np.log(precision)
    if not is_exact:
        bias, log_variance = bias + 0.3, log_variance + 0.5
    put(
        objective.model.encoder,
        layers__0__weight=np.concatenate([weight, np.zeros((2, 3))]),
        layers__0__bias=np.concatenate([bias, log_variance]),
    )
    put(objective.model.decoder, layers__0__weight=W, layers__0__bias=B)
    return objective


def marginal(x: Tensor) -> Floats:
    """log N(x; b, W W' + I), the exact log-likelihood of probabilistic PCA."""
    return np.asarray(multivariate_normal(B, W @ W.T + np.eye(3)).logpdf(x.double().numpy()))


X = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5], [2.0, 1.0, -1.0]])


@pytest.mark.parametrize("points", [1, 5])
def test_with_the_true_posterior_every_bound_is_the_likelihood(points: int) -> None:
    losses = losses_of(probabilistic_pca(points, is_exact=True), X)
    assert losses.loss.item() == pytest.approx(-marginal(X).mean(), rel=1e-5)


def test_the_bound_rises_with_the_samples_towards_the_likelihood() -> None:
    many, bounds = X.repeat(1000, 1), []
    for points in (1, 2, 8, 64):
        with torch.no_grad():
            bounds.append(-losses_of(probabilistic_pca(points, is_exact=False), many, seed=points).loss.item())
    exact = float(marginal(X).mean())
    assert bounds == sorted(bounds)
    assert bounds[0] < exact - 0.15
    assert exact - 0.02 < bounds[-1] < exact + 0.01
    # The first is the ELBO in closed form, log p(x) - KL(q || p(z | x)): 0.3 away, e^1/2 times the variance, in each.
    precision = np.diag(W.T @ W) + 1
    gap = 0.5 * (0.09 * precision + math.exp(0.5) - 0.5 - 1).sum()
    assert bounds[0] == pytest.approx(exact - gap, abs=0.05)


def test_the_score_is_the_bound_at_the_models_noise_points() -> None:
    model = probabilistic_pca(2048, is_exact=False).model
    with torch.no_grad():
        terms = model.terms(X, model.noise)
    bound = -(terms.score + terms.log_normaliser)
    assert bound.tolist() == pytest.approx(marginal(X).tolist(), abs=0.02)


# --- corruption ------------------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """An encoder whose code is what it sees."""

    def forward(self, x: Tensor, step: Step | None = None) -> tuple[Tensor, None]:
        self.seen = x.detach()
        return x.flatten(1), None


class Passer(nn.Module):
    """A decoder whose output is the code."""

    def forward(self, latent: Tensor, indices: Tensor | None = None) -> Tensor:
        return latent


def seen_and_losses(x: Tensor, **settings: Any) -> tuple[Tensor, Losses]:
    objective = build(numbers(x.shape[1]), latent=x.shape[1], **settings)
    recorder = Recorder()
    objective.model.encoder, objective.model.decoder = recorder, Passer()
    losses = losses_of(objective, x)
    return recorder.seen, losses


def test_gaussian_corruption_has_its_level_and_a_clean_target() -> None:
    x = rows(20_000, 2)
    seen, losses = seen_and_losses(x, recipe="denoising", corruption_level=0.5)
    noise = seen - x
    assert noise.std(0).tolist() == pytest.approx([0.5] * 2, abs=0.01)
    assert noise.mean(0).tolist() == pytest.approx([0.0] * 2, abs=0.02)
    assert abs(float(torch.corrcoef(noise.T)[0, 1])) < 0.03
    assert losses.loss.item() == pytest.approx(gaussian_nll(x, seen), rel=1e-5)  # as far from x as the noise


def test_masking_hides_its_share_and_nothing_else() -> None:
    x = rows(20_000, 2)
    seen, losses = seen_and_losses(x, recipe="denoising", corruption="mask", corruption_level=0.3)
    hidden = seen == 0
    assert hidden.double().mean(0).tolist() == pytest.approx([0.3] * 2, abs=0.02)
    assert torch.equal(seen[~hidden], x[~hidden])
    assert losses.loss.item() == pytest.approx(gaussian_nll(x, seen), rel=1e-5)


def test_without_corruption_the_input_is_seen_as_it_is() -> None:
    x = rows(10, 2)
    assert torch.equal(seen_and_losses(x, recipe="ae")[0], x)


def test_nothing_is_corrupted_when_scoring() -> None:
    objective, x = build(numbers(3), recipe="denoising"), rows(4, 3)
    assert torch.equal(objective.model.terms(x).score, objective.model.terms(x).score)
    nll, _ = objective.validate(x, None)
    plain = build(numbers(3), recipe="ae")
    assert nll.item() == plain.validate(x, None)[0].item()


# --- penalties -------------------------------------------------------------------------------------------------------


def penalty_of(objective: Objective, x: Tensor) -> float:
    losses = losses_of(objective, x)
    return (losses.loss - losses.reconstruction).item()


def test_the_sparse_recipe_adds_the_kl_of_its_mean_activations() -> None:
    objective, x = build(numbers(3), recipe="sparse", latent=6, rho=0.1, penalty_weight=2.0), rows(8, 3)
    with torch.no_grad():
        code = objective.model.encode(x).mean
    assert bool(((code > 0) & (code < 1)).all())
    rho_j = code.double().mean(0).numpy()
    kl = (0.1 * np.log(0.1 / rho_j) + 0.9 * np.log(0.9 / (1 - rho_j))).sum()
    assert penalty_of(objective, x) == pytest.approx(2 * kl, rel=1e-4)


def test_sparse_coding_minimises_the_cost_that_its_encoder_unrolls() -> None:
    objective, x = build(numbers(3), recipe="sparse-coding", latent=5, penalty_weight=0.3), rows(8, 3)
    with torch.no_grad():
        z = objective.model.encode(x).mean
        output = objective.model.decode(z)
    losses = losses_of(objective, x)
    # 1/2 |x - z D|^2 + w |z|_1, and a constant at scale 1
    assert losses.loss.item() == pytest.approx(gaussian_nll(x, output) + 0.3 * float(z.abs().sum(-1).mean()), rel=1e-5)


def test_the_contractive_recipe_adds_the_norm_of_its_jacobian() -> None:
    objective, x = build(numbers(3), recipe="contractive", latent=4, penalty_weight=0.7), rows(8, 3)
    weight, bias = parameters(objective.model.encoder)
    slope = expit(x.double().numpy() @ weight.T + bias)
    slope = slope * (1 - slope)
    norms = [((s[:, None] * weight) ** 2).sum() for s in slope]
    assert penalty_of(objective, x) == pytest.approx(0.7 * np.mean(norms), rel=1e-4)


@pytest.mark.parametrize("settings", [{"recipe": "vae", "hidden": ()}, {"recipe": "vae"}, {"recipe": "denoising"}])
def test_the_jacobian_goes_with_other_recipes(settings: dict[str, Any]) -> None:
    objective, x = build(numbers(3), **settings, latent=2, penalty="jacobian", penalty_weight=5.0), rows(8, 3)
    losses = losses_of(objective, x)
    assert losses.loss.item() > losses.reconstruction.item() + losses.kl.item()
    losses.loss.backward()


def test_the_adversarial_recipe_fools_the_discriminator_and_teaches_it() -> None:
    objective, x = build(numbers(3), recipe="adversarial", latent=2, penalty_weight=2.0), rows(8, 3)
    discriminator = objective.discriminator
    assert discriminator is not None
    with torch.no_grad():
        of_codes = torch.sigmoid(discriminator(objective.model.encode(x).mean)[1])
        drawn = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
        of_prior = torch.sigmoid(discriminator(drawn)[1])
    expected = -2 * torch.log(of_codes).mean() - torch.log(of_prior).mean() - torch.log(1 - of_codes).mean()
    assert penalty_of(objective, x) == pytest.approx(float(expected), rel=1e-4)


def test_the_two_sides_of_the_adversarial_game_do_not_mix() -> None:
    objective, x = build(numbers(3), recipe="adversarial", latent=2, penalty_weight=0.0), rows(8, 3)
    assert objective.discriminator is not None
    losses = losses_of(objective, x)
    losses.loss.backward()
    plain = build(numbers(3), recipe="ae", latent=2)
    losses_of(plain, x).loss.backward()
    # With weight 0 the encoder learns what a plain autoencoder learns; the discriminator learns all the same.
    for found, expected in zip(objective.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)
    assert all(value.grad is not None and bool(value.grad.any()) for value in objective.discriminator.parameters())


# --- GANomaly --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ganomaly() -> Objective:
    objective = build(numbers(3), recipe="gan", latent=2, hidden=(), seed=6)
    assert objective.model.second_encoder is not None
    return objective


def through(values: list[Floats], h: Floats) -> tuple[Floats, Floats]:
    """Features and probability of a discriminator."""
    for weight, bias in zip(values[:-2:2], values[1:-2:2], strict=True):
        h = h @ weight.T + bias
        h = np.where(h > 0, h, 0.2 * h)
    return h, expit(h @ values[-2].T + values[-1])[:, 0]


def test_the_loss_of_ganomaly_by_hand(ganomaly: Objective) -> None:
    x = rows(5, 3).double().numpy()
    model, discriminator = ganomaly.model, ganomaly.discriminator
    assert discriminator is not None
    assert model.second_encoder is not None
    (w, c), (v, b), (w2, c2) = map(parameters, (model.encoder, model.decoder, model.second_encoder))
    z = x @ w.T + c
    made = z @ v.T + b
    second = made @ w2.T + c2
    (f_x, p_x), (f_made, p_made) = (through(parameters(discriminator), value) for value in (x, made))
    rebuilding = 50 * np.abs(x - made).mean(1) + ((z - second) ** 2).mean(1)
    generator = rebuilding + 0.05 * ((f_x - f_made) ** 2).mean(1)
    expected = (generator - np.log(p_x) - np.log(1 - p_made)).mean()
    losses = losses_of(ganomaly, rows(5, 3))
    assert losses.loss.item() == pytest.approx(expected, rel=1e-5)
    assert losses.reconstruction.item() == pytest.approx(gaussian_nll(torch.tensor(x), torch.tensor(made)), rel=1e-5)


def test_the_score_of_ganomaly_by_hand(ganomaly: Objective) -> None:
    x, model = rows(5, 3), ganomaly.model
    assert model.second_encoder is not None
    (w, c), (v, b), (w2, c2) = map(parameters, (model.encoder, model.decoder, model.second_encoder))
    z = x.double().numpy() @ w.T + c
    expected = np.abs(z - ((z @ v.T + b) @ w2.T + c2)).sum(1)
    assert model.terms(x).score.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_the_generator_has_no_gradient_from_the_discriminators_loss(ganomaly: Objective) -> None:
    x = rows(5, 3)
    assert ganomaly.discriminator is not None
    losses_of(ganomaly, x).loss.backward()
    found = [value.grad for value in ganomaly.discriminator.parameters()]
    with torch.no_grad():
        made = ganomaly.model.decode(ganomaly.model.encode(x).mean)
    expected = torch.autograd.grad(
        ganomaly.discriminator.loss(x, made).mean(), list(ganomaly.discriminator.parameters())
    )
    for ours, alone in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, alone)  # nothing from the generator's side


# --- contrastive divergence ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_boltzmann_machine_is_trained_by_contrastive_divergence(likelihood: str) -> None:
    objective = build(numbers(3), recipe="rbm", latent=4, likelihood=likelihood)
    x = rows(6, 3) if likelihood == "gaussian" else (rows(6, 3) > 0).float()
    losses = losses_of(objective, x, seed=2)
    machine = objective.model.machine()
    expected = contrastive_divergence(machine, x, step_of(6, seed=2))
    assert machine.binary_visible == (likelihood == "bernoulli")
    assert losses.loss.item() == pytest.approx(expected.item(), abs=1e-6)
    with torch.no_grad():
        rebuilt = machine.expected_visible(machine.expected_hidden(x))
    if likelihood == "gaussian":
        nll = gaussian_nll(x, rebuilt)
    else:
        nll = -float((x * torch.log(rebuilt) + (1 - x) * torch.log(1 - rebuilt)).sum(-1).mean())
    assert losses.reconstruction.item() == pytest.approx(nll, rel=1e-5)
    assert losses.kl.item() == 0
    losses.loss.backward()
    assert {name for name, value in objective.model.named_parameters() if value.grad is None} <= {
        "likelihood.raw_scale"
    }


def test_the_score_of_a_boltzmann_machine_is_its_free_energy() -> None:
    objective = build(numbers(3), recipe="rbm", latent=4)
    model, x = objective.model, rows(6, 3)
    model.energy_offset.fill_(-2.0)
    (w, c), (b,) = parameters(model.encoder), parameters(model.decoder)
    v = x.double().numpy()
    energy = 0.5 * ((v - b) ** 2).sum(1) - np.log1p(np.exp(v @ w.T + c)).sum(1)
    assert model.terms(x).score.tolist() == pytest.approx((energy + 2).tolist(), rel=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_far_outlier_of_a_boltzmann_machine_scores_higher_the_farther_it_is(likelihood: str) -> None:
    model = build(numbers(1), recipe="rbm", latent=4, likelihood=likelihood).model
    put(model.encoder, layers__0__weight=[[3.0], [-3.0], [1.0], [2.0]])
    put(model.decoder, layers__0__bias=[4.0])
    for side in (-1.0, 1.0):
        scores = model.terms(side * torch.tensor([[10.0], [20.0], [100.0], [1e4]])).score
        assert bool((scores.diff() > 0).all())


# --- what does not go together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"recipe": "rbm", "likelihood": "laplace"}, "likelihood"),  # its units are Gaussian or binary
        ({"recipe": "rbm", "likelihood": "continuous-bernoulli"}, "likelihood"),
        ({"recipe": "rbm", "corruption": "mask"}, "corruption"),
        ({"recipe": "rbm", "penalty": "jacobian"}, "penalty"),
        ({"recipe": "gan", "penalty": "l1"}, "penalty"),
        ({"recipe": "iwae", "penalty": "jacobian"}, "penalty"),
        ({"recipe": "iwae", "free_bits": 0.5}, "free_bits"),
        ({"recipe": "iwae", "beta": 2.0}, "beta"),
        ({"recipe": "iwae", "annealing": 5}, "annealing"),
        ({"recipe": "adversarial", "free_bits": 0.5}, "free_bits"),
    ],
)
def test_a_setting_that_the_loss_would_leave_out_is_refused(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=f"setting {name} is"):
        configure(settings)


def test_every_penalty_has_its_discriminator_or_none() -> None:
    assert build(numbers(3), recipe="ae").discriminator is None
    found = build(numbers(3), recipe="adversarial", latent=2).discriminator
    assert isinstance(found, penalties.Discriminator)
