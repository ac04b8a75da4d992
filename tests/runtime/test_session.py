from __future__ import annotations

import os
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import MODEL, ROOT

from vae_detect.runtime import session as module
from vae_detect.runtime.bundle import Bundle
from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, MissingExtraError, ModelError, ProviderError
from vae_detect.runtime.metadata import read_bundle
from vae_detect.runtime.opening import read_model_file
from vae_detect.runtime.session import (
    Library,
    Session,
    available_providers,
    count_nodes,
    import_onnxruntime,
    register_library,
)

CONTENT = MODEL.read_bytes()


def only_cpu() -> bool:
    available: list[str] = import_onnxruntime().get_available_providers()
    return not {"CUDAExecutionProvider", "TensorrtExecutionProvider", "OpenVINOExecutionProvider"} & {*available}


def pretend_installed(monkeypatch: pytest.MonkeyPatch, *distributions: str) -> None:
    monkeypatch.setattr(module, "_is_installed", lambda name: name in distributions)


# --- providers -------------------------------------------------------------------------------------------------------


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(InputError, match="provider 'gpu' is unknown; expected auto, cpu, cuda, tensorrt, openvino"):
        Session(CONTENT, source="pump.onnx", provider="gpu")


@pytest.mark.parametrize(
    ("provider", "hint"),
    [
        ("cuda", "pip install 'vae-detect[gpu]'"),
        ("tensorrt", "pip install 'vae-detect[tensorrt]'"),
        ("openvino", "pip install onnxruntime-openvino"),
    ],
)
def test_a_provider_that_this_build_lacks_is_refused(provider: str, hint: str) -> None:
    if not only_cpu():
        pytest.skip("this build of ONNX Runtime has more than the CPU")
    with pytest.raises(ProviderError) as caught:
        Session(CONTENT, source="pump.onnx", provider=provider)
    assert f"provider {provider} was asked for, this build of ONNX Runtime has cpu: " in str(caught.value)
    assert hint in str(caught.value)


def test_auto_falls_back_to_the_cpu() -> None:
    if not only_cpu():
        pytest.skip("this build of ONNX Runtime has more than the CPU")
    assert Session(CONTENT, source="pump.onnx").provider == "cpu"
    assert Session(CONTENT, source="pump.onnx", provider="cpu").provider == "cpu"


def test_auto_prefers_cuda_and_names_the_fallback() -> None:
    loaded: list[str] = []
    gpu_build = SimpleNamespace(
        get_available_providers=lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
        preload_dlls=lambda: loaded.append("cuda"),
    )
    assert module._choose(gpu_build, "auto") == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert module._choose(gpu_build, "cpu") == ["CPUExecutionProvider"]
    assert loaded == ["cuda"]
    expected = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert module._choose(gpu_build, "tensorrt") == expected


def test_a_silent_fallback_to_the_cpu_is_refused() -> None:
    fell_back = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match=r"provider cuda was asked for, ONNX Runtime fell back to cpu: pip install"):
        module._used(fell_back, "cuda")
    assert module._used(fell_back, "cpu") == "cpu"


def test_auto_warns_when_a_gpu_build_runs_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fell_back = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    assert module._used(fell_back, "auto") == "cpu"
    assert not caplog.records
    pretend_installed(monkeypatch, "onnxruntime-gpu")
    assert module._used(fell_back, "auto") == "cpu"
    assert "CUDA cannot be used; scoring on the CPU" in caplog.text


# --- finding ONNX Runtime --------------------------------------------------------------------------------------------


def not_there(_name: str) -> Any:
    raise ImportError("libcudart.so.13: cannot open shared object file")


def test_no_onnxruntime_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch)
    monkeypatch.setattr(module, "import_module", not_there)
    with pytest.raises(MissingExtraError, match=r"no ONNX Runtime is installed: pip install 'vae-detect\[cpu\]'"):
        Session(CONTENT, source="pump.onnx")


