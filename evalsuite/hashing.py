"""Checksums of files, remembered by path, size, modification time, inode and ctime."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from evalsuite.atomic import remove
from evalsuite.errors import JobError
from evalsuite.progress import BYTES, Progress
from evalsuite.seals import read_sealed, write_sealed
from evalsuite.text import counted

CACHE_NAME = "file-sha256.json"
PIECE = 16 << 20
SHOWN_FROM = 2 << 30
"""Bytes from which hashing tells how far it is: a few seconds."""

_NAMES_ARE_CHECKED: set[Path] = set()
"""Caches for whose runs a file of the hub is not taken by its name."""

_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_Key = tuple[int, int, int, int]
_Cache = dict[str, tuple[_Key, str]]


def file_key(status: os.stat_result) -> _Key:
    """Return what changes with a file: size in bytes, mtime in ns, inode, ctime in ns; each fits 63 bits.

    The system sets the ctime at each write, rename or change of rights; no program that copies can keep it.
    """
    return status.st_size, status.st_mtime_ns, status.st_ino & (2**63 - 1), status.st_ctime_ns


def read_every_byte(cache_dir: Path, wanted: bool) -> None:
    """Say whether the files that this process asks for are read again, whatever is known of them.

    What is remembered is removed then, and a file of the cache of the Hugging Face hub, which is named by its checksum,
    is compared with its name.
    """
    if wanted:
        remove(cache_dir / CACHE_NAME)
        _NAMES_ARE_CHECKED.add(cache_dir.absolute())
    else:
        _NAMES_ARE_CHECKED.discard(cache_dir.absolute())


def file_sha256(path: Path, cache_dir: Path | None = None) -> str:
    """Return the sha256 of a file; it is read again only when its `file_key` changed."""
    return files_sha256([path], cache_dir)[0]


def files_sha256(paths: Sequence[Path], cache_dir: Path | None = None, progress: Progress | None = None) -> list[str]:
    """Return the sha256 of each file, reading and writing the cache once for all of them.

    Two processes may write the cache at the same time: the later one wins and the other's entries are
    computed again some day, never wrong. progress: is told of what takes long. JobError for a damaged file of the
    cache of the Hugging Face hub, where `read_every_byte` asks for that.
    """
    cache = _read_cache(cache_dir)
    known: dict[Path, str] = {}
    checked = cache_dir is not None and cache_dir.absolute() in _NAMES_ARE_CHECKED
    named = {path: _blob_digest(path) for path in paths}
    for path in paths:
        stored, key = cache.get(str(path.absolute())), file_key(path.stat())
        if (name := named[path]) is not None and not checked:
            known[path] = name
        elif stored is not None and stored[0] == key:
            known[path] = stored[1]
    fresh = [path for path in dict.fromkeys(paths) if path not in known]
    keys = {path: file_key(path.stat()) for path in fresh}  # before the bytes are read: a change during it shows
    for path, digest in zip(fresh, _hashed(fresh, sum(key[0] for key in keys.values()), progress), strict=True):
        if named[path] not in (None, digest):
            raise JobError(
                f"{path.resolve()} is damaged: its bytes have the sha256 {digest}, not the one in its name. Remove it, "
                "and let it be fetched again."
            )
        known[path] = digest
        cache[str(path.absolute())] = (keys[path], digest)
    if fresh and cache_dir is not None:
        with suppress(OSError):  # they are computed again
            write_sealed(cache_dir / CACHE_NAME, {name: [*key, digest] for name, (key, digest) in cache.items()})
    return [known[path] for path in paths]


def _hashed(paths: Sequence[Path], total: int, progress: Progress | None) -> Iterator[str]:
    """Yield the sha256 of each file. One at a time: a processor hashes faster than most disks read."""
    done = 0
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
                done += len(piece)
                if progress is not None and total >= SHOWN_FROM:
                    progress.progress(f"checksums of {counted(len(paths), 'file')}", done, total, BYTES)
        yield digest.hexdigest()


def combined_sha256(parts: Iterable[str]) -> str:
    """Return one sha256 for a sequence of texts; the order and the borders between them count.

    >>> combined_sha256(["ab", "c"]) == combined_sha256(["a", "bc"])
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode()
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()


def tree_sha256(
    root: Path, paths: Sequence[Path], cache_dir: Path | None = None, progress: Progress | None = None
) -> str:
    """Return one sha256 over files and their names relative to `root`."""
    names = [path.relative_to(root).as_posix() for path in paths]
    digests = files_sha256(paths, cache_dir, progress)
    return combined_sha256(part for pair in zip(names, digests, strict=True) for part in pair)


def _blob_digest(path: Path) -> str | None:
    """Return the checksum a file of the Hugging Face cache is named by: snapshots link to blobs/<sha256>."""
    target = path.resolve()
    if target.parent.name == "blobs" and _HEX_DIGEST.fullmatch(target.name):
        return target.name
    return None


def _read_cache(cache_dir: Path | None) -> _Cache:
    if cache_dir is None:
        return {}
    try:
        stored = read_sealed(cache_dir / CACHE_NAME)
        # An entry of version 0.1.0 has neither inode nor ctime: that file is read again, once.
        whole = {name: entry for name, entry in stored.items() if len(entry) == 5}
        return {name: (_key(*map(int, key)), str(digest)) for name, (*key, digest) in whole.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}  # absent or damaged: the checksums are computed again


def _key(size: int, mtime: int, inode: int, ctime: int) -> _Key:
    return size, mtime, inode, ctime
