"""Full-batch L-BFGS on many independent problems that share each evaluation.

Every problem keeps its own history, line search and iteration count, as if it ran alone; only the
evaluations are shared: one round evaluates the current trial of every unfinished problem in one pass over
the features. A problem that has converged leaves the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from evalsuite.probe.history import History
from evalsuite.probe.line_search import LineSearch, Verdict

GAP_SAFETY = 0.25
"""The stop asks the estimated gap, see `_Track.estimate`, to be this fraction of the tolerance."""

LONG = 40
"""A problem that takes more iterations has flat directions, along which the estimate is lower."""

LONG_SAFETY = 0.1
"""The fraction of the tolerance for those."""

WINDOW = 5
"""Iterations over which the decrease of F is summed to see how fast it still falls."""

SLACK = 0.1
"""A line search may accept a rise of F by this fraction of the tolerance if the slopes agree. Rounding of
large float32 logits is often above its nominal size, and would end the search for nothing."""

STALLED_SAFETY = 1e-3
"""The fraction for a search that found no lower F: one that starts at the minimum finds none."""

CONSECUTIVE_HITS = 2
"""Iterations in a row that must pass the stop: one may pass by chance along a flat direction."""

MAX_RATIO = 0.9
"""Largest ratio of two windows' decreases that is believed: beyond, it is noise."""

RACES = {6: 18, 60: 90, 300: 400}
"""Rounds at which a race of preconditioning against none begins and ends. The later ones are for problems that turned
out to be hard: what wins at first need not win in the end."""

BEFORE_BELIEF = 6
"""Iterations without a preconditioner before the stop is asked: without pairs a slope says nothing of a distance."""


