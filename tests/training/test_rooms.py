"""The rooms of training/: imports run one way, and no two modules know each other, not even for types."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

TRAINING = ROOT / "training"
ROOMS = ("settings", "data", "model", "fitting", "calibration", "export", "labels", "evaluation", "train", "finetune")
"""Each may import from those before it. The last two are as one: neither imports the other."""
MODULES = sorted(path for path in TRAINING.rglob("*.py") if path.name != "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(TRAINING).with_suffix("").parts)


NAMES = {name_of(path) for path in MODULES}


def imported(source: str, package: str) -> set[str]:
    """Modules of training/ that a module in this package of it imports anywhere, by their names from training/ on."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        parts = ["training", *package.split(".")] if package else ["training"]
        if node.level > len(parts):
            continue  # of runtime/
        base = [*parts[: len(parts) - node.level + 1][1:], *(node.module or "").split(".")]
        target = ".".join(filter(None, base))
        found |= {target} if target in NAMES else {f"{target}.{alias.name}".lstrip(".") for alias in node.names}
    return found & NAMES


IMPORTS = {name_of(path): imported(path.read_text(), name_of(path).rpartition(".")[0]) for path in MODULES}


def test_imports_are_seen_wherever_they_stand() -> None:
    source = """
from ...runtime.bundle import Bundle
from ..settings.recipes import RECIPES
from . import plots
if TYPE_CHECKING:
    from .figures import Evaluation
def f():
    from ..calibration import calibrate
"""
    expected = {"settings.recipes", "evaluation.plots", "evaluation.figures", "calibration"}
    assert imported(source, "evaluation") == expected
    assert imported("from .data.split import split", "") == {"data.split"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_room_imports_only_from_those_before_it(name: str) -> None:
    room = name.partition(".")[0]
    assert room in ROOMS
    for other in IMPORTS[name]:
        assert ROOMS.index(other.partition(".")[0]) <= ROOMS.index(room), other
    if room == "finetune":
        assert "train" not in IMPORTS[name]


def test_no_modules_know_each_other() -> None:
    TopologicalSorter(IMPORTS).prepare()  # raises for a circle
