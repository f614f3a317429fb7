"""The parts of the solver that do not know of classes: the line search and the descent."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from evalsuite.probe.optimiser.lbfgs import Descent
from evalsuite.probe.optimiser.search import CURVATURE, MAX_BLIND_TRIALS, SUFFICIENT_DECREASE, Trial, search


class Looks:
    """Makes trials of a function of the step that returns phi and phi', and keeps them."""

    def __init__(self, phi: Callable[[float], tuple[float, float]]) -> None:
        self.phi, self.trials = phi, list[Trial]()

    def __call__(self, step: float) -> Trial:
        self.trials.append(Trial(step, *self.phi(step)))
        return self.trials[-1]


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

    start, looks = Trial(0.0, *phi(0.0)), Looks(phi)
    found = search(looks, start, noise=0.0)
    assert found is looks.trials[-1]
    assert found.value <= start.value + SUFFICIENT_DECREASE * found.step * start.slope
    assert abs(found.slope) <= CURVATURE * abs(start.slope)
    assert len(looks.trials) <= 20


@pytest.mark.parametrize("overflow", [(math.inf, math.nan), (math.inf, math.inf), (1.0, math.inf), (math.nan, 1.0)])
def test_the_line_search_survives_overflow(overflow: tuple[float, float]) -> None:
    looks = Looks(lambda step: overflow if step > 0.3 else ((step - 0.2) ** 2, 2 * (step - 0.2)))
    assert search(looks, Trial(0.0, 0.04, -0.4), noise=0.0) is not None
    assert 1 < len(looks.trials) <= 20


def test_the_line_search_gives_up() -> None:
    looks = Looks(lambda step: (2.0, 1.0))
    assert search(looks, Trial(0.0, 1.0, -1.0), noise=0.0) is None
    assert all(0 < trial.step <= 1 for trial in looks.trials)
    assert len(looks.trials) > MAX_BLIND_TRIALS


@pytest.mark.parametrize("slope", [1e-12, 1.0, math.nan])
def test_a_direction_that_rounding_turned_uphill_is_given_up_at_once(slope: float) -> None:
    looks = Looks(lambda step: (1.1, 2 * slope))
    assert search(looks, Trial(0.0, 1.0, slope), noise=0.0) is None
    assert len(looks.trials) == 1


def test_a_direction_that_promises_less_than_the_noise_is_not_followed_long() -> None:
    looks = Looks(lambda step: (1.0, -1e-12 if len(looks.trials) % 2 else 1e-12))
    assert search(looks, Trial(0.0, 1.0, -1e-12), noise=1e-6) is None
    assert len(looks.trials) == MAX_BLIND_TRIALS


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
    descent = Descent(problem, start, 1e-10, max_iterations, [1.0] * len(problem.goal))
    descent.run(noise=1e-15)
    return descent


def far(problem: Quadratics) -> Tensor:
    return torch.full_like(problem.goal, 5.0).flatten()


@pytest.mark.parametrize("powers", [(0,), (2,), (0, 2), (4,)])
def test_problems_are_minimised_next_to_each_other(powers: tuple[int, ...]) -> None:
    problem = Quadratics(*powers)
    found = minimise(problem, far(problem))
    assert found.stop.passed
    assert found.here.value == pytest.approx(len(powers), abs=1e-10)
    assert torch.allclose(found.here.point, problem.goal.flatten(), atol=1e-3)


def test_every_problem_is_near_its_own_minimum() -> None:
    """The first is worth a millionth of the second, and is not stopped earlier for that."""
    problem = Unequal(2, 0)
    descent = Descent(problem, far(problem), 1e-3, 500, [1e-6, 1.0])
    descent.run(noise=1e-15)
    assert descent.stop.passed
    assert Quadratics(2, 0).evaluate(descent.here.point)[0].max() < 1 + 1e-3


def test_minimise_stops_at_the_limit() -> None:
    problem = Quadratics(4)
    found = minimise(problem, far(problem), max_iterations=3)
    assert found.iterations == 3
    assert not found.stop.passed
    assert found.here.value > 1.1


def test_a_start_at_the_minimum_has_converged() -> None:
    problem = Quadratics(4)
    found = minimise(problem, problem.goal.flatten())
    assert found.stop.passed
    assert found.evaluations <= 4
    assert torch.equal(found.here.point, problem.goal.flatten())


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
