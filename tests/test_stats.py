"""The intervals and tests against scipy and statsmodels, and the bootstrap against what theory says of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm
from statsmodels.stats import contingency_tables, multitest

from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import METRICS, RECALLS, Metric
from evalsuite.records import Interval
from evalsuite.stats import (
    LEVEL,
    MAX_REDRAWS,
    RESAMPLES,
    KeptScores,
    PairedScores,
    bootstrap,
    bootstrap_left_out,
    clopper_pearson,
    exceeding,
    holm,
    interval_for,
    mcnemar,
    paired_bootstrap,
    resampled,
    tango,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 10), (1, 1), (9_231, 10_000)])
@pytest.mark.parametrize("level", [0.9, 0.995])
def test_clopper_pearson(successes: int, n: int, level: float) -> None:
    found = clopper_pearson(successes, n, level)
    exact = scipy_stats.binomtest(successes, n).proportion_ci(confidence_level=level, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert found.level == level
    assert found.method == "clopper-pearson"


def test_the_level_is_the_papers() -> None:
    assert clopper_pearson(3, 10) == clopper_pearson(3, 10, 0.995)
    assert LEVEL == 0.995


@pytest.mark.parametrize(("successes", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(EvalsuiteError, match="successes"):
        clopper_pearson(successes, n)


def case(n: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, n)
    scores = rng.normal(size=(n, n_classes))
    scores[np.arange(n), labels] += 1.5
    return scores, labels


def test_the_bootstrap_of_a_share_is_near_binomial() -> None:
    scores, labels = case(2_000, 3)
    metric = METRICS.get("accuracy")
    value = metric.compute(scores, labels)
    found = bootstrap(metric, scores, labels, level=0.95, resamples=4_000)
    half = 1.96 * np.sqrt(value * (1 - value) / 2_000)
    assert found.low == pytest.approx(value - half, abs=0.1 * half)
    assert found.high == pytest.approx(value + half, abs=0.1 * half)
    assert found.method == "bootstrap"
    wider = bootstrap(metric, scores, labels, level=0.995, resamples=4_000)
    assert wider.high - wider.low > 1.2 * (found.high - found.low)


def test_the_bootstrap_depends_on_the_seed_alone() -> None:
    scores, labels = case(100, 3)
    metric = METRICS.get("mean_per_class_recall")
    first = bootstrap(metric, scores, labels, resamples=50, seed=1)
    assert bootstrap(metric, scores, labels, resamples=50, seed=1) == first
    assert bootstrap(metric, scores, labels, resamples=50, seed=2) != first


def test_intervals_that_are_stored_are_those_of_a_thousand_draws_of_the_first_seed() -> None:
    metric, (scores, labels) = METRICS.get("mean_per_class_recall"), case(100, 3)
    plain = bootstrap(metric, scores, labels)
    assert plain == bootstrap(metric, scores, labels, resamples=1_000, seed=0) == interval_for(metric, scores, labels)
    assert RESAMPLES == 1_000
    fold = (scores, labels, np.arange(100))
    assert resampled(metric, [fold], resamples=9).tolist() == resampled(metric, [fold], resamples=9, seed=0).tolist()
    paired = [PairedScores(scores, scores[::-1], labels, np.arange(100))]
    assert paired_bootstrap(metric, paired, resamples=9) == paired_bootstrap(metric, paired, resamples=9, seed=0)
    left_out = [KeptScores(scores, labels, labels > 0, np.arange(100))]
    assert bootstrap_left_out(metric, left_out, resamples=9) == bootstrap_left_out(
        metric, left_out, resamples=9, seed=0
    )


def test_the_ends_of_an_interval_are_percentiles_of_the_draws() -> None:
    metric, (scores, labels) = METRICS.get("mean_per_class_recall"), case(40, 3)
    draws = resampled(metric, [(scores, labels, np.arange(40))], resamples=200, seed=2)
    assert len(draws) == 200
    for level in (0.5, 0.9):
        found = bootstrap(metric, scores, labels, level=level, resamples=200, seed=2)
        ends = np.percentile(draws, [50 - 50 * level, 50 + 50 * level])
        assert (found.low, found.high) == pytest.approx(tuple(ends))
    one = bootstrap(metric, scores, labels, resamples=1)
    assert one.low == one.high


def spy(seen: list[np.ndarray], values: list[float] | None = None) -> Metric:
    """Return a metric that notes the weights it is given; values: of its draws, one after the other, else 0.5."""

    def weighted(weights: np.ndarray) -> float:
        seen.append(weights)
        return values[len(seen) - 1] if values else 0.5

    return dataclasses.replace(METRICS.get("roc_auc"), prepare=lambda scores, labels: weighted)


def test_as_many_samples_are_drawn_as_there_are_and_one_in_two_folds_is_drawn_for_both() -> None:
    seen: list[np.ndarray] = []
    (scores, labels), units = case(3, 2), [np.array([0, 1, 2]), np.array([3, 2, 0])]
    resampled(spy(seen), [(scores, labels, found) for found in units], resamples=50)
    paired_bootstrap(spy(seen), [PairedScores(scores, scores, labels, found) for found in units], resamples=50)
    assert [len(weights) for weights in seen] == [3] * (2 * 50 + 4 * 50 + 4)
    folds = [(*seen[: 2 * 50 : 2], *seen[100:-4:4]), (*seen[1 : 2 * 50 : 2], *seen[102:-4:4])]
    for first, second in zip(*folds, strict=True):
        assert (first[0], first[2]) == (second[2], second[1]) and first.sum() + second[0] == 4
    assert all(any(weights[row] > 0 for weights in folds[0]) for row in range(3))


def test_a_draw_is_repeated_a_hundred_times_and_no_more() -> None:
    scores, labels = case(3, 2)
    undefined = [float("nan")] * (MAX_REDRAWS - 1)
    found = bootstrap(spy([], [*undefined, 0.25]), scores, labels, resamples=1)
    assert (found.low, found.high, MAX_REDRAWS) == (0.25, 0.25, 100)
    with pytest.raises(EvalsuiteError, match="3 samples found no resample"):
        bootstrap(spy([], [*undefined, float("nan"), 0.25]), scores, labels, resamples=1)


def test_a_metric_without_weighted_form_is_resampled_by_copying() -> None:
    scores, labels = case(60, 2)
    metric = METRICS.get("roc_auc")
    plain = dataclasses.replace(metric, prepare=None)
    fast = bootstrap(metric, scores, labels, resamples=100)
    slow = bootstrap(plain, scores, labels, resamples=100)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high))


def test_undefined_resamples_are_drawn_again() -> None:
    # One positive of four: (3/4)^4, about a third of all resamples, miss it.
    scores = np.array([[0.0, 1.0], [0.0, 0.4], [0.0, 0.6], [0.0, 0.2]])
    labels = np.array([0, 1, 0, 0])
    for metric in (METRICS.get("roc_auc"), dataclasses.replace(METRICS.get("roc_auc"), prepare=None)):
        found = bootstrap(metric, scores, labels, resamples=200)
        assert 0 <= found.low < found.high <= 1


def test_labels_of_one_class_have_no_bootstrap() -> None:
    with pytest.raises(EvalsuiteError, match="too few or of one class"):
        bootstrap(METRICS.get("roc_auc"), np.eye(2), np.array([1, 1]))


def test_interval_for() -> None:
    scores, labels = case(200, 6)
    hits = int((scores.argmax(1) == labels).sum())
    assert interval_for(METRICS.get("accuracy"), scores, labels) == clopper_pearson(hits, 200)
    for name in ("mean_per_class_recall", "mean_top1_top5"):
        found = interval_for(METRICS.get(name), scores, labels, seed=3)
        assert found == bootstrap(METRICS.get(name), scores, labels, seed=3)
        assert isinstance(found, Interval)
        assert found.low < METRICS.get(name).compute(scores, labels) < found.high


def test_multilabel_metrics_have_an_interval() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([1, 0, -1], size=(300, 4), p=[0.3, 0.6, 0.1])
    scores = rng.normal(size=(300, 4)) + (labels == 1)
    found = interval_for(METRICS.get("map_11_point"), scores, labels)
    assert found.low < METRICS.get("map_11_point").compute(scores, labels) < found.high


def test_bad_options_are_refused() -> None:
    scores, labels = case(20, 3)
    with pytest.raises(EvalsuiteError, match="level"):
        bootstrap(METRICS.get("accuracy"), scores, labels, level=1.0)
    with pytest.raises(EvalsuiteError, match="at least one resample"):
        bootstrap(METRICS.get("accuracy"), scores, labels, resamples=0)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_bootstrap_of_our_metrics_copies_no_rows(name: str) -> None:
    """Whoever calls compute has copied scores and labels for it: a thousand times, 50,000 x 1,000 each."""

    def refused(scores: object, labels: object) -> float:
        raise AssertionError("rows were copied")

    metric = METRICS.get(name)
    labels = np.random.default_rng(0).integers(0, 2, (60, 2) if metric.multilabel else 60)
    scores = np.random.default_rng(1).random((60, len(RECALLS) if metric.captions else 2))
    found = bootstrap(dataclasses.replace(metric, compute=refused), scores, labels, resamples=20)
    assert 0 <= found.low <= found.high <= 1


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_a_share(level: float) -> None:
    scores, labels = case(20, 3)
    right = scores.argmax(1) == labels
    pair = PairedScores(scores, scores, labels, np.arange(20))
    for made in (
        lambda: clopper_pearson(3, 10, level),
        lambda: tango(3, 1, 10, level),
        lambda: mcnemar(right, ~right, level),
        lambda: paired_bootstrap(METRICS.get("accuracy"), [pair], level=level),
        lambda: bootstrap_left_out(
            METRICS.get("accuracy"), [KeptScores(scores, labels, right, pair.units)], level=level
        ),
    ):
        with pytest.raises(EvalsuiteError, match="level"):
            made()


# --- two models on the same samples ---


def answers(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each model is right, for so many samples of each kind."""
    sizes = [both, only_first, only_second, neither]
    return np.repeat([True, True, False, False], sizes), np.repeat([True, False, True, False], sizes)


