"""How much memory this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

from evalsuite.processors import control_groups

RECLAIMABLE = "inactive_file"
"""What memory.stat calls pages of files that the kernel gives back when memory is needed."""


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes that are free: on the machine, and of what its control groups (version 1 or 2) allow.

    root: where /proc and /sys are.
    """
    return min([_of_the_machine(root), *(_left(group) for group in control_groups("memory", root))])


def _of_the_machine(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux; what is free of it nobody says, so half of what there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    found = dict(line.split(":", 1) for line in lines)
    return int(found["MemAvailable"].split()[0]) * 1024


def _left(group: Path) -> int:
    """Return what a group may still take: its limit, less what is in use and cannot be given back."""
    names = ("memory.max", "memory.current") if (group / "memory.max").is_file() else _VERSION_1
    try:
        limit, used = ((group / name).read_text().strip() for name in names)
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return _UNLIMITED
    if limit == "max":
        return _UNLIMITED
    return max(0, int(limit) - int(used) + int(stat.get(RECLAIMABLE, 0)))


_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
_UNLIMITED = 2**63
