"""How the threads of a CPU share work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

CPU = torch.device("cpu")

Made = TypeVar("Made")

SHARED_FROM = 2e7
"""Operations of a step from which it is worth sharing: about half a millisecond on one core. Threads sleep while they
wait, and waking them for less takes longer than they save."""


def worth_sharing(operations: float, device: torch.device = CPU) -> int:
    """Return how many threads a step of so many operations on a device is worth: torch's on a CPU, or one."""
    return torch.get_num_threads() if device.type == "cpu" and operations >= SHARED_FROM else 1


def use_threads(count: int) -> None:
    """Let the operations of torch that this thread calls use so many threads from here on.

    A thread that has never asked for its number would at its first operation take the one that any other set last.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let the operations of torch that this thread calls use so many threads."""
    before = torch.get_num_threads()
    if before == count:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Threads:
    """Threads that take the parts of a step, and each compute with `each` threads of OpenMP: alone, if that is 1.

    They meet once per step. Those of OpenMP meet in each operation of it, and have to be woken for each.
    """

    def __init__(self, count: int = 1, each: int = 1) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, initializer=_begin, initargs=(each,)) if count > 1 else None

    def map(self, work: Callable[..., Made], *parts: Iterable[Any]) -> Iterator[Made]:
        """Yield what is made of each part, in their order. Several threads begin at once, unasked."""
        return map(work, *parts) if self._pool is None else self._pool.map(work, *parts)


def _begin(each: int) -> None:
    """Compute with so many threads and without gradients: both are settings of each thread."""
    use_threads(each)
    torch.set_grad_enabled(False)
