"""The documentation names everything that can be typed, set or scraped."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import click
import pytest
from prometheus_client import CollectorRegistry

from vae_detect.cli import commands
from vae_detect.runtime.metrics import Metrics
from vae_detect.training.recipes import RECIPES, TrainConfig

ROOT = Path(__file__).parent.parent
DOCS = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
OPTIONS = [
    (name, option)
    for name, command in commands.commands.items()
    for parameter in command.params
    if isinstance(parameter, click.Option)
    for option in parameter.opts
    if option.startswith("--")
]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_is_documented(command: str, option: str) -> None:
    assert f"vae-detect {command}" in DOCS
    assert re.search(rf"(?<![\w-]){option}(?![\w-])", DOCS), f"{option} of {command}"


def test_every_metric_is_documented() -> None:
    exposition = Metrics(CollectorRegistry()).exposition().decode()
    names = re.findall(r"^# TYPE (vae_detect_\w+)", exposition, flags=re.MULTILINE)
    assert len(names) > 8
    assert [name for name in names if name not in DOCS] == []


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
    for name in RECIPES:
        assert f"`{name}`" in DOCS


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", ["README.md", "docs/artifact.md", "docs/runtime.md"])
def test_the_python_examples_run(page: str) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    subprocess.run([sys.executable, "-c", example], cwd=ROOT, check=True, capture_output=True)