@pytest.mark.parametrize("table", [(50, 12, 3, 35), (0, 1, 0, 0), (10, 5, 5, 0), (9_000, 31, 62, 907), (5, 0, 9, 1)])
def test_mcnemar(table: tuple[int, int, int, int]) -> None:
    both, only_first, only_second, neither = table
    found = mcnemar(*answers(*table))
    reference = contingency_tables.mcnemar([[both, only_first], [only_second, neither]], exact=True)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-12)
    assert found.value == pytest.approx((only_first - only_second) / sum(table))
    assert found.interval.low <= found.value <= found.interval.high


def score_of(difference: float, first: int, second: int, n: int) -> float:
    """Return the score statistic by its definition: the shares that make the counts likeliest are searched for."""

    def unlikely(second_alone: float) -> float:
        shares = (second_alone + difference, second_alone, 1 - 2 * second_alone - difference)
        return -sum(
            count * np.log(max(share, 1e-300))
            for count, share in zip((first, second, n - first - second), shares, strict=True)
        )

    low, high = max(0.0, -difference), (1 - difference) / 2
    found = minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return float((first - second - n * difference) / np.sqrt(n * (2 * found + difference * (1 - difference))))


@pytest.mark.parametrize(("first", "second", "n"), [(10, 0, 1000), (12, 3, 100), (3, 9, 36), (1, 1, 20), (40, 50, 400)])
@pytest.mark.parametrize("level", [0.95, 0.995])
def test_the_interval_of_a_difference_ends_where_the_score_says(first: int, second: int, n: int, level: float) -> None:
    found = tango(first, second, n, level)
    z = norm.ppf((1 + level) / 2)
    assert score_of(found.low, first, second, n) == pytest.approx(z, rel=1e-3)
    assert score_of(found.high, first, second, n) == pytest.approx(-z, rel=1e-3)
    assert (found.low, found.high) == pytest.approx(
        (-tango(second, first, n, level).high, -tango(second, first, n, level).low)
    )


