"""The one module that touches ONNX Runtime: finding it, choosing a provider, opening a graph."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from importlib import import_module, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .bundle import METADATA_KEY
from .errors import InputError, MissingExtraError, ModelError, ProviderError, first_line

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


class Library(NamedTuple):
    """A plug-in library with an execution provider, as the operator names it."""

    name: str
    """For `Session` and --provider; none of `PROVIDERS`."""
    path: Path
    options: dict[str, str]
    """The provider's own."""


class _Plugin(NamedTuple):
    """What a plug-in library offers here."""

    library: Library
    provider: str
    """ONNX Runtime's name of the provider."""
    device: Any


_plugins: dict[str, _Plugin] = {}
"""Providers of libraries by the names that the operator gave them; ONNX Runtime keeps them for the process too."""


def installed_builds() -> list[str]:
    """The builds of ONNX Runtime that are installed; only one may be, since they overwrite each other's files."""
    return [name for name in _DISTRIBUTIONS if _is_installed(name)]


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises
    ------
    MissingExtraError
        when no build of it is installed, or more than one: they share one module name and nearly
        all file paths, so that the one installed last has overwritten parts of the other
    """
    found = installed_builds()
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


def available_providers() -> list[str]:
    """Every provider that may be asked for: those of this build of ONNX Runtime, and of registered libraries."""
    return [*_built_in(import_onnxruntime()), *_plugins]


def register_library(library: Library) -> None:
    """Makes ``provider=library.name`` mean the execution provider in a library, in this process from now on.

    The code of the library runs: this is for the operator to say, and no model file can. Of several devices that it
    finds, an accelerator is taken before a CPU.

    Raises
    ------
    ProviderError
        when ONNX Runtime cannot load it, or is too old for libraries, or the library finds no device here
    """
    path = library.path.absolute()
    if not path.is_file():
        raise ProviderError(f"{path}: no such file; expected a library with an execution provider")
    known = _plugins.get(library.name)
    if known is not None and known.library.path.absolute() == path:
        _plugins[library.name] = known._replace(library=library)
        return
    if known is not None:
        raise ProviderError(f"{path}: {known.library.path} has the name {library.name} already; give it another one")
    ort = import_onnxruntime()
    if not hasattr(ort, "register_execution_provider_library"):
        raise ProviderError(f"ONNX Runtime {ort.__version__} takes no provider libraries; install 1.23 or later")
    others = {device.ep_name for device in ort.get_ep_devices()}
    try:
        ort.register_execution_provider_library(library.name, str(path))
    except Exception as error:  # as in `_open`
        reason = _reason(str(error).replace(str(path), path.name))  # which says it several times
        raise ProviderError(f"{path}: cannot be used as a library with an execution provider: {reason}") from None
    found = [device for device in ort.get_ep_devices() if device.ep_name not in others]
    if not found:
        raise ProviderError(
            f"{path}: this library finds no device here that it can use, or wants another ONNX Runtime than "
            f"{ort.__version__}"
        )
    device = min(found, key=lambda device: device.device.type.name == "CPU")
    _plugins[library.name] = _Plugin(library, device.ep_name, device)


class Session:
    """An opened graph.

    Parameters
    ----------
    model : the bytes of an ONNX file; bytes, because a file changed on disk must not change a running service
    source : how to call it in messages
    provider : one of `PROVIDERS`, the name of a registered library, or "auto"
    threads : intra-op threads
    profile : where ONNX Runtime writes what ran where and how long; the beginning of a file's path

    Raises
    ------
    ModelError
        when ONNX Runtime cannot load the graph
    ProviderError
        when the provider asked for is not the one that ONNX Runtime would use
    """

    def __init__(
        self, model: bytes, *, source: str, provider: str = "auto", threads: int = 1, profile: Path | None = None
    ) -> None:
        self.source = source
        ort = import_onnxruntime()
        options = _options(ort, threads, profile)
        if provider in _plugins:
            self._session = _open_on_plugin(ort, model, options, source, provider)
        else:
            self._session = _open(ort, model, options, source, _choose(ort, provider))
        self.asked_provider = provider
        self.provider = _used(self._session, provider)
        self.fell_back = _falls_back(provider, self.provider)
        """Whether a faster provider is installed for "auto", but cannot be used."""
        self.inputs: dict[str, list[int | str | None]] = {i.name: i.shape for i in self._session.get_inputs()}
        self.input_types: dict[str, str] = {i.name: i.type for i in self._session.get_inputs()}
        self.output_facts: dict[str, tuple[str, list[int | str | None]]] = {
            o.name: (o.type, o.shape) for o in self._session.get_outputs()
        }
        self.outputs: tuple[str, ...] = tuple(self.output_facts)

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


def count_nodes(
    model: bytes,
    outputs: Sequence[str],
    feeds: dict[str, NDArray[Any]],
    *,
    source: str,
    provider: str,
    threads: int = 1,
) -> dict[str, int]:
    """How many nodes of a graph run on which provider, counted in a run of it; the largest number first.

    A provider that compiles a part of the graph makes one node of it. Raises as `Session` does, and OSError where no
    temporary file can be written.
    """
    with TemporaryDirectory() as folder:
        session = Session(model, source=source, provider=provider, threads=threads, profile=Path(folder, "run"))
        session.run(outputs, feeds)
        events = msgspec.json.decode(Path(session._session.end_profiling()).read_bytes())
    ran = {
        (told["node_index"], told["provider"])
        for told in (event.get("args", {}) for event in events)
        if "provider" in told
    }
    names = [(_short([name]) or [name])[0] for _, name in ran]
    return {name: names.count(name) for name in sorted({*names}, key=lambda name: (-names.count(name), name))}


def _open(ort: Any, model: bytes, options: Any, source: str, providers: Sequence[str]) -> Any:
    try:
        return ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime raises a dozen unrelated classes here, all derived from Exception only
        raise ModelError(f"{source}: ONNX Runtime cannot load this file: {first_line(error)}") from None


def _open_on_plugin(ort: Any, model: bytes, options: Any, source: str, provider: str) -> Any:
    plugin = _plugins[provider]
    try:
        options.add_provider_for_devices([plugin.device], plugin.library.options)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        # A second try on the CPU would be told on standard output, which is for data.
        session = ort.InferenceSession(model, options, enable_fallback=0)
    except Exception as error:
        _open(ort, model, _options(ort, 1, None), source, ["CPUExecutionProvider"])  # or the file is to blame
        raise ProviderError(f"provider {provider} cannot run {source}: {_reason(str(error))}") from None
    if hasattr(session, "get_provider_graph_assignment_info"):  # not before ONNX Runtime 1.24
        parts = session.get_provider_graph_assignment_info()
        if all(part.ep_name != plugin.provider for part in parts):
            raise ProviderError(f"provider {provider} takes no node of {source}: all of it would run on the CPU")
    return session


def _options(ort: Any, threads: int, profile: Path | None) -> Any:
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
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return options


def _choose(ort: Any, provider: str) -> list[str]:
    available = _built_in(ort)
    if provider == "auto":
        chosen = next(name for name in AUTO_ORDER if name in available)
    elif provider in PROVIDERS:
        chosen = provider
    else:
        raise InputError(f"provider {provider!r} is unknown; expected auto, {', '.join([*PROVIDERS, *_plugins])}")
    if chosen not in available:
        raise ProviderError(
            f"provider {chosen} was asked for, this build of ONNX Runtime has {', '.join(available)}: " + _HINTS[chosen]
        )
    if chosen in ("cuda", "tensorrt") and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds CUDA and cuDNN where pip put them
    return [PROVIDERS[name] for name in (chosen, *_FALLBACKS[chosen])]


def _used(session: Any, asked: str) -> str:
    """The provider in use. onnxruntime-gpu on a machine without a GPU silently runs on the CPU; not here."""
    used = _short(session.get_providers())[0]
    if asked not in ("auto", used):
        hint = _HINTS.get(asked, "the library has not taken the graph")
        raise ProviderError(f"provider {asked} was asked for, ONNX Runtime fell back to {used}: {hint}")
    if _falls_back(asked, used):
        log.warning("onnxruntime-gpu is installed but CUDA cannot be used; scoring on the CPU")
    return used


def _falls_back(asked: str, used: str) -> bool:
    return asked == "auto" and used == "cpu" and _is_installed("onnxruntime-gpu")


def _built_in(ort: Any) -> list[str]:
    """What this build has; ONNX Runtime lists what came with libraries there too."""
    return [name for name in _short(ort.get_available_providers()) if name not in _plugins]


def _short(names: Sequence[str]) -> list[str]:
    known = {long: short for short, long in PROVIDERS.items()}
    known |= {plugin.provider: name for name, plugin in _plugins.items()}
    return [known[name] for name in names if name in known]


def _reason(text: str) -> str:
    """The last of the errors that ONNX Runtime has wrapped into each other, without places in its source."""
    return first_line(re.split(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", text)[-1])
