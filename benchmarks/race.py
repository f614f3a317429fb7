"""One problem, both sides in turn.

Each side works in a process of its own and waits while the other is busy. Scikit-learn's fits, each at its default
stop and once more run tight, are dealt into groups, and the project's whole sweep runs before each group: whatever
else the machine does hits both alike. With busy neighbours, both sides run next to them, and a sweep alone is timed
before each sweep next to them. Small problems go round until scikit-learn has been busy for some seconds.
Ratios are of medians: of each of scikit-learn's fits, added up, and of the sweep. The range of the sweeps is told.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks import ours, reference, scikit
from benchmarks.busy import Neighbours, load
from benchmarks.objective import suboptimality
from benchmarks.problems import Problem

MAX_ROUNDS = 10
Returned = TypeVar("Returned")
Say = Callable[[str], None]
Job = tuple[float, bool]
"""One of scikit-learn's fits: lambda, and whether on all rows (the refit) or on the train rows."""


@dataclass(frozen=True)
class Plan:
    """repeats: sweeps per round; busy_s: how long scikit-learn is timed at least; fits: of the search, None for all.

    neighbours: busy processes next to what is timed.
    """

    repeats: int
    busy_s: float
    fits: int | None
    exhaustive: bool
    neighbours: int = 0


@dataclass
class Times:
    """Everything that was timed: sweeps, and scikit-learn's two fits per job, one per round.

    alone: sweeps without the neighbours, next to which the others ran; loads: of the machine, before each.
    """

    sweeps: list[ours.Sweep] = field(default_factory=list)
    alone: list[ours.Sweep] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    default: dict[Job, list[scikit.Fit]] = field(default_factory=dict)
    tight: dict[Job, list[scikit.Fit]] = field(default_factory=dict)


class Side:
    """A process that does one thing at a time."""

    def __init__(self, stack: ExitStack) -> None:
        self._pool = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))

    def call(self, function: Callable[..., Returned], *arguments: Any) -> Returned:
        """Return what the function returns there."""
        return self._pool.submit(function, *arguments).result()


def race(problem: Problem, path: Path, plan: Plan, say: Say) -> dict[str, Any]:
    """Return the figures of a problem that lies at `path`, ready for JSON."""
    with ExitStack() as stack:
        mine, theirs, neighbours = Side(stack), Side(stack), Neighbours(plan.neighbours, stack)
        mine.call(ours.warm_up)
        threads = theirs.call(scikit.faster_threads, path)
        first = mine.call(ours.run, path)
        say(f"  a sweep takes {first.seconds:.2f} s; scikit-learn is faster with {threads} thread(s); references ...")
        tight_search = mine.call(reference.search, path, plan.exhaustive)
        jobs = [*((value, False) for value in chosen(first.lambdas, plan.fits)), (first.best, True)]
        every = [*((value, False) for value in first.lambdas), (first.best, True)]
        best = {job: mine.call(reference.reference, path, *job) for job in every}
        values = {job: best[job].value for job in jobs}
        times = _timed(mine, theirs, neighbours, path, plan, jobs, threads, values, say)
        found = mine.call(ours.judge, path)
        weights, intercepts = mine.call(reference.parameters, path, first.best, True)
        difference = mine.call(ours.probability_difference, path, weights, intercepts)
        rate = mine.call(ours.product_rate)
    values = {(value, False): f for value, f in found.values.items()}
    values[first.best, True] = found.refit
    return {
        "shape": problem.shape,
        **_speed(times, len(jobs) < len(every), threads),
        **_next_to_others(times, plan.neighbours),
        **_quality(problem, times, values, best),
        **_choice(first.best, tight_search),
        "probability_difference": difference,
        **_work(problem, times.sweeps, first.peak_bytes, rate),
    }


def chosen(lambdas: tuple[float, ...], count: int | None) -> tuple[float, ...]:
    """Return `count` of the lambdas, spread over the path."""
    if count is None or count >= len(lambdas):
        return lambdas
    return tuple(sorted(lambdas)[index] for index in np.linspace(0, len(lambdas) - 1, count).round().astype(int))


def _timed(
    mine: Side,
    theirs: Side,
    neighbours: Neighbours,
    path: Path,
    plan: Plan,
    jobs: list[Job],
    threads: int,
    best: dict[Job, float],
    say: Say,
) -> Times:
    times = Times()
    busy = 0.0
    for _ in range(MAX_ROUNDS):
        for group in _groups(jobs, plan.repeats):
            times.loads.append(load())
            if plan.neighbours:
                times.alone.append(mine.call(ours.run, path))
            with neighbours.busy():
                times.sweeps.append(mine.call(ours.run, path))
                for job in group:
                    default = theirs.call(scikit.default_fit, path, *job, threads)
                    tight = theirs.call(scikit.tight_fit, path, *job, threads, best[job])
                    times.default.setdefault(job, []).append(default)
                    times.tight.setdefault(job, []).append(tight)
                    busy += default.seconds + tight.seconds
            say(f"  ours {times.sweeps[-1].seconds:.2f} s; scikit-learn {busy:.1f} s so far")
        if busy >= plan.busy_s:
            break
    return times


