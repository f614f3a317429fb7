"""The estimator: scikit-learn's own checks, its example, and scikit-learn's numbers."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from evalsuite.probe import LogisticProbe


@parametrize_with_checks([LogisticProbe()])
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_the_example() -> None:
    found = doctest.testmod(importlib.import_module("evalsuite.probe.estimator"))
    assert found.attempted and not found.failed


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    return x / 16, np.array([f"d{label}" for label in y])


@pytest.mark.parametrize("classes", [2, 10])
def test_probabilities_are_scikit_learns(digits: tuple[np.ndarray, np.ndarray], classes: int) -> None:
    x, y = digits
    kept = np.isin(y, [f"d{k}" for k in range(classes)])
    x, y = x[kept], y[kept]
    ours = LogisticProbe(C=0.3).fit(x, y)
    theirs = LogisticRegression(C=0.3, solver="newton-cg", tol=1e-10, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-4)
    assert ours.coef_.shape == theirs.coef_.shape
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


def test_tensors_and_a_validation_set(digits: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = digits
    features, codes = torch.from_numpy(x).float(), torch.from_numpy(np.unique(y, return_inverse=True)[1])
    lambdas = [1e-2, 1.0, 1e5]
    found = LogisticProbe(C=None, lambdas=lambdas).fit(
        features[:600], codes[:600], validation=(features[600:900], codes[600:900])
    )
    scores = {
        lam: LogisticProbe(C=1 / lam).fit(x[:600], codes[:600].numpy()).score(x[600:900], codes[600:900].numpy())
        for lam in lambdas
    }
    assert found.lambda_ == max(lambdas, key=lambda lam: (scores[lam], lam))
    assert found.predict(features[900:]).shape == (897,)
    with pytest.raises(ValueError, match="expecting 64"):
        found.predict(features[:, :5])


@pytest.mark.parametrize(
    ("options", "validation"),
    [({"C": 1.0, "lambdas": [1.0]}, True), ({"C": None}, False), ({"C": None, "lambdas": [1.0]}, False), ({}, True)],
)
def test_exactly_one_of_both(options: dict[str, Any], validation: bool) -> None:
    x, y = np.eye(4), np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"exactly one|both or neither"):
        LogisticProbe(**options).fit(x, y, validation=(x, y) if validation else None)
