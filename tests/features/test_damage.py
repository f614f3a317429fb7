"""Damaged files of the feature store: found when they are used, computed again, never given fresh checksums."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch

from evalsuite.errors import JobError
from evalsuite.features import sums
from evalsuite.features.descriptions import forget_description, read_description, write_description
from evalsuite.features.encoding import encode_batches
from evalsuite.features.extraction import PassOptions, ensure_features
from evalsuite.features.store import PoolFeatures
from evalsuite.features.texts import EmbeddedTexts, text_embeddings
from evalsuite.features.verifying import verify_model
from tests.models_for_tests import CountingModel, array_pool
from tests.stores import write_old_checksums

POOL = array_pool()
PART = 5
"""Rows of a part in these tests: 20 rows are four parts."""


def image_pass(folder: Path, rows: range = range(20)) -> tuple[PoolFeatures, int]:
    """Ensure features; return the store and how many images were encoded."""
    store, model = PoolFeatures(folder), CountingModel()
    prepare = lambda: (model.preprocess, partial(encode_batches, model, torch.device("cpu"), "fp32"))  # noqa: E731
    with mock.patch.object(sums, "PART_BYTES", PART * 3 * 4):
        ensure_features(POOL, rows, store, prepare, PassOptions(batch_size=4, workers=0))
    return store, model.encoded


def values(store: PoolFeatures) -> list[torch.Tensor]:
    return [store.read(layer, POOL.ids) for layer in ("penultimate", "embedding")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pool that was encoded whole."""
    image_pass(tmp_path / "model-abc" / "pool-def")
    return tmp_path / "model-abc" / "pool-def"


@pytest.fixture
def truth(folder: Path) -> list[torch.Tensor]:
    return values(PoolFeatures(folder))


