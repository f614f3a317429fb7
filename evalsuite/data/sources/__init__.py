"""Where images come from: one object per source of a task file, one module per kind of source."""

from __future__ import annotations

import importlib
from typing import Any

from evalsuite.data.place import DataPlace
from evalsuite.data.sources.base import Source
from evalsuite.tasks.spec import TaskSpec


def sources_of(task: TaskSpec, place: DataPlace) -> list[Source[Any]]:
    """Return the sources of a task, in order of preference; the module of each kind is imported here."""
    sources = []
    for spec in task.sources:
        module, _, name = spec.opened_by.partition(":")
        sources.append(getattr(importlib.import_module(module), name)(spec, task, place))
    return sources
