"""Whether what is stored is of the samples that are there: by cheap keys first, by bytes where these changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from evalsuite.atomic import warn_once
from evalsuite.data.base import Pool
from evalsuite.errors import DataError
from evalsuite.features.blocks import Stamp
from evalsuite.features.samples import keys_of, stamp_of
from evalsuite.features.store import PoolFeatures
from evalsuite.locks import HeldError

READERS = 8
"""Files that are read at the same time where their reader allows it: on a network each waits for its answer."""

PIECE_ROWS = 1_024
"""Samples that wait for a thread, or whose keys are compared, at the same time."""

OnBytes = Callable[[int, int], None]
"""Is told of how many samples the bytes were read, and of how many they will be."""


def missing_rows(
    pool: Pool,
    rows: Sequence[int],
    store: PoolFeatures,
    *,
    verify: bool = False,
    on_bytes: OnBytes = lambda done, total: None,
) -> tuple[list[int], dict[str, Stamp]]:
    """Return the rows whose features must be computed, and new stamps of touched but unchanged samples.

    A row is there if its id is stored for a sample of the same size, modification time, inode and ctime; where only
    the size is the same the bytes decide. verify: the bytes decide for every row, once per store.
    """
    stored_rows = [row for row in rows if pool.ids[row] in store]
    doubtful = stored_rows if verify else _changed(pool, stored_rows, store)
    same_size = [row for row in doubtful if store.stamp(pool.ids[row]).size == pool.sizes[row]]
    _read_stamps(pool, same_size, store, on_bytes)
    missing = {row for row in rows if pool.ids[row] not in store}
    touched: dict[str, Stamp] = {}
    for row in doubtful:
        stored = store.stamp(pool.ids[row])
        fresh = _fresh_stamp(pool, row, store) if stored.size == pool.sizes[row] else None
        if fresh is None or fresh.sha256 != stored.sha256:
            missing.add(row)
        elif fresh != stored:
            touched[pool.ids[row]] = fresh
    return [row for row in rows if row in missing], touched


def _changed(pool: Pool, rows: Sequence[int], store: PoolFeatures) -> list[int]:
    """Return the rows of samples whose files are not as they were when their features were stored."""
    pieces = (rows[start : start + PIECE_ROWS] for start in range(0, len(rows), PIECE_ROWS))
    return [
        row
        for piece in pieces
        for row, key in zip(piece, keys_of(pool, piece), strict=True)
        if store.stamp(pool.ids[row]).key != key
    ]


def settle(store: PoolFeatures, touched: Mapping[str, Stamp]) -> None:
    """Note the new keys of samples whose bytes are unchanged, and merge what a run that was stopped has left.

    Nothing needs it: where another process has the store, or it cannot be written, it stays as it is.
    """
    if not touched and store.is_compact():
        return
    try:
        lock = store.lock()
        lock.acquire(timeout=0)
        try:
            store.reload()
            store.compact({name: stamp for name, stamp in touched.items() if _is_of(store, name, stamp)})
        finally:
            lock.release()
    except HeldError:
        return
    except OSError as error:
        warn_once(f"settle {store.folder}", f"{store.folder} stays as it is: {error}.")
        store.reload()


def _is_of(store: PoolFeatures, identifier: str, stamp: Stamp) -> bool:
    """Tell whether a stored row is still of those bytes: another run may have encoded the sample again."""
    return identifier in store and store.stamp(identifier).sha256 == stamp.sha256


def content_digest(ids: Sequence[str], store: PoolFeatures) -> str:
    """Return a digest of the bytes behind the stored features of some samples, in order."""
    return _digest_of_pairs(ids, (store.stamp(identifier).sha256 for identifier in ids))


def content_now(
    pool: Pool,
    rows: Sequence[int],
    store: PoolFeatures,
    unreadable: Collection[str],
    on_bytes: OnBytes = lambda done, total: None,
) -> str:
    """Return the `content_digest` of samples whose features may be gone: their files are read, not decoded.

    unreadable: ids that were left out. Returns "" where a sample cannot be read, or can be read that could not.
    """
    digests: list[str] = []
    ids = [pool.ids[row] for row in rows]
    gone = [row for row in rows if pool.ids[row] not in store and pool.ids[row] not in unreadable]
    _read_stamps(pool, gone, store, on_bytes)
    for row, identifier in zip(rows, ids, strict=True):
        if identifier in unreadable:
            if _can_be_read(pool, row):
                return ""
            continue
        stamp = store.stamp(identifier) if identifier in store else _fresh_stamp(pool, row, store)
        if stamp is None:
            return ""
        digests.append(stamp.sha256)
    return _digest_of_pairs([identifier for identifier in ids if identifier not in unreadable], digests)


def samples_digest(ids: Sequence[str], sizes: Sequence[int]) -> str:
    """Return a fingerprint of a list of samples: ids and sizes, in order."""
    return _digest_of_pairs(ids, sizes)


def _read_stamps(pool: Pool, rows: Sequence[int], store: PoolFeatures, on_bytes: OnBytes) -> None:
    """Read the bytes of samples, several at a time where the reader allows it, and keep their stamps in `fresh`."""
    if not getattr(pool.read, "reads_in_threads", False) or len(rows) < 2 * READERS:
        for done, row in enumerate(rows, 1):
            _fresh_stamp(pool, row, store)
            on_bytes(done, len(rows))
        return
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(rows), PIECE_ROWS):
            piece = rows[start : start + PIECE_ROWS]
            for done, _ in enumerate(readers.map(lambda row: _fresh_stamp(pool, row, store), piece), start + 1):
                on_bytes(done, len(rows))


def _fresh_stamp(pool: Pool, row: int, store: PoolFeatures) -> Stamp | None:
    """Return the stamp of a sample's bytes as they are, read once for each key; None where they cannot be read."""
    known = store.fresh.get(pool.ids[row])
    if known is None or [known.key] != keys_of(pool, [row]):
        try:
            known = stamp_of(pool, row, pool.content(row))
        except DataError:  # reported, with its name, by the image pass that now follows
            return None
        store.fresh[pool.ids[row]] = known
    return known


def _can_be_read(pool: Pool, row: int) -> bool:
    try:
        pool.read(row)
    except DataError:
        return False
    return True


def _digest_of_pairs(ids: Iterable[str], marks: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for identifier, mark in zip(ids, marks, strict=True):
        digest.update(f"{identifier}\0{mark}\0".encode())
    return digest.hexdigest()