def the(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def overwrite(path: Path, place: int, content: bytes) -> None:
    before = path.read_bytes()
    path.write_bytes(before[:place] + content + before[place + len(content) :])


def test_only_the_rows_of_a_damaged_part_are_computed_again_and_it_is_said(
    folder: Path, truth: list[torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    path = the(folder, "compacted-*/embedding.npy")
    overwrite(path, 128 + 4 * 3 * 7, bytes(4))  # row 7
    assert any("embedding.npy: its bytes are not what was written" in text for text in PoolFeatures(folder).damaged())
    with caplog.at_level(logging.WARNING):
        store, encoded = image_pass(folder)
    assert encoded == PART
    assert "5 rows of 20" in caplog.text and str(path.parent) in caplog.text
    assert all(map(torch.equal, values(store), truth))
    assert PoolFeatures(folder).damaged() == [] and image_pass(folder)[1] == 0


def test_a_row_that_is_damaged_is_not_read(folder: Path) -> None:
    overwrite(the(folder, "compacted-*/embedding.npy"), 128, b"\1")
    store = PoolFeatures(folder)
    with pytest.raises(JobError, match=r"embedding.*damaged.*same command again"):
        store.read("embedding", POOL.ids)
    store.read("embedding", POOL.ids[PART:])
    store.read("penultimate", POOL.ids)


def test_merging_gives_no_fresh_checksum_to_damaged_rows(tmp_path: Path) -> None:
    folder = tmp_path / "model-abc" / "pool-def"
    image_pass(folder, range(10))
    overwrite(the(folder, "compacted-*/penultimate.npy"), 128, b"\1")
    store, encoded = image_pass(folder, range(12, 20))  # none of the damaged ones
    assert encoded == 8 and len(store) == 5 + 8
    assert image_pass(folder)[1] == 7
    assert PoolFeatures(folder).damaged() == []


def header(path: Path) -> None:
    content = path.read_bytes().replace(b"(20, 3)", b"(15, 4)")
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: overwrite(the(folder, "compacted-*/manifest.parquet"), 100, b"\0\1\2"),
        lambda folder: overwrite(the(folder, "compacted-*/checksums.json"), 40, b"0000"),
        lambda folder: header(the(folder, "compacted-*/embedding.npy")),
        lambda folder: the(folder, "compacted-*/embedding.npy").unlink(),
        lambda folder: the(folder, "compacted-*/checksums.json").unlink(),
        lambda folder: the(folder, "compacted-*/penultimate.npy").write_bytes(b""),
    ],
    ids=["manifest", "checksums", "header", "no layer", "no checksums", "empty"],
)
def test_without_its_manifest_or_a_layer_everything_is_computed_again(
    folder: Path, truth: list[torch.Tensor], damage: Callable[[Path], None]
) -> None:
    damage(folder)
    assert PoolFeatures(folder).damaged() != []
    store, encoded = image_pass(folder)
    assert encoded == 20 and all(map(torch.equal, values(store), truth))
    assert PoolFeatures(folder).damaged() == []


def test_files_of_another_pool_are_not_taken(tmp_path: Path, folder: Path, truth: list[torch.Tensor]) -> None:
    other = tmp_path / "model-abc" / "pool-123"
    shutil.copytree(folder, other)
    assert image_pass(other)[1] == 20
    moved = tmp_path / "renamed-abc" / "pool-def"  # another name of the same weights
    shutil.copytree(folder, moved)
    store, encoded = image_pass(moved)
    assert encoded == 0 and all(map(torch.equal, values(store), truth))


@pytest.mark.parametrize("place", [-1, -30, 3, 60, 700])
def test_a_damaged_shard_is_computed_again(tmp_path: Path, truth: list[torch.Tensor], place: int) -> None:
    folder = tmp_path / "model-abc" / "pool-456"
    with mock.patch.object(PoolFeatures, "compact"):
        image_pass(folder)
    shard = the(folder, "shards/*.safetensors")
    content = shard.read_bytes()
    place %= len(content)
    overwrite(shard, place, bytes([content[place] ^ 4]))
    store, encoded = image_pass(folder)
    assert encoded == 20 and all(map(torch.equal, values(store), truth))


def test_a_store_of_the_first_version_is_checked_by_its_own_checksums(folder: Path, truth: list[torch.Tensor]) -> None:
    write_old_checksums(the(folder, "compacted-*"))
    before = the(folder, "compacted-*/checksums.json").read_bytes()
    store, encoded = image_pass(folder)
    assert encoded == 0 and all(map(torch.equal, values(store), truth)) and store.damaged() == []
    assert the(folder, "compacted-*/checksums.json").read_bytes() == before
    overwrite(the(folder, "compacted-*/embedding.npy"), 200, b"\1")
    assert PoolFeatures(folder).damaged() != []
    store, encoded = image_pass(folder)
    assert encoded == 20 and all(map(torch.equal, values(store), truth))


def test_a_pool_without_checksums_in_its_shards_is_read(tmp_path: Path, truth: list[torch.Tensor]) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model-abc" / "pool-789"
    with mock.patch.object(PoolFeatures, "compact"):
        image_pass(folder)
    shard = the(folder, "shards/*.safetensors")
    with safe_open(shard, framework="np") as file:
        manifest = file.metadata()["manifest"]
    save_file(load_file(shard), shard, {"manifest": manifest})
    store, encoded = image_pass(folder)
    assert encoded == 0 and all(map(torch.equal, values(store), truth))
    assert PoolFeatures(folder).damaged() == []


def test_text_embeddings_that_are_damaged_are_encoded_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []

    def encode(texts: object) -> EmbeddedTexts:
        asked.append(1)
        return EmbeddedTexts(torch.arange(6, dtype=torch.float32).reshape(2, 3), [1])

    def embedded() -> tuple[list[list[float]], list[int]]:
        found = text_embeddings(model / "texts", ["a", "b"], encode)
        return found.embedding.tolist(), found.cut

    model = tmp_path / "model-abc"
    first = embedded()
    path = the(model, "texts/*.safetensors")
    assert embedded() == first and len(asked) == 1
    assert verify_model(model) == (1, 0, [])
    whole = path.read_bytes()
    for content in (whole[:-3] + b"\1" + whole[-2:], whole[:20], b"", whole.replace(b'"digest"', b'"dagest"')):
        path.write_bytes(content)
        (problem,) = verify_model(model)[2]
        assert path.name in problem
        assert embedded() == first and verify_model(model)[2] == []
    assert len(asked) == 5 and caplog.text.count("encoded again") == 4


def test_what_a_model_is_has_its_checksum_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "features" / "model-abc"
    write_description(folder, {"logit_scale": 100}, reusable=True)
    assert json.loads(read_description(folder) or b"") == {"logit_scale": 100}
    (folder / "model.json").write_text('{"logit_scale": 109}')
    with pytest.raises(ValueError, match="not those that were written"):
        read_description(folder)
    assert "model.json" in verify_model(folder)[2][0]
    forget_description(folder)  # as version 0.1.0 left it
    assert not any((tmp_path / "digests").iterdir())
    assert json.loads(read_description(folder) or b"") == {"logit_scale": 109}


def test_parts_are_of_the_size_that_is_said() -> None:
    assert sums.rows_of_part(4 * 1024) == 16_384 and sums.rows_of_part(1 << 30) == 1
