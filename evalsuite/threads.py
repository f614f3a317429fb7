"""How many threads of a CPU small work is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SHARED_FROM = 1e8
"""Operations of a step below which it is not worth sharing: one or two milliseconds on one core. Threads sleep while
they wait, and waking them takes longer than they save: the sweep of cifar-4k, of 4e7 operations per step, took 2.5 s on
one thread and 3.1 s on two. Where other programs keep them from the cores, they would wait a thousand times as long."""


@contextmanager
def threads_for(operations: float) -> Iterator[None]:
    """Use one thread of the CPU where steps are of so many operations that sharing them would only cost time."""
    before = torch.get_num_threads()
    if before == 1 or operations >= SHARED_FROM:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
