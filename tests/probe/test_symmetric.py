"""Inverses of symmetric matrices by the panels of their factors."""

from __future__ import annotations

import pytest
import torch

from evalsuite.probe.preconditioner.symmetric import PANELS, Inverses, factored, inverse_factor


def matrices(count: int, size: int) -> torch.Tensor:
    """Positive definite, of very unequal scales: (count, size, size) float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3 * size, size, dtype=torch.float64, generator=generator)
    x *= torch.logspace(-2, 2, size, dtype=torch.float64)
    return x.transpose(1, 2) @ x


@pytest.mark.parametrize("size", [1, 5, PANELS, PANELS + 1, 5 * PANELS - 1])
def test_panels_hold_all_of_a_factor(size: int) -> None:
    whole = torch.linalg.cholesky(matrices(3, size))
    found = Inverses(3, size, torch.float64, whole.device)
    for index in (2, 0, 1):
        found.put(index, whole[index])
    assert found.nbytes == Inverses.bytes_for(3, size, torch.float64)
    vectors = torch.randn(4, 3, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(found.times(vectors), torch.einsum("bed,bef,rbf->rbd", whole, whole, vectors))


def test_panels_take_little_more_than_half_the_memory() -> None:
    assert Inverses.bytes_for(10, 800, torch.float32) < 0.57 * 10 * 800 * 800 * 4


def test_inverses_take_what_is_added() -> None:
    (whole,) = matrices(1, 6)
    added = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    factor = inverse_factor(whole.tril(), added)
    assert torch.equal(factor, factor.tril())
    product = factor.T @ factor @ (whole + torch.diag(added))
    assert torch.allclose(product, torch.eye(6, dtype=torch.float64), atol=1e-3)


def test_an_inverse_in_float32_is_positive_along_every_direction() -> None:
    """Along steep ones, too, where the inverse itself in float32 is rounding and may be negative: no step is found."""
    axes = torch.linalg.qr(torch.randn(64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    whole = axes * torch.logspace(-4, 8, 64, dtype=torch.float64) @ axes.T
    found = Inverses(1, 64, torch.float32, whole.device)
    found.put(0, inverse_factor(whole.clone(), torch.zeros(64, dtype=torch.float64)))
    along = (found.times(axes.T.unsqueeze(1)) * axes.T.unsqueeze(1)).sum(dim=2)
    assert bool((along > 0).all())
    kept = torch.linalg.inv(whole).float().double()
    assert bool(((axes.T @ kept) * axes.T).sum(dim=1).min() < 0)


def test_a_singular_matrix_is_helped_by_the_smallest_ridge_that_will_do() -> None:
    vector = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    whole = vector.T @ vector
    factor, root = factored(whole.clone(), torch.zeros(3, dtype=torch.float64))
    scaled = root.unsqueeze(1) * whole * root
    assert torch.allclose(factor @ factor.T, scaled, atol=1e-6)
    assert bool(torch.isfinite(factor).all())


def test_what_is_no_covariance_at_all_has_its_diagonal_alone() -> None:
    broken = torch.tensor([[1.0, 9.0], [9.0, 1.0]], dtype=torch.float64)
    factor, root = factored(broken, torch.ones(2, dtype=torch.float64))
    assert torch.equal(factor, torch.eye(2, dtype=torch.float64))
    assert torch.allclose(root, torch.tensor([0.5, 0.5], dtype=torch.float64).sqrt())
