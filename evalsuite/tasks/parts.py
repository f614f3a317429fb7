"""What every part of the files people write has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Strict(BaseModel):
    """A part of a file people write: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def leads_out(name: str) -> bool:
    """Say whether a path may name something outside its folder: on this system, or on another one."""
    path = name.replace("\\", "/")
    return path.startswith("/") or ".." in path.split("/") or path[1:2] == ":"  # C:


def _fitting(path: str) -> str:
    if any(len(part.encode()) > LONGEST_NAME for part in path.split("/")) or len(path) > LONGEST_PATH:
        raise ValueError(f"{path[:40]!r}... is longer than the name of a file can be")
    if "\0" in path:
        raise ValueError(f"{path!r} has the character NUL, which no file has in its name")
    return path


def _inside(path: str) -> str:
    if leads_out(path):
        raise ValueError(f"{path!r} leads out of its folder: give a path below it, without `..`")
    return path


LONGEST_NAME = 255
"""Bytes in a part of a path (NAME_MAX of Linux, and what other systems have)."""

LONGEST_PATH = 2_000
"""Letters of a path; with those of its folder, less than PATH_MAX of Linux, 4,096 bytes."""

FilePath = Annotated[str, AfterValidator(_fitting)]
"""A path that may begin anywhere."""

Inside = Annotated[FilePath, AfterValidator(_inside)]
"""A path below the data root, or below the folder of a source."""
