"""The second preconditioner: blocks of the Hessian, and what they are worth to a fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.one_sweep import without
from evalsuite.probe import Prepared, Targets
from evalsuite.probe.objective import Design, Objective, Sigmoid, Softmax
from evalsuite.probe.preconditioner.class_blocks import ClassBlocks, passes_worth

LAMBDAS = (0.1, 2.0)


def correlated_rows(n: int, dim: int) -> torch.Tensor:
    """Features that all but equal one another; what sets them apart is in few rows: (n, dim) float64."""
    rng = np.random.default_rng(7)
    common = rng.normal(size=(n, 1))
    rare = rng.normal(size=(n, dim)) * (rng.uniform(size=(n, dim)) < 0.01)
    return torch.from_numpy(common + 1e-3 * rng.normal(size=(n, dim)) + 0.1 * rare)


def softmax_problem(n: int, dim: int, penalty: float) -> tuple[Objective, torch.Tensor]:
    """Seven classes whose labels are noise, and a point (7, dim + 1)."""
    rng = np.random.default_rng(6)
    labels = torch.from_numpy(rng.integers(0, 7, n))
    point = torch.from_numpy(0.3 * rng.normal(size=(7, dim + 1)))
    return Softmax(Design.of(correlated_rows(n, dim), None), penalty, labels, 7), point


def sigmoid_problem(n: int, dim: int, penalty: float) -> tuple[Objective, torch.Tensor]:
    """A task that ignores a third of its rows, and a point (1, dim + 1)."""
    rng = np.random.default_rng(7)
    labels = torch.from_numpy(rng.integers(-1, 2, (1, n)).astype(np.int8))
    point = torch.from_numpy(rng.normal(size=(1, dim + 1)))
    return Sigmoid(Design.of(correlated_rows(n, dim), None), penalty, labels, 1), point


def hessians(objective: Objective, theta: torch.Tensor) -> torch.Tensor:
    """Return the diagonal blocks (K, D + 1, D + 1) of the Hessian, as the formula has them."""
    rows = objective.design.take(torch.arange(len(objective.design)))
    rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)
    logits = theta @ rows.T
    if isinstance(objective, Sigmoid):
        p = torch.sigmoid(logits)
        weights = p * (1 - p) * (objective.labels >= 0)
    else:
        p = torch.softmax(logits, dim=0)
        weights = p * (1 - p)
    added = torch.full((rows.shape[1],), objective.lambda_, dtype=torch.float64)
    added[-1] = 0
    return (rows.T * weights[:, None]) @ rows + torch.diag(added)


def product(objective: Objective, theta: torch.Tensor) -> torch.Tensor:
    """Return the blocks times the Hessians that they are to be the inverses of: (K, D + 1, D + 1)."""
    columns = hessians(objective, theta).permute(2, 0, 1)
    return ClassBlocks(objective, theta).times(columns).permute(1, 2, 0)


@pytest.mark.parametrize("problem", [softmax_problem, sigmoid_problem])
@pytest.mark.parametrize("penalty", LAMBDAS)
def test_of_few_rows_the_blocks_are_the_hessians(problem: object, penalty: float) -> None:
    objective, theta = problem(300, 40, penalty)  # type: ignore[operator]
    found = product(objective, theta)
    assert torch.allclose(found, torch.eye(41, dtype=torch.float64).expand_as(found), atol=1e-5)


@pytest.mark.parametrize("problem", [softmax_problem, sigmoid_problem])
def test_of_many_rows_no_direction_is_estimated_much_worse_than_another(problem: object) -> None:
    """The labels cannot be told from the features, so that every row matters and some have to be drawn."""
    objective, theta = problem(12_000, 40, 0.1)  # type: ignore[operator]
    values = torch.linalg.eigvals(product(objective, theta)).real
    assert 0.4 < float(values.min()) < float(values.max()) < 3
    assert float((values - 1).abs().max()) > 1e-3  # not all rows were looked at


def test_blocks_take_half_the_memory_where_products_are_float32() -> None:
    objective, theta = softmax_problem(300, 40, 0.1)
    single = Softmax(Design.of(correlated_rows(300, 40).float(), None), 0.1, objective.labels, 7)
    assert 2 * ClassBlocks(single, theta).inverses.nbytes == ClassBlocks(objective, theta).inverses.nbytes


def test_blocks_that_do_not_fit_the_memory_are_never_worth_it() -> None:
    def worth(n_classes: int) -> float:
        labels = torch.arange(300) % n_classes
        return passes_worth(Softmax(Design.of(torch.randn(300, 1200), None), 1.0, labels, n_classes))

    assert 0 < worth(7) < float("inf")
    assert worth(84) == float("inf")


@pytest.fixture(scope="module")
def hard() -> tuple[torch.Tensor, Targets]:
    """Nearly separable classes on unequal features: (3000, 40) float32."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 8, 3_000)
    x = (rng.normal(size=(3_000, 40)) + 1.1 * rng.normal(size=(8, 40))[labels]) * np.logspace(0, -2, 40)
    return torch.from_numpy(x).float(), Targets("multinomial", torch.from_numpy(labels), 8)


def passes(hard: tuple[torch.Tensor, Targets], *off: str) -> tuple[int, ...]:
    """Return the passes over the rows that each of some lambdas takes, and see that they were minimised."""
    with without(off):
        found = Prepared(*hard).solve([1e-4, 1e-2, 1.0], 1e-6)
    assert found.converged == (True, True, True)
    tight = Prepared(hard[0].double(), hard[1]).solve([1e-4, 1e-2, 1.0], 1e-10)
    for ours, best in zip(found.objective, tight.objective, strict=True):
        assert abs(ours - best) / max(best, 1e-3 * 3_000) < 1e-6
    return found.evaluations


def test_blocks_spare_a_hard_problem_passes(hard: tuple[torch.Tensor, Targets]) -> None:
    assert sum(passes(hard)) < 0.7 * sum(passes(hard, "class_blocks"))


def test_the_next_lambda_takes_the_blocks_over(hard: tuple[torch.Tensor, Targets]) -> None:
    assert passes(hard)[0] < passes(hard, "taken_over")[0]
