"""The coordinates a problem is solved in, and the translation of targets to problems and back."""

from __future__ import annotations

import pytest
import torch

from evalsuite.probe.objective import Design
from evalsuite.probe.reduction import ABSENT_INTERCEPT, reduce_targets
from evalsuite.probe.space import Space


def features(n: int, dim: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    return (torch.randn(n, dim, generator=g, dtype=torch.float64) + 3).to(dtype)


def logits(x: torch.Tensor, weights: torch.Tensor, intercepts: torch.Tensor) -> torch.Tensor:
    return x.double() @ weights.T + intercepts


@pytest.mark.parametrize(("n", "dim", "rank"), [(50, 7, 7), (5, 20, 4), (1, 3, 1)])
def test_logits_are_the_same_in_both_coordinates(n: int, dim: int, rank: int) -> None:
    x = features(n, dim)
    space = Space.of(Design.of(x, None))
    assert space.basis is not None
    assert space.design.features.shape == (n, rank)
    g = torch.Generator().manual_seed(1)
    weights, intercepts = torch.randn(4, rank, generator=g, dtype=torch.float64), torch.arange(4.0).double()
    outside = space.to_features(weights, intercepts)
    assert torch.allclose(logits(x, *outside), logits(space.design.features, weights, intercepts), atol=1e-8)
    if n > 1:
        back = space.from_features(*outside)
        assert torch.allclose(back[0], weights, atol=1e-9)
        assert torch.allclose(back[1], intercepts, atol=1e-9)


def test_the_basis_is_orthonormal_and_the_coordinates_are_uncorrelated() -> None:
    space = Space.of(Design.of(features(200, 6), None))
    assert space.basis is not None
    assert torch.allclose(space.basis.T @ space.basis, torch.eye(6, dtype=torch.float64), atol=1e-10)
    z = space.design.features
    assert torch.allclose(z.mean(dim=0), torch.zeros(6, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(z.T @ z / 200, torch.diag(space.spectrum.values), atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_and_duplicate_columns_are_dropped(dtype: torch.dtype) -> None:
    x = features(100, 4, dtype)
    wide = torch.cat([x, x[:, :2], torch.full((100, 1), 5.0, dtype=dtype)], dim=1)
    space = Space.of(Design.of(wide, None))
    assert space.design.features.shape == (100, 4)


def test_equal_rows_keep_one_direction_of_nothing() -> None:
    for x in (torch.ones(9, 3), torch.ones(3, 9)):
        space = Space.of(Design.of(x, None))
        assert space.design.features.shape[1] == 1
        assert float(space.design.features.abs().max()) < 1e-6
        assert torch.isfinite(space.spectrum.values).all()


def test_rows_too_large_to_copy_stay_as_they_are() -> None:
    """900,000 rows of 40 features, as drawn from 50, would take 288 MB."""
    rows = torch.arange(900_000) % 50
    design = Design.of(features(50, 40), rows)
    space = Space.of(design)
    assert space.basis is None
    assert space.design is design
    weights, intercepts = torch.ones(2, 40, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    # Only the mean moves, into the intercept.
    assert torch.equal(space.from_features(weights, intercepts)[0], weights)
    assert torch.allclose(space.from_features(weights, intercepts)[1], weights @ design.mean)


def test_few_rows_of_a_subset() -> None:
    x = features(40, 30)
    rows = torch.tensor([4, 17, 17, 39])
    space = Space.of(Design.of(x, rows))
    again = Space.of(Design.of(x[rows], None))
    assert space.design.features.shape == (4, 2)  # 17 twice, and the mean takes one away
    assert torch.allclose(space.spectrum.values, again.spectrum.values)


def test_many_classes_are_packed_without_a_common_part() -> None:
    reduction = reduce_targets("multinomial", torch.tensor([1, 1, 3, 4, 4, 4]), 6)
    weights, intercepts = torch.randn(2, 6, 3, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    intercepts[0, 3] = ABSENT_INTERCEPT  # a warm start from rows that lacked it
    theta = reduction.pack(weights, intercepts)
    assert theta.shape == (2, 3, 4)
    assert torch.allclose(theta.sum(dim=1), torch.zeros(2, 4, dtype=torch.float64), atol=1e-12)
    back = reduction.unpack(theta, 2)
    expected = weights[:, [1, 3, 4]] - weights[:, [1, 3, 4]].mean(dim=1, keepdim=True)
    assert torch.allclose(back[0][:, [1, 3, 4]], expected)
    assert back[1][:, [0, 2, 5]].tolist() == [[ABSENT_INTERCEPT] * 3] * 2
    assert float(back[1][0, 3].abs()) < 10


def test_one_vs_rest_counts_what_it_uses() -> None:
    values = torch.tensor([[1, 0, -1, 1], [0, 0, -1, 1], [-1, 0, -1, -1]], dtype=torch.int8)
    reduction = reduce_targets("one_vs_rest", values, 4)
    assert reduction.n_problems == 1
    assert reduction.counts().tolist() == [2.0]
    _, intercepts = reduction.unpack(torch.zeros(1, 1, 3, dtype=torch.float64), 1)
    assert intercepts[0, 1:].tolist() == [ABSENT_INTERCEPT, ABSENT_INTERCEPT, -ABSENT_INTERCEPT]
