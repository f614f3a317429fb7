"""The initial inverse Hessian of L-BFGS: the curvature of the features times the curvature of the losses.

With centred rows x_n, the Hessian of F in W is sum_n A_n (x) x_n x_n' + lambda I, where A_n (K, K) is the
Hessian of the loss in the logits of row n. Taking the two factors as independent over rows gives

    H ~ N A (x) S + lambda I,    A = mean A_n,    S = mean x_n x_n',

whose inverse is cheap in the eigenbases A = V a V', S = U s U':  H^-1 G = V [ (V' G U) / (N a s + lambda) ] U'.
S belongs to the features and is decomposed once for a whole sweep; A is K x K and follows the iterates.
An inexact S only costs iterations, never accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evalsuite.probe.objective import Design, Objective

MAX_DECOMPOSED_DIM = 4096
"""Above this D only the diagonal of S is used: an eigendecomposition takes about 10 D^3 operations."""

CURVATURE_FLOOR = 1e-9
"""Smallest eigenvalue of A that is believed; float32 probabilities leave rounding of that size in a mean."""


@dataclass(frozen=True)
class Spectrum:
    """S = U diag(values) U' of some centred rows.

    values: (D,) float64, not negative; vectors: U (D, D) float64, or None where S is taken as diagonal.
    """

    values: Tensor
    vectors: Tensor | None

    @classmethod
    def of(cls, design: Design) -> Spectrum:
        """Decompose the covariance of the rows of a design."""
        if design.dim > MAX_DECOMPOSED_DIM:
            variances = torch.zeros_like(design.mean)
            for _, x in design.chunks(columns=0):
                variances += x.square().sum(dim=0, dtype=torch.float64)
            return cls(variances / len(design), None)
        values, vectors = torch.linalg.eigh(covariance(design))
        return cls(values.clamp(min=0), vectors)

    def rotate(self, x: Tensor) -> Tensor:
        """Return x U for x (..., D)."""
        return x if self.vectors is None else x @ self.vectors.to(x.dtype)

    def rotate_back(self, x: Tensor) -> Tensor:
        """Return x U' for x (..., D)."""
        return x if self.vectors is None else x @ self.vectors.T.to(x.dtype)


def covariance(design: Design) -> Tensor:
    """Return the mean of x x' over the centred rows: (D, D) float64."""
    total = torch.zeros(design.dim, design.dim, dtype=torch.float64, device=design.mean.device)
    for _, x in design.chunks(columns=design.dim):
        total += x.T @ x
    return total / len(design)


class Kronecker:
    """H^-1 for the P problems of an objective; A is the identity until the first update."""

    def __init__(self, spectrum: Spectrum, objective: Objective) -> None:
        self._spectrum, self._objective = spectrum, objective
        one = torch.eye(objective.n_logits, dtype=torch.float64, device=objective.lambdas.device)
        self._vectors = one.repeat(len(objective.lambdas), 1, 1)
        self._inverse = self._inverted(torch.ones_like(self._vectors[:, 0]), objective.lambdas)

    def update(self, ids: Tensor, theta: Tensor) -> None:
        """Take A of the problems `ids` (B,) at theta (B, K, D + 1)."""
        values, vectors = torch.linalg.eigh(self._objective.curvature(ids, theta))
        self._vectors[ids], self._inverse[ids] = vectors, self._inverted(values, self._objective.lambdas[ids])

    def apply(self, ids: Tensor, gradient: Tensor) -> Tensor:
        """Return H^-1 G for gradients (B, K, D + 1), b last; b is a feature of variance 1 without penalty."""
        vectors, inverse = self._vectors[ids], self._inverse[ids]
        rotated = vectors.transpose(1, 2) @ gradient
        if self._spectrum.vectors is None:
            return torch.matmul(vectors, rotated * inverse)
        weights = self._spectrum.rotate(rotated[:, :, :-1]) * inverse[:, :, :-1]
        rotated = torch.cat([self._spectrum.rotate_back(weights), rotated[:, :, -1:] * inverse[:, :, -1:]], dim=2)
        return torch.matmul(vectors, rotated)

    def _inverted(self, values: Tensor, lambdas: Tensor) -> Tensor:
        """Return 1 / (N a s + lambda) for eigenvalues a (B, K) of A: (B, K, D + 1)."""
        loss_curvature = len(self._objective.design) * values.clamp(min=CURVATURE_FLOOR).unsqueeze(2)
        weights = loss_curvature * self._spectrum.values + lambdas[:, None, None]
        return 1 / torch.cat([weights, loss_curvature], dim=2)
