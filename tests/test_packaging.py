import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import vae_detect
from vae_detect.runtime import session
from vae_detect.runtime.errors import EXIT_ENVIRONMENT, MissingExtraError

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "vae_detect"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]

TRAINING_ONLY = {
    "torch",
    "onnx",
    "onnxscript",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
    "jinja2",
    "vae_detect.training",
}
"""What a box that only scores does not have installed, and must not miss."""


def python(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def within(module: str, names: set[str]) -> bool:
    """Whether a dotted module is one of the names or lies below one."""
    return any(module == name or module.startswith(name + ".") for name in names)


# The import rule: what scores never needs what trains.

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import vae_detect.cli, vae_detect.runtime as runtime
for module in pkgutil.walk_packages(runtime.__path__, "vae_detect.runtime."):
    importlib.import_module(module.name)
print(*sorted(sys.modules), sep="\\n")
"""


def test_importing_the_runtime_and_the_commands_imports_nothing_of_the_trainer() -> None:
    result = python(IMPORT_EVERYTHING)

    assert result.returncode == 0, result.stderr
    loaded = result.stdout.split()
    files = list((ROOT / "runtime").rglob("*.py"))
    assert len(files) == len([name for name in loaded if within(name, {"vae_detect.runtime"})])
    assert [name for name in loaded if within(name, TRAINING_ONLY)] == []


SCORE_WITHOUT_TRAINER = f"""
import sys
for name in {sorted(TRAINING_ONLY)}:
    sys.modules[name] = None
from vae_detect.cli import main
sys.argv[0] = "vae-detect"
main()
"""


def test_a_recording_is_simulated_and_scored_where_the_trainer_cannot_be_imported(tmp_path: Path) -> None:
    recording = tmp_path / "recording.csv"

    simulated = python(SCORE_WITHOUT_TRAINER, "simulate", "--duration", "10m", "--out", str(recording))
    scored = python(SCORE_WITHOUT_TRAINER, "score", str(recording), "--model", str(ROOT / "exported" / "vae.onnx"))

    assert simulated.returncode == 0, simulated.stderr
    assert scored.returncode == 0, scored.stderr
    assert len(scored.stdout.splitlines()) == len(recording.read_text().splitlines())


CALIBRATE_WITHOUT_TORCH = SCORE_WITHOUT_TRAINER.replace(
    str(sorted(TRAINING_ONLY)), str(sorted(TRAINING_ONLY - {"onnx", "vae_detect.training"}))
)


def test_a_model_is_calibrated_where_of_the_trainer_only_onnx_is_installed(tmp_path: Path) -> None:
    recording, out = tmp_path / "recording.csv", tmp_path / "new.onnx"
    simulated = python(SCORE_WITHOUT_TRAINER, "simulate", "--duration", "12h", "--out", str(recording))
    model = str(ROOT / "exported" / "vae.onnx")
    asked = ("calibrate", str(recording), "--model", model, "--far", "0.3", "--out", str(out))
    without_onnx, calibrated = (
        python(SCORE_WITHOUT_TRAINER.replace("'vae_detect.training'", ""), *asked),
        python(CALIBRATE_WITHOUT_TORCH, *asked),
    )

    assert simulated.returncode == 0, simulated.stderr
    assert without_onnx.returncode == EXIT_ENVIRONMENT
    assert "pip install 'vae-detect[calibrate]'" in without_onnx.stderr
    assert calibrated.returncode == 0, calibrated.stderr
    assert out.exists()


def forbidden_imports(code: str, package: str) -> list[str]:
    """Modules of `TRAINING_ONLY` that the code of a module in this package imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            found += [f"{base}.{alias.name}" for alias in node.names]
    return [name for name in found if within(name, TRAINING_ONLY)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import torch", ["torch"]),
        ("def f():\n    from scipy.special import gamma", ["scipy.special.gamma"]),
        ("from ..training.data import Selection", ["vae_detect.training.data.Selection"]),
        ("from .. import training", ["vae_detect.training"]),
        ("from vae_detect import training", ["vae_detect.training"]),
        ("import onnxruntime\nfrom . import bundle\nfrom .errors import InputError", []),
    ],
)
def test_the_import_guard_sees(code: str, expected: list[str]) -> None:
    assert forbidden_imports(code, "vae_detect.runtime") == expected


