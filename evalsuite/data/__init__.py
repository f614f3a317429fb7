"""Images and labels: sources, label maps, splits. Names are imported on first use, so this stays light.

Adapters (the Python files beside task files) need `RawPool`, `MultiLabel`, `LoadedSample` and the two
constructors `raw_pool_from_arrays` and `raw_pool_from_files`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalsuite.data.base import (
        IGNORED,
        DataState,
        Fold,
        LoadedSample,
        MultiLabel,
        Pool,
        RawPool,
        Split,
        TaskData,
    )
    from evalsuite.data.opening import data_state, open_task
    from evalsuite.data.readers import raw_pool_from_arrays, raw_pool_from_files
    from evalsuite.data.splits import check_sizes, hold_out, resolve_folds, stratified_limit

_HOMES = {
    "IGNORED": "base",
    "DataState": "base",
    "Fold": "base",
    "LoadedSample": "base",
    "MultiLabel": "base",
    "Pool": "base",
    "RawPool": "base",
    "Split": "base",
    "TaskData": "base",
    "check_sizes": "splits",
    "data_state": "opening",
    "hold_out": "splits",
    "open_task": "opening",
    "raw_pool_from_arrays": "readers",
    "raw_pool_from_files": "readers",
    "resolve_folds": "splits",
    "stratified_limit": "splits",
}

__all__ = [
    "IGNORED",
    "DataState",
    "Fold",
    "LoadedSample",
    "MultiLabel",
    "Pool",
    "RawPool",
    "Split",
    "TaskData",
    "check_sizes",
    "data_state",
    "hold_out",
    "open_task",
    "raw_pool_from_arrays",
    "raw_pool_from_files",
    "resolve_folds",
    "stratified_limit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
