"""Signals that end a run in good order, each with an exit code of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Ctrl-C, a polite kill, a lost terminal, and what SLURM sends before it kills (`--signal=USR1@120`)."""

ENDS_AT_ONCE = 3
"""The signal that does not wait for anything to be stored."""


class SignalError(KeyboardInterrupt):
    """A signal asked for the end. code: the exit code, 128 and the signal's number as shells count."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


def end_on_signals() -> None:
    """Raise SignalError at the first signal; say at the second that things are being stored; end at the third.

    A signal that whoever started this process wants ignored (nohup, `&` in a script) stays ignored.
    """
    received = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            raise SignalError(number)
        if received >= ENDS_AT_ONCE:
            os._exit(128 + number)
        # Not by way of sys.stderr, which may be in the middle of a write.
        os.write(2, b"\nWhat is done is being stored. Once more ends this at once.\n")

    _let_signals_call(handle)


def leave_signals() -> None:
    """Let a signal end this process at once: nothing is left to store, and nobody to catch a SignalError."""
    _let_signals_call(signal.SIG_DFL)


def _let_signals_call(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for name in ENDING:
        number = getattr(signal, name, None)  # Windows has two of them
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def code_of(error: BaseException) -> int:
    """Return the exit code for an interruption; click wraps a SignalError into an exception of its own."""
    found = error if isinstance(error, SignalError) else error.__cause__
    return found.code if isinstance(found, SignalError) else 128 + signal.SIGINT
