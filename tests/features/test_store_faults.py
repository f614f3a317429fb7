"""The feature store where a file is damaged, a disk is full, or a run was stopped while it tidied up."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from evalsuite.features import blocks
from evalsuite.features.blocks import Block, Stamp
from evalsuite.features.catalog import ENTRY_FILE, Origin, entries, leftovers, note_origin, remove, verify
from evalsuite.features.encoding import encode_batches
from evalsuite.features.extraction import PassOptions, ensure_features
from evalsuite.features.freshness import settle
from evalsuite.features.store import PoolFeatures
from evalsuite.locks import Lock
from tests.models_for_tests import CountingModel, array_pool

DAMAGE = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "short": lambda path: path.write_bytes(path.read_bytes()[:-4]),
    "of other rows": lambda path: np.save(path, np.load(path)[:-1]),
}


def encoded(folder: Path, rows: int = 12) -> int:
    """Encode what is missing and return how many images that were."""
    pool, model = array_pool(12), CountingModel()
    store = PoolFeatures(folder)
    prepare = lambda: (model.preprocess, partial(encode_batches, model, torch.device("cpu"), "fp32"))  # noqa: E731
    ensure_features(pool, range(rows), store, prepare, PassOptions(4, 0))
    return model.encoded


def block(*ids: str) -> Block:
    features = np.array([[float(name)] * 3 for name in ids], dtype=np.float32)
    return Block(list(ids), [Stamp(1, 0, name) for name in ids], {"penultimate": features, "embedding": 2 * features})


@pytest.mark.parametrize("name", ["penultimate.npy", "embedding.npy", "manifest.parquet", "checksums.json"])
@pytest.mark.parametrize("kind", ["missing", "empty", "short", "of other rows"])
def test_what_is_damaged_is_computed_again_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, kind: str
) -> None:
    if kind == "of other rows" and not name.endswith(".npy"):
        pytest.skip("no rows")
    assert encoded(tmp_path / "pool") == 12
    whole = PoolFeatures(tmp_path / "pool").read("penultimate", array_pool(12).ids)
    DAMAGE[kind](tmp_path / "pool" / "compacted-000000" / name)
    (problem,) = PoolFeatures(tmp_path / "pool").damaged()
    assert "compacted-000000" in problem and len(problem.splitlines()) == 1
    assert encoded(tmp_path / "pool") == 12
    assert "computed again" in caplog.text
    store = PoolFeatures(tmp_path / "pool")
    assert torch.equal(store.read("penultimate", array_pool(12).ids), whole)
    assert store.damaged() == [] and store.is_compact()


def test_merging_drops_nothing_that_can_be_read(tmp_path: Path) -> None:
    store = PoolFeatures(tmp_path)
    with store.lock():
        store.add_shard(block("1", "2"))
        store.reload()
        store.compact()
    (tmp_path / "compacted-000000" / "penultimate.npy").unlink()
    with store.lock():
        store.reload()
        store.add_shard(block("3"))
        store.reload()
        store.compact()
    again = PoolFeatures(tmp_path)
    assert again.ids() == ["3"] and again.layers() == {"penultimate": 3, "embedding": 3}
    assert again.read("penultimate", ["3"]).tolist() == [[3.0, 3.0, 3.0]] and again.damaged() == []


def test_a_full_disk_while_merging_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = PoolFeatures(tmp_path)
    with store.lock():
        store.add_shard(block("1", "2"))
        store.reload()
        with monkeypatch.context() as patch, pytest.raises(OSError, match=r"No space.*compacted-000000"):
            patch.setattr(blocks, "_write_array", full)
            store.compact()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "shards"]
    settle(PoolFeatures(tmp_path), {})
    again = PoolFeatures(tmp_path)
    assert again.is_compact() and again.ids() == ["1", "2"]


def test_an_old_folder_that_a_stopped_merge_has_left_goes_with_the_next_opening(tmp_path: Path) -> None:
    store = PoolFeatures(tmp_path)
    with store.lock():
        for name in ("1", "2"):
            store.add_shard(block(name))
            store.reload()
            store.compact()
    assert [path.name for path in tmp_path.glob("compacted-*")] == ["compacted-000001"]
    blocks.write_compacted(
        tmp_path / "compacted-000000", ["1"], [Stamp(1, 0, "1")], [block("1")], np.array([[0, 0]], dtype=np.int64)
    )
    assert not PoolFeatures(tmp_path).is_compact()
    settle(PoolFeatures(tmp_path), {})
    again = PoolFeatures(tmp_path)
    assert again.is_compact() and sorted(again.ids()) == ["1", "2"]


def pools(cache: Path) -> dict[str, Path]:
    """Make two pools of a model, and something that belongs to the model."""
    model = cache / "features" / "m-0123456789ab"
    found = {name: model / f"shapes.{name}-0123456789ab" for name in ("train", "test")}
    for name, folder in found.items():
        encoded(folder)
        note_origin(folder, Origin("m", "shapes", name, "fp32", "0123456789ab"))
    (model / "model.json").write_text("{}")
    return found


def test_the_last_pool_takes_the_folder_of_its_model_with_it(tmp_path: Path) -> None:
    folders = pools(tmp_path)
    first, second = entries(tmp_path)
    remove(first)
    assert not first.folder.exists() and (first.folder.parent / "model.json").exists()
    with Lock(folders["train"].with_name("digits.test-0") / "lock"):  # a run has begun with another pool
        remove(second)
    assert not second.folder.exists() and (first.folder.parent / "model.json").exists()
    encoded(folders["train"])
    remove(next(entries(tmp_path)))
    assert list((tmp_path / "features").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"model": 3}', None])
def test_one_bad_pool_file_does_not_hide_the_others(tmp_path: Path, content: bytes | None) -> None:
    bad = pools(tmp_path)["train"]
    if content is None:
        (bad / ENTRY_FILE).unlink()
    else:
        (bad / ENTRY_FILE).write_bytes(content)
    found = {entry.origin.pool: entry for entry in entries(tmp_path)}
    assert set(found) == {"train", "test"} and found["train"].origin.task == "shapes"
    assert verify(found["test"], None) == []
    (problem,) = verify(found["train"], None)
    assert str(bad / ENTRY_FILE) in problem
    remove(found["train"])
    assert [entry.origin.pool for entry in entries(tmp_path)] == ["test"]


def test_what_a_stopped_removal_has_left_is_no_damage_and_goes(tmp_path: Path) -> None:
    folder = pools(tmp_path)["train"]
    rubbish = folder.with_name(".tmp-0123abcd")
    folder.rename(rubbish)
    os.utime(rubbish, (0, 0))
    assert [entry.origin.pool for entry in entries(tmp_path)] == ["test"]
    assert leftovers(tmp_path) == [rubbish]
    assert [text for entry in entries(tmp_path) for text in verify(entry, None)] == []
