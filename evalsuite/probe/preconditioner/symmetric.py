"""Inverses of symmetric matrices, kept as triangular factors, of which little more than one half is kept.

A product with F' F is never negative along the vector, however F was rounded. With the inverse itself in float32 it can
be: where curvatures differ by 10^8, the directions of a gradient drown in the rounding of those that are nearly flat.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

RIDGES = (1e-12, 1e-7, 1e-6, 1e-3)
"""What is added to the unit diagonal of a scaled matrix, the first that makes it positive definite: the rounding of its
products has taken that from some."""

TILES = 8
"""Tiles along a side: 36 of 64 are kept. More would save little, and be slower."""


class Inverses:
    """F' F of B lower triangular matrices F (B, d, d), as their tiles (36, B, s, s) on and below the diagonal."""

    def __init__(self, count: int, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self._size, side = size, -(-size // TILES)
        self._padding = TILES * side - size
        self._rows, self._columns = torch.tril_indices(TILES, TILES, device=device)
        self._tiles = torch.empty(len(self._rows), count, side, side, dtype=dtype, device=device)

    @staticmethod
    def bytes_for(count: int, size: int, dtype: torch.dtype) -> int:
        """Return how much memory so many matrices take."""
        return TILES * (TILES + 1) // 2 * count * (-(-size // TILES)) ** 2 * dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Return how much memory these take."""
        return self._tiles.nbytes

    def put(self, index: int, factor: Tensor) -> None:
        """Set one factor F (d, d), lower triangular."""
        padded = functional.pad(factor, (0, self._padding, 0, self._padding))
        tiles = padded.view(TILES, -1, TILES, padded.shape[0] // TILES)
        self._tiles[:, index] = tiles[self._rows, :, self._columns].to(self._tiles.dtype)

    def times(self, vectors: Tensor) -> Tensor:
        """Return the products with vectors (R, B, d), R of them for each matrix, in their precision."""
        padded = functional.pad(vectors.to(self._tiles.dtype), (0, self._padding))
        parts = padded.view(*vectors.shape[:2], TILES, -1).permute(2, 1, 0, 3)
        half, found = torch.zeros_like(parts), torch.zeros_like(parts)
        # Vectors as rows: a product with a column is several times slower on a CPU.
        half.index_add_(0, self._rows, _row_products(parts[self._columns], self._tiles.transpose(2, 3)))
        found.index_add_(0, self._columns, _row_products(half[self._rows], self._tiles))
        return found.permute(2, 1, 0, 3).flatten(2)[..., : self._size].to(vectors.dtype)


def _row_products(vectors: Tensor, tiles: Tensor) -> Tensor:
    """Return v' T for vectors (t, B, R, s) and tiles (t, B, s, s)."""
    return torch.bmm(vectors.flatten(0, 1), tiles.flatten(0, 1)).view_as(vectors)


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
