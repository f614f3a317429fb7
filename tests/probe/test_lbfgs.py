"""The parts of the solver that do not know of classes: the line search and the descent."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from evalsuite.probe.optimiser.lbfgs import Descent, Options
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
    """One problem for each condition number 10^k: (x - k)' diag(10^0 .. 10^k) (x - k) / 2 + 1, next to each other."""

    def __init__(self, *powers: int, size: int = 20) -> None:
        exponents = torch.linspace(0, 1, size, dtype=torch.float64)
        self.scales = torch.stack([10 ** (exponents * power) for power in powers])
        self.goal = torch.tensor(powers, dtype=torch.float64)[:, None].expand(-1, size)

    def evaluate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        gap = point.view_as(self.goal) - self.goal
        gradient = self.scales * gap
        return (gradient * gap).sum(dim=1) / 2 + 1, gradient.flatten()

    def precondition(self, vectors: Tensor) -> Tensor:
        return vectors.clone()

    def refresh(self, point: Tensor) -> bool:
        return False


class Unequal(Quadratics):
    """Whose first problem is worth a millionth, as its preconditioner knows."""

    share = torch.tensor([[1e-6], [1.0]], dtype=torch.float64)

    def evaluate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        values, gradient = super().evaluate(point)
        return values * self.share[:, 0], (gradient.view(2, -1) * self.share).flatten()

    def precondition(self, vectors: Tensor) -> Tensor:
        return (vectors.view(len(vectors), 2, -1) / self.share).flatten(1)


def minimise(problem: Quadratics, start: Tensor, max_iterations: int = 500) -> Descent:
    descent = Descent(problem, start, Options(1e-10, max_iterations, [1.0] * len(problem.goal)))
    descent.run(noise=1e-15)
    return descent


def far(problem: Quadratics) -> Tensor:
    return torch.full_like(problem.goal, 5.0).flatten()


@pytest.mark.parametrize("powers", [(0,), (2,), (0, 2), (4,)])
def test_problems_are_minimised_next_to_each_other(powers: tuple[int, ...]) -> None:
    problem = Quadratics(*powers)
    found = minimise(problem, far(problem))
    assert found.stop.passed
    assert found.value == pytest.approx(len(powers), abs=1e-10)
    assert torch.allclose(found.point, problem.goal.flatten(), atol=1e-3)


def test_every_problem_is_near_its_own_minimum() -> None:
    """The first is worth a millionth of the second, and is not stopped earlier for that."""
    problem = Unequal(2, 0)
    descent = Descent(problem, far(problem), Options(1e-3, 500, [1e-6, 1.0]))
    descent.run(noise=1e-15)
    assert descent.stop.passed
    assert Quadratics(2, 0).evaluate(descent.point)[0].max() < 1 + 1e-3


def test_minimise_stops_at_the_limit() -> None:
    problem = Quadratics(4)
    found = minimise(problem, far(problem), max_iterations=3)
    assert found.iterations == 3
    assert not found.stop.passed
    assert found.value > 1.1


def test_a_start_at_the_minimum_has_converged() -> None:
    problem = Quadratics(4)
    found = minimise(problem, problem.goal.flatten())
    assert found.stop.passed
    assert found.evaluations <= 4
    assert torch.equal(found.point, problem.goal.flatten())


def test_one_more_look_is_enough_where_the_stop_was_passed() -> None:
    problem = Quadratics(2)
    found = minimise(problem, far(problem))
    before = found.evaluations
    found.run(noise=1e-15)
    assert found.stop.passed and found.evaluations == before + 1


class Rising(Quadratics):
    """Whose values rise whatever is asked, as rounding may have it; the slopes say that there is far to go."""

    asked = 0

    def evaluate(self, point: Tensor) -> tuple[Tensor, Tensor]:
        self.asked += 1
        value, gradient = super().evaluate(point)
        return value + 1e6 * self.asked, gradient


def test_a_search_that_finds_nothing_has_not_converged_for_that() -> None:
    problem = Rising(2)
    assert not minimise(problem, far(problem)).stop.passed
