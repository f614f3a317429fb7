"""Symmetric matrices kept as their lower triangles, and their inverses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

RIDGES = (1e-12, 1e-7, 1e-6, 1e-3)
"""What is added to the unit diagonal of a scaled matrix, the first that makes it positive definite: the rounding of its
products has taken that from some."""

INVERTED_BYTES = 4 << 20
"""Matrices inverted together take about this much memory in float64."""


def packed(matrices: Tensor) -> Tensor:
    """Return the lower triangles of matrices (B, d, d) as rows (B, d (d + 1) / 2)."""
    return matrices.flatten(1)[:, _places(matrices.shape[1], matrices.device)]


def length(size: int) -> int:
    """Return how many numbers the lower triangle of a matrix of this size has."""
    return size * (size + 1) // 2


def unpacked(triangles: Tensor) -> Tensor:
    """Return matrices (B, d, d) in float64 with these lower triangles and nothing above."""
    size = _size(triangles)
    found = torch.zeros(len(triangles), size * size, dtype=torch.float64, device=triangles.device)
    found[:, _places(size, triangles.device)] = triangles.double()
    return found.view(-1, size, size)


def inverses(triangles: Tensor, added: Tensor) -> Tensor:
    """Return the inverses (B, d, d) of positive semidefinite matrices after adding to their diagonals (d,)."""
    size = _size(triangles)
    found = torch.empty(len(triangles), size, size, dtype=triangles.dtype, device=triangles.device)
    together = max(1, INVERTED_BYTES // (8 * size**2))
    for start in range(0, len(triangles), together):
        factors, root = factored(unpacked(triangles[start : start + together]), added)
        inverse = torch.cholesky_inverse(factors)
        found[start : start + together] = root.unsqueeze(2) * inverse * root.unsqueeze(1)
    return found


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
    identity: Tensor = torch.eye(matrices.shape[1], dtype=torch.float64, device=root.device)
    return identity.repeat(len(root), 1, 1), root


def _size(triangles: Tensor) -> int:
    return (math.isqrt(8 * triangles.shape[1] + 1) - 1) // 2


def _places(size: int, device: torch.device) -> Tensor:
    """Return where the lower triangle of a matrix of this size is in its flat form."""
    rows, columns = torch.tril_indices(size, size, device=device)
    places: Tensor = rows * size + columns
    return places
