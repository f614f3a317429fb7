"""Locks between processes that share a store: one holder, whom those who wait can name.

The system frees the lock of a process that has ended, however it ended. One that was stopped (Ctrl-Z, a suspended
laptop) keeps its locks, so a note next to the lock says whose it is.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from evalsuite import atomic
from evalsuite.errors import JobError

TELL_AFTER = 2.0
"""Seconds after which one who waits is told for whom: longer than any write that a lock guards."""

POLL = 0.05


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock; since: local time."""

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class HeldError(JobError):
    """A lock is held by another process. owner: None where it could not be found out."""

    def __init__(self, path: Path, owner: Owner | None) -> None:
        self.path, self.owner = path, owner
        super().__init__(f"{path} is held by {owner or 'another process'}.")


class Lock:
    """A lock file at `path`, whose folder must be there. Used as a context it waits for as long as it takes.

    tell: given a sentence about who holds it, once, after two seconds of waiting.
    """

    def __init__(self, path: Path, tell: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._tell = tell
        self._lock = FileLock(path, thread_local=False)

    def acquire(self, timeout: float | None = None) -> None:
        """Take the lock; HeldError where it is still held after `timeout` seconds (None: wait; 0: one try)."""
        begun, told = time.monotonic(), self._tell is None
        while True:
            try:
                self._lock.acquire(timeout=0)
                break
            except Timeout:
                waited = time.monotonic() - begun
                if timeout is not None and waited >= timeout:
                    raise HeldError(self.path, self.owner()) from None
                if waited >= TELL_AFTER and not told and self._tell is not None:
                    self._tell(f"Waiting: {HeldError(self.path, self.owner())}")
                    told = True
                time.sleep(POLL)
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        atomic.write_note(self._note, json.dumps(asdict(Owner(socket.gethostname(), os.getpid(), since))))

    def release(self) -> None:
        """Give it back; nothing happens where it is not held."""
        if self._lock.is_locked:
            with suppress(OSError):
                self._note.unlink()
            self._lock.release()

    def owner(self) -> Owner | None:
        """Return who holds it, as far as it is noted."""
        try:
            return Owner(**json.loads(self._note.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.owner")
