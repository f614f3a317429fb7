"""Exact float32 matrix products, whatever the process has been set to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

SETTING = "fp32_precision"
"""Name of the setting each backend has since torch 2.9."""


@contextmanager
def exact_products() -> Iterator[None]:
    """Keep float32 products in float32: with TF32 the line search fights its rounding and does not converge.

    torch 2.9 brought a setting a backend, and its older global setting raises where somebody used the new one.
    """
    backends = _backends_with_settings()
    before = [getattr(backend, SETTING) for backend in backends]
    before_global = None if backends else torch.get_float32_matmul_precision()
    try:
        for backend in backends:
            setattr(backend, SETTING, "ieee")
        if before_global is not None:
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            setattr(backend, SETTING, value)
        if before_global is not None:
            torch.set_float32_matmul_precision(before_global)


def _backends_with_settings() -> list[Any]:
    """Return the matrix products of each backend that has a setting of its own, none before torch 2.9."""
    modules: list[Any] = [torch.backends.cuda, torch.backends.mkldnn]
    if not hasattr(torch.backends.cuda.matmul, SETTING):
        return []
    return [module.matmul for module in modules]
