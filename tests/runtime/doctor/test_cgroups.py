"""Control groups as Docker, systemd and Kubernetes lay them out, of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import tree

from vae_detect.runtime.doctor import cgroups
from vae_detect.runtime.doctor.cgroups import Memory

V1 = "3:memory:/docker/ab12\n2:cpu,cpuacct:/docker/ab12\n1:name=systemd:/docker/ab12\n"
MIB = 1 << 20


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": ""}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 0\n"}, None),
        ({"proc/self/cgroup": "nonsense\n\n::\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, None),
        (
            {  # a group outside of what this process sees
                "proc/self/cgroup": "0::/../../other\n",
                "sys/fs/cgroup/cpu.max": "50000 100000\n",
                "sys/other/cpu.max": "10000 100000\n",
            },
            0.5,
        ),
        (
            {  # the limit of a group holds for those within it
                "proc/self/cgroup": "0::/system.slice/vae-detect.service\n",
                "sys/fs/cgroup/system.slice/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/system.slice/vae-detect.service/cpu.max": "200000 100000\n",
            },
            1.5,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu,cpuacct/docker/ab12/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/ab12/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        (
            {  # in the container, where the path of the host is not
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.25,
        ),
        ({"proc/self/cgroup": V1, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000\n"}, None),
    ],
)
def test_the_cpu_quota(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    assert cgroups.cpu_quota(tree(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("files", "memory"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1048576\n"}, Memory(MIB, None)),
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{512 * MIB}\n",
                "sys/fs/cgroup/memory.current": f"{300 * MIB}\n",
                "sys/fs/cgroup/memory.stat": f"anon 5\nfile 9\ninactive_file {100 * MIB}\n",
            },
            Memory(512 * MIB, 200 * MIB),
        ),
        (
            {  # the tighter of two groups
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": f"{256 * MIB}\n",
                "sys/fs/cgroup/a/memory.current": f"{MIB}\n",
                "sys/fs/cgroup/a/b/memory.max": f"{512 * MIB}\n",
                "sys/fs/cgroup/a/b/memory.current": f"{2 * MIB}\n",
            },
            Memory(256 * MIB, MIB),
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "5\n",
            },
            None,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/memory/docker/ab12/memory.limit_in_bytes": f"{128 * MIB}\n",
                "sys/fs/cgroup/memory/docker/ab12/memory.usage_in_bytes": f"{100 * MIB}\n",
                "sys/fs/cgroup/memory/docker/ab12/memory.stat": f"inactive_file 7\ntotal_inactive_file {40 * MIB}\n",
            },
            Memory(128 * MIB, 60 * MIB),
        ),
    ],
)
def test_the_memory_limit(files: dict[str, str], memory: Memory | None, tmp_path: Path) -> None:
    assert cgroups.memory(tree(tmp_path, files)) == memory


@pytest.mark.parametrize(
    ("stat", "share"),
    [
        (None, None),
        ("usage_usec 5\n", None),
        ("nr_periods 0\nnr_throttled 0\n", None),
        ("usage_usec 5\nnr_periods 200\nnr_throttled 30\nthrottled_usec 9\n", 0.15),
    ],
)
def test_how_often_a_quota_made_wait(stat: str | None, share: float | None, tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/\n"} | ({} if stat is None else {"sys/fs/cgroup/cpu.stat": stat})
    assert cgroups.throttled(tree(tmp_path, files)) == share
