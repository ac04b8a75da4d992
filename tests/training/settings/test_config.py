"""Settings of a run: every refusal names the field, its value and what is allowed; text is converted, never guessed."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_detect.runtime.bundle import Column
from vae_detect.runtime.errors import InputError
from vae_detect.training.fitting.objective import Losses, Objective
from vae_detect.training.fitting.pretraining import pretrain
from vae_detect.training.model.autoencoder import Autoencoder
from vae_detect.training.model.steps import Step
from vae_detect.training.settings.config import TrainConfig, configure, read_settings
from vae_detect.training.settings.recipes import DEFAULT_RECIPE, NETWORKS, RECIPES

# field, a bad value, what must stand in the message besides both
REFUSED: list[tuple[str, Any, str]] = [
    ("kind", "videos", "rows, windows or images"),
    ("window", 0, "1 or more"),
    ("window", 5, "1 unless kind is windows"),
    ("stride", 0, "1 or more"),
    ("stride", -3, "1 or more"),
    ("size", (), "8 or more pixels, like 64 or 64,96"),
    ("size", (7,), "8 or more pixels"),
    ("size", (64, 7), "8 or more pixels"),
    ("size", (64, 64, 3), "8 or more pixels"),
    ("colour", "blue", "one of auto, grey, colour"),
    ("recipe", "pca", "ae, sparse, sparse-coding, stacked, rbm, dbn, conv"),
    ("network", "transformer", "one of recipe, mlp, conv1d, gru, conv2d"),
    ("likelihood", "poisson", "gaussian, laplace, bernoulli, continuous-bernoulli"),
    ("tied", True, "false for recipe vae"),
    ("penalty", "l2", "one of recipe, none, kl-sparsity, l1, jacobian, discriminator"),
    ("penalty_weight", -1.0, "0 or more, and finite"),
    ("penalty_weight", float("nan"), "0 or more, and finite"),
    ("rho", 0.0, "between 0 and 1"),
    ("rho", 1.0, "between 0 and 1"),
    ("corruption", "blur", "one of recipe, none, gaussian, mask"),
    ("corruption_level", -0.1, "0 or more, and finite"),
    ("dropout", -0.1, "0 or more, and less than 1"),
    ("dropout", 1.0, "0 or more, and less than 1"),
    ("annealing", -1, "0 or more, and finite"),
    ("free_bits", -0.5, "0 or more, and finite"),
    ("components", 0, "1 or more"),
    ("steps", 0, "1 or more"),
    ("pretrain_epochs", -1, "0 or more, and finite"),
    ("precision", "float16", "one of auto, float32, bfloat16"),
    ("hidden", (64, 0), "64,32"),
    ("hidden", (-1,), "64,32"),
    ("latent", 0, "1 or more"),
    ("points", 0, "1 or more"),
    ("epochs", 0, "1 or more"),
    ("batch", 0, "1 or more"),
    ("patience", 0, "1 or more"),
    ("beta", -0.5, "0 or more"),
    ("beta", float("nan"), "0 or more"),
    ("clip", 0.0, "more than 0"),
    ("clip", float("nan"), "more than 0"),
    ("clip", float("inf"), "more than 0, and finite"),
    ("learning_rate", float("inf"), "more than 0, and finite"),
    ("beta", float("inf"), "0 or more, and finite"),
    ("learning_rate", 0.0, "more than 0"),
    ("learning_rate", -1e-3, "more than 0"),
    ("seed", -1, "0 to 2147483647"),
    ("seed", 2**31, "0 to 2147483647"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_a_refusal_names_field_value_and_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(InputError) as refused:
        replace(TrainConfig(recipe="vae"), **{name: value})
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else value  # as it is typed
    assert f"setting {name} is {shown!r}, expected " in str(refused.value)
    assert allowed in str(refused.value)


def test_every_field_has_a_refusal() -> None:
    assert {name for name, _, _ in REFUSED} == {field.name for field in fields(TrainConfig)}


def test_windows_need_a_window() -> None:
    with pytest.raises(InputError, match="setting window is 1, expected 2 or more when kind is windows"):
        TrainConfig(recipe="vae", kind="windows")
    assert TrainConfig(recipe="vae", kind="windows", window=2).window == 2


def test_the_ends_of_the_ranges_are_allowed() -> None:
    config = TrainConfig(
        recipe="vae", hidden=(), latent=1, points=1, epochs=1, batch=1, patience=1, beta=0.0, seed=2**31 - 1
    )
    assert (config.hidden, config.beta, config.seed) == ((), 0.0, 2147483647)


# --- combinations ----------------------------------------------------------------------------------------------------

# settings, the field that is blamed, what must stand in the message
CLASHES: list[tuple[dict[str, Any], str, str]] = [
    ({"recipe": "conv"}, "kind", "windows or images for recipe conv, which convolves"),
    ({"recipe": "conv-unpool"}, "kind", "windows or images for recipe conv-unpool, which convolves"),
    ({"recipe": "conv", "kind": "windows", "network": "gru"}, "network", "conv1d for recipe conv, which convolves"),
    ({"recipe": "conv", "kind": "windows", "network": "mlp"}, "network", "conv1d for recipe conv, which convolves"),
    ({"recipe": "conv-unpool", "kind": "images", "network": "mlp"}, "network", "conv2d for recipe conv-unpool"),
    ({"network": "conv1d"}, "network", "one of mlp for kind rows"),
    ({"network": "gru"}, "network", "one of mlp for kind rows"),
    ({"network": "conv2d"}, "network", "one of mlp for kind rows"),
    ({"kind": "windows", "network": "conv2d"}, "network", "one of mlp, conv1d, gru for kind windows"),
    ({"kind": "images", "network": "conv1d"}, "network", "one of conv2d, mlp for kind images"),
    ({"kind": "images", "network": "gru"}, "network", "one of conv2d, mlp for kind images"),
    ({"kind": "images", "window": 4}, "window", "1 unless kind is windows"),
    (
        {"recipe": "ae", "tied": True, "kind": "windows", "network": "gru"},
        "network",
        "mlp for recipe ae, whose weights are tied",
    ),
    ({"recipe": "sparse-coding", "kind": "windows", "network": "gru"}, "network", "mlp for recipe sparse-coding"),
    ({"recipe": "stacked", "kind": "images", "network": "conv2d"}, "network", "mlp for recipe stacked"),
    ({"recipe": "dbn", "kind": "images", "network": "conv2d"}, "network", "mlp for recipe dbn"),
    ({"recipe": "sparse-coding", "tied": True}, "tied", "false for recipe sparse-coding"),
    ({"recipe": "cvae", "tied": True}, "tied", "false for recipe cvae"),
    ({"recipe": "rbm", "tied": False}, "hidden", "none, and tied=true, for recipe rbm"),
    ({"recipe": "rbm", "hidden": (8,)}, "hidden", "none, and tied=true, for recipe rbm"),
    ({"recipe": "rbm", "likelihood": "laplace"}, "likelihood", "gaussian or bernoulli for recipe rbm"),
    ({"recipe": "rbm", "likelihood": "continuous-bernoulli"}, "likelihood", "gaussian or bernoulli for recipe rbm"),
    ({"recipe": "sparse-coding", "hidden": (8,)}, "hidden", "none for recipe sparse-coding"),
    ({"recipe": "stacked", "hidden": ()}, "hidden", "at least one layer for recipe stacked"),
    ({"recipe": "dbn", "hidden": ()}, "hidden", "at least one layer for recipe dbn"),
    ({"corruption": "mask", "corruption_level": 1.0}, "corruption_level", "a share below 1 for masking"),
    ({"recipe": "ae", "penalty": "kl-sparsity"}, "penalty", "l1 or jacobian, for a code that is no sigmoid"),
    ({"penalty": "kl-sparsity"}, "penalty", "l1 or jacobian, for a code that is no sigmoid"),
    ({"recipe": "vae", "penalty": "l1"}, "penalty", "none or jacobian for recipe vae"),
    ({"recipe": "vae", "penalty": "discriminator"}, "penalty", "none or jacobian for recipe vae"),
    ({"kind": "windows", "network": "gru"}, "network", "mlp for recipe ensemble, which sees statistics of a window"),
    ({"recipe": "gan", "penalty": "discriminator"}, "penalty", "none for recipe gan"),
    ({"recipe": "gan", "penalty": "l1"}, "penalty", "none for recipe gan"),
    ({"recipe": "rbm", "penalty": "jacobian"}, "penalty", "none for recipe rbm"),
    ({"recipe": "iwae", "penalty": "jacobian"}, "penalty", "none for recipe iwae"),
    ({"recipe": "rbm", "corruption": "mask"}, "corruption", "none for recipe rbm"),
    ({"recipe": "rbm", "dropout": 0.1}, "dropout", "0 for recipe rbm"),
    ({"recipe": "sparse-coding", "dropout": 0.1}, "dropout", "0 for recipe sparse-coding"),
    ({"recipe": "iwae", "beta": 2.0}, "beta", "1 for recipe iwae"),
    ({"recipe": "iwae", "annealing": 5}, "annealing", "0 for recipe iwae"),
    ({"recipe": "ae", "free_bits": 0.5}, "free_bits", "0 for recipe ae"),
    ({"recipe": "mixture-vae", "free_bits": 0.5}, "free_bits", "0 for recipe mixture-vae"),
    ({"recipe": "adversarial", "free_bits": 0.5}, "free_bits", "0 for recipe adversarial"),  # it has no KL
    ({"recipe": "iwae", "free_bits": 0.5}, "free_bits", "0 for recipe iwae"),  # nor does its bound
]


@pytest.mark.parametrize(("chosen", "name", "allowed"), CLASHES, ids=[f"{c} {n}" for c, n, _ in CLASHES])
def test_ingredients_that_do_not_fit_are_refused_by_name(chosen: dict[str, Any], name: str, allowed: str) -> None:
    with pytest.raises(InputError) as refused:
        configure(chosen)
    assert str(refused.value).startswith(f"setting {name} is ")
    assert allowed in str(refused.value)


@pytest.mark.parametrize(
    "chosen",
    [
        {"recipe": "ae", "tied": True},
        {"recipe": "stacked", "tied": True},
        {"recipe": "dbn", "tied": True},
        {"recipe": "ae", "penalty": "l1"},
        {"recipe": "ae", "penalty": "discriminator"},
        {"recipe": "sparse", "penalty": "none"},
        {"recipe": "vae", "penalty": "jacobian", "hidden": ""},
        {"recipe": "gan", "corruption": "gaussian", "dropout": 0.2},
        {"recipe": "iwae", "corruption": "mask"},
        {"recipe": "vae", "free_bits": 0.5},
        {"recipe": "beta-vae", "free_bits": 0.5},
        {"recipe": "rbm", "likelihood": "bernoulli"},
        {"recipe": "vae", "corruption": "gaussian", "corruption_level": 2.0},
    ],
)
def test_ingredients_that_fit_are_taken_and_can_be_trained(chosen: dict[str, Any]) -> None:
    config = configure({"latent": 2, "pretrain_epochs": 1, **chosen})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Autoencoder(config, [Column(name, "", 0.0, 1.0) for name in "abc"])
        objective = Objective(model)
    x = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    if config.ingredients.pretraining != "none":
        pretrain(model, lambda epoch: iter([(x, Step(torch.Generator(), 2, slice(None)))]))
    losses: Losses = objective(x, None, Step(torch.Generator(), 2, slice(None)), 1.0)
    losses.loss.backward()
    assert torch.isfinite(losses.loss)


# --- recipes and their defaults --------------------------------------------------------------------------------------


def kind_for(recipe: str) -> str:
    return "windows" if RECIPES[recipe].convolutional else "rows"


def test_the_default_recipe_is_the_same_everywhere() -> None:
    assert TrainConfig().recipe == configure({}).recipe == DEFAULT_RECIPE == "ensemble"


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_is_the_choice_of_its_kind(kind: str) -> None:
    for network in NETWORKS[kind]:  # type: ignore[index]
        assert configure({"recipe": "vae", "kind": kind, "network": network}).network_name == network
    assert configure({"kind": kind}).network_name == NETWORKS[kind][0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("chosen", "network"),
    [
        ({"recipe": "conv", "kind": "windows"}, "conv1d"),
        ({"recipe": "conv", "kind": "images"}, "conv2d"),
        ({"recipe": "conv-unpool", "kind": "images"}, "conv2d"),
        ({"recipe": "stacked", "kind": "images"}, "mlp"),
        ({"recipe": "sparse-coding", "kind": "images"}, "mlp"),
        ({"recipe": "contractive", "kind": "images"}, "mlp"),  # tied
        ({"recipe": "rbm", "kind": "images"}, "mlp"),
        ({"recipe": "vae", "kind": "images"}, "conv2d"),
        ({"recipe": "vae", "kind": "windows"}, "mlp"),
    ],
)
def test_the_network_that_a_recipe_can_use(chosen: dict[str, str], network: str) -> None:
    assert configure(chosen).network_name == network


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        # the defaults of TrainConfig
        ({"recipe": "vae"}, {"window": 1, "hidden": (64, 32), "latent": 8, "batch": 128, "beta": 1.0}),
        # the recipe that is taken where none is named, which has settings of its own for rows
        ({}, {"recipe": DEFAULT_RECIPE, "hidden": (128,), "latent": 32, "epochs": 300}),
        ({"hidden": "16"}, {"recipe": DEFAULT_RECIPE, "hidden": (16,), "latent": 32}),
        # of the kind of data over them
        ({"kind": "windows"}, {"window": 16, "latent": 8}),
        ({"kind": "images"}, {"hidden": (16, 32, 64), "latent": 32, "batch": 64}),
        ({"kind": "images", "network": "mlp"}, {"hidden": (256, 64)}),
        ({"recipe": "vae", "kind": "windows", "network": "gru"}, {"hidden": (32,)}),
        ({"kind": "windows", "recipe": "conv"}, {"hidden": (16, 32)}),
        # of the recipe over those
        ({"recipe": "beta-vae"}, {"beta": 4.0, "hidden": (64, 32)}),
        ({"recipe": "rbm"}, {"hidden": (), "latent": 64, "tied": True}),
        ({"recipe": "rbm", "kind": "images"}, {"hidden": (), "latent": 64, "batch": 64}),
        ({"recipe": "iwae", "kind": "images"}, {"points": 8, "latent": 32}),
        ({"recipe": "conv-unpool", "kind": "images"}, {"hidden": (16, 32)}),
        # what is overcomplete for rows is not for images: the larger code of the two
        ({"recipe": "contractive", "kind": "images"}, {"latent": 32}),
        # what is given over all
        ({"recipe": "rbm", "latent": 4}, {"latent": 4, "hidden": ()}),
        ({"kind": "images", "latent": "4", "hidden": "8", "batch": 7}, {"latent": 4, "hidden": (8,), "batch": 7}),
        ({"kind": "windows", "window": 5}, {"window": 5}),
        ({"recipe": "beta-vae", "beta": 2}, {"beta": 2.0}),
        ({"recipe": "vae", "kind": "windows", "network": "gru", "hidden": ""}, {"hidden": ()}),
        ({"recipe": "dropout", "dropout": "0.5"}, {"dropout": 0.5}),
    ],
)
def test_given_over_recipe_over_kind_over_default(chosen: dict[str, Any], expected: dict[str, Any]) -> None:
    config = configure(chosen)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize("chosen", [{"kind": "videos"}, {"recipe": "pca"}, {"latents": 3}, {"latent": "many"}])
def test_configure_refuses_like_its_parts(chosen: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"setting (kind|recipe|latent|'latents') is "):
        configure(chosen)


@pytest.mark.parametrize(("name", "value"), [("size", "64"), ("colour", "auto")])  # the defaults
def test_a_table_is_not_given_a_size_or_a_colour(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"setting {name} is for images, and kind is rows"):
        configure({name: value})


def test_settings_can_change_the_ingredients_of_a_recipe() -> None:
    assert configure({"recipe": "vae", "penalty": "jacobian"}).ingredients.penalty == "jacobian"
    assert configure({"recipe": "denoising", "corruption": "none"}).ingredients.corruption == "none"
    assert configure({"recipe": "denoising"}).ingredients.corruption == "gaussian"
    assert RECIPES["denoising"].corruption == "gaussian"


def of_images(name: str) -> dict[str, str]:
    """The kind of data that a setting of images needs."""
    return {"kind": "images"} if name in ("size", "colour") else {}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("hidden", "64,32", (64, 32)),
        ("hidden", " 128 , 64 ", (128, 64)),
        ("hidden", "16", (16,)),
        ("hidden", "16,", (16,)),
        ("hidden", "", ()),
        ("learning_rate", "1e-3", 0.001),
        ("beta", "4", 4.0),
        ("latent", "12", 12),
        ("kind", "rows", "rows"),
        ("recipe", "ae", "ae"),
        ("size", "64,96", (64, 96)),
        ("size", "32", (32,)),
        ("dropout", "0.5", 0.5),
        ("corruption_level", "1", 1.0),
    ],
)
def test_configure_converts_text(name: str, text: str, value: object) -> None:
    found = getattr(configure({**of_images(name), name: text}), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given_value", "value"),
    [
        ("hidden", [8, 4], (8, 4)),
        ("hidden", 8, (8,)),
        ("hidden", (8, 4), (8, 4)),
        ("latent", 3.0, 3),
        ("beta", 2, 2.0),
        ("tied", False, False),
        ("size", [64, 96], (64, 96)),
    ],
)
def test_configure_takes_the_values_of_toml(name: str, given_value: object, value: object) -> None:
    assert getattr(configure({**of_images(name), name: given_value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("latent", True, "a whole number"),
        ("latent", 2.5, "a whole number"),
        ("latent", "2.5", "a whole number"),
        ("latent", float("inf"), "a whole number"),
        ("latent", "many", "a whole number"),
        ("latent", [3], "a whole number"),
        ("hidden", [True], "whole numbers, like 64,32"),
        ("hidden", [8, 2.5], "whole numbers, like 64,32"),
        ("hidden", "64;32", "whole numbers, like 64,32"),
        ("hidden", {"a": 1}, "whole numbers, like 64,32"),
        ("beta", "x", "a number"),
        ("beta", [1.0], "a number"),
        ("beta", True, "a number"),
        pytest.param("learning_rate", 10**400, "a number", id="beyond float"),
        ("recipe", 5, "one of ensemble, ae, sparse"),
        ("tied", "maybe", "true or false"),
        ("tied", 2, "true or false"),
        ("tied", [True], "true or false"),
    ],
)
def test_configure_refuses_what_does_not_convert(name: str, value: object, expected: str) -> None:
    with pytest.raises(InputError) as refused:
        configure({name: value})
    assert f"setting {name} is " in str(refused.value)
    assert expected in str(refused.value)


def test_pixels_are_asked_for_where_a_size_is_wrong() -> None:
    with pytest.raises(InputError, match="setting size is '64x64', expected pixels, like 64 or 64,96 for height,width"):
        configure({"kind": "images", "size": "64x64"})
    with pytest.raises(InputError, match="setting size is '0', expected 8 or more pixels"):
        configure({"kind": "images", "size": "0"})


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("1", True), ("yes", True), ("false", False), ("0", False)]
)
def test_truth_values_are_text_too(text: str, value: bool) -> None:
    assert configure({"recipe": "ae", "tied": text}).tied is value


def test_an_unknown_setting_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(InputError) as refused:
        configure({"latents": "8"})
    assert "'latents' is unknown" in str(refused.value)
    for field in fields(TrainConfig):
        assert field.name in str(refused.value)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 1000), max_size=4),
    st.integers(1, 10**6),
    st.floats(1e-6, 10, allow_nan=False),
    st.integers(0, 2**31 - 1),
)
def test_settings_survive_being_written_as_text(hidden: list[int], latent: int, rate: float, seed: int) -> None:
    texts = {
        "recipe": "vae",
        "hidden": ",".join(map(str, hidden)),
        "latent": str(latent),
        "learning_rate": repr(rate),
        "seed": str(seed),
    }
    expected = TrainConfig(recipe="vae", hidden=tuple(hidden), latent=latent, learning_rate=rate, seed=seed)
    assert configure(texts) == expected


# --- files and assignments -------------------------------------------------------------------------------------------


def test_assignments_win_over_the_file_and_later_ones_over_earlier(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('recipe = "ae"\nlatent = 4\nhidden = [32, 16]\nbeta = 0.5\n')

    found = read_settings(path, ["latent=6", " latent = 7 ", "hidden=8,4"])

    assert found == {"recipe": "ae", "latent": "7", "hidden": "8,4", "beta": 0.5}
    config = configure(found)
    assert (config.recipe, config.latent, config.hidden, config.beta) == ("ae", 7, (8, 4), 0.5)
    assert config.epochs == TrainConfig(recipe="vae").epochs  # the default, where neither says anything


def test_no_file_and_no_assignments_are_no_settings() -> None:
    assert read_settings(None, []) == {}


def test_only_the_first_equals_sign_divides() -> None:
    assert read_settings(None, ["recipe=a=b"]) == {"recipe": "a=b"}


def test_an_assignment_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match="'latent' is no setting; expected NAME=VALUE, like latent=8"):
        read_settings(None, ["latent"])


@pytest.mark.parametrize(
    "content",
    [b"latent = \n", b"latent 8\n", b"latent = 8\nlatent = 9\n", b"\xff\xfe\x00", b"latent = " + b"9" * 5000],
    ids=["no value", "no equals sign", "twice", "not UTF-8", "a number of 5000 digits"],
)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"settings\.toml: not a TOML file: "):
        read_settings(path, [])


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml: no such file"):
        read_settings(tmp_path / "absent.toml", [])


def test_a_section_of_a_file_is_an_unknown_setting(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[model]\nlatent = 4\n")
    with pytest.raises(InputError, match="'model' is unknown"):
        configure(read_settings(path, []))
