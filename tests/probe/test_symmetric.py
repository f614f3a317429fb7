"""Symmetric matrices by their tiles, and the inverses made of them."""

from __future__ import annotations

import pytest
import torch

from evalsuite.probe.preconditioner.symmetric import UNTILED, Symmetric, factored, inverted


def matrices(count: int, size: int) -> torch.Tensor:
    """Positive definite, of very unequal scales: (count, size, size) float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3 * size, size, dtype=torch.float64, generator=generator)
    x *= torch.logspace(-2, 2, size, dtype=torch.float64)
    return x.transpose(1, 2) @ x


@pytest.mark.parametrize("size", [1, 5, UNTILED, UNTILED + 1, UNTILED + 40])
def test_tiles_hold_all_of_a_symmetric_matrix(size: int) -> None:
    whole = matrices(3, size)
    found = Symmetric.empty(3, size, torch.float64, whole.device)
    found.put(0, whole[:2])
    found.put(2, whole[2:])
    assert len(found) == 3
    assert found.tiles.nbytes == Symmetric.bytes_for(3, size, torch.float64)
    vectors = torch.randn(3, 4, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(found.times(vectors), torch.bmm(vectors, whole))


def test_tiles_take_little_more_than_half_the_memory() -> None:
    assert Symmetric.bytes_for(10, 800, torch.float32) < 0.57 * 10 * 800 * 800 * 4


def test_inverses_take_what_is_added() -> None:
    whole = matrices(5, 6)
    added = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    product = inverted(whole.tril(), added) @ (whole + torch.diag(added))
    assert torch.allclose(product, torch.eye(6, dtype=torch.float64).expand(5, 6, 6), atol=1e-3)


def test_a_singular_matrix_is_helped_by_the_smallest_ridge_that_will_do() -> None:
    vector = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    whole = (vector.T @ vector).unsqueeze(0)
    factors, root = factored(whole.clone(), torch.zeros(3, dtype=torch.float64))
    scaled = root[0].unsqueeze(1) * whole[0] * root[0]
    assert torch.allclose(factors[0] @ factors[0].T, scaled, atol=1e-6)
    assert bool(torch.isfinite(factors).all())


def test_what_is_no_covariance_at_all_has_its_diagonal_alone() -> None:
    broken = torch.tensor([[[1.0, 9.0], [9.0, 1.0]]], dtype=torch.float64)
    factors, root = factored(broken, torch.ones(2, dtype=torch.float64))
    assert torch.equal(factors[0], torch.eye(2, dtype=torch.float64))
    assert torch.allclose(root, torch.tensor([[0.5, 0.5]], dtype=torch.float64).sqrt())
