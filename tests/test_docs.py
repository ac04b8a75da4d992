"""The documentation names everything that can be typed, set or scraped."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import click
import pytest

from vae_detect.cli import commands
from vae_detect.runtime.bundle import Kind, Treatment
from vae_detect.runtime.calibration.calibration import USUAL_RATE
from vae_detect.runtime.detector import Detector
from vae_detect.training.model.likelihoods import LIKELIHOODS
from vae_detect.training.settings.config import TrainConfig, configure
from vae_detect.training.settings.recipes import RECIPES, SCORES, Corruption, Network, Penalty

ROOT = Path(__file__).parent.parent
DOCS = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
CONTEXT = click.Context(commands)
PARAMETERS = [
    (name, parameter)
    for name in commands.list_commands(CONTEXT)
    if (command := commands.get_command(CONTEXT, name)) is not None
    for parameter in command.params
    if isinstance(parameter, click.Option)
]
OPTIONS = [(name, option) for name, parameter in PARAMETERS for option in parameter.opts if option.startswith("--")]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_is_documented(command: str, option: str) -> None:
    assert f"vae-detect {command}" in DOCS
    assert re.search(rf"(?<![\w-]){option}(?![\w-])", DOCS), f"{option} of {command}"


DEFAULTS = [
    (name, parameter.opts[0], parameter.name, written[1])
    for name, parameter in PARAMETERS
    if (written := re.search(r"\[default: ([^]]*)\]", parameter.help or "")) is not None
]
"""Defaults that a help text gives in words of its own, because the option has none."""


def test_defaults_are_found_in_the_help() -> None:
    assert {"--recipe", "--window", "--stride", "--size", "--kind"} <= {option for _, option, _, _ in DEFAULTS}


@pytest.mark.parametrize(("command", "option", "name", "written"), DEFAULTS)
def test_a_default_in_the_help_is_that_of_the_code(command: str, option: str, name: str, written: str) -> None:
    if (command, name) == ("train", "far"):
        assert written.split(",", maxsplit=1)[0] == str(USUAL_RATE)
    elif command == "train" and name in {field.name for field in fields(TrainConfig)} and written != "from the data":
        value = getattr(configure({"kind": "windows"} if "windows" in written else {}), name)
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert re.split(r",? ", written)[0] == shown
    else:  # says in words where the value comes from
        assert not re.search(r"\d", written), f"{option} of {command}"
        assert not set(written.split()) & set(RECIPES), f"{option} of {command}"


@pytest.mark.parametrize("name", ["provider", "threads"])
def test_a_command_loads_a_model_like_the_library(name: str) -> None:
    default = inspect.signature(Detector.load).parameters[name].default
    given = [parameter.default for _, parameter in PARAMETERS if parameter.name == name]
    assert given == [default] * len(given) != []


def test_every_setting_and_recipe_is_documented_with_its_default() -> None:
    table = dict(
        re.findall(r"^\| `(\w+)` \| `?([^|`]+)`? \|", (ROOT / "docs" / "training.md").read_text(), re.MULTILINE)
    )
    for field in fields(TrainConfig):
        default = field.default
        shown = (
            ",".join(map(str, default))
            if isinstance(default, tuple)
            else f"{default:g}"
            if isinstance(default, float)
            else str(default)
        )
        assert table[field.name].split(";")[0].strip() == shown, field.name


@pytest.mark.parametrize("page", ["docs/training.md", "docs/recipes.md", "docs/maths.md"])
def test_every_recipe_is_in_the_tables(page: str) -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / page).read_text(), flags=re.MULTILINE)
    assert [name for name in RECIPES if name not in rows] == []


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_the_number_of_recipes_is_right(page: str) -> None:
    assert re.findall(r"(\d+) recipes", (ROOT / page).read_text()) == [str(len(RECIPES))]


def test_the_defaults_of_every_recipe_are_documented() -> None:
    section = (ROOT / "docs" / "training.md").read_text().partition("## Recipes")[2].partition("\n## ")[0]
    table = dict(re.findall(r"^\| `([\w-]+)` \| [^|]* \|([^|]*)\|", section, flags=re.MULTILINE))
    for name, recipe in RECIPES.items():
        shown = dict(re.findall(r"(\w+)=([^\s`]*)", table[name]))
        asked = {"recipe": name, "kind": "windows" if recipe.convolutional else "rows"}
        by_default, as_shown = configure(asked), configure({**asked, **shown})
        assert as_shown.ingredients == by_default.ingredients, name
        assert replace(as_shown, penalty="recipe", corruption="recipe") == by_default, name
        assert set(recipe.settings) <= set(shown), name


CHOICES = {
    "likelihood": list(LIKELIHOODS),
    "network": get_args(Network),
    "penalty": get_args(Penalty),
    "corruption": get_args(Corruption),
    "treatment": get_args(Treatment),
    "kind": get_args(Kind),
}


@pytest.mark.parametrize(("what", "name"), [(what, name) for what, names in CHOICES.items() for name in names])
def test_every_choice_is_documented(what: str, name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "training.md").read_text(), what


# --- names in docs/maths.md ------------------------------------------------------------------------------------------

MATHS = (ROOT / "docs" / "maths.md").read_text()
MODULES = {
    f"{module.name.removeprefix('vae_detect.').replace('.', '/')}.py": importlib.import_module(module.name)
    for half in ("training", "runtime")
    for module in pkgutil.walk_packages([str(ROOT / half)], f"vae_detect.{half}.")
    if not module.ispkg
}
WORDS = {*RECIPES, *SCORES, *(field.name for field in fields(TrainConfig))}
"""What stands in backticks and is no name in the code."""


def resolves(owner: object, path: str) -> bool:
    for name in path.split("."):
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True


@pytest.mark.parametrize(("path", "name"), re.findall(r"`(\w+/[\w/]+\.py)(?:: ([\w.]+))?`", MATHS))
def test_the_maths_name_files_and_what_is_in_them(path: str, name: str) -> None:
    assert path in MODULES
    assert not name or resolves(MODULES[path], name)


FORMULA_NAMES = re.findall(r"^    .*?\S {3,}([A-Za-z_][\w.]*(?:, [A-Za-z_][\w.]*)*)$", MATHS, flags=re.MULTILINE)


@pytest.mark.parametrize("name", [*re.findall(r"`([A-Za-z_][\w.-]*)`", MATHS), *", ".join(FORMULA_NAMES).split(", ")])
def test_the_maths_name_functions_that_exist(name: str) -> None:
    short = {path.rpartition("/")[2].removesuffix("py"): module for path, module in MODULES.items()}
    in_a_module = [module for start, module in short.items() if name.startswith(start)]
    if name not in WORDS:
        assert any(resolves(module, name.partition(".")[2]) for module in in_a_module) or any(
            resolves(module, name) for module in MODULES.values()
        )


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
