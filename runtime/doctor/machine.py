"""The processor and the memory, and how much of them this process may use."""

from __future__ import annotations

import math
from collections.abc import Collection

from . import cgroups
from .findings import Finding
from .system import System, in_bytes

_X86 = {
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16",
    "amx_int8": "AMX",
}
_ARM = {
    "neon": "NEON",
    "asimd": "NEON (asimd)",
    "asimdhp": "FP16 (asimdhp)",
    "asimddp": "dot product (asimddp)",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
}
"""What ONNX Runtime has kernels for: the kernel's names, and everybody's."""

LEAST_FREE_BYTES = 256 << 20
"""Of memory: a service needs about 120 MB and holds 64 MiB of requests."""

OFTEN_THROTTLED = 0.05
"""Share of the periods of a CPU quota in which a process had to wait."""


def check_processor(system: System) -> Finding:
    """The model, and the instructions that make networks quick."""
    told = system.table("proc/cpuinfo", ":")
    if not told:
        return Finding("processor", "unknown", "/proc/cpuinfo cannot be read")
    board = system.read("proc/device-tree/model") or system.read("sys/firmware/devicetree/base/model")
    part = (
        f"ARM implementer {told['CPU implementer']}, part {told.get('CPU part')}" if "CPU implementer" in told else ""
    )
    model = board or told.get("model name") or told.get("Model") or part or "of unknown model"
    is_x86 = "flags" in told
    flags = set((told["flags"] if is_x86 else told.get("Features", "")).split())
    features = [name for flag, name in (_X86 if is_x86 else _ARM).items() if flag in flags]
    found = f"{model}: {', '.join(features) or 'none of the instructions that make networks quick'}"
    facts: dict[str, object] = {"model": model, "features": features}
    if is_x86 and "avx2" not in flags:
        advice = "scores are right but slow; where this is a virtual machine, give it the CPU type of the host"
        return Finding("processor", "look", f"{found}; no AVX2", advice, facts)
    return Finding("processor", "fine", found, facts=facts)


def usable_cpus(system: System, allowed: Collection[int]) -> int:
    """How many threads can run at once: CPUs of the affinity, or fewer by a quota."""
    quota = cgroups.cpu_quota(system)
    return len(allowed) if quota is None else max(1, min(len(allowed), math.ceil(quota)))


def check_cpus(system: System, allowed: Collection[int], threads: int, total: int) -> Finding:
    """How many of the CPUs may be used, and whether a quota slows this process down."""
    quota, share = cgroups.cpu_quota(system), cgroups.throttled(system)
    usable = usable_cpus(system, allowed)
    found = f"{len(allowed)} of {total} may be used, "
    found += "no quota" if quota is None else f"a quota of {quota:.3g} (control group)"
    found += "" if not share else f", throttled in {share:.1%} of its periods"
    facts: dict[str, object] = {
        "cpus": total,
        "allowed": len(allowed),
        "quota": quota,
        "throttled": share,
        "usable": usable,
    }
    if threads > usable:
        advice = f"--threads {usable}: {threads} threads share {usable} CPU{'s' * (usable > 1)} and wait for each other"
    elif quota is not None and (quota < 1 or (share or 0) > OFTEN_THROTTLED):
        advice = "answers wait for the next period, up to 0.1 s; raise it (docker --cpus, Kubernetes limits.cpu)"
    else:
        return Finding("CPUs", "fine", found, facts=facts)
    return Finding("CPUs", "look", found, advice, facts)


def check_governor(system: System, allowed: Collection[int]) -> Finding | None:
    """Whether the clock of the CPUs may rise, None where Linux does not tell."""
    folders = [f"sys/devices/system/cpu/cpu{number}/cpufreq" for number in sorted(allowed)]
    governors = sorted({text for folder in folders if (text := system.read(f"{folder}/scaling_governor"))})
    if not governors:
        return None
    driver = next((text for folder in folders if (text := system.read(f"{folder}/scaling_driver"))), "")
    found = f"governor {', '.join(governors)}{f' (driver {driver})' if driver else ''}"
    facts: dict[str, object] = {"governors": governors, "driver": driver or None}
    # These two drivers call their usual mode so, and raise the clock in it.
    slow = "powersave" in governors and driver not in ("intel_pstate", "amd-pstate-epp")
    if not slow:
        return Finding("CPU clock", "fine", found, facts=facts)
    advice = "cpupower frequency-set --governor schedutil; powersave holds the lowest clock"
    return Finding("CPU clock", "look", found, advice, facts)


def check_memory(system: System) -> Finding:
    """What there is, what is left, and what a control group allows."""
    kib = system.table("proc/meminfo", ":")
    total, available = (_of_kib(kib.get(name)) for name in ("MemTotal", "MemAvailable"))
    group = cgroups.memory(system)
    facts: dict[str, object] = {
        "total_bytes": total,
        "available_bytes": available,
        "limit_bytes": group and group.limit,
        "used_of_limit_bytes": group and group.used,
    }
    parts = []
    if total is not None:
        parts.append(in_bytes(total) + (f", {in_bytes(available)} available" if available is not None else ""))
    if group is None:
        parts.append("no limit")
    else:
        used = "" if group.used is None else f", {in_bytes(group.used)} of it used"
        parts.append(f"a limit of {in_bytes(group.limit)} (control group){used}")
    left = [available] if available is not None else []
    left += [max(0, group.limit - group.used)] if group is not None and group.used is not None else []
    if not left:
        return Finding("memory", "unknown", "; ".join(parts), facts=facts)
    if min(left) < LEAST_FREE_BYTES:
        advice = f"{in_bytes(min(left))} left; a service with its requests takes up to {in_bytes(LEAST_FREE_BYTES)}"
        return Finding("memory", "look", "; ".join(parts), advice, facts)
    return Finding("memory", "fine", "; ".join(parts), facts=facts)


def _of_kib(text: str | None) -> int | None:
    number = (text or "").removesuffix("kB").strip()
    return int(number) * 1024 if number.isdecimal() else None