def test_an_onnxruntime_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "onnxruntime-gpu")
    monkeypatch.setattr(module, "import_module", not_there)
    with pytest.raises(MissingExtraError, match=r"onnxruntime-gpu is installed but cannot be loaded: libcudart"):
        Session(CONTENT, source="pump.onnx")


def test_two_builds_of_onnxruntime_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(monkeypatch, "onnxruntime", "onnxruntime-gpu")
    with pytest.raises(MissingExtraError, match="onnxruntime and onnxruntime-gpu are both installed") as caught:
        Session(CONTENT, source="pump.onnx")
    assert "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'vae-detect[cpu]'" in str(caught.value)


def test_what_is_installed_is_found() -> None:
    assert module._is_installed("numpy")
    assert not module._is_installed("vae-detect-does-not-exist")


# --- files that are no models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"hello world", CONTENT[:5000], CONTENT[:-1], pickle.dumps({"weight": [1.0]}), b"\x89PNG\r\n\x1a\n"],
    ids=["empty", "blank", "text", "truncated", "one byte short", "pickle", "png"],
)
def test_what_is_no_onnx_file_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pump.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        Detector.load(path, provider="cpu")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.onnx", "no such file; expected a detector written by 'vae-detect train'"),
        ("", "is a folder, expected a file; expected a detector"),
        ("null\0byte.onnx", "cannot be read: embedded null byte"),
        ("x" * 300, "cannot be read: File name too long"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        read_model_file(tmp_path / name)


# --- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_at_least_one(threads: int) -> None:
    with pytest.raises(InputError, match=f"threads is {threads}, expected 1 or more"):
        Session(CONTENT, source="pump.onnx", threads=threads)


def test_a_session_knows_its_graph() -> None:
    opened = Session(CONTENT, source="pump.onnx", provider="cpu", threads=2)
    assert opened.inputs == {"x": ["batch", 8]}
    assert opened.input_types == {"x": "tensor(float)"}
    assert opened.outputs[:3] == ("score", "p_value", "is_anomaly")
    assert isinstance(read_bundle(opened.metadata, "pump.onnx"), Bundle)


def test_idle_threads_do_not_spin() -> None:
    """Spinning workers burned a whole core at one call per 2 ms."""
    options = Session(CONTENT, source="pump.onnx", provider="cpu", threads=2)._session.get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_bound_run_computes_what_run_computes(detector: Detector) -> None:
    opened = Session(CONTENT, source="pump.onnx", provider="cpu")
    x, score = np.empty((1, 8), np.float32), np.empty(1, np.float32)
    bound = opened.bind(("x", x), {"score": score})
    for row in np.asarray(detector.bundle.golden.x, np.float32):
        x[0] = row
        bound()
        assert score.tobytes() == opened.run(["score"], {"x": row[None]})[0].tobytes()


def test_loading_leaves_no_file_in_the_home_folder(tmp_path: Path) -> None:
    """ONNX Runtime 1.29 and later would keep a device id there and send usage data."""
    code = f"from vae_detect.runtime.detector import Detector; Detector.load({str(MODEL)!r})"
    kept = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith(("ORT_", "XDG_"))}
    environment = {**kept, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_weights_outside_the_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outside.onnx"
    model = onnx.load(MODEL)
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=200)
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime would look by itself
    with pytest.raises(ModelError, match=r"cannot load this file: .*[Ee]xternal"):
        Session(path.read_bytes(), source=str(path))


