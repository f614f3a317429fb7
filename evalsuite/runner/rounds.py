"""Which models are in memory together: each image is decoded once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from evalsuite.memory import available_memory
from evalsuite.runner.base import RowsExecutor
from evalsuite.runner.models import ModelSession

USED = 0.5
"""Part of the free memory that weights of several models may take; the rest is for images, activations and features."""

BYTES_PER_PARAMETER = {"fp32": 4, "fp16": 6, "bf16": 6}
"""float32, and next to it the copy that autocast makes."""


def rounds(models: Sequence[ModelSession]) -> list[list[ModelSession]]:
    """Return the models in rounds, in their order, the weights of each round fitting into memory together."""
    if len(models) < 2 or isinstance(models[0].executor, RowsExecutor):
        return [[model] for model in models]  # elsewhere, each node has the memory for one
    free = USED * _free(models[0].device)
    found: list[list[ModelSession]] = []
    left = 0.0
    for model in models:
        size = _weights(model)
        if not found or size > left:
            found.append([])
            left = free
        found[-1].append(model)
        left -= size
        if len(found) > 1:
            model.unload()  # its size may have been known only by loading it
    return found


def out_of_memory(fault: object) -> bool:
    """Tell whether a pass ended because the device had not enough memory."""
    causes = (fault, fault.__cause__) if isinstance(fault, Exception) else ()
    return any(isinstance(cause, torch.OutOfMemoryError) for cause in causes)


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()


def _weights(model: ModelSession) -> int:
    """Return the bytes of the weights of a model; 0 where they cannot be known without loading it, and it fails."""
    return (model.parameters() or 0) * BYTES_PER_PARAMETER[model.precision]