@pytest.mark.parametrize("path", sorted((ROOT / "runtime").rglob("*.py")), ids=lambda path: path.stem)
def test_no_line_of_the_runtime_imports_the_trainer(path: Path) -> None:
    package = ".".join(("vae_detect", *path.relative_to(ROOT).parent.parts))

    assert forbidden_imports(path.read_text(encoding="utf-8"), package) == []


# The package: links, list, versions, requirements.


def test_the_links_are_relative_and_lead_to_the_root() -> None:
    links = {path.name: path.readlink() for path in SOURCE.iterdir() if path.is_symlink()}

    assert links == {name: Path("..", "..", name) for name in ("cli.py", "runtime", "training")}


def test_every_folder_of_code_is_a_listed_package() -> None:
    folders = {path.parent for half in ("runtime", "training") for path in (ROOT / half).rglob("*.py")}
    packages = {".".join(("vae_detect", *folder.relative_to(ROOT).parts)) for folder in folders}

    assert all((folder / "__init__.py").is_file() for folder in folders)
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted({"vae_detect", *packages})


def test_the_version_is_stated_once() -> None:
    result = python("from vae_detect.cli import main; main()", "--version")

    assert result.stdout.split()[-1] == vae_detect.__version__
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "vae_detect.__version__"}
    if "vae-detect" in {distribution.name for distribution in metadata.distributions()}:
        assert metadata.version("vae-detect") == vae_detect.__version__


def requirements(extra: str | None = None) -> set[str]:
    """Names of the packages that the base install or an extra asks for itself, extras of ours followed."""
    found: set[str] = set()
    for text in EXTRAS[extra] if extra else PROJECT["project"]["dependencies"]:
        requirement = Requirement(text)
        if requirement.name == "vae-detect":
            found |= {name for ours in requirement.extras for name in requirements(ours)}
        else:
            found.add(requirement.name)
    return found


def test_the_base_install_leaves_the_choice_of_onnx_runtime_open() -> None:
    assert requirements() == {"numpy", "click", "msgspec", "prometheus-client"}
    assert "onnxruntime" in requirements("cpu")
    assert "onnxruntime-gpu" in requirements("gpu")
    assert requirements("gpu") < requirements("tensorrt")


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_asks_for_one_onnx_runtime_at_most(extra: str) -> None:
    assert len(requirements(extra) & {"onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"}) <= 1


def test_the_edge_install_has_nothing_of_the_trainer() -> None:
    trainer = requirements("train") - requirements("edge") - requirements()

    assert {"torch", "onnx", "scikit-learn", "scipy"} <= trainer
    assert requirements("edge") == set().union(*map(requirements, ("cpu", "serve", "mqtt", "images")))
    assert requirements("edge") & trainer == set()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.partition("==") for line in lines if not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in pinned}


def test_constraints_pin_public_versions_and_nothing_else() -> None:
    assert pins()["torch"] == "2.13.0"
    assert [pin for pin in pins().items() if not re.fullmatch(r"\d+(\.\d+)*(\.?(post|rc|a|b)\d+)?", pin[1])] == []


@pytest.mark.parametrize("extra", ["dev", "bench"])
def test_constraints_pin_what_an_extra_asks_for(extra: str) -> None:
    texts = [
        *PROJECT["project"]["dependencies"],
        *(text for name in ("edge", "tables", "train", extra) for text in EXTRAS[name]),
    ]
    asked = [requirement for requirement in map(Requirement, texts) if requirement.name != "vae-detect"]

    assert [str(one) for one in asked if pins().get(one.name, "") not in one.specifier] == []