def _groups(jobs: list[Job], count: int) -> Iterator[list[Job]]:
    for part in np.array_split(np.arange(len(jobs)), min(count, len(jobs))):
        yield [jobs[index] for index in part]


def _speed(times: Times, limited: bool, threads: int) -> dict[str, Any]:
    sweeps = [sweep.seconds for sweep in times.sweeps]
    middle = statistics.median(sweeps)
    default, tight = (
        math.fsum(statistics.median(fit.seconds for fit in fits) for fits in kind.values())
        for kind in (times.default, times.tight)
    )
    return {
        "ours_s": middle,
        "ours_range_s": [min(sweeps), max(sweeps)],
        "sklearn_default_s": default,
        "sklearn_tight_s": tight,
        "sklearn_threads": threads,
        "sklearn_fits": len(times.default),
        "limited": limited,
        "ratio_default": default / middle,
        "ratio_tight": tight / middle,
    }


def _next_to_others(times: Times, neighbours: int) -> dict[str, Any]:
    """Return the time next to busy processes over the time alone: of each pair of sweeps, and the middle one."""
    pairs = [busy.seconds / alone.seconds for busy, alone in zip(times.sweeps, times.alone, strict=False)]
    return {
        "neighbours": neighbours,
        "loads": times.loads,
        "ours_alone_s": statistics.median(sweep.seconds for sweep in times.alone) if pairs else None,
        "busy_over_alone": statistics.median(pairs) if pairs else None,
        "busy_over_alone_range": [min(pairs), max(pairs)] if pairs else None,
    }


def _quality(
    problem: Problem, times: Times, values: dict[Job, float], references: dict[Job, reference.Reference]
) -> dict[str, Any]:
    """Return the worst relative suboptimality of each side; F* is the lowest F that anyone found."""
    default = {job: fits[0].value for job, fits in times.default.items()}
    tight = {job: fits[0].value for job, fits in times.tight.items()}
    best = {
        job: min(found.value, *(side[job] for side in (values, default, tight) if job in side))
        for job, found in references.items()
    }

    def worst(side: dict[Job, float], whole: bool) -> float:
        count = len(problem.labels) if whole else problem.n_fit
        return max(suboptimality(side[job], best[job], count) for job in side if job[1] == whole)

    return {
        "ours_suboptimality": worst(values, whole=False),
        "ours_refit_suboptimality": worst(values, whole=True),
        "sklearn_default_suboptimality": worst(default, whole=False),
        "sklearn_tight_suboptimality": worst(tight, whole=False),
        "reference_gap": _finite(max(found.gap for found in references.values())),
        "reference_beaten_by": max(
            suboptimality(found.value, best[job], problem.n_fit) for job, found in references.items()
        ),
        "fits": [
            {
                "lambda": job[0],
                "refit": job[1],
                "ours": values[job],
                "best": best[job],
                "reference_gap": _finite(references[job].gap),
                "sklearn_default": [vars(fit) for fit in times.default.get(job, [])],
                "sklearn_tight": [vars(fit) for fit in times.tight.get(job, [])],
            }
            for job in references
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _choice(best: float, tight: reference.Search) -> dict[str, Any]:
    low, high = tight.plateau
    same = "same" if best == tight.best else "plateau" if low <= best <= high else "other"
    return {
        "lambda": best,
        "reference_lambda": tight.best,
        "reference_plateau": [low, high],
        "selected": same,
        "reference_score": tight.scores[tight.best],
        "reference_score_at_lambda": tight.scores.get(best),
    }


def _work(problem: Problem, sweeps: list[ours.Sweep], peak: int | None, rate: float) -> dict[str, Any]:
    """Return what the sweep took: an evaluation is 4 N D C operations, two for each product with the features."""
    searched, refitted = sweeps[0].evaluations
    one_row = 4 * problem.features.shape[1] * problem.n_classes
    operations = one_row * (searched * problem.n_fit + refitted * len(problem.labels))
    seconds = statistics.median(sweep.seconds for sweep in sweeps)
    size = problem.features.nbytes
    return {
        "converged": all(sweep.converged for sweep in sweeps),
        "evaluations": searched,
        "refit_evaluations": refitted,
        "features_bytes": size,
        "peak_bytes": peak,
        "peak_within_bound": None if peak is None else peak <= 1.5 * size + 300e6,
        "product_rate": rate,
        "rate_fraction": operations / seconds / rate,
    }
