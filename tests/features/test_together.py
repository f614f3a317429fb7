"""One image pass for several models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evalsuite.data.base import LoadedSample, Pool
from evalsuite.errors import DataError, ModelError, NotFiniteError
from evalsuite.features.batches import Batch
from evalsuite.features.encoding import EncodedBatch, Encoder, encode_over
from evalsuite.features.extraction import Member, PassOptions, PassReport, ensure_together
from evalsuite.features.sharing import Feed, distinct
from evalsuite.features.store import PoolFeatures
from evalsuite.models.preprocessing import Finish, Recipe
from tests.models_for_tests import ArrayReader, CountingModel, array_pool

N = 40


class CountingReader(ArrayReader):
    """Counts how often each image is read."""

    def __init__(self, images: np.ndarray, broken: set[int] | None = None) -> None:
        super().__init__(images, broken)
        self.reads: Counter[int] = Counter()

    def __call__(self, row: int) -> LoadedSample:
        self.reads[row] += 1
        return super().__call__(row)


def counting_pool(broken: set[int] | None = None) -> tuple[Pool, CountingReader]:
    pool = array_pool(N)
    reader = CountingReader(pool.read.images, broken)  # type: ignore[attr-defined]
    return Pool(**{**vars(pool), "read": reader}), reader


def member(folder: Path, model: CountingModel) -> Member:
    encoder = Encoder(model, torch.device("cpu"), "fp32")
    return Member(PoolFeatures(folder), lambda: (model.preprocess, partial(encode_over, [encoder])))


def run(pool: Pool, rows: range, members: list[Member], **options: int) -> list[PassReport | Exception]:
    return ensure_together(pool, rows, members, PassOptions(8, 0), **options)


def test_images_are_read_once_and_features_are_those_of_passes_alone(tmp_path: Path) -> None:
    pool, reader = counting_pool()
    models = [CountingModel(fingerprint=str(number)) for number in range(3)]
    reports = run(pool, range(N), [member(tmp_path / str(n), model) for n, model in enumerate(models)])
    assert [report.encoded for report in reports if isinstance(report, PassReport)] == [N] * 3
    assert set(reader.reads.values()) == {1}
    run(pool, range(N), [member(tmp_path / "alone", CountingModel())])
    alone = PoolFeatures(tmp_path / "alone").read("penultimate", pool.ids)
    for number, model in enumerate(models):
        assert torch.equal(PoolFeatures(tmp_path / str(number)).read("penultimate", pool.ids), alone)
        assert model.batches == [8] * 5


def test_models_that_lack_other_images_share_those_that_both_lack(tmp_path: Path) -> None:
    pool, reader = counting_pool()
    run(pool, range(16), [member(tmp_path / "a", CountingModel())])
    reader.reads.clear()
    a, b = CountingModel(), CountingModel()
    run(pool, range(N), [member(tmp_path / "a", a), member(tmp_path / "b", b)])
    assert (a.encoded, b.encoded) == (N - 16, N)
    assert set(reader.reads.values()) == {1} and len(reader.reads) == N


def test_model_that_fails_stops_no_other_and_keeps_its_whole_batches(tmp_path: Path) -> None:
    pool, reader = counting_pool()
    broken, good = CountingModel(), CountingModel()

    def fail_at_the_third(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        if broken.encoded >= 16:
            raise ValueError("no third batch")
        return CountingModel.encode_images(broken, batch)  # type: ignore[return-value]

    broken.encode_images = fail_at_the_third  # type: ignore[method-assign,assignment]
    fault, report = run(pool, range(N), [member(tmp_path / "broken", broken), member(tmp_path / "good", good)])
    assert isinstance(fault, ValueError) and isinstance(report, PassReport) and report.encoded == N
    assert len(PoolFeatures(tmp_path / "broken")) == 16 and len(PoolFeatures(tmp_path / "good")) == N
    assert set(reader.reads.values()) == {1}


@pytest.mark.parametrize("workers", [0, 2])
def test_preprocessing_that_fails_stops_no_model_of_another(tmp_path: Path, workers: int) -> None:
    pool, _ = counting_pool(broken={5})
    models = [CountingModel() for _ in range(3)]

    def fail_in_the_third_batch(image: Image.Image) -> torch.Tensor:
        if np.array_equal(np.asarray(image), pool.read.images[20]):  # type: ignore[attr-defined]
            raise KeyError("odd image")
        return CountingModel().preprocess(image)

    models[1].preprocess = models[2].preprocess = fail_in_the_third_batch  # type: ignore[method-assign,assignment]
    members = [member(tmp_path / str(number), model) for number, model in enumerate(models)]
    good, *bad = ensure_together(pool, range(N), members, PassOptions(8, workers), max_unreadable=1)
    assert isinstance(good, PassReport) and good.encoded == N - 1 and good.decoded > 0
    assert all(isinstance(fault, ModelError) and "'00000020'" in str(fault) for fault in bad)
    assert len(PoolFeatures(tmp_path / "0")) == N - 1


def test_encoding_of_a_model_that_fails_has_ended_when_the_fault_is_known(tmp_path: Path) -> None:
    """Autocast shares cast weights among threads: the next precision must not meet those of the one that overflowed."""
    pool, _ = counting_pool()
    ended = []

    def encode(batches: Iterable[Batch]) -> Iterator[EncodedBatch]:
        try:
            for batch in batches:
                layers = {"penultimate": torch.full((len(batch.rows), 4), torch.inf)}
                yield EncodedBatch(batch.rows, batch.stamps, layers)
        finally:
            ended.append(True)

    model = CountingModel()
    infinite = Member(PoolFeatures(tmp_path / "infinite"), lambda: (model.preprocess, encode))
    (fault,) = run(pool, range(N), [infinite])
    assert isinstance(fault, NotFiniteError) and ended == [True]


def test_images_that_cannot_be_read_are_so_for_all(tmp_path: Path) -> None:
    pool, _ = counting_pool(broken={3})
    members = [member(tmp_path / name, CountingModel()) for name in "ab"]
    assert all(isinstance(found, DataError) for found in run(pool, range(N), members))
    reports = run(pool, range(N), members, max_unreadable=1)
    assert [[item.identifier for item in found.unreadable] for found in reports if isinstance(found, PassReport)] == [
        [pool.ids[3]]
    ] * 2


def test_equal_preprocessings_are_one() -> None:
    def own(image: Image.Image) -> torch.Tensor:
        return torch.zeros(3, 4, 4)

    def recipe(mean: float) -> Recipe:
        from torchvision.transforms import Resize

        return Recipe((Resize(4),), Finish((mean,) * 3, (1.0,) * 3))

    preprocesses = [recipe(0.5), own, recipe(0.5), recipe(0.25), own, lambda image: own(image)]
    unique, places = distinct(preprocesses)
    assert places == [0, 1, 0, 2, 1, 3]
    assert len(unique) == 4


@pytest.mark.parametrize("lost", [False, True])
def test_memory_of_a_batch_is_free_when_nobody_needs_it(lost: bool) -> None:
    released: list[int] = []
    batches = [Batch(torch.zeros(1, 3, 2, 2), [row], [], release=partial(released.append, row)) for row in range(3)]
    feed = Feed(iter([([batch],) for batch in batches]), [0, 0])
    one, two = feed.of(0), feed.of(1)
    first = next(one)
    first.release()
    first.release()  # twice counts once
    assert released == []
    if lost:
        feed.drop(1)
    else:
        next(two).release()
    assert released == [0]
    next(one).release()
    assert released == ([0, 1] if lost else [0])


def test_memory_of_a_batch_that_nobody_takes_is_free_at_once() -> None:
    released: list[int] = []
    one, other = (Batch(torch.zeros(1, 3, 2, 2), [0], [], release=partial(released.append, n)) for n in range(2))
    feed = Feed(iter([([one], [other])]), [0, 1])
    feed.drop(1)
    next(feed.of(0))
    assert released == [1]
