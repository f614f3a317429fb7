"""The parts of the solver that do not know of classes: the line search and the batched minimiser."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from evalsuite.probe.optimiser.lbfgs import Options, minimise
from evalsuite.probe.optimiser.search import CURVATURE, MAX_BLIND_TRIALS, SUFFICIENT_DECREASE, Search, Verdict


@pytest.mark.parametrize("minimum", [1e-4, 0.03, 0.9, 7.0, 1e4])
@pytest.mark.parametrize("shape", ["parabola", "corner"])
def test_the_line_search_meets_strong_wolfe(minimum: float, shape: str) -> None:
    def phi(a: float) -> tuple[float, float]:
        t = a / minimum - 1
        if shape == "parabola":
            return t * t, 2 * t / minimum
        # Two straight lines with a rounded corner, as a logistic loss looks from far away.
        root = math.sqrt(t * t + 1e-4)
        return root, t / root / minimum

    value, slope = phi(0.0)
    search = Search(value, slope, noise=0.0)
    verdict, trials = Verdict.CONTINUE, 0
    while verdict is Verdict.CONTINUE:
        step = search.step
        verdict, trials = search.tell(*phi(step)), trials + 1
    assert verdict is Verdict.ACCEPT
    assert phi(step)[0] <= value + SUFFICIENT_DECREASE * step * slope
    assert abs(phi(step)[1]) <= CURVATURE * abs(slope)
    assert trials <= 20


def test_the_line_search_survives_overflow_and_gives_up() -> None:
    search = Search(1.0, -1.0, noise=0.0)
    assert search.tell(math.inf, math.nan) is Verdict.CONTINUE
    assert 0 < search.step < 1
    verdicts = [search.tell(2.0, 1.0) for _ in range(40)]
    assert Verdict.FAIL in verdicts
    assert Verdict.ACCEPT not in verdicts


@pytest.mark.parametrize("slope", [1e-12, 1.0, math.nan])
def test_a_direction_that_rounding_turned_uphill_is_given_up_at_once(slope: float) -> None:
    assert Search(1.0, slope, noise=0.0).tell(1.1, 2 * slope) is Verdict.FAIL


def test_a_direction_that_promises_less_than_the_noise_is_not_followed_long() -> None:
    search, verdicts = Search(1.0, -1e-12, noise=1e-6), []
    while Verdict.FAIL not in verdicts:
        verdicts.append(search.tell(1.0, -1e-12 if len(verdicts) % 2 else 1e-12))
    assert len(verdicts) == MAX_BLIND_TRIALS


class Quadratics:
    """F_p(x) = (x - p)' diag(scale) (x - p) / 2 + 1, with condition number 10^(2 p)."""

    def __init__(self, n_problems: int, size: int) -> None:
        exponents = torch.linspace(0, 2, size, dtype=torch.float64)
        self.scales = torch.stack([10 ** (exponents * p) for p in range(n_problems)])
        self.asked: list[list[int]] = []

    def evaluate(self, ids: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(ids.tolist())
        gap = points - ids[:, None]
        gradient = self.scales[ids] * gap
        return (gradient * gap).sum(dim=1) / 2 + 1, gradient

    def precondition(self, ids: Tensor, gradients: Tensor) -> Tensor:
        return gradients.clone()

    def refresh(self, ids: Tensor, points: Tensor) -> list[int]:
        return []


def test_minimise_runs_problems_side_by_side_and_drops_them() -> None:
    problem = Quadratics(3, 20)
    options = Options(tolerance=1e-10, max_iterations=700, floors=[1.0] * 3, noise=1e-15)
    found = minimise(problem, torch.full((3, 20), 5.0, dtype=torch.float64), options)
    assert found.converged == (True, True, True)
    assert found.values == pytest.approx((1.0, 1.0, 1.0), abs=1e-10)
    for p in range(3):
        assert torch.allclose(found.points[p], torch.full((20,), float(p), dtype=torch.float64), atol=1e-3)
    assert found.iterations[0] < found.iterations[2]
    assert problem.asked[0] == [0, 1, 2]
    assert problem.asked[-1] == [2]
    assert len(problem.asked) == max(found.evaluations)


def test_minimise_stops_at_the_limit() -> None:
    options = Options(tolerance=1e-10, max_iterations=3, floors=[1.0] * 3, noise=1e-15)
    found = minimise(Quadratics(3, 20), torch.full((3, 20), 5.0, dtype=torch.float64), options)
    assert found.iterations[2] == 3
    assert not found.converged[2]
    assert found.values[2] > 1.1


def test_a_start_at_the_minimum_has_converged() -> None:
    start = torch.arange(3, dtype=torch.float64)[:, None].expand(3, 20).contiguous()
    found = minimise(Quadratics(3, 20), start, Options(1e-10, 500, [1.0] * 3, noise=1e-15))
    assert found.converged == (True, True, True)
    assert max(found.evaluations) <= 4
    assert torch.equal(found.points, start)


class Rising(Quadratics):
    """Whose values rise whatever is asked, as rounding may have it; the slopes say that there is far to go."""

    def evaluate(self, ids: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = super().evaluate(ids, points)
        return value + 1e6 * len(self.asked), gradient


def test_a_search_that_finds_nothing_has_not_converged_for_that() -> None:
    start = torch.full((3, 20), 5.0, dtype=torch.float64)
    found = minimise(Rising(3, 20), start, Options(1e-10, 500, [1.0] * 3, noise=1e-15))
    assert found.converged == (False, False, False)
