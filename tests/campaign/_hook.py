"""Faults of the system in a process that runs the command line: a kill, or an error, at one of its file-system calls.

Read from the environment: FAULT_ROOT (only calls on paths below it count), FAULT_LOG (where each is noted), FAULT_AT
(the number of the one that fails; none: only noted), FAULT_ERROR (the errno it fails with; 0: kill -9 in its place),
FAULT_SIGNAL (what comes before it, which then does not fail), FAULT_LASTING (every call that writes fails from there
on, as on a full disk), FAULT_AFTER (seconds after which the process is killed wherever it is).
"""

from __future__ import annotations

import builtins
import fcntl
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import evalsuite

WRITING = ("create", "write", "fsync", "rename", "unlink", "mkdir", "rmdir")
OF_A_FULL_DISK = ("create", "write", "mkdir")


class Hook:
    """Counts the calls, and lets one fail."""

    def __init__(self) -> None:
        self.root = os.path.realpath(os.environ["FAULT_ROOT"])
        self.at = int(os.environ.get("FAULT_AT") or -1)
        self.error = int(os.environ.get("FAULT_ERROR") or 0)
        self.signal = int(os.environ.get("FAULT_SIGNAL") or 0)
        self.lasting = bool(os.environ.get("FAULT_LASTING"))
        self._log = REAL_OPEN(os.environ["FAULT_LOG"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._count = 0
        self._lock = threading.Lock()

    def call(self, name: str, path: str, *, named: bool = True, half: Callable[[], object] | None = None) -> None:
        """Note a call, and fail in its place where it is its turn. half: done before a kill: half of a write."""
        if not path.startswith(self.root):
            return
        with self._lock:
            number, self._count = self._count, self._count + 1
            os.write(self._log, f"{number} {name} {place()} {path[len(self.root) + 1 :]}\n".encode())
        later = self.lasting and number > self.at >= 0 and name in OF_A_FULL_DISK
        if number != self.at and not later:
            return
        if self.signal:
            os.kill(os.getpid(), self.signal)
            return
        if self.error == 0:
            if half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(self.error, os.strerror(self.error), *([path] if named else []))


REAL_OPEN = os.open
PACKAGE = str(Path(evalsuite.__file__).parent)


def place() -> str:
    """Return which lines of evalsuite led here: the same in each turn of a loop, others for each caller."""
    lines = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return f"{hash(tuple(lines)) & 0xFFFFFFFF:08x}"


def path_of(file: Any, dir_fd: int | None = None) -> str:
    """Return the path that a call is about, given as a name or as a descriptor."""
    if isinstance(file, int):
        try:
            return os.readlink(f"/proc/self/fd/{file}")  # noqa: PTH115 - pathlib would be counted
        except OSError:
            return ""
    name = os.fsdecode(file)
    return os.path.join(path_of(dir_fd), name) if dir_fd is not None else os.path.abspath(name)  # noqa: PTH100, PTH118


class Raw(io.FileIO):
    """A file whose writes count."""

    def __init__(self, hook: Hook, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._hook = hook

    def write(self, data: Any) -> int:
        """Write, or fail."""
        content = memoryview(data).cast("B")

        def half() -> None:
            super(Raw, self).write(content[: len(content) // 2])

        self._hook.call("write", str(self.name), named=False, half=half)
        return super().write(data)


def begin() -> None:
    """From here on, calls of this process are counted."""
    hook = Hook()
    if after := float(os.environ.get("FAULT_AFTER") or 0):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process as SIGKILL does
        signal.setitimer(signal.ITIMER_REAL, after)
    real_open = io.open

    def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any) -> Any:
        if isinstance(file, int):
            return real_open(file, mode, buffering, *rest, **options)
        path = path_of(file)
        writing = any(letter in mode for letter in "wxa+")
        hook.call("create" if writing else "open", path)
        if not writing or "b" not in mode or not path.startswith(hook.root):
            return real_open(file, mode, buffering, *rest, **options)
        raw = Raw(hook, path, mode.replace("b", ""))
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

    def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        hook.call("create" if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else "open", path_of(path, dir_fd))
        return REAL_OPEN(path, flags, mode, dir_fd=dir_fd)

    def watched(owner: Any, attribute: str, name: str, *, named: bool = True) -> None:
        real = getattr(owner, attribute)

        def call(file: Any = ".", *rest: Any, **options: Any) -> Any:
            dir_fd = options.get("dir_fd", options.get("src_dir_fd"))
            hook.call(name, path_of(file, dir_fd), named=named)
            return real(file, *rest, **options)

        setattr(owner, attribute, call)

    builtins.open = io.open = opened
    os.open = os_open  # type: ignore[assignment]
    for attribute, name in (
        ("rename", "rename"), ("replace", "rename"), ("unlink", "unlink"), ("remove", "unlink"), ("mkdir", "mkdir"),
        ("rmdir", "rmdir"), ("scandir", "list"), ("listdir", "list"),
    ):  # fmt: skip
        watched(os, attribute, name)
    watched(os, "fsync", "fsync", named=False)
    watched(os, "posix_fallocate", "write", named=False)
    watched(fcntl, "flock", "lock", named=False)
