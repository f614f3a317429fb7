"""Threads take the processors that they may use, and leave them while they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from evalsuite.features.batches import worker_count
from evalsuite.processors import processors, quota, share_processors

GROUPS_V1 = "4:memory:/job\n2:cpuacct,cpu:/job/step\n1:name=systemd:/\n0::/"


def machine(root: Path, groups: str, files: Mapping[str, str]) -> Path:
    """Write what a machine says of its control groups. files: below /sys/fs/cgroup."""
    for name, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/job/step", {"job/step/cpu.max": "max 100000", "cpu.max": "max 100000"}, float("inf")),
        ("0::/job/step", {"job/step/cpu.max": "400000 100000", "job/cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "50000 100000"}, 0.5),
        ("0::/docker/of-the-host", {"cpu.max": "200000 100000"}, 2.0),
        (GROUPS_V1, {"cpu/job/step/cpu.cfs_quota_us": "-1", "cpu/job/step/cpu.cfs_period_us": "100000"}, float("inf")),
        (GROUPS_V1, {"cpu/job/cpu.cfs_quota_us": "250000", "cpu/job/cpu.cfs_period_us": "50000"}, 5.0),
        (GROUPS_V1, {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1.0),
        ("4:memory:/job", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, float("inf")),
    ],
)
def test_the_tightest_quota_of_the_groups_around_a_process_counts(
    tmp_path: Path, groups: str, files: dict[str, str], expected: float
) -> None:
    assert quota(machine(tmp_path, groups, files)) == expected


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert quota(tmp_path) == float("inf")


@pytest.fixture
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_processors")
@pytest.mark.parametrize(("quota_us", "count"), [("max", 8), ("10000", 1), ("250000", 3), ("1600000", 8)])
def test_a_process_has_the_processors_of_its_affinity_and_of_its_quota(
    tmp_path: Path, quota_us: str, count: int
) -> None:
    assert processors(machine(tmp_path, "0::/", {"cpu.max": f"{quota_us} 100000"})) == count


@pytest.mark.usefixtures("eight_processors")
def test_a_quota_bounds_threads_and_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.processors.quota", lambda root: 4.0)
    monkeypatch.delitem(sys.modules, "torch")
    environment: dict[str, str] = {}
    share_processors(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "4", "THP_MEM_ALLOC_ENABLE": "1"}
    assert worker_count(None, 100_000, "cuda") == 4
    assert worker_count(None, 100_000, "cpu") == 1


@pytest.mark.usefixtures("eight_processors")
@pytest.mark.parametrize(
    "own",
    [
        {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "6", "THP_MEM_ALLOC_ENABLE": "0"},
        {"GOMP_SPINCOUNT": "1000", "MKL_NUM_THREADS": "6", "THP_MEM_ALLOC_ENABLE": "1"},
        {"KMP_BLOCKTIME": "200", "OMP_NUM_THREADS": "6", "THP_MEM_ALLOC_ENABLE": "0"},
    ],
)
def test_the_settings_of_a_person_stay(monkeypatch: pytest.MonkeyPatch, own: dict[str, str]) -> None:
    monkeypatch.setattr("evalsuite.processors.quota", lambda root: 4.0)
    monkeypatch.delitem(sys.modules, "torch")
    environment = dict(own)
    share_processors(environment)
    assert environment == own


def test_where_torch_is_loaded_nothing_is_set() -> None:
    import torch  # noqa: F401

    environment: dict[str, str] = {}
    share_processors(environment)
    assert environment == {}


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP, which says what it read, is that of Linux")
@pytest.mark.parametrize(("own", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")])
def test_the_openmp_of_torch_waits_passively_unless_told_otherwise(own: dict[str, str], policy: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", "from evalsuite.probe import solve"],
        env={**kept, **own, "OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr
