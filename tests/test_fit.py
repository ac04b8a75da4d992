"""The training loop: it learns, it is reproducible to the bit, it stops in time, and a killed run goes on."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from vae_detect.runtime.errors import InputError
from vae_detect.training.data import Scaling, Split
from vae_detect.training.fit import Epoch, Inputs, fit
from vae_detect.training.model import Autoencoder
from vae_detect.training.recipes import TrainConfig

CONFIG = TrainConfig(hidden=(6,), latent=1, epochs=6, batch=32, learning_rate=1e-2)
PARTS = Split(np.arange(0, 140), np.arange(140, 170), np.arange(170, 200))


class Run(NamedTuple):
    model: Autoencoder
    history: list[Epoch]

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.model.state_dict()


@pytest.fixture(scope="module")
def rows() -> Tensor:
    """200 rows of 3 columns that one hidden cause ties together."""
    generator = np.random.default_rng(0)
    cause = generator.normal(size=(200, 1))
    values = cause @ np.array([[1.0, -2.0, 0.5]]) + 0.1 * generator.normal(size=(200, 3))
    return torch.from_numpy(values.astype(np.float32))


def new_model(config: TrainConfig) -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Autoencoder(config, Scaling(np.zeros(3, np.float32), np.ones(3, np.float32)))


def run(
    rows: Tensor,
    checkpoint: Path,
    config: TrainConfig = CONFIG,
    *,
    parts: Split = PARTS,
    fingerprint: str = "abc",
    resume: bool = False,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> Run:
    model = new_model(config)
    history = fit(
        model, rows, parts, config, checkpoint=checkpoint, fingerprint=fingerprint, resume=resume, report=report
    )
    return Run(model, history)


class InterruptedRunError(Exception):
    """Stands in for a killed process."""


def interrupt_after(epoch: int) -> Callable[[Epoch], None]:
    def report(found: Epoch) -> None:
        if found.number == epoch:
            raise InterruptedRunError

    return report


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def validation_loss(model: Autoencoder, rows: Tensor, parts: Split, config: TrainConfig) -> float:
    with torch.no_grad():
        x = model.standardise(rows[torch.from_numpy(parts.validation)])
        reconstruction, kl = model.training_terms(x, None)
        return float(reconstruction + config.beta * kl)


# --- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["ae", "vae"])
def test_the_loss_falls(rows: Tensor, tmp_path: Path, recipe: str) -> None:
    history = run(rows, tmp_path / "c", replace(CONFIG, recipe=recipe, epochs=15)).history
    assert [epoch.number for epoch in history] == list(range(1, 16))
    assert history[-1].loss < history[0].loss - 0.5
    assert history[-1].validation < history[0].validation - 0.5


def test_the_loss_is_its_two_parts(rows: Tensor, tmp_path: Path) -> None:
    config = replace(CONFIG, beta=0.25, epochs=2)
    for epoch in run(rows, tmp_path / "c", config).history:
        assert epoch.loss == pytest.approx(epoch.reconstruction + 0.25 * epoch.kl, rel=1e-5)


def test_a_point_code_trains_without_a_kl(rows: Tensor, tmp_path: Path) -> None:
    assert [epoch.kl for epoch in run(rows, tmp_path / "c", replace(CONFIG, recipe="ae")).history] == [0.0] * 6


def test_a_larger_beta_keeps_the_posterior_nearer_to_the_prior(rows: Tensor, tmp_path: Path) -> None:
    weak, strong = (run(rows, tmp_path / "c", replace(CONFIG, beta=beta)).history[-1].kl for beta in (0.1, 10.0))
    assert strong < weak / 2


def test_windows_train(rows: Tensor, tmp_path: Path) -> None:
    config = replace(CONFIG, kind="windows", window=4)
    parts = Split(np.arange(0, 130), np.arange(140, 160), np.arange(170, 190))
    history = run(rows, tmp_path / "c", config, parts=parts).history
    assert history[-1].loss < history[0].loss


def test_a_loss_that_is_not_finite_is_told_with_a_remedy(rows: Tensor, tmp_path: Path) -> None:
    broken = rows.clone()
    broken[3, 1] = torch.nan
    with pytest.raises(InputError, match=r"not finite in epoch 1; try --set learning_rate=0\.001"):
        run(broken, tmp_path / "c")
    assert not (tmp_path / "c").exists()


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_bits_and_others_do_not(rows: Tensor, tmp_path: Path) -> None:
    first, second = (run(rows, tmp_path / name) for name in "ab")
    assert equal(first.weights, second.weights)
    assert first.history == second.history
    assert not equal(first.weights, run(rows, tmp_path / "c", replace(CONFIG, seed=1)).weights)


def test_the_seed_orders_the_rows_too(rows: Tensor, tmp_path: Path) -> None:
    # The same initial weights, another seed for the loop.
    ends = []
    for seed in (0, 1):
        model = new_model(CONFIG)
        config = replace(CONFIG, seed=seed)
        fit(model, rows, PARTS, config, checkpoint=tmp_path / "c", fingerprint="abc")
        ends.append(model.state_dict())
    assert not equal(*ends)


def test_the_global_random_state_has_no_say_and_is_left_alone(rows: Tensor, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        before, numpy_before = torch.random.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
        first = run(rows, tmp_path / "a")
        assert torch.equal(torch.random.get_rng_state(), before)
        assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy_before)
        torch.manual_seed(456)
        assert equal(first.weights, run(rows, tmp_path / "b").weights)


# --- early stopping --------------------------------------------------------------------------------------------------


def test_it_stops_after_patience_and_keeps_the_best_weights(rows: Tensor, tmp_path: Path) -> None:
    # A step size at which the validation loss jumps about.
    config = replace(CONFIG, epochs=200, patience=4, learning_rate=0.1)
    model, history = run(rows, tmp_path / "c", config)
    best = min(history, key=lambda epoch: epoch.validation)
    assert len(history) < 200
    assert history[-1].number - best.number == 4
    assert validation_loss(model, rows, PARTS, config) == pytest.approx(best.validation, rel=1e-5)
    assert validation_loss(model, rows, PARTS, config) < history[-1].validation


def test_the_best_epochs_are_marked(rows: Tensor, tmp_path: Path) -> None:
    history = run(rows, tmp_path / "c", replace(CONFIG, epochs=30, patience=30, learning_rate=0.1)).history
    lowest = float("inf")
    for epoch in history:
        assert epoch.is_best == (epoch.validation < lowest)
        lowest = min(lowest, epoch.validation)
    assert not all(epoch.is_best for epoch in history)


def test_epochs_bound_the_run(rows: Tensor, tmp_path: Path) -> None:
    assert len(run(rows, tmp_path / "c", replace(CONFIG, epochs=1, patience=50)).history) == 1


def test_every_epoch_is_reported_once(rows: Tensor, tmp_path: Path) -> None:
    seen: list[Epoch] = []
    assert run(rows, tmp_path / "c", report=seen.append).history == seen


# --- resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 3, 6])
@pytest.mark.parametrize("recipe", ["ae", "vae"])
def test_a_resumed_run_ends_with_the_same_bits(rows: Tensor, tmp_path: Path, recipe: str, stop: int) -> None:
    config = replace(CONFIG, recipe=recipe)
    whole = run(rows, tmp_path / "whole", config)
    with pytest.raises(InterruptedRunError):
        run(rows, tmp_path / "c", config, report=interrupt_after(stop))
    resumed = run(rows, tmp_path / "c", config, resume=True)
    assert equal(resumed.weights, whole.weights)
    assert resumed.history == whole.history[stop:]


def test_a_resumed_run_remembers_its_best_epoch(rows: Tensor, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=200, patience=4, learning_rate=0.1)
    whole = run(rows, tmp_path / "whole", config)
    last = whole.history[-1].number
    with pytest.raises(InterruptedRunError):
        run(rows, tmp_path / "c", config, report=interrupt_after(last - 1))  # 3 epochs past the best one
    resumed = run(rows, tmp_path / "c", config, resume=True)
    assert [epoch.number for epoch in resumed.history] == [last]
    assert equal(resumed.weights, whole.weights)


def test_a_run_killed_while_writing_resumes_from_the_epoch_before(rows: Tensor, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        run(rows, tmp_path / "c", report=interrupt_after(2))
    (tmp_path / "c.tmp").write_bytes((tmp_path / "c").read_bytes()[:100])  # half a file under the temporary name
    resumed = run(rows, tmp_path / "c", resume=True)
    assert [epoch.number for epoch in resumed.history] == [3, 4, 5, 6]
    assert equal(resumed.weights, run(rows, tmp_path / "whole").weights)
    assert not (tmp_path / "c.tmp").exists()


def test_without_resume_a_checkpoint_is_ignored(rows: Tensor, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        run(rows, tmp_path / "c", report=interrupt_after(2))
    assert len(run(rows, tmp_path / "c").history) == 6


def test_a_checkpoint_of_other_data_or_settings_is_refused(rows: Tensor, tmp_path: Path) -> None:
    run(rows, tmp_path / "c")
    with pytest.raises(InputError, match="the checkpoint is of other data or settings; train without --resume"):
        run(rows, tmp_path / "c", fingerprint="other", resume=True)


def test_a_missing_checkpoint_is_refused(rows: Tensor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint to resume from; train without --resume"):
        run(rows, tmp_path / "c", resume=True)


class Payload:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "pickle", "pickle in a checkpoint", "a tensor"])
def test_a_damaged_or_foreign_checkpoint_is_refused(rows: Tensor, tmp_path: Path, damage: str) -> None:
    path, trace = tmp_path / "c", tmp_path / "trace"
    run(rows, path)
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "truncated":
            path.write_bytes(path.read_bytes()[:-200])
        case "text":
            path.write_text("epoch 3\n")
        case "pickle":
            path.write_bytes(pickle.dumps(Payload(trace)))
        case "pickle in a checkpoint":
            torch.save({"fingerprint": "abc", "model": Payload(trace)}, path)
        case "a tensor":
            torch.save(torch.zeros(3), path)
    with pytest.raises(InputError, match=r"not a checkpoint that can be resumed|of other data or settings"):
        run(rows, path, resume=True)
    assert not trace.exists()


# --- inputs ----------------------------------------------------------------------------------------------------------


def test_inputs_are_rows_or_windows() -> None:
    rows = torch.arange(10.0).reshape(5, 2)
    assert Inputs(rows, kind="rows", window=1).at(torch.tensor([4, 0])).tolist() == [[8.0, 9.0], [0.0, 1.0]]
    windows = Inputs(rows, kind="windows", window=3).at(torch.tensor([2, 0]))
    expected = [[[4.0, 5.0], [6.0, 7.0], [8.0, 9.0]], [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]]
    assert windows.tolist() == expected


def test_windows_are_a_view_of_the_rows() -> None:
    rows = torch.zeros(1000, 3)
    inputs = Inputs(rows, kind="windows", window=50)
    rows[999] = 7.0
    assert inputs.at(torch.tensor([950]))[0, -1].tolist() == [7.0, 7.0, 7.0]
