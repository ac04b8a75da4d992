"""Networks by hand, pooling against torch's own, and unrolled shrinkage against an ISTA written in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional as F

from vae_detect.training.model.networks import (
    ConvDecoder,
    ConvEncoder,
    Dictionary,
    GruDecoder,
    GruEncoder,
    IstaEncoder,
    MlpDecoder,
    MlpEncoder,
    halved,
    pool,
    shrink,
    unpool,
)
from vae_detect.training.model.steps import Step

Floats = NDArray[np.float64]


def step_of(total: int, seed: int = 0) -> Step:
    return Step(torch.Generator().manual_seed(seed), total, slice(0, total))


def numpy_of(module: torch.nn.Module) -> dict[str, Floats]:
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


# --- fully connected -------------------------------------------------------------------------------------------------


def test_the_encoder_by_hand() -> None:
    encoder = MlpEncoder((2,), (2,), 1)
    with torch.no_grad():
        encoder.get_parameter("layers.0.weight").copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        encoder.get_parameter("layers.0.bias").copy_(torch.tensor([0.0, 1.0]))
        encoder.get_parameter("layers.1.weight").copy_(torch.tensor([[2.0, 3.0]]))
        encoder.get_parameter("layers.1.bias").copy_(torch.tensor([-10.0]))
    # (1, 3) -> (4, -1) -> relu (4, 0) -> 2 * 4 + 3 * 0 - 10 = -2, and no relu after the last layer
    code, places = encoder(torch.tensor([[1.0, 3.0]]))
    assert code.tolist() == [[-2.0]]
    assert places is None


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_deep_autoencoder_is_its_matrix_products(activation: str) -> None:
    torch.manual_seed(0)
    encoder = MlpEncoder((3, 2), (5, 4), 2, activation=activation).double()
    decoder = MlpDecoder((3, 2), (5, 4), 2, activation=activation).double()
    x = torch.randn(7, 3, 2, dtype=torch.float64)

    def layers(network: torch.nn.Module, h: Floats) -> Floats:
        values = numpy_of(network)
        for depth in range(3):
            h = h @ values[f"layers.{depth}.weight"].T + values[f"layers.{depth}.bias"]
            if depth < 2:
                h = np.maximum(h, 0) if activation == "relu" else 1 / (1 + np.exp(-h))
        return h

    code = encoder(x)[0]
    np.testing.assert_allclose(code.detach().numpy(), layers(encoder, x.reshape(7, 6).numpy()))
    np.testing.assert_allclose(
        decoder(code).detach().numpy(), layers(decoder, code.detach().numpy()).reshape(7, 3, 2), rtol=1e-6
    )


def test_tied_weights_are_the_encoders_transposed() -> None:
    torch.manual_seed(1)
    encoder = MlpEncoder((4,), (3,), 2, activation="sigmoid").double()
    decoder = MlpDecoder((4,), (3,), 2, activation="sigmoid", tied=encoder).double()
    assert sorted(numpy_of(decoder)) == ["layers.0.bias", "layers.1.bias"]  # all that it owns

    def by_hand(z: Floats) -> Floats:
        weights, biases = numpy_of(encoder), numpy_of(decoder)
        h = 1 / (1 + np.exp(-(z @ weights["layers.1.weight"] + biases["layers.0.bias"])))
        return np.asarray(h @ weights["layers.0.weight"] + biases["layers.1.bias"])

    z = torch.randn(5, 2, dtype=torch.float64)
    np.testing.assert_allclose(decoder(z).detach().numpy(), by_hand(z.numpy()))
    with torch.no_grad():
        encoder.get_parameter("layers.0.weight").mul_(3)
    np.testing.assert_allclose(decoder(z).detach().numpy(), by_hand(z.numpy()))  # it follows


def test_a_tied_weight_has_the_gradient_of_both_its_uses() -> None:
    torch.manual_seed(2)
    encoder = MlpEncoder((3,), (), 2).double()
    decoder = MlpDecoder((3,), (), 2, tied=encoder).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    ((decoder(encoder(x)[0]) - x) ** 2).sum().backward()
    weight = encoder.get_parameter("layers.0.weight")
    bias = encoder.get_parameter("layers.0.bias").detach()

    def loss(w: torch.Tensor) -> torch.Tensor:
        return (((x @ w.T + bias) @ w - x) ** 2).sum()

    expected = torch.autograd.functional.jacobian(loss, weight.detach())
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, expected)


# --- dropout ---------------------------------------------------------------------------------------------------------


def through_identity(dropout: float, step: Step | None) -> torch.Tensor:
    """Ones through a hidden layer that passes them on."""
    encoder = MlpEncoder((3,), (3,), 3, dropout=dropout).requires_grad_(False)
    for depth in range(2):
        encoder.get_parameter(f"layers.{depth}.weight").copy_(torch.eye(3))
        encoder.get_parameter(f"layers.{depth}.bias").zero_()
    code: torch.Tensor = encoder(torch.ones(20_000, 3), step)[0]
    return code


def test_dropout_keeps_the_mean() -> None:
    code = through_identity(0.2, step_of(20_000))
    assert code.unique().tolist() == pytest.approx([0.0, 1.25])  # dropped, or divided by 1 - 0.2
    assert code.mean(0).tolist() == pytest.approx([1.0] * 3, abs=0.02)
    assert float((code == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert abs(float(torch.corrcoef(code.T)[0, 1])) < 0.03  # units are dropped one by one


def test_nothing_is_dropped_when_scoring() -> None:
    assert bool((through_identity(0.2, None) == 1).all())


# --- pooling ---------------------------------------------------------------------------------------------------------


def test_pooling_images_is_that_of_torch() -> None:
    torch.manual_seed(3)
    h = torch.randn(2, 3, 6, 8)
    expected, at = F.max_pool2d(h, 2, return_indices=True)
    found, places = pool(h)
    assert torch.equal(found, expected)
    rows = 2 * torch.arange(3)[:, None] + places // 2
    columns = 2 * torch.arange(4) + places % 2
    assert torch.equal(8 * rows + columns, at)
    values = torch.randn(2, 3, 3, 4)
    assert torch.equal(unpool(values, places), F.max_unpool2d(values, at, [2, 2]))


def test_pooling_windows_is_that_of_torch() -> None:
    torch.manual_seed(4)
    h = torch.randn(2, 3, 10)
    expected, at = F.max_pool1d(h, 2, return_indices=True)
    found, places = pool(h)
    assert torch.equal(found, expected)
    assert torch.equal(2 * torch.arange(5) + places, at)
    values = torch.randn(2, 3, 5)
    assert torch.equal(unpool(values, places), F.max_unpool1d(values, at, [2]))


def test_the_first_of_equal_values_counts() -> None:
    assert pool(torch.zeros(1, 1, 2, 2))[1].tolist() == [[[[0]]]]
    assert pool(torch.tensor([[[3.0, 3.0, 1.0, 2.0]]]))[1].tolist() == [[[0, 1]]]


@pytest.mark.parametrize("shape", [(8, 2), (8, 12, 3)])
def test_the_decoder_unpools_each_level_where_the_encoder_pooled_it(shape: tuple[int, ...]) -> None:
    torch.manual_seed(5)
    encoder = ConvEncoder(shape, (4, 5), 3, pooling=True)
    decoder = ConvDecoder(shape, (4, 5), 3, pooling=True)
    x = torch.randn(2, *shape)
    code, places = encoder(x)
    assert places is not None
    # The same with torch's own layers.
    is_image = len(shape) == 3
    convolve = F.conv2d if is_image else F.conv1d
    max_pool, max_unpool = (F.max_pool2d, F.max_unpool2d) if is_image else (F.max_pool1d, F.max_unpool1d)
    h, at = x.movedim(-1, 1), []
    for depth in range(2):
        weight, bias = (encoder.get_parameter(f"layers.{depth}.{name}") for name in ("weight", "bias"))
        h, indices = max_pool(torch.relu(convolve(h, weight, bias, padding=1)), 2, return_indices=True)
        at.append(indices)
    torch.testing.assert_close(code, encoder.head(h.flatten(1)))
    h = torch.relu(decoder.head(code).unflatten(-1, h.shape[1:]))
    for depth in range(2):
        weight, bias = (decoder.get_parameter(f"layers.{depth}.{name}") for name in ("weight", "bias"))
        h = convolve(max_unpool(h, at.pop(), [2] * (len(shape) - 1)), weight, bias, padding=1)
        h = torch.relu(h) if depth == 0 else h
    torch.testing.assert_close(decoder(code, places), h.movedim(1, -1))


# --- convolutions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 1), (7, 2), (9, 3), (16, 2), (8, 8, 1), (13, 21, 3), (10, 9, 1)])
def test_a_convolutional_decoder_restores_odd_sizes(shape: tuple[int, ...]) -> None:
    channels = (3, 4, 5)[: 1 if min(shape[:-1]) < 4 else 3]
    code, places = ConvEncoder(shape, channels, 6)(torch.randn(2, *shape))
    assert code.shape == (2, 6)
    assert places is None
    assert ConvDecoder(shape, channels, 6)(code).shape == (2, *shape)


def test_halvings_round_up() -> None:
    assert halved((13, 8), 3) == [(13, 8), (7, 4), (4, 2), (2, 1)]
    for size in range(1, 20):  # what a convolution of size 3, stride 2 and padding 1 leaves
        assert halved((size,), 1)[1] == (
            F.conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, 3), stride=2, padding=1).shape[-1],
        )


def test_recurrent_networks_see_the_window_in_order() -> None:
    torch.manual_seed(6)
    encoder, decoder = GruEncoder((5, 2), (4,), 3), GruDecoder((5, 2), (4,), 3)
    x = torch.randn(2, 5, 2)
    code = encoder(x)[0]
    assert decoder(code).shape == (2, 5, 2)
    assert not torch.allclose(encoder(x.flip(1))[0], code)
    # Only the last state leads to the code, and it is that of torch's cell by cell.
    cell = torch.nn.GRUCell(2, 4)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in encoder.layers[0].state_dict().items()})
    h = torch.zeros(2, 4)
    for moment in range(5):
        h = cell(x[:, moment], h)
    torch.testing.assert_close(code, encoder.head(h))


# --- sparse coding ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.floats(-3, 3), st.floats(0, 2))
def test_shrinking_is_the_proximal_operator_of_the_absolute_value(v: float, threshold: float) -> None:
    found = float(shrink(torch.tensor(v, dtype=torch.float64), torch.tensor(threshold, dtype=torch.float64)))
    grid = np.linspace(-4, 4, 8001)
    costs = 0.5 * (grid - v) ** 2 + threshold * np.abs(grid)  # what it minimises
    assert found == pytest.approx(grid[costs.argmin()], abs=1.01e-3)
    assert 0.5 * (found - v) ** 2 + threshold * abs(found) <= costs.min() + 1e-12


def test_atoms_have_length_one() -> None:
    torch.manual_seed(7)
    dictionary = Dictionary((3, 2), 8)
    with torch.no_grad():
        dictionary.weight.mul_(torch.logspace(-2, 2, 8)[:, None])
    torch.testing.assert_close(dictionary.atoms().norm(dim=1), torch.ones(8))
    z = torch.randn(4, 8)
    expected = sum(z[:, j, None] * F.normalize(dictionary.weight[j], dim=0) for j in range(8))
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(dictionary(z), expected.reshape(4, 3, 2))


def ista(atoms: Floats, x: Floats, penalty_weight: float, iterations: int) -> Floats:
    """Proximal gradient descent on 1/2 |x - z D|^2 + w |z|_1 with step 1 / L, from 0."""
    step = 1 / np.linalg.eigvalsh(atoms @ atoms.T).max()
    z = np.zeros((len(x), len(atoms)))
    for _ in range(iterations):
        v = z - step * (z @ atoms - x) @ atoms.T
        z = np.sign(v) * np.maximum(np.abs(v) - step * penalty_weight, 0)
    return z


@pytest.mark.parametrize("iterations", [1, 2, 5, 20])
def test_the_encoder_begins_as_ista(iterations: int) -> None:
    torch.manual_seed(8)
    dictionary = Dictionary((6,), 10)
    encoder = IstaEncoder(dictionary, iterations, 0.3)
    x = 2 * torch.randn(7, 6)
    found = encoder(x)[0].detach().numpy()
    expected = ista(dictionary.atoms().detach().double().numpy(), x.double().numpy(), 0.3, iterations)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert 0 < (found == 0).mean() < 1


def test_more_iterations_lower_the_cost_of_every_input() -> None:
    torch.manual_seed(9)
    dictionary = Dictionary((6,), 10)
    x, costs = 2 * torch.randn(7, 6), []
    for iterations in (1, 2, 4, 8, 16, 64):
        z = IstaEncoder(dictionary, iterations, 0.3)(x)[0].detach()
        costs.append(0.5 * ((x - dictionary(z).detach()) ** 2).sum(-1) + 0.3 * z.abs().sum(-1))
    assert bool((torch.stack(costs).diff(dim=0) < 1e-5).all())
    assert bool((costs[-1] < costs[0]).all())


def test_the_limit_of_the_iterations_is_a_minimum() -> None:
    torch.manual_seed(10)
    dictionary, x = Dictionary((6,), 4), 2 * torch.randn(5, 6)
    z = IstaEncoder(dictionary, 300, 0.5)(x)[0].detach()
    atoms = dictionary.atoms().detach()
    # 0 is in the subgradient: d_j (x - z D) = w sign(z_j), or within [-w, w] where z_j = 0.
    slope = (x - z @ atoms) @ atoms.T
    torch.testing.assert_close(slope[z != 0], 0.5 * torch.sign(z[z != 0]), atol=1e-3, rtol=0)
    assert bool((slope[z == 0].abs() <= 0.5 + 1e-3).all())


def test_training_makes_few_iterations_better_than_ista() -> None:
    torch.manual_seed(11)
    dictionary = Dictionary((6,), 10)
    encoder, x = IstaEncoder(dictionary, 2, 0.3), 2 * torch.randn(64, 6)

    def cost() -> torch.Tensor:
        z = encoder(x)[0]
        costs: torch.Tensor = 0.5 * ((x - dictionary(z)) ** 2).sum(-1) + 0.3 * z.abs().sum(-1)
        return costs.mean()

    before = cost().item()
    optimiser = torch.optim.Adam(encoder.parameters(), lr=1e-2)  # the dictionary stays
    for _ in range(60):
        optimiser.zero_grad()
        cost().backward()
        optimiser.step()
    assert cost().item() < 0.95 * before
