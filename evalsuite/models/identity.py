"""The fingerprint of a model, and what is recorded about it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

LAYER_RULES = 1
"""Raised when the definition of `penultimate` or `embedding` changes in layers.py: old features are then stale."""

PROJECTING_TRUNK_RULES = 2
"""The same for towers whose trunk ends in the projection, whose `penultimate` was the embedding under rules 1."""

VALUES_GLANCED_AT = 64
"""Values of each tensor that `glance` reads."""


def fingerprint(**parts: Any) -> str:
    """Return the sha256 over everything that decides the features: weights, architecture, preprocessing, layers.

    layer_rules: among the parts where they are not the usual ones.
    """
    text = json.dumps({"layer_rules": LAYER_RULES, **parts}, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()


def state_digest(module: nn.Module, *, buffers: bool = True) -> str:
    """Return 'state:...', the sha256 over names, types, shapes and bytes of all parameters and buffers, sorted."""
    import torch

    content = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items() if buffers else module.named_parameters()):
        if not isinstance(tensor, torch.Tensor):  # extra state: whatever the module calls so
            content.update(f"{name}|{tensor!r}".encode())
            continue
        content.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        # numpy knows no bfloat16: read the bytes
        content.update(values.view(torch.uint8).numpy().data)
    return f"state:{content.hexdigest()}"


def glance(module: nn.Module) -> str:
    """Return a digest that changes with nearly every change of the weights, without reading them all.

    It covers how often each tensor was changed in place, which torch counts, and values spread over it, because a
    change through `.data` is not counted.
    """
    content = hashlib.sha256()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        version = 0 if tensor.is_inference() else tensor._version
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // VALUES_GLANCED_AT)].float().cpu().numpy().tobytes()
        content.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|{id(tensor)}|{version}|".encode() + some)
    return content.hexdigest()


def readable(thing: object) -> str:
    """Return what an object prints as one line, without addresses: for a person, not for a fingerprint."""
    return " ".join(re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing)).split())


def describe_config(config: Mapping[str, Any]) -> str:
    """Return a preprocessing configuration as one readable line."""
    return ", ".join(f"{key} {_readable(value)}" for key, value in config.items() if value is not None)


def _readable(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ", ".join(_readable(item) for item in value) + ")"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
