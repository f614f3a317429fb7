"""What each mechanism of the solver is worth: whole sweeps with one of them switched off, on the same problems.

    python -m benchmarks.ablation --quick
    python -m benchmarks.ablation --data ../shared/data --against ../older-checkout

A mechanism of the solver has its switch in `one_sweep.py`, hence its row here; one whose row says that nothing is lost
without it should go. Each sweep runs in a process of its own, with one thread, and is timed in CPU seconds: sweep
+ refit; passes over the rows; the worst suboptimality (F - F*) / max(F*, 1e-3 N) of the sweep's fits, F* from a float64
fit of all mechanisms to 1e-10. `--without one_thread` uses as many threads as there are processors, and its seconds are
those of the clock: what sharing passes among threads buys. `--against` adds the solver of another checkout, measured
between the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import reference
from benchmarks.objective import suboptimality
from benchmarks.one_sweep import INSTEAD
from benchmarks.problems import AbsentError, make
from benchmarks.stored import load, store
from evalsuite.processors import processors

ROOT = Path(__file__).resolve().parents[1]
PROBLEMS = ("cifar-4k", "separable", "mnist-10k", "crossed-4k", "mnist")
QUICK = ("digits", "separable")
WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
ONE_THREAD = "one_thread"
VARIANTS = ("all", *INSTEAD, ONE_THREAD)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=ROOT.parent / "shared" / "data",
              help="Folder with MNIST/raw and cifar10.  [default: ../shared/data next to the checkout]")  # fmt: skip
@click.option("--problems", "names", type=click.Choice(PROBLEMS + QUICK), multiple=True, help="One problem.")
@click.option("--without", type=click.Choice(VARIANTS), multiple=True, help="One row; `all` has every mechanism.")
@click.option("--quick", is_flag=True, help="Small problems.")
@click.option("--against", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Another checkout.")
def main(data: Path, names: Sequence[str], without: Sequence[str], quick: bool, against: Path | None) -> None:
    """Print a table: a row for each mechanism switched off, a column for each problem."""
    rows = [*([against] if against else []), *(without or VARIANTS)]
    columns: dict[str, list[str]] = {}
    for name in names or (QUICK if quick else PROBLEMS):
        try:
            path = store(make(name, data, quick), ROOT / "build" / "benchmark")
        except AbsentError as absent:
            click.echo(f"{name}: skipped, {absent}.")
            continue
        reference.search(path, exhaustive=False)  # leaves F* of its lambdas next to the problem
        columns[name] = []
        for row in rows:
            columns[name].append(cell(path, sweep(path, row)))
            click.echo(f"{name}, {title(row)}: {columns[name][-1]}")
    click.echo(table([title(row) for row in rows], columns))


def title(row: str | Path) -> str:
    """Return what a row is called."""
    if isinstance(row, Path):
        return row.name
    if row == ONE_THREAD:
        return f"{processors()} threads"
    return "as it is" if row == "all" else f"no {row}"


def sweep(path: Path, row: str | Path) -> dict[str, Any]:
    """Run one sweep in a process: of another checkout, or without a mechanism."""
    checkout = row if isinstance(row, Path) else ROOT
    off = [] if isinstance(row, Path) or row in ("all", ONE_THREAD) else [row]
    threads = processors() if row == ONE_THREAD else 1
    environment = {**os.environ, **WAITING, "OMP_NUM_THREADS": str(threads)}
    environment["PYTHONPATH"] = os.pathsep.join([str(checkout.resolve()), str(ROOT)])
    command = [sys.executable, "-P", str(ROOT / "benchmarks" / "one_sweep.py"), str(path), str(threads), *off]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cell(path: Path, found: dict[str, Any]) -> str:
    """Return seconds, passes and worst suboptimality of a sweep."""
    n_rows = load(path).n_fit
    gaps = [
        suboptimality(value, reference.reference_value(path, float(lambda_)), n_rows)
        for lambda_, value in found["values"].items()
    ]
    passes = f"{found['evaluations']} + {found['refit_evaluations']}"
    unfinished = "" if found["converged"] else ", NOT converged"
    return f"{found['sweep_s']:.1f} + {found['refit_s']:.1f} s, {passes}, {max(gaps):.0e}{unfinished}"


def table(titles: Sequence[str], columns: dict[str, list[str]]) -> str:
    """Return the cells as a markdown table."""
    lines = [["variant", *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *(column[index] for column in columns.values())] for index, name in enumerate(titles)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
