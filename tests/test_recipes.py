"""Settings of a run: every refusal names the field, its value and what is allowed; text is converted, never guessed."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_detect.runtime.errors import InputError
from vae_detect.training.recipes import RECIPES, TrainConfig, read_settings

# field, a bad value, what must stand in the message besides both
REFUSED: list[tuple[str, Any, str]] = [
    ("kind", "images", "rows or windows"),
    ("window", 0, "1 or more"),
    ("window", 5, "1 unless kind is windows"),
    ("stride", 0, "1 or more"),
    ("stride", -3, "1 or more"),
    ("recipe", "pca", "ae, vae"),
    ("likelihood", "poisson", "gaussian, laplace, bernoulli"),
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
        replace(TrainConfig(), **{name: value})
    assert f"setting {name} is {value!r}, expected " in str(refused.value)
    assert allowed in str(refused.value)


def test_every_field_has_a_refusal() -> None:
    assert {name for name, _, _ in REFUSED} == {field.name for field in fields(TrainConfig)}


def test_windows_need_a_window() -> None:
    with pytest.raises(InputError, match="setting window is 1, expected 2 or more when kind is windows"):
        TrainConfig(kind="windows")
    assert TrainConfig(kind="windows", window=2).window == 2


def test_the_ends_of_the_ranges_are_allowed() -> None:
    config = TrainConfig(hidden=(), latent=1, points=1, epochs=1, batch=1, patience=1, beta=0.0, seed=2**31 - 1)
    assert (config.hidden, config.beta, config.seed) == ((), 0.0, 2147483647)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_configured(recipe: str) -> None:
    assert TrainConfig(recipe=recipe).recipe == recipe
    assert RECIPES[recipe].summary
    assert RECIPES[recipe].score


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
    ],
)
def test_override_converts_text(name: str, text: str, value: object) -> None:
    found = getattr(TrainConfig().override({name: text}), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given_value", "value"),
    [("hidden", [8, 4], (8, 4)), ("hidden", 8, (8,)), ("latent", 3.0, 3), ("beta", 2, 2.0)],
)
def test_override_takes_the_values_of_toml(name: str, given_value: object, value: object) -> None:
    assert getattr(TrainConfig().override({name: given_value}), name) == value


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
        ("recipe", 5, "one of ae, vae"),
    ],
)
def test_override_refuses_what_does_not_convert(name: str, value: object, expected: str) -> None:
    with pytest.raises(InputError) as refused:
        TrainConfig().override({name: value})
    assert f"setting {name} is " in str(refused.value)
    assert expected in str(refused.value)


def test_an_unknown_setting_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(InputError) as refused:
        TrainConfig().override({"latents": "8"})
    assert "'latents' is unknown" in str(refused.value)
    for field in fields(TrainConfig):
        assert field.name in str(refused.value)


def test_override_leaves_the_original_alone() -> None:
    config = TrainConfig()
    assert config.override({"latent": "3"}) == replace(config, latent=3)
    assert config == TrainConfig()
    assert config.override({}) == config


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 1000), max_size=4),
    st.integers(1, 10**6),
    st.floats(1e-6, 10, allow_nan=False),
    st.integers(0, 2**31 - 1),
)
def test_settings_survive_being_written_as_text(hidden: list[int], latent: int, rate: float, seed: int) -> None:
    texts = {
        "hidden": ",".join(map(str, hidden)),
        "latent": str(latent),
        "learning_rate": repr(rate),
        "seed": str(seed),
    }
    expected = TrainConfig(hidden=tuple(hidden), latent=latent, learning_rate=rate, seed=seed)
    assert TrainConfig().override(texts) == expected


# --- files and assignments -------------------------------------------------------------------------------------------


def test_assignments_win_over_the_file_and_later_ones_over_earlier(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('recipe = "ae"\nlatent = 4\nhidden = [32, 16]\nbeta = 0.5\n')

    found = read_settings(path, ["latent=6", " latent = 7 ", "hidden=8,4"])

    assert found == {"recipe": "ae", "latent": "7", "hidden": "8,4", "beta": 0.5}
    config = TrainConfig().override(found)
    assert (config.recipe, config.latent, config.hidden, config.beta) == ("ae", 7, (8, 4), 0.5)
    assert config.epochs == TrainConfig().epochs  # the default, where neither says anything


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
    with pytest.raises(InputError, match=r"absent\.toml: cannot be read: No such file"):
        read_settings(tmp_path / "absent.toml", [])


def test_a_section_of_a_file_is_an_unknown_setting(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[model]\nlatent = 4\n")
    with pytest.raises(InputError, match="'model' is unknown"):
        TrainConfig().override(read_settings(path, []))