@pytest.mark.parametrize("level", [0.05, 0.5, 0.995])
def test_the_interval_of_models_that_never_differ_is_in_closed_form(level: float) -> None:
    """Of shares (d, 0, 1 - d) no sample is of the first kind: the score is n d / sqrt(n d (1 - d))."""
    z = norm.ppf((1 + level) / 2)
    for n in (1, 20):
        found = tango(0, 0, n, level)
        assert (found.low, found.high) == pytest.approx((-(z**2) / (n + z**2), z**2 / (n + z**2)))


@pytest.mark.parametrize("n", [1, 5, 300])
def test_the_interval_of_models_that_always_differ_ends_at_one(n: int) -> None:
    found, turned = tango(n, 0, n), tango(0, n, n)
    assert found.high == 1 and found.low < 1
    assert (turned.low, turned.high) == pytest.approx((-1, -found.low))


@pytest.mark.parametrize(
    ("n", "shares"),
    [
        (36, (0.05, 0.05)),
        (36, (0.3, 0.1)),
        (100, (0.05, 0.0)),
        (100, (0.1, 0.02)),
        (1000, (0.01, 0.0)),
        (1000, (0.003, 0.001)),
    ],
)
def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says(n: int, shares: tuple[float, float]) -> None:
    """Over all counts that can come out, each as likely as the shares of one model alone being right make it."""
    held, alone = 0.0, binom(n, sum(shares))
    for differing in np.flatnonzero(alone.pmf(np.arange(n + 1)) > 1e-8):
        likely = alone.pmf(differing) * binom.pmf(np.arange(differing + 1), differing, shares[0] / sum(shares))
        for first in np.flatnonzero(likely > 1e-8):
            interval = tango(int(first), int(differing - first), n, 0.95)
            held += likely[first] * (interval.low <= shares[0] - shares[1] <= interval.high)
    assert held >= 0.93


