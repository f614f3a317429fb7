"""Fewer rows than features: the same problem in the space that the rows span.

The penalty makes every minimum a combination of the centred rows (the representer theorem), and it does not
change under rotation. So with an orthonormal basis V (D, r) of that space, fitting z_n = V' (x_n - mean) gives
the very same minima, W = W_z V', with r < N unknowns a class in place of D. The basis comes from the N x N
matrix of inner products, and the covariance of the z_n is diagonal: nothing of size D x D is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evalsuite.probe.objective import Design
from evalsuite.probe.preconditioner import Spectrum

RANK_TOLERANCE = 1e-12
"""Eigenvalues below this share of the largest are rounding: float64 inner products are good to about 1e-15 N."""


@dataclass(frozen=True)
class RowSpace:
    """The centred rows of a design in coordinates of their own.

    basis: V (D, r) float64, orthonormal columns; mean: (D,) float64; design: the rows z_n, (N, r) float64, of
    mean zero; spectrum: their covariance.
    """

    basis: Tensor
    mean: Tensor
    design: Design
    spectrum: Spectrum

    @classmethod
    def of(cls, design: Design) -> RowSpace:
        """Find the space of the rows of a design with fewer rows than features."""
        source = design.features if design.rows is None else design.features[design.rows]
        centred = source.double() - design.mean
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        kept = values > RANK_TOLERANCE * values[-1].clamp(min=torch.finfo(torch.float64).tiny)
        kept[-1] = True  # rows that are all equal still make a problem, in one useless dimension
        values, vectors = values[kept].clamp(min=torch.finfo(torch.float64).tiny), vectors[:, kept]
        roots = values.sqrt()
        basis = centred.T @ (vectors / roots)
        if float(roots[-1]) < RANK_TOLERANCE:
            basis = torch.zeros_like(basis)
        rows = centred @ basis
        zeros = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
        inner = Design(rows, None, zeros, torch.float64)
        return cls(basis, design.mean, inner, Spectrum(rows.square().mean(dim=0), None))
