"""Symmetric matrices of which little more than one half is kept, and their inverses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

RIDGES = (1e-12, 1e-7, 1e-6, 1e-3)
"""What is added to the unit diagonal of a scaled matrix, the first that makes it positive definite: the rounding of its
products has taken that from some."""

TILES = 8
"""Tiles along a side: 36 of 64 are kept. More would save little, and be slower."""

UNTILED = 256
"""Matrices of at most so many rows are one tile: there is nothing to save."""


@dataclass(frozen=True)
class Symmetric:
    """B symmetric matrices (B, d, d) as their tiles on and below the diagonal.

    tiles: (t, B, s, s), those on the diagonal first; size: d.
    """

    tiles: Tensor
    size: int

    @classmethod
    def empty(cls, count: int, size: int, dtype: torch.dtype, device: torch.device) -> Symmetric:
        """Make room for `count` matrices."""
        along, side = _tiling(size)
        kept = along * (along + 1) // 2
        return cls(torch.empty(kept, count, side, side, dtype=dtype, device=device), size)

    @staticmethod
    def bytes_for(count: int, size: int, dtype: torch.dtype) -> int:
        """Return how much memory so many matrices take."""
        along, side = _tiling(size)
        return along * (along + 1) // 2 * count * side**2 * dtype.itemsize

    def __len__(self) -> int:
        """Return B."""
        return self.tiles.shape[1]

    def put(self, start: int, matrices: Tensor) -> None:
        """Set matrices (b, d, d) from number `start` on; above the diagonal they may be anything, tiles on it apart."""
        along, side = _tiling(self.size)
        padding = along * side - self.size
        padded = functional.pad(matrices, (0, padding, 0, padding)).view(len(matrices), along, side, along, side)
        rows, columns = _places(along, matrices.device)
        self.tiles[:, start : start + len(matrices)] = padded[:, rows, :, columns, :].to(self.tiles.dtype)

    def times(self, vectors: Tensor) -> Tensor:
        """Return the products with vectors (B, r, d), r of them for each matrix."""
        along, side = _tiling(self.size)
        if along == 1:
            return torch.bmm(vectors, self.tiles[0])
        padded = functional.pad(vectors, (0, along * side - self.size))
        padded = padded.view(*vectors.shape[:2], along, side).permute(2, 0, 1, 3)
        rows, columns = _places(along, vectors.device)
        found = torch.zeros_like(padded)
        # Vectors as rows: a product with a column is several times slower on a CPU.
        found.index_add_(0, rows, _row_products(padded[columns], self.tiles.transpose(2, 3)))
        found.index_add_(0, columns[along:], _row_products(padded[rows[along:]], self.tiles[along:]))
        return found.permute(1, 2, 0, 3).flatten(2)[..., : self.size]


def inverted(matrices: Tensor, added: Tensor) -> Tensor:
    """Return the inverses (B, d, d) of positive semidefinite matrices after adding to their diagonals (d,); see
    `factored`."""
    factors, root = factored(matrices, added)
    inverse = torch.cholesky_inverse(factors)
    inverse *= root.unsqueeze(2)
    inverse *= root.unsqueeze(1)
    return inverse


def factored(matrices: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
    """Return factors L (B, d, d) and roots r (B, d) with L L' = diag(r) (M + diag(added)) diag(r), of unit diagonal:
    as well conditioned as a diagonal scaling can make it.

    matrices: (B, d, d) float64, of which the lower triangles are read; they are overwritten.
    """
    diagonal = matrices.diagonal(dim1=1, dim2=2)
    diagonal += added
    diagonal += torch.finfo(torch.float64).tiny + 1e-12 * diagonal.amax(dim=1, keepdim=True)
    root = diagonal.rsqrt()
    matrices *= root.unsqueeze(2)
    matrices *= root.unsqueeze(1)
    factors: Tensor
    for ridge in RIDGES:
        diagonal.fill_(1 + ridge)
        factors, failed = torch.linalg.cholesky_ex(matrices)
        if not bool(failed.any()):
            return factors, root
    identity = torch.eye(matrices.shape[1], dtype=torch.float64, device=root.device)
    return identity.expand_as(matrices).contiguous(), root


def _row_products(vectors: Tensor, tiles: Tensor) -> Tensor:
    """Return v' T for vectors (t, B, r, s) and tiles (t, B, s, s)."""
    return torch.bmm(vectors.flatten(0, 1), tiles.flatten(0, 1)).view_as(vectors)


def _tiling(size: int) -> tuple[int, int]:
    """Return the number of tiles along a side, and the length of theirs."""
    return (1, size) if size <= UNTILED else (TILES, -(-size // TILES))


def _places(along: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the row and the column of every tile that is kept, those on the diagonal first."""
    on = torch.arange(along, device=device)
    below = torch.tril_indices(along, along, offset=-1, device=device)
    return torch.cat([on, below[0]]), torch.cat([on, below[1]])
