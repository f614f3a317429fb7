"""The linear probe as a protocol: which samples it fits, selects on and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from evalsuite.data.base import Fold, Split
from evalsuite.errors import EvalsuiteError, UsageError
from evalsuite.options import build
from evalsuite.probe import Solution, refit, sweep
from evalsuite.protocols.base import ProtocolInput, Samples
from evalsuite.protocols.linear_probe import LinearProbe, ProbeOptions
from evalsuite.tasks import TaskSpec
from tests.problems import make_task

LAMBDAS = 10.0 ** (-6 + np.arange(97) / 8)


def blobs(n: int, classes: int, seed: int, spread: float = 1.5) -> tuple[torch.Tensor, np.ndarray]:
    """Return overlapping clusters."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, 5))
    labels = np.arange(n) % classes
    features = centres[labels] + spread * rng.normal(size=(n, 5))
    return torch.from_numpy(features.astype(np.float32)), labels


def run(task: TaskSpec, data: dict[str, tuple[torch.Tensor, np.ndarray]], folds: Sequence[Fold], **options: Any) -> Any:
    """Run the protocol over pools that are in memory; return (outcome, splits that were read)."""
    read_splits: list[str] = []

    def read(split: Split, layer: str) -> Samples:
        assert layer == "penultimate"
        read_splits.append(split.pool)
        features, labels = data[split.pool]
        rows = split.rows
        return Samples(features[rows], labels[rows], [f"{split.pool}/{row:04d}" for row in rows])

    tell = options.pop("on_progress", lambda what, done, total: None)
    given = ProtocolInput(task, folds, read, lambda texts: torch.empty(0), torch.device("cpu"), on_progress=tell)
    return LinearProbe(ProbeOptions(**options)).run(given), read_splits


def whole(pool: str, data: dict[str, tuple[torch.Tensor, np.ndarray]]) -> Split:
    """Return a split of all samples of a pool."""
    return Split(pool, np.arange(len(data[pool][1])))


def sklearn_probabilities(features: torch.Tensor, labels: np.ndarray, lam: float, test: torch.Tensor) -> np.ndarray:
    """Return the probabilities of scikit-learn's optimum."""
    model = LogisticRegression(C=1 / lam, solver="newton-cg", tol=1e-10, max_iter=5000)
    model.fit(features.double().numpy(), labels)
    return np.asarray(model.predict_proba(test.double().numpy()))


@pytest.mark.parametrize("refit", ["train+val", "train"])
def test_official_validation_split_selects_and_is_refitted_as_the_task_says(tmp_path: Path, refit: str) -> None:
    data = {"train": blobs(90, 3, 0), "val": blobs(60, 3, 1), "test": blobs(45, 3, 2)}
    folds = [Fold(whole("train", data), whole("val", data), whole("test", data))]
    outcome, _ = run(make_task(tmp_path, refit=refit), data, folds)
    (details,) = outcome.details["folds"]
    assert outcome.sizes == {"train": 90, "val": 60, "test": 45}
    assert np.isclose(LAMBDAS, details["lambda"]).any()

    # the chosen lambda has the best validation score, in the middle of the neighbours that share it
    best = max(trial["score"] for trial in details["tried"])
    assert details["lambda"] in [trial["lambda"] for trial in details["tried"] if trial["score"] == best]
    first, middle, last = (
        round(8 * np.log10(lam)) for lam in (*details["plateau"][:1], details["lambda"], details["plateau"][1])
    )
    assert middle - first - (last - middle) in (0, 1)
    assert 7 <= len(details["tried"]) <= 20

    parts = ["train", "val"] if refit == "train+val" else ["train"]
    features = torch.cat([data[part][0] for part in parts])
    labels = np.concatenate([data[part][1] for part in parts])
    wanted = sklearn_probabilities(features, labels, details["lambda"], data["test"][0])
    found = torch.from_numpy(outcome.folds[0].scores).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)

    (head,), (held,), fitted = outcome.heads, outcome.validation, details["refit"]
    logits = features.double().numpy() @ head.weights.T + head.intercepts
    scores = data["test"][0].double().numpy() @ head.weights.T + head.intercepts
    np.testing.assert_allclose(scores, outcome.folds[0].scores, atol=1e-4)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    assert fitted["objective"] == pytest.approx(losses.sum() + details["lambda"] / 2 * (head.weights**2).sum())
    assert fitted["converged"] and fitted["iterations"] > 0 and 0 <= fitted["gradient_norm"] < 0.01
    # what a temperature is fitted on is of the fit that was chosen, which has not seen it
    assert held.ids == [f"val/{row:04d}" for row in range(60)] and held.labels.tolist() == data["val"][1].tolist()
    assert (held.scores.argmax(axis=1) == held.labels).mean() == pytest.approx(best)


