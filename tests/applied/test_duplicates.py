"""Duplicates between train and test: exact search, and a threshold that different images do not reach."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from evalsuite.applied.duplicates import LEAST_REFERENCE, Images, find_duplicates, nearest_others, usual_threshold
from evalsuite.applied.pictures import Encoded
from evalsuite.data.base import LoadedSample, Pool
from evalsuite.features.blocks import Block, Stamp
from evalsuite.features.store import PoolFeatures

CPU = torch.device("cpu")


def _unread(row: int) -> LoadedSample:
    raise AssertionError("an image was opened")


def stored(folder: Path, features: np.ndarray, name: str = "pool", same: dict[int, str] | None = None) -> Encoded:
    """Return features (n, D) in a store; same: row -> what its bytes are, where another image has the same."""
    ids = [f"{name}/{row:05d}" for row in range(len(features))]
    contents = [(same or {}).get(row, identifier) for row, identifier in enumerate(ids)]
    stamps = [Stamp(1, 0, hashlib.sha256(content.encode()).hexdigest()) for content in contents]
    store = PoolFeatures(folder / name)
    store.add_shard(Block(ids, stamps, {"penultimate": features.astype(np.float32)}))
    store.reload()
    store.compact()
    labels = np.zeros(len(ids), np.int64)
    pool = Pool(name, tuple(ids), labels, _unread, np.ones(len(ids), np.int64), None, None, name)
    return Encoded(pool, list(range(len(ids))), store)


def images(folder: Path, features: np.ndarray, name: str, same: dict[int, str] | None = None) -> Images:
    """Return stored images of one pool."""
    return Images((stored(folder, features, name, same),))


def clusters(n: int, seed: int, dense: float, dim: int = 64, inner: int = 10) -> np.ndarray:
    """Return features of ten classes, each of `inner` dimensions of its own; dense: the spread of the first."""
    fixed, rng = np.random.default_rng(7), np.random.default_rng(seed)
    centres, axes = 3 * fixed.normal(size=(10, dim)), fixed.normal(size=(10, inner, dim))
    labels, spread = np.arange(n) % 10, np.where(np.arange(n) % 10 == 0, dense, 1.0)
    within = np.einsum("ni,nid->nd", rng.normal(size=(n, inner)), axes[labels])
    return np.asarray(centres[labels] + spread[:, None] * within)


def near_copies(features: np.ndarray, seed: int) -> np.ndarray:
    """Return features that are a hundredth of their length away."""
    noise = np.random.default_rng(seed).normal(size=features.shape)
    return np.asarray(features + 0.01 * np.linalg.norm(features, axis=1, keepdims=True) * noise / noise.shape[1] ** 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_copies_are_found_and_different_images_are_not(tmp_path: Path, seed: int) -> None:
    train, test = clusters(1_500, 2 * seed, 1.0), clusters(500, 2 * seed + 1, 1.0)
    found = find_duplicates(
        images(tmp_path, np.concatenate([test, near_copies(train[:10], seed), train[20:22]]), "test",
               {510: "one", 511: "two"}),
        images(tmp_path, train, "train", {20: "one", 21: "two"}),
        "penultimate",
        CPU,
    )  # fmt: skip
    assert [(pair.kind, pair.test, pair.train) for pair in found.pairs[:2]] == [("exact", 510, 20), ("exact", 511, 21)]
    near = found.pairs[2:]
    assert {(pair.kind, pair.test, pair.train) for pair in near} == {("near", 500 + n, n) for n in range(10)}
    assert len(found.below) == 24 and found.below[0].similarity < found.threshold
    assert [pair.similarity for pair in near] == sorted((pair.similarity for pair in near), reverse=True)


@pytest.mark.parametrize("dense", [0.05, 0.3, 1.0])
def test_no_class_is_so_dense_that_its_images_are_duplicates(tmp_path: Path, dense: float) -> None:
    for seed in range(3):
        sides = [images(tmp_path / str(seed), clusters(1_000, 2 * seed + n, dense), f"{n}") for n in range(2)]
        assert find_duplicates(*sides, "penultimate", CPU).pairs == ()
    lower = find_duplicates(*sides, "penultimate", CPU, 0.9)
    assert lower.threshold == 0.9 and len(lower.pairs) == int((lower.nearest >= 0.9).sum()) > 0


def test_neighbours_are_exact_over_several_pools_and_never_the_image_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 8))
    features[7] = features[40]
    whole = images(tmp_path, features, "whole")
    parts = Images((stored(tmp_path, features[:25], "a"), stored(tmp_path, features[25:], "b")))
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    cosine = (features / lengths) @ (features / lengths).T
    np.fill_diagonal(cosine, -2)
    chosen = np.array([3, 7, 40, 59])
    for kept in (whole, parts):
        np.testing.assert_allclose(nearest_others(kept, chosen, "penultimate", CPU), cosine[chosen].max(1), atol=1e-6)
    queries = torch.from_numpy(rng.normal(size=(5, 8)))
    one, other = (kept.nearest(queries, "penultimate", 4) for kept in (whole, parts))
    assert torch.equal(one.rows, other.rows)
    assert parts.ids[30] == "b/00005" and len(parts) == 60


def test_too_few_training_images_say_nothing_and_only_equal_features_count(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(LEAST_REFERENCE - 1, 4))
    test = np.concatenate([features[:1], features[1:2] + 0.01])
    found = find_duplicates(images(tmp_path, test, "test"), images(tmp_path, features, "train"), "penultimate", CPU)
    assert [(pair.test, pair.train) for pair in found.pairs] == [(0, 0)] and found.threshold == pytest.approx(1 - 1e-6)
    alone = find_duplicates(
        images(tmp_path, test, "test2"), images(tmp_path, features[:1], "alone"), "penultimate", CPU
    )
    assert [pair.test for pair in alone.pairs] == [0] and len(alone.reference) == 0


@pytest.mark.parametrize("power", [2.0, 8.0])
def test_the_threshold_is_that_of_the_law_it_states(power: float) -> None:
    shares = (np.arange(20_000) + 0.5) / 20_000
    distances = 0.01 * (-np.log1p(-shares)) ** (1 / power)  # of the law with c = 0.01, by its quantiles
    wanted = 0.01 * (-np.log1p(-0.01 / 500)) ** (1 / power)
    assert 1 - usual_threshold(1 - distances, 500) == pytest.approx(wanted, rel=0.01)
    assert usual_threshold(np.ones(100), 500) == pytest.approx(1 - 1e-6)  # nothing but duplicates
