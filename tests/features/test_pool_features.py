"""The folder of a pool, and whether what is in it is of the samples that are there; without models or images."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from evalsuite import atomic
from evalsuite.data.base import LoadedSample, Pool
from evalsuite.features import blocks, freshness, sums
from evalsuite.features.blocks import Block, DamagedError, Stamp, gather, read_compacted, read_shard, write_shard
from evalsuite.features.catalog import ENTRY_FILE, SHARDS
from evalsuite.features.freshness import OnBytes, content_digest, content_now, missing_rows, samples_digest, settle
from evalsuite.features.store import RELOAD_ATTEMPTS, PoolFeatures
from tests.models_for_tests import ArrayReader, array_pool
from tests.stores import write_old_checksums


def stamp(mark: str, size: int = 10, mtime: int = 1) -> Stamp:
    return Stamp(size, mtime, mark, 3, 4)


def block(ids: str, start: int = 0, **dims: int) -> Block:
    """Return rows whose values count up from `start`; ids: a letter each. dims: of the layers."""
    layers = {
        name: start + np.arange(len(ids) * dim, dtype=np.float32).reshape(-1, dim)
        for name, dim in (dims or {"a": 2}).items()
    }
    return Block(list(ids), [stamp(f"{letter}{start}") for letter in ids], layers)


def stored(folder: Path, *parts: Block) -> PoolFeatures:
    store = PoolFeatures(folder)
    for part in parts:
        store.add_shard(part)
    store.reload()
    return store


def rows(store: PoolFeatures, ids: str, layer: str = "a") -> list[list[float]]:
    found: list[list[float]] = store.read(layer, list(ids)).tolist()
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- the folder


def test_a_folder_that_is_not_there_is_empty_and_is_not_made(tmp_path: Path) -> None:
    store = PoolFeatures(tmp_path / "pool")
    assert len(store) == 0 and store.ids() == [] and store.layers() == {} and store.is_compact()
    assert store.unusable() == [] == store.damaged()
    store.compact()
    assert not (tmp_path / "pool").exists()


def test_shards_are_numbered_and_the_last_of_two_rows_of_a_sample_counts(tmp_path: Path) -> None:
    store = stored(tmp_path, block("xyz"), block("yw", 100))
    assert names(tmp_path / SHARDS) == ["000000.safetensors", "000001.safetensors"]
    assert sorted(store.ids()) == ["w", "x", "y", "z"] and "w" in store and "v" not in store
    assert rows(store, "wyx") == [[102, 103], [100, 101], [0, 1]]
    assert (store.stamp("y").sha256, store.stamp("z").sha256) == ("y100", "z0")
    assert store.layers() == {"a": 2} and not store.is_compact()
    numbers = [f"{number:06d}.safetensors" for number in range(2, 12)]
    for number in range(10):
        stored(tmp_path, block("v", number))
    assert names(tmp_path / SHARDS)[2:] == numbers and rows(PoolFeatures(tmp_path), "v") == [[9, 10]]


def test_merging_gives_one_file_per_layer_in_the_order_of_the_ids(tmp_path: Path) -> None:
    store = stored(tmp_path, block("zx", a=2, b=1), block("yx", 100, a=2, b=1))
    store.compact({"y": stamp("touched")})
    assert names(tmp_path) == [
        f"compacted-000000/{name}" for name in ("a.npy", "b.npy", "checksums.json", "manifest.parquet")
    ]
    again = PoolFeatures(tmp_path)
    for one in (store, again):
        assert one.ids() == ["x", "y", "z"] and one.is_compact() and one.damaged() == []
        assert rows(one, "xyz") == [[102, 103], [100, 101], [0, 1]] and rows(one, "zy", "b") == [[0], [100]]
        assert [one.stamp(name).sha256 for name in "xyz"] == ["x100", "touched", "z0"]
        assert one.layers() == {"a": 2, "b": 1}


def test_what_is_merged_already_is_not_written_again(tmp_path: Path) -> None:
    store = stored(tmp_path, block("xy"))
    store.compact()
    (before,) = tmp_path.glob("compacted-*")
    store.compact()
    store.compact({})
    assert list(tmp_path.glob("compacted-*")) == [before]
    store.compact({"x": stamp("touched")})
    assert [path.name for path in tmp_path.glob("compacted-*")] == ["compacted-000001"]
    assert PoolFeatures(tmp_path).stamp("x").sha256 == "touched" and PoolFeatures(tmp_path).stamp("y").sha256 == "y0"


def test_an_older_merged_folder_that_a_kill_left_is_merged_with_the_newer_one(tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    stored(folder, block("xy")).compact()
    shutil.copytree(folder / "compacted-000000", tmp_path / "kept")
    stored(folder, block("yz", 100)).compact()
    (tmp_path / "kept").rename(folder / "compacted-000000")
    store = PoolFeatures(folder)
    assert not store.is_compact() and rows(store, "xyz") == [[0, 1], [100, 101], [102, 103]]
    store.compact()
    assert [path.name for path in folder.glob("compacted-*")] == ["compacted-000002"]
    assert store.is_compact() and rows(PoolFeatures(folder), "xyz") == [[0, 1], [100, 101], [102, 103]]


def test_a_damaged_file_hides_none_of_the_others_and_goes_with_the_next_merge(tmp_path: Path) -> None:
    for letter in "xyz":
        stored(tmp_path, block(letter))
    (tmp_path / SHARDS / "000001.safetensors").write_bytes(b"half")
    store = PoolFeatures(tmp_path)
    assert store.ids() == ["x", "z"] and len(store.unusable()) == 1
    store.leave_out_damaged(["x", "not there"])
    store.compact()
    assert PoolFeatures(tmp_path).ids() == ["x", "z"] and store.is_compact()
    (tmp_path / "compacted-000000" / "a.npy").unlink()
    alone = PoolFeatures(tmp_path)
    assert len(alone) == 0 and not alone.is_compact()
    alone.compact()
    assert alone.is_compact() and not (tmp_path / "compacted-000000").exists()


@pytest.mark.parametrize("merges", [RELOAD_ATTEMPTS - 1, RELOAD_ATTEMPTS])
def test_a_folder_that_others_merge_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merges: int
) -> None:
    stored(tmp_path, block("xy")).compact()
    looks: list[Path] = []

    def gone(path: Path) -> Block:
        looks.append(path)
        return read_compacted(path if len(looks) > merges else tmp_path / "merged meanwhile")

    monkeypatch.setattr("evalsuite.features.store.read_compacted", gone)
    if merges < RELOAD_ATTEMPTS:
        assert rows(PoolFeatures(tmp_path), "xy") == [[0, 1], [2, 3]]
    else:
        with pytest.raises(FileNotFoundError):
            PoolFeatures(tmp_path)


def test_a_note_that_was_changed_since_is_named_whatever_was_added(tmp_path: Path) -> None:
    (tmp_path / ENTRY_FILE).write_text("{}")
    store = stored(tmp_path, block("xy"))
    store.compact()
    store.add_shard(block("z"))
    assert PoolFeatures(tmp_path).damaged() == []
    (tmp_path / ENTRY_FILE).write_text("[]")
    (problem,) = PoolFeatures(tmp_path).damaged()
    assert problem.startswith(f"{ENTRY_FILE}: ")


def test_rows_that_were_forgotten_go_with_the_next_merge(tmp_path: Path) -> None:
    store = stored(tmp_path, block("xyz"))
    store.compact()
    store.forget(["y", "not there"])
    assert store.ids() == ["x", "z"] and "y" in PoolFeatures(tmp_path)
    store.compact()
    assert PoolFeatures(tmp_path).ids() == ["x", "z"] and rows(store, "z") == [[4, 5]]
    store.forget([])
    assert len(store) == 2


def test_what_has_other_layers_than_what_lies_next_to_it_counts_as_not_there(tmp_path: Path) -> None:
    store = stored(tmp_path, block("xy", a=2), block("z", a=3), block("w", a=2, b=1), block("v", 7, a=2))
    assert sorted(store.ids()) == ["v", "x", "y"] and not store.is_compact()
    assert [("000001" in problem, "000002" in problem) for problem in store.unusable()] == [
        (True, False),
        (False, True),
    ]
    assert "{'a': 3}" in store.unusable()[0] and "{'a': 2}" in store.unusable()[0]
    assert all(text.startswith("cannot be read: ") for text in store.damaged()) and len(store.damaged()) == 2
    store.compact()
    assert PoolFeatures(tmp_path).ids() == ["v", "x", "y"] and PoolFeatures(tmp_path).is_compact()


@pytest.mark.parametrize(
    ("ids", "taken"),
    [
        ("xyz", None),
        ("xy", [0, 1]),
        ("zyx", [2, 1, 0]),
        ("yz", [1, 2]),
        ("xzy", [0, 2, 1]),
        ("xxy", [0, 0, 1]),
        ("y", [1]),
    ],
)
def test_rows_of_one_file_are_mapped_and_not_copied(tmp_path: Path, ids: str, taken: list[int] | None) -> None:
    store = stored(tmp_path, block("xyz"))
    store.compact()
    array, found = store.mapped("a", list(ids))
    assert isinstance(array, np.memmap) and array.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (None if found is None else found.tolist()) == taken


def test_rows_of_several_files_are_copied_together(tmp_path: Path) -> None:
    array, found = stored(tmp_path, block("xy"), block("z", 100)).mapped("a", list("zx"))
    assert found is None and array.tolist() == [[100, 101], [0, 1]]


def test_leftovers_of_a_stopped_write_are_seen_and_removed(tmp_path: Path) -> None:
    store = stored(tmp_path, block("xy"))
    store.compact()
    for place in (tmp_path / ".tmp-1-a", tmp_path / SHARDS / ".tmp-1-b"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"half")
        os.utime(place, (0, 0))  # of another machine, and long ago
        assert not store.is_compact()
        store.compact()
        assert not place.exists() and store.is_compact()


# --- what its files hold


def test_a_shard_is_read_back_and_only_in_its_own_folder(tmp_path: Path) -> None:
    path = tmp_path / "model" / "pool" / SHARDS / "000000.safetensors"
    path.parent.mkdir(parents=True)
    written = block("xy", a=2, b=3)
    write_shard(path, written)
    read = read_shard(path)
    assert (read.ids, read.stamps) == (written.ids, written.stamps) and read.mapped == {}
    assert {name: array.tolist() for name, array in read.layers.items()} == {
        name: array.tolist() for name, array in written.layers.items()
    }
    assert read.stamps[0].key == (10, 1, 3, 4)
    other = tmp_path / "model" / "another" / SHARDS / path.name
    other.parent.mkdir(parents=True)
    other.write_bytes(path.read_bytes())
    with pytest.raises(DamagedError, match="not what was written"):
        read_shard(other)
    path.write_bytes(path.read_bytes().replace(b"x0", b"x1"))  # what its bytes were
    with pytest.raises(DamagedError, match="not what was written"):
        read_shard(path)


@pytest.mark.parametrize(
    "broken",
    [
        Block(["x"], [], {"a": np.zeros((1, 2), np.float32)}),
        Block(["x"], [stamp("x")], {"a": np.zeros((2, 2), np.float32)}),
        Block(["x"], [stamp("x")], {"a": np.zeros((1, 2), np.float32), "b": np.zeros((3, 1), np.float32)}),
        Block(["x", "y"], [stamp("x")], {"a": np.zeros((2, 2), np.float32)}),
        Block(["x"], [stamp("x")], {}),
    ],
)
def test_a_file_whose_rows_do_not_fit_its_list_is_damaged(tmp_path: Path, broken: Block) -> None:
    path = tmp_path / SHARDS / "000000.safetensors"
    path.parent.mkdir()
    write_shard(path, broken)
    with pytest.raises(DamagedError, match="it lists"):
        read_shard(path)
    assert len(PoolFeatures(tmp_path)) == 0 and len(PoolFeatures(tmp_path).unusable()) == 1


def test_rows_are_gathered_in_the_order_that_was_asked_for() -> None:
    parts = [block("xy"), block("zw", 100)]
    places = np.array([[1, 1], [0, 0], [1, 0], [0, 1]])
    assert gather(parts, "a", places).tolist() == [[102, 103], [0, 1], [100, 101], [2, 3]]
    assert gather(parts, "a", np.empty((0, 2), np.int64)).shape == (0, 2)


def test_a_merged_folder_is_written_by_parts_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stored(tmp_path, block("xyzvw"))
    monkeypatch.setattr(sums, "PART_BYTES", 2 * 8)  # two rows
    store.compact()
    assert rows(PoolFeatures(tmp_path), "xyzvw") == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_a_list_of_other_samples_is_not_that_of_a_merged_folder(tmp_path: Path) -> None:
    stored(tmp_path, block("xy")).compact()
    manifest = tmp_path / "compacted-000000" / "manifest.parquet"
    pq.write_table(pq.read_table(manifest).take([1, 0]), manifest)
    with pytest.raises(DamagedError, match="not what was written"):
        read_compacted(manifest.parent)


def test_a_merged_folder_of_the_first_version_has_as_many_rows_as_its_list(tmp_path: Path) -> None:
    stored(tmp_path, block("xy")).compact()
    folder = tmp_path / "compacted-000000"
    np.save(folder / "a.npy", np.zeros((3, 2), np.float32))
    write_old_checksums(folder)
    with pytest.raises(DamagedError, match=r"lists 2 samples and has rows of \{'a': 3\}"):
        read_compacted(folder)


def test_a_merged_folder_of_the_first_version_has_no_inodes(tmp_path: Path) -> None:
    store = stored(tmp_path, block("xy"))
    store.compact()
    (folder,) = tmp_path.glob("compacted-*")
    manifest = pq.read_table(folder / "manifest.parquet").drop(["inode", "ctime"])
    pq.write_table(manifest, folder / "manifest.parquet")
    write_old_checksums(folder)
    assert PoolFeatures(tmp_path).stamp("x").key == (10, 1, 0, 0)


def test_a_fault_of_the_disk_while_reading_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as damaged is computed again, and removed with the next merge."""
    stored(tmp_path, block("xy")).compact()

    def fail(path: Path) -> str:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(blocks, "digest_of", fail)
        with pytest.raises(OSError, match="Input/output error"):
            PoolFeatures(tmp_path)
    assert len(PoolFeatures(tmp_path)) == 2


