"""How many processors this process may use, and how torch's threads share them with other programs.

Light: it is imported before torch, whose OpenMP reads its settings once, while it is loaded.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path, PurePosixPath

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""What a person sets who wants threads to wait in another way: OpenMP's own, GNU's, and LLVM's and Intel's."""

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Lets torch ask the system for pages of 2 MB where it allocates as much (c10's setting)."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What torch takes its number of threads from."""


def processors(root: Path = Path("/")) -> int:
    """Return how many processors this process may keep busy: by its affinity and by the quota of its control groups.

    root: where /proc and /sys are. A part of a processor counts as one.
    """
    return max(1, math.ceil(min(_usable(), quota(root))))


def quota(root: Path = Path("/")) -> float:
    """Return the processors' time per second that control groups (version 1 or 2) allow; infinity where none is set.

    The tightest of a group and of those around it holds.
    """
    return min([math.inf, *(_limit(group) for group in control_groups("cpu", root))])


def control_groups(controller: str, root: Path = Path("/")) -> list[Path]:
    """Return the folders of the control groups that this process is in, and of those around them.

    In a container, the group that /proc names may lie outside of what is mounted: what is mounted is then the
    container's own.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return []
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            base = root / "sys/fs/cgroup" / (controller if controllers else "")
            inside = PurePosixPath(path.lstrip("/"))
            found += [base / group for group in (inside, *inside.parents)]
    return found


def share_processors(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads sleep while they wait, and start no more of them than there are processors to use.

    Threads that spin (the default of GNU's and of LLVM's OpenMP) hold the core that the thread they wait for needs:
    with other programs on the machine, steps take up to ten times as long. Batches come in large pages: three
    quarters of the time of making float32 of one are otherwise the system's, for 10,000 new pages of 4 kB. A setting
    of the person's own stays; where torch is loaded already, nothing is set.
    """
    if "torch" in sys.modules:
        return
    if not any(name in environment for name in WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    environment.setdefault(HUGE_PAGES, "1")
    allowed = processors()
    if allowed < _usable() and not any(name in environment for name in THREADS):
        environment["OMP_NUM_THREADS"] = str(allowed)


def _usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _limit(group: Path) -> float:
    """Return the quota of one group: the file of version 2, or the two of version 1."""
    try:
        if (group / "cpu.max").is_file():
            allowed, period = (group / "cpu.max").read_text().split()
        else:
            allowed, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except OSError:
        return math.inf
    return math.inf if allowed in ("max", "-1") else int(allowed) / int(period)
