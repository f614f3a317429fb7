"""Inverses of symmetric matrices, kept as triangular factors, of which little more than one half is kept.

A product with F' F is never negative along the vector, however F was rounded. With the inverse itself in float32 it can
be: where curvatures differ by 10^8, the directions of a gradient drown in the rounding of those that are nearly flat.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGES = (1e-12, 1e-7, 1e-6, 1e-3)
"""What is added to the unit diagonal of a scaled matrix, the first that makes it positive definite: the rounding of its
products has taken that from some."""

PANELS = 8
"""Panels of rows that a factor is kept as, each up to the diagonal: 9 / 16 of the whole. More would save little."""


class Inverses:
    """F' F of B lower triangular matrices F (B, d, d), as panels of their rows: PANELS of (B, d / PANELS, columns)."""

    def __init__(self, count: int, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self._panels = [
            torch.empty(count, rows.stop - rows.start, rows.stop, dtype=dtype, device=device) for rows in panels(size)
        ]

    @staticmethod
    def bytes_for(count: int, size: int, dtype: torch.dtype) -> int:
        """Return how much memory so many matrices take."""
        kept: int = sum((rows.stop - rows.start) * rows.stop for rows in panels(size))
        return count * kept * dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Return how much memory these take."""
        return sum(panel.nbytes for panel in self._panels)

    def put(self, index: int, factor: Tensor) -> None:
        """Set one factor F (d, d), lower triangular."""
        for panel, rows in zip(self._panels, panels(len(factor)), strict=True):
            panel[index] = factor[rows, : rows.stop]

    def times(self, vectors: Tensor) -> Tensor:
        """Return the products with vectors (R, B, d), R of them for each matrix, in their precision."""
        # Vectors as rows: a product with a column is several times slower on a CPU.
        turned = vectors.to(self._panels[0].dtype).transpose(0, 1)
        found = torch.zeros_like(turned)
        for panel in self._panels:
            columns = slice(panel.shape[2])
            found[..., columns] += turned[..., columns] @ panel.transpose(1, 2) @ panel
        return found.transpose(0, 1).to(vectors.dtype)


def panels(size: int) -> list[slice]:
    """Return the rows of each panel of a matrix (d, d); some are empty where d is small."""
    return [slice(size * panel // PANELS, size * (panel + 1) // PANELS) for panel in range(PANELS)]


def inverse_factor(matrix: Tensor, added: Tensor) -> Tensor:
    """Return F (d, d), lower triangular, with F' F the inverse of a positive semidefinite matrix plus a diagonal (d,);
    see `factored`."""
    factor, root = factored(matrix, added)
    identity = torch.eye(len(root), dtype=factor.dtype, device=factor.device)
    found: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False) * root
    return found


def factored(matrix: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
    """Return L (d, d) and roots r (d,) with L L' = diag(r) (M + diag(added)) diag(r), of unit diagonal: as well
    conditioned as a diagonal scaling can make it.

    matrix: (d, d) float64, of which the lower triangle is read; it is overwritten.
    """
    diagonal = matrix.diagonal()
    diagonal += added
    diagonal += torch.finfo(torch.float64).tiny + 1e-12 * diagonal.amax()
    root = diagonal.rsqrt()
    matrix *= root.unsqueeze(1)
    matrix *= root
    for ridge in RIDGES:
        diagonal.fill_(1 + ridge)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if not bool(failed):
            return factor, root
    return torch.eye(len(matrix), dtype=torch.float64, device=root.device), root