# --- whether it is of the samples that are there

SIZE = 8 * 8 * 3


def pool_of(n: int = 4, **changes: Any) -> Pool:
    """Return a pool whose samples have files of their own."""
    states = np.stack([np.arange(n) + 10, np.arange(n) + 20], axis=1)
    pool = array_pool(n, mtimes=np.full(n, 5, np.int64))
    return Pool(**{**vars(pool), "states": states, **changes})


def stored_of(folder: Path, pool: Pool, taken: Sequence[int] | None = None) -> PoolFeatures:
    """Return a store with a row for each sample."""
    chosen = range(len(pool.ids)) if taken is None else taken
    stamps = [Stamp(SIZE, 5, hashlib.sha256(pool.content(row)).hexdigest(), row + 10, row + 20) for row in chosen]
    return stored(
        folder, Block([pool.ids[row] for row in chosen], stamps, {"a": np.zeros((len(stamps), 1), np.float32)})
    )


def negated(pool: Pool, *changed: int) -> ArrayReader:
    """Return a reader that finds other bytes in some samples."""
    images = pool.read.images.copy()  # type: ignore[attr-defined]
    images[list(changed)] = 255 - images[list(changed)]
    return ArrayReader(images)


def test_a_sample_with_an_equal_key_is_there_and_its_bytes_are_not_read(tmp_path: Path) -> None:
    pool = pool_of()
    store = stored_of(tmp_path, pool, [0, 1, 3])
    unread = pool_of(read=ArrayReader(pool.read.images, broken={0, 1, 2, 3}))  # type: ignore[attr-defined]
    told: list[int] = []
    assert missing_rows(unread, [0, 1, 2, 3], store, on_bytes=lambda done, total: told.append(done)) == ([2], {})
    assert missing_rows(unread, [3], store) == ([], {}) and told == []