def test_without_a_validation_split_a_tenth_is_held_out_and_everything_is_refitted(tmp_path: Path) -> None:
    data = {"train": blobs(120, 3, 0), "test": blobs(45, 3, 2)}
    folds = [Fold(whole("train", data), None, whole("test", data))]
    outcome, _ = run(make_task(tmp_path, refit="train"), data, folds)
    assert outcome.sizes == {"train": 108, "val": 12, "test": 45}
    wanted = sklearn_probabilities(*data["train"], outcome.details["folds"][0]["lambda"], data["test"][0])
    found = torch.from_numpy(outcome.folds[0].scores).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_the_test_split_is_read_once_and_last(tmp_path: Path) -> None:
    data = {"train": blobs(60, 3, 0), "val": blobs(30, 3, 1), "test": blobs(30, 3, 2)}
    _, read_splits = run(make_task(tmp_path), data, [Fold(*(whole(name, data) for name in ("train", "val", "test")))])
    assert read_splits == ["train", "val", "test"]


def test_folds_are_fitted_apart(tmp_path: Path) -> None:
    data = {"train": blobs(120, 3, 0), "test": blobs(45, 3, 2)}
    halves = [Split("train", np.arange(60)), Split("train", np.arange(60, 120))]
    told: list[tuple[str, int, int]] = []
    folds = [Fold(half, None, whole("test", data)) for half in halves]
    outcome, _ = run(make_task(tmp_path), data, folds, on_progress=lambda *progress: told.append(progress))
    assert len(outcome.folds) == 2 and outcome.sizes["train"] == 54
    assert [done for what, done, total in told if (what, total) == ("sweep, fold 2/2", 5)] == [1, 2, 3, 4, 5]
    for half, fold, details in zip(halves, outcome.folds, outcome.details["folds"], strict=True):
        features, labels = data["train"][0][half.rows], data["train"][1][half.rows]
        wanted = sklearn_probabilities(features, labels, details["lambda"], data["test"][0])
        np.testing.assert_allclose(torch.from_numpy(fold.scores).softmax(1).numpy(), wanted, atol=1e-3)


def test_full_grid_tries_all_97_and_agrees_with_the_search_on_the_peak(tmp_path: Path) -> None:
    data = {"train": blobs(90, 3, 0), "val": blobs(60, 3, 1), "test": blobs(45, 3, 2)}
    folds = [Fold(whole("train", data), whole("val", data), whole("test", data))]
    full, _ = run(make_task(tmp_path), data, folds, grid="full")
    tried = full.details["folds"][0]["tried"]
    np.testing.assert_allclose([trial["lambda"] for trial in tried], LAMBDAS)


