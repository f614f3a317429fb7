"""A weighted covariance of many rows, estimated from the few that matter.

sum_n w_n x_n x_n' is estimated from rows drawn with a probability q_n and weighted by 1 / q_n. With q_n proportional
to the leverage w_n x_n' H^-1 x_n, H the sum itself plus lambda on its diagonal, no direction is estimated worse than
another, and rows that alone carry a direction (a pixel that is inked in one image) are never missed (Drineas et al.
2012, Fast approximation of matrix coherence and statistical leverage). The H in it is itself one of a few rows, drawn
by their loads w_n (1 + |x_n|^2): it is too small in directions that these lack, whose rows are then drawn all the more
surely. Loads alone leave directions, those that hard problems end in, wrong by factors up to a thousand.

The draw is systematic (every time a running sum of q passes a whole number), hence deterministic.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from evalsuite.probe.objective import Design
from evalsuite.probe.preconditioner.symmetric import factored, panels

ROUGH_ROWS = 4
"""Rows drawn per direction for the rough estimate."""

ROWS = 6
"""Rows drawn per direction for the estimate: its eigenvalues are within (1 -+ 0.41)^2 of the truth, sure rows apart."""

SKETCHES = 8
"""x' H^-1 x = |L^-1 x|^2 is estimated as the mean square of so many random combinations of L^-1 x."""

NEGLIGIBLE = 0.1
"""Rows that together add less than this share of lambda to any direction are left out."""

CLIPPING_ROUNDS = 8
"""Probabilities above one are cut and the rest scaled up; a few rounds of it suffice."""

ROWS_TOGETHER = 1_024
"""Rows that are copied and multiplied together."""


def rows_read(design: Design) -> int:
    """Return how many rows each covariance is made of at most."""
    return min(len(design), (ROUGH_ROWS + ROWS) * (design.width + 1))


def covariances(design: Design, weights: Tensor, added: Tensor) -> Iterator[Tensor]:
    """Yield estimates of sum_n w_kn x_n x_n' (D + 1, D + 1), each row with a last feature of one, for all k in turn.
    They are complete on the diagonal and below.

    weights: (K, N), not negative, in the working precision; added: (D + 1,) float64, the diagonal that H has as
    well. Where few rows matter the sum is taken over those.
    """
    size = design.width + 1
    loads = weights * (1 + _squared_lengths(design))
    matter = _mattering(loads, weights, float(added[0]))
    many = matter.sum(dim=1) > rows_read(design)
    importance = iter(_leverages(design, weights[many], loads[many], added))
    for one, used, too_many in zip(weights, matter, many.tolist(), strict=True):
        if too_many:
            yield _drawn(design, one, next(importance), ROWS * size)
        else:
            rows = torch.nonzero(used).squeeze(1)
            yield _summed(design, rows, one[rows])


def _squared_lengths(design: Design) -> Tensor:
    """Return |x_n|^2 (N,)."""
    found = torch.empty(len(design), dtype=design.dtype, device=design.mean.device)
    for span, x in design.chunks(columns=0):
        torch.linalg.vector_norm(x, dim=1, out=found[span])
    return found.square_()


def _mattering(loads: Tensor, weights: Tensor, lambda_: float) -> Tensor:
    """Return which rows (K, N) to use: without the others the sum is less by NEGLIGIBLE of lambda at most in any
    direction, and by NEGLIGIBLE of the weights."""
    share = NEGLIGIBLE / weights.shape[1]
    return (loads > share * lambda_) | (weights > share * weights.sum(dim=1, keepdim=True))


def _leverages(design: Design, weights: Tensor, loads: Tensor, added: Tensor) -> Tensor:
    """Return estimates of w_kn x_n' H_k^-1 x_n (K, N), by an H of few rows, drawn by the loads (K, N)."""
    size, found = design.width + 1, torch.empty_like(weights)
    sketches = [
        _sketch(_drawn(design, one, load, ROUGH_ROWS * size), added) for one, load in zip(weights, loads, strict=True)
    ]
    together = torch.cat(sketches or [weights.new_empty(0, size)])
    for span, x in design.chunks(columns=len(together)):
        mixed = torch.addmm(together[:, -1:], together[:, :-1], x.T)
        found[:, span] = weights[:, span] * mixed.square_().view(len(weights), SKETCHES, len(x)).sum(dim=1)
    return found


def _sketch(rough: Tensor, added: Tensor) -> Tensor:
    """Return combinations (SKETCHES, D + 1) of the rows of L^-1, with L L' = H, in the precision of H."""
    factor, root = factored(rough.double(), added)
    seeded = torch.Generator().manual_seed(0)
    mixed = torch.randn(len(added), SKETCHES, generator=seeded, dtype=torch.float64).to(rough.device)
    sketch: Tensor = torch.linalg.solve_triangular(factor.T, mixed / SKETCHES**0.5, upper=True)
    return (sketch * root.unsqueeze(1)).T.to(rough.dtype)


def _drawn(design: Design, weights: Tensor, leverage: Tensor, count: int) -> Tensor:
    """Return sum_n w_n x_n x_n' estimated from about `count` rows."""
    rows, probability = draw(leverage.double(), count)
    return _summed(design, rows, weights[rows] / probability)


def _summed(design: Design, rows: Tensor, weights: Tensor) -> Tensor:
    """Return sum_m w_m x_m x_m' (D + 1, D + 1) over some rows, by position, not complete above the diagonal."""
    size = design.width + 1
    roots = weights.sqrt().to(design.dtype)
    total = torch.zeros(size, size, dtype=design.dtype, device=weights.device)
    for start in range(0, len(rows), ROWS_TOGETHER):
        part = slice(start, start + ROWS_TOGETHER)
        x = torch.cat([design.take(rows[part]), torch.ones_like(roots[part]).unsqueeze(1)], dim=1)
        x *= roots[part].unsqueeze(1)
        for panel in panels(size):
            total[panel, : panel.stop].addmm_(x[:, panel].T, x[:, : panel.stop])
    return total


def draw(importance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draw about `count` of N rows by importance (N,), none twice; return rows and their probabilities."""
    count = min(count, len(importance))
    q = importance.clamp(min=torch.finfo(importance.dtype).tiny)
    q = q * (count / q.sum())
    for _ in range(CLIPPING_ROUNDS):
        sure = q >= 1
        rest = torch.where(sure, torch.zeros_like(q), q)
        left = (count - sure.sum()).clamp(min=0)
        q = torch.where(sure, torch.ones_like(q), rest * (left / rest.sum().clamp(min=1e-300)))
    q = q.clamp(max=1)
    passed = torch.floor(torch.cumsum(q, 0) + 0.5)
    rows = torch.nonzero(torch.diff(passed, prepend=passed.new_zeros(1)) > 0).squeeze(1)
    return rows, q[rows]
