"""The probe's objective once more, in float64 and apart from the solver: what both sides are judged by.

F(W, b) = sum_n [log sum_k exp z_nk - z_n,y(n)] + lambda / 2 |W|^2 with z_n = W x_n + b.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOOR_PER_ROW = 1e-3
"""Suboptimality is (F - F*) / max(F*, 1e-3 N)."""

CHUNK = 8_192
CG_STEPS = 200
CG_RESIDUAL = 1e-2

Doubles = NDArray[np.float64]


def objective(x: NDArray[Any], y: NDArray[np.int64], lambda_: float, weights: Doubles, intercepts: Doubles) -> float:
    """Return F for features (n, D), labels (n,), weights (C, D) and intercepts (C,)."""
    total = 0.0
    for span, rows in _chunks(x):
        logits = rows @ weights.T + intercepts
        top = logits.max(axis=1)
        losses = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(rows)), y[span]]
        total += float(losses.sum())
    return total + lambda_ / 2 * float(np.square(weights).sum())


def suboptimality(value: float, best: float, n_rows: int) -> float:
    """Return (F - F*) / max(F*, 1e-3 N)."""
    return (value - best) / max(best, FLOOR_PER_ROW * n_rows)


def probabilities(x: NDArray[Any], weights: Doubles, intercepts: Doubles) -> Doubles:
    """Return the probabilities of the classes: (n, C)."""
    logits = x.astype(np.float64) @ weights.T + intercepts
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Doubles = e / e.sum(axis=1, keepdims=True)
    return found


def newton_decrement(
    x: NDArray[Any], y: NDArray[np.int64], lambda_: float, weights: Doubles, intercepts: Doubles
) -> float:
    """Return g' H^-1 g / 2, which is F - F* up to terms of higher order, or infinity where it was not found.

    H^-1 g comes from conjugate gradients on the exact Hessian, preconditioned by the Kronecker product of the mean
    curvatures, so that it owes nothing to the solver under test.
    """
    p = probabilities(x, weights, intercepts)
    mean = x.mean(axis=0, dtype=np.float64)
    residual = p.copy()
    residual[np.arange(len(y)), y] -= 1
    # In centred features the intercept is b + W mean, and the penalty is the same.
    gradient = _transposed_product(x, mean, residual)
    gradient[:, :-1] += lambda_ * weights
    invert = _preconditioner(x, mean, p, lambda_)
    left = gradient - gradient.mean(axis=0)
    direction = turned = invert(left)
    power = first = float((left * turned).sum())
    decrement = 0.0
    for _ in range(CG_STEPS):
        if power <= CG_RESIDUAL * first or power <= 0:
            return decrement / 2
        image = _hessian_product(x, mean, p, lambda_, direction)
        step = power / float((direction * image).sum())
        decrement += step * power
        left = left - step * image
        turned = invert(left)
        previous, power = power, float((left * turned).sum())
        direction = turned + power / previous * direction
    return float("inf")


def _hessian_product(x: NDArray[Any], mean: Doubles, p: Doubles, lambda_: float, v: Doubles) -> Doubles:
    slopes = np.empty_like(p)
    for span, rows in _chunks(x):
        slopes[span] = (rows - mean) @ v[:, :-1].T + v[:, -1]
    slopes = p * (slopes - (p * slopes).sum(axis=1, keepdims=True))
    product = _transposed_product(x, mean, slopes)
    product[:, :-1] += lambda_ * v[:, :-1]
    return product


def _transposed_product(x: NDArray[Any], mean: Doubles, columns: Doubles) -> Doubles:
    """Return sum_n columns_n (x_n - mean, 1)': (C, D + 1)."""
    total = np.zeros((columns.shape[1], x.shape[1]))
    for span, rows in _chunks(x):
        total += columns[span].T @ (rows - mean)
    return np.concatenate([total, columns.sum(axis=0)[:, None]], axis=1)


def _preconditioner(x: NDArray[Any], mean: Doubles, p: Doubles, lambda_: float) -> Any:
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for _, rows in _chunks(x):
        covariance += (rows - mean).T @ (rows - mean)
    spreads, directions = np.linalg.eigh(covariance)
    values, vectors = np.linalg.eigh(np.diag(p.mean(axis=0)) - p.T @ p / len(p))
    values = np.maximum(values, 1e-9)[:, None]
    curvatures = np.concatenate([values * spreads.clip(0) + lambda_, len(p) * values], axis=1)

    def invert(g: Doubles) -> Doubles:
        turned = vectors.T @ g
        turned = np.concatenate([turned[:, :-1] @ directions, turned[:, -1:]], axis=1) / curvatures
        found = vectors @ np.concatenate([turned[:, :-1] @ directions.T, turned[:, -1:]], axis=1)
        # One vector added to all rows of W changes no probability: there is nothing to find that way.
        projected: Doubles = found - found.mean(axis=0)
        return projected

    return invert


def _chunks(x: NDArray[Any]) -> Iterator[tuple[slice, Doubles]]:
    for start in range(0, len(x), CHUNK):
        span = slice(start, start + CHUNK)
        yield span, x[span].astype(np.float64)
