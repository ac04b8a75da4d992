"""The networks that encoders and decoders are made of.

An encoder takes standardised inputs, (batch, *shape) with the features last, and a `Step` while training. It returns
(batch, code) and, when it pools, where the maxima stood: (batch, places) int64, else None. A decoder goes back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...runtime.errors import InputError
from ..settings.config import TrainConfig
from .steps import Step

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}

Encoded = tuple[Tensor, Tensor | None]


def dense(widths: Sequence[int]) -> nn.ModuleList:
    """Linear layers between these widths; what is between the layers is up to who owns them."""
    return nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))


class MlpEncoder(nn.Module):
    """Fully connected layers with the activation between them and none after the last."""

    def __init__(
        self, shape: Sequence[int], hidden: Sequence[int], code: int, *, activation: str = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.layers = dense([math.prod(shape), *hidden, code])
        self.activation, self.dropout = ACTIVATIONS[activation], dropout

    def linear(self, depth: int) -> nn.Linear:
        """The layer at this depth."""
        layer = self.layers[depth]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, x: Tensor, step: Step | None = None) -> Encoded:
        h = x.flatten(1)
        *hidden, last = self.layers  # a slice of a ModuleList is a new module, which costs 20 us
        for layer in hidden:
            h = _drop(self.activation(layer(h)), self.dropout, step)
        code: Tensor = last(h)
        return code, None


class MlpDecoder(nn.Module):
    """The encoder's layers in reverse; with `tied`, the weights are the encoder's own, transposed."""

    def __init__(
        self,
        shape: Sequence[int],
        hidden: Sequence[int],
        code: int,
        *,
        activation: str = "relu",
        tied: MlpEncoder | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.activation = tuple(shape), ACTIVATIONS[activation]
        self.layers = dense([code, *reversed(hidden), math.prod(shape)])
        if tied is not None:
            depths = reversed(range(len(tied.layers)))
            self.layers = nn.ModuleList(Transposed(tied.linear(depth)) for depth in depths)

    def forward(self, latent: Tensor, indices: Tensor | None = None) -> Tensor:
        h = latent
        *hidden, last = self.layers
        for layer in hidden:
            h = self.activation(layer(h))
        output: Tensor = last(h).unflatten(-1, self.shape)
        return output


class Transposed(nn.Module):
    """A dense layer whose weight is another's, transposed, with a bias of its own."""

    def __init__(self, of: nn.Linear) -> None:
        super().__init__()
        self._of = (of,)  # in a tuple, because the weight has one owner
        self.bias = nn.Parameter(torch.zeros(of.in_features))

    def forward(self, h: Tensor) -> Tensor:
        return F.linear(h, self._of[0].weight.T, self.bias)


