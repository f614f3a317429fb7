"""The coordinates a problem is solved in, and the translation of targets to problems and back."""

from __future__ import annotations

import pytest
import torch

from evalsuite.probe.objective import Design, Softmax
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
    turned = space.exact.outside(torch.eye(6, dtype=torch.float64))
    assert torch.allclose(turned @ turned.T, torch.eye(6, dtype=torch.float64), atol=1e-10)
    z = space.design.features
    assert torch.allclose(z.mean(dim=0), torch.zeros(6, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(z.T @ z / 200, torch.diag(space.variances), atol=1e-10)


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
        assert torch.isfinite(space.variances).all()


def test_rows_too_large_to_copy_stay_as_they_are() -> None:
    """900,000 rows of 40 features, as drawn from 50, would take 288 MB. Parameters are in the same coordinates."""
    x = features(50, 40)
    labels = torch.arange(50) % 3
    few, many = Space.of(Design.of(x, None)), Space.of(Design.of(x, torch.arange(900_000) % 50))
    assert few.design.features is not x
    assert many.design.features is x
    assert torch.allclose(few.variances, many.variances)
    outside = (
        torch.randn(3, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
        torch.zeros(3).double(),
    )
    found = []
    for space, repeats in ((few, 1), (many, 18_000)):
        weights, intercepts = space.from_features(*outside)
        theta = torch.cat([weights, intercepts.unsqueeze(1)], dim=1)
        values, gradient = Softmax(space.design, 0.0, labels.repeat(repeats), 3).evaluate(theta)
        found.append((values / repeats, space.to_features(gradient[:, :-1], gradient[:, -1])[0] / repeats))
    assert torch.allclose(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1])


def test_few_rows_of_a_subset() -> None:
    x = features(40, 30)
    rows = torch.tensor([4, 17, 17, 39])
    space = Space.of(Design.of(x, rows))
    again = Space.of(Design.of(x[rows], None))
    assert space.design.features.shape == (4, 2)  # 17 twice, and the mean takes one away
    assert torch.allclose(space.variances, again.variances)


def test_many_classes_are_packed_without_a_common_part() -> None:
    reduction = reduce_targets("multinomial", torch.tensor([1, 1, 3, 4, 4, 4]), 6)
    weights, intercepts = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    intercepts[3] = ABSENT_INTERCEPT  # a warm start from rows that lacked it
    theta = reduction.pack(weights, intercepts)
    assert theta.shape == (3, 4)
    assert torch.allclose(theta.sum(dim=0), torch.zeros(4, dtype=torch.float64), atol=1e-12)
    back = reduction.unpack(theta)
    assert torch.allclose(back[0][[1, 3, 4]], weights[[1, 3, 4]] - weights[[1, 3, 4]].mean(dim=0))
    assert back[1][[0, 2, 5]].tolist() == [ABSENT_INTERCEPT] * 3
    assert float(back[1][3].abs()) < 10


def test_one_vs_rest_counts_what_it_uses() -> None:
    values = torch.tensor([[1, 0, -1, 1], [0, 0, -1, 1], [-1, 0, -1, -1]], dtype=torch.int8)
    reduction = reduce_targets("one_vs_rest", values, 4)
    assert reduction.counts.tolist() == [2.0]
    _, intercepts = reduction.unpack(torch.zeros(1, 3, dtype=torch.float64))
    assert intercepts[1:].tolist() == [ABSENT_INTERCEPT, ABSENT_INTERCEPT, -ABSENT_INTERCEPT]
