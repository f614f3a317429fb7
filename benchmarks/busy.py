"""Busy processes next to what is measured: a shared machine, on demand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class Neighbours:
    """`count` processes that each keep a core busy, while they are let; they end with the stack."""

    def __init__(self, count: int, stack: ExitStack) -> None:
        self.count = count
        self._started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        for process in self._started:
            stack.callback(process.wait)
            stack.callback(process.kill)
        self._signal(signal.SIGSTOP)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let them run for a while."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._started:
            process.send_signal(number)


def load() -> float:
    """Return how many processes of the machine wanted a core, on average over the last minute."""
    return os.getloadavg()[0]
