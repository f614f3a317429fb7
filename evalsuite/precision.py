"""Exact float32 arithmetic, whatever the process has been set to: fp32 means that TF32 is off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any

import torch

SETTING = "fp32_precision"
"""Name of the setting that matrix products and convolutions of each backend have since torch 2.9."""


_lock = Lock()
_holders: list[object] = []
_outer = ExitStack()


@contextmanager
def exact_products() -> Iterator[None]:
    """Keep float32 products and convolutions in float32, and put the settings back afterwards.

    The settings are of the process: the first of several threads that ask for them at a time sets them, the last puts
    them back.
    """
    holder = object()
    with _lock:
        if not _holders:
            _outer.enter_context(_exact())
        _holders.append(holder)
    try:
        yield
    finally:
        with _lock:
            _holders.remove(holder)
            if not _holders:
                _outer.close()


@contextmanager
def _exact() -> Iterator[None]:
    """Set what keeps float32 exact.

    torch 2.9 brought one setting per backend and operation, and its older flags raise where somebody has used the
    new ones: each is used where it belongs.
    """
    operations = _operations()
    before = [getattr(operation, SETTING) for operation in operations]
    older = None if operations else (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    try:
        for operation in operations:
            setattr(operation, SETTING, "ieee")
        if older is not None:
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        for operation, value in zip(operations, before, strict=True):
            setattr(operation, SETTING, value)
        if older is not None:
            torch.set_float32_matmul_precision(older[0])
            torch.backends.cudnn.allow_tf32 = older[1]


def _operations() -> list[Any]:
    """Return what has a setting of its own: none before torch 2.9."""
    if not hasattr(torch.backends.cuda.matmul, SETTING):
        return []
    backends: Any = torch.backends
    return [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]