@pytest.mark.parametrize("part", ["mtimes", "inode", "ctime"])
def test_where_only_the_size_is_the_same_the_bytes_decide(tmp_path: Path, part: str) -> None:
    pool = pool_of()
    store = stored_of(tmp_path, pool)
    states, mtimes = pool.states.copy(), pool.mtimes.copy()  # type: ignore[union-attr]
    if part == "mtimes":
        mtimes += 1
    else:
        states[:, ("inode", "ctime").index(part)] += 1
    touched = pool_of(states=states, mtimes=mtimes, read=negated(pool, 2))
    told: list[tuple[int, int]] = []
    missing, fresh = missing_rows(touched, [0, 1, 2], store, on_bytes=lambda done, total: told.append((done, total)))
    assert missing == [2] and list(fresh) == [pool.ids[0], pool.ids[1]]
    assert fresh[pool.ids[1]] == Stamp(SIZE, mtimes[1], store.stamp(pool.ids[1]).sha256, states[1, 0], states[1, 1])
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_progress_says_how_many_samples_were_read(tmp_path: Path) -> None:
    pool = pool_of()
    store, touched = stored_of(tmp_path, pool), pool_of(mtimes=np.full(4, 6))
    read: list[tuple[int, int]] = []
    missing_rows(touched, [0, 1, 2, 3], store, on_bytes=lambda done, total: read.append((done, len(store.fresh))))
    assert read == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_a_sample_of_another_size_or_that_cannot_be_read_is_missing(tmp_path: Path) -> None:
    pool = pool_of()
    store = stored_of(tmp_path, pool)
    larger = pool_of(sizes=np.array([SIZE, SIZE + 1, SIZE, SIZE]))
    told: list[int] = []
    assert missing_rows(larger, [0, 1], store, on_bytes=lambda done, total: told.append(done)) == ([1], {})
    assert told == []  # its bytes decide nothing
    broken = pool_of(mtimes=np.full(4, 6), read=ArrayReader(pool.read.images, broken={1}))  # type: ignore[attr-defined]
    assert missing_rows(broken, [1], store)[0] == [1]


