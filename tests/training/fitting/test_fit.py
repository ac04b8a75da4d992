"""The training loop: it learns, it is reproducible to the bit, it stops in time, and a killed run goes on."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from vae_detect.runtime.bundle import Column, Image
from vae_detect.runtime.errors import InputError
from vae_detect.training.data.split import Split
from vae_detect.training.fitting.fit import Epoch, Inputs, fit
from vae_detect.training.fitting.objective import Objective
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.settings.config import TrainConfig, configure
from vae_detect.training.settings.recipes import RECIPES

CONFIG = TrainConfig(recipe="vae", hidden=(6,), latent=1, epochs=6, batch=32, learning_rate=1e-2)
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


COLUMNS = tuple(Column(name, "", 0.0, 1.0) for name in "abc")
SMALL = {"hidden": "6", "latent": 1, "epochs": 6, "batch": 32, "learning_rate": 1e-2, "pretrain_epochs": 2}


def small(recipe: str, **settings: Any) -> TrainConfig:
    """A quick run of any recipe."""
    chosen = SMALL | {"recipe": recipe} | settings
    if RECIPES[recipe].settings.get("hidden") == ():
        del chosen["hidden"]
    return configure(chosen)


def new_model(config: TrainConfig) -> Autoencoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        classes = (0.5, 0.5) if config.recipe == "cvae" else ()
        if config.kind == "images":
            return Autoencoder(
                config, (Column("grey", "", 128.0, 64.0),), Image(config.size[0], config.size[-1], "grey"), classes
            )
        columns = (*COLUMNS[:2], Column("c", "", 0.0, 1.0, "class", levels=(0.0, 1.0))) if classes else COLUMNS
        return Autoencoder(config, columns, class_frequencies=classes)


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
    history = fit(model, rows, parts, checkpoint=checkpoint, fingerprint=fingerprint, resume=resume, report=report)
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
        reconstruction, kl = Objective(model).validate(x, None)
        return float(reconstruction + config.beta * kl) / len(x)


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


@pytest.mark.parametrize("recipe", [name for name, recipe in RECIPES.items() if not recipe.convolutional])
def test_every_recipe_lowers_its_validation_loss_and_is_reproducible(rows: Tensor, tmp_path: Path, recipe: str) -> None:
    config = small(recipe, latent=2, epochs=12)
    if recipe == "cvae":
        rows = torch.cat([rows[:, :2], (rows[:, :1] > 0).float()], 1)
    first, second = (run(rows, tmp_path / name, config) for name in "ab")
    assert min(epoch.validation for epoch in first.history) < first.history[0].validation
    assert equal(first.weights, second.weights)
    assert first.history == second.history


def test_pretraining_counts_for_the_first_epoch(rows: Tensor, tmp_path: Path) -> None:
    without, with_ = (
        run(rows, tmp_path / "c", small("stacked", latent=2, epochs=1, pretrain_epochs=epochs)).history[0].validation
        for epochs in (0, 30)
    )
    assert with_ < without - 0.1


def test_the_weight_of_the_kl_rises_from_epoch_to_epoch(rows: Tensor, tmp_path: Path) -> None:
    for epoch in run(rows, tmp_path / "c", replace(CONFIG, beta=0.8, annealing=3)).history:
        beta = 0.8 * min(epoch.number / 4, 1)  # 0.2, 0.4, 0.6, then 0.8
        assert epoch.loss == pytest.approx(epoch.reconstruction + beta * epoch.kl, rel=1e-5)


def test_images_train(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    brightness = generator.integers(60, 200, size=(60, 1, 1, 1))
    images = torch.from_numpy((brightness + generator.integers(0, 20, size=(60, 8, 8, 1))).astype(np.uint8))
    config = TrainConfig(
        recipe="vae", kind="images", size=(8,), hidden=(4,), latent=1, epochs=5, batch=16, learning_rate=1e-2
    )
    parts = Split(np.arange(0, 40), np.arange(40, 50), np.arange(50, 60))
    history = run(images, tmp_path / "c", config, parts=parts).history
    assert history[-1].validation < history[0].validation


def test_half_precision_learns_the_same(rows: Tensor, tmp_path: Path) -> None:
    whole, half = (
        run(rows, tmp_path / "c", replace(CONFIG, epochs=15, precision=precision)) for precision in ("auto", "bfloat16")
    )
    assert not equal(whole.weights, half.weights)
    assert half.history[-1].validation == pytest.approx(whole.history[-1].validation, abs=0.3)
    assert {weight.dtype for weight in half.weights.values()} == {torch.float32}


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
        model.config = replace(CONFIG, seed=seed)
        fit(model, rows, PARTS, checkpoint=tmp_path / "c", fingerprint="abc")
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


# Recipes whose runs hold more than a model: a discriminator, pretrained layers, chains, classes.
RESUMED = ["ae", "vae", "adversarial", "gan", "stacked", "dbn", "rbm", "iwae", "mixture-vae", "denoising", "dropout"]


@pytest.mark.parametrize("stop", [1, 3, 6])
@pytest.mark.parametrize("recipe", RESUMED)
def test_a_resumed_run_ends_with_the_same_bits(rows: Tensor, tmp_path: Path, recipe: str, stop: int) -> None:
    config = small(recipe)
    whole = run(rows, tmp_path / "whole", config)
    with pytest.raises(InterruptedRunError):
        run(rows, tmp_path / "c", config, report=interrupt_after(stop))
    seen: list[Epoch] = []
    resumed = run(rows, tmp_path / "c", config, resume=True, report=seen.append)
    assert equal(resumed.weights, whole.weights)
    assert seen == whole.history[stop:]
    assert resumed.history == whole.history


@pytest.mark.parametrize("recipe", ["stacked", "dbn"])
def test_a_run_stopped_while_it_pretrains_resumes(
    rows: Tensor, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(recipe)
    whole = run(rows, tmp_path / "whole", config)

    def stopped(model: Autoencoder, _: object) -> None:
        model.encoder.get_parameter("layers.0.weight").data.zero_()
        raise InterruptedRunError

    with monkeypatch.context() as patch:
        patch.setattr("vae_detect.training.fitting.fit.pretrain", stopped)
        with pytest.raises(InterruptedRunError):
            run(rows, tmp_path / "c", config)
    resumed = run(rows, tmp_path / "c", config, resume=True)
    assert equal(resumed.weights, whole.weights)
    assert resumed.history == whole.history


@pytest.mark.parametrize(
    "settings", [{"precision": "bfloat16"}, {"dropout": 0.3, "corruption": "mask"}, {"corruption": "gaussian"}]
)
@pytest.mark.parametrize("recipe", ["vae", "adversarial", "dbn"])
def test_a_resumed_run_draws_the_same_noise_in_any_precision(
    rows: Tensor, tmp_path: Path, recipe: str, settings: dict[str, Any]
) -> None:
    config = small(recipe, **settings)
    with pytest.raises(InterruptedRunError):
        run(rows, tmp_path / "c", config, report=interrupt_after(2))
    whole, resumed = run(rows, tmp_path / "whole", config), run(rows, tmp_path / "c", config, resume=True)
    assert equal(resumed.weights, whole.weights)
    assert resumed.history == whole.history


def test_a_resumed_run_remembers_its_best_epoch(rows: Tensor, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=200, patience=4, learning_rate=0.1)
    whole = run(rows, tmp_path / "whole", config)
    last = whole.history[-1].number
    with pytest.raises(InterruptedRunError):
        run(rows, tmp_path / "c", config, report=interrupt_after(last - 1))  # 3 epochs past the best one
    seen: list[Epoch] = []
    resumed = run(rows, tmp_path / "c", config, resume=True, report=seen.append)
    assert [epoch.number for epoch in seen] == [last]
    assert resumed.history == whole.history
    assert equal(resumed.weights, whole.weights)


def test_a_run_killed_while_writing_resumes_from_the_epoch_before(rows: Tensor, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        run(rows, tmp_path / "c", report=interrupt_after(2))
    half = tmp_path / f"c.{2**22 + 1}.tmp"  # the temporary name of a process beyond the largest number
    half.write_bytes((tmp_path / "c").read_bytes()[:100])
    seen: list[Epoch] = []
    resumed = run(rows, tmp_path / "c", resume=True, report=seen.append)
    assert [epoch.number for epoch in seen] == [3, 4, 5, 6]
    assert [epoch.number for epoch in resumed.history] == [1, 2, 3, 4, 5, 6]
    assert equal(resumed.weights, run(rows, tmp_path / "whole").weights)
    assert not half.exists()


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


def model_of(kind: str, window: int = 1) -> Autoencoder:
    """Two columns, (x - 1) / 2."""
    config = TrainConfig(recipe="vae", kind=kind, window=window, hidden=(2,), latent=1)  # type: ignore[arg-type]
    return Autoencoder(config, (Column("a", "", 1.0, 2.0), Column("b", "", 1.0, 2.0)))


def test_inputs_are_rows_or_windows() -> None:
    rows = 2 * torch.arange(10.0).reshape(5, 2) + 1
    x, classes = Inputs(model_of("rows"), rows).at(torch.tensor([4, 0]))
    assert x.tolist() == [[8.0, 9.0], [0.0, 1.0]]
    assert classes is None
    windows, _ = Inputs(model_of("windows", 3), rows).at(torch.tensor([2, 0]))
    expected = [[[4.0, 5.0], [6.0, 7.0], [8.0, 9.0]], [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]]
    assert windows.tolist() == expected


def test_windows_are_a_view_of_the_rows() -> None:
    inputs = Inputs(model_of("windows", 50), torch.ones(100_000, 2))
    # 400 kB of rows stand for 40 MB of windows
    assert inputs._view.shape == (99_951, 50, 2)
    assert inputs._view.untyped_storage().nbytes() == 100_000 * 2 * 4


def test_images_stay_uint8_until_they_are_drawn() -> None:
    config = TrainConfig(recipe="vae", kind="images", size=(8,), hidden=(2,), latent=1)
    model = Autoencoder(config, (Column("grey", "", 100.0, 50.0),), Image(8, 8, "grey"))
    images = torch.full((5, 8, 8, 1), 200, dtype=torch.uint8)
    images[3] = 0
    x, classes = Inputs(model, images, torch.eye(5)).at(torch.tensor([3, 1]))
    assert x.dtype == torch.float32
    assert x.flatten(1)[:, 0].tolist() == [-2.0, 2.0]  # (0 - 100) / 50 and (200 - 100) / 50
    assert classes is not None
    assert classes.tolist() == torch.eye(5)[[3, 1]].tolist()
