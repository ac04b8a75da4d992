"""What the control groups of this process, of version 2 or 1, let it use of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from .system import System, whole

_NO_LIMIT = 1 << 60
"""What version 1 writes for no limit is the largest number of pages, and above this."""


class Memory(NamedTuple):
    """Of the group that allows least; bytes."""

    limit: int
    used: int | None
    """Without files that are only kept because there is room."""


def cpu_quota(system: System) -> float | None:
    """How many CPUs' time this process may use, None without a limit."""
    found = []
    for folder in _folders(system, "cpu"):
        words = (system.read(f"{folder}/cpu.max") or "").split()
        words = words or [system.read(f"{folder}/cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
        quota, period = (whole(word) for word in (*words, "", "")[:2])
        if quota is not None and quota > 0 and period:
            found.append(quota / period)
    return min(found, default=None)


def throttled(system: System) -> float | None:
    """In which share of the periods of its quota this process has had to wait, None where that is not counted."""
    found = []
    for folder in _folders(system, "cpu"):
        counts = system.table(f"{folder}/cpu.stat")
        waited, periods = whole(counts.get("nr_throttled")), whole(counts.get("nr_periods"))
        if waited is not None and periods:
            found.append(waited / periods)
    return max(found, default=None)


def memory(system: System) -> Memory | None:
    """The memory that this process may use with the others of its group, None without a limit."""
    found = []
    for folder in _folders(system, "memory"):
        for limit_name, used_name, cache_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit = system.number(f"{folder}/{limit_name}")
            if limit is not None and limit < _NO_LIMIT:
                used = system.number(f"{folder}/{used_name}")
                cache = whole(system.table(f"{folder}/memory.stat").get(cache_name)) or 0
                found.append(Memory(limit, None if used is None else max(0, used - cache)))
    return min(found, key=lambda memory: memory.limit, default=None)


def _folders(system: System, controller: str) -> Iterator[str]:
    """Where the files of this process' group and of those above it may be: all of their limits hold.

    In a container the path may be that of the host, which is not there, while its own files are at the top.
    """
    for line in system.lines("proc/self/cgroup"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            mounts = list(dict.fromkeys(f"sys/fs/cgroup/{name}" for name in (controllers, controller)))
        else:
            continue
        inner = PurePosixPath("/") if ".." in path else PurePosixPath(path)
        for mount in mounts:
            yield from (f"{mount}{str(folder).rstrip('/')}" for folder in (inner, *inner.parents))