def test_multilabel_targets_with_ignored_entries_are_one_problem_a_class(tmp_path: Path) -> None:
    def multilabel(n: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(n, 4)).astype(np.float32)
        direction = np.random.default_rng(7).normal(size=(4, 3))
        labels = (features @ direction + rng.normal(size=(n, 3)) > 0).astype(np.int8)
        labels[rng.random(labels.shape) < 0.1] = -1
        return torch.from_numpy(features), labels

    data = {"train": multilabel(80, 0), "val": multilabel(60, 1), "test": multilabel(40, 2)}
    task = make_task(tmp_path, metric="map_11_point", multilabel="true")
    outcome, _ = run(task, data, [Fold(*(whole(name, data) for name in ("train", "val", "test")))])
    features = torch.cat([data["train"][0], data["val"][0]])
    labels = np.concatenate([data["train"][1], data["val"][1]])
    for index in range(3):
        known = labels[:, index] >= 0
        lam = outcome.details["folds"][0]["lambda"]
        wanted = sklearn_probabilities(features[known], labels[known, index], lam, data["test"][0])[:, 1]
        found = torch.from_numpy(outcome.folds[0].scores[:, index]).sigmoid().numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_a_fit_that_does_not_converge_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refitted(*arguments: Any, max_iterations: int, **options: Any) -> Solution:
        found = refit(*arguments, max_iterations=max_iterations, **options)
        return replace(found, converged=(max_iterations > 1,))  # from where it starts, one may be enough

    monkeypatch.setattr("evalsuite.probe.refit", refitted)
    data = {"train": blobs(60, 3, 0), "val": blobs(30, 3, 1), "test": blobs(30, 3, 2)}
    folds = [Fold(*(whole(name, data) for name in ("train", "val", "test")))]
    outcome, _ = run(make_task(tmp_path), data, folds, max_iterations=1)
    (details,) = outcome.details["folds"]
    unfinished = ", ".join(f"{trial['lambda']:.3g}" for trial in details["tried"] if not trial["converged"])
    sweep_warning, final_warning = outcome.warnings[:2]
    assert f"the fits at lambda = {unfinished} did not converge within the iteration limit" in sweep_warning
    assert "the final fit did not converge (gradient norm" in final_warning and not details["refit"]["converged"]


def test_a_loose_tolerance_saves_iterations_and_is_recorded(tmp_path: Path) -> None:
    data = {"train": blobs(90, 3, 0), "val": blobs(60, 3, 1), "test": blobs(45, 3, 2)}
    folds = [Fold(*(whole(name, data) for name in ("train", "val", "test")))]
    (loose,), (tight,) = (
        run(make_task(tmp_path), data, folds, tolerance=tolerance)[0].details["folds"] for tolerance in (0.1, 1e-6)
    )
    for found in (loose, tight):
        assert found.keys() == {"lambda", "plateau", "tried", "refit"}
        found["most"] = max(trial["iterations"] for trial in found["tried"])
    assert loose["most"] < tight["most"] and loose["refit"]["iterations"] < tight["refit"]["iterations"]


def test_the_end_of_the_grid_is_a_warning_also_where_a_plateau_leads_there(tmp_path: Path) -> None:
    def folds_of(data: dict[str, tuple[torch.Tensor, np.ndarray]]) -> list[Fold]:
        return [Fold(*(whole(name, data) for name in ("train", "val", "test")))]

    easy = {name: blobs(30, 3, seed, spread=0.01) for seed, name in enumerate(("train", "val", "test"))}
    outcome, _ = run(make_task(tmp_path), easy, folds_of(easy))
    (details,) = outcome.details["folds"]
    assert details["plateau"][0] < details["lambda"] < details["plateau"][1]
    assert any("up to the end of the grid; the middle" in warning for warning in outcome.warnings)

    # Few samples with large features: the fit is weak only at the largest lambda.
    samples = {"train": 12, "val": 300, "test": 30}
    blurred = {name: blobs(n, 3, seed, spread=3.0) for seed, (name, n) in enumerate(samples.items())}
    large = {name: (100 * features, labels) for name, (features, labels) in blurred.items()}
    outcome, _ = run(make_task(tmp_path), large, folds_of(large))
    assert outcome.details["folds"][0]["plateau"] == [1e6, 1e6]
    assert any("1e+06 is at the end of the grid" in warning for warning in outcome.warnings)


