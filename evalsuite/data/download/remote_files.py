"""The `files` of a source: fetch each, unpack it and put it into place; what was stopped at any point is resumed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from filelock import FileLock, Timeout

from evalsuite.data.download.transfers import Retries, fetch_file, is_web_page, part_of, wrong_checksum
from evalsuite.data.download.unpacking import DamagedArchiveError, check_supported, move_into, unpack
from evalsuite.errors import DataMissingError, SpecError
from evalsuite.progress import BYTES, Progress
from evalsuite.tasks.sources import RemoteFile

LOCKS = ".evalsuite-locks"
"""Folder under the data root: a lock next to the data would look like data to those who list folders."""


@dataclass(frozen=True)
class Target:
    """Where a file goes. SpecError where that is not under the data root.

    path: the file as it comes. work: next to it, a folder that is there while it is unpacked; in it, `new` fills,
    becomes `ready` when it is whole, is then moved into place, and goes last of all; `downloaded` says that the
    archive is ours to remove.
    """

    file: RemoteFile
    root: Path

    @property
    def folder(self) -> Path:
        """The folder under the data root."""
        return _under(self.root, self.file.to)

    @property
    def path(self) -> Path:
        """The file as it is downloaded."""
        return self.folder / self.name

    @property
    def name(self) -> str:
        """Its name on disk."""
        name = self.file.name or unquote(urlsplit(self.file.url).path.rpartition("/")[2])
        if not name or name in (".", "..") or "/" in name or "\\" in name:
            raise SpecError(f"{self.file.url}: {name!r} is not the name of a file. Give it one with `name`.")
        return name

    @property
    def work(self) -> Path:
        """The folder it is unpacked in."""
        return self.folder / f".{self.name}.unpacking"

    @property
    def ready(self) -> Path:
        """What was unpacked, whole, and is being moved into place."""
        return self.work / "ready"

    @property
    def makes(self) -> list[Path]:
        """What is there afterwards."""
        if self.file.makes or self.file.unpack:
            return [_under(self.root, path) for path in self.file.makes]
        return [self.path]

    @property
    def is_made(self) -> bool:
        """Whether nothing is left to do: all it makes is there, and no move of it was stopped half-way."""
        makes = self.makes
        return bool(makes) and not self.ready.exists() and all(path.exists() for path in makes)

    @property
    def is_begun(self) -> bool:
        """Whether an earlier call was stopped while it fetched or unpacked the file."""
        return not self.is_made and (part_of(self.path).exists() or self.work.exists())

    @property
    def is_here(self) -> bool:
        """Whether no network is needed: the file lies there, or what it makes."""
        return self.is_made or self.path.exists() or self.ready.exists()

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
        with _alone(target, reporter):
            return 0 if target.is_made else _make(target, reporter, retries)
    except OSError as error:
        raise DataMissingError(f"{target.name} cannot be put into {target.folder}: {error}.") from error
    finally:
        _remove_empty(target.folder, root)


def _make(target: Target, reporter: Progress, retries: Retries | None) -> int:
    received = 0
    if target.file.unpack:
        check_supported(target.name)
    if not target.ready.exists():
        received = _have_file(target, reporter, retries)
        if target.file.unpack:
            reporter.note(f"unpacking {target.name}")
            _unpack(target)
    if target.file.unpack and target.ready.exists():
        move_into(target.ready, target.folder)
    absent = [str(path) for path in target.makes if not path.exists()]
    if absent:
        shutil.rmtree(target.work, ignore_errors=True)
        raise DataMissingError(
            f"{target.file.url} was fetched, but {', '.join(absent)} is not there: it is another edition, or "
            "`makes` in the task file is wrong."
        )
    if target.file.unpack:
        _clean_up(target)
    return received


def _have_file(target: Target, reporter: Progress, retries: Retries | None) -> int:
    """Download the file, or check the one that is there."""
    file = target.file
    if not target.path.exists():
        received = fetch_file(
            file.url,
            target.path,
            md5=file.md5,
            sha256=file.sha256,
            on_bytes=lambda done, total: reporter.progress(target.name, done, total, BYTES),
            retries=retries,
        )
        if file.unpack:
            target.work.mkdir(exist_ok=True)
            _mark(target).touch()
        return received
    reporter.note(f"{target.path} is there; checking it")
    wrong = wrong_checksum(target.path, file.md5, file.sha256)
    if wrong:
        raise DataMissingError(
            f"{target.path} is not the right file: {wrong}. Remove it, and type the same command again to fetch it."
        )
    return 0


def _unpack(target: Target) -> None:
    """Unpack into `new`, which becomes `ready` when everything is there and on the disk."""
    target.work.mkdir(exist_ok=True)
    for leftover in target.work.glob("new*"):
        shutil.rmtree(leftover)
    try:
        unpack(target.path, target.work / "new", target.file.inner)
    except DamagedArchiveError as error:
        page = " It is an HTML page: an error, or a login." if is_web_page(target.path) else ""
        if _mark(target).exists():
            target.path.unlink()
            advice = "It was removed: type the same command again to fetch it again."
        else:
            advice = f"Remove {target.path}, and type the same command again to fetch it."
        shutil.rmtree(target.work)
        raise DataMissingError(f"{error}{page} {advice}") from error
    if hasattr(os, "sync"):  # one flush for a hundred thousand small files
        os.sync()
    (target.work / "new").rename(target.ready)


def _clean_up(target: Target) -> None:
    if _mark(target).exists():
        with suppress(FileNotFoundError):
            target.path.unlink()
    if target.work.exists():
        shutil.rmtree(target.work)


def _mark(target: Target) -> Path:
    return target.work / "downloaded"


@contextmanager
def _alone(target: Target, reporter: Progress) -> Iterator[None]:
    """Wait until no other process fetches the same file."""
    folder = target.root / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    place = target.path.relative_to(target.root).as_posix()
    lock = FileLock(folder / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        reporter.note(f"another process is fetching {target.name}; waiting for it")
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


def _under(root: Path, path: str) -> Path:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path:
        raise SpecError(f"`files`: {path!r} must be a path under the data root, without `..`.")
    return root / pure
