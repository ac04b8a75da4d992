"""When models are loaded: at the start, when asked, and when their files change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, VaeDetectError
from ..verification import PARTS, part_file
from .repository import Load, Repository

WATCH_S = 1.0
"""Seconds between two looks at the files; one is loaded when two looks in a row found it changed, and the same."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Sources:
    """Where the models of a service come from: scorer files and folders of them, each with a name or None.

    >>> Sources.parse(["pump=exported/vae.onnx"]).models()
    {'pump': PosixPath('exported/vae.onnx')}
    """

    named: tuple[tuple[str | None, Path], ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Sources:
        """Of NAME=PATH, or PATH. Raises InputError for a name that cannot be one."""
        named: list[tuple[str | None, Path]] = []
        for text in texts:
            name, equals, path = text.partition("=")
            if not equals or Path(text).exists():
                named.append((None, Path(text)))
            elif _NAME.fullmatch(name) and path:
                named.append((name, Path(path)))
            else:
                raise InputError(
                    f"model {text!r}: expected NAME=PATH, with a name of letters, digits, '.', '_' and '-'"
                )
        return cls(tuple(named))

    def models(self) -> dict[str, Path]:
        """The scorer files by name, of a folder every one in it now. Raises InputError where two have one name."""
        found: dict[str, Path] = {}
        for name, path in self.named:
            if not path.is_dir():
                each = {name or path.stem: path}
            elif name is not None:
                raise InputError(f"model {name!r} is a folder, {path}; its files have names of their own")
            else:
                files = sorted(path.glob("*.onnx"))
                each = {file.stem: file for file in files if Path(file.stem).suffix[1:] not in PARTS}
            for own, file in each.items():
                if not _NAME.fullmatch(own):
                    raise InputError(f"{file}: {own!r} cannot name a model; say NAME={file}")
                if own in found:
                    raise InputError(f"{found[own]} and {file} are both called {own!r}; say NAME=PATH for one of them")
                found[own] = file
        if not found:
            raise InputError(f"there is no model in {', '.join(str(path) for _, path in self.named)}")
        return found


@dataclass(frozen=True)
class Plan:
    """What to serve."""

    sources: Sources
    load: Load
    shadows: Mapping[str, Path] = field(default_factory=dict)
    """By name of the model, what scores beside it."""
    watch: bool = False
    """Whether files that change are loaded without being asked."""
    adaptive: bool = False
    """Whether thresholds follow their streams, see `adaptive.AdaptiveThreshold`."""


class Reloader:
    """Loads the models of a repository, one after the other.

    Parameters
    ----------
    announce : told what became of it, in one line each

    Raises
    ------
    InputError
        when there is no model, or a shadow of none
    """

    def __init__(self, repository: Repository, plan: Plan, announce: Callable[[str], None]) -> None:
        self._repository, self._sources, self._shadows = repository, plan.sources, plan.shadows
        self._announce = announce
        self._seen: dict[str, _Signature] = {}
        for name, path in self._sources.models().items():
            repository.add(name, path)
        unknown = [name for name in self._shadows if name not in repository.models]
        if unknown:
            raise InputError(f"a shadow of {unknown[0]!r}, which is no model; there is {', '.join(repository.models)}")

    async def first(self) -> None:
        """Loads every model. Raises VaeDetectError at the first that cannot be trusted."""
        self._seen = {name: _signature(path) for name, path in self._sources.models().items()}
        for model in list(self._repository):
            await self._repository.load(model.name)
        for name, path in self._shadows.items():
            await self._repository.shade(name, path)

    async def again(self) -> None:
        """Loads every model as its file is now, and those that a folder has gained; what it has lost answers no more.
        What cannot be trusted leaves the version before in its place."""
        try:
            found = self._sources.models()
        except InputError as error:
            self._announce(f"the models stay as they are: {error}")
            return
        for model in list(self._repository):
            if model.name not in found and model.served is not None:
                self._repository.unload(model.name)
                self._announce(f"{model.name} is gone, and unloaded")
        for name, path in found.items():
            await self._load(name, path)

    async def watch(self) -> None:
        """Loads models when their files change, for ever."""
        pending: dict[str, _Signature] = {}
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                found = self._sources.models()
            except InputError:
                continue
            now = {name: _signature(path) for name, path in found.items()}
            for name, path in found.items():
                if now[name] != self._seen.get(name) and now[name] == pending.get(name):
                    self._seen[name] = now[name]
                    await self._load(name, path)
            pending = now

    async def _load(self, name: str, path: Path) -> None:
        if name not in self._repository.models:
            self._repository.add(name, path)
        model = self._repository.find(name)
        try:
            await self._repository.load(name)
        except VaeDetectError as error:
            kept = f"{model.served.version} goes on" if model.served else "nothing answers to its name"
            self._announce(f"{name} is not loaded, {kept}: {error}")


def _signature(path: Path) -> _Signature:
    """What changes when a detector's files are written."""
    return tuple(map(_facts, [path, *(part_file(path, name) for name in PARTS)]))


def _facts(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