class Problem(Protocol):
    """P smooth convex functions of n variables; the problems asked for are named by `ids` (A,) int64.

    Problem p goes by two ids: p, and p + P for the same function without preconditioning.
    """

    def evaluate(self, ids: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return values (A,) and gradients (A, n) at points (A, n), float64."""

    def precondition(self, ids: Tensor, gradients: Tensor) -> Tensor:
        """Return an approximate inverse Hessian, positive definite, times gradients (A, n)."""

    def unrivalled(self, name: int) -> bool:
        """Say whether this id is known to be served better than it would be by its other id."""

    def refresh(
        self, ids: Tensor, points: Tensor, arriving: Sequence[bool], steps: Sequence[float | None]
    ) -> list[int]:
        """Hear in each round where the problems are, (A, n), which of them seem to have arrived, and the length of the
        step that a line search accepted; return the rows whose inverse Hessian moved."""


@dataclass(frozen=True)
class Options:
    """When to stop, what rounding to expect, and how to precondition.

    tolerance: on (F - F*) / max(F*, floor), floor one a problem; noise: relative rounding of a value; plain: one
    a problem, whether it starts without preconditioning (empty: none does); race: one a problem, the F below which
    it races against none (empty: none does).
    """

    tolerance: float
    max_iterations: int
    floors: Sequence[float]
    noise: float
    plain: Sequence[bool] = ()
    race: Sequence[float] = ()


@dataclass(frozen=True)
class Minimum:
    """Where each of P problems ended: points (P, n) float64; converged means the stop was passed.

    raced: whether preconditioning was raced against none; plain: which one won.
    """

    points: Tensor
    values: tuple[float, ...] = ()
    gradient_norms: tuple[float, ...] = ()
    gaps: tuple[float, ...] = ()
    iterations: tuple[int, ...] = ()
    evaluations: tuple[int, ...] = ()
    converged: tuple[bool, ...] = ()
    plain: tuple[bool, ...] = ()
    raced: tuple[bool, ...] = ()


def minimise(problem: Problem, start: Tensor, options: Options) -> Minimum:
    """Minimise every problem from its row of start (P, n) float64; P may be 0."""
    if len(start) == 0:
        return Minimum(start)
    batch = _Batch(problem, start, options)
    rounds = 0
    while batch.drop_finished():
        rounds += 1
        if rounds in RACES.values():
            batch.settle()
        if options.race and rounds in RACES:
            batch.fork(options.race, first=rounds == min(RACES))
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
    """The scalars of one problem. born: the iterations it took over from the rival it forked from."""

    floor: float
    search: LineSearch | None = None
    gap: float = float("inf")
    hits: int = 0
    iterations: int = 0
    born: int = 0
    stalled: bool = False
    confirmed: float = 0.0
    accepted: float | None = None
    decreases: list[float] = field(default_factory=list)

    def finished(self, options: Options) -> bool:
        """Say whether nothing more is to be done for this problem."""
        return self.stalled or self.iterations >= options.max_iterations or self.converged

    @property
    def converged(self) -> bool:
        return self.hits >= CONSECUTIVE_HITS

    def estimate(self, slope: float) -> float:
        """Return an estimate of F - F*: the largest of three, each of which can be too low where another is not.

        At a minimum of a quadratic model with inverse Hessian H, F - F* = g' H g / 2 = -slope / 2; but the H of
        L-BFGS is too small along flat directions. And if F falls by d in one window of iterations and by r d
        in the next, and goes on so, r d r / (1 - r) is left (Aitken); but the ratio may change. Where the
        preconditioner has just been made anew it is the best model there is; it is asked once.
        """
        model, self.confirmed = max(-slope / 2, self.confirmed), 0.0
        window = min(WINDOW, len(self.decreases) // 2)
        if window == 0:
            return model
        recent, before = sum(self.decreases[-window:]), sum(self.decreases[-2 * window : -window])
        ratio = min(max(recent / before, 0.0), MAX_RATIO) if before > 0 else MAX_RATIO
        return max(model, recent * ratio / (1 - ratio))


class _Batch:
    """The unfinished problems, one a row of every tensor, and the results of the finished ones."""

    def __init__(self, problem: Problem, start: Tensor, options: Options) -> None:
        n_problems, size = start.shape
        self._problem, self._options, self._count = problem, options, n_problems
        plain = torch.tensor(list(options.plain) or [False] * n_problems, device=start.device)
        self.ids = torch.arange(n_problems, device=start.device) + n_problems * plain
        self.point = start.clone()
        self._value, self._gradient = problem.evaluate(self.ids, start)
        self._direction, self._preconditioned = torch.zeros_like(start), torch.zeros_like(start)
        self._history = History(n_problems, size, start.device)
        self._tracks = [_Track(floor) for floor in options.floors]
        self._ends = list(self._tracks)
        self._plain, self._raced = plain.tolist(), [False] * n_problems
        self._evaluations = [1] * n_problems
        self._final = (start.clone(), torch.zeros_like(self._value), torch.zeros_like(self._value))
        self._problem.refresh(self.ids, self.point, [False] * n_problems, [None] * n_problems)
        self._preconditioned = self._problem.precondition(self.ids, self._gradient)
        self.aim(range(n_problems))

    def drop_finished(self) -> bool:
        """Move the finished problems to the results; return whether any is left."""
        names = self.ids.tolist()
        done = [i for i, track in enumerate(self._tracks) if track.finished(self._options)]
        if done:
            # Of two that race, the one that converged ends both; one that gave up leaves the field to the other.
            ended = {names[i] % self._count: i for i in done}
            ended |= {names[i] % self._count: i for i in done if self._tracks[i].converged}
            racing = {names[i] % self._count for i in range(len(names)) if i not in done}
            ended = {name: i for name, i in ended.items() if self._tracks[i].converged or name not in racing}
            self._record(list(ended.values()))
            self._keep([i for i in range(len(names)) if i not in done and names[i] % self._count not in ended])
        return bool(self._tracks)

    def _record(self, rows: list[int]) -> None:
        points, values, norms = self._final
        names = self.ids[rows] % self._count
        points[names], values[names] = self.point[rows], self._value[rows]
        norms[names] = self._gradient[rows].norm(dim=1)
        for row, name in zip(rows, names.tolist(), strict=True):
            self._ends[name] = self._tracks[row]
            self._plain[name] = int(self.ids[row]) >= self._count

    def _keep(self, rows: list[int]) -> None:
        self._tracks = [self._tracks[i] for i in rows]
        self.ids, self.point, self._direction = self.ids[rows], self.point[rows], self._direction[rows]
        self._value, self._gradient = self._value[rows], self._gradient[rows]
        self._preconditioned = self._preconditioned[rows]
        self._history.keep(rows)

    def fork(self, below: Sequence[float], first: bool) -> None:
        """Let problems whose F has fallen below a value go on the other way as well, side by side: without
        preconditioning those that have it, with it those that have not. Those an earlier fit has raced have a
        negative limit, and take part in later races only.
        """
        values, names = self._value.tolist(), self.ids.tolist()
        limits = [below[name % self._count] for name in names]
        racing = [
            i
            for i, limit in enumerate(limits)
            if values[i] < (limit if first else abs(limit)) and not self._problem.unrivalled(names[i])
        ]
        if racing:
            n = len(self._tracks)
            for i in racing:
                self._raced[names[i] % self._count] = True
            self._keep([*range(n), *racing])
            self.ids[n:] = (self.ids[n:] + self._count) % (2 * self._count)
            done = [(track.floor, track.iterations) for track in self._tracks[n:]]
            self._tracks[n:] = [_Track(floor, iterations=count, born=count) for floor, count in done]
            self._history.forget(range(n, n + len(racing)))
            self._preconditioned[n:] = self._problem.precondition(self.ids[n:], self._gradient[n:])
            self.aim(range(n, len(self._tracks)))

    def settle(self) -> None:
        """Of two that race, keep the one with the lower F; of equals, the one that was there first."""
        values, names = self._value.tolist(), self.ids.tolist()
        best: dict[int, int] = {}
        for i, name in enumerate(names):
            rival = best.get(name % self._count)
            if rival is None or values[i] < values[rival]:
                best[name % self._count] = i
        self._keep(sorted(best.values()))

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
            self._evaluations[name % self._count] += 1
            track.accepted = None
        accepted = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.ACCEPT]
        failed = [i for i, verdict in enumerate(verdicts) if verdict is Verdict.FAIL]
        for i in accepted:
            # By the trapezoid rule on the slopes: differences of F drown in rounding near the minimum.
            search = searches[i]
            self._tracks[i].accepted = search.step
            self._tracks[i].decreases.append(-search.step * (search.slope + slopes[i]) / 2)
        if accepted:
            self._accept(accepted, trial, value, gradient)
        for i in failed:
            # Rounding hides the decrease along this direction. Once, forget the history and try the
            # preconditioned gradient; where that fails as well, the problem is as far as it gets.
            track = self._tracks[i]
            track.stalled = self._history.pairs[i] == 0
            if track.stalled and track.gap <= STALLED_SAFETY * self._options.tolerance:
                track.hits = CONSECUTIVE_HITS
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
        arriving = [track.hits > 0 for track in self._tracks]
        steps = [track.accepted for track in self._tracks]
        rows = self._problem.refresh(self.ids, self.point, arriving, steps)
        if not rows:
            return
        ids, gradient = self.ids[rows], self._gradient[rows]
        preconditioned = self._preconditioned[rows] = self._problem.precondition(ids, gradient)
        for row, slope in zip(rows, (gradient * preconditioned).sum(dim=1).tolist(), strict=True):
            if arriving[row]:
                self._tracks[row].confirmed = slope / 2
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
            scale = max(found, track.floor)
            track.gap = track.estimate(slope) / scale
            # Nor does the start count: without a pair there is no telling whether the slope is believable.
            plain = int(self.ids[i]) >= self._count
            passed = (
                track.iterations - track.born >= (BEFORE_BELIEF if plain else 1)
                and track.gap <= (LONG_SAFETY if track.iterations > LONG else GAP_SAFETY) * self._options.tolerance
            )
            track.hits = track.hits + 1 if passed else 0
            noise = self._options.noise + SLACK * self._options.tolerance
            track.search = LineSearch(found, slope, noise * scale)

    def result(self) -> Minimum:
        """Return where every problem ended; call it when all are finished."""
        points, values, norms = self._final
        tracks = self._ends
        return Minimum(
            points=points,
            values=tuple(values.tolist()),
            gradient_norms=tuple(norms.tolist()),
            gaps=tuple(track.gap for track in tracks),
            iterations=tuple(track.iterations for track in tracks),
            evaluations=tuple(self._evaluations),
            converged=tuple(track.converged for track in tracks),
            plain=tuple(self._plain),
            raced=tuple(self._raced),
        )
