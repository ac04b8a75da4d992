"""Which provider and how many threads are fastest for a model on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..detector import Detector
from ..errors import VaeDetectError
from ..session import available_providers
from .findings import Finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 1024
"""Rows at once, as many as a large file or request brings; fewer where they are as large as images."""

GAIN = 0.9
"""A setting is advised when it takes less than this share of the time of the one in use: below is noise."""

_LOADING_S, _MEASURING_S = 1.5, 1.0
_MOST_ROUNDS, _LEAST_S, _BATCH_S = 50, 0.002, 0.2
"""What is short is called several times in a round, until a clock can tell."""

_TRIED = ("cpu", "cuda")
"""Providers that are measured without being asked for. TensorRT compiles for minutes."""


class Setting(NamedTuple):
    provider: str
    threads: int

    def __str__(self) -> str:
        return f"--provider {self.provider} --threads {self.threads}"


class Times(NamedTuple):
    """Seconds, one a round."""

    one: list[float]
    """For one input."""
    batch: list[float]
    """For a batch of them."""


def check_speed(detector: Detector, threads: int, usable: int) -> Finding:
    """Measures settings in turns, and says which is worth to be typed."""
    current = Setting(detector.provider, threads)
    detectors = _loaded(detector, current, usable)
    n = _batch_of(detector)
    times = measure(detectors, n)
    one, batch = (median(kind) for kind in times[current])
    inputs = {"rows": "row", "windows": "window", "images": "image"}[detector.bundle.kind]
    found = f"one {inputs} {_shown(one)}, {n} at once {_shown(batch)}, with {current}"
    facts: dict[str, object] = {
        "batch": n,
        "settings": [
            {**setting._asdict(), "one_s": median(kinds.one), "batch_s": median(kinds.batch)}
            for setting, kinds in times.items()
        ],
    }
    advice = advise(times, current, inputs)
    if advice:
        return Finding("speed", "look", found, advice, facts)
    others = ", ".join(str(setting) for setting in times if setting != current)
    return Finding("speed", "fine", f"{found}{f'; not faster: {others}' if others else ''}", facts=facts)


def advise(times: Mapping[Setting, Times], current: Setting, inputs: str) -> str:
    """What to type for one input and for many, "" where nothing is clearly faster."""
    best = {}
    for what, kind in ((f"one {inputs} at a time", "one"), ("many at once", "batch")):
        now = getattr(times[current], kind)
        ratios = {setting: _ratios(getattr(kinds, kind), now) for setting, kinds in times.items() if setting != current}
        shares = {setting: median(some) for setting, some in ratios.items() if _third_quartile(some) < 1}
        if shares and min(shares.values()) < GAIN:
            enough = min(GAIN, min(shares.values()) / GAIN)
            as_good = [setting for setting, share in shares.items() if share < enough]
            fastest = min(as_good, key=lambda setting: setting.threads)
            best[what] = f"{fastest} is {1 / shares[fastest]:.1f} times as fast"
    return "; ".join(f"for {what} {text}" for what, text in best.items())


def measure(detectors: Mapping[Setting, Detector], n: int) -> dict[Setting, Times]:
    """Rounds in which each setting takes its turn, so that what else the machine does slows all of them."""
    some = next(iter(detectors.values())).golden_inputs()
    batch = np.resize(some, (n, *some.shape[1:]))
    times = {setting: Times([], []) for setting in detectors}
    calls = dict.fromkeys(detectors, 1)
    for setting, detector in detectors.items():  # warms up, and finds how often to call
        detector.score(batch)
        detector.score_one(some[0])
        calls[setting] = max(1, round(_LEAST_S / max(1e-6, _timed(detector, some[0], 1))))
    end = time.perf_counter() + _MEASURING_S
    for _ in range(_MOST_ROUNDS):
        for setting, detector in detectors.items():
            times[setting].one.append(_timed(detector, some[0], calls[setting]))
            start = time.perf_counter()
            detector.score(batch)
            times[setting].batch.append(time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    return times


def _loaded(detector: Detector, current: Setting, usable: int) -> dict[Setting, Detector]:
    """The detector in every setting that is worth a try, as many as there is time to load."""
    there = [name for name in available_providers() if name in _TRIED]
    threads = sorted({1, usable, *(2**power for power in range(usable.bit_length()))})
    wanted = [Setting(name, 1) for name in there]
    wanted += [Setting(name, count) for name in dict.fromkeys(("cpu", current.provider)) for count in threads]
    loaded, end = {current: detector}, time.perf_counter() + _LOADING_S
    for setting in dict.fromkeys(wanted):
        if setting not in loaded and time.perf_counter() < end:
            try:
                loaded[setting] = Detector.load(detector.path, provider=setting.provider, threads=setting.threads)
            except VaeDetectError:  # a GPU build on a machine without one; `check_provider` tells
                continue
    return loaded


def _batch_of(detector: Detector) -> int:
    """How many inputs to score at once: fewer of a model so slow that a round would take too long."""
    one = detector.golden_inputs()[0]
    seconds = min(_timed(detector, one, 1) for _ in range(3))
    return max(1, min(BATCH, detector.chunk, int(_BATCH_S / seconds)))


def _timed(detector: Detector, one: NDArray[Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        detector.score_one(one)
    return (time.perf_counter() - start) / calls


def _ratios(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(one, other, strict=True)]


def _third_quartile(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else quantiles(values, n=4)[2]


def _shown(seconds: float) -> str:
    """Seconds for people: 23 µs, 1.4 ms."""
    for size, unit in ((1e-6, "µs"), (1e-3, "ms")):
        if seconds < 1000 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
