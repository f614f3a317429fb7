"""The search for lambda: which points it tries, which it prefers, and what it reports."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.errors import EvalsuiteError
from evalsuite.probe import LAMBDAS, Solution, SweepResult, Targets, refit, solve, sweep
from evalsuite.probe.sweep import Grid


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, Targets]:
    """Four overlapping classes in 12 dimensions, most of them noise: (240, 12) float32."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, 4, (240,), generator=g)
    means = torch.randn(4, 12, generator=g) * 0.5
    return torch.randn(240, 12, generator=g) + means[y], Targets("multinomial", y, 4)


FIT, VALIDATION = torch.arange(0, 160), torch.arange(160, 240)


def run(data: tuple[torch.Tensor, Targets], peak: float | None = None, **options: object) -> SweepResult:
    """Sweep with the negative log loss as score, or with a score that is highest at lambda = `peak`."""
    x, targets = data

    def log_likelihood(logits: torch.Tensor) -> float:
        assert logits.shape == (80, 4)
        return -float(torch.nn.functional.cross_entropy(logits, targets.values[VALIDATION]))

    if peak is None:
        return sweep(x, targets, fit_rows=FIT, validation_rows=VALIDATION, score=log_likelihood, **options)  # type: ignore[arg-type]

    return scored(data, lambda point: -abs(round(8 * math.log10(LAMBDAS[point] / peak))))


def scored(
    data: tuple[torch.Tensor, Targets], score_of: Callable[[int], float], grid: str = "parametric"
) -> SweepResult:
    """Sweep with a score that depends on the place of lambda on the grid alone."""
    x, targets = data
    # The norm of the weights falls with lambda, so that the spread of the logits tells which lambda it is: around 1e-4
    # neighbours differ by 1e-5, which takes tight fits to see.
    spread = [float(fit.logits(0, x, VALIDATION).std()) for fit in _every_fit(data).values()]

    def score(logits: torch.Tensor) -> float:
        return score_of(min(range(len(spread)), key=lambda point: abs(spread[point] - float(logits.std()))))

    return sweep(x, targets, fit_rows=FIT, validation_rows=VALIDATION, score=score, tolerance=1e-12, grid=grid)  # type: ignore[arg-type]


_FITS: dict[float, Solution] = {}


def _every_fit(data: tuple[torch.Tensor, Targets]) -> dict[float, Solution]:
    if not _FITS:
        x, targets = data
        found = solve(x, targets, LAMBDAS, rows=FIT, tolerance=1e-12)
        _FITS.update({lam: found.select(i) for i, lam in enumerate(LAMBDAS)})
    return _FITS


def test_the_grid_is_the_papers() -> None:
    assert len(LAMBDAS) == 97
    assert LAMBDAS[0] == pytest.approx(1e-6)
    assert LAMBDAS[-1] == pytest.approx(1e6)
    assert LAMBDAS[1] / LAMBDAS[0] == pytest.approx(10 ** (1 / 8))


@pytest.mark.parametrize("index", [16, 24, 37, 51, 64])
def test_the_search_finds_any_peak_of_the_grid(data: tuple[torch.Tensor, Targets], index: int) -> None:
    found = run(data, peak=LAMBDAS[index])
    assert found.best_lambda == LAMBDAS[index]
    assert found.plateau == (LAMBDAS[index], LAMBDAS[index])
    assert len(found.tried) <= 16  # one more than the paper's 15: points at equal distance from the peak tie once


def test_the_points_tried(data: tuple[torch.Tensor, Targets]) -> None:
    found = scored(data, lambda point: -abs(point - 51.2))
    tried = [LAMBDAS.index(trial["lambda"]) for trial in found.tried]
    # 7 points; then 48 +- 8, 48 +- 4 (52 wins), 52 +- 2, and 52 +- 1.
    assert tried == sorted([0, 16, 32, 48, 64, 80, 96, 40, 56, 44, 52, 50, 54, 51, 53])


def test_a_real_score_agrees_with_the_full_grid(data: tuple[torch.Tensor, Targets]) -> None:
    quick, full = run(data), run(data, grid="full")
    assert len(full.tried) == 97
    assert [trial["lambda"] for trial in full.tried] == list(LAMBDAS)
    assert quick.best_lambda == full.best_lambda
    assert 1e-3 < quick.best_lambda < 1e4
    assert all(trial["converged"] for trial in full.tried)


def test_of_lambdas_that_all_tie_the_middle_is_taken(data: tuple[torch.Tensor, Targets]) -> None:
    x, targets = data
    found = sweep(x, targets, fit_rows=FIT, validation_rows=VALIDATION, score=lambda logits: 0.5)
    assert found.best_lambda == LAMBDAS[48] and found.plateau == (LAMBDAS[0], LAMBDAS[-1])
    assert found.solution.lambdas == (LAMBDAS[48],)
    assert len(found.tried) == 7


@pytest.mark.parametrize("grid", ["parametric", "full"])
@pytest.mark.parametrize(("first", "last", "middle"), [(40, 56, 48), (35, 49, 42), (33, 66, 50), (52, 53, 53)])
def test_the_middle_of_a_plateau_is_taken(
    data: tuple[torch.Tensor, Targets], grid: str, first: int, last: int, middle: int
) -> None:
    """Both ends are found to a step of the grid, as the full grid has them."""
    found = scored(data, lambda point: -max(first - point, point - last, 0), grid)
    assert found.plateau == (LAMBDAS[first], LAMBDAS[last]) and found.best_lambda == LAMBDAS[middle]
    assert len(found.tried) <= (97 if grid == "full" else 7 + 3 * 4 + 1)


