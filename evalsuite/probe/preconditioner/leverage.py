"""Weighted covariances of many rows, estimated from the few that matter.

sum_n w_n x_n x_n' is estimated from rows drawn with a probability q_n and weighted by 1 / q_n. With q_n proportional
to the leverage w_n x_n' H^-1 x_n, H the sum itself plus lambda on its diagonal, no direction is estimated worse than
another, and rows that alone carry a direction (a pixel that is inked in one image) are never missed (Drineas et al.
2012, Fast approximation of matrix coherence and statistical leverage). The leverage is found in two steps: with the
diagonal of H for a rough estimate of H from a few rows, and with that for the one that counts. The first step alone
leaves directions, those that hard problems end in, wrong by factors up to a thousand.

The draw is systematic (every time a running sum of q passes a whole number), hence deterministic.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from evalsuite.probe.objective import Design
from evalsuite.probe.preconditioner.symmetric import factored

ROUGH_ROWS = 4
"""Rows drawn per direction for the rough estimate."""

ROWS = 6
"""Rows drawn per direction for the estimate: its eigenvalues are within (1 -+ 0.41)^2 of the truth, sure rows apart."""

SKETCHES = 8
"""x' H^-1 x = |L^-1 x|^2 is estimated as the mean square of so many random combinations of L^-1 x."""

NEGLIGIBLE = 0.1
"""Rows that together add less than this share of lambda to any direction are left out."""

ROWS_TOGETHER = 1_024
"""Rows that are copied and multiplied together."""

PANELS = 4
"""Of a product x' x only the lower triangle is computed, in so many panels of columns: 5 / 8 of the whole."""

CLIPPING_ROUNDS = 8
"""Probabilities above one are cut and the rest scaled up; a few rounds of it suffice."""


def covariances(design: Design, weights: Tensor, added: Tensor, refined: bool = True) -> Iterator[Tensor]:
    """Yield estimates of sum_n w_kn x_n x_n' (D + 1, D + 1), each row with a last feature of one, for all k in turn.
    They are complete on the diagonal and below.

    weights: (K, N), not negative, in the working precision; added: (D + 1,) float64, the diagonal that H has as
    well; refined: take the second step. Where few rows matter the sum is taken over those.
    """
    few = (ROUGH_ROWS + ROWS) * (design.dim + 1)
    lengths = _lengths(design)
    matter = [_mattering(one, lengths, float(added[0])) for one in weights]
    many = torch.tensor([len(rows) > few for rows in matter], device=weights.device)
    leverages = iter(_leverages(design, weights[many], added, refined))
    for one, rows in zip(weights, matter, strict=True):
        if len(rows) > few:
            rows, probability = draw(next(leverages).double(), ROWS * (design.dim + 1))
            yield _summed(design, rows, one[rows] / probability)
        else:
            yield _summed(design, rows, one[rows])


def _lengths(design: Design) -> Tensor:
    """Return |x_n|^2 (N,)."""
    found = torch.empty(len(design), dtype=design.dtype, device=design.mean.device)
    for span, x in design.chunks(columns=0):
        torch.linalg.vector_norm(x, dim=1, out=found[span])
    return found.square_()


def _mattering(weights: Tensor, lengths: Tensor, lambda_: float) -> Tensor:
    """Return the rows without which the sum is less by NEGLIGIBLE of lambda at most, in any direction, and of the
    weights."""
    load = weights * lengths
    order = torch.argsort(load)
    light = torch.cumsum(load[order], 0, dtype=torch.float64) <= NEGLIGIBLE * lambda_
    light &= torch.cumsum(weights[order], 0, dtype=torch.float64) <= NEGLIGIBLE * weights.sum(dtype=torch.float64)
    return order[~light].sort().values


def _leverages(design: Design, weights: Tensor, added: Tensor, refined: bool) -> Tensor:
    """Return estimates of w_kn x_n' H_k^-1 x_n (K, N)."""
    if not len(weights):
        return weights
    leverages, sketches = _by_diagonal(design, weights, added), []
    if not refined:
        return leverages
    for one, leverage in zip(weights, leverages, strict=True):
        rows, probability = draw(leverage.double(), ROUGH_ROWS * (design.dim + 1))
        sketches.append(_sketch(_summed(design, rows, one[rows] / probability), added))
    return _by_sketch(design, weights, torch.cat(sketches))


def _by_diagonal(design: Design, weights: Tensor, added: Tensor) -> Tensor:
    """Return w_kn (1 / sum_n w_kn + sum_j x_nj^2 / h_kj), h_kj the diagonal of H_k: (K, N)."""
    diagonal = added[:-1].repeat(len(weights), 1)
    for span, x in design.chunks(columns=design.dim):
        diagonal += weights[:, span] @ x.square()
    scale = (1 / diagonal.clamp(min=1e-30)).to(design.dtype)
    found = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-30)
    for span, x in design.chunks(columns=design.dim):
        found[:, span] += weights[:, span] * (scale @ x.square().T)
    return found


def _sketch(rough: Tensor, added: Tensor) -> Tensor:
    """Return combinations (SKETCHES, D + 1) of the rows of L^-1, with L L' = H, in the precision of H."""
    factors, root = factored(rough.double().unsqueeze(0), added)
    seeded = torch.Generator().manual_seed(0)
    mixed = torch.randn(len(added), SKETCHES, generator=seeded, dtype=torch.float64).to(rough.device)
    sketch: Tensor = torch.linalg.solve_triangular(factors[0].T, mixed / SKETCHES**0.5, upper=True)
    return (sketch * root[0].unsqueeze(1)).T.to(rough.dtype)


def _by_sketch(design: Design, weights: Tensor, sketches: Tensor) -> Tensor:
    """Return w_kn |S_k x_n|^2 for sketches S_k (SKETCHES, D + 1), one below the other: (K, N)."""
    found = torch.empty_like(weights)
    for span, x in design.chunks(columns=len(sketches)):
        mixed = torch.addmm(sketches[:, -1:], sketches[:, :-1], x.T)
        found[:, span] = weights[:, span] * mixed.square_().view(len(weights), SKETCHES, -1).sum(dim=1)
    return found


def _summed(design: Design, rows: Tensor, weights: Tensor) -> Tensor:
    """Return sum_m w_m x_m x_m' (D + 1, D + 1) over some rows, by position, not complete above the diagonal."""
    size = design.dim + 1
    roots = weights.sqrt().to(design.dtype)
    total = torch.zeros(size, size, dtype=design.dtype, device=weights.device)
    bounds = [size * panel // PANELS for panel in range(PANELS + 1)]
    for start in range(0, len(rows), ROWS_TOGETHER):
        part = slice(start, start + ROWS_TOGETHER)
        x = torch.cat([design.take(rows[part]), torch.ones_like(roots[part]).unsqueeze(1)], dim=1)
        x *= roots[part].unsqueeze(1)
        for first, last in itertools.pairwise(bounds):
            total[first:, first:last].addmm_(x[:, first:].T, x[:, first:last])
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
