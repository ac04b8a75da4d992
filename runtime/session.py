"""The one module that touches ONNX Runtime: finding it, choosing a provider, opening a graph."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bundle import METADATA_KEY
from .errors import InputError, MissingExtraError, ModelError, ProviderError
from .opening import MAX_MODEL_BYTES, read_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Names that users type, and ONNX Runtime's names for them."""

AUTO_ORDER = ("cuda", "cpu")
"""What ``auto`` tries. TensorRT compiles for minutes and OpenVINO is a separate build: both only when asked for."""

_FALLBACKS = {"tensorrt": ("cuda", "cpu"), "cuda": ("cpu",), "openvino": ("cpu",), "cpu": ()}
"""Providers that take the nodes which the one asked for does not implement."""

_HINTS = {
    "cuda": "pip install 'vae-detect[gpu]' (after uninstalling onnxruntime), with an NVIDIA driver",
    "tensorrt": "pip install 'vae-detect[tensorrt]' (after uninstalling onnxruntime), with an NVIDIA driver",
    "openvino": "pip install onnxruntime-openvino (after uninstalling onnxruntime)",
}

_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises
    ------
    MissingExtraError
        when no build of it is installed, or more than one: they share one module name and nearly
        all file paths, so that the one installed last has overwritten parts of the other
    """
    found = [name for name in _DISTRIBUTIONS if _is_installed(name)]
    if len(found) > 1:
        raise MissingExtraError(
            f"{' and '.join(found)} are both installed and overwrite each other: "
            f"pip uninstall {' '.join(found)}, then pip install 'vae-detect[cpu]' or 'vae-detect[gpu]'"
        )
    # ONNX Runtime 1.29 and later otherwise keep a device id in the home folder and send usage data. It reads this once,
    # when it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        if found:
            raise MissingExtraError(f"{found[0]} is installed but cannot be loaded: {error}") from error
        raise MissingExtraError(
            "no ONNX Runtime is installed: pip install 'vae-detect[cpu]' (or 'vae-detect[gpu]' for NVIDIA GPUs)"
        ) from None


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


class Session:
    """An opened graph.

    Parameters
    ----------
    model : the bytes of an ONNX file; bytes, because a file changed on disk must not change a running service
    source : how to call it in messages
    provider : one of `PROVIDERS`, or "auto"
    threads : intra-op threads

    Raises
    ------
    ModelError
        when ONNX Runtime cannot load the graph
    ProviderError
        when the provider asked for is not the one that ONNX Runtime would use
    """

    def __init__(self, model: bytes, *, source: str, provider: str = "auto", threads: int = 1) -> None:
        self.source = source
        ort = import_onnxruntime()
        names, options = _choose(ort, provider), _options(ort, threads)
        try:
            self._session = ort.InferenceSession(model, options, providers=names)
        except Exception as error:  # onnxruntime raises a dozen unrelated classes here, all derived from Exception only
            raise ModelError(f"{source}: ONNX Runtime cannot load this file: {first_line(error)}") from None
        self.provider = _used(self._session, provider)
        self.inputs: dict[str, list[int | str | None]] = {i.name: i.shape for i in self._session.get_inputs()}
        self.input_types: dict[str, str] = {i.name: i.type for i in self._session.get_inputs()}
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    @property
    def metadata(self) -> str | None:
        """The JSON under vae-detect's key, None where there is none."""
        text: str | None = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        return text

    def run(self, outputs: Sequence[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The named outputs for these inputs."""
        results: list[NDArray[Any]] = self._session.run(outputs, feeds)
        return results

    def bind(self, feed: tuple[str, NDArray[Any]], outputs: dict[str, NDArray[Any]]) -> BoundRun:
        """A run from one fixed input buffer into fixed output buffers (C-contiguous, of the graph's types)."""
        return BoundRun(self._session, feed, outputs)


class BoundRun:
    """Runs the graph on buffers that stay in place, which saves 3 us a call, a seventh of one row of a small network.

    Not for use by two threads at once. Keeps the buffers alive, since ONNX Runtime holds only their addresses.
    """

    def __init__(self, session: Any, feed: tuple[str, NDArray[Any]], outputs: dict[str, NDArray[Any]]) -> None:
        self._buffers = (feed[1], *outputs.values())
        self._session = session
        self._binding = session.io_binding()
        name, buffer = feed
        self._binding.bind_input(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)
        for name, buffer in outputs.items():
            self._binding.bind_output(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)

    def __call__(self) -> None:
        self._session.run_with_iobinding(self._binding)


def read_model_file(path: Path) -> bytes:
    """The bytes of a model file; raises ModelError naming the path when it cannot be read."""
    try:
        return read_whole(path, most=MAX_MODEL_BYTES)
    except InputError as error:
        raise ModelError(f"{path}: {error}; expected a detector written by 'vae-detect train'") from None


def _options(ort: Any, threads: int) -> Any:
    if threads < 1:
        raise InputError(f"threads is {threads}, expected 1 or more")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # A detector is one file. Weights that a graph wants from elsewhere are looked for where nothing can be; by itself
    # ONNX Runtime takes them from the current folder (and 1.18 does, since it does not know the setting).
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    # Spinning workers burned a whole core at one call per 2 ms.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _choose(ort: Any, provider: str) -> list[str]:
    available = ort.get_available_providers()
    if provider == "auto":
        chosen = next(name for name in AUTO_ORDER if PROVIDERS[name] in available)
    elif provider in PROVIDERS:
        chosen = provider
    else:
        raise InputError(f"provider {provider!r} is unknown; expected auto, {', '.join(PROVIDERS)}")
    if PROVIDERS[chosen] not in available:
        raise ProviderError(
            f"provider {chosen} was asked for, this build of ONNX Runtime has {', '.join(_short(available))}: "
            + _HINTS[chosen]
        )
    if chosen in ("cuda", "tensorrt") and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds CUDA and cuDNN where pip put them
    return [PROVIDERS[name] for name in (chosen, *_FALLBACKS[chosen])]


def _used(session: Any, asked: str) -> str:
    """The provider in use. onnxruntime-gpu on a machine without a GPU silently runs on the CPU; not here."""
    used = _short(session.get_providers())[0]
    if asked not in ("auto", used):
        raise ProviderError(f"provider {asked} was asked for, ONNX Runtime fell back to {used}: {_HINTS[asked]}")
    if asked == "auto" and used == "cpu" and _is_installed("onnxruntime-gpu"):
        log.warning("onnxruntime-gpu is installed but CUDA cannot be used; scoring on the CPU")
    return used


def _short(names: Sequence[str]) -> list[str]:
    known = {long: short for short, long in PROVIDERS.items()}
    return [known[name] for name in names if name in known]


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a message of one line."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
