"""Images and labels: sources, label maps, splits. Names are imported on first use, so this stays light.

Adapters (the Python files next to task files) need `RawPool`, `MultiLabel`, `LoadedSample` and the two
constructors `raw_pool_from_arrays` and `raw_pool_from_files`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalsuite.data.base import IGNORED, DataState, LoadedSample, MultiLabel, RawPool
    from evalsuite.data.opening import data_state, open_task
    from evalsuite.data.readers import raw_pool_from_arrays, raw_pool_from_files

__all__ = [
    "IGNORED",
    "DataState",
    "LoadedSample",
    "MultiLabel",
    "RawPool",
    "data_state",
    "open_task",
    "raw_pool_from_arrays",
    "raw_pool_from_files",
]

_HOMES = {
    "data_state": "opening",
    "open_task": "opening",
    "raw_pool_from_arrays": "readers",
    "raw_pool_from_files": "readers",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'base')}"), name)