class ConvEncoder(nn.Module):
    """Convolutions of size 3 that halve each axis, by stride or by pooling, and a dense layer to the code."""

    def __init__(
        self, shape: Sequence[int], channels: Sequence[int], code: int, *, pooling: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.pooling, self.dropout = pooling, dropout
        convolution: Any = nn.Conv1d if len(shape) == 2 else nn.Conv2d
        stride = 1 if pooling else 2
        self.layers = nn.ModuleList(
            convolution(a, b, kernel_size=3, stride=stride, padding=1) for a, b in pairwise([shape[-1], *channels])
        )
        smallest = halved(shape[:-1], len(channels))[-1]
        self.head = nn.Linear(math.prod(smallest) * (channels[-1] if channels else shape[-1]), code)

    def forward(self, x: Tensor, step: Step | None = None) -> Encoded:
        h = x.movedim(-1, 1)  # (batch, features, *axes)
        places = []
        for layer in self.layers:
            h = _drop(torch.relu(layer(h)), self.dropout, step)
            if self.pooling:
                h, place = pool(h)
                places.append(place.flatten(1))
        return self.head(h.flatten(1)), torch.cat(places, 1) if places else None


class ConvDecoder(nn.Module):
    """A dense layer and transposed convolutions that double each axis; or unpooling at given places, and plain ones."""

    def __init__(self, shape: Sequence[int], channels: Sequence[int], code: int, *, pooling: bool = False) -> None:
        super().__init__()
        self.pooling = pooling
        axes = halved(shape[:-1], len(channels))
        self.first = (channels[-1] if channels else shape[-1], *axes[-1])  # what the dense layer is reshaped to
        self.head = nn.Linear(code, math.prod(self.first))
        self.pooled = [(width, *sizes) for width, sizes in zip(channels, axes[1:], strict=True)][::-1]
        transposed: Any = nn.ConvTranspose1d if len(shape) == 2 else nn.ConvTranspose2d
        plain: Any = nn.Conv1d if len(shape) == 2 else nn.Conv2d
        layers: list[nn.Module] = []
        for (a, b), (small, large) in zip(
            pairwise([*reversed(channels), shape[-1]]), pairwise(reversed(axes)), strict=True
        ):
            if pooling:
                layers.append(plain(a, b, kernel_size=3, padding=1))
            else:
                # size = 2 small - 1 + output_padding
                extra = tuple(target - (2 * size - 1) for size, target in zip(small, large, strict=True))
                layers.append(transposed(a, b, kernel_size=3, stride=2, padding=1, output_padding=extra))
        self.layers = nn.ModuleList(layers)

    def forward(self, latent: Tensor, indices: Tensor | None = None) -> Tensor:
        h: Tensor = self.head(latent).unflatten(-1, self.first)
        if not len(self.layers):
            return h.movedim(1, -1)
        h = torch.relu(h)
        ends = [] if indices is None else _ends(self.pooled, indices.shape[1])
        for number, layer in enumerate(self.layers):
            if self.pooling:
                assert indices is not None
                begin, end = ends[number]
                h = unpool(h, indices[:, begin:end].unflatten(1, self.pooled[number]))
            h = layer(h)
            if number < len(self.layers) - 1:
                h = torch.relu(h)
        return h.movedim(1, -1)


def _ends(pooled: Sequence[Sequence[int]], total: int) -> list[tuple[int, int]]:
    """Where each level's places lie among all of them, which begin with the first level of the encoder."""
    ends = []
    for shape in pooled:
        ends.append((total - math.prod(shape), total))
        total -= math.prod(shape)
    return ends


def halved(axes: Sequence[int], times: int) -> list[tuple[int, ...]]:
    """The sizes of the axes before and after each of so many halvings, rounded up."""
    sizes = [tuple(axes)]
    for _ in range(times):
        sizes.append(tuple(-(-size // 2) for size in sizes[-1]))
    return sizes


def pool(h: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima of blocks of 2 along each axis of (batch, channels, *axes), and their places in the blocks, int64.

    The first one counts where several are equal, here and in ONNX Runtime.
    """
    if h.ndim == 3:
        blocks = h.unflatten(2, (-1, 2))  # (batch, channels, length / 2, 2)
    else:
        tiles = h.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (batch, channels, height / 2, 2, width / 2, 2)
        blocks = tiles.transpose(3, 4).flatten(4)
    return blocks.amax(-1), blocks.argmax(-1)


def unpool(h: Tensor, places: Tensor) -> Tensor:
    """Puts each value at its place in a block of 2 along each axis, zeros elsewhere: the way back from `pool`."""
    axes = h.ndim - 2
    at = places[..., None] == torch.arange(2**axes, device=h.device)
    blocks = h[..., None] * at.to(h.dtype)  # (batch, channels, *axes, 2 or 4)
    if axes == 1:
        return blocks.flatten(2)
    tiles = blocks.unflatten(-1, (2, 2)).transpose(3, 4)  # (batch, channels, height / 2, 2, width / 2, 2)
    whole: Tensor = tiles.flatten(4, 5).flatten(2, 3)
    return whole


class GruEncoder(nn.Module):
    """Gated recurrent units over the window; the last state leads to the code."""

    def __init__(self, shape: Sequence[int], widths: Sequence[int], code: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.layers = nn.ModuleList(nn.GRU(a, b, batch_first=True) for a, b in pairwise([shape[-1], *widths]))
        self.head = nn.Linear(widths[-1] if widths else shape[-1], code)

    def forward(self, x: Tensor, step: Step | None = None) -> Encoded:
        h = x
        for layer in self.layers:
            h = _drop(layer(h)[0], self.dropout, step)
        return self.head(h[:, -1]), None


class GruDecoder(nn.Module):
    """The code at every place of the window through gated recurrent units, and a dense layer to the features."""

    def __init__(self, shape: Sequence[int], widths: Sequence[int], code: int) -> None:
        super().__init__()
        self.window = shape[0]
        self.layers = nn.ModuleList(nn.GRU(a, b, batch_first=True) for a, b in pairwise([code, *reversed(widths)]))
        self.head = nn.Linear(widths[0] if widths else code, shape[-1])

    def forward(self, latent: Tensor, indices: Tensor | None = None) -> Tensor:
        h = latent[:, None].expand(-1, self.window, -1)
        for layer in self.layers:
            h = layer(h)[0]
        output: Tensor = self.head(h)
        return output


class IstaEncoder(nn.Module):
    """Iterative shrinkage, unrolled, with learned matrices (LISTA: Gregor and LeCun 2010).

    z_0 = 0, z_{t+1} = shrink(W x + S z_t, theta), shrink(v, t) = sign(v) max(|v| - t, 0)
    """

    def __init__(self, dictionary: Dictionary, steps: int, penalty_weight: float) -> None:
        super().__init__()
        atoms = dictionary.atoms().detach()  # (code, width)
        code, width = atoms.shape
        largest = float(torch.linalg.matrix_norm(atoms, 2)) ** 2  # the Lipschitz constant of the squared error
        self.steps = steps
        self.weight = nn.Linear(width, code, bias=False)
        self.recurrent = nn.Linear(code, code, bias=False)
        self.log_threshold = nn.Parameter(torch.full((code,), math.log(max(penalty_weight, 1e-3) / largest)))
        with torch.no_grad():  # begins as ISTA itself
            self.weight.weight.copy_(atoms / largest)
            self.recurrent.weight.copy_(torch.eye(code) - atoms @ atoms.T / largest)

    def forward(self, x: Tensor, step: Step | None = None) -> Encoded:
        driven, threshold = self.weight(x.flatten(1)), torch.exp(self.log_threshold)
        z = shrink(driven, threshold)
        for _ in range(self.steps - 1):
            z = shrink(driven + self.recurrent(z), threshold)
        return z, None


def shrink(v: Tensor, threshold: Tensor) -> Tensor:
    """Soft thresholding, the proximal operator of threshold * |v|."""
    return torch.sign(v) * torch.relu(torch.abs(v) - threshold)


class Dictionary(nn.Module):
    """x = sum_j z_j d_j over atoms of length 1: were they free, they would grow and the codes shrink."""

    def __init__(self, shape: Sequence[int], code: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.weight = nn.Parameter(torch.randn(code, math.prod(shape)))

    def atoms(self) -> Tensor:
        """(code, width), each row of length 1."""
        return F.normalize(self.weight, dim=1)

    def forward(self, latent: Tensor, indices: Tensor | None = None) -> Tensor:
        output: Tensor = (latent @ self.atoms()).unflatten(-1, self.shape)
        return output


def _drop(h: Tensor, share: float, step: Step | None) -> Tensor:
    """Dropout with the step's own randomness, scaled so that the mean stays."""
    if step is None or not share:
        return h
    return h * (step.uniform(h) >= share) / (1 - share)


def choose_networks(config: TrainConfig, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """The encoder and the decoder of a recipe, for what it prepares of one input.

    Raises InputError for a size that cannot be halved as often as the settings ask.
    """
    recipe, network = config.ingredients, config.network_name
    hidden, latent = config.hidden, config.latent
    outputs = latent * (2 if recipe.posterior else 1)
    if recipe.dictionary:
        dictionary = Dictionary(shape, latent)
        return IstaEncoder(dictionary, config.steps, config.penalty_weight), dictionary
    if network == "gru":
        return GruEncoder(shape, hidden, outputs, dropout=config.dropout), GruDecoder(shape, hidden, latent)
    if network != "mlp":
        _check_axes(config, shape)
        return (
            ConvEncoder(shape, hidden, outputs, pooling=recipe.pooling, dropout=config.dropout),
            ConvDecoder(shape, hidden, latent, pooling=recipe.pooling),
        )
    encoder = MlpEncoder(shape, hidden, outputs, activation=recipe.activation, dropout=config.dropout)
    tied = encoder if config.tied else None
    return encoder, MlpDecoder(shape, hidden, latent, activation=recipe.activation, tied=tied)


def _check_axes(config: TrainConfig, shape: Sequence[int]) -> None:
    times = len(config.hidden)
    what = "window" if len(shape) == 2 else "image size"
    if config.ingredients.pooling and any(size % 2**times for size in shape[:-1]):
        sizes = "x".join(map(str, shape[:-1]))
        raise InputError(f"{what} {sizes} cannot be halved {times} times, expected a multiple of {2**times}")
    if any(size < 2 for size in halved(shape[:-1], max(times - 1, 0))[-1]):
        raise InputError(f"{what} {min(shape[:-1])} is too small for {times} halvings; set fewer layers in hidden")