def test_models_that_answer_alike_do_not_differ() -> None:
    alike = mcnemar(*answers(300, 0, 0, 400))
    assert (alike.value, alike.p, alike.test) == (0.0, 1.0, "exact McNemar")
    assert alike.interval.low == pytest.approx(-alike.interval.high)
    assert 0 < alike.interval.high < 0.02  # 700 samples that agree do not prove that no other would differ
    scores, labels = case(50, 3)
    same = PairedScores(scores, scores, labels, np.arange(50))
    found = paired_bootstrap(METRICS.get("mean_per_class_recall"), [same])
    assert (found.value, found.interval.low, found.interval.high, found.p) == (0, 0, 0, 1)


def pair(n: int, n_classes: int, noise: float = 0.4) -> PairedScores:
    """Return a model and the same one with noise, so that they err on much the same samples."""
    scores, labels = case(n, n_classes)
    worse = scores + noise * np.random.default_rng(1).normal(size=scores.shape)
    return PairedScores(scores, worse, labels, np.arange(n))


def test_the_paired_bootstrap_of_an_accuracy_is_the_paired_t_test() -> None:
    scored = pair(3_000, 4)
    right = [(s.argmax(1) == scored.labels).astype(float) for s in (scored.first, scored.second)]
    found = paired_bootstrap(METRICS.get("accuracy"), [scored], level=0.95, resamples=4_000)
    reference = scipy_stats.ttest_rel(*right)
    low, high = reference.confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(right[0]) - np.mean(right[1]))
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=0.05 * (high - low))
    assert scipy_stats.norm.isf(found.p / 2) == pytest.approx(abs(reference.statistic), rel=0.05)
    unpaired = [bootstrap(METRICS.get("accuracy"), s, scored.labels, level=0.95) for s in (scored.first, scored.second)]
    assert found.interval.high - found.interval.low < min(interval.high - interval.low for interval in unpaired)


@pytest.mark.parametrize(("name", "n_classes"), [("mean_per_class_recall", 5), ("roc_auc", 2), ("mean_top1_top5", 9)])
def test_the_paired_bootstrap_against_scipy(name: str, n_classes: int) -> None:
    metric, scored = METRICS.get(name), pair(400, n_classes, noise=1.0)

    def statistic(rows: np.ndarray) -> float:
        first, second = scored.first[rows], scored.second[rows]
        return metric.compute(first, scored.labels[rows]) - metric.compute(second, scored.labels[rows])

    found = paired_bootstrap(metric, [scored], level=0.9, resamples=3_000)
    reference = scipy_stats.bootstrap(
        (np.arange(400),),
        statistic,
        vectorized=False,
        n_resamples=3_000,
        confidence_level=0.9,
        method="percentile",
        random_state=np.random.default_rng(0),
    )
    width = reference.confidence_interval.high - reference.confidence_interval.low
    assert found.value == pytest.approx(statistic(np.arange(400)))
    assert found.interval.low == pytest.approx(reference.confidence_interval.low, abs=0.1 * width)
    assert found.interval.high == pytest.approx(reference.confidence_interval.high, abs=0.1 * width)
    z = scipy_stats.norm.isf(found.p / 2)
    assert abs(found.value) / z == pytest.approx(reference.standard_error, rel=0.07)


def test_the_p_of_a_paired_bootstrap_is_that_of_a_normal_with_the_spread_of_its_draws() -> None:
    metric, scored = METRICS.get("mean_per_class_recall"), pair(60, 3)
    for resamples in (2, 30):
        first, second = (
            resampled(metric, [(scores, scored.labels, scored.units)], resamples=resamples, seed=4)
            for scores in (scored.first, scored.second)
        )
        found = paired_bootstrap(metric, [scored], level=0.6, resamples=resamples, seed=4)
        assert found.p == pytest.approx(2 * norm.sf(abs(found.value) / (first - second).std(ddof=1)))
        ends = np.percentile(first - second, [20, 80])
        assert (found.interval.low, found.interval.high) == pytest.approx(tuple(ends))
        assert (found.interval.level, found.interval.method, found.test) == (0.6, "bootstrap", "paired bootstrap")


