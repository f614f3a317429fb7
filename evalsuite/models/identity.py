"""The fingerprint of a model, and what is recorded about it."""

from __future__ import annotations

import hashlib
import json
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


def describe_config(config: Mapping[str, Any]) -> str:
    """Return a preprocessing configuration as one readable line."""
    return ", ".join(f"{key} {_readable(value)}" for key, value in config.items() if value is not None)


def _readable(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ", ".join(_readable(item) for item in value) + ")"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
