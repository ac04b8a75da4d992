"""The house: which room may import from which, and how large its parts may be."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

ROOMS = [
    *("runtime", "runtime.rows", "runtime.images", "runtime.scoring", "runtime.calibration", "runtime.batch"),
    *("runtime.alarms", "runtime.streams", "runtime.hosting", "runtime.protocol", "runtime.metrics"),
    "runtime.prometheus",
    *("runtime.service", "runtime.monitoring", "runtime.doctor", "runtime.commands"),
    *("training.settings", "training.data", "training.model", "training.fitting"),
    *("training.export", "training.labels", "training.evaluation", "training", "training.commands"),
    "cli",
]
"""From the ground up: a room imports from itself and from those before it. "training" is train.py and finetune.py."""

MOST_LINES, MOST_IN_A_FUNCTION = 350, 50


def modules() -> dict[str, Path]:
    """Every module of the code by its dotted name below vae_detect, packages by their own."""
    paths = [ROOT / "cli.py", *(path for half in ("runtime", "training") for path in (ROOT / half).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = modules()


def imports(name: str, code: str, known: set[str]) -> Iterator[str]:
    """The modules of ours that this one imports, wherever in the file, for types too."""
    package = name if MODULES.get(name, Path()).stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found = [alias.name.removeprefix("vae_detect.") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])]).removeprefix("vae_detect.")
            found = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
        else:
            continue
        yield from (module for module in found if module in known)


IMPORTS = {name: {*imports(name, path.read_text(), set(MODULES))} for name, path in MODULES.items()}


def room(module: str) -> str:
    """Where a module lives: the longest room that its name begins with."""
    return max((room for room in ROOMS if module == room or module.startswith(f"{room}.")), key=len)


@pytest.mark.parametrize(
    ("name", "code", "expected"),
    [
        ("runtime.scoring.watch", "from ..bundle import Bundle\nfrom .drift import DriftMonitor", ["bundle", "drift"]),
        ("runtime.rows.tables", "def f():\n    from .. import bundle as graph", ["bundle"]),
        ("runtime.rows.tables", "if TYPE_CHECKING:\n    from .cells import BadCell", ["cells"]),
        ("cli", "import vae_detect.runtime.errors", ["errors"]),
        ("runtime.rows.tables", "import csv\nfrom . import cells", ["cells"]),
    ],
)
def test_the_walk_sees_every_way_to_import(name: str, code: str, expected: list[str]) -> None:
    assert [module.rpartition(".")[2] for module in imports(name, code, set(MODULES))] == expected


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module: str) -> None:
    up = {other for other in IMPORTS[module] if ROOMS.index(room(other)) > ROOMS.index(room(module))}
    assert up == set()


def test_no_imports_run_in_a_circle() -> None:
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way, module])
        if module not in done:
            for other in sorted(IMPORTS[module]):
                walk(other, (*way, module))
            done.add(module)

    for module in MODULES:
        walk(module, ())
    assert done == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_can_be_read_at_once(module: str) -> None:
    code = MODULES[module].read_text()
    assert len(code.splitlines()) <= MOST_LINES
    functions = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > MOST_IN_A_FUNCTION} == {}


def test_every_room_has_its_tests_and_every_test_a_room() -> None:
    tests = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    folders = {path.parent.relative_to(ROOT) for path in MODULES.values() if path.parent != ROOT}
    assert tests - {Path()} <= folders
    assert folders - tests <= {Path("training/commands")}  # through the installed command


WALKS = re.findall(r"`([\w/]+\.py)`: `([\w.]+)`", (ROOT / "docs" / "architecture.md").read_text())


@pytest.mark.parametrize(("path", "name"), WALKS)
def test_the_walks_in_the_documentation_name_what_exists(path: str, name: str) -> None:
    owner: object = importlib.import_module(f"vae_detect.{path.removesuffix('.py').replace('/', '.')}")
    for part in name.split("."):
        owner = getattr(owner, part)


def test_the_documentation_has_both_walks() -> None:
    assert len(WALKS) > 25
