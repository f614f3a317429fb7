"""One sweep and refit in a process of its own: prints its seconds, passes over the rows, and F of every fit, as JSON.

    python benchmarks/one_sweep.py FOLDER THREADS [MECHANISM ...]

FOLDER is a stored problem (`stored.py`); the mechanisms named are switched off. Seconds are of one thread's CPU time,
which others on the machine change least, and those of the clock for several threads. Run by `ablation.py`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch

from benchmarks.objective import objective
from benchmarks.ours import arrays, recorded, targets_of, top1, warm_up
from benchmarks.stored import load
from evalsuite.probe import refit, sweep

INSTEAD = {
    # Begin at the nearest solution, not at the lowest point of the span of the nearest ones.
    "span_start": ("warm_start.lowest", lambda objective, points, slope: points[0]),
    # No blocks of the Hessian for long fits.
    "class_blocks": ("preconditioner.problem.passes_worth", lambda objective: math.inf),
    # Draw rows of blocks by their length, not by leverage.
    "leverage": ("preconditioner.leverage._leverages", lambda design, weights, loads, added: loads),
    # Let no lambda take over the blocks of another.
    "taken_over": ("warm_start.WarmStarts.blocks", lambda warm, lambda_: None),
}
"""The mechanisms of the solver: for each, a function of `evalsuite.probe` and what stands in for it to switch it off.
The minima are then the same, and take longer to find."""


@contextmanager
def without(names: Sequence[str]) -> Iterator[None]:
    """Solve without these mechanisms."""
    with ExitStack() as switched:
        for name in names:
            place, instead = INSTEAD[name]
            switched.enter_context(mock.patch(f"evalsuite.probe.{place}", instead))
        yield


def main(path: Path, threads: int, off: list[str]) -> None:
    """Measure and print."""
    now = time.process_time if threads == 1 else time.perf_counter
    torch.set_num_threads(threads)
    warm_up()
    problem = load(path)
    features, targets = torch.from_numpy(problem.features), targets_of(problem)
    rows = torch.arange(len(features))
    validation_rows = rows[problem.n_fit :]
    started = now()
    with without(off):
        with recorded() as fits:
            found = sweep(
                features,
                targets,
                fit_rows=rows[: problem.n_fit],
                validation_rows=validation_rows,
                score=top1(targets.values[validation_rows]),
            )
        searched = now()
        final = refit(features, targets, found.best_lambda, warm_start=found.solution)
        ended = now()
    x, y = problem.rows(whole=False)
    content = {
        "sweep_s": searched - started,
        "refit_s": ended - searched,
        "evaluations": sum(fit.evaluations[0] for fit in fits.values()),
        "refit_evaluations": final.evaluations[0],
        "best": found.best_lambda,
        "converged": all(trial["converged"] for trial in found.tried) and final.converged[0],
        "values": {repr(value): objective(x, y, value, *arrays(fit)) for value, fit in fits.items()},
        "refit_value": objective(*problem.rows(whole=True), found.best_lambda, *arrays(final)),
    }
    print(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
