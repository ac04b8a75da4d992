"""Greedy pretraining: each layer learns to rebuild the codes of the one before, then all are trained together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from ..model.autoencoder import Autoencoder
from ..model.boltzmann import Machine, contrastive_divergence
from ..model.networks import MlpDecoder, MlpEncoder
from ..model.steps import Step
from . import penalties

SPARSITY_WEIGHT = 0.1
"""Of the sparsity penalty on a hidden layer while it is trained alone."""


def pretrain(model: Autoencoder, batches: Callable[[int], Iterator[tuple[Tensor, Step]]]) -> list[list[float]]:
    """Trains the layers of `model` one after the other, in place; returns each layer's loss by epoch.

    "layers": layer l is a sparse autoencoder of the codes of layer l - 1 (Bengio et al. 2007). "rbm": it is a
    restricted Boltzmann machine trained by contrastive divergence, and the stack is unrolled, with the transposed
    weights in the decoder (Hinton and Salakhutdinov 2006); the code's units are linear.

    Parameters
    ----------
    batches : by epoch number, the prepared inputs of an epoch batch by batch, each with its step
    """
    encoder, decoder = _layers(model)
    history = []
    for depth in range(len(encoder.layers)):
        make = _machine_layer if model.ingredients.pretraining == "rbm" else _autoencoder_layer
        loss, parameters = make(model, depth)
        optimiser = torch.optim.Adam(parameters, lr=model.config.learning_rate)
        losses = []
        for epoch in range(model.config.pretrain_epochs):
            values = [_update(optimiser, loss, _codes(encoder, x, depth), step) for x, step in batches(epoch)]
            losses.append(float(torch.stack(values).mean()))
        history.append(losses)
        if model.ingredients.pretraining == "rbm":
            _unroll(encoder, decoder, depth)
    return history


LayerLoss = Callable[[Tensor, Step], Tensor]


def _layers(model: Autoencoder) -> tuple[MlpEncoder, MlpDecoder]:
    assert isinstance(model.encoder, MlpEncoder)
    assert isinstance(model.decoder, MlpDecoder)
    return model.encoder, model.decoder


def _codes(encoder: MlpEncoder, x: Tensor, depth: int) -> Tensor:
    """What the layers below `depth`, already trained, make of the input."""
    with torch.no_grad():
        h = x.flatten(1)
        for layer in encoder.layers[:depth]:
            h = encoder.activation(layer(h))
    return h


def _update(optimiser: torch.optim.Optimizer, loss: LayerLoss, x: Tensor, step: Step) -> Tensor:
    value = loss(x, step)
    optimiser.zero_grad()
    value.backward()
    optimiser.step()
    return value.detach()


def _autoencoder_layer(model: Autoencoder, depth: int) -> tuple[LayerLoss, list[Tensor]]:
    encoder, decoder = _layers(model)
    layer, back = encoder.linear(depth), decoder.layers[-1 - depth]
    is_code, is_first = depth == len(encoder.layers) - 1, depth == 0

    def loss(x: Tensor, step: Step) -> Tensor:
        h = layer(x) if is_code else encoder.activation(layer(x))
        if is_first:  # the input itself, from what the decoder ends in: logits, of some likelihoods
            rebuilt = model.likelihood.expected(back(h).unflatten(-1, decoder.shape)).flatten(1)
        else:
            rebuilt = decoder.activation(back(h))
        error = step.mean(0.5 * ((x - rebuilt) ** 2).sum(-1))
        if is_code or model.ingredients.activation != "sigmoid":
            return error
        return error + SPARSITY_WEIGHT * penalties.kl_sparsity(step.mean(h), model.config.rho)

    return loss, [*layer.parameters(), *back.parameters()]


def _machine_layer(model: Autoencoder, depth: int) -> tuple[LayerLoss, list[Tensor]]:
    encoder, decoder = _layers(model)
    layer, bias = encoder.linear(depth), decoder.get_parameter(f"layers.{len(decoder.layers) - 1 - depth}.bias")
    is_code = depth == len(encoder.layers) - 1
    with torch.no_grad():
        layer.weight.mul_(0.1)  # weights must be small at first, or the hidden units saturate (Hinton 2010, section 8)
        nn.init.zeros_(layer.bias)
        nn.init.zeros_(bias)
    # Grey values in [0, 1] count as probabilities of binary units, as in Hinton and Salakhutdinov 2006.
    is_binary = depth > 0 or model.config.likelihood in ("bernoulli", "continuous-bernoulli")
    machine = Machine(layer.weight, layer.bias, bias, binary_visible=is_binary, gaussian_hidden=is_code)
    return lambda x, step: contrastive_divergence(machine, x, step), [layer.weight, layer.bias, bias]


def _unroll(encoder: MlpEncoder, decoder: MlpDecoder, depth: int) -> None:
    back = decoder.layers[len(decoder.layers) - 1 - depth]
    if isinstance(back, nn.Linear):  # else the weight is the encoder's already
        with torch.no_grad():
            back.weight.copy_(encoder.linear(depth).weight.T)
