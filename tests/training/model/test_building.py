"""What a network is built from and settled with: training and validation inputs, and nothing of calibration."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vae_detect.training.data.loading import Table
from vae_detect.training.data.selection import Selection
from vae_detect.training.data.split import Split, covered_rows, split
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.model.building import build, scores_along, settle
from vae_detect.training.settings.config import TrainConfig, configure

ROWS = 600
CONFIGS = {
    "rows": configure({"latent": 2, "hidden": "4"}),
    "windows": configure({"kind": "windows", "window": 4, "latent": 2, "hidden": "4"}),
    "free energy": configure({"recipe": "rbm", "latent": 2}),
}


def some_values() -> NDArray[np.float32]:
    generator = np.random.default_rng(0)
    cause = generator.normal(size=(ROWS, 1))
    return (cause + 0.3 * generator.normal(size=(ROWS, 3))).astype(np.float32)


def settled(config: TrainConfig, values: NDArray[np.float32]) -> Autoencoder:
    table, parts = table_of(values), parts_of(config)
    model, _ = build(table, parts, config, Selection())
    settle(model.eval(), values, parts)
    return model


def table_of(values: NDArray[np.float32]) -> Table:
    return Table(values, ("a", "b", "c"), None, np.zeros(ROWS, np.int64), None, [], "")


def parts_of(config: TrainConfig) -> Split:
    return split(table_of(some_values()), window=config.window, stride=1, ordered=config.kind == "windows", seed=0)


def score(model: Autoencoder) -> NDArray[np.float32]:
    starts = np.arange(0, ROWS - model.config.window, 7)
    return np.concatenate(list(scores_along(model, some_values(), starts)))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_knows_nothing_of_the_calibration_rows(name: str) -> None:
    config, values = CONFIGS[name], some_values()
    before = settled(config, values)
    rows = covered_rows(parts_of(config).calibration, config.window)
    values[rows] = 3 * values[rows] + 5
    after = settled(config, values)
    for one, other in zip(before.state_dict().values(), after.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    np.testing.assert_array_equal(score(before), score(after))


@pytest.mark.parametrize(("name", "part"), [("rows", "validation"), *((name, "train") for name in CONFIGS)])
def test_a_model_knows_the_rows_that_it_learns_from(name: str, part: str) -> None:
    # Else the test above would hold for a model that is fitted to nothing.
    config, values = CONFIGS[name], some_values()
    before = score(settled(config, values))
    rows = covered_rows(getattr(parts_of(config), part), config.window)
    values[rows] = 3 * values[rows] + 5
    assert not np.array_equal(before, score(settled(config, values)))


def test_the_lowest_free_energy_of_the_training_inputs_is_the_zero_of_the_score() -> None:
    config = CONFIGS["free energy"]
    model = settled(config, some_values())
    of_training = np.concatenate(list(scores_along(model, some_values(), parts_of(config).train)))
    assert of_training.min() == pytest.approx(0, abs=1e-5)
