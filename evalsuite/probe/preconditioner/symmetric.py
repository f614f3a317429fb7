"""Symmetric matrices of which little more than one half is kept, and their factors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

RIDGES = (1e-12, 1e-7, 1e-6, 1e-3)
"""What is added to the unit diagonal of a scaled matrix, the first that makes it positive definite: the rounding of its
products has taken that from some."""

TILES = 8
"""Tiles along a side: 36 of 64 are kept. More would save little, and be slower."""


class Symmetric:
    """B symmetric matrices (B, d, d), as their tiles (36, B, s, s) on and below the diagonal, those on it first."""

    def __init__(self, count: int, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self._size, side = size, -(-size // TILES)
        self._padding = TILES * side - size
        below = torch.tril_indices(TILES, TILES, offset=-1, device=device)
        on = torch.arange(TILES, device=device)
        self._rows, self._columns = torch.cat([on, below[0]]), torch.cat([on, below[1]])
        self._tiles = torch.empty(len(self._rows), count, side, side, dtype=dtype, device=device)

    @staticmethod
    def bytes_for(count: int, size: int, dtype: torch.dtype) -> int:
        """Return how much memory so many matrices take."""
        return TILES * (TILES + 1) // 2 * count * (-(-size // TILES)) ** 2 * dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Return how much memory these take."""
        return self._tiles.nbytes

    def put(self, index: int, matrix: Tensor) -> None:
        """Set one matrix (d, d); above the diagonal it may be anything, tiles on it apart."""
        padded = functional.pad(matrix, (0, self._padding, 0, self._padding))
        tiles = padded.view(TILES, -1, TILES, padded.shape[0] // TILES)
        self._tiles[:, index] = tiles[self._rows, :, self._columns].to(self._tiles.dtype)

    def times(self, vectors: Tensor) -> Tensor:
        """Return the products with vectors (R, B, d), R of them for each matrix, in their precision."""
        padded = functional.pad(vectors.to(self._tiles.dtype), (0, self._padding))
        parts = padded.view(*vectors.shape[:2], TILES, -1).permute(2, 1, 0, 3)
        found = torch.zeros_like(parts)
        # Vectors as rows: a product with a column is several times slower on a CPU.
        found.index_add_(0, self._rows, _row_products(parts[self._columns], self._tiles.transpose(2, 3)))
        beyond = self._rows[TILES:]
        found.index_add_(0, self._columns[TILES:], _row_products(parts[beyond], self._tiles[TILES:]))
        return found.permute(2, 1, 0, 3).flatten(2)[..., : self._size].to(vectors.dtype)


def _row_products(vectors: Tensor, tiles: Tensor) -> Tensor:
    """Return v' T for vectors (t, B, R, s) and tiles (t, B, s, s)."""
    return torch.bmm(vectors.flatten(0, 1), tiles.flatten(0, 1)).view_as(vectors)


def inverted(matrix: Tensor, added: Tensor) -> Tensor:
    """Return the inverse (d, d) of a positive semidefinite matrix plus a diagonal (d,); see `factored`."""
    factor, root = factored(matrix, added)
    return torch.cholesky_inverse(factor) * root.unsqueeze(1) * root


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
