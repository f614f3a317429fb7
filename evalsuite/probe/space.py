"""The same problem in better coordinates: those of the principal directions of its rows.

The penalty makes every minimum a combination of the centred rows (the representer theorem), and it does not
change under rotation. So with an orthonormal basis V (D, r) of the space the rows span, fitting
z_n = V' (x_n - mean) gives the very same minima, W = W_z V'. Three things are gained: r <= min(N, D) unknowns per
class in place of D, a covariance that is diagonal, and float32 products that keep small directions apart from
large ones, whose rounding would drown them.

The basis is that of the covariance, or, with fewer rows than features, of the N x N inner products: nothing of
size D x D is then ever made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from evalsuite.probe.objective import Design

RANK_TOLERANCE = 1e-12
"""Eigenvalues of float64 inner products below this share of the largest are rounding."""

MAX_COPY_BYTES = 256 << 20
"""Rows whose coordinates take more than this are not copied, the memory bound would burst: parameters are rotated."""

MAX_ROTATED_DIM = 4096
"""Above this D a rotation costs more than it saves."""


@dataclass(frozen=True)
class Space:
    """Coordinates of the centred rows of a design.

    design: the rows z_n (N, r), or those of the features where they are too many for a copy; exact: the rows of the
    features in float64; variances: (r,) float64, of the coordinates. Parameters of both designs are the same.
    """

    design: Design
    exact: Design
    variances: Tensor

    @classmethod
    def of(cls, design: Design) -> Space:
        """Find the coordinates in which a design is fitted fastest."""
        if len(design) < design.width:
            return cls._of_few_rows(design)
        itemsize = torch.finfo(design.dtype).bits // 8
        exact = replace(design, dtype=torch.float64)
        if design.width > MAX_ROTATED_DIM:
            return cls(design, exact, _variances(design))
        values, vectors = torch.linalg.eigh(_covariance(design))
        kept = _kept(values, RANK_TOLERANCE if design.dtype == torch.float64 else torch.finfo(torch.float32).eps ** 2)
        exact = replace(exact, basis=vectors[:, kept])
        if len(design) * design.width * itemsize > MAX_COPY_BYTES:
            return cls(replace(design, basis=exact.basis), exact, values[kept].clamp(min=0))
        turn = vectors[:, kept].to(design.dtype)
        rows = torch.empty(len(design), turn.shape[1], dtype=design.dtype, device=turn.device)
        for span, x in design.chunks(columns=design.width):
            torch.mm(x, turn, out=rows[span])
        return cls._of_rows(rows, exact)

    @classmethod
    def _of_few_rows(cls, design: Design) -> Space:
        source = design.features if design.rows is None else design.features[design.rows]
        centred = source.double() - design.mean
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        kept = _kept(values, RANK_TOLERANCE)
        roots = values[kept].clamp(min=torch.finfo(torch.float64).tiny).sqrt()
        basis = centred.T @ (vectors[:, kept] / roots)
        if float(roots[-1]) < RANK_TOLERANCE:
            basis = torch.zeros_like(basis)
        return cls._of_rows(centred @ basis, replace(design, dtype=torch.float64, basis=basis))

    @classmethod
    def _of_rows(cls, rows: Tensor, exact: Design) -> Space:
        zeros = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
        design = Design(rows, None, zeros, rows.dtype, centred=True, threads=exact.threads)
        return cls(design, exact, _variances(design))

    def from_features(self, weights: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (..., D) and intercepts (...) of the features as those of the centred coordinates."""
        return self.exact.inside(weights), intercepts + weights @ self.exact.mean

    def to_features(self, weights: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and intercepts of the centred coordinates as those of the features."""
        weights = self.exact.outside(weights)
        return weights, intercepts - weights @ self.exact.mean


def _covariance(design: Design) -> Tensor:
    """Return the mean of x x' over the centred rows: (D, D) float64."""
    total = torch.zeros(design.width, design.width, dtype=torch.float64, device=design.mean.device)
    for _, x in design.chunks(columns=design.width):
        total += x.T @ x
    return total / len(design)


def _variances(design: Design) -> Tensor:
    """Return the mean of x^2 over the centred rows: (D,) float64."""
    total = torch.zeros_like(design.mean)
    for _, x in design.chunks(columns=design.width):
        total += x.square().sum(dim=0, dtype=torch.float64)
    return total / len(design)


def _kept(values: Tensor, tolerance: float) -> Tensor:
    """Return which directions are more than rounding, at least one: equal rows still make a problem."""
    kept = values > tolerance * values[-1].clamp(min=torch.finfo(torch.float64).tiny)
    kept[-1] = True
    return kept
