"""Random small problems of every kind the solver knows, against scikit-learn's newton-cg at a tight tolerance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from evalsuite.probe import Solution, Targets, solve
from evalsuite.probe.reduction import ABSENT_INTERCEPT

EXAMPLES = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
TOLERANCE, REFIT_TOLERANCE, PROBABILITY = 1e-6, 1e-8, 1e-3
"""What the sweep and the final fit promise, and how far a probability of the final fit may be off."""


@dataclass(frozen=True)
class Drawn:
    """x: (n, D) features; signal: (n,) class numbers they tell of; rows: what to train on, None for all."""

    x: torch.Tensor
    signal: NDArray[np.int64]
    rows: torch.Tensor | None
    lam: float
    rng: np.random.Generator

    def used(self) -> NDArray[np.int64]:
        """Return the rows to train on."""
        return np.arange(len(self.x)) if self.rows is None else self.rows.numpy()


@st.composite
def drawn(draw: st.DrawFn, min_classes: int = 3, max_classes: int = 6) -> Drawn:
    """Draw Gaussian classes; overlapping or separable, with more rows than features or fewer, some columns useless."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_classes = draw(st.integers(min_classes, max_classes))
    n, dim = draw(st.integers(4 * n_classes, 90)), draw(st.integers(2, 12))
    if draw(st.booleans()):
        event("fewer rows than features")
        dim = n + draw(st.integers(1, 20))
    separation = draw(st.sampled_from([0.5, 3.0, 20.0]))
    event(f"separation {separation}")
    signal = rng.permutation(np.arange(n) % n_classes)
    x = rng.normal(size=(n, dim)) + separation * rng.normal(size=(n_classes, dim))[signal]
    x *= np.logspace(0, -draw(st.sampled_from([0.0, 1.5])), dim)
    x += draw(st.sampled_from([0.0, 5.0]))
    for useless in draw(st.lists(st.sampled_from(["constant", "duplicate"]), max_size=3)):
        event(f"a {useless} column")
        column = np.full((n, 1), 3.0) if useless == "constant" else x[:, :1]
        x = np.concatenate([x, column], axis=1)
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    rows = None
    if draw(st.booleans()):
        event("a subset of the rows")
        # Every second row in the order of their classes: each class keeps some.
        rows = torch.from_numpy(rng.permutation(np.argsort(signal, kind="stable")[::2]))
    lam = 10.0 ** draw(st.integers(-2, 3))
    return Drawn(torch.from_numpy(x).to(dtype), signal, rows, lam, rng)


def optimum(x: NDArray[np.float64], y: NDArray[np.int64], lam: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scikit-learn's weights (C, D) and intercepts (C,); of two classes, those of the second."""
    model = LogisticRegression(C=1 / lam, solver="newton-cg", tol=1e-10, max_iter=10_000).fit(x, y)
    return torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)


def softmax_objective(
    x: torch.Tensor, y: torch.Tensor, lam: float, weights: torch.Tensor, intercepts: torch.Tensor
) -> float:
    loss = torch.nn.functional.cross_entropy(x @ weights.T + intercepts, y, reduction="sum")
    return float(loss + lam / 2 * weights.square().sum())


def sigmoid_objective(
    x: torch.Tensor, y: torch.Tensor, lam: float, weights: torch.Tensor, intercept: torch.Tensor
) -> float:
    loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ weights + intercept, y.double(), reduction="sum")
    return float(loss + lam / 2 * weights.square().sum())


def assert_optimal(found: float, best: float, n_rows: int) -> None:
    assert (found - best) / max(best, 1e-3 * n_rows) <= TOLERANCE


def both_fits(problem: Drawn, targets: Targets) -> tuple[Solution, Solution]:
    """Return the fit as a sweep makes it, and as the refit does, warm from the first."""
    sweeping = solve(problem.x, targets, [problem.lam], tolerance=TOLERANCE, rows=problem.rows)
    final = solve(problem.x, targets, [problem.lam], tolerance=REFIT_TOLERANCE, rows=problem.rows, warm_start=sweeping)
    assert sweeping.converged == final.converged == (True,)
    return sweeping, final


