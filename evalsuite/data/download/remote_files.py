"""The `files` of a source: fetch each, unpack it and put it into place; what was stopped at any point is resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evalsuite import atomic
from evalsuite.data.download.transfers import Retries, fetch_file, is_web_page, notes_of, part_of, wrong_checksum
from evalsuite.data.download.unpacking import DamagedArchiveError, check_supported, move_into, unpack
from evalsuite.errors import DataMissingError, NotStoredError, fault_of_the_system
from evalsuite.locks import HeldError, Lock
from evalsuite.progress import BYTES, Progress
from evalsuite.tasks.sources import RemoteFile

LOCKS = ".evalsuite-locks"
"""Folder under the data root: a lock next to the data would look like data to those who list folders."""


class Target:
    """Where a file goes.

    folder: under the data root. path: the file as it comes. makes: what is there afterwards. work: next to the file, a
    folder that is there while it is unpacked; in it, `new` fills, becomes `ready` when it is whole, is then moved into
    place, and goes last of all; `mark` says which file (by its inode) is ours to remove.
    """

    def __init__(self, file: RemoteFile, root: Path) -> None:
        self.file = file
        self.folder = root / file.to
        self.path = self.folder / file.file_name
        self.makes = [root / path for path in file.makes] if file.makes or file.unpack else [self.path]
        self.work = self.folder / f".{file.file_name}.unpacking"
        self.ready, self.mark = self.work / "ready", self.work / "downloaded"

    @property
    def is_made(self) -> bool:
        """Whether nothing is left to do: all it makes is there, and no move of it was stopped half-way."""
        return bool(self.makes) and not self.ready.exists() and all(path.exists() for path in self.makes)

    @property
    def is_begun(self) -> bool:
        """Whether an earlier call was stopped before it had fetched, unpacked, and removed what it needed for that."""
        begun = not self.is_made and part_of(self.path).exists()
        return begun or self.work.exists() or notes_of(self.path).exists()

    @property
    def is_here(self) -> bool:
        """Whether no network is needed: the file lies there, or what it makes."""
        return self.is_made or self.path.exists() or self.ready.exists()

    @property
    def is_ours(self) -> bool:
        """Whether the file that lies there was downloaded here, and is to be removed once it is unpacked."""
        try:
            return self.mark.read_text() in ("", str(self.path.stat().st_ino))  # none: a mark of version 0.1.0
        except FileNotFoundError:
            return False

    @property
    def destination(self) -> str:
        """The path it goes to, for people."""
        return str(self.folder if self.file.unpack else self.path)


def fetch_remote(file: RemoteFile, root: Path, reporter: Progress, retries: Retries | None = None) -> int:
    """Have what a file `makes` under the data root; return how many bytes came over the network.

    An archive that is there already is checked and unpacked, not downloaded. It is removed afterwards only if it
    was downloaded here. DataMissingError says what went wrong and what to do.
    """
    target = Target(file, root)
    try:
        with _alone(target, root / LOCKS, reporter):
            received = 0 if target.is_made else _make(target, reporter, retries)
            if target.is_ours:
                atomic.remove(target.path)
            atomic.discard(target.work)
            atomic.remove(notes_of(target.path))  # of a call that was killed once the file had its name
            return received
    except OSError as error:
        fault = fault_of_the_system(error)
        kind = DataMissingError if fault is None else NotStoredError
        raise kind(f"{target.path.name} cannot be put into {target.folder}: {fault or f'{error}.'}") from error
    finally:
        _remove_empty(target.folder, root)


def _make(target: Target, reporter: Progress, retries: Retries | None) -> int:
    received = 0
    if target.file.unpack:
        check_supported(target.path.name)
    if not target.ready.exists():
        received = _have_file(target, reporter, retries)
        if target.file.unpack:
            reporter.note(f"unpacking {target.path.name}")
            _unpack(target)
    if target.file.unpack and target.ready.exists():
        move_into(target.ready, target.folder)
    absent = [str(path) for path in target.makes if not path.exists()]
    if absent:
        atomic.discard(target.work)
        raise DataMissingError(
            f"{target.file.url} was fetched, but {', '.join(absent)} is not there: it is another edition, or "
            "`makes` in the task file is wrong."
        )
    return received


def _have_file(target: Target, reporter: Progress, retries: Retries | None) -> int:
    """Download the file, or check the one that is there."""
    file = target.file
    if not target.path.exists():
        return fetch_file(
            file.url,
            target.path,
            md5=file.md5,
            sha256=file.sha256,
            on_bytes=lambda done, total: reporter.progress(target.path.name, done, total, BYTES),
            on_whole=lambda part: _mark(target, part) if file.unpack else None,
            retries=retries,
        )
    reporter.note(f"{target.path} is there; checking it")
    wrong = wrong_checksum(target.path, file.md5, file.sha256)
    if wrong:
        raise DataMissingError(
            f"{target.path} is not the right file: {wrong}. Remove it, and type the same command again to fetch it."
        )
    return 0


def _mark(target: Target, part: Path) -> None:
    """Note that the file is downloaded here, before it has its name: a kill in between does not make it stay."""
    atomic.write_text(target.mark, str(part.stat().st_ino))


def _unpack(target: Target) -> None:
    """Unpack into `new`, which becomes `ready` when everything is there and on the disk."""
    atomic.make_folder(target.work)
    for leftover in target.work.glob("new*"):
        atomic.discard(leftover)
    try:
        unpack(target.path, target.work / "new", target.file.inner, target.file.unpacked)
    except DamagedArchiveError as error:
        page = " It is an HTML page: an error, or a login." if is_web_page(target.path) else ""
        if target.is_ours:
            atomic.remove(target.path)
            advice = "It was removed: type the same command again to fetch it again."
        else:
            advice = f"Remove {target.path}, and type the same command again to fetch it."
        atomic.discard(target.work)
        raise DataMissingError(f"{error}{page} {advice}") from error
    except DataMissingError:
        for leftover in target.work.glob("new*"):
            atomic.discard(leftover)
        raise
    if hasattr(os, "sync"):  # one flush for a hundred thousand small files
        os.sync()
    atomic.move(target.work / "new", target.ready)


@contextmanager
def _alone(target: Target, locks: Path, reporter: Progress) -> Iterator[None]:
    """Wait until no other process fetches the same file."""
    place = target.path.relative_to(locks.parent).as_posix()
    lock = Lock(locks / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock")
    try:
        lock.acquire(timeout=0)
    except HeldError as error:
        reporter.note(f"{target.path.name} is fetched by {error.owner or 'another process'}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder in which nothing came to lie, and those above it: an empty folder looks like data."""
    with suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent
