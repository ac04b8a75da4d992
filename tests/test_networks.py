"""Layers, their widths, and the function that they make, by hand."""

import torch
from torch import nn

from vae_detect.training.networks import mlp


def test_layers_alternate_with_relu_and_end_without_one() -> None:
    layers = list(mlp([5, 4, 3, 2]))
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    linear = [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)]
    assert linear == [(5, 4), (4, 3), (3, 2)]


def test_two_widths_are_one_linear_layer() -> None:
    (layer,) = mlp([3, 2])
    assert isinstance(layer, nn.Linear)


def test_the_output_by_hand() -> None:
    network = mlp([2, 2, 1])
    first, _, last = network
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        first.bias.copy_(torch.tensor([0.0, 1.0]))
        last.weight.copy_(torch.tensor([[2.0, 3.0]]))
        last.bias.copy_(torch.tensor([-10.0]))
    # (1, 3) -> (4, -1) -> relu (4, 0) -> 2 * 4 + 3 * 0 - 10 = -2, and no relu after the last layer
    assert network(torch.tensor([[1.0, 3.0]])).tolist() == [[-2.0]]
