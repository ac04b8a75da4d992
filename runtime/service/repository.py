"""The models of a service by name: loaded aside and verified, swapped in one step, the version before kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..detector import Detector
from ..errors import InputError, ModelError, VaeDetectError, first_line
from ..images.reading import import_pillow
from ..metrics.model import ModelMetrics
from ..verification import PARTS, part_file
from .inference import Asked
from .metrics import ServiceMetrics
from .models import Keeping, Served
from .refusals import RefusedError
from .schemas import State
from .shadow import Shadow

_T = TypeVar("_T")

_PLAIN = Keeping()

Load = Callable[[Path], Detector]
"""Makes a verified detector of a file; raises VaeDetectError when it is none."""

MOST_SERIES = 2000
"""Series of /metrics, where nothing else is said: about a dozen models."""

Signature = tuple[tuple[int, int, int] | None, ...]
"""What changes when the files of a detector are written."""


@dataclass
class Model:
    """One name that is served."""

    name: str
    path: Path
    metrics: ModelMetrics
    served: Served | None = None
    """The version that answers now."""
    before: Served | None = None
    """Another one that answered before it, for a roll-back."""
    shadow: Shadow | None = None
    """What scores beside it, whatever its version."""
    candidate: Served | None = None
    """What the shadow becomes when it is promoted."""
    state: State = "LOADING"
    """As the Open Inference Protocol has it."""
    reason: str = ""
    """Why no newer version is served."""
    awaited: bool = True
    """Whether the service is not ready without it; not so of one that comes later."""
    seen: Signature = ()
    """The files as they were when they were loaded last."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Of whoever changes something here, one after the other."""

    @property
    def is_ready(self) -> bool:
        """Whether it answers, or is not wanted to."""
        return self.served is not None or self.state == "UNAVAILABLE" or not self.awaited

    @property
    def is_current(self) -> bool:
        """Whether its files are those that were loaded last, and well."""
        return self.served is not None and not self.reason and self.seen == signature(self.path)


