"""Networks whose weights are shared out among processes (FSDP): what is evaluated is a whole copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn

OWN = "torch.distributed."
"""Where what FSDP hangs onto modules comes from."""

NOTES = ("_fsdp_", "__composable_api")
"""Parts of the names of attributes in which it notes what it has done."""


def is_sharded(module: nn.Module) -> bool:
    """Tell whether FSDP, of either kind, holds the weights of a network or of parts of it."""
    return torch.distributed.is_available() and any(_first(part) or _second(part) for part in module.modules())


def whole(module: nn.Module) -> nn.Module:
    """Return a copy of a network with all of its weights and nothing of FSDP. Every process has to call this."""
    with _gathered(module):
        return _copied(module, {})


@contextmanager
def _gathered(module: nn.Module) -> Iterator[None]:
    """Have all weights on every process for the time of the context."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    parts: list[Any] = [part for part in module.modules() if _second(part)]
    with FullyShardedDataParallel.summon_full_params(module, writeback=False):
        for part in parts:
            part.unshard()
        try:
            yield
        finally:
            for part in parts:
                part.reshard()


def _copied(part: nn.Module, met: dict[int, Any]) -> nn.Module:
    """Copy a module with its parts. met: copies by the id of what they are of, for what occurs twice."""
    if id(part) in met:
        known: nn.Module = met[id(part)]
        return known
    inner: Any = part.module if _first(part) else part
    kind = type(inner).__mro__[2] if _second(inner) else type(inner)  # after FSDP's own class for it and FSDPModule
    twin: nn.Module = object.__new__(kind)
    twin.__dict__.update(inner.__getstate__())
    met[id(part)] = twin
    _clear(twin)
    for values in ("_parameters", "_buffers"):
        setattr(twin, values, {name: _tensor(value, met) for name, value in getattr(inner, values).items()})
    twin._modules = {name: None if child is None else _copied(child, met) for name, child in inner._modules.items()}
    return twin


def _clear(twin: nn.Module) -> None:
    """Remove what FSDP has left in a copy: hooks, notes, and methods of the original that it wrapped."""
    hooks = {name: value for name, value in vars(twin).items() if "hooks" in name and isinstance(value, dict)}
    own = {key for found in hooks.values() for key, hook in found.items() if _is_own(hook)}
    for name, found in hooks.items():  # some say only how the hook of that key is called
        twin.__dict__[name] = type(found)((key, hook) for key, hook in found.items() if key not in own)
    for name, value in list(vars(twin).items()):
        if any(mark in name for mark in NOTES) or (isinstance(value, MethodType) and _is_own(value.__func__)):
            del twin.__dict__[name]


def _tensor(value: torch.Tensor | None, met: dict[int, Any]) -> torch.Tensor | None:
    if value is None:
        return None
    if id(value) not in met:
        made = value.detach().clone()
        met[id(value)] = nn.Parameter(made, value.requires_grad) if isinstance(value, nn.Parameter) else made
    found: torch.Tensor = met[id(value)]
    return found


def _is_own(hook: object) -> bool:
    return str(getattr(hook, "__module__", "")).startswith(OWN)


def _first(module: nn.Module) -> bool:
    """Whether a module is a wrapper of FSDP's first kind."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    return isinstance(module, FullyShardedDataParallel)


def _second(module: nn.Module) -> bool:
    """Whether `fully_shard` was applied to a module, which changed its class."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(module, FSDPModule)
