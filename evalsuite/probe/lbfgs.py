"""Full-batch L-BFGS on many independent problems that share each evaluation.

Every problem keeps its own history, line search and iteration count, as if it ran alone; only the
evaluations are shared: one round evaluates the current trial of every unfinished problem in one pass over
the features. A problem that has converged leaves the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from evalsuite.probe.line_search import LineSearch, Verdict

HISTORY = 10
"""Pairs (s, y) kept; scikit-learn's L-BFGS keeps as many. 100 of them save 10 % of the iterations on MNIST."""

GAP_SAFETY = 0.01
"""The stop asks the estimated gap to be this fraction of the tolerance. The estimate uses the inverse Hessian
of L-BFGS, which is too small along flat directions; on separable data it was seen to be up to 42 times too low."""

SLACK = 0.1
"""A line search may accept a rise of F by this fraction of the tolerance if the slopes agree. Rounding of
large float32 logits is often above its nominal size, and would end the search for nothing."""

CONSECUTIVE_HITS = 2
"""Iterations in a row that must pass the stop: one may pass by chance along a flat direction."""


class Problem(Protocol):
    """P smooth convex functions of n variables; the problems asked for are named by `ids` (A,) int64."""

    def evaluate(self, ids: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (A,) and gradients (A, n) at points (A, n), float64."""

    def precondition(self, ids: Tensor, gradients: Tensor) -> Tensor:
        """Return an approximate inverse Hessian, positive definite, times gradients (A, n)."""

    def refresh(self, ids: Tensor, points: Tensor) -> None:
        """Move the approximate inverse Hessian to points (A, n)."""


@dataclass(frozen=True)
class Options:
    """When to stop, and what rounding to expect.

    tolerance: on (F - F*) / max(F*, floor), floor one a problem; noise: relative rounding of a value.
    """

    tolerance: float
    max_iterations: int
    floors: Sequence[float]
    noise: float


@dataclass(frozen=True)
class Minimum:
    """Where each of P problems ended: points (P, n) float64; converged means the stop was passed."""

    points: Tensor
    values: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    gaps: tuple[float, ...]
    iterations: tuple[int, ...]
    evaluations: tuple[int, ...]
    converged: tuple[bool, ...]


def minimise(problem: Problem, start: Tensor, options: Options) -> Minimum:
    """Minimise every problem from its row of start (P, n) float64; P may be 0."""
    if len(start) == 0:
        return Minimum(start, (), (), (), (), (), ())
    batch = _Batch(problem, start, options)
    rounds = 0
    while batch.drop_finished():
        rounds += 1
        if rounds & (rounds - 1) == 0:
            # At 1, 2, 4, 8 ... rounds: the curvature moves fast at first and a refresh costs half a round.
            problem.refresh(batch.ids, batch.point)
        batch.aim(batch.advance())
    return batch.result()


@dataclass
class _Track:
    """The scalars of one problem."""

    floor: float
    search: LineSearch | None = None
    gap: float = float("inf")
    hits: int = 0
    pairs: int = 0
    iterations: int = 0
    evaluations: int = 1
    stalled: bool = False

    def finished(self, options: Options) -> bool:
        """Say whether nothing more is to be done for this problem."""
        return self.stalled or self.iterations >= options.max_iterations or self.converged

    @property
    def converged(self) -> bool:
        return self.hits >= CONSECUTIVE_HITS


class _Batch:
    """The unfinished problems, one a row of every tensor, and the results of the finished ones."""

    def __init__(self, problem: Problem, start: Tensor, options: Options) -> None:
        n_problems, size = start.shape
        self._problem, self._options = problem, options
        self.ids = torch.arange(n_problems, device=start.device)
        self.point = start.clone()
        self._value, self._gradient = problem.evaluate(self.ids, start)
        self._direction = torch.zeros_like(start)
        self._s = torch.zeros(n_problems, HISTORY, size, dtype=start.dtype, device=start.device)
        self._y = torch.zeros_like(self._s)
        self._rho = torch.zeros(n_problems, HISTORY, dtype=start.dtype, device=start.device)
        self._scale = torch.ones(n_problems, dtype=start.dtype, device=start.device)
        self._tracks = [_Track(floor) for floor in options.floors]
        self._all_tracks = list(self._tracks)
        self._final = (start.clone(), torch.zeros_like(self._value), torch.zeros_like(self._value))
        problem.refresh(self.ids, start)
        self.aim(range(n_problems))

    def drop_finished(self) -> bool:
        """Move the finished problems to the results; return whether any is left."""
        done = [i for i, track in enumerate(self._tracks) if track.finished(self._options)]
        if done:
            points, values, norms = self._final
            points[self.ids[done]] = self.point[done]
            values[self.ids[done]] = self._value[done]
            norms[self.ids[done]] = self._gradient[done].norm(dim=1)
            self._keep([i for i in range(len(self._tracks)) if i not in set(done)])
        return bool(self._tracks)

    def _keep(self, rows: list[int]) -> None:
        self._tracks = [self._tracks[i] for i in rows]
        self.ids, self.point, self._direction = self.ids[rows], self.point[rows], self._direction[rows]
        self._value, self._gradient = self._value[rows], self._gradient[rows]
        self._s, self._y, self._rho = self._s[rows], self._y[rows], self._rho[rows]
        self._scale = self._scale[rows]

    def advance(self) -> list[int]:
        """Evaluate one trial of every problem; return the problems that now need a new direction."""
        searches = [track.search for track in self._tracks if track.search is not None]
        steps = torch.tensor([search.step for search in searches], dtype=torch.float64, device=self.ids.device)
        trial = self.point + steps[:, None] * self._direction
        value, gradient = self._problem.evaluate(self.ids, trial)
        slope = (gradient * self._direction).sum(dim=1)
        told = zip(searches, value.tolist(), slope.tolist(), strict=True)
        verdicts = [search.tell(v, g) for search, v, g in told]
        for track in self._tracks:
            track.evaluations += 1
        accepted = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.ACCEPT]
        failed = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.FAIL]
        if accepted:
            self._accept(accepted, trial[accepted], value[accepted], gradient[accepted])
        for i in failed:
            # Rounding hides the decrease along this direction. Once, forget the history and try the
            # preconditioned gradient; where that fails as well, the problem is as far as it gets.
            self._tracks[i].stalled = self._tracks[i].pairs == 0
            self._forget(i)
        return sorted(accepted + failed)

    def _accept(self, rows: list[int], point: Tensor, value: Tensor, gradient: Tensor) -> None:
        """Move to the accepted trials and remember the pairs s = step, y = change of the gradient."""
        s, y = point - self.point[rows], gradient - self._gradient[rows]
        inner = (s * y).sum(dim=1)
        scale = inner / (y * self._problem.precondition(self.ids[rows], y)).sum(dim=1)
        self.point[rows], self._value[rows], self._gradient[rows] = point, value, gradient
        # Convexity makes s'y positive; where rounding says otherwise the pair would spoil the history.
        useful = torch.isfinite(scale) & (scale > 0) & (inner > 0)
        kept = [j for j, is_useful in enumerate(useful.tolist()) if is_useful]
        owners = [rows[j] for j in kept]
        slots = [self._tracks[i].pairs % HISTORY for i in owners]
        self._s[owners, slots], self._y[owners, slots] = s[kept], y[kept]
        self._rho[owners, slots], self._scale[owners] = 1 / inner[kept], scale[kept]
        for i in rows:
            self._tracks[i].iterations += 1
        for i in owners:
            self._tracks[i].pairs += 1

    def _forget(self, row: int) -> None:
        self._rho[row] = 0
        self._scale[row] = 1
        self._tracks[row].pairs = 0

    def aim(self, rows: Sequence[int]) -> None:
        """Give problems a new direction, an estimate of their gap and a new line search."""
        rows = list(rows)
        if not rows:
            return
        direction = self._two_loop(rows)
        slopes = (direction * self._gradient[rows]).sum(dim=1).tolist()
        self._direction[rows] = direction
        for i, slope, value in zip(rows, slopes, self._value[rows].tolist(), strict=True):
            track = self._tracks[i]
            scale = max(value, track.floor)
            # At a minimum of a quadratic model with inverse Hessian H, F - F* = g' H g / 2 = -slope / 2.
            track.gap = -slope / 2 / scale
            passed = track.gap <= GAP_SAFETY * self._options.tolerance
            track.hits = track.hits + 1 if passed else 0
            noise = self._options.noise + SLACK * self._options.tolerance
            track.search = LineSearch(value, slope, noise * scale)

    def _two_loop(self, rows: list[int]) -> Tensor:
        """Return -H g (B, n): Nocedal and Wright, algorithm 7.4, with H0 = scale x preconditioner."""
        q = self._gradient[rows].clone()
        index = torch.tensor(rows, device=q.device)
        newest = torch.tensor([self._tracks[i].pairs - 1 for i in rows], device=q.device)
        slots = [(newest - age) % HISTORY for age in range(HISTORY)]
        alphas = []
        for slot in slots:
            alpha = self._rho[index, slot] * (self._s[index, slot] * q).sum(dim=1)
            q -= alpha[:, None] * self._y[index, slot]
            alphas.append(alpha)
        r = self._problem.precondition(self.ids[rows], q) * self._scale[rows][:, None]
        for slot, alpha in zip(reversed(slots), reversed(alphas), strict=True):
            beta = self._rho[index, slot] * (self._y[index, slot] * r).sum(dim=1)
            r += (alpha - beta)[:, None] * self._s[index, slot]
        return -r

    def result(self) -> Minimum:
        """Return where every problem ended; call it when all are finished."""
        points, values, norms = self._final
        tracks = self._all_tracks
        return Minimum(
            points=points,
            values=tuple(values.tolist()),
            gradient_norms=tuple(norms.tolist()),
            gaps=tuple(track.gap for track in tracks),
            iterations=tuple(track.iterations for track in tracks),
            evaluations=tuple(track.evaluations for track in tracks),
            converged=tuple(track.converged for track in tracks),
        )