@EXAMPLES
@given(problem=drawn(), spread=st.booleans())
def test_multinomial(problem: Drawn, spread: bool) -> None:
    used = problem.used()
    labels = problem.signal * 2 + 1 if spread else problem.signal  # every second class is absent
    event(f"absent classes: {spread}")
    n_classes = int(labels.max()) + 2 if spread else int(labels.max()) + 1
    targets = Targets("multinomial", torch.from_numpy(labels), n_classes)
    x, y = problem.x[used].double(), torch.from_numpy(np.unique(labels[used], return_inverse=True)[1])
    weights, intercepts = optimum(x.numpy(), y.numpy(), problem.lam)
    best = softmax_objective(x, y, problem.lam, weights, intercepts)
    present = torch.from_numpy(np.unique(labels[used]))
    sweeping, final = both_fits(problem, targets)
    ours = sweeping.weights[0, present], sweeping.intercepts[0, present]
    assert_optimal(softmax_objective(x, y, problem.lam, *ours), best, len(y))
    assert sweeping.objective[0] == pytest.approx(softmax_objective(x, y, problem.lam, *ours), rel=1e-5, abs=1e-6)
    expected = torch.softmax(x @ weights.T + intercepts, dim=1)
    probabilities = torch.softmax(final.logits(0, problem.x).double(), dim=1)[used]
    assert torch.allclose(probabilities[:, present], expected, atol=PROBABILITY)
    absent = sorted(set(range(n_classes)) - set(present.tolist()))
    assert not probabilities[:, absent].any()
    assert not final.weights[0, absent].any()


@EXAMPLES
@given(problem=drawn(min_classes=2, max_classes=2))
def test_binary(problem: Drawn) -> None:
    used = problem.used()
    x, y = problem.x[used].double(), torch.from_numpy(problem.signal[used])
    weights, intercepts = optimum(x.numpy(), y.numpy(), problem.lam)
    best = sigmoid_objective(x, y, problem.lam, weights[0], intercepts[0])
    sweeping, final = both_fits(problem, Targets("multinomial", torch.from_numpy(problem.signal), 2))
    ours = sweeping.weights[0, 1] - sweeping.weights[0, 0], sweeping.intercepts[0, 1] - sweeping.intercepts[0, 0]
    assert_optimal(sigmoid_objective(x, y, problem.lam, *ours), best, len(y))
    expected = torch.sigmoid(x @ weights[0] + intercepts[0])
    probabilities = torch.softmax(final.logits(0, problem.x).double(), dim=1)[used, 1]
    assert torch.allclose(probabilities, expected, atol=PROBABILITY)


@EXAMPLES
@given(problem=drawn(), ignored=st.sampled_from([0.0, 0.3]))
def test_one_vs_rest(problem: Drawn, ignored: float) -> None:
    used = problem.used()
    n_classes = int(problem.signal.max()) + 1
    # A class more than there are signals: nobody has it.
    values = (problem.signal[:, None] == np.arange(n_classes + 1)).astype(np.int8)
    values[problem.rng.random(values.shape) < ignored] = -1
    event(f"ignored labels: {ignored}")
    targets = Targets("one_vs_rest", torch.from_numpy(values), n_classes + 1)
    sweeping, final = both_fits(problem, targets)
    for label in range(n_classes + 1):
        kept = used[values[used, label] >= 0]
        if len(np.unique(values[kept, label])) < 2:
            assert not final.weights[0, label].any()
            only_positives = len(kept) > 0 and bool(values[kept, label].all())
            assert float(final.intercepts[0, label]) == (-ABSENT_INTERCEPT if only_positives else ABSENT_INTERCEPT)
            continue
        x, y = problem.x[kept].double(), torch.from_numpy(values[kept, label].astype(np.int64))
        weights, intercepts = optimum(x.numpy(), y.numpy(), problem.lam)
        best = sigmoid_objective(x, y, problem.lam, weights[0], intercepts[0])
        ours = sweeping.weights[0, label], sweeping.intercepts[0, label]
        assert_optimal(sigmoid_objective(x, y, problem.lam, *ours), best, len(y))
        expected = torch.sigmoid(x @ weights[0] + intercepts[0])
        probabilities = torch.sigmoid(final.logits(0, problem.x).double())[kept, label]
        assert torch.allclose(probabilities, expected, atol=PROBABILITY)
