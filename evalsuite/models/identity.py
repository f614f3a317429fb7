"""The fingerprint of a model, and what is recorded about it."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

LAYER_RULES = 1
"""Raised when the definition of `penultimate` or `embedding` changes in layers.py: old features are then stale."""


def fingerprint(**parts: Any) -> str:
    """Return the sha256 over everything that decides the features: weights, architecture, preprocessing, layers."""
    text = json.dumps({"layer_rules": LAYER_RULES, **parts}, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()


def state_digest(module: nn.Module) -> str:
    """Return 'state:...', the sha256 over names, types, shapes and bytes of all parameters and buffers, sorted."""
    import torch

    content = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):  # extra state: whatever the module calls so
            content.update(f"{name}|{tensor!r}".encode())
            continue
        content.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        # numpy knows no bfloat16: read the bytes
        content.update(values.view(torch.uint8).numpy().data)
    return f"state:{content.hexdigest()}"


def describe_code(thing: object) -> str:
    """Describe a module or a function for a fingerprint, the same way in every process.

    A function by its source and what it captured, an object by what it prints, or by its attributes where it
    prints nothing of its own. Addresses are dropped, because they differ from run to run.
    """
    if inspect.isfunction(thing):
        try:
            source = inspect.getsource(thing)
        except OSError:  # typed at a prompt
            source = thing.__code__.co_code.hex()
        captured = [repr(cell.cell_contents) for cell in thing.__closure__ or ()]
        content = _without_addresses(repr((source, captured, thing.__defaults__)))
        return f"{thing.__qualname__} {hashlib.sha256(content.encode()).hexdigest()[:16]}"
    text = repr(thing)
    if type(thing).__repr__ is object.__repr__ and hasattr(thing, "__dict__"):
        text = f"{text} {sorted(vars(thing).items())}"
    return " ".join(_without_addresses(text).split())


def describe_config(config: Mapping[str, Any]) -> str:
    """Return a preprocessing configuration as one readable line."""
    return ", ".join(f"{key} {_readable(value)}" for key, value in config.items() if value is not None)


def _readable(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ", ".join(_readable(item) for item in value) + ")"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