def test_a_sample_in_several_folds_counts_as_one() -> None:
    scored = pair(300, 3)
    once = paired_bootstrap(METRICS.get("accuracy"), [scored])
    assert paired_bootstrap(METRICS.get("accuracy"), [scored] * 4) == dataclasses.replace(once, value=once.value)
    apart = [dataclasses.replace(scored, units=np.arange(300) + 300 * fold) for fold in range(4)]
    wide, narrow = (found.interval for found in (once, paired_bootstrap(METRICS.get("accuracy"), apart)))
    assert narrow.high - narrow.low < 0.7 * (wide.high - wide.low)


def test_the_paired_bootstrap_depends_on_the_seed_alone() -> None:
    first = paired_bootstrap(METRICS.get("accuracy"), [pair(100, 3)], resamples=50, seed=1)
    assert paired_bootstrap(METRICS.get("accuracy"), [pair(100, 3)], resamples=50, seed=1) == first
    assert paired_bootstrap(METRICS.get("accuracy"), [pair(100, 3)], resamples=50, seed=2) != first


def test_a_paired_bootstrap_takes_a_metric_of_another_package() -> None:
    metric, scored = METRICS.get("roc_auc"), pair(60, 2)
    plain = dataclasses.replace(metric, prepare=None)
    fast, slow = (paired_bootstrap(kind, [scored], resamples=100) for kind in (metric, plain))
    assert (fast.value, fast.p) == pytest.approx((slow.value, slow.p))
    assert (fast.interval.low, fast.interval.high) == pytest.approx((slow.interval.low, slow.interval.high))


@pytest.mark.parametrize(
    "p_values", [[], [0.01], [0.04, 0.01, 0.03, 0.01], [1.0, 0.9, 0.0], list(np.linspace(0, 1, 27))]
)
def test_holm(p_values: list[float]) -> None:
    reference = multitest.multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(list(reference))


def test_holm_in_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(EvalsuiteError, match="equally long"):
        mcnemar(np.array([True]), np.array([True, False]))
    with pytest.raises(EvalsuiteError, match="a fold and two resamples"):
        paired_bootstrap(METRICS.get("accuracy"), [])
    with pytest.raises(EvalsuiteError, match="1 and 1"):
        paired_bootstrap(METRICS.get("accuracy"), [pair(20, 3)], resamples=1)
    for first in (np.zeros(0, bool), np.ones((2, 2), bool)):
        with pytest.raises(EvalsuiteError, match="equally long"):
            mcnemar(first, first)
    for p_values in ([0.5, float("nan")], [0.5, -0.1], [1.1], [[0.5]]):
        with pytest.raises(EvalsuiteError, match="between 0 and 1"):
            holm(p_values)  # type: ignore[arg-type]


def test_leaving_out_samples_against_scipy() -> None:
    scores, labels = case(400, 3)
    kept = np.random.default_rng(3).random(400) < 0.9
    right = (scores.argmax(axis=1) == labels).astype(float)
    found = bootstrap_left_out(
        METRICS.get("accuracy"), [KeptScores(scores, labels, kept, np.arange(400))], level=0.95, resamples=4_000
    )
    assert found.value == pytest.approx(right.mean() - right[kept].mean())

    def difference(rows: np.ndarray) -> float:
        return float(right[rows].mean() - right[rows][kept[rows]].mean())

    wanted = scipy_stats.bootstrap(
        (np.arange(400),), difference, confidence_level=0.95, n_resamples=4_000, method="percentile", vectorized=False,
        random_state=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert (found.interval.low, found.interval.high) == pytest.approx((wanted.low, wanted.high), abs=2e-3)
    same = bootstrap_left_out(
        METRICS.get("accuracy"), [KeptScores(scores, labels, np.ones(400, np.bool_), np.arange(400))]
    )
    assert same.value == 0 and (same.interval.low, same.interval.high) == (0, 0) and same.p == 1


@pytest.mark.filterwarnings("error")
def test_a_draw_of_nothing_but_what_is_left_out_is_drawn_again() -> None:
    scores, labels = case(4, 2)
    folds = [
        KeptScores(scores, labels, kept, np.arange(4) + 4 * number)
        for number, kept in enumerate((np.arange(4) == 0, np.arange(4) > 0))
    ]
    for taken in (folds, folds[::-1]):
        assert np.isfinite(bootstrap_left_out(METRICS.get("accuracy"), taken, resamples=100).interval.low)


@pytest.mark.parametrize(("successes", "n", "share"), [(0, 7, 0.3), (7, 7, 0.3), (5, 9, 0.6), (30, 40, 0.7)])
def test_exceeding_is_the_one_sided_binomial_test(successes: int, n: int, share: float) -> None:
    wanted = scipy_stats.binomtest(successes, n, share, alternative="greater").pvalue
    assert exceeding(successes, n, share) == pytest.approx(wanted)
