from __future__ import annotations

from pathlib import Path

import pytest
from trees import tree

from vae_detect.runtime.doctor import machine

INTEL = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold\n"
    "flags\t\t: fpu sse4_2 avx fma f16c avx2 avx512f avx512_vnni\n\nprocessor\t: 1\nmodel name\t: other\n"
)
ATOM = "processor\t: 0\nmodel name\t: Intel(R) Atom(TM) x5\nflags\t\t: fpu sse sse2 ssse3\n"
PI = (  # has no name for its processor
    "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid asimdhp asimddp\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\n"
)
OLD_PI = "processor\t: 0\nmodel name\t: ARMv7 Processor rev 4 (v7l)\nFeatures\t: half thumb vfp edsp neon vfpv3\n"


@pytest.mark.parametrize(
    ("files", "state", "found"),
    [
        ({}, "unknown", "/proc/cpuinfo cannot be read"),
        ({"proc/cpuinfo": INTEL}, "fine", "Intel(R) Xeon(R) Gold: AVX2, FMA, F16C, AVX-512, AVX-512 VNNI"),
        (
            {"proc/cpuinfo": ATOM},
            "look",
            "Intel(R) Atom(TM) x5: none of the instructions that make networks quick; no AVX2",
        ),
        (
            {"proc/cpuinfo": PI, "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"},
            "fine",
            "Raspberry Pi 5 Model B Rev 1.0: NEON (asimd), FP16 (asimdhp), dot product (asimddp)",
        ),
        (
            {"proc/cpuinfo": PI},
            "fine",
            "ARM implementer 0x41, part 0xd0b: NEON (asimd), FP16 (asimdhp), dot product (asimddp)",
        ),
        ({"proc/cpuinfo": OLD_PI}, "fine", "ARMv7 Processor rev 4 (v7l): NEON"),
        (
            {"proc/cpuinfo": "processor\t: 0\n"},
            "fine",
            "of unknown model: none of the instructions that make networks quick",
        ),
    ],
)
def test_the_processor(files: dict[str, str], state: str, found: str, tmp_path: Path) -> None:
    finding = machine.check_processor(tree(tmp_path, files))
    assert (finding.state, finding.found) == (state, found)


def quota(text: str, stat: str = "") -> dict[str, str]:
    return {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": text, "sys/fs/cgroup/cpu.stat": stat}


@pytest.mark.parametrize(
    ("files", "threads", "state", "words", "usable"),
    [
        ({}, 1, "fine", "4 of 8 may be used, no quota", 4),
        ({}, 4, "fine", "4 of 8 may be used, no quota", 4),
        ({}, 5, "look", "--threads 4: 5 threads share 4 CPUs and wait for each other", 4),
        (quota("max 100000"), 1, "fine", "4 of 8 may be used, no quota", 4),
        (quota("150000 100000"), 2, "fine", "a quota of 1.5 (control group)", 2),
        (quota("150000 100000"), 3, "look", "--threads 2: 3 threads share 2 CPUs", 2),
        (quota("900000 100000"), 4, "fine", "a quota of 9 (control group)", 4),
        (quota("50000 100000"), 1, "look", "raise it (docker --cpus, Kubernetes limits.cpu)", 1),
        (quota("200000 100000", "nr_periods 100\nnr_throttled 4"), 1, "fine", "throttled in 4.0% of its periods", 2),
        (quota("200000 100000", "nr_periods 100\nnr_throttled 6"), 1, "look", "throttled in 6.0% of its periods", 2),
        (quota("50000 100000"), 2, "look", "--threads 1: 2 threads share 1 CPU and wait for each other", 1),
    ],
)
def test_cpus(files: dict[str, str], threads: int, state: str, words: str, usable: int, tmp_path: Path) -> None:
    system, allowed = tree(tmp_path, files), {0, 1, 4, 5}
    finding = machine.check_cpus(system, allowed, threads, 8)
    assert finding.state == state
    assert words in f"{finding.found}; {finding.advice}"
    assert machine.usable_cpus(system, allowed) == finding.facts["usable"] == usable


@pytest.mark.parametrize(
    ("driver", "governors", "state", "found"),
    [
        ("acpi-cpufreq", ["performance", "performance"], "fine", "governor performance (driver acpi-cpufreq)"),
        ("intel_pstate", ["powersave", "powersave"], "fine", "governor powersave (driver intel_pstate)"),
        ("cpufreq-dt", ["ondemand", "powersave"], "look", "governor ondemand, powersave (driver cpufreq-dt)"),
        ("", ["schedutil"], "fine", "governor schedutil"),
    ],
)
def test_the_governor(driver: str, governors: list[str], state: str, found: str, tmp_path: Path) -> None:
    folders = [f"sys/devices/system/cpu/cpu{number}/cpufreq" for number in range(len(governors))]
    files = {f"{folder}/scaling_governor": f"{name}\n" for folder, name in zip(folders, governors, strict=True)}
    files |= {f"{folders[0]}/scaling_driver": f"{driver}\n"} if driver else {}
    finding = machine.check_governor(tree(tmp_path, files), range(len(governors)))
    assert finding is not None
    assert (finding.state, finding.found) == (state, found)
    assert ("cpupower frequency-set" in finding.advice) is (state == "look")


def test_no_governor_is_no_finding(tmp_path: Path) -> None:
    assert machine.check_governor(tree(tmp_path, {}), [0]) is None


MEMINFO = "MemTotal:        8388608 kB\nMemFree:          100000 kB\nMemAvailable:    4194304 kB\n"  # 8 and 4 GiB
LIMIT = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{1 << 30}\n"}


@pytest.mark.parametrize(
    ("files", "state", "words"),
    [
        ({}, "unknown", "no limit"),
        ({"proc/meminfo": "MemTotal: 8388608 kB\n"}, "unknown", "8 GiB; no limit"),
        ({"proc/meminfo": "MemTotal: lots\n"}, "unknown", "no limit"),
        ({"proc/meminfo": MEMINFO}, "fine", "8 GiB, 4 GiB available; no limit"),
        (
            {"proc/meminfo": MEMINFO.replace("4194304", "204800")},
            "look",
            "200 MiB left; a service with its requests takes up to 256 MiB",
        ),
        (
            {"proc/meminfo": MEMINFO, **LIMIT, "sys/fs/cgroup/memory.current": f"{512 << 20}\n"},
            "fine",
            "8 GiB, 4 GiB available; a limit of 1 GiB (control group), 512 MiB of it used",
        ),
        (
            {"proc/meminfo": MEMINFO, **LIMIT, "sys/fs/cgroup/memory.current": f"{924 << 20}\n"},
            "look",
            "100 MiB left; a service with its requests takes up to 256 MiB",
        ),
        ({**LIMIT, "sys/fs/cgroup/memory.current": f"{2 << 30}\n"}, "look", "0 B left"),
        ({"proc/meminfo": MEMINFO, **LIMIT}, "fine", "a limit of 1 GiB (control group)"),
    ],
)
def test_memory(files: dict[str, str], state: str, words: str, tmp_path: Path) -> None:
    finding = machine.check_memory(tree(tmp_path, files))
    assert finding.state == state
    assert words in f"{finding.found}; {finding.advice}"
