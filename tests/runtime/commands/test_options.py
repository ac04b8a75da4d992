"""--ep-library beside --provider, as it is typed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import MODEL, run_here

from vae_detect.runtime.commands import options
from vae_detect.runtime.commands.options import _LibraryType
from vae_detect.runtime.session import Library

PUMP = "a\n1\n"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[Library]:
    """What would be registered, which is not."""
    found: list[Library] = []
    monkeypatch.setattr(options, "register_library", found.append)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tpu=/opt/libtpu.so", Library("tpu", Path("/opt/libtpu.so"), {})),
        ("tpu=a=b.so", Library("tpu", Path("a=b.so"), {})),
        ("tpu=t.so,precision=f32,n=2", Library("tpu", Path("t.so"), {"precision": "f32", "n": "2"})),
        ("tpu=t.so,path=/a,b,c=", Library("tpu", Path("t.so"), {"path": "/a,b", "c": ""})),
        ('ov=t.so,load={"CPU":{"A":"b","C":"d"}}', Library("ov", Path("t.so"), {"load": '{"CPU":{"A":"b","C":"d"}}'})),
    ],
)
def test_a_library_is_named_with_its_options(text: str, expected: Library) -> None:
    assert _LibraryType().convert(text, None, None) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tpu"], "'tpu' is not NAME=PATH"),
        (["=/opt/libtpu.so"], "'=/opt/libtpu.so' is not NAME=PATH"),
        (["tpu="], "'tpu=' is not NAME=PATH"),
        (["cuda=/opt/libtpu.so"], "'cuda' is what ONNX Runtime itself has; give the library another name"),
        (["auto=/opt/libtpu.so"], "'auto' is what ONNX Runtime itself has; give the library another name"),
        (["tpu=t.so,fast"], "'fast' after the path is not KEY=VALUE"),
        (["tpu=t.so", "tpu=u.so"], "'tpu' is named twice"),
    ],
)
def test_what_is_no_library_is_wrong_usage(registered: list[Library], arguments: list[str], message: str) -> None:
    named = [word for library in arguments for word in ("--ep-library", library)]
    done = run_here("score", "-", "--model", MODEL, *named, stdin=PUMP)
    assert done.returncode == 2
    assert f"Invalid value for '--ep-library': {message}" in done.stderr
    assert registered == []


def test_a_library_is_registered_before_the_provider_is_looked_up(registered: list[Library]) -> None:
    """In whatever order they are typed; that nothing was registered here is what the model says then."""
    named = ["--provider", "tpu", "--ep-library", "tpu=t.so", "--ep-library", "npu=u.so,a=b"]
    done = run_here("score", "-", "--model", MODEL, *named, stdin=PUMP)
    assert registered == [Library("tpu", Path("t.so"), {}), Library("npu", Path("u.so"), {"a": "b"})]
    assert done.stderr == "Error: provider 'tpu' is unknown; expected auto, cpu, cuda, tensorrt, openvino\n"
    done = run_here("score", "-", "--model", MODEL, "--provider", "gpu", *named[2:], stdin=PUMP)
    assert "'gpu' is not one of 'auto', 'cpu', 'cuda', 'tensorrt', 'openvino', 'tpu', 'npu'." in done.stderr
    assert done.returncode == 2


def test_libraries_come_from_the_environment_too(registered: list[Library]) -> None:
    done = run_here("inspect", MODEL)
    assert (done.returncode, registered) == (0, [])
    libraries = os.pathsep.join(["tpu=/a b/t.so", "npu=u.so"])
    run_here("score", "-", "--model", MODEL, stdin=PUMP, VAE_DETECT_SCORE_EP_LIBRARY=libraries)
    assert registered == [Library("tpu", Path("/a b/t.so"), {}), Library("npu", Path("u.so"), {})]


def test_a_library_that_is_none_ends_with_3_and_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.so"
    done = run_here("score", "-", "--model", MODEL, "--provider", "tpu", "--ep-library", f"tpu={path}", stdin=PUMP)
    assert done.returncode == 3
    assert (done.stdout, done.stderr) == (
        "",
        f"Error: {path}: no such file; expected a library with an execution provider\n",
    )
