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

from dataclasses import dataclass

import torch
from torch import Tensor

from evalsuite.probe.objective import Design
from evalsuite.probe.preconditioner.kronecker import Spectrum, covariance

RANK_TOLERANCE = 1e-12
"""Eigenvalues of float64 inner products below this share of the largest are rounding."""

MAX_COPY_BYTES = 256 << 20
"""Rows whose coordinates take more than this stay as they are: a copy would burst the memory bound."""

MAX_ROTATED_DIM = 4096
"""Above this D a rotation costs more than it saves."""


@dataclass(frozen=True)
class Space:
    """Coordinates of the centred rows of a design.

    basis: V (D, r) float64 with orthonormal columns, or None for the coordinates of the features; mean: (D,)
    float64; design: the rows z_n, (N, r) of mean zero, or the design itself; spectrum: their covariance.
    """

    basis: Tensor | None
    mean: Tensor
    design: Design
    spectrum: Spectrum

    @classmethod
    def of(cls, design: Design) -> Space:
        """Find the coordinates in which a design is fitted fastest."""
        if len(design) < design.dim:
            return cls._of_few_rows(design)
        itemsize = torch.finfo(design.dtype).bits // 8
        if design.dim > MAX_ROTATED_DIM or len(design) * design.dim * itemsize > MAX_COPY_BYTES:
            return cls(None, design.mean, design, Spectrum.of(design))
        values, vectors = torch.linalg.eigh(covariance(design))
        kept = _kept(values, RANK_TOLERANCE if design.dtype == torch.float64 else torch.finfo(torch.float32).eps ** 2)
        basis = vectors[:, kept]
        turn = basis.to(design.dtype)
        rows = torch.empty(len(design), int(kept.sum()), dtype=design.dtype, device=turn.device)
        for span, x in design.chunks(columns=design.dim):
            torch.mm(x, turn, out=rows[span])
        return cls._of_rows(basis, design.mean, rows)

    @classmethod
    def _of_few_rows(cls, design: Design) -> Space:
        source = design.features if design.rows is None else design.features[design.rows]
        centred = source.double() - design.mean
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        kept = _kept(values, RANK_TOLERANCE)
        values, vectors = values[kept].clamp(min=torch.finfo(torch.float64).tiny), vectors[:, kept]
        roots = values.sqrt()
        basis = centred.T @ (vectors / roots)
        if float(roots[-1]) < RANK_TOLERANCE:
            basis = torch.zeros_like(basis)
        return cls._of_rows(basis, design.mean, centred @ basis)

    @classmethod
    def _of_rows(cls, basis: Tensor, mean: Tensor, rows: Tensor) -> Space:
        zeros = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
        inner = Design(rows, None, zeros, rows.dtype, centred=True)
        variances = zeros.clone()
        for _, z in inner.chunks(columns=rows.shape[1]):
            variances += z.square().sum(dim=0, dtype=torch.float64)
        return cls(basis, mean, inner, Spectrum(variances / len(rows), None))

    def from_features(self, weights: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (..., D) and intercepts (...) of the features as those of the centred coordinates."""
        shifted = intercepts + weights @ self.mean
        return (weights if self.basis is None else weights @ self.basis), shifted

    def to_features(self, weights: Tensor, intercepts: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and intercepts of the centred coordinates as those of the features."""
        if self.basis is not None:
            weights = weights @ self.basis.T
        return weights, intercepts - weights @ self.mean


def _kept(values: Tensor, tolerance: float) -> Tensor:
    """Return which directions are more than rounding, at least one: equal rows still make a problem."""
    kept = values > tolerance * values[-1].clamp(min=torch.finfo(torch.float64).tiny)
    kept[-1] = True
    return kept