class Repository:
    """Which model answers to a name. All changes happen on the event loop, between two requests.

    Parameters
    ----------
    load : runs in a thread of its own, since a TensorRT engine takes minutes to build
    keeping : what is remembered of streams
    max_series : of /metrics, beyond which a model is refused
    """

    def __init__(
        self, metrics: ServiceMetrics, load: Load, keeping: Keeping = _PLAIN, *, max_series: int = MOST_SERIES
    ) -> None:
        self._metrics, self._load, self._keeping, self._max_series = metrics, load, keeping, max_series
        self.models: dict[str, Model] = {}
        self._asked: dict[str, Asked] = {}
        """By name; of the versions that answer now, so that others leave the memory."""
        self.changed: Callable[[Model], object] = lambda _: None
        """Told of each model that another version answers for from now on, or none."""

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models.values())

    def all_served(self) -> list[Served]:
        """The versions that answer now."""
        return [model.served for model in self if model.served is not None]

    @property
    def not_ready(self) -> str:
        """Why there is nothing to serve, or not all that is wanted; "" when there is."""
        waiting = [model for model in self if not model.is_ready]
        if waiting or not self.models:
            return "the model is being loaded" if len(self.models) < 2 else f"model {waiting[0].name!r} is being loaded"
        return "" if any(model.served for model in self) else "no model is loaded"

    def add(self, name: str, path: Path, *, awaited: bool = True) -> Model:
        """A model that is to be loaded."""
        self.models[name] = Model(name, path, self._metrics.of_model(name), awaited=awaited)
        return self.models[name]

    def find(self, name: str | None) -> Model:
        """The model of this name, the only one where none is said. Raises RefusedError where there is no such."""
        if name is None:
            if len(self.models) == 1:
                return next(iter(self))
            raise RefusedError(400, f"say which model: ?model=NAME, one of {', '.join(self.models)}")
        model = self.models.get(name)
        if model is None:
            raise RefusedError(404, f"no model {name[:40]!r}; there is {', '.join(self.models) or 'none yet'}")
        return model

    def served(self, name: str | None) -> Served:
        """The version that answers now. Raises RefusedError where there is none."""
        model = self.find(name)
        if model.served is None:
            why = "model {!r} is unloaded" if model.state == "UNAVAILABLE" else "the model is being loaded"
            raise RefusedError(503, f"not ready: {why.format(model.name)}")
        return model.served

    def asked(self, name: str, version: str | None) -> Asked:
        """What NAME, NAME/encoder or NAME/decoder stands for. Raises RefusedError where there is no such, or no such
        version of it any more."""
        model, slash, part = name.partition("/")
        served = self.served(model)
        if version not in (None, served.version):
            raise RefusedError(404, f"model {model!r} has no version {str(version)[:40]!r}; it serves {served.version}")
        if slash and part not in served.parts:
            there = ", ".join(f"{model}/{each}" for each in served.parts) or "no part"
            raise RefusedError(404, f"model {model!r} has no part {part[:20]!r} here; there is {there}")
        found = self._asked.get(name)
        if found is None or found.served is not served:
            found = self._asked[name] = Asked(name, model, served, part or None)
        return found

    async def load(self, name: str) -> Served:
        """Loads the model's file as it is now, and serves it.

        Raises VaeDetectError when it cannot be trusted; the version before then goes on.
        """
        model = self.find(name)
        async with model.turn:
            try:
                served = await aside(partial(self._verified, model))
            except VaeDetectError as error:
                model.reason = without_folder(error, model.path)
                model.state = model.state if model.served else "UNAVAILABLE"
                model.metrics.reloads["failed"] += 1
                raise
            if model.served is not None:
                model.metrics.reloads["ok"] += 1
            self._use(model, served)
            return served

    async def unload(self, name: str) -> None:
        """The model answers no more; its last version is kept for a roll-back."""
        model = self.find(name)
        async with model.turn:
            if model.served is not None:
                model.served.end()
                model.before, model.served = replace(model.served, shadow=None), None
            model.state, model.reason = "UNAVAILABLE", "unloaded"
            model.metrics.hide()
            self._asked.clear()
            self.changed(model)

    async def shade(self, name: str, path: Path) -> None:
        """Scores with the file at `path` too from now on, beside the model, and counts where they differ.

        Raises VaeDetectError when the file cannot be trusted, or takes other inputs.
        """
        model = self.find(name)
        async with model.turn:
            candidate = await aside(lambda: self._served(model, self._load(path)))
            shadow = Shadow(candidate.detector, model.metrics.of_shadow())
            served = self.served(name)
            problem = shadow.problem_beside(served.detector)
            if problem:
                shadow.close()
                raise ModelError(f"{path.name} cannot be the shadow of model {name!r}: {problem}")
            model.shadow, model.candidate = shadow, candidate
            model.served = replace(served, shadow=shadow)

    async def promote(self, name: str) -> Served:
        """Serves the shadow of a model in its place. Raises RefusedError where it has none."""
        model = self.find(name)
        async with model.turn:
            candidate = model.candidate
            if candidate is None:
                raise RefusedError(400, f"model {name!r} has no shadow; start with --shadow {name}=FILE")
            self._end_shadow(model)
            self._use(model, candidate)
            return candidate

    async def roll_back(self, name: str) -> Served:
        """Serves the version before the one that answers now. Raises RefusedError where there is none."""
        model = self.find(name)
        async with model.turn:
            before = model.before
            if before is None:
                raise RefusedError(400, f"model {name!r} has no version before this one")
            model.before = None
            self._use(model, before)
            return before

    def use(self, model: Model, detector: Detector) -> None:
        """Serves this verified detector from now on."""
        self._use(model, self._served(model, detector))

    def _verified(self, model: Model) -> Served:
        model.seen = signature(model.path)
        try:
            detector = self._load(model.path)
            series = self._metrics.series_with(model.name, detector)
            if series > self._max_series:
                raise InputError(
                    f"{model.path}: /metrics would have {series} series with this model, more than the "
                    f"{self._max_series} of --max-series; serve fewer models, or allow more"
                )
            return self._served(model, detector)
        except VaeDetectError:
            raise
        except Exception as error:  # whatever a broken file may set off, the version before goes on
            raise ModelError(f"{model.path}: cannot be loaded: {first_line(error)}") from error

    def _served(self, model: Model, detector: Detector) -> Served:
        if detector.bundle.image is not None:
            import_pillow()  # now, rather than at the first request
        return Served.of(model.name, detector, model.metrics, self._keeping)

    def _use(self, model: Model, served: Served) -> None:
        now = model.served
        if now is not None and now.detector.bundle == served.detector.bundle:  # no other version: its streams go on
            served = replace(served, unkeyed=now.unkeyed, keys=now.keys)
        elif now is not None:
            now.end()
            model.before = replace(now, shadow=None)
        if model.shadow is not None and model.shadow.problem_beside(served.detector):
            self._end_shadow(model)
        model.served = replace(served, shadow=model.shadow)
        model.state, model.reason = "READY", ""
        self._asked.clear()
        model.metrics.show(served.detector, served.watch.monitor, served.keys, served.states)
        self.changed(model)

    def _end_shadow(self, model: Model) -> None:
        if model.shadow is not None:
            model.shadow.close()
        model.shadow = model.candidate = None
        if model.served is not None:
            model.served = replace(model.served, shadow=None)


def signature(path: Path) -> Signature:
    """What changes when the files of a detector are written."""
    return tuple(map(_facts, [path, *(part_file(path, name) for name in PARTS)]))


def _facts(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def without_folder(error: Exception, path: Path) -> str:
    """What went wrong with a file, for clients: they are told its name, not where it is."""
    return str(error).replace(f"{path.parent}/", "")


async def aside(make: Callable[[], _T]) -> _T:
    """What `make` gives in a thread of its own, one that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, error: BaseException | None) -> None:
        if not made.done():
            made.set_exception(error) if error is not None else made.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        try:
            outcome = partial(settle, make(), None)
        except BaseException as error:
            outcome = partial(settle, None, error)
        with suppress(RuntimeError):  # the loop is closed: the service was stopped before
            loop.call_soon_threadsafe(outcome)

    threading.Thread(target=run, name="load", daemon=True).start()
    return await made
