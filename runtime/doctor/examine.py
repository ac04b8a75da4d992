"""All checks, in the order of the answer."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..errors import VaeDetectError
from ..session import Library, register_library
from . import clock, machine, models, places, software, speed
from .findings import Finding, guarded
from .system import System


class Asked(NamedTuple):
    """What the other commands would be asked for too."""

    model: Path | None = None
    provider: str = "auto"
    threads: int = 1
    libraries: Sequence[Library] = ()


def examine(asked: Asked, system: System) -> list[Finding]:
    """What there is to say of this machine, and of a model on it."""
    findings = [
        *guarded("vae-detect", software.check_version),
        *(of_onnxruntime := guarded("ONNX Runtime", software.check_onnxruntime)),
    ]
    has_onnxruntime = of_onnxruntime[0].state == "fine"
    if has_onnxruntime:
        findings += guarded("telemetry", software.check_telemetry)
        libraries = {library.name: _check_library(library) for library in asked.libraries}
        loaded = [name for name, finding in libraries.items() if finding.state == "fine"]
        findings += libraries.values()
        findings += guarded("provider", lambda: software.check_provider(asked.provider, loaded))
    findings += guarded("extras", software.check_extras)
    findings += _of_machine(asked, system)
    if asked.model is not None and has_onnxruntime:
        findings += _of_model(asked.model, asked, system)
    elif asked.model is not None:
        findings.append(Finding("model", "unknown", "cannot be looked at without ONNX Runtime"))
    return findings


def _check_library(library: Library) -> Finding:
    check = f"library {library.name}"
    facts: dict[str, object] = {"path": str(library.path)}
    try:
        register_library(library)
    except VaeDetectError as error:
        return Finding(check, "wrong", str(error), facts=facts)
    return Finding(check, "fine", f"{library.path} is loaded", facts=facts)


def _of_machine(asked: Asked, system: System) -> list[Finding]:
    allowed = os.sched_getaffinity(0)
    written = _written({"vae-detect": Path(__file__), "the model": asked.model})
    folder = None if asked.model is None else asked.model.parent
    return [
        *guarded("processor", lambda: machine.check_processor(system)),
        *guarded("CPUs", lambda: machine.check_cpus(system, allowed, asked.threads, os.cpu_count() or len(allowed))),
        *guarded("CPU clock", lambda: machine.check_governor(system, allowed)),
        *guarded("memory", lambda: machine.check_memory(system)),
        *guarded("clock", lambda: clock.check_clock(system, time.time(), written)),
        *guarded("timer", lambda: clock.check_timer(system)),
        *guarded("folder", places.check_current_folder),
        *guarded("temporary", places.check_temporary_folder),
        *(guarded("model folder", lambda: places.check_folder("model folder", folder)) if folder else []),
        *guarded("open files", lambda: places.check_open_files(system)),
    ]


def _of_model(path: Path, asked: Asked, system: System) -> list[Finding]:
    finding, detector = models.check_model(path, asked.provider, asked.threads)
    if detector is None:
        return [finding]
    usable = machine.usable_cpus(system, os.sched_getaffinity(0))
    return [
        finding,
        *guarded("nodes", lambda: models.check_nodes(detector)),
        *guarded("speed", lambda: speed.check_speed(detector, asked.threads, usable)),
    ]


def _written(files: Mapping[str, Path | None]) -> dict[str, float]:
    """When files were written, of those that can be looked at."""
    found = {}
    for name, path in files.items():
        with suppress(OSError, ValueError):
            if path is not None:
                found[name] = path.stat().st_mtime
    return found
