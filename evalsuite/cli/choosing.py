"""Names as people type them after `evalsuite run`: which of them are models, tasks and protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evalsuite.cli.options import split_commas
from evalsuite.errors import UsageError
from evalsuite.registry import did_you_mean

if TYPE_CHECKING:
    from evalsuite.tasks import TaskIndex


@dataclass(frozen=True)
class Chosen:
    """What is to be evaluated on what; an empty list means the default."""

    models: list[str]
    tasks: list[str]
    protocols: list[str]


def choose(
    named: Sequence[str], models: Sequence[str], tasks: Sequence[str], protocols: Sequence[str], index: TaskIndex
) -> Chosen:
    """Sort `named` by what each name is and add it to what options gave.

    Raises UsageError for a name that is nothing, and for a model among tasks or a task among models.
    """
    from evalsuite.models.names import known_names, open_clip_architectures
    from evalsuite.models.spellings import paired

    # An option that is given and empty (`-t "$TASKS"` of an unset variable) does not mean the default.
    for kind, given in (("task", tasks), ("model", models)):
        if given and not split_commas(given):
            raise UsageError(f"There is nothing to do: no {kind} is chosen.")
    architectures, known = open_clip_architectures(), known_names()
    found = Chosen(paired(split_commas(models), architectures, known), split_commas(tasks), split_commas(protocols))
    for name in found.tasks:
        if not is_task(name, index) and _is_model(name):
            raise UsageError(f"{name!r} is a model, not a task: write -m {name}.")
    for name in found.models:
        if is_task(name, index) and not _is_model(name):
            raise UsageError(f"{name!r} is a task, not a model: write -t {name}.")
    for name in paired(split_commas(named), architectures, known):
        getattr(found, kind_of(name, index)).append(name)
    return found


def is_task(name: str, index: TaskIndex) -> bool:
    """Say whether a name can only be meant as one or more tasks."""
    from fnmatch import filter as matching

    if name in index.files or name in index.groups:
        return True
    return name.startswith("tag:") or name.endswith((".yaml", ".yml")) or bool(matching(index.files, name))


def kind_of(name: str, index: TaskIndex) -> Literal["models", "tasks", "protocols"]:
    """Return what a name is; UsageError for one that is nothing, with the nearest names."""
    from evalsuite.models.names import known_names, resolve
    from evalsuite.protocols import PROTOCOLS

    if is_task(name, index):
        return "tasks"
    if name in PROTOCOLS:
        return "protocols"
    if any(sign in name for sign in ":/@") or Path(name).is_dir():
        return "models"  # what is wrong with it is told in words of models
    try:
        resolve(name)
    except UsageError as error:
        near = did_you_mean(name, [*known_names(), *index.files, *index.groups, *PROTOCOLS.names()])
        raise UsageError(
            f"{name!r} is neither a model nor a task nor a protocol.{near}\n"
            "`evalsuite ls models` and `evalsuite ls tasks` show their names."
        ) from error
    return "models"


def _is_model(name: str) -> bool:
    from evalsuite.models.names import resolve

    try:
        resolve(name)
    except UsageError:
        return False
    return True
