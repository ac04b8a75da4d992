"""Restricted Boltzmann machines against sums over all their states, and contrastive divergence by hand."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit, logsumexp
from torch import Tensor

from vae_detect.training.model.boltzmann import Machine, contrastive_divergence
from vae_detect.training.model.steps import Step


def step_of(total: int, seed: int = 0) -> Step:
    return Step(torch.Generator().manual_seed(seed), total, slice(0, total))


def machine_of(hidden: int, visible: int, seed: int = 0, **kinds: bool) -> Machine:
    generator = torch.Generator().manual_seed(seed)
    weight, c, b = (torch.randn(size, generator=generator) for size in ((hidden, visible), (hidden,), (visible,)))
    return Machine(weight.double(), c.double(), b.double(), **kinds)


def states(units: int) -> Tensor:
    """All of {0, 1}^units, (2^units, units)."""
    return torch.tensor(list(product([0.0, 1.0], repeat=units)), dtype=torch.float64)


def energy(machine: Machine, v: list[float], h: list[float]) -> float:
    """E(v, h) written out, sum by sum."""
    w, c, b = (value.detach().numpy() for value in machine[:3])
    total = -sum(float(c[j]) * h[j] for j in range(len(h)))
    total -= sum(float(w[j, i]) * h[j] * v[i] for j in range(len(h)) for i in range(len(v)))
    if machine.binary_visible:
        return total - sum(float(b[i]) * v[i] for i in range(len(v)))
    return total + sum((v[i] - float(b[i])) ** 2 / 2 for i in range(len(v)))


# --- free energy -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary_visible", [False, True])
def test_the_free_energy_is_the_sum_over_hidden_states(binary_visible: bool) -> None:
    machine = machine_of(4, 3, binary_visible=binary_visible)
    v = states(3) if binary_visible else torch.randn(8, 3, dtype=torch.float64)
    expected = [-logsumexp([-energy(machine, row, h) for h in states(4).tolist()]) for row in v.tolist()]
    assert machine.free_energy(v).tolist() == pytest.approx(expected)


def test_the_free_energy_of_a_linear_code_is_the_integral_over_it() -> None:
    machine = machine_of(1, 3, seed=1, binary_visible=True, gaussian_hidden=True)
    w, c, b = (value.numpy() for value in machine[:3])
    for v in states(3).numpy():
        # E(v, h) = -b.v + h^2 / 2 - h (c + w v)
        drive = float(c[0] + w[0] @ v)
        integral = quad(lambda h, drive=drive: math.exp(-h * h / 2 + h * drive), drive - 12, drive + 12)[0]
        expected = -float(b @ v) - math.log(integral / math.sqrt(2 * math.pi))
        assert float(machine.free_energy(torch.from_numpy(v[None]))) == pytest.approx(expected)


def test_the_probabilities_of_a_binary_machine_sum_to_one() -> None:
    machine = machine_of(3, 4, binary_visible=True)
    joint = [-energy(machine, v, h) for v in states(4).tolist() for h in states(3).tolist()]
    probabilities = torch.exp(-machine.free_energy(states(4)) - float(logsumexp(joint)))
    assert float(probabilities.sum()) == pytest.approx(1)


def test_the_density_of_a_gaussian_machine_is_the_mixture_that_it_is() -> None:
    # exp(-F(v)) = sum_h exp(c.h + (|b + W'h|^2 - |b|^2) / 2) exp(-|v - b - W'h|^2 / 2), a Gaussian for each h
    machine = machine_of(2, 1, seed=2)
    w, c, b = (value.numpy() for value in machine[:3])
    masses = [math.exp(c @ h + ((b + w.T @ h) @ (b + w.T @ h) - b @ b) / 2) for h in states(2).numpy()]

    def density(v: float) -> float:
        return math.exp(-float(machine.free_energy(torch.tensor([[v]], dtype=torch.float64))))

    integral = quad(density, -20, 20, limit=100)[0]
    assert integral == pytest.approx(math.sqrt(2 * math.pi) * sum(masses))


def test_the_drive_can_be_of_another_input() -> None:
    machine = machine_of(3, 2)
    v, seen = torch.randn(4, 2, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    difference = machine.free_energy(v, machine.drive(seen)) - machine.free_energy(seen)
    expected = 0.5 * (((v - machine.visible_bias) ** 2) - ((seen - machine.visible_bias) ** 2)).sum(-1)
    torch.testing.assert_close(difference, expected)


@pytest.mark.parametrize("bias", [-3.0, 3.0])
def test_a_binary_machine_takes_no_comfort_from_values_beyond_its_range(bias: float) -> None:
    machine = Machine(torch.ones(1, 1), torch.zeros(1), torch.tensor([bias]), binary_visible=True)
    above = machine.free_energy(torch.tensor([[1.0], [1.5], [10.0], [1e3]]))
    below = machine.free_energy(torch.tensor([[0.0], [-0.5], [-10.0], [-1e3]]))
    for found in (above, below):
        assert bool((found.diff() > 0).all())


# --- sampling --------------------------------------------------------------------------------------------------------


def test_the_conditional_means_are_those_of_the_joint_distribution() -> None:
    machine = machine_of(3, 2, binary_visible=True)
    v, h = [1.0, 0.0], [0.0, 1.0, 1.0]
    of_hidden = np.array([math.exp(-energy(machine, v, state)) for state in states(3).tolist()])
    expected = of_hidden @ states(3).numpy() / of_hidden.sum()
    found = machine.expected_hidden(torch.tensor([v], dtype=torch.float64))[0]
    assert found.tolist() == pytest.approx(expected.tolist())
    of_visible = np.array([math.exp(-energy(machine, state, h)) for state in states(2).tolist()])
    expected = of_visible @ states(2).numpy() / of_visible.sum()
    assert machine.expected_visible(torch.tensor([h], dtype=torch.float64))[0].tolist() == pytest.approx(
        expected.tolist()
    )


def test_gibbs_sampling_ends_in_the_exact_distribution() -> None:
    machine = machine_of(2, 3, seed=3, binary_visible=True)
    step = step_of(20_000)
    v = torch.full((20_000, 3), 0.5, dtype=torch.float64)
    for _ in range(30):
        v = machine.gibbs(v, step)
    expected = torch.softmax(-machine.free_energy(states(3)), 0)
    found = torch.bincount((v @ torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)).long(), minlength=8) / 20_000
    assert found.tolist() == pytest.approx(expected.tolist(), abs=0.02)


def test_gibbs_sampling_of_gaussian_units_has_their_moments() -> None:
    # v and h Gaussian: the joint distribution has precision ((I, -W'), (-W, I)), so cov v = (I - W'W)^-1.
    machine = Machine(torch.tensor([[0.6, 0.2]]), torch.zeros(1), torch.zeros(2), gaussian_hidden=True)
    step, v = step_of(20_000), torch.zeros(20_000, 2)
    for _ in range(30):
        v = machine.gibbs(v, step)
    expected = torch.linalg.inv(torch.eye(2) - machine.weight.T @ machine.weight)
    torch.testing.assert_close(torch.cov(v.T), expected, rtol=0, atol=0.05)


# --- contrastive divergence ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary_visible", [False, True])
def test_its_gradient_is_the_update_of_hinton(binary_visible: bool) -> None:
    found = machine_of(3, 4, binary_visible=binary_visible)
    for value in found[:3]:
        value.requires_grad_()
    v = (torch.rand(6, 4) < 0.5).double() if binary_visible else torch.randn(6, 4, dtype=torch.float64)
    contrastive_divergence(found, v, step_of(6, seed=5)).backward()

    # The same reconstruction, drawn by hand from the same numbers.
    w, c, b = (value.detach().numpy() for value in found[:3])
    generator, data = torch.Generator().manual_seed(5), v.numpy()
    of_data = expit(data @ w.T + c)
    h = (torch.rand(6, 3, generator=generator).numpy() < of_data).astype(float)
    mean = h @ w + b
    if binary_visible:
        imagined = (torch.rand(6, 4, generator=generator).numpy() < expit(mean)).astype(float)
    else:
        imagined = mean + torch.randn(6, 4, generator=generator).numpy()
    of_imagined = expit(imagined @ w.T + c)
    expected = {
        "weight": (of_data.T @ data - of_imagined.T @ imagined) / 6,  # <h v>_data - <h v>_reconstruction
        "hidden_bias": (of_data - of_imagined).mean(0),
        "visible_bias": (data - imagined).mean(0),
    }
    for name, update in expected.items():
        gradient = getattr(found, name).grad
        assert gradient is not None
        np.testing.assert_allclose(-gradient.numpy(), update, rtol=1e-9, atol=1e-12)


def log_likelihood(machine: Machine, v: Tensor) -> float:
    """Mean of log p(v), with the partition function summed over all visible states."""
    everything = torch.logsumexp(-machine.free_energy(states(v.shape[1])), 0)
    return float((-machine.free_energy(v) - everything).mean())


def test_training_raises_the_exact_likelihood() -> None:
    # Two patterns, each with a bit that flips now and then: entropy log 2 + 4 * 0.198 = 1.49 nats.
    generator = torch.Generator().manual_seed(0)
    which = (torch.rand(500, 1, generator=generator) < 0.5).double()
    v = torch.where(which > 0, torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0, 1.0]).double())
    v = torch.where(torch.rand(500, 4, generator=generator) < 0.05, 1 - v, v)
    machine = Machine(
        0.1 * torch.randn(3, 4, generator=generator).double(), torch.zeros(3).double(), torch.zeros(4).double(), True
    )
    parameters = [value.requires_grad_() for value in machine[:3]]
    optimiser = torch.optim.Adam(parameters, lr=0.05)
    with torch.no_grad():
        before = log_likelihood(machine, v)
    for number in range(200):
        optimiser.zero_grad()
        contrastive_divergence(machine, v, step_of(500, seed=number)).backward()
        optimiser.step()
    with torch.no_grad():
        after = log_likelihood(machine, v)
    assert before == pytest.approx(-4 * math.log(2), abs=0.1)
    assert after > -1.75


def test_the_free_energy_tells_what_was_learnt_from_what_was_not() -> None:
    generator = torch.Generator().manual_seed(1)
    shared = torch.randn(400, 1, generator=generator)
    v = torch.cat([shared, shared], 1) + 0.1 * torch.randn(400, 2, generator=generator)  # two sensors that agree
    machine = Machine(0.1 * torch.randn(8, 2, generator=generator), torch.zeros(8), torch.zeros(2))
    optimiser = torch.optim.Adam([value.requires_grad_() for value in machine[:3]], lr=0.02)
    for number in range(300):
        optimiser.zero_grad()
        contrastive_divergence(machine, v, step_of(400, seed=number)).backward()
        optimiser.step()
    with torch.no_grad():
        together, apart = machine.free_energy(torch.tensor([[1.5, 1.5], [1.5, -1.5]])).tolist()
    assert apart > together + 1
