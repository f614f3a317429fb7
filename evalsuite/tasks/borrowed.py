"""Pools whose images are those of another task."""

from __future__ import annotations

from pydantic import Field

from evalsuite.tasks.parts import FilePath, Strict


class Borrowed(Strict):
    """A pool of another task: its images are encoded once for both tasks, its labels become classes of this one."""

    task: FilePath = Field(description="name of the task: a file next to this one, else a shipped one")
    pool: str
    classes: dict[str, list[str]] = Field(
        default_factory=dict,
        description="class of this task -> classes of the other one that it stands for; default: the same keys. "
        "Images of other classes are left out.",
    )
