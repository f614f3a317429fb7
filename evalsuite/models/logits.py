"""The scale and the bias that a model was trained with: what makes a logit of a cosine of image and text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalsuite.models.base import Logits
from evalsuite.models.checkpoints import read_checkpoint

SCALE, BIAS = "logit_scale", "logit_bias"
"""What CLIP, open_clip and transformers call them; the first is a logarithm."""


def logits_of(module: object) -> Logits | None:
    """Return the logits of a network that has `logit_scale` as CLIP does, a tensor of one logarithm; else None."""
    return _logits({name: getattr(module, name, None) for name in (SCALE, BIAS)})


def stored_logits(path: Path) -> Logits | None:
    """Return the logits of the weights in a file; None where they are not in it under one name."""
    state = read_checkpoint(path).state
    found: dict[str, Any] = {}
    for kind in (SCALE, BIAS):
        names = [name for name in state if name.rpartition(".")[2] == kind]
        if len(names) > 1:
            return None
        found[kind] = state[names[0]] if names else None
    return _logits(found)


def _logits(values: Mapping[str, Any]) -> Logits | None:
    import torch

    scale, bias = values[SCALE], values[BIAS]
    if not isinstance(scale, torch.Tensor) or scale.numel() != 1 or scale.device.type == "meta":
        return None
    exponent = float(scale.detach().reshape(()))
    if not abs(exponent) < 20:  # no logarithm of a scale: 20 would be 500 million
        return None
    known = isinstance(bias, torch.Tensor) and bias.numel() == 1
    return Logits(math.exp(exponent), float(bias.detach().reshape(())) if known else 0.0)
