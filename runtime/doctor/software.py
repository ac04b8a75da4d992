"""The packages: which ONNX Runtime, what the extras brought, and whether anything is reported to anybody."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata

from ... import __version__
from ..errors import MissingExtraError, VaeDetectError
from ..session import Session, available_providers, import_onnxruntime, installed_builds
from .findings import Finding

_TINY = (
    b'\x08\x08:9\n\x12\n\x01x\x12\x01y\x1a\x00"\x08Identity\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08'
    b"\x01b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x12"
)
"""An ONNX file, y = x, of opset 18: what a provider can be tried on without a model."""

_TELEMETRY_OFF = ("1", "true", "yes", "on")
"""Values of ORT_DISABLE_TELEMETRY at which ONNX Runtime 1.31 writes and sends nothing; "0" and "" are others."""

_OF_ONNXRUNTIME = ("cpu", "gpu", "tensorrt")
_OF_DEVELOPERS = ("dev", "bench")
"""Extras that say nothing of what a box can do, or that `check_onnxruntime` tells."""


def check_version() -> Finding:
    python, system = platform.python_version(), f"{platform.system()} {platform.release()}"
    found = f"{__version__}, Python {python}, {system} on {platform.machine()}"
    facts: dict[str, object] = {
        "version": __version__,
        "python": python,
        "system": system,
        "machine": platform.machine(),
    }
    return Finding("vae-detect", "fine", found, facts=facts)


def check_onnxruntime() -> Finding:
    """Whether one build of ONNX Runtime is installed, and can be loaded."""
    builds = {name: metadata.version(name) for name in installed_builds()}
    shown = ", ".join(f"{name} {version}" for name, version in builds.items())
    try:
        version = str(import_onnxruntime().__version__)
    except MissingExtraError as error:
        problem, _, advice = str(error).partition(": ")
        return Finding("ONNX Runtime", "wrong", problem, advice, {"version": None, "builds": builds})
    found = shown or f"{version}, which pip did not install"
    return Finding("ONNX Runtime", "fine", found, facts={"version": version, "builds": builds})


def check_telemetry(environment: Mapping[str, str] = os.environ) -> Finding:
    """Whether ONNX Runtime reports nothing; call it after `check_onnxruntime`, which imports it."""
    value = environment.get("ORT_DISABLE_TELEMETRY")
    facts: dict[str, object] = {"ORT_DISABLE_TELEMETRY": value}
    shown = "ORT_DISABLE_TELEMETRY is " + ("not set" if value is None else repr(value) if value == "" else value)
    if value is not None and value.lower() in _TELEMETRY_OFF:
        return Finding("telemetry", "fine", f"off ({shown})", facts=facts)
    advice = "unset ORT_DISABLE_TELEMETRY, or set it to 1: ONNX Runtime 1.29 and later report use otherwise"
    return Finding("telemetry", "look", f"not off ({shown})", advice, facts)


def check_provider(asked: str, libraries: Sequence[str]) -> Finding:
    """Which providers there are, and whether the one asked for can be had; `libraries` are those that were named."""
    available = available_providers()
    facts: dict[str, object] = {"available": available, "asked": asked}
    there = f"{', '.join(available)} available"
    if asked in libraries:  # such a provider may refuse a graph for what is in it
        found = f"{there}; {asked} asked for, which only a model can show (--model)"
        return Finding("provider", "fine", found, facts={**facts, "used": None})
    try:
        used = Session(_TINY, source="a graph of one node", provider=asked).provider
    except VaeDetectError as error:
        problem, _, advice = str(error).partition(": ")
        return Finding("provider", "wrong", f"{there}; {problem}", advice, {**facts, "used": None})
    found = f"{there}; {asked} asked for, {used} used"
    if asked == "auto" and used == "cpu" and "cuda" in available:
        advice = "look at nvidia-smi; --provider cuda says what is missing"
        return Finding("provider", "look", f"{found}: CUDA cannot be used", advice, {**facts, "used": used})
    return Finding("provider", "fine", found, facts={**facts, "used": used})


def check_extras(requirements: Sequence[str] | None = None) -> list[Finding]:
    """What each extra of ours has brought; `requirements` are those in the package's metadata."""
    if requirements is None:
        try:
            requirements = metadata.requires("vae-detect") or []
        except metadata.PackageNotFoundError:
            return [Finding("extras", "unknown", "vae-detect itself is not installed: it runs from its source")]
    extras: dict[str, list[str]] = {}
    for requirement in requirements:
        told = re.match(r"""([\w.-]+)[^;]*;\s*extra\s*==\s*["']([\w-]+)["']""", requirement)
        if told and told[1] != "vae-detect" and told[2] not in (*_OF_ONNXRUNTIME, *_OF_DEVELOPERS):
            extras.setdefault(told[2], []).append(told[1])
    return [_check_extra(extra, packages) for extra, packages in extras.items()]


def _check_extra(extra: str, packages: Sequence[str]) -> Finding:
    versions = {name: version for name in packages if (version := _version(name)) is not None}
    missing = [name for name in packages if name not in versions]
    check = f"extra {extra}"
    facts: dict[str, object] = {"versions": versions, "missing": missing}
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    if not missing:
        return Finding(check, "fine", shown, facts=facts)
    if len(versions) < len(missing):  # a few of its packages are on many machines, for other reasons
        return Finding(check, "fine", "not installed", facts=facts)
    found, advice = f"not complete, {', '.join(missing)} missing; {shown}", f"pip install 'vae-detect[{extra}]'"
    return Finding(check, "look", found, advice, facts)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
