"""Exact float32 arithmetic, whatever the process has been set to: fp32 means that TF32 is off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

SETTING = "fp32_precision"
"""Name of the setting that matrix products and convolutions of each backend have since torch 2.9."""


@contextmanager
def exact_products() -> Iterator[None]:
    """Keep float32 products and convolutions in float32, and put the settings back afterwards.

    They are the whole process's: the first thread that needs them sets them, the last one puts them back.
    """
    with _lock:
        if not _users:
            _before.append(_set_exact())
        _users.append(threading.get_ident())
    try:
        yield
    finally:
        with _lock:
            _users.pop()
            if not _users:
                _before.pop()()


_lock = threading.Lock()
_users: list[int] = []
_before: list[Callable[[], None]] = []


def _set_exact() -> Callable[[], None]:
    """Make the settings and return what puts them back.

    torch 2.9 brought one setting per backend and operation, and its older flags raise where somebody has used the
    new ones: each is used where it belongs.
    """
    operations = _operations()
    before = [getattr(operation, SETTING) for operation in operations]
    older = None if operations else (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    for operation in operations:
        setattr(operation, SETTING, "ieee")
    if older is not None:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False

    def restore() -> None:
        for operation, value in zip(operations, before, strict=True):
            setattr(operation, SETTING, value)
        if older is not None:
            torch.set_float32_matmul_precision(older[0])
            torch.backends.cudnn.allow_tf32 = older[1]

    return restore


def _operations() -> list[Any]:
    """Return what has a setting of its own: none before torch 2.9."""
    if not hasattr(torch.backends.cuda.matmul, SETTING):
        return []
    backends: Any = torch.backends
    return [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]
