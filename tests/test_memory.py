"""The memory that is free, on a machine and in control groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from evalsuite.memory import available_memory

MACHINE = 8_000_000 * 1024
V2, V1 = "0::/job/step", "4:memory:/job\n0::/"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (V2, {}, MACHINE),
        (V2, {"job/step/memory.max": "max", "job/step/memory.current": "5", "job/step/memory.stat": "x 1"}, MACHINE),
        (V2, {"job/memory.max": "5000", "job/memory.current": "4000", "job/memory.stat": "inactive_file 300"}, 1300),
        (V2, {"memory.max": "5000", "memory.current": "6000", "memory.stat": "inactive_file 300"}, 0),
        (
            V1,
            {
                "memory/job/memory.limit_in_bytes": "9000",
                "memory/job/memory.usage_in_bytes": "1000",
                "memory/job/memory.stat": "cache 7\ninactive_file 0",
            },
            8000,
        ),
    ],
)
def test_the_tightest_of_the_machine_and_its_groups_counts(
    tmp_path: Path, groups: str, files: Mapping[str, str], expected: int
) -> None:
    written = {f"sys/fs/cgroup/{name}": content for name, content in files.items()}
    meminfo = f"MemTotal:  16000000 kB\nMemFree:  1000 kB\nMemAvailable:  {MACHINE // 1024} kB\n"
    for name, content in {"proc/self/cgroup": groups, "proc/meminfo": meminfo, **written}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert available_memory(tmp_path) == expected
