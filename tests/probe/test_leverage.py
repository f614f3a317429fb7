"""Weighted covariances from few rows: the draw, and what is estimated from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evalsuite.probe.objective import Design
from evalsuite.probe.preconditioner.leverage import covariances, draw


def importances(n: int, seed: int) -> torch.Tensor:
    """Some rows matter a thousand times as much as others: (n,)."""
    return torch.from_numpy(np.random.default_rng(seed).lognormal(sigma=2.0, size=n))


@pytest.mark.parametrize("count", [10, 100, 180])
def test_probabilities_sum_to_the_count_and_follow_the_importance(count: int) -> None:
    importance = importances(200, 0)
    # Shifts of the order tell of every row's probability, not of the drawn ones' alone.
    probability = torch.zeros(200, dtype=torch.float64)
    for shift in range(200):
        rows, q = draw(importance.roll(shift), count)
        probability[(rows - shift) % 200] = q
    known = probability > 0
    assert float(known.double().mean()) > 0.5
    assert float(probability.max()) <= 1
    below = known & (probability < 1)
    ratios = probability[below] / importance[below]
    assert torch.allclose(ratios, ratios[:1], rtol=1e-9)
    # The rows that are sure are the most important ones.
    sure = probability == 1
    if sure.any():
        assert float(importance[sure].min()) >= float(importance[below].max())
    assert float(ratios[0]) * float(importance[~sure].sum()) + int(sure.sum()) == pytest.approx(count, rel=1e-6)


@pytest.mark.parametrize("count", [10, 100, 180, 200, 1000])
def test_none_is_drawn_twice_and_about_as_many_as_asked(count: int) -> None:
    rows, probability = draw(importances(200, 1), count)
    assert len(rows) == len(probability) == len(set(rows.tolist()))
    assert 0 <= int(rows.min()) <= int(rows.max()) < 200
    assert abs(len(rows) - min(count, 200)) <= 1
    assert bool(((probability > 0) & (probability <= 1)).all())


def test_everything_is_drawn_when_as_many_are_asked() -> None:
    rows, probability = draw(importances(50, 2), 50)
    assert rows.tolist() == list(range(50))
    assert probability.tolist() == [1.0] * 50


def test_rows_of_no_importance_are_left_out() -> None:
    importance = torch.zeros(100, dtype=torch.float64)
    importance[::10] = 1.0
    rows, probability = draw(importance, 5)
    assert len(rows) == 5
    assert not (rows % 10).any()
    assert torch.allclose(probability, torch.full_like(probability, 0.5))


def test_sums_over_the_draw_are_unbiased() -> None:
    """The draw is systematic; chance comes from the order of the rows, here shuffled."""
    values = torch.from_numpy(np.random.default_rng(3).uniform(1, 2, size=400))
    importance = importances(400, 4).sqrt()
    rng = np.random.default_rng(5)
    estimates = []
    for _ in range(1_000):
        order = torch.from_numpy(rng.permutation(400))
        rows, probability = draw(importance[order], 60)
        estimates.append(float((values[order][rows] / probability).sum()))
    error = np.std(estimates) / len(estimates) ** 0.5
    assert error < 0.02 * float(values.sum())
    assert abs(np.mean(estimates) - float(values.sum())) < 4 * error


def correlated_rows(n: int = 4_000, dim: int = 12) -> torch.Tensor:
    """Features that all but equal one another; what sets them apart is in few rows: (n, dim) float64."""
    rng = np.random.default_rng(7)
    common = rng.normal(size=(n, 1))
    rare = rng.normal(size=(n, dim)) * (rng.uniform(size=(n, dim)) < 0.01)
    return torch.from_numpy(common + 1e-3 * rng.normal(size=(n, dim)) + 0.1 * rare)


@pytest.fixture
def problem() -> tuple[Design, torch.Tensor]:
    """A design and weights (1, N)."""
    x = correlated_rows()
    weights = torch.from_numpy(np.random.default_rng(8).uniform(0.1, 0.2, size=(1, len(x))))
    return Design.of(x, None), weights


def test_rows_whose_weights_are_all_tiny_still_matter_to_the_intercept(
    problem: tuple[Design, torch.Tensor],
) -> None:
    design, weights = problem
    penalty = torch.full((design.dim + 1,), 1e6, dtype=torch.float64)
    (found,) = covariances(design, weights, penalty)
    assert float(found[-1, -1]) > 0.8 * float(weights.sum())
