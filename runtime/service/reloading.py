"""When models are loaded: at the start, when asked, and when their files change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..alarms.store import EventStore
from ..errors import InputError, UnavailableError, VaeDetectError, of_system
from ..verification import PARTS, is_kept
from .models import Keeping
from .repository import MOST_SERIES, Load, Model, Repository, Signature, aside, signature
from .upkeep import Lasting

WATCH_S = 1.0
"""Seconds between two looks at the files; one is loaded when two looks in a row found it changed, and the same."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


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
            if not equals or _exists(Path(text)):
                named.append((None, Path(text)))
            elif _NAME.fullmatch(name) and path:
                named.append((name, Path(path)))
            else:
                raise InputError(
                    f"model {text!r}: expected NAME=PATH, with a name of letters, digits, '.', '_' and '-'"
                )
        return cls(tuple(named))

    def models(self) -> dict[str, Path]:
        """The scorer files by name, of a folder every one in it now. Raises InputError where two have one name, and
        where there is none."""
        found: dict[str, Path] = {}
        for name, path in self.named:
            files = _scorers(path)
            if files is None:
                each = {name or path.stem: path}
            elif name is not None:
                raise InputError(f"model {name!r} is a folder, {path}; its files have names of their own")
            else:
                each = {file.stem: file for file in files}
            for own, file in each.items():
                if not _NAME.fullmatch(own):
                    raise InputError(f"{file}: {own!r} cannot name a model; say NAME={file}")
                if own in found:
                    raise InputError(f"{found[own]} and {file} are both called {own!r}; say NAME=PATH for one of them")
                found[own] = file
        if not found:
            raise InputError(f"there is no model in {', '.join(str(path) for _, path in self.named)}")
        return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, a folder that may not be read
        return False


def _scorers(folder: Path) -> list[Path] | None:
    """The scorers in a folder, without hidden files and those kept for the way back; None where it is no folder."""
    try:
        if not folder.is_dir():
            return None
        found = sorted(path for path in folder.iterdir() if path.suffix == ".onnx" and path.name[0] != ".")
    except OSError as error:
        raise of_system(error, str(folder)) from None
    return [path for path in found if Path(path.stem).suffix[1:] not in PARTS and not is_kept(path)]


@dataclass(frozen=True)
class Plan:
    """What to serve."""

    sources: Sources
    load: Load
    shadows: Mapping[str, Path] = field(default_factory=dict)
    """By name of the model, what scores beside it."""
    watch: bool = False
    """Whether files that change are loaded without being asked."""
    keeping: Keeping = field(default_factory=Keeping)
    """What is remembered of streams."""
    max_series: int = MOST_SERIES
    """Of /metrics."""
    lasting: Lasting = field(default_factory=Lasting)
    """What is kept of streams, and where samples come from."""
    events: EventStore = field(default_factory=lambda: EventStore(None))


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
        for name, path in self._sources.models().items():
            repository.add(name, path)
        unknown = [name for name in self._shadows if name not in repository.models]
        if unknown:
            raise InputError(f"a shadow of {unknown[0]!r}, which is no model; there is {', '.join(repository.models)}")

    async def first(self) -> None:
        """Loads every model. Raises VaeDetectError at the first that cannot be trusted."""
        for model in list(self._repository):
            await self._repository.load(model.name)
        for name, path in self._shadows.items():
            await self._repository.shade(name, path)

    async def again(self) -> bool:
        """Loads every model whose files have changed, and those that a folder has gained; what it has lost answers no
        more. What cannot be trusted leaves the version before in its place, and is tried again. Whether there was
        anything to do."""
        try:
            found = await aside(self._sources.models)
        except (InputError, UnavailableError) as error:
            self._announce(f"the models stay as they are: {error}")
            return True
        changed = False
        for model in list(self._repository):
            if model.name not in found and model.served is not None:
                await self._repository.unload(model.name)
                changed = True
        for name, path in found.items():
            model = self._of(name, path)
            if not await aside(lambda: model.is_current):  # noqa: B023  # it is awaited here
                await self._load(model)
                changed = True
        return changed

    async def watch(self) -> None:
        """Loads models when their files change, for ever."""
        before: dict[Path, Signature] = {}
        problem = ""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                now = await aside(self._look)
            except (InputError, UnavailableError) as error:
                if str(error) != problem:
                    self._announce(f"the models stay as they are: {error}")
                problem = str(error)
                continue
            problem = ""
            for name, (path, found) in now.items():
                known = self._repository.models.get(name)
                if before.get(path) == found and (known is None or known.seen != found):
                    await self._load(self._of(name, path))
            before = dict(now.values())

    def _look(self) -> dict[str, tuple[Path, Signature]]:
        return {name: (path, signature(path)) for name, path in self._sources.models().items()}

    def _of(self, name: str, path: Path) -> Model:
        """The model of this name, whose file is there now."""
        model = self._repository.models.get(name) or self._repository.add(name, path, awaited=False)
        model.path = path
        return model

    async def _load(self, model: Model) -> None:
        try:
            await self._repository.load(model.name)
        except VaeDetectError as error:
            kept = f"{model.served.version} goes on" if model.served else "nothing answers to its name"
            self._announce(f"{model.name} is not loaded, {kept}: {error}")
