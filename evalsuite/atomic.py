"""Write files so that a reader, or a crash, sees the old content or the new one and never a part.

Everything a store writes goes through here: the content goes to a temporary file in the same folder
(a rename across file systems is a copy), is flushed to the disk, and replaces the target in one step;
the folder is flushed too, because a rename lives in the folder and is lost with it in a power cut.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from evalsuite.errors import UsageError

TEMPORARY_PREFIX = ".tmp-"
"""Names that begin so are unfinished files of a run that was stopped; nothing reads them."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file that becomes `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}"
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that becomes `path` when the block ends without an error."""
    with replacing(path) as temporary, temporary.open("xb") as file:
        yield file
        file.flush()


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of `path` atomically."""
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Replace the content of `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace the content of `path` atomically by `value` as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_with(path: Path, writer: Callable[[Path], object]) -> None:
    """Let a library that wants a file name write `path` atomically."""
    with replacing(path) as temporary:
        writer(temporary)


def write_note(path: Path, content: str) -> None:
    """Write what only processes that now run will read, and can do without: not atomic, and no wait for the disk."""
    with suppress(OSError):
        path.write_text(content, "utf-8")


def check_writable(folder: Path, option: str) -> None:
    """Make the folder and write into it, so that a wrong place is known before hours of work.

    Raises UsageError that names the option to change.
    """
    probe = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"Cannot write to {folder}: {error.strerror or error}. Name another folder with {option}."
        ) from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle on a folder to flush
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
