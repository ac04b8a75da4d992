"""Greedy pretraining: each layer learns, alone, and all together begin better than without."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vae_detect.runtime.bundle import Column
from vae_detect.training.fitting.objective import Objective
from vae_detect.training.fitting.pretraining import pretrain
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.model.networks import MlpDecoder, MlpEncoder
from vae_detect.training.model.steps import Step
from vae_detect.training.settings.config import configure

BATCH = 64


def sensors(rows: int = 512) -> Tensor:
    """Eight standardised sensors that follow two hidden causes."""
    generator = np.random.default_rng(0)
    causes = generator.standard_normal((rows, 2))
    values = np.tanh(causes @ generator.standard_normal((2, 8))) + 0.1 * generator.standard_normal((rows, 8))
    return torch.tensor((values - values.mean(0)) / values.std(0), dtype=torch.float32)


def patterns(rows: int = 256) -> Tensor:
    """Six bits: three that agree, and their opposites."""
    which = np.random.default_rng(0).random((rows, 1)) < 0.5
    return torch.tensor(np.concatenate([which] * 3 + [~which] * 3, axis=1), dtype=torch.float32)


def batches_of(x: Tensor) -> Callable[[int], Iterator[tuple[Tensor, Step]]]:
    def batches(epoch: int) -> Iterator[tuple[Tensor, Step]]:
        generator = torch.Generator().manual_seed(epoch)
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            yield x[rows], Step(generator, len(rows), slice(0, len(rows)))

    return batches


def build(features: int, **settings: Any) -> Autoencoder:
    columns = [Column(f"x{position}", "", 0.0, 1.0) for position in range(features)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Autoencoder(configure({"hidden": (16, 8), "latent": 2, "learning_rate": 0.01, **settings}), columns)


def layers_of(model: Autoencoder) -> tuple[MlpEncoder, MlpDecoder]:
    assert isinstance(model.encoder, MlpEncoder)
    assert isinstance(model.decoder, MlpDecoder)
    return model.encoder, model.decoder


def first_epoch(model: Autoencoder, x: Tensor) -> float:
    """Mean loss of an epoch in which all layers are trained together."""
    objective, losses = Objective(model), []
    optimiser = torch.optim.Adam(objective.parameters(), lr=1e-3)
    for batch, step in batches_of(x)(1000):
        loss = objective(batch, None, step, 1.0).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses))


@pytest.mark.parametrize("recipe", ["stacked", "dbn"])
def test_pretraining_lowers_the_loss_of_the_first_epoch(recipe: str) -> None:
    x = sensors()
    pretrained, fresh = (build(8, recipe=recipe, pretrain_epochs=20, learning_rate=0.03) for _ in range(2))
    pretrain(pretrained, batches_of(x))
    assert first_epoch(pretrained, x) < first_epoch(fresh, x) - 0.5


def test_the_loss_of_each_layer_falls() -> None:
    history = pretrain(build(8, recipe="stacked", pretrain_epochs=8), batches_of(sensors()))
    assert [len(losses) for losses in history] == [8, 8, 8]
    for losses in history:
        assert losses[-1] < 0.9 * losses[0]


def test_the_layers_below_stay_while_one_is_trained() -> None:
    model, x, seen = build(8, recipe="stacked", pretrain_epochs=1), sensors(), []
    encoder, decoder = layers_of(model)

    def batches(_: int) -> Iterator[tuple[Tensor, Step]]:
        seen.append({name: value.detach().clone() for name, value in model.named_parameters()})
        yield from batches_of(x)(0)

    pretrain(model, batches)
    seen.append(dict(model.named_parameters()))
    assert len(seen) == 4
    for depth, (before, after) in enumerate(pairwise(seen)):
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        place = len(decoder.layers) - 1 - depth
        expected = {
            f"{part}.{name}"
            for part in (f"encoder.layers.{depth}", f"decoder.layers.{place}")
            for name in ("weight", "bias")
        }
        assert changed == expected
    assert len(encoder.layers) == 3


def test_a_stack_of_machines_is_unrolled_with_transposed_weights() -> None:
    model = build(8, recipe="dbn", pretrain_epochs=2)
    pretrain(model, batches_of(sensors()))
    encoder, decoder = layers_of(model)
    for depth in range(3):
        of_encoder = encoder.get_parameter(f"layers.{depth}.weight")
        of_decoder = decoder.get_parameter(f"layers.{2 - depth}.weight")
        assert torch.equal(of_decoder, of_encoder.T)
        assert of_decoder.data_ptr() != of_encoder.data_ptr()  # fine-tuning may part them
    assert bool(decoder.get_parameter("layers.2.bias").any())


def test_the_first_machine_learns_what_it_sees() -> None:
    model, x = build(8, recipe="dbn", hidden=(32,), pretrain_epochs=20), sensors()
    pretrain(model, batches_of(x))
    encoder, decoder = layers_of(model)
    with torch.no_grad():
        rebuilt = decoder.layers[-1](torch.sigmoid(encoder.layers[0](x)))
    assert float(((x - rebuilt) ** 2).mean()) < 0.5  # the variance is 1


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli"])
@pytest.mark.parametrize("recipe", ["stacked", "dbn"])
def test_the_first_layer_rebuilds_what_the_likelihood_is_about(recipe: str, likelihood: str) -> None:
    # The decoder ends in logits: 0 must become a large negative one, not 0, which is a half.
    settings = {"recipe": recipe, "likelihood": likelihood, "hidden": (8,)}
    model, x = build(6, **settings, pretrain_epochs=20, learning_rate=0.05), patterns()
    pretrain(model, batches_of(x))
    encoder, decoder = layers_of(model)
    with torch.no_grad():
        rebuilt = model.likelihood.mean(decoder.layers[-1](torch.sigmoid(encoder.layers[0](x))))
    assert float((x - rebuilt).abs().mean()) < 0.25


def test_no_epochs_leave_the_weights_of_the_layers_as_they_are() -> None:
    model, fresh = build(8, recipe="stacked", pretrain_epochs=0), build(8, recipe="stacked")
    assert pretrain(model, batches_of(sensors())) == [[], [], []]
    for found, expected in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(found, expected)