def test_a_middle_that_is_worse_parts_the_plateau(data: tuple[torch.Tensor, Targets]) -> None:
    """16 to 80 tie but for 49: the wider part is 16 .. 48 in the full grid."""
    found = scored(data, lambda point: float(16 <= point <= 80 and point != 49), "full")
    assert found.plateau == (LAMBDAS[16], LAMBDAS[48]) and found.best_lambda == LAMBDAS[32]
    apart = scored(data, lambda point: float(point in (20, 21, 30, 31, 40)), "full")
    assert apart.plateau == (LAMBDAS[30], LAMBDAS[31]) and apart.best_lambda == LAMBDAS[31]
    quick = scored(data, lambda point: float(32 <= point <= 80 and point not in (55, 56, 57)))
    assert LAMBDAS.index(quick.best_lambda) not in (55, 56, 57)
    best = next(trial for trial in quick.tried if trial["lambda"] == quick.best_lambda)
    assert best["score"] == 1 and quick.plateau[0] <= quick.best_lambda <= quick.plateau[1]


class NoFits:
    """Takes the place of the solver: the logits of a fit are the number of its lambda on the grid."""

    def __init__(self, *_: object) -> None:
        self.index = -1

    def solve(self, lambdas: list[float], *_: object) -> Solution:
        """Return a solution of one lambda."""
        one, none = (0.0,), torch.zeros(1, 1)
        found = Solution(tuple(lambdas), none[None], none, one, (1,), one, one, (True,), (1,), none[0])
        object.__setattr__(found, "logits", lambda *_: torch.tensor(LAMBDAS.index(lambdas[0])))
        return found


def plainly(scores: dict[int, float]) -> tuple[int, int, int]:
    """Return first, middle and last of the widest run of the highest score, of equally wide ones the last."""
    best, points = (-1, 0, 0), sorted(scores)
    for place, first in enumerate(points):
        for last in points[place:]:
            if all(scores[p] == max(scores.values()) for p in points if first <= p <= last):
                best = max(best, (last - first, first, last))
    return best[1], math.ceil((best[1] + best[2]) / 2), best[2]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), min_size=1, max_size=20),
    st.sampled_from(["parametric", "full"]),
)
def test_whatever_the_scores_the_middle_of_the_widest_plateau_was_tried(
    runs: list[tuple[int, int]], grid: Grid
) -> None:
    scores = (list(chain.from_iterable([score] * length for score, length in runs)) * 97)[:97]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["evalsuite.probe.sweep"], "Prepared", NoFits)
        found = sweep(
            torch.zeros(1, 1), Targets("multinomial", torch.zeros(1), 1), fit_rows=FIT, validation_rows=VALIDATION,
            score=lambda logits: float(scores[int(logits)]), grid=grid,
        )  # fmt: skip
    tried = {LAMBDAS.index(trial["lambda"]): trial["score"] for trial in found.tried}
    assert tried == {point: scores[point] for point in (range(97) if grid == "full" else sorted(tried))}
    first, middle, last = plainly(tried)
    assert (found.best_lambda, found.plateau) == (LAMBDAS[middle], (LAMBDAS[first], LAMBDAS[last]))
    assert found.solution.lambdas == (found.best_lambda,)
    # beyond both ends of the plateau, the next of the grid was tried and is worse
    assert all(point in tried for point in (first - 1, last + 1) if 0 <= point < 97)


def test_the_solution_is_the_best_fit(data: tuple[torch.Tensor, Targets]) -> None:
    x, targets = data
    found = run(data)
    assert found.solution.lambdas == (found.best_lambda,)
    best = next(trial for trial in found.tried if trial["lambda"] == found.best_lambda)
    assert best["score"] == max(trial["score"] for trial in found.tried)
    assert best["objective"] == found.solution.objective[0]
    fresh = solve(x[FIT], Targets("multinomial", targets.values[FIT], 4), [found.best_lambda])
    assert fresh.objective[0] == pytest.approx(found.solution.objective[0], rel=2e-6)


def test_validation_rows_keep_their_order(data: tuple[torch.Tensor, Targets]) -> None:
    x, targets = data
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1)) + 160
    seen: list[torch.Tensor] = []

    def keep(logits: torch.Tensor) -> float:
        seen.append(logits)
        return -float(len(seen))

    found = sweep(x, targets, fit_rows=FIT, validation_rows=order, score=keep)
    # The first lambda tried scores best, so that its fit is the solution.
    assert found.best_lambda == LAMBDAS[-1]
    assert torch.equal(seen[0], found.solution.logits(0, x[order]))


def test_refit_uses_all_rows_and_the_warm_start(data: tuple[torch.Tensor, Targets]) -> None:
    x, targets = data
    found = run(data)
    warm = refit(x, targets, found.best_lambda, warm_start=found.solution)
    cold = solve(x, targets, [found.best_lambda], tolerance=1e-8)
    assert warm.objective[0] == pytest.approx(cold.objective[0], rel=1e-7)
    assert warm.objective[0] > found.solution.objective[0] * 1.1
    assert warm.converged == (True,)


def test_progress_is_told_once_a_round(data: tuple[torch.Tensor, Targets]) -> None:
    rounds: list[tuple[int, int]] = []
    run(data, on_round=lambda done, total: rounds.append((done, total)))
    assert rounds == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_bad_arguments_are_refused(data: tuple[torch.Tensor, Targets]) -> None:
    x, targets = data
    with pytest.raises(EvalsuiteError, match="'fine'"):
        run(data, grid="fine")
    with pytest.raises(EvalsuiteError, match="at least one validation row"):
        sweep(x, targets, fit_rows=FIT, validation_rows=FIT[:0], score=lambda logits: 0.0)
    with pytest.raises(EvalsuiteError, match="not a number"):
        sweep(x, targets, fit_rows=FIT, validation_rows=VALIDATION, score=lambda logits: math.nan)