def test_verifying_reads_all_bytes_once(tmp_path: Path) -> None:
    pool = pool_of()
    store = stored_of(tmp_path, pool)
    changed = pool_of(read=negated(pool, 1))
    assert missing_rows(changed, [0, 1], store) == ([], {})
    told: list[tuple[int, int]] = []
    on_bytes: OnBytes = lambda done, total: told.append((done, total))  # noqa: E731
    assert missing_rows(changed, [0, 1], store, verify=True, on_bytes=on_bytes) == ([1], {}) and told == [
        (1, 2),
        (2, 2),
    ]
    unread = pool_of(read=ArrayReader(pool.read.images, broken={0, 1}))  # type: ignore[attr-defined]
    assert missing_rows(unread, [0, 1], store, verify=True) == ([1], {})  # what was found is known to the store


def test_what_was_found_of_a_file_is_not_taken_for_what_it_has_become_since(tmp_path: Path) -> None:
    pool = pool_of()
    store = stored_of(tmp_path, pool)
    assert missing_rows(pool_of(mtimes=np.full(4, 6)), [1], store)[0] == []
    assert missing_rows(pool_of(mtimes=np.full(4, 7), read=negated(pool, 1)), [1], store)[0] == [1]


@pytest.mark.parametrize(("n", "may"), [(15, True), (16, True), (40, True), (40, False)])
def test_readers_that_may_are_read_in_threads_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, may: bool
) -> None:
    """One that may not is asked by one thread, and no threads are started for a few files."""
    readers: set[int] = set()

    class Noting(ArrayReader):
        def __call__(self, row: int) -> LoadedSample:
            readers.add(threading.get_ident())
            return super().__call__(row)

    monkeypatch.setattr(freshness, "PIECE_ROWS", 7)
    pool = pool_of(n)
    store = stored_of(tmp_path, pool)
    reader = Noting(negated(pool, 3, 9).images)
    if may:
        reader.reads_in_threads = True  # type: ignore[attr-defined]
    touched, told = pool_of(n, mtimes=np.full(n, 6), read=reader), []
    missing, fresh = missing_rows(touched, range(n), store, on_bytes=lambda done, total: told.append((done, total)))
    assert missing == [3, 9] and len(fresh) == n - 2
    assert told == [(done, n) for done in range(1, n + 1)]
    assert (threading.get_ident() in readers) == (not may or n < 16)


