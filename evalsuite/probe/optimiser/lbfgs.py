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

from evalsuite.probe.optimiser.direction import Direction
from evalsuite.probe.optimiser.search import Search, Verdict
from evalsuite.probe.optimiser.stop import GAP_SAFETY, Stop

SLACK = 0.1
"""A line search may accept a rise of F by this fraction of the tolerance if the slopes agree. Rounding of
large float32 logits is often above its nominal size, and would end the search for nothing."""


class Problem(Protocol):
    """P smooth convex functions of n variables; the problems asked for are named by `ids` (A,) int64."""

    def evaluate(self, ids: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (A,) and gradients (A, n) at points (A, n), float64."""

    def precondition(self, ids: Tensor, gradients: Tensor) -> Tensor:
        """Return an approximate inverse Hessian, positive definite, times gradients (A, n)."""

    def refresh(self, ids: Tensor, points: Tensor) -> list[int]:
        """Hear in each round where the problems are, (A, n); return the rows whose inverse Hessian moved."""


@dataclass(frozen=True)
class Options:
    """When to stop, and what rounding to expect.

    tolerance: on (F - F*) / max(F*, floor); floors: one for each problem; noise: relative rounding of a value.
    """

    tolerance: float
    max_iterations: int
    floors: Sequence[float]
    noise: float


@dataclass(frozen=True)
class Minimum:
    """Where each of P problems ended: points (P, n) float64; converged means the stop was passed."""

    points: Tensor
    values: tuple[float, ...] = ()
    gradient_norms: tuple[float, ...] = ()
    gaps: tuple[float, ...] = ()
    iterations: tuple[int, ...] = ()
    evaluations: tuple[int, ...] = ()
    converged: tuple[bool, ...] = ()


def minimise(problem: Problem, start: Tensor, options: Options) -> Minimum:
    """Minimise every problem from its row of start (P, n) float64; P may be 0."""
    if len(start) == 0:
        return Minimum(start)
    batch = _Batch(problem, start, options)
    while batch.drop_finished():
        turning = batch.advance()
        batch.refresh()
        batch.aim(turning)
    return batch.result()


def passes(problem: Problem, start: Tensor, options: Options) -> bool:
    """Say whether every problem passes the stop where it is, by its slope alone."""
    if len(start) == 0:
        return True
    ids = torch.arange(len(start), device=start.device)
    values, gradients = problem.evaluate(ids, start)
    problem.refresh(ids, start)
    gaps = (gradients * problem.precondition(ids, gradients)).sum(dim=1) / 2
    scales = torch.tensor(list(options.floors), dtype=torch.float64, device=start.device).maximum(values)
    return bool((gaps <= GAP_SAFETY * options.tolerance * scales).all())


@dataclass
class _Track:
    """The scalars of one problem."""

    stop: Stop
    search: Search | None = None
    iterations: int = 0
    stalled: bool = False

    def finished(self, options: Options) -> bool:
        """Say whether nothing more is to be done for this problem."""
        return self.stalled or self.iterations >= options.max_iterations or self.stop.passed


class _Batch:
    """The unfinished problems, one in each row of every tensor, and the results of the finished ones.

    ids: (A,) their numbers; state: (A, 3, n) their points, gradients and preconditioned gradients.
    """

    def __init__(self, problem: Problem, start: Tensor, options: Options) -> None:
        n_problems, size = start.shape
        self._problem, self._options = problem, options
        self.ids = torch.arange(n_problems, device=start.device)
        self._value, gradient = problem.evaluate(self.ids, start)
        problem.refresh(self.ids, start)
        self._state = torch.stack([start, gradient, problem.precondition(self.ids, gradient)], dim=1)
        self._direction = torch.zeros_like(start)
        self._history = Direction(n_problems, size, start.device)
        self._tracks = [_Track(Stop(options.tolerance, floor)) for floor in options.floors]
        self._ends = list(self._tracks)
        self._evaluations = [1] * n_problems
        self._final = (start.clone(), torch.zeros_like(self._value), torch.zeros_like(self._value))
        self.aim(list(range(n_problems)))

    def drop_finished(self) -> bool:
        """Move the finished problems to the results; return whether any is left."""
        finished = [track.finished(self._options) for track in self._tracks]
        if any(finished):
            self._record([i for i, done in enumerate(finished) if done])
            self._keep([i for i, done in enumerate(finished) if not done])
        return bool(self._tracks)

    def _record(self, rows: list[int]) -> None:
        points, values, norms = self._final
        names = self.ids[rows]
        points[names], values[names] = self._state[rows, 0], self._value[rows]
        norms[names] = self._state[rows, 1].norm(dim=1)
        for row, name in zip(rows, names.tolist(), strict=True):
            self._ends[name] = self._tracks[row]

    def _keep(self, rows: list[int]) -> None:
        self._tracks = [self._tracks[i] for i in rows]
        self.ids, self._value = self.ids[rows], self._value[rows]
        self._state, self._direction = self._state[rows], self._direction[rows]
        self._history.keep(rows)

    def advance(self) -> list[int]:
        """Evaluate one trial of every problem; return the problems that now need a new direction."""
        searches = [track.search for track in self._tracks if track.search is not None]
        steps = torch.tensor([search.step for search in searches], dtype=torch.float64, device=self.ids.device)
        trial = self._state[:, 0] + steps[:, None] * self._direction
        value, gradient = self._problem.evaluate(self.ids, trial)
        slope = (gradient * self._direction).sum(dim=1)
        values, slopes = torch.stack([value, slope]).tolist()
        verdicts = [search.tell(v, g) for search, v, g in zip(searches, values, slopes, strict=True)]
        for name in self.ids.tolist():
            self._evaluations[name] += 1
        accepted = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.ACCEPT]
        failed = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.FAIL]
        for i in accepted:
            # By the trapezoid rule on the slopes: differences of F drown in rounding near the minimum.
            search = searches[i]
            self._tracks[i].stop.decreases.append(-search.step * (search.slope + slopes[i]) / 2)
        if accepted:
            self._accept(accepted, trial, value, gradient)
        for i in failed:
            # Rounding hides the decrease along this direction. Once, forget the history and try the
            # preconditioned gradient; where that fails as well, the problem is as far as it gets.
            track = self._tracks[i]
            track.stalled = self._history.pairs[i] == 0
            if track.stalled:
                track.stop.search_failed()
        if failed:
            self._history.forget(failed)
        return [i for i in sorted(accepted + failed) if not self._tracks[i].stalled]

    def _accept(self, rows: list[int], point: Tensor, value: Tensor, gradient: Tensor) -> None:
        """Move these problems to their trials and remember the pairs s = step, y = change of the gradient."""
        ids, gradient = self.ids[rows], gradient[rows]
        state = torch.stack([point[rows], gradient, self._problem.precondition(ids, gradient)], dim=1)
        self._history.push(rows, *(state - self._state[rows]).unbind(dim=1))
        self._state[rows], self._value[rows] = state, value[rows]
        for i in rows:
            self._tracks[i].iterations += 1

    def refresh(self) -> None:
        """Let the preconditioners follow the points."""
        rows = self._problem.refresh(self.ids, self._state[:, 0])
        if not rows:
            return
        ids, gradient = self.ids[rows], self._state[rows, 1]
        preconditioned = self._state[rows, 2] = self._problem.precondition(ids, gradient)
        for row, slope in zip(rows, (gradient * preconditioned).sum(dim=1).tolist(), strict=True):
            if self._tracks[row].stop.hits:
                self._tracks[row].stop.confirmed = slope / 2
        if any(self._history.pairs[row] for row in rows):
            y = self._history.pairs_of(rows)
            my = self._problem.precondition(ids.repeat_interleave(y.shape[1]), y.flatten(0, 1))
            self._history.precondition_again(rows, my.view_as(y))

    def aim(self, rows: list[int]) -> None:
        """Give problems a new direction, an estimate of their gap and a new line search."""
        if not rows:
            return
        _, gradient, preconditioned = self._state[rows].unbind(dim=1)
        direction = self._direction[rows] = -self._history.product(rows, gradient, preconditioned)
        slopes, values = torch.stack([(direction * gradient).sum(dim=1), self._value[rows]]).tolist()
        for i, slope, found in zip(rows, slopes, values, strict=True):
            track = self._tracks[i]
            track.stop.ask(found, slope, track.iterations)
            noise = self._options.noise + SLACK * self._options.tolerance
            track.search = Search(found, slope, noise * max(found, track.stop.floor))

    def result(self) -> Minimum:
        """Return where every problem ended; call it when all are finished."""
        points, values, norms = self._final
        return Minimum(
            points=points,
            values=tuple(values.tolist()),
            gradient_norms=tuple(norms.tolist()),
            gaps=tuple(track.stop.gap for track in self._ends),
            iterations=tuple(track.iterations for track in self._ends),
            evaluations=tuple(self._evaluations),
            converged=tuple(track.stop.passed for track in self._ends),
        )
