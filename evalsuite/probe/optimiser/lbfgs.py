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

    def refresh(
        self, ids: Tensor, points: Tensor, arriving: Sequence[bool], steps: Sequence[float | None]
    ) -> list[int]:
        """Hear in each round where the problems are, (A, n), which of them seem to have arrived, and the length of the
        step that a line search accepted; return the rows whose inverse Hessian moved."""


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
    problem.refresh(ids, start, [True] * len(start), [None] * len(start))
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
    accepted: float | None = None

    def finished(self, options: Options) -> bool:
        """Say whether nothing more is to be done for this problem."""
        return self.stalled or self.iterations >= options.max_iterations or self.stop.passed


class _Batch:
    """The unfinished problems, one in each row of every tensor, and the results of the finished ones."""

    def __init__(self, problem: Problem, start: Tensor, options: Options) -> None:
        n_problems, size = start.shape
        self._problem, self._options = problem, options
        self.ids = torch.arange(n_problems, device=start.device)
        self.point = start.clone()
        self._value, self._gradient = problem.evaluate(self.ids, start)
        self._direction, self._preconditioned = torch.zeros_like(start), torch.zeros_like(start)
        self._history = Direction(n_problems, size, start.device)
        self._tracks = [_Track(Stop(options.tolerance, floor)) for floor in options.floors]
        self._ends = list(self._tracks)
        self._evaluations = [1] * n_problems
        self._final = (start.clone(), torch.zeros_like(self._value), torch.zeros_like(self._value))
        self._problem.refresh(self.ids, self.point, [False] * n_problems, [None] * n_problems)
        self._preconditioned = self._problem.precondition(self.ids, self._gradient)
        self.aim(range(n_problems))

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
        points[names], values[names] = self.point[rows], self._value[rows]
        norms[names] = self._gradient[rows].norm(dim=1)
        for row, name in zip(rows, names.tolist(), strict=True):
            self._ends[name] = self._tracks[row]

    def _keep(self, rows: list[int]) -> None:
        self._tracks = [self._tracks[i] for i in rows]
        self.ids, self.point, self._direction = self.ids[rows], self.point[rows], self._direction[rows]
        self._value, self._gradient = self._value[rows], self._gradient[rows]
        self._preconditioned = self._preconditioned[rows]
        self._history.keep(rows)

    def advance(self) -> list[int]:
        """Evaluate one trial of every problem; return the problems that now need a new direction."""
        searches = [track.search for track in self._tracks if track.search is not None]
        steps = torch.tensor([search.step for search in searches], dtype=torch.float64, device=self.ids.device)
        trial = self.point + steps[:, None] * self._direction
        value, gradient = self._problem.evaluate(self.ids, trial)
        slope = (gradient * self._direction).sum(dim=1)
        values, slopes = torch.stack([value, slope]).tolist()
        told = zip(searches, values, slopes, strict=True)
        verdicts = [search.tell(v, g) for search, v, g in told]
        for name, track in zip(self.ids.tolist(), self._tracks, strict=True):
            self._evaluations[name] += 1
            track.accepted = None
        accepted = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.ACCEPT]
        failed = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.FAIL]
        for i in accepted:
            # By the trapezoid rule on the slopes: differences of F drown in rounding near the minimum.
            search = searches[i]
            self._tracks[i].accepted = search.step
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
        if len(rows) == len(self._tracks):
            preconditioned = self._problem.precondition(self.ids, gradient)
            s, y, my = point - self.point, gradient - self._gradient, preconditioned - self._preconditioned
            self.point, self._value, self._gradient, self._preconditioned = point, value, gradient, preconditioned
        else:
            point, value, gradient = point[rows], value[rows], gradient[rows]
            preconditioned = self._problem.precondition(self.ids[rows], gradient)
            s, y = point - self.point[rows], gradient - self._gradient[rows]
            my = preconditioned - self._preconditioned[rows]
            self.point[rows], self._value[rows], self._gradient[rows] = point, value, gradient
            self._preconditioned[rows] = preconditioned
        self._history.push(rows, s, y, my)
        for i in rows:
            self._tracks[i].iterations += 1

    def refresh(self) -> None:
        """Let the preconditioners follow the points."""
        arriving = [track.stop.hits > 0 for track in self._tracks]
        steps = [track.accepted for track in self._tracks]
        rows = self._problem.refresh(self.ids, self.point, arriving, steps)
        if not rows:
            return
        ids, gradient = self.ids[rows], self._gradient[rows]
        preconditioned = self._preconditioned[rows] = self._problem.precondition(ids, gradient)
        for row, slope in zip(rows, (gradient * preconditioned).sum(dim=1).tolist(), strict=True):
            if arriving[row]:
                self._tracks[row].stop.confirmed = slope / 2
        if any(self._history.pairs[row] for row in rows):
            y = self._history.pairs_of(rows)
            my = self._problem.precondition(ids.repeat_interleave(y.shape[1]), y.flatten(0, 1))
            self._history.precondition_again(rows, my.view_as(y))

    def aim(self, rows: Sequence[int]) -> None:
        """Give problems a new direction, an estimate of their gap and a new line search."""
        rows = list(rows)
        if not rows:
            return
        everything = len(rows) == len(self._tracks)
        gradient, preconditioned, value = (
            part if everything else part[rows] for part in (self._gradient, self._preconditioned, self._value)
        )
        direction = -self._history.product(rows, gradient, preconditioned)
        slopes, values = torch.stack([(direction * gradient).sum(dim=1), value]).tolist()
        if everything:
            self._direction = direction
        else:
            self._direction[rows] = direction
        for i, slope, found in zip(rows, slopes, values, strict=True):
            track = self._tracks[i]
            track.stop.ask(found, slope, track.iterations)
            noise = self._options.noise + SLACK * self._options.tolerance
            track.search = Search(found, slope, noise * max(found, track.stop.floor))

    def result(self) -> Minimum:
        """Return where every problem ended; call it when all are finished."""
        points, values, norms = self._final
        tracks = self._ends
        return Minimum(
            points=points,
            values=tuple(values.tolist()),
            gradient_norms=tuple(norms.tolist()),
            gaps=tuple(track.stop.gap for track in tracks),
            iterations=tuple(track.iterations for track in tracks),
            evaluations=tuple(self._evaluations),
            converged=tuple(track.stop.passed for track in tracks),
        )
