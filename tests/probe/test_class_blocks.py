"""The second preconditioner's parts: the draw of rows, and the blocks made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from evalsuite.probe import class_blocks
from evalsuite.probe.class_blocks import Blocks, draw, rounds_worth
from evalsuite.probe.objective import Design, Objective, Sigmoid, Softmax


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


def softmax_problem(dtype: torch.dtype, n: int = 60, dim: int = 5) -> tuple[Objective, torch.Tensor]:
    rng = np.random.default_rng(6)
    design = Design.of(torch.from_numpy(rng.normal(size=(n, dim)) + 1).to(dtype), None)
    labels = torch.from_numpy(rng.integers(0, 3, n))
    theta = torch.from_numpy(rng.normal(size=(3, dim + 1)))
    return Softmax(design, torch.tensor([0.1, 2.0], dtype=torch.float64), labels, 3), theta


def sigmoid_problem(dtype: torch.dtype, n: int = 60, dim: int = 5) -> tuple[Objective, torch.Tensor]:
    rng = np.random.default_rng(7)
    design = Design.of(torch.from_numpy(rng.normal(size=(n, dim)) + 1).to(dtype), None)
    labels = torch.from_numpy(rng.integers(-1, 2, (2, n)).astype(np.int8))
    penalties = torch.tensor([0.1, 2.0], dtype=torch.float64)
    return Sigmoid(design, penalties, labels, torch.tensor([1, 0])), torch.from_numpy(rng.normal(size=(1, dim + 1)))


def hessian_blocks(objective: Objective, index: int, theta: torch.Tensor) -> torch.Tensor:
    """Return the diagonal blocks (K, D + 1, D + 1) of the objective's Hessian by differences of its gradient."""
    step, ids = 1e-5, torch.tensor([index])
    blocks = torch.zeros(len(theta), theta.shape[1], theta.shape[1], dtype=torch.float64)
    for k in range(len(theta)):
        for column in range(theta.shape[1]):
            moved = torch.zeros_like(theta)
            moved[k, column] = step
            above = objective.evaluate(ids, (theta + moved).unsqueeze(0))[1][0]
            below = objective.evaluate(ids, (theta - moved).unsqueeze(0))[1][0]
            blocks[k, :, column] = (above - below)[k] / (2 * step)
    return blocks


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have blocks a class made, even of small problems, from so many rows a direction."""
    monkeypatch.setattr(class_blocks, "WHOLE_BELOW", 0)
    # Small problems would sum over all their rows.
    monkeypatch.setattr(class_blocks, "BLOCK_OVERHEAD", 0)
    return lambda rows: monkeypatch.setattr(class_blocks, "ROWS_PER_DIRECTION", rows)


def without_projection(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the common part in the gradient of a softmax: taking it out mixes the classes."""
    monkeypatch.setattr(objective, "project", lambda gradient: gradient)


@pytest.mark.parametrize("problem", [softmax_problem, sigmoid_problem])
@pytest.mark.parametrize("index", [0, 1])
def test_with_all_rows_drawn_the_blocks_are_the_hessians(
    sampled: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, problem: Any, index: int
) -> None:
    sampled(1_000)
    objective, theta = problem(torch.float64)
    without_projection(objective, monkeypatch)
    hessian = hessian_blocks(objective, index, theta)
    product = Blocks.at(objective, index, theta).inverse @ hessian
    assert torch.allclose(product, torch.eye(6, dtype=torch.float64).expand_as(hessian), atol=1e-4)


@pytest.mark.parametrize("problem", [softmax_problem, sigmoid_problem])
def test_the_whole_hessian_of_a_small_problem_makes_newton_steps(monkeypatch: pytest.MonkeyPatch, problem: Any) -> None:
    objective, theta = problem(torch.float64)
    without_projection(objective, monkeypatch)
    direction = torch.from_numpy(np.random.default_rng(8).normal(size=tuple(theta.shape)))
    direction[:, -1] -= direction[:, -1].mean() if len(theta) > 1 else 0  # a common intercept has no curvature
    step, ids = 1e-5, torch.tensor([1])
    above, below = (objective.evaluate(ids, (theta + s * direction).unsqueeze(0))[1][0] for s in (step, -step))
    found = Blocks.at(objective, 1, theta).apply((above - below) / (2 * step))
    found[:, -1] -= found[:, -1].mean() if len(theta) > 1 else 0
    assert torch.allclose(found, direction, atol=1e-3)


def test_shifted_blocks_are_those_of_the_other_penalty(sampled: Callable[[int], None]) -> None:
    sampled(1_000)
    objective, theta = softmax_problem(torch.float64)
    shifted = Blocks.of(Blocks.at(objective, 0, theta).curvature, objective, 1)
    assert torch.allclose(shifted.inverse, Blocks.at(objective, 1, theta).inverse)


def test_with_some_rows_drawn_blocks_are_close(sampled: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of 20 rows a direction has eigenvalues within (1 +- sqrt(1 / 20))^2 of the truth, and some luck."""
    sampled(20)
    objective, theta = softmax_problem(torch.float64, n=2_000)
    without_projection(objective, monkeypatch)
    values = torch.linalg.eigvals(Blocks.at(objective, 0, theta).inverse @ hessian_blocks(objective, 0, theta)).real
    assert 0.4 < float(values.min()) < float(values.max()) < 2.5
    assert float((values - 1).abs().max()) > 1e-3  # not all rows were looked at


def test_blocks_have_the_precision_of_the_products(sampled: Callable[[int], None]) -> None:
    sampled(4)
    objective, theta = softmax_problem(torch.float32)
    inverse = Blocks.at(objective, 0, theta).inverse
    assert inverse.dtype == torch.float32
    assert bool((torch.linalg.eigvalsh(inverse.double()) > 0).all())


def test_blocks_that_do_not_fit_are_never_worth_it(
    sampled: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled(4)
    objective, theta = softmax_problem(torch.float32)
    made = Blocks.at(objective, 0, theta)
    monkeypatch.setattr(class_blocks, "MAX_BYTES", 2 * (made.curvature.nbytes + made.inverse.nbytes) - 1)
    assert rounds_worth(objective, 2) == float("inf")
    assert 0 < rounds_worth(objective, 1) < float("inf")
