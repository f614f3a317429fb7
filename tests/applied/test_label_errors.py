"""Likely label errors: probabilities of probes that have not seen an image, and wrong labels that were planted."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from evalsuite.applied.label_errors import FOLDS, cleanlab_filter, judge, parts_of, suspects
from evalsuite.errors import EvalsuiteError, MissingExtraError
from tests.problems import blobs


def digits() -> tuple[torch.Tensor, np.ndarray]:
    """Return scikit-learn's digits."""
    found = load_digits()
    return torch.from_numpy(found.data / 16).float(), found.target.astype(np.int64)


def ids(n: int) -> list[str]:
    """Return names of samples."""
    return [f"{number:05d}" for number in range(n)]


def test_planted_wrong_labels_of_digits_are_found() -> None:
    features, right = digits()
    rng = np.random.default_rng(0)
    train = features[:1_200]
    labels = right[:1_200].copy()
    planted = rng.permutation(1_200)[:60]
    labels[planted] = (labels[planted] + rng.integers(1, 10, 60)) % 10
    found = judge(train, labels, parts_of(ids(1_200), labels, None, 0), 10)
    named = suspects(labels, found.shares)
    flagged = {one.number for one in named}
    assert found.known.all()
    assert len(flagged & set(planted.tolist())) >= 54 and len(flagged - set(planted.tolist())) <= 24
    others = np.array([one.other == right[one.number] for one in named if one.number in planted])
    assert others.mean() >= 0.9 and [one.own for one in named] == sorted(one.own for one in named)
    again = judge(train, labels, parts_of(ids(1_200), labels, None, 0), 10)
    np.testing.assert_array_equal(found.shares, again.shares)


def test_clean_labels_are_left_alone() -> None:
    features, labels = blobs(300, 3, 0, spread=0.05)
    found = judge(features, labels, parts_of(ids(300), labels, None, 0), 3)
    assert suspects(labels, found.shares) == []


def test_each_part_is_judged_by_the_probe_of_the_others() -> None:
    features, labels = digits()
    features, labels = features[:400], labels[:400]
    parts = parts_of(ids(400), labels, None, 0)
    found = judge(features, labels, parts, 10)
    X = features.double().numpy()
    for part in range(FOLDS):
        model = LogisticRegression(C=1 / found.best_lambda, tol=1e-10, max_iter=20_000)
        model.fit(X[parts != part], labels[parts != part])
        wanted = softmax(model.decision_function(X[parts == part]) / found.temperature, axis=1)
        np.testing.assert_allclose(found.shares[parts == part], wanted, atol=2e-3)
    sharper = [found.shares**power for power in (0.9, 1, 1.1)]
    spread = [log_loss(labels, shares / shares.sum(axis=1, keepdims=True)) for shares in sharper]
    assert min(spread) == spread[1]  # no other temperature makes the labels more likely


def test_parts_are_even_within_classes_whole_for_groups_and_do_not_depend_on_the_order() -> None:
    labels = np.repeat([0, 1, 2], [50, 7, 3])
    parts = parts_of(ids(60), labels, None, 0)
    for label in range(3):
        counts = np.bincount(parts[labels == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
    order = np.random.default_rng(0).permutation(60)
    names = [ids(60)[row] for row in order]
    np.testing.assert_array_equal(parts_of(names, labels[order], None, 0), parts[order])
    groups = [f"g{number // 4}" for number in range(60)]
    grouped = parts_of(ids(60), labels, groups, 0)
    assert all(len(set(grouped[start : start + 4])) == 1 for start in range(0, 60, 4))
    assert set(grouped) == set(range(FOLDS))


def test_a_class_of_one_image_cannot_be_judged() -> None:
    features, labels = blobs(60, 3, 0, spread=0.05)
    labels = labels.copy()
    labels[5] = 3
    found = judge(features, labels, parts_of(ids(60), labels, None, 0), 4)
    assert np.flatnonzero(~found.known).tolist() == [5]
    rows = np.flatnonzero(found.known)
    assert suspects(labels[rows], found.shares[rows]) == []
    with pytest.raises(EvalsuiteError, match="at least two training images"):
        judge(features[:1], labels[:1], np.zeros(1, np.int64), 4)


def test_without_cleanlab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'evalsuite\[audit\]'"):
        cleanlab_filter()