# ONNX Runtime: none, or two that overwrite each other.


def pretend_installed(monkeypatch: pytest.MonkeyPatch, *distributions: str) -> None:
    def version(name: str) -> str:
        if name not in distributions:
            raise metadata.PackageNotFoundError(name)
        return "1.31.1"

    monkeypatch.setattr(metadata, "version", version)


def test_no_onnx_runtime_is_one_sentence_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingExtraError, match=r"pip install 'vae-detect\[cpu\]'") as caught:
        session.import_onnxruntime()

    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == EXIT_ENVIRONMENT


def test_two_builds_of_onnx_runtime_are_one_sentence_that_says_how_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "onnxruntime", "onnxruntime-gpu")

    with pytest.raises(MissingExtraError) as caught:
        session.import_onnxruntime()

    assert str(caught.value) == (
        "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
        "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'vae-detect[cpu]' or 'vae-detect[gpu]'"
    )


def test_an_onnx_runtime_that_cannot_be_loaded_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "onnxruntime-gpu")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    with pytest.raises(MissingExtraError, match="onnxruntime-gpu is installed but cannot be loaded"):
        session.import_onnxruntime()


COMMAND_WITHOUT_ONNXRUNTIME = """
import sys
from importlib import metadata
def version(name):
    raise metadata.PackageNotFoundError(name)
metadata.version = version
sys.modules["onnxruntime"] = None
from vae_detect.cli import main
main()
"""


def test_a_command_without_onnx_runtime_ends_with_3_and_one_line() -> None:
    result = python(COMMAND_WITHOUT_ONNXRUNTIME, "inspect", str(ROOT / "exported" / "vae.onnx"))

    assert result.returncode == EXIT_ENVIRONMENT == 3
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "Error: no ONNX Runtime is installed: pip install 'vae-detect[cpu]' (or 'vae-detect[gpu]' for NVIDIA GPUs)"
    ]


# The wheel.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the files that git would know."""
    tree = tmp_path_factory.mktemp("tree") / "vae-detect"
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "demo")
    shutil.copytree(ROOT, tree, symlinks=True, ignore=left_out)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "out", "."]
    subprocess.run(command, cwd=tree, check=True, capture_output=True, timeout=120)
    (built,) = (tree / "out").iterdir()
    return built


def test_the_wheel_has_the_code_and_only_the_code(wheel: Path) -> None:
    modules = [path for half in ("runtime", "training") for path in (ROOT / half).rglob("*.py")]
    expected = {"__init__.py", "__main__.py", "cli.py", "py.typed", "training/evaluation/report.html"}
    expected |= {str(path.relative_to(ROOT)) for path in modules}
    expected |= {str(path.relative_to(ROOT)) for path in (ROOT / "runtime" / "service" / "page").iterdir()}

    with zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if ".dist-info/" not in name]
        empty = [name for name in files if archive.getinfo(name).file_size == 0]

    assert sorted(files) == sorted(f"vae_detect/{name}" for name in expected)
    assert empty == ["vae_detect/py.typed"]


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    folder = f"vae_detect-{vae_detect.__version__}.dist-info"

    with zipfile.ZipFile(wheel) as archive:
        facts = archive.read(f"{folder}/METADATA").decode().splitlines()
        commands = archive.read(f"{folder}/entry_points.txt").decode()
        licence = archive.read(f"{folder}/licenses/LICENSE").decode()

    assert wheel.name == f"vae_detect-{vae_detect.__version__}-py3-none-any.whl"
    assert f"Version: {vae_detect.__version__}" in facts
    assert "License-Expression: Apache-2.0" in facts
    assert "Requires-Python: >=3.11" in facts
    assert commands.split("\n")[:2] == ["[console_scripts]", "vae-detect = vae_detect.cli:main"]
    assert "Apache License" in licence
