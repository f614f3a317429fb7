"""The solver against scikit-learn, which minimises the same objective in float64."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.utils._python_dispatch import TorchDispatchMode

from evalsuite.errors import EvalsuiteError
from evalsuite.probe import Solution, Targets, solve
from evalsuite.probe.objective import Design, Softmax
from evalsuite.probe.reduction import ABSENT_INTERCEPT
from evalsuite.threads import Threads, threads

LAMBDAS = [10.0**k for k in (-6, -4, -2, 0, 2, 4, 6)]


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The train half: (898, 64) float64 in [0, 1], labels (898,)."""
    data = load_digits()
    return torch.tensor(data.data[:898] / 16), torch.tensor(data.target[:898], dtype=torch.int64)


def blobs(n: int, dim: int, n_classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping Gaussian classes with an offset and unequal scales: (n, dim) float64, (n,)."""
    g = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0.5, -1.5, dim, dtype=torch.float64)
    means = torch.randn(n_classes, dim, generator=g, dtype=torch.float64)
    y = torch.randint(0, n_classes, (n,), generator=g)
    return scales * (torch.randn(n, dim, generator=g, dtype=torch.float64) + 0.7 * means[y]) + 2.0, y


def multinomial(y: torch.Tensor, n_classes: int) -> Targets:
    return Targets("multinomial", y, n_classes)


def reference(x: torch.Tensor, y: torch.Tensor, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's weights (C, D) and intercepts (C,), or (1, D) and (1,) for two classes."""
    model = LogisticRegression(C=1 / lam, solver="newton-cg", tol=1e-10, max_iter=10_000)
    model.fit(x.double().numpy(), y.numpy())
    return model.coef_, model.intercept_


def softmax_objective(x: torch.Tensor, y: torch.Tensor, lam: float, w: np.ndarray, b: np.ndarray) -> float:
    """scikit-learn's objective written down once more, in float64, independently of the solver."""
    weights, intercepts = torch.as_tensor(w), torch.as_tensor(b)
    z = x.double() @ weights.T + intercepts
    return float(torch.nn.functional.cross_entropy(z, y, reduction="sum") + lam / 2 * weights.square().sum())


def sigmoid_objective(x: torch.Tensor, t: torch.Tensor, lam: float, w: torch.Tensor, b: torch.Tensor) -> float:
    z = x.double() @ w + b
    loss = torch.nn.functional.binary_cross_entropy_with_logits(z, t.double(), reduction="sum")
    return float(loss + lam / 2 * w.square().sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_suboptimality_on_digits(digits: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype) -> None:
    x, y = digits
    found = solve(x.to(dtype), multinomial(y, 10), LAMBDAS, tolerance=1e-6)
    assert found.converged == (True,) * 7
    for i, lam in enumerate(LAMBDAS):
        best = softmax_objective(x, y, lam, *reference(x, y, lam))
        ours = softmax_objective(x, y, lam, found.weights[i].numpy(), found.intercepts[i].numpy())
        assert -1e-8 < (ours - best) / max(best, 1e-3 * len(x)) < 1e-6, f"lambda {lam:g}"
        assert found.objective[i] == pytest.approx(ours, rel=1e-5)


def test_a_loose_tolerance_stops_earlier(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = digits
    loose = solve(x, multinomial(y, 10), [1e-2], tolerance=1e-2)
    tight = solve(x, multinomial(y, 10), [1e-2], tolerance=1e-8)
    assert loose.iterations[0] < tight.iterations[0]
    assert loose.evaluations[0] < tight.evaluations[0]
    # It stops where it was asked to, and not far beyond.
    assert 1e-4 < loose.objective[0] / tight.objective[0] - 1 < 1e-2


def test_the_iteration_limit_is_kept_and_told(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = digits
    found = solve(x, multinomial(y, 10), [1e-6, 1e6], max_iterations=9)
    assert found.iterations[0] == 9
    assert found.converged == (False, True)


def test_multinomial_probabilities() -> None:
    x, y = blobs(400, 12, 5)
    w, b = reference(x, y, 0.5)
    found = solve(x, multinomial(y, 5), [0.5], tolerance=1e-12)
    expected = torch.softmax(x @ torch.as_tensor(w).T + torch.as_tensor(b), dim=1)
    assert torch.allclose(torch.softmax(found.logits(0, x), dim=1), expected, atol=1e-5)
    assert torch.allclose(found.weights[0], torch.as_tensor(w), atol=1e-4)


def test_float32_and_float64_agree() -> None:
    x, y = blobs(500, 16, 4)
    double = solve(x, multinomial(y, 4), [0.1], tolerance=1e-10)
    single = solve(x.float(), multinomial(y, 4), [0.1], tolerance=1e-8)
    assert single.weights.dtype == torch.float64
    assert single.logits(0, x.float()).dtype == torch.float32
    assert torch.allclose(single.logits(0, x), double.logits(0, x), atol=1e-3)


def test_float32_keeps_its_accuracy_far_from_the_origin() -> None:
    # 2^10 and the features are exact in float32 after rounding, so that both fits see the same numbers.
    x, y = blobs(300, 6, 3)
    near = (x * 64).round() / 64
    far = near + 1024
    expected = solve(near, multinomial(y, 3), [1.0], tolerance=1e-10)
    found = solve(far.float(), multinomial(y, 3), [1.0], tolerance=1e-8)
    assert torch.allclose(found.logits(0, far.float()).double(), expected.logits(0, near), atol=2e-3)


def test_half_precision_features_are_used_in_float32() -> None:
    x, y = blobs(200, 5, 3)
    half = solve(x.half(), multinomial(y, 3), [1.0])
    single = solve(x.half().float(), multinomial(y, 3), [1.0])
    assert torch.equal(half.weights, single.weights)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_binary_has_sklearns_single_weight_vector(n_classes: int) -> None:
    # With four classes of which two are present, scikit-learn solves the same binary problem.
    x, y = blobs(300, 8, 2)
    lam = 3.0
    w, b = reference(x, y, lam)
    labels = y if n_classes == 2 else y * 2 + 1
    found = solve(x, multinomial(labels, n_classes), [lam], tolerance=1e-12)
    shown = [0, 1] if n_classes == 2 else [1, 3]
    assert found.weights.shape == (1, n_classes, 8)
    assert torch.allclose(found.weights[0, shown[1]] - found.weights[0, shown[0]], torch.as_tensor(w[0]), atol=1e-4)
    probability = torch.softmax(found.logits(0, x), dim=1)[:, shown[1]]
    assert torch.allclose(probability, torch.sigmoid(x @ torch.as_tensor(w[0]) + float(b[0])), atol=1e-5)
    best = sigmoid_objective(x, y, lam, torch.as_tensor(w[0]), torch.as_tensor(b[0]))
    assert found.objective[0] == pytest.approx(best, rel=1e-9)
    # The equivalent softmax has twice the penalty.
    assert softmax_objective(
        x, y, 2 * lam, found.weights[0, shown].numpy(), found.intercepts[0, shown].numpy()
    ) == pytest.approx(best, rel=1e-9)


def test_one_vs_rest_ignores_entries() -> None:
    x, _ = blobs(300, 7, 3)
    g = torch.Generator().manual_seed(3)
    values = torch.randint(-1, 2, (300, 3), generator=g).to(torch.int8)
    values[:, 0] = torch.where(x[:, 0] > x[:, 0].median(), 1, values[:, 0])
    lambdas = [0.01, 10.0]
    found = solve(x, Targets("one_vs_rest", values, 3), lambdas, tolerance=1e-12)
    for i, lam in enumerate(lambdas):
        total = 0.0
        for c in range(3):
            used = values[:, c] >= 0
            w, b = reference(x[used], values[used, c].long(), lam)
            assert torch.allclose(found.weights[i, c], torch.as_tensor(w[0]), atol=1e-4)
            assert float(found.intercepts[i, c]) == pytest.approx(float(b[0]), abs=1e-3)
            total += sigmoid_objective(x[used], values[used, c], lam, torch.as_tensor(w[0]), torch.as_tensor(b[0]))
        assert found.objective[i] == pytest.approx(total, rel=1e-9)


def test_one_vs_rest_classes_with_one_kind_of_row() -> None:
    x, y = blobs(100, 4, 2)
    values = torch.stack([y, torch.zeros_like(y), torch.ones_like(y), torch.full_like(y, -1)], dim=1).to(torch.int8)
    found = solve(x, Targets("one_vs_rest", values, 4), [1.0])
    assert found.intercepts[0, 1:].tolist() == [ABSENT_INTERCEPT, -ABSENT_INTERCEPT, ABSENT_INTERCEPT]
    assert not found.weights[0, 1:].any()
    alone = solve(x, Targets("one_vs_rest", values[:, :1], 1), [1.0])
    assert torch.allclose(found.weights[0, 0], alone.weights[0, 0], atol=1e-6)


def test_absent_classes_are_never_predicted() -> None:
    x, y = blobs(300, 6, 3)
    spread = torch.tensor([1, 3, 6])[y]
    found = solve(x, multinomial(spread, 8), [0.3], tolerance=1e-12)
    w, _ = reference(x, y, 0.3)
    assert torch.allclose(found.weights[0, [1, 3, 6]], torch.as_tensor(w), atol=1e-4)
    assert not found.weights[0, [0, 2, 4, 5, 7]].any()
    logits = found.logits(0, 1e3 * x.float())
    assert torch.isfinite(logits).all()
    assert set(logits.argmax(dim=1).tolist()) <= {1, 3, 6}


def test_a_single_class_is_always_predicted() -> None:
    x, _ = blobs(20, 3, 2)
    found = solve(x, multinomial(torch.full((20,), 2), 4), [1.0])
    assert found.objective == (0.0,)
    assert found.converged == (True,)
    assert set(found.logits(0, x).argmax(dim=1).tolist()) == {2}


def test_constant_and_duplicate_columns() -> None:
    x, y = blobs(300, 5, 3)
    wide = torch.cat([x, x[:, :2], torch.full((300, 1), 7.0, dtype=torch.float64)], dim=1)
    found = solve(wide, multinomial(y, 3), [1.0], tolerance=1e-12)
    w, b = reference(wide, y, 1.0)
    assert found.converged == (True,)
    assert softmax_objective(wide, y, 1.0, found.weights[0].numpy(), found.intercepts[0].numpy()) == pytest.approx(
        softmax_objective(wide, y, 1.0, w, b), rel=1e-9
    )
    assert torch.allclose(found.weights[0, :, :2], found.weights[0, :, 5:7], atol=1e-6)
    assert torch.allclose(found.weights[0, :, 7], torch.zeros(3, dtype=torch.float64), atol=1e-8)


@pytest.mark.parametrize("lam", [1e-3, 1.0])
def test_more_features_than_rows(lam: float) -> None:
    x, y = blobs(40, 90, 3)
    found = solve(x.float(), multinomial(y, 3), [lam], tolerance=1e-7)
    best = softmax_objective(x.float(), y, lam, *reference(x.float(), y, lam))
    ours = softmax_objective(x.float(), y, lam, found.weights[0].numpy(), found.intercepts[0].numpy())
    assert (ours - best) / max(best, 1e-3 * 40) < 1e-7


def test_batch_equals_one_at_a_time() -> None:
    x, y = blobs(300, 8, 4)
    together = solve(x, multinomial(y, 4), [1e-3, 1.0, 1e3], tolerance=1e-10)
    for i, lam in enumerate(together.lambdas):
        alone = solve(x, multinomial(y, 4), [lam], tolerance=1e-10)
        assert alone.objective[0] == pytest.approx(together.objective[i], rel=1e-9)
        assert torch.allclose(alone.logits(0, x), together.logits(i, x), atol=1e-3)
        assert torch.equal(together.select(i).weights, together.weights[i : i + 1])
    assert torch.equal(together.select(-1).weights, together.weights[2:])


def test_rows_equal_a_copy() -> None:
    x, y = blobs(300, 8, 4)
    rows = torch.randperm(300, generator=torch.Generator().manual_seed(1))[:170]
    subset = solve(x, multinomial(y, 4), [0.1], rows=rows)
    copy = solve(x[rows], multinomial(y[rows], 4), [0.1])
    assert torch.equal(subset.weights, copy.weights)
    assert torch.equal(subset.logits(0, x, rows), copy.logits(0, x[rows]))


def test_rows_outside_are_not_read() -> None:
    x, y = blobs(100, 4, 3)
    x[50:] = torch.nan
    found = solve(x, multinomial(y, 3), [1.0], rows=torch.arange(50))
    assert torch.isfinite(found.weights).all()


def test_more_rows_than_fit_a_buffer_are_all_used() -> None:
    x, y = blobs(100_000, 8, 4)
    found = solve(x.float(), multinomial(y, 4), [0.1])
    ours = softmax_objective(x.float(), y, 0.1, found.weights[0].numpy(), found.intercepts[0].numpy())
    assert found.objective[0] == pytest.approx(ours, rel=1e-6)
    some = solve(x.float(), multinomial(y, 4), [0.1], rows=torch.arange(90_000))
    assert found.objective[0] > 1.05 * some.objective[0]
    again = solve(x.float(), multinomial(y, 4), [0.1], warm_start=some)
    assert again.objective[0] == pytest.approx(found.objective[0], rel=2e-6)


def test_the_same_bits_twice() -> None:
    x, y = blobs(300, 8, 4)
    first = solve(x.float(), multinomial(y, 4), [0.1, 10.0])
    second = solve(x.float(), multinomial(y, 4), [0.1, 10.0])
    assert torch.equal(first.weights, second.weights)
    assert torch.equal(first.intercepts, second.intercepts)


def test_a_warm_start_saves_iterations() -> None:
    x, y = blobs(400, 10, 4)
    around = solve(x, multinomial(y, 4), [1.0, 0.01], tolerance=1e-9)
    cold = solve(x, multinomial(y, 4), [0.1], tolerance=1e-9)
    warm = solve(x, multinomial(y, 4), [0.1], tolerance=1e-9, warm_start=around)
    again = solve(x, multinomial(y, 4), [0.1], tolerance=1e-9, warm_start=warm)
    assert again.iterations[0] < warm.iterations[0] < cold.iterations[0]
    assert warm.objective[0] == pytest.approx(cold.objective[0], rel=1e-8)


def test_a_warm_start_whose_rows_lack_a_class() -> None:
    x, y = blobs(400, 10, 4)
    fewer = torch.nonzero(y != 2).squeeze(1)
    start = solve(x, multinomial(y, 4), [1.0], rows=fewer)
    warm = solve(x, multinomial(y, 4), [1.0], warm_start=start, tolerance=1e-10)
    cold = solve(x, multinomial(y, 4), [1.0], tolerance=1e-10)
    assert warm.objective[0] == pytest.approx(cold.objective[0], rel=1e-9)
    back = solve(x, multinomial(y, 4), [1.0], warm_start=cold, rows=fewer)
    assert back.objective[0] == pytest.approx(start.objective[0], rel=1e-5)


def test_a_warm_start_for_two_classes_and_one_vs_rest() -> None:
    x, y = blobs(200, 6, 2)
    for targets in (multinomial(y, 2), Targets("one_vs_rest", torch.stack([y, 1 - y], 1).to(torch.int8), 2)):
        cold = solve(x, targets, [0.5], tolerance=1e-8)
        warm = solve(x, targets, [0.5], tolerance=1e-8, warm_start=cold)
        assert warm.iterations[0] < cold.iterations[0] / 2
        assert torch.allclose(warm.logits(0, x), cold.logits(0, x), atol=1e-3)


class Products(TorchDispatchMode):
    """Notes the precision that every matrix product is made at."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "mm" in func.__name__:
            matmul = torch.backends.cuda.matmul
            self.seen.append(getattr(matmul, "fp32_precision", None) or torch.get_float32_matmul_precision())
        return func(*args, **(kwargs or {}))


def test_products_are_exact_and_the_setting_is_put_back() -> None:
    x, y = blobs(50, 3, 2)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with Products() as products:
            solve(x.float(), multinomial(y, 2), [1.0])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(products.seen) <= {"ieee", "highest"}
    assert len(products.seen) > 10


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch before 2.9")
def test_settings_a_backend_are_put_back() -> None:
    x, y = blobs(50, 3, 2)
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        solve(x, multinomial(y, 2), [1.0])
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_features_are_refused_by_row(value: float) -> None:
    x, y = blobs(100, 4, 3)
    x[37, 2] = value
    with pytest.raises(EvalsuiteError, match="Row 37 "):
        solve(x, multinomial(y, 3), [1.0])
    with pytest.raises(EvalsuiteError, match="Row 37 "):
        solve(x, multinomial(y, 3), [1.0], rows=torch.tensor([3, 37, 5]))


def _good() -> dict[str, object]:
    x, y = blobs(20, 3, 3)
    return {"features": x, "targets": multinomial(y, 3), "lambdas": [1.0]}


def _warm_of_other_size() -> Solution:
    x, y = blobs(20, 4, 3)
    return solve(x, multinomial(y, 3), [1.0])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"features": torch.zeros(20)}, "floating-point matrix"),
        ({"features": torch.zeros(20, 3, dtype=torch.int64)}, "floating-point matrix"),
        ({"lambdas": []}, "lambda must be a positive"),
        ({"lambdas": [1.0, 0.0]}, "lambda must be a positive"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"rows": torch.tensor([0, 20])}, r"\[0, 20\)"),
        ({"rows": torch.tensor([0.0])}, "int64"),
        ({"rows": torch.zeros(0, dtype=torch.int64)}, "at least one training row"),
        ({"targets": multinomial(torch.full((20,), 3), 3)}, r"\[0, 2\]"),
        ({"targets": multinomial(torch.zeros(19, dtype=torch.int64), 3)}, "must be"),
        ({"targets": Targets("one_vs_rest", torch.zeros(20, 3), 3)}, "int8"),
        ({"targets": Targets("one_vs_rest", torch.full((20, 3), 2, dtype=torch.int8), 3)}, r"\[-1, 1\]"),
        ({"targets": Targets("ordinal", torch.zeros(20), 3)}, "'ordinal'"),  # type: ignore[arg-type]
        ({"warm_start": _warm_of_other_size()}, "warm start has 3 classes of 4"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(EvalsuiteError, match=text):
        solve(**{**_good(), **change})  # type: ignore[arg-type]


def test_large_logits_are_finished_in_float64(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Far from the origin and nearly separable: float32 rounding alone is worth more than the tolerance."""
    features, labels = digits
    scaled = 40 * features.float() + 100
    targets = Targets("multinomial", labels, 10)
    found = solve(scaled, targets, [1.0], tolerance=1e-8)
    reference = solve(scaled.double(), targets, [1.0], tolerance=1e-12)
    assert found.converged == (True,)
    assert (found.objective[0] - reference.objective[0]) / max(reference.objective[0], 0.898) < 1e-8


@pytest.mark.parametrize(("n", "dim", "n_classes"), [(18, 3072, 3), (60, 500, 10), (5, 40, 3), (4, 30, 2)])
def test_fewer_rows_than_features_give_the_same_minimum(n: int, dim: int, n_classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % n_classes
    x = (0.3 * rng.normal(size=(n_classes, dim))[labels] + rng.normal(size=(n, dim))).astype(np.float32)
    targets = Targets("multinomial", torch.from_numpy(labels), n_classes)
    solution = solve(torch.from_numpy(x), targets, [1e-2, 1.0, 100.0], tolerance=1e-9)
    for index, value in enumerate(solution.lambdas):
        model = LogisticRegression(C=1 / value, solver="newton-cg", tol=1e-12, max_iter=10_000).fit(
            x.astype(float), labels
        )
        found = solution.logits(index, torch.from_numpy(x)).double().softmax(1).numpy()
        np.testing.assert_allclose(found, model.predict_proba(x.astype(float)), atol=1e-5)
    again = solve(torch.from_numpy(x), targets, [1.0], warm_start=solution, tolerance=1e-9)
    assert again.iterations[0] <= 2


def test_equal_rows_are_fitted_by_the_intercept_alone() -> None:
    targets = Targets("multinomial", torch.tensor([0, 1, 1, 1]), 2)
    solution = solve(torch.ones(4, 9), targets, [1.0], tolerance=1e-10)
    assert solution.logits(0, torch.ones(1, 9)).softmax(1)[0, 1].item() == pytest.approx(0.75, abs=1e-5)


@pytest.mark.parametrize("n_rows", [1, 64, 192, 200, 391])
def test_passes_shared_among_threads_are_the_same(n_rows: int) -> None:
    x, y = blobs(n_rows, 8, 4)
    theta = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for count in (1, 3, 4):
        objective = Softmax(replace(Design.of(x.float(), None), threads=Threads(count)), 1.0, y, 4)
        found.append((*objective.evaluate(theta), objective.curvature_weights(theta)))
    for shared in found[1:]:
        for one, other in zip(shared, found[0], strict=True):
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_fit_that_threads_share_is_that_of_one_and_leaves_their_number_alone() -> None:
    x, y = blobs(9_000, 64, 10)
    targets = Targets("multinomial", y, 10)
    fits = []
    for count in (1, 2):
        with threads(count):
            fits.append([solve(x.float(), targets, [1.0], tolerance=1e-8) for _ in range(2)])
            assert torch.get_num_threads() == count
            in_a_new_thread = ThreadPoolExecutor(1).submit(torch.get_num_threads).result()
            assert in_a_new_thread == count
    for first, again in fits:
        assert torch.equal(first.weights, again.weights)
    assert torch.allclose(fits[0][0].logits(0, x.float()), fits[1][0].logits(0, x.float()), atol=1e-3)