@pytest.mark.parametrize(
    ("plateau", "said"),
    [
        ((1e-6, 1e-6), "the best lambda 1e-06 is at the end of the grid."),
        ((1e-6, 1.0), "the validation score is the same from lambda 1e-06 to 1, up to the end of the grid"),
        ((1.0, 1e6), "the validation score is the same from lambda 1 to 1e+06, up to the end of the grid"),
        ((1.0, 1.0), None),
        ((1.0, 10.0), None),
    ],
)
def test_what_is_said_of_a_plateau(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plateau: tuple[float, float], said: str | None
) -> None:
    started: list[Solution] = []

    def swept(*arguments: Any, **options: Any) -> Any:
        return replace(sweep(*arguments, **options), plateau=plateau)

    def refitted(*arguments: Any, warm_start: Solution, **options: Any) -> Solution:
        started.append(warm_start)
        return refit(*arguments, warm_start=warm_start, **options)

    monkeypatch.setattr("evalsuite.probe.sweep", swept)
    monkeypatch.setattr("evalsuite.probe.refit", refitted)
    data = {"train": blobs(60, 3, 0), "val": blobs(30, 3, 1), "test": blobs(30, 3, 2)}
    outcome, _ = run(make_task(tmp_path), data, [Fold(*(whole(name, data) for name in ("train", "val", "test")))])
    assert [warning.partition(": ")[2][: len(said or "")] for warning in outcome.warnings] == ([said] if said else [])
    assert [start.lambdas for start in started] == [(outcome.details["folds"][0]["lambda"],)]


def test_the_objectives_tried_are_scikit_learns(tmp_path: Path) -> None:
    data = {"train": blobs(90, 3, 0), "val": blobs(60, 3, 1), "test": blobs(45, 3, 2)}
    folds = [Fold(whole("train", data), whole("val", data), whole("test", data))]
    outcome, _ = run(make_task(tmp_path), data, folds)
    features, labels = data["train"][0].double().numpy(), data["train"][1]
    for trial in outcome.details["folds"][0]["tried"]:
        model = LogisticRegression(C=1 / trial["lambda"], max_iter=1000).fit(features, labels)
        losses = -model.predict_log_proba(features)[np.arange(len(labels)), labels].sum()
        theirs = losses + trial["lambda"] / 2 * np.square(model.coef_).sum()
        # its default stop is short of the optimum, so it is never below
        assert -1e-6 < theirs / trial["objective"] - 1 < 1e-3