def test_the_nodes_of_a_graph_are_counted_where_they_run() -> None:
    shapes = {"a": (2, 3), "b": (3, 4), "c": (4,)}
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (2, 4))
    steps = [("Gemm", ["a", "b", "c"], ["sum"]), ("Exp", ["sum"], ["y"])]
    nodes = [onnx.helper.make_node(*step) for step in steps]
    graph = onnx.helper.make_graph(nodes, "two", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    feeds = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    counts = count_nodes(model.SerializeToString(), ["y"], feeds, source="two.onnx", provider="cpu")
    assert counts == {"cpu": 2}


# --- plug-in libraries -----------------------------------------------------------------------------------------------


class FakeRuntime:
    """An onnxruntime of 1.23 or later as far as libraries go: what it is asked, and what a library offers."""

    __version__ = "1.31.1"

    def __init__(self, offers: list[tuple[str, str]], runs_on: list[str] | Exception) -> None:
        self.offers, self.runs_on = offers, runs_on
        self.registered: list[tuple[str, str]] = []
        self.asked: list[Any] = []
        self.GraphOptimizationLevel = SimpleNamespace(ORT_ENABLE_ALL=99)

    def get_available_providers(self) -> list[str]:
        return ["CPUExecutionProvider", *(name for name, _ in self.offers if self.registered)]

    def get_ep_devices(self) -> list[Any]:
        offered = [("CPUExecutionProvider", "CPU"), *(self.offers if self.registered else [])]
        return [
            SimpleNamespace(ep_name=name, device=SimpleNamespace(type=SimpleNamespace(name=kind)))
            for name, kind in offered
        ]

    def register_execution_provider_library(self, name: str, path: str) -> None:
        self.registered.append((name, path))

    def SessionOptions(self) -> Any:  # noqa: N802
        def add(devices: list[Any], options: dict[str, str]) -> None:
            self.asked.append(([(device.ep_name, device.device.type.name) for device in devices], options))

        return SimpleNamespace(add_session_config_entry=lambda *_: None, add_provider_for_devices=add)

    def InferenceSession(self, model: bytes, options: Any, **how: Any) -> Any:  # noqa: N802
        self.asked.append(how)
        if isinstance(self.runs_on, Exception) and "providers" not in how:
            raise self.runs_on
        if model != CONTENT:
            raise ValueError("no protobuf")
        names = self.runs_on if isinstance(self.runs_on, list) else ["CPUExecutionProvider"]
        return SimpleNamespace(
            get_providers=lambda: [*names, "CPUExecutionProvider"],
            get_inputs=list,
            get_outputs=list,
            get_provider_graph_assignment_info=lambda: [SimpleNamespace(ep_name=name) for name in names],
        )


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A file that only a `FakeRuntime` takes for a library."""
    monkeypatch.setattr(module, "_plugins", {})
    path = tmp_path / "libtpu.so"
    path.touch()
    return Library("tpu", path, {"precision": "f32"})


def use(monkeypatch: pytest.MonkeyPatch, fake: FakeRuntime) -> None:
    monkeypatch.setattr(module, "import_onnxruntime", lambda: fake)


def test_a_library_is_registered_and_its_accelerator_used(monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    fake = FakeRuntime([("TpuProvider", "CPU"), ("TpuProvider", "NPU")], ["TpuProvider"])
    use(monkeypatch, fake)
    register_library(library)
    register_library(library)  # as for the next model
    assert fake.registered == [("tpu", str(library.path))]
    assert available_providers() == ["cpu", "tpu"]
    assert Session(CONTENT, source="pump.onnx", provider="tpu").provider == "tpu"
    assert fake.asked == [([("TpuProvider", "NPU")], {"precision": "f32"}), {"enable_fallback": 0}]


def test_a_name_is_of_one_library(monkeypatch: pytest.MonkeyPatch, library: Library, tmp_path: Path) -> None:
    use(monkeypatch, FakeRuntime([("TpuProvider", "NPU")], ["TpuProvider"]))
    register_library(library)
    other = tmp_path / "other.so"
    other.touch()
    with pytest.raises(ProviderError, match=r"other.so: .*libtpu.so has the name tpu already; give it another one"):
        register_library(library._replace(path=other))


def test_without_being_asked_for_a_library_changes_nothing(monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    fake = FakeRuntime([("TpuProvider", "NPU")], [])
    use(monkeypatch, fake)
    register_library(library)
    assert Session(CONTENT, source="pump.onnx").provider == "cpu"
    assert fake.asked == [{"providers": ["CPUExecutionProvider"]}]
    with pytest.raises(
        InputError, match="provider 'npu' is unknown; expected auto, cpu, cuda, tensorrt, openvino, tpu"
    ):
        Session(CONTENT, source="pump.onnx", provider="npu")


def test_a_library_that_brings_what_a_build_can_have_is_known_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch, library: Library
) -> None:
    """As the plug-in of OpenVINO does; ONNX Runtime then lists its provider among its own."""
    use(monkeypatch, FakeRuntime([("OpenVINOExecutionProvider", "CPU")], ["OpenVINOExecutionProvider"]))
    register_library(library)
    assert available_providers() == ["cpu", "tpu"]
    assert Session(CONTENT, source="pump.onnx", provider="tpu").provider == "tpu"
    with pytest.raises(ProviderError, match="provider openvino was asked for, this build of ONNX Runtime has cpu: "):
        Session(CONTENT, source="pump.onnx", provider="openvino")


def test_a_library_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    use(monkeypatch, FakeRuntime([], []))
    with pytest.raises(
        ProviderError, match=r"libtpu.so: this library finds no device here .*another ONNX Runtime than 1.31.1"
    ):
        register_library(library)


def test_a_provider_of_a_library_that_runs_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, library: Library
) -> None:
    """ONNX Runtime would run everything on the CPU and say nothing."""
    use(monkeypatch, FakeRuntime([("TpuProvider", "NPU")], ["CPUExecutionProvider"]))
    register_library(library)
    with pytest.raises(ProviderError, match=r"provider tpu takes no node of pump.onnx: all of it would run on the CPU"):
        Session(CONTENT, source="pump.onnx", provider="tpu")


def test_a_provider_of_a_library_that_fails_is_told_from_a_bad_file(
    monkeypatch: pytest.MonkeyPatch, library: Library
) -> None:
    """The message is one that the plug-in of QNN really gives."""
    wrapped = "/a.cc:71 virtual std::unique_ptr<> Create() Error: [ONNXRuntimeError] : 1 : FAIL : no backend path\nmore"
    use(monkeypatch, FakeRuntime([("TpuProvider", "NPU")], RuntimeError(wrapped)))
    register_library(library)
    with pytest.raises(ProviderError) as caught:
        Session(CONTENT, source="pump.onnx", provider="tpu")
    assert str(caught.value) == "provider tpu cannot run pump.onnx: no backend path"
    with pytest.raises(ModelError, match=r"pump.onnx: ONNX Runtime cannot load this file: no protobuf"):
        Session(b"no model", source="pump.onnx", provider="tpu")


def test_an_old_onnxruntime_takes_no_libraries(monkeypatch: pytest.MonkeyPatch, library: Library) -> None:
    monkeypatch.setattr(module, "import_onnxruntime", lambda: SimpleNamespace(__version__="1.22.1"))
    with pytest.raises(ProviderError, match=r"ONNX Runtime 1.22.1 takes no provider libraries; install 1.23 or later"):
        register_library(library)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("absent.so", "no such file; expected a library with an execution provider"),
        ("folder", "no such file; expected a library with an execution provider"),
        ("text.so", "cannot be used as a library with an execution provider: .*(invalid ELF header|file too short)"),
        ("unrelated.so", "cannot be used as a library with an execution provider: .*CreateEpFactories"),
    ],
)
def test_what_is_no_library_of_a_provider_is_refused(name: str, problem: str, tmp_path: Path) -> None:
    """By the real ONNX Runtime."""
    if not hasattr(import_onnxruntime(), "register_execution_provider_library"):
        pytest.skip("this ONNX Runtime takes no libraries")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.so").write_text("no library, but more than a header of text, which is sixty-four bytes or so\n")
    unrelated = Path(import_module("_ctypes").__file__ or "")
    (tmp_path / "unrelated.so").symlink_to(unrelated)
    with pytest.raises(ProviderError, match=problem) as caught:
        register_library(Library("other", tmp_path / name, {}))
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)
    assert "other" not in available_providers()
