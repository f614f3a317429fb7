"""Checksums of files, remembered by path, size, modification time, inode and ctime."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from evalsuite.atomic import write_json

CACHE_NAME = "file-sha256.json"
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_Key = tuple[int, int, int, int]
_Cache = dict[str, tuple[_Key, str]]


def file_key(status: os.stat_result) -> _Key:
    """Return what changes with a file: size in bytes, mtime in ns, inode, ctime in ns; each fits 63 bits.

    The system sets the ctime at each write, rename or change of rights; no program that copies can keep it.
    """
    return status.st_size, status.st_mtime_ns, status.st_ino & (2**63 - 1), status.st_ctime_ns


def forget_checksums(cache_dir: Path) -> None:
    """Remove what is remembered, so that every file is read again."""
    (cache_dir / CACHE_NAME).unlink(missing_ok=True)


def file_sha256(path: Path, cache_dir: Path | None = None) -> str:
    """Return the sha256 of a file; it is read again only when its `file_key` changed."""
    return files_sha256([path], cache_dir)[0]


def files_sha256(paths: Sequence[Path], cache_dir: Path | None = None) -> list[str]:
    """Return the sha256 of each file, reading and writing the cache once for all of them.

    Two processes may write the cache at the same time: the later one wins and the other's entries are
    computed again some day, never wrong.
    """
    cache = _read_cache(cache_dir)
    digests, changed = [], False
    for path in paths:
        digest = _blob_digest(path)
        if digest is None:
            key = file_key(path.stat())
            name = str(path.absolute())
            known = cache.get(name)
            if known is not None and known[0] == key:
                digest = known[1]
            else:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                cache[name] = (key, digest)
                changed = True
        digests.append(digest)
    if changed and cache_dir is not None:
        write_json(cache_dir / CACHE_NAME, {name: [*key, digest] for name, (key, digest) in cache.items()})
    return digests


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


def tree_sha256(root: Path, paths: Sequence[Path], cache_dir: Path | None = None) -> str:
    """Return one sha256 over files and their names relative to `root`."""
    names = [path.relative_to(root).as_posix() for path in paths]
    digests = files_sha256(paths, cache_dir)
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
        stored = json.loads((cache_dir / CACHE_NAME).read_text(encoding="utf-8"))
        # An entry of version 0.1.0 has neither inode nor ctime: that file is read again, once.
        whole = {name: entry for name, entry in stored.items() if len(entry) == 5}
        return {name: (_key(*map(int, key)), str(digest)) for name, (*key, digest) in whole.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # absent or damaged: the checksums are computed again


def _key(size: int, mtime: int, inode: int, ctime: int) -> _Key:
    return size, mtime, inode, ctime