def test_new_keys_of_unchanged_samples_are_noted(tmp_path: Path) -> None:
    pool = pool_of()
    store = stored_of(tmp_path, pool)
    store.compact()
    settle(store, {})
    assert [path.name for path in tmp_path.glob("compacted-*")] == ["compacted-000000"]
    settle(store, {"not there": stamp("none"), pool.ids[1]: stamp("what another run has replaced")})
    assert [path.name for path in tmp_path.glob("compacted-*")] == ["compacted-000000"]
    new = stamp(store.stamp(pool.ids[0]).sha256, size=11)
    settle(store, {pool.ids[0]: new, "not there": stamp("none")})
    assert PoolFeatures(tmp_path).stamp(pool.ids[0]) == new and len(PoolFeatures(tmp_path)) == 4
    assert store.lock().owner() is None


def test_what_a_stopped_run_has_left_is_merged_unless_another_has_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(seconds: float) -> None:
        raise AssertionError("it waits")

    store = stored_of(tmp_path, pool_of())
    with store.lock(), monkeypatch.context() as patch:
        patch.setattr(time, "sleep", refused)
        settle(store, {})
    assert not store.is_compact()
    settle(store, {})
    assert store.is_compact() and len(PoolFeatures(tmp_path)) == 4


def test_what_another_run_has_added_meanwhile_is_merged_too(tmp_path: Path) -> None:
    store = stored_of(tmp_path, pool_of())
    PoolFeatures(tmp_path).add_shard(block("x", a=1))
    settle(store, {})
    assert store.is_compact() and "x" in store and len(PoolFeatures(tmp_path)) == 5


