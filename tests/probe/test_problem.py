"""How the inverse Hessians of a fit follow it: when blocks are made, damped and taken over."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evalsuite.probe.objective import Design, Softmax
from evalsuite.probe.preconditioner import class_blocks
from evalsuite.probe.preconditioner import problem as bound_module
from evalsuite.probe.preconditioner.class_blocks import MIN_ROUNDS, Blocks
from evalsuite.probe.preconditioner.kronecker import Spectrum
from evalsuite.probe.preconditioner.problem import SHORT, SHORT_STEPS, PreconditionedProblem

PENALTY = 0.1
IDS = torch.tensor([0])


@pytest.fixture
def objective(monkeypatch: pytest.MonkeyPatch) -> Softmax:
    """Small, but with a block a class; they cost the fewest rounds there are."""
    monkeypatch.setattr(class_blocks, "WHOLE_BELOW", 0)
    rng = np.random.default_rng(0)
    design = Design.of(torch.from_numpy(rng.normal(size=(60, 5))), None)
    labels = torch.from_numpy(rng.integers(0, 3, 60))
    return Softmax(design, torch.tensor([PENALTY], dtype=torch.float64), labels, 3)


@pytest.fixture
def point() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).normal(size=(1, 18)))


def with_blocks(objective: Softmax, point: torch.Tensor) -> PreconditionedProblem:
    """A problem that has just got its blocks."""
    bound = PreconditionedProblem(objective, Spectrum.of(objective.design))
    for _ in range(MIN_ROUNDS):
        bound.refresh(IDS, point, [False], [1.0])
        assert 0 not in bound.blocks
    assert bound.refresh(IDS, point, [False], [1.0]) == [0]
    assert 0 in bound.blocks
    return bound


def applied(objective: Softmax, point: torch.Tensor, penalty: float) -> torch.Tensor:
    """What blocks of this penalty make of a gradient."""
    blocks = Blocks.at(objective, 0, point.view(3, 6), penalty, 1)
    return objective.project(blocks.apply(gradient().view(1, 3, 6))).flatten(1)


def gradient() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).normal(size=(1, 18)))


def test_blocks_are_made_once_their_cost_is_spent(objective: Softmax, point: torch.Tensor) -> None:
    bound = with_blocks(objective, point)
    assert torch.allclose(bound.precondition(IDS, gradient()), applied(objective, point, PENALTY))


def test_short_steps_damp_the_blocks(objective: Softmax, point: torch.Tensor) -> None:
    bound = with_blocks(objective, point)
    for _ in range(SHORT_STEPS - 1):
        assert bound.refresh(IDS, point, [False], [SHORT / 2]) == []
    assert bound.refresh(IDS, point, [False], [None]) == []  # a trial that was not accepted
    assert bound.refresh(IDS, point, [False], [SHORT / 2]) == [0]
    damped = applied(objective, point, PENALTY * bound_module.DAMPING)
    assert torch.allclose(bound.precondition(IDS, gradient()), damped)


def test_full_steps_do_not(objective: Softmax, point: torch.Tensor) -> None:
    bound = with_blocks(objective, point)
    for _ in range(MIN_ROUNDS):
        assert bound.refresh(IDS, point, [False], [1.0]) == []


def test_damping_is_taken_off_where_a_stop_is_asked(objective: Softmax, point: torch.Tensor) -> None:
    bound = with_blocks(objective, point)
    for _ in range(SHORT_STEPS):
        bound.refresh(IDS, point, [False], [SHORT / 2])
    assert bound.refresh(IDS, point, [True], [1.0]) == [0]
    assert torch.allclose(bound.precondition(IDS, gradient()), applied(objective, point, PENALTY))
    assert bound.refresh(IDS, point, [True], [1.0]) == []


def test_a_stop_is_confirmed_by_new_blocks_once_their_cost_is_spent(objective: Softmax, point: torch.Tensor) -> None:
    bound = with_blocks(objective, torch.zeros_like(point))
    for _ in range(MIN_ROUNDS):
        assert bound.refresh(IDS, point, [True], [1.0]) == []
    assert bound.refresh(IDS, point, [True], [1.0]) == [0]
    assert torch.allclose(bound.precondition(IDS, gradient()), applied(objective, point, PENALTY))


def test_new_blocks_are_damped_less_unless_steps_were_short(objective: Softmax, point: torch.Tensor) -> None:
    bound = with_blocks(objective, point)
    for _ in range(SHORT_STEPS):
        bound.refresh(IDS, point, [False], [SHORT / 2])
    kept = applied(objective, point, PENALTY * bound_module.DAMPING)
    while not bound.refresh(IDS, point, [False], [1.0]):
        pass
    assert torch.allclose(bound.precondition(IDS, gradient()), kept)
    while not bound.refresh(IDS, point, [False], [1.0]):
        pass
    assert torch.allclose(bound.precondition(IDS, gradient()), applied(objective, point, PENALTY))


@pytest.mark.parametrize(("known", "expected"), [(100 * PENALTY, 100 * PENALTY), (PENALTY / 100, PENALTY)])
def test_blocks_of_another_lambda_are_damped_by_it(
    objective: Softmax, point: torch.Tensor, known: float, expected: float
) -> None:
    curvature = Blocks.at(objective, 0, point.view(3, 6), PENALTY, 1).curvature
    assert curvature is not None
    bound = PreconditionedProblem(objective, Spectrum.of(objective.design), {0: (curvature, known)})
    while 0 not in bound.blocks:
        bound.refresh(IDS, torch.zeros_like(point), [False], [1.0])
    assert torch.allclose(bound.precondition(IDS, gradient()), applied(objective, point, expected))


def test_blocks_without_room_for_their_curvature_stay_as_they_are(
    objective: Softmax, point: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Blocks.at(objective, 0, point.view(3, 6), PENALTY, 1)
    monkeypatch.setattr(class_blocks, "MAX_BYTES", made.inverse.tiles.nbytes)
    bound = with_blocks(objective, point)
    for _ in range(SHORT_STEPS):
        assert bound.refresh(IDS, point, [False], [SHORT / 2]) == []
    assert torch.allclose(bound.precondition(IDS, gradient()), applied(objective, point, PENALTY))


def test_made_anew_for_a_stop_the_blocks_of_another_lambda_are_not_taken_later(
    objective: Softmax, point: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    curvature = Blocks.at(objective, 0, torch.zeros(3, 6, dtype=torch.float64), PENALTY, 1).curvature
    assert curvature is not None
    monkeypatch.setattr(bound_module, "shift_rounds", lambda _: 10 * MIN_ROUNDS)
    bound = PreconditionedProblem(objective, Spectrum.of(objective.design), {0: (curvature, PENALTY)})
    while 0 not in bound.blocks:
        bound.refresh(IDS, point, [True], [1.0])
    for _ in range(MIN_ROUNDS + 2):
        bound.refresh(IDS, point, [False], [1.0])
        assert torch.allclose(bound.precondition(IDS, gradient()), applied(objective, point, PENALTY))
