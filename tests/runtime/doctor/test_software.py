from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from vae_detect import __version__
from vae_detect.runtime import session
from vae_detect.runtime.doctor import software


def pretend_installed(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    known = {name.replace("_", "-"): version for name, version in versions.items()}

    def version(name: str) -> str:
        if name not in known:
            raise metadata.PackageNotFoundError(name)
        return known[name]

    monkeypatch.setattr(metadata, "version", version)


def no_module(_name: str) -> Any:
    raise ImportError("libcudart.so.13: cannot open shared object file")


def test_the_version_of_everything_below() -> None:
    finding = software.check_version()
    assert finding.state == "fine"
    assert finding.found.startswith(f"{__version__}, Python 3.")


def test_one_build_of_onnxruntime_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, onnxruntime="1.31.1")
    finding = software.check_onnxruntime()
    assert (finding.state, finding.found) == ("fine", "onnxruntime 1.31.1")
    assert finding.facts["builds"] == {"onnxruntime": "1.31.1"}


@pytest.mark.parametrize(
    ("builds", "found", "advice"),
    [
        (
            {},
            "no ONNX Runtime is installed",
            "pip install 'vae-detect[cpu]' (or 'vae-detect[gpu]' for NVIDIA GPUs)",
        ),
        (
            {"onnxruntime": "1.31.1", "onnxruntime_gpu": "1.30.0"},
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other",
            "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'vae-detect[cpu]' or 'vae-detect[gpu]'",
        ),
        (
            {"onnxruntime_gpu": "1.30.0"},
            "onnxruntime-gpu is installed but cannot be loaded",
            "libcudart.so.13: cannot open shared object file",
        ),
    ],
)
def test_none_or_several_builds_are_wrong(
    builds: dict[str, str], found: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_installed(monkeypatch, **builds)
    monkeypatch.setattr(session, "import_module", no_module)
    finding = software.check_onnxruntime()
    assert (finding.state, finding.found, finding.advice) == ("wrong", found, advice)


def test_an_onnxruntime_that_pip_does_not_know_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that a distribution or a maker of boards ships."""
    pretend_installed(monkeypatch)
    assert software.check_onnxruntime().found.endswith(", which pip did not install")


@pytest.mark.parametrize(
    ("value", "state", "found"),
    [
        ("1", "fine", "off (ORT_DISABLE_TELEMETRY is 1)"),
        ("True", "fine", "off (ORT_DISABLE_TELEMETRY is True)"),
        ("0", "look", "not off (ORT_DISABLE_TELEMETRY is 0)"),
        ("", "look", "not off (ORT_DISABLE_TELEMETRY is '')"),
        (None, "look", "not off (ORT_DISABLE_TELEMETRY is not set)"),
    ],
)
def test_telemetry(value: str | None, state: str, found: str) -> None:
    environment = {} if value is None else {"ORT_DISABLE_TELEMETRY": value}
    finding = software.check_telemetry(environment)
    assert (finding.state, finding.found) == (state, found)


def test_the_provider_that_is_really_used() -> None:
    finding = software.check_provider("cpu", [])
    assert (finding.state, finding.facts["used"]) == ("fine", "cpu")
    assert "cpu" in finding.found


def test_a_provider_that_cannot_be_had_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_built_in", lambda _: ["cpu"])
    finding = software.check_provider("cuda", [])
    assert finding.state == "wrong"
    assert finding.found == "cpu available; provider cuda was asked for, this build of ONNX Runtime has cpu"
    assert finding.advice.startswith("pip install 'vae-detect[gpu]'")
    assert software.check_provider("tpu", []).state == "wrong"


def test_a_gpu_build_that_runs_on_the_cpu_is_worth_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "available_providers", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(session, "_built_in", lambda _: ["cpu"])
    finding = software.check_provider("auto", [])
    assert (finding.state, finding.found) == (
        "look",
        "cuda, cpu available; auto asked for, cpu used: CUDA cannot be used",
    )


def test_a_provider_of_a_library_is_left_to_the_model() -> None:
    finding = software.check_provider("tpu", ["tpu"])
    assert finding.state == "fine"
    assert finding.found.endswith("tpu asked for, which only a model can show (--model)")


REQUIREMENTS = [
    "numpy>=1.26",
    'onnxruntime>=1.18; extra == "cpu"',
    'starlette>=0.40; extra == "serve"',
    "uvicorn>=0.30 ; extra == 'serve'",
    'httptools; extra == "serve"',
    'fastexcel[arrow]<1,>=0.14; extra == "tables"',
    'polars>=1; extra == "tables"',
    'pytest>=8; extra == "dev"',
    'vae-detect[cpu,serve]; extra == "edge"',
]


@pytest.mark.parametrize(
    ("versions", "serve", "tables"),
    [
        ({}, ("fine", "not installed"), ("fine", "not installed")),
        (
            {"starlette": "1", "uvicorn": "2", "httptools": "3", "fastexcel": "4", "polars": "5"},
            ("fine", "starlette 1, uvicorn 2, httptools 3"),
            ("fine", "fastexcel 4, polars 5"),
        ),
        (
            {"starlette": "1", "uvicorn": "2", "polars": "5"},
            ("look", "not complete, httptools missing; starlette 1, uvicorn 2"),
            ("look", "not complete, fastexcel missing; polars 5"),
        ),
        ({"starlette": "1"}, ("fine", "not installed"), ("fine", "not installed")),
    ],
)
def test_what_extras_brought(
    versions: dict[str, str], serve: tuple[str, str], tables: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_installed(monkeypatch, **versions)
    findings = software.check_extras(REQUIREMENTS)
    assert [finding.check for finding in findings] == ["extra serve", "extra tables"]
    assert [(finding.state, finding.found) for finding in findings] == [serve, tables]
    for finding in findings:
        extra = finding.check.removeprefix("extra ")
        assert finding.advice == (f"pip install 'vae-detect[{extra}]'" if finding.state == "look" else "")


def test_without_its_own_metadata_extras_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert [finding.state for finding in software.check_extras()] == ["unknown"]
