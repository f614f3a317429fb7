"""Locks between processes that share a store: one holder, whom those who wait can name.

The system frees the lock of a process that has ended, however it ended. One that was stopped (Ctrl-Z, a suspended
laptop) keeps its locks, so a note next to the lock says whose it is. It is flock itself and no library around it:
those wait for ever, or leave a file that outlives its process, where a file system has no locks.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from evalsuite import atomic
from evalsuite.errors import JobError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

TELL_AFTER = 2.0
"""Seconds after which one who waits is told for whom: longer than any write that a lock guards."""

POLL = 0.05

LOOKS = 20
"""How often a lock file may be removed under one who wants it, before that is a fault."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock; since: local time."""

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        stopped = f" (stopped; `kill -CONT {self.pid}` lets it go on)" if self._is_stopped() else ""
        return f"process {self.pid} on {self.host}, since {self.since}{stopped}"

    def _is_stopped(self) -> bool:
        """Tell whether it is a process of this machine that was stopped (Ctrl-Z); known on Linux."""
        if self.host != socket.gethostname():
            return False
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except (OSError, IndexError):
            return False


class HeldError(JobError):
    """A lock is held by another process. owner: None where it could not be found out."""

    def __init__(self, path: Path, owner: Owner | None) -> None:
        self.path, self.owner = path, owner
        super().__init__(f"{path} is held by {owner or 'another process'}.")


class Lock:
    """A lock file at `path`; its folder is made. Used as a context it waits for as long as it takes.

    tell: given a sentence about who holds it, once, after two seconds of waiting. Where the file system has no locks,
    there is a warning and no lock.
    """

    def __init__(self, path: Path, tell: Callable[[str], None] | None = None) -> None:
        self.path = path
        self._tell = tell
        self._descriptor: int | None = None

    def acquire(self, timeout: float | None = None) -> None:
        """Take the lock; HeldError where it is still held after `timeout` seconds (None: wait; 0: one try)."""
        begun, told = time.monotonic(), self._tell is None
        while (descriptor := _locked(self.path)) is None:
            waited = time.monotonic() - begun
            if timeout is not None and waited >= timeout:
                raise HeldError(self.path, self.owner())
            if waited >= TELL_AFTER and not told and self._tell is not None:
                self._tell(f"Waiting: {HeldError(self.path, self.owner())}")
                told = True
            time.sleep(POLL)
        self._descriptor = descriptor
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        atomic.write_note(self._note, json.dumps(asdict(Owner(socket.gethostname(), os.getpid(), since))))

    def release(self) -> None:
        """Give it back; nothing happens where it is not held."""
        if self._descriptor is not None:
            owner = self.owner()
            if owner is not None and (owner.pid, owner.host) == (os.getpid(), socket.gethostname()):
                with suppress(OSError):
                    self._note.unlink()
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):  # closing frees it, too, where no other process has the descriptor
                _unlock(descriptor)
            os.close(descriptor)

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


def _locked(path: Path) -> int | None:
    """Return the descriptor of the locked file; None where another holds it.

    Whoever holds the lock may remove the file with its folder, and others make it again: only the one that is there
    afterwards is the lock.
    """
    for looks_left in range(LOOKS, 0, -1):
        atomic.make_folder(path.parent)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the folder was removed
            if looks_left == 1:
                raise
            continue
        try:
            if not _lock(descriptor, path):
                os.close(descriptor)
                return None
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    return None


def _lock(descriptor: int, path: Path) -> bool:
    """Lock an open file; False where another has locked it. Where that is not supported, there is a warning."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        if error.errno not in atomic.UNSUPPORTED:
            error.filename = str(path)
            raise
        said = f"The file system of {path} has no locks ({error.strerror}): let only one process at a time use it."
        atomic.warn_once("locks", said)
    return True


def _unlock(descriptor: int) -> None:
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_UN)
