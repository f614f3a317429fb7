"""How many threads of a CPU small work is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SHARED_FROM = 2e7
"""Operations of a step below which it is not worth sharing: a third of a millisecond on one core. Threads would wait
for each other longer than they work, and where other programs keep them from the cores, a thousand times as long."""


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
