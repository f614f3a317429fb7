"""evalsuite: benchmark image encoders by zero-shot classification and linear probes.

Names are imported when they are first used, so that `import evalsuite` costs nothing. Where torch is not imported yet,
its threads are set to sleep while they wait (`processors.py`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from evalsuite.processors import share_processors

if TYPE_CHECKING:
    from evalsuite.api import Results, compare, evaluate, leaderboard, load_model, load_task, wrap_module
    from evalsuite.errors import EvalsuiteError, UsageError
    from evalsuite.records import Result

__version__ = "0.1.0"

_WHERE = {
    "EvalsuiteError": "evalsuite.errors",
    "Result": "evalsuite.records",
    "Results": "evalsuite.api",
    "UsageError": "evalsuite.errors",
    "compare": "evalsuite.api",
    "evaluate": "evalsuite.api",
    "leaderboard": "evalsuite.api",
    "load_model": "evalsuite.api",
    "load_task": "evalsuite.api",
    "wrap_module": "evalsuite.api",
}

__all__ = [
    "EvalsuiteError",
    "Result",
    "Results",
    "UsageError",
    "compare",
    "evaluate",
    "leaderboard",
    "load_model",
    "load_task",
    "wrap_module",
]


share_processors()


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'evalsuite' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
