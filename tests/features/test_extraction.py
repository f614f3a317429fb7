"""The image pass and the feature store: what is computed, what is kept, what is never served stale."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from evalsuite.data.base import Pool
from evalsuite.errors import DataError, JobError, ModelError
from evalsuite.features import extraction
from evalsuite.features.blocks import Block
from evalsuite.features.encoding import encode_batches
from evalsuite.features.extraction import PassOptions, PassReport, ensure_features
from evalsuite.features.store import PoolFeatures
from tests.models_for_tests import ArrayReader, CountingModel, array_pool

CPU = torch.device("cpu")


def image_pass(
    pool: Pool, store: PoolFeatures, model: CountingModel, rows: list[int] | None = None, **keywords: int
) -> PassReport:
    """Ensure the features of `rows` (all of them by default) in batches of four."""
    return ensure_features(
        pool,
        list(range(len(pool))) if rows is None else rows,
        store,
        lambda: (model.preprocess, partial(encode_batches, model, CPU, "fp32")),
        PassOptions(batch_size=4, workers=0),
        **keywords,
    )


def expected(pool: Pool, model: CountingModel) -> torch.Tensor:
    """Return the penultimate features of every sample, computed one by one."""
    images = [model.preprocess(pool.read(row).image) for row in range(len(pool))]
    return torch.stack([image.mean(dim=(1, 2)) for image in images])


def test_features_are_those_of_the_model_and_a_second_pass_does_nothing(tmp_path: Path) -> None:
    pool, model = array_pool(), CountingModel()
    store = PoolFeatures(tmp_path / "pool")
    assert image_pass(pool, store, model).encoded == 20
    torch.testing.assert_close(store.read("penultimate", pool.ids), expected(pool, model))
    torch.testing.assert_close(store.read("embedding", pool.ids), 2 * expected(pool, model))

    again = PoolFeatures(tmp_path / "pool")
    never = CountingModel(fail_after=0)
    assert image_pass(pool, again, never).encoded == 0
    torch.testing.assert_close(again.read("penultimate", pool.ids[::-1]), expected(pool, model).flip(0))


def test_one_pass_gives_every_layer(tmp_path: Path) -> None:
    pool, model = array_pool(), CountingModel()
    store = PoolFeatures(tmp_path / "pool")
    image_pass(pool, store, model)
    assert store.layers() == {"penultimate": 3, "embedding": 3}
    assert model.encoded == len(pool)


def test_only_rows_that_are_asked_for_and_missing_are_computed(tmp_path: Path) -> None:
    pool, model = array_pool(), CountingModel()
    store = PoolFeatures(tmp_path / "pool")
    image_pass(pool, store, model, rows=[3, 5, 7])
    assert sorted(store.ids()) == [pool.ids[row] for row in (3, 5, 7)]
    image_pass(pool, store, model, rows=[5, 6, 7, 8])
    assert model.encoded == 3 + 2
    wanted = [pool.ids[row] for row in (8, 3, 6)]
    torch.testing.assert_close(store.read("penultimate", wanted), expected(pool, model)[[8, 3, 6]])


def test_a_finished_pass_is_one_memory_mapped_file_per_layer(tmp_path: Path) -> None:
    pool = array_pool()
    image_pass(pool, PoolFeatures(tmp_path / "pool"), CountingModel())
    (compacted,) = (tmp_path / "pool").glob("compacted-*")
    names = {path.name for path in compacted.iterdir()}
    assert names == {"penultimate.npy", "embedding.npy", "manifest.parquet", "checksums.json"}
    assert not list((tmp_path / "pool").rglob("*.safetensors"))


def test_interrupted_pass_keeps_whole_batches_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "SHARD_SAMPLES", 8)
    pool = array_pool()
    with pytest.raises(KeyboardInterrupt):
        image_pass(pool, PoolFeatures(tmp_path / "pool"), CountingModel(fail_after=12))
    store, model = PoolFeatures(tmp_path / "pool"), CountingModel()
    assert len(store) == 12
    image_pass(pool, store, model)
    assert model.encoded == 8

    undisturbed = PoolFeatures(tmp_path / "other")
    image_pass(pool, undisturbed, CountingModel())
    for layer in ("penultimate", "embedding"):
        assert torch.equal(store.read(layer, pool.ids), undisturbed.read(layer, pool.ids))


def test_an_interrupted_write_of_the_last_shard_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_shard = PoolFeatures.add_shard

    def interrupted(store: PoolFeatures, block: Block) -> None:
        monkeypatch.setattr(PoolFeatures, "add_shard", add_shard)
        raise KeyboardInterrupt

    monkeypatch.setattr(PoolFeatures, "add_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        image_pass(array_pool(), PoolFeatures(tmp_path / "pool"), CountingModel())
    store, model = PoolFeatures(tmp_path / "pool"), CountingModel()
    assert len(store) == 20 and not store.is_compact()
    image_pass(array_pool(), store, model)
    assert model.encoded == 0 and store.is_compact()


def test_a_sample_of_another_size_is_encoded_again(tmp_path: Path) -> None:
    pool = array_pool(mtimes=np.zeros(20, dtype=np.int64))
    store = PoolFeatures(tmp_path / "pool")
    image_pass(pool, store, CountingModel())
    reader = ArrayReader(255 - pool.read.images)  # type: ignore[attr-defined]
    sizes = pool.sizes.copy()
    sizes[4] += 1
    changed = Pool(**{**vars(pool), "read": reader, "sizes": sizes})
    model = CountingModel()
    image_pass(changed, PoolFeatures(tmp_path / "pool"), model)
    assert model.encoded == 1
    fresh = PoolFeatures(tmp_path / "pool").read("penultimate", [pool.ids[4]])
    torch.testing.assert_close(fresh, expected(changed, model)[[4]])


def test_a_touched_file_is_hashed_and_only_encoded_again_if_its_bytes_changed(tmp_path: Path) -> None:
    pool = array_pool(mtimes=np.zeros(20, dtype=np.int64))
    image_pass(pool, PoolFeatures(tmp_path / "pool"), CountingModel())
    images = pool.read.images.copy()  # type: ignore[attr-defined]
    images[9] = 255 - images[9]
    touched = Pool(**{**vars(pool), "read": ArrayReader(images), "mtimes": np.ones(20, dtype=np.int64)})
    model = CountingModel()
    image_pass(touched, PoolFeatures(tmp_path / "pool"), model)
    assert model.encoded == 1
    store = PoolFeatures(tmp_path / "pool")
    torch.testing.assert_close(store.read("penultimate", pool.ids), expected(touched, model))
    assert {store.stamp(identifier).mtime for identifier in pool.ids} == {1}  # so that it is not hashed again


def test_unreadable_images_are_an_error_that_names_them_and_loses_nothing(tmp_path: Path) -> None:
    pool = array_pool(broken={2, 11})
    model = CountingModel()
    with pytest.raises(DataError, match=r"2 images .* cannot be read") as caught:
        image_pass(pool, PoolFeatures(tmp_path / "pool"), model)
    assert "image number 2" in str(caught.value) and "image number 11" in str(caught.value)
    assert len(PoolFeatures(tmp_path / "pool")) == 18


def test_as_many_unreadable_images_as_the_task_allows_are_left_out_and_reported(tmp_path: Path) -> None:
    pool = array_pool(broken={2, 11})
    store = PoolFeatures(tmp_path / "pool")
    report = image_pass(pool, store, CountingModel(), max_unreadable=2)
    assert [item.identifier for item in report.unreadable] == ["00000002", "00000011"]
    assert "00000002" not in store and len(store) == 18


def test_what_was_stored_of_an_image_that_became_unreadable_is_not_served(tmp_path: Path) -> None:
    pool = array_pool()
    image_pass(pool, PoolFeatures(tmp_path / "pool"), CountingModel())
    sizes = pool.sizes.copy()
    sizes[6] = 1
    broken = Pool(**{**vars(pool), "read": ArrayReader(pool.read.images, {6}), "sizes": sizes})  # type: ignore[attr-defined]
    store = PoolFeatures(tmp_path / "pool")
    image_pass(broken, store, CountingModel(), max_unreadable=1)
    assert "00000006" not in store
    assert "00000006" not in PoolFeatures(tmp_path / "pool")


def test_what_is_known_to_have_changed_is_not_served_after_a_pass_that_failed(tmp_path: Path) -> None:
    pool = array_pool()
    image_pass(pool, PoolFeatures(tmp_path / "pool"), CountingModel())
    sizes = pool.sizes.copy()
    sizes[[6, 13]] += 1
    changed = Pool(**{**vars(pool), "read": ArrayReader(255 - pool.read.images), "sizes": sizes})  # type: ignore[attr-defined]
    store = PoolFeatures(tmp_path / "pool")
    with pytest.raises(KeyboardInterrupt):
        image_pass(changed, store, CountingModel(fail_after=0))
    assert sorted(set(pool.ids) - set(store.ids())) == ["00000006", "00000013"]
    assert image_pass(changed, store, CountingModel()).encoded == 2


def test_images_of_two_sizes_are_refused_where_features_would_differ_in_length(tmp_path: Path) -> None:
    class Pixels(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"penultimate": batch.flatten(1)}

    class TwoSizes(ArrayReader):
        def __call__(self, row: int):  # type: ignore[no-untyped-def]
            sample = super().__call__(row)
            return type(sample)(sample.image.resize((4, 4)) if row == 13 else sample.image, sample.content)

    pool = array_pool()
    pool = Pool(**{**vars(pool), "read": TwoSizes(pool.read.images)})  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="00000013"):
        image_pass(pool, PoolFeatures(tmp_path / "pool"), Pixels())


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path: Path) -> None:
    class Small(CountingModel):
        def encode_images(self, batch: torch.Tensor):  # type: ignore[no-untyped-def]
            if len(batch) > 1:
                raise torch.OutOfMemoryError("too much")
            return super().encode_images(batch)

    pool, model = array_pool(6), Small()
    store = PoolFeatures(tmp_path / "pool")
    image_pass(pool, store, model)
    torch.testing.assert_close(store.read("penultimate", pool.ids), expected(pool, model))


def test_out_of_memory_at_one_image_says_what_to_do(tmp_path: Path) -> None:
    class Tiny(CountingModel):
        def encode_images(self, batch: torch.Tensor):  # type: ignore[no-untyped-def]
            raise torch.OutOfMemoryError("too much")

    with pytest.raises(JobError, match="--precision fp16"):
        image_pass(array_pool(3), PoolFeatures(tmp_path / "pool"), Tiny())


def test_a_model_that_returns_the_wrong_shape_is_named(tmp_path: Path) -> None:
    class Wrong(CountingModel):
        def encode_images(self, batch: torch.Tensor):  # type: ignore[no-untyped-def]
            return {"penultimate": batch}

    with pytest.raises(ModelError, match="must be \\(n, dim\\)"):
        image_pass(array_pool(4), PoolFeatures(tmp_path / "pool"), Wrong())


def test_worker_processes_give_the_same_features(tmp_path: Path) -> None:
    pool = array_pool(30)
    alone, helped = PoolFeatures(tmp_path / "alone"), PoolFeatures(tmp_path / "helped")
    image_pass(pool, alone, CountingModel())
    model = CountingModel()
    ensure_features(
        pool,
        range(30),
        helped,
        lambda: (model.preprocess, partial(encode_batches, model, CPU, "fp32")),
        PassOptions(batch_size=4, workers=2),
    )
    assert torch.equal(alone.read("penultimate", pool.ids), helped.read("penultimate", pool.ids))


def test_progress_reaches_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    pool, model = array_pool(10), CountingModel()
    ensure_features(
        pool,
        range(10),
        PoolFeatures(tmp_path / "pool"),
        lambda: (model.preprocess, partial(encode_batches, model, CPU, "fp32")),
        PassOptions(batch_size=4, workers=0),
        on_images=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(0, 10), (4, 10), (8, 10), (10, 10)]