def test_lambda_is_chosen_by_the_metric_of_the_task(tmp_path: Path) -> None:
    """Nearly all samples are of one class: what is right for the share of hits is wrong for the mean of recalls."""

    def rare(n: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
        features, labels = blobs(n, 3, seed, spread=3.0)
        kept = (labels == 0) | (np.arange(n) % 5 == 0)
        return features[kept], labels[kept]

    data = {name: rare(300, seed) for seed, name in enumerate(("train", "val", "test"))}
    folds = [Fold(*(whole(name, data) for name in ("train", "val", "test")))]
    chosen = {}
    for metric in ("accuracy", "mean_per_class_recall"):
        outcome, _ = run(make_task(tmp_path, metric=metric), data, folds, grid="full")
        (details,) = outcome.details["folds"]
        chosen[metric] = details["lambda"]
        for trial in details["tried"][::24]:
            found = sklearn_probabilities(*data["train"], trial["lambda"], data["val"][0]).argmax(axis=1)
            right = found == data["val"][1]
            recalls = [right[data["val"][1] == label].mean() for label in range(3)]
            wanted = right.mean() if metric == "accuracy" else np.mean(recalls)
            assert trial["score"] == pytest.approx(wanted, abs=0.02)
    assert chosen["accuracy"] > 10 * chosen["mean_per_class_recall"]


def test_the_options_of_a_record_stay_what_they_were() -> None:
    """They are part of the fingerprint: a record stays current as long as these are the same."""
    assert asdict(LinearProbe().options) == {
        "grid": "parametric",
        "solver": "lbfgs",
        "tolerance": 1e-6,
        "refit_tolerance": 1e-8,
        "max_iterations": 1_000,
    }
    assert (LinearProbe.version, LinearProbe.has_head) == (3, True)


def test_what_may_be_chosen_of_the_probe() -> None:
    assert build(ProbeOptions, {"tolerance": 0.5}).refit_tolerance == 0.005
    for tolerance in (0, 1):
        with pytest.raises(UsageError, match="between 0 and 1"):
            build(ProbeOptions, {"tolerance": tolerance})
    for name in ("refit_tolerance", "solver"):  # they are recorded, and follow
        with pytest.raises(TypeError, match=name):
            ProbeOptions(**{name: 1e-3})


def test_half_precision_features_are_fitted_as_they_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {pool: (blobs(60, 3, seed)[0].half(), blobs(60, 3, seed)[1]) for seed, pool in enumerate(("train", "test"))}
    wide = {pool: (features.float(), labels) for pool, (features, labels) in data.items()}
    given: list[torch.dtype] = []

    def watched(features: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        given.append(features.dtype)
        return sweep(features, *arguments, **options)

    monkeypatch.setattr("evalsuite.probe.sweep", watched)
    folds = [Fold(whole("train", data), None, whole("test", data))]
    (half, _), (single, _) = (run(make_task(tmp_path), pools, folds) for pools in (data, wide))
    assert given == [torch.float16, torch.float32]
    assert half.details["folds"][0]["lambda"] == single.details["folds"][0]["lambda"]
    np.testing.assert_allclose(half.folds[0].scores, single.folds[0].scores, rtol=1e-4, atol=1e-4)


def test_classes_that_any_lambda_tells_apart_do_not_get_the_largest(tmp_path: Path) -> None:
    """144, 145 and 145 samples: a fit that is all penalty predicts the classes that have one sample more."""
    rng = np.random.default_rng(0)

    def samples(counts: Sequence[int]) -> tuple[torch.Tensor, np.ndarray]:
        labels = np.repeat(np.arange(3), counts)
        return torch.from_numpy(
            (0.6 * np.eye(3)[labels] + 0.02 * rng.random((len(labels), 3))).astype(np.float32)
        ), labels

    data = {"train": samples([144, 145, 145]), "test": samples([50, 50, 50])}
    outcome, _ = run(make_task(tmp_path), data, [Fold(whole("train", data), None, whole("test", data))])
    (details,) = outcome.details["folds"]
    assert {trial["score"] for trial in details["tried"]} == {1.0} and details["lambda"] == 1.0
    assert details["plateau"] == [LAMBDAS[0], LAMBDAS[-1]] and len(outcome.warnings) == 1
    assert (outcome.folds[0].scores.argmax(axis=1) == data["test"][1]).all()


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_class_without_a_training_sample_is_named(tmp_path: Path, multilabel: bool) -> None:
    data = {name: blobs(60, 3, seed) for seed, name in enumerate(("train", "val", "test"))}
    data = {name: (features[labels != 1], labels[labels != 1]) for name, (features, labels) in data.items()}
    keys = {"metric": "map_11_point", "multilabel": "true"} if multilabel else {}
    if multilabel:
        data = {name: (features, np.eye(3, dtype=np.int8)[labels]) for name, (features, labels) in data.items()}
    folds = [Fold(*(whole(name, data) for name in ("train", "val", "test")))]
    outcome, _ = run(make_task(tmp_path, **keys), data, folds)
    assert "linear probe: no training sample is of 1 class: b." in outcome.warnings


def test_several_labels_of_which_none_varies_are_refused(tmp_path: Path) -> None:
    data = {name: (torch.rand(12, 4), np.array([[1, 1, 0]] * 12, np.int8)) for name in ("train", "val", "test")}
    task = make_task(tmp_path, metric="map_11_point", multilabel="true")
    with pytest.raises(EvalsuiteError, match="12 training samples each class is there always or never"):
        run(task, data, [Fold(*(whole(name, data) for name in ("train", "val", "test")))])
