"""Write files so that a reader, or a crash, sees the old content or the new one and never a part.

Everything that a store writes, renames or removes goes through here. The content goes to a temporary file in the same
folder (a rename across file systems is a copy), is flushed to the disk, and replaces the target in one step; the folder
is flushed too, because a rename lives in the folder and is lost with it in a power cut. A folder is removed by a rename
first, so that nobody reads half of it. What a process that was killed has left under a temporary name is removed by
the next one that writes into the folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from evalsuite.errors import UsageError

TEMPORARY_PREFIX = ".tmp-"
"""Names that begin so are unfinished or are being removed, or were when their process ended; nothing reads them."""

FOREIGN_SECONDS = 86_400.0
"""Age from which what a process of another machine has left counts as left: longer than any write takes."""

TRIES = 5
"""How often a folder may be removed by another process while this one writes into it, before that is a fault."""

UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK})
"""What file systems over a network, or made by a program, answer to what they cannot do."""

_LOG = logging.getLogger(__name__)
_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + r"(?:([0-9a-f]{8})-([0-9]+)-)?.+")
_TOLD: set[str] = set()
_SWEPT: set[Path] = set()


def flush(descriptor: int, path: Path) -> None:
    """Have on the disk what was written to an open file or folder; where that is not supported, there is a warning."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warn_once(
            "fsync",
            f"The file system of {path} does not flush files and folders to the disk on request ({error.strerror}): "
            "what was written last may be lost in a power cut, and is then computed again.",
        )


def temporary_name(folder: Path, suffix: str = "") -> Path:
    """Return a name in a folder that no other process uses: what is left there of this one is swept when it is over."""
    return folder / f"{TEMPORARY_PREFIX}{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}{suffix}"


def make_folder(path: Path) -> None:
    """Make a folder and those above it."""
    path.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Give a file or a folder of the same file system another name, on the disk, too."""
    source.replace(target)
    _flush_folder(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it is there, in one step; what a process that is killed leaves of it has a temporary name."""
    gone = temporary_name(folder.parent)
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    _flush_folder(folder.parent)
    discard(gone)


def discard(path: Path) -> None:
    """Remove a file or folder that nobody reads, as far as that is possible; another process may be doing the same."""
    try:
        path.unlink(missing_ok=True)
    except OSError:  # a folder, or what cannot be removed
        shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        warn_once(f"clear {path.parent}", f"{path} cannot be removed. Nothing reads it; remove it when you can.")


def leftovers(folder: Path) -> list[Path]:
    """Return what processes that have ended left in a folder under temporary names, as far as it can be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(TEMPORARY_PREFIX)]
    except OSError:
        return []
    return [folder / name for name in names if _is_left(folder / name)]


def sweep(folder: Path) -> None:
    """Remove what processes that have ended left in a folder."""
    for path in leftovers(folder):
        discard(path)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file that becomes `path` when the block ends without an error."""
    with _temporary_for(path, path.suffix) as temporary:
        yield temporary
        with temporary.open("rb") as file:
            flush(file.fileno(), path)
        temporary.replace(path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder that becomes `path`, which is not there, when the block ends without an error.

    Its files are written by the other functions of this module.
    """
    with _temporary_for(path) as temporary:
        temporary.mkdir()
        yield temporary
        temporary.rename(path)


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that becomes `path` when the block ends without an error.

    A link stays one: what it leads to is replaced. A pipe or a device (`/dev/stdout`) is written into.
    """
    if _is_stream(path):  # first: what /dev/stdout leads to has no name where it is a pipe
        with path.open("wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    with replacing(path) as temporary, temporary.open("xb") as file:
        yield file


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path` atomically; a folder that is removed meanwhile is made again."""
    for tries_left in range(TRIES, 0, -1):
        try:
            with atomic_write(path) as file:
                file.write(content)
            return
        except FileNotFoundError:
            if tries_left == 1:
                raise


def write_text(path: Path, content: str) -> None:
    """Replace the content of `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace the content of `path` atomically by `value` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_with(path: Path, writer: Callable[[IO[bytes]], object]) -> None:
    """Let a library that writes into an open binary file write `path` atomically."""
    with atomic_write(path) as file:
        writer(file)


def write_note(path: Path, content: str) -> None:
    """Write what only processes that now run will read, and can do without: not atomic, and no wait for the disk."""
    with suppress(OSError):
        path.write_text(content, "utf-8")


def check_writable(folder: Path, option: str) -> None:
    """Make the folder and write into it, so that a wrong place is known before hours of work.

    Raises UsageError that names the option to change.
    """
    probe = temporary_name(folder)
    try:
        make_folder(folder)
        sweep(folder)  # of a probe, too, whose process was killed
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"Cannot write to {folder}: {error.strerror or error}. Name another folder with {option}."
        ) from error


def warn_once(key: str, text: str) -> None:
    """Say something of the machine that does no harm now, once in a process. key: what it is about."""
    if key not in _TOLD:
        _TOLD.add(key)
        _LOG.warning("%s", text)


@contextmanager
def _temporary_for(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give a temporary name next to `path`; what is there is removed at an error, which is told to be of `path`."""
    folder = path.parent
    make_folder(folder)
    if folder not in _SWEPT and not folder.name.startswith(TEMPORARY_PREFIX):
        _SWEPT.add(folder)
        sweep(folder)
    temporary = temporary_name(folder, suffix)
    try:
        yield temporary
        _flush_folder(folder)
    except OSError as error:
        discard(temporary)
        if error.errno is None or not str(error.filename or temporary).startswith(str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        discard(temporary)
        raise


def _is_stream(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:  # not there, or whoever writes to it meets that, too
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@cache
def _machine() -> str:
    """Return what stands for the processes that a process number is one of: this machine's, or a container's."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _is_left(path: Path) -> bool:
    """Tell whether the process that gave a temporary name has ended; of one elsewhere only the age tells."""
    found = _NAME.fullmatch(path.name)
    if found is not None and found[1] == _machine() and os.name != "nt":  # there, asking would end the process
        return not _runs(int(found[2]))
    try:
        return time.time() - path.lstat().st_mtime > FOREIGN_SECONDS
    except OSError:  # it is gone
        return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle on a folder to flush
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may write into it and not list it
        return
    try:
        flush(descriptor, folder)
    finally:
        os.close(descriptor)