def test_a_store_that_cannot_be_written_stays_as_it_is_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = stored_of(tmp_path, pool_of())

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("evalsuite.features.store.write_compacted", full)
    with caplog.at_level(logging.WARNING):
        settle(store, {})
    assert f"{tmp_path} stays as it is" in caplog.text and "No space left" in caplog.text
    assert len(store) == 4 and store.lock().owner() is None


def test_a_merge_that_could_not_tidy_up_is_finished_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    store = stored(tmp_path, block("xy"), block("z"))
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "remove", refused)
        settle(store, {})
    assert (tmp_path / "compacted-000000").is_dir() and not store.is_compact()
    store.compact()
    assert store.is_compact() and rows(store, "xyz") == [[0, 1], [2, 3], [0, 1]]


def pairs(*items: object) -> str:
    """Return the sha256 of pairs, by hand."""
    return hashlib.sha256("".join(f"{item}\0" for item in items).encode()).hexdigest()


def test_digests_of_samples_are_of_ids_with_sizes_or_bytes_in_order(tmp_path: Path) -> None:
    """As long as they are, stored results are current."""
    assert samples_digest(["a", "b"], [1, 22]) == pairs("a", 1, "b", 22)
    store = stored(tmp_path, block("xyz"))
    assert content_digest(["y", "x"], store) == pairs("y", "y0", "x", "x0")
    with pytest.raises(ValueError, match="shorter"):
        samples_digest(["a", "b"], [1])


def test_what_the_bytes_are_now_is_told_of_samples_whose_features_are_gone(tmp_path: Path) -> None:
    pool = pool_of(broken := 5)
    marks = [hashlib.sha256(pool.content(row)).hexdigest() for row in range(broken)]
    store = stored_of(tmp_path, pool, [0, 2])
    told: list[tuple[int, int]] = []
    found = content_now(pool, [0, 1, 2, 3], store, (), on_bytes=lambda done, total: told.append((done, total)))
    assert found == pairs(*(part for row in range(4) for part in (pool.ids[row], marks[row])))
    assert told == [(1, 2), (2, 2)]
    reader = ArrayReader(pool.read.images, broken={1})  # type: ignore[attr-defined]
    partly = pool_of(5, read=reader)
    fresh = PoolFeatures(tmp_path / "none")
    assert content_now(partly, [0, 1, 2], fresh, ()) == ""  # one cannot be read
    told.clear()
    left = content_now(partly, [0, 1, 2], fresh, {pool.ids[1]}, on_bytes=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
    assert left == pairs(pool.ids[0], marks[0], pool.ids[2], marks[2])
    assert content_now(pool, [0, 1, 2], fresh, {pool.ids[1]}) == ""  # and now it can


def test_a_tensor_that_is_read_is_a_copy_in_the_stored_type(tmp_path: Path) -> None:
    half = Block(["x"], [stamp("x")], {"a": np.ones((1, 2), np.float16)})
    store = stored(tmp_path, half)
    found = store.read("a", ["x"])
    assert found.dtype == torch.float16
    found += 1
    assert store.read("a", ["x"]).tolist() == [[1, 1]]
