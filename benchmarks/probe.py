"""The linear probe's solver against scikit-learn's, on the same problem, in turn, in one process.

    python -m benchmarks.probe
    python -m benchmarks.probe --mnist DIR --rows 10000

Both fit the same seven lambdas (the first round of the paper's search) one process after the other, in turn, and the
ratio of their times is printed with the suboptimality each reached: a fast fit that stops early is not the same thing.
Suboptimality is (F - F*) / max(F*, 1e-3 N), F* the lowest value that any of three solvers found, in float64.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from evalsuite.probe.solver import Targets, solve

LAMBDAS = [10.0**exponent for exponent in range(-6, 7, 2)]
FLOOR_PER_ROW = 1e-3
Fit = list[tuple[NDArray[np.float64], NDArray[np.float64]]]


@click.command()
@click.option("--mnist", type=click.Path(path_type=Path), help="Folder with MNIST's raw files: adds its pixels.")
@click.option("--rows", default=4_000, show_default=True, help="Rows of MNIST.")
@click.option("--repeats", default=3, show_default=True, help="Times each solver runs; medians are shown.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Also write the figures to this file.")
def main(mnist: Path | None, rows: int, repeats: int, target: Path | None) -> None:
    """Compare the solver with scikit-learn's L-BFGS (default stop, better of one and two threads)."""
    digits = load_digits()
    problems = {"digits 898 x 64 x 10": (digits.data[:898].astype(np.float32) / 16, digits.target[:898])}
    if mnist is not None:
        problems[f"MNIST pixels {rows} x 784 x 10"] = read_mnist(mnist, rows)
    figures = {name: compare(x, y, repeats) for name, (x, y) in problems.items()}
    for name, found in figures.items():
        click.echo(f"{name}: {found['ratio']:.2f} x scikit-learn's speed")
        for side in ("ours", "sklearn"):
            seconds, gap = found[f"{side}_s"], found[f"{side}_suboptimality"]
            click.echo(f"  {side:8} {seconds:7.2f} s, worst suboptimality {gap:.1e}")
    if target is not None:
        target.write_text(json.dumps(figures, indent=2) + "\n")


def compare(x: NDArray[np.float32], y: NDArray[np.int64], repeats: int) -> dict[str, float]:
    """Time both, in turn, and hold what they found against a tight reference."""
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(repeats):
        seconds, our_fit = timed(lambda: fit_ours(x, y))
        ours.append(seconds)
        one, sklearn_fit = timed(lambda: fit_sklearn(x, y, threads=1))
        two, _ = timed(lambda: fit_sklearn(x, y, threads=2))
        theirs.append(min(one, two))
    reference = fit_sklearn(x.astype(np.float64), y, threads=2, solver="newton-cg", tol=1e-9, max_iter=2_000)
    return {
        "ours_s": statistics.median(ours),
        "sklearn_s": statistics.median(theirs),
        "ratio": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
        "ours_suboptimality": worst(our_fit, x, y, [sklearn_fit, reference]),
        "sklearn_suboptimality": worst(sklearn_fit, x, y, [our_fit, reference]),
    }


def timed(fit: Callable[[], Fit]) -> tuple[float, Fit]:
    """Return the wall time of a call and what it returned."""
    started = time.perf_counter()
    found = fit()
    return time.perf_counter() - started, found


def fit_ours(x: NDArray[np.float32], y: NDArray[np.int64]) -> Fit:
    """Fit all lambdas in one batch."""
    solution = solve(torch.from_numpy(x), Targets("multinomial", torch.from_numpy(y), int(y.max()) + 1), LAMBDAS)
    return list(zip(solution.weights.numpy(), solution.intercepts.numpy(), strict=True))


def fit_sklearn(x: NDArray[Any], y: NDArray[np.int64], threads: int, **options: Any) -> Fit:
    """Fit one lambda after the other, as scikit-learn ships unless told otherwise, up to the paper's 1,000 steps."""
    fits: Fit = []
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # how far it got is what the suboptimality says
        for value in LAMBDAS:
            model = LogisticRegression(C=1 / value, **{"max_iter": 1_000, **options}).fit(x, y)
            fits.append((model.coef_.astype(np.float64), model.intercept_.astype(np.float64)))
    return fits


def worst(fit: Fit, x: NDArray[np.float32], y: NDArray[np.int64], others: list[Fit]) -> float:
    """Return the largest relative suboptimality over the lambdas."""
    gaps = []
    for index, value in enumerate(LAMBDAS):
        found = objective(*fit[index], x, y, value)
        best = min(found, *(objective(*other[index], x, y, value) for other in others))
        gaps.append((found - best) / max(best, FLOOR_PER_ROW * len(y)))
    return max(gaps)


def objective(
    weights: NDArray[np.float64], intercepts: NDArray[np.float64], x: NDArray[Any], y: NDArray[np.int64], value: float
) -> float:
    """Return the sum of losses + lambda/2 |W|^2 in float64."""
    logits = x.astype(np.float64) @ weights.T + intercepts
    top = logits.max(axis=1)
    losses = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(y)), y]
    return float(losses.sum() + value / 2 * np.square(weights).sum())


def read_mnist(folder: Path, rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read the first training images as pixels in [0, 1]; the idx files have headers of 16 and 8 bytes."""
    images = np.frombuffer((folder / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((folder / "train-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    return images.reshape(-1, 784)[:rows].astype(np.float32) / 255, labels[:rows].astype(np.int64)


if __name__ == "__main__":
    main()
