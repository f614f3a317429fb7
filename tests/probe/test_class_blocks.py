"""The second preconditioner: blocks of the Hessian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from evalsuite.probe.objective import Design, Objective, Sigmoid, Softmax
from evalsuite.probe.preconditioner import class_blocks, leverage
from evalsuite.probe.preconditioner.class_blocks import Blocks, rounds_worth
from evalsuite.probe.preconditioner.symmetric import Symmetric


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
    lambdas = torch.tensor([0.1, 2.0], dtype=torch.float64)
    return Sigmoid(design, lambdas, labels, torch.tensor([1, 0])), torch.from_numpy(rng.normal(size=(1, dim + 1)))


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
    monkeypatch.setattr(leverage, "NEGLIGIBLE", 0)
    return lambda rows: monkeypatch.setattr(leverage, "ROWS", rows)


def dense(found: Symmetric) -> torch.Tensor:
    """Return the whole matrices (B, d, d) float64."""
    lower = found.lower(0, len(found)).tril()
    return lower + lower.tril(-1).transpose(1, 2)


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
    product = dense(Blocks.at(objective, index, theta, float(objective.lambdas[index]), 1).inverse) @ hessian
    assert torch.allclose(product, torch.eye(6, dtype=torch.float64).expand_as(hessian), atol=1e-4)


@pytest.mark.parametrize("problem", [softmax_problem, sigmoid_problem])
def test_the_whole_hessian_of_a_small_problem_makes_newton_steps(monkeypatch: pytest.MonkeyPatch, problem: Any) -> None:
    objective, theta = problem(torch.float64)
    without_projection(objective, monkeypatch)
    direction = torch.from_numpy(np.random.default_rng(8).normal(size=tuple(theta.shape)))
    direction[:, -1] -= direction[:, -1].mean() if len(theta) > 1 else 0  # a common intercept has no curvature
    step, ids = 1e-5, torch.tensor([1])
    above, below = (objective.evaluate(ids, (theta + s * direction).unsqueeze(0))[1][0] for s in (step, -step))
    found = Blocks.at(objective, 1, theta, 2.0, 1).apply(((above - below) / (2 * step)).unsqueeze(0))[0]
    found[:, -1] -= found[:, -1].mean() if len(theta) > 1 else 0
    assert torch.allclose(found, direction, atol=1e-3)


def test_shifted_blocks_are_those_of_the_other_penalty(sampled: Callable[[int], None]) -> None:
    sampled(1_000)
    objective, theta = softmax_problem(torch.float64)
    made = Blocks.at(objective, 0, theta, 0.1, 1)
    assert made.curvature is not None
    shifted = Blocks.of(made.curvature, objective, 2.0)
    assert torch.allclose(dense(shifted.inverse), dense(Blocks.at(objective, 1, theta, 2.0, 1).inverse))


def test_with_some_rows_drawn_blocks_are_close(sampled: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of 20 rows a direction has eigenvalues within (1 +- sqrt(1 / 20))^2 of the truth, and some luck."""
    sampled(20)
    objective, theta = softmax_problem(torch.float64, n=2_000)
    without_projection(objective, monkeypatch)
    inverse = dense(Blocks.at(objective, 0, theta, 0.1, 1).inverse)
    values = torch.linalg.eigvals(inverse @ hessian_blocks(objective, 0, theta)).real
    assert 0.4 < float(values.min()) < float(values.max()) < 2.5
    assert float((values - 1).abs().max()) > 1e-3  # not all rows were looked at


def test_blocks_have_the_precision_of_the_products(sampled: Callable[[int], None]) -> None:
    sampled(4)
    objective, theta = softmax_problem(torch.float32)
    inverse = Blocks.at(objective, 0, theta, 0.1, 1).inverse
    assert inverse.tiles.dtype == torch.float32
    assert bool((torch.linalg.eigvalsh(dense(inverse)) > 0).all())


def test_blocks_that_do_not_fit_are_never_worth_it(
    sampled: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled(4)
    objective, theta = softmax_problem(torch.float32)
    size = Blocks.at(objective, 0, theta, 0.1, 1).inverse.tiles.nbytes
    monkeypatch.setattr(class_blocks, "MAX_BYTES", 2 * size - 1)
    assert rounds_worth(objective, 2) == float("inf")
    assert 0 < rounds_worth(objective, 1) < float("inf")


def test_where_only_inverses_fit_curvatures_are_not_kept(
    sampled: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled(4)
    objective, theta = softmax_problem(torch.float32)
    whole = Blocks.at(objective, 0, theta, 0.1, 1)
    assert whole.curvature is not None
    monkeypatch.setattr(class_blocks, "MAX_BYTES", 2 * whole.inverse.tiles.nbytes - 1)
    made = Blocks.at(objective, 0, theta, 0.1, 1)
    assert made.curvature is None
    assert torch.equal(made.inverse.tiles, whole.inverse.tiles)
