"""What every protocol has in common: nothing is chosen by the test split, and scores are calibrated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from evalsuite.calibration import FLOOR
from evalsuite.data.base import Fold
from evalsuite.errors import DataError, UsageError
from evalsuite.metrics import accuracy
from evalsuite.models.base import Logits
from evalsuite.protocols import DEFAULT_PROTOCOLS, FURTHER_PROTOCOLS, PROTOCOLS, EvaluationProtocol, make_protocols
from evalsuite.protocols.calibrating import calibrated, own_logits
from evalsuite.protocols.training import labelled
from tests.problems import blobs, given, make_task, whole

EVERY = DEFAULT_PROTOCOLS + FURTHER_PROTOCOLS

SMALL = {"few_shot": {"images": (1, 4), "seeds": 2}, "knn": {"k": (5, 10)}}
"""Options that make a protocol quick."""

OF_THE_TEST = {"test", "mean", "std", "values"}
"""Keys of details that are scores of the test split."""


def quick(name: str) -> EvaluationProtocol:
    """Return a protocol."""
    kind = PROTOCOLS.get(name)
    return kind(kind.Options(**SMALL.get(name, {})))


def choices(details: Any) -> Any:
    """Return details without the scores of the test split."""
    if isinstance(details, dict):
        return {key: choices(value) for key, value in details.items() if key not in OF_THE_TEST}
    return [choices(one) for one in details] if isinstance(details, list) else details


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("official", [True, False])
def test_noise_in_place_of_the_test_labels_changes_no_choice(tmp_path: Path, name: str, official: bool) -> None:
    task = make_task(tmp_path)
    data = {"train": blobs(150, 3, 0), "val": blobs(90, 3, 1), "test": blobs(90, 3, 2)}
    validation = [whole("val", data)]
    if not official:
        del data["val"]
        validation = [whole("train", data)]
    features, labels = data["test"]
    noise = np.random.default_rng(1).permutation(labels)
    protocol, found = quick(name), []
    for answers in (labels, noise):
        outcome = protocol.run(given(task, {**data, "test": (features, answers)}, validation=validation))
        calibration = calibrated(protocol, task, outcome)
        assert calibration is not None and calibration["temperatures"]
        scores = [fold.scores.tobytes() for fold in outcome.folds]
        found.append((choices(outcome.details), calibration["temperatures"], scores, calibration["before"]))
    first, second = found
    assert first[:3] == second[:3]
    assert first[3] != second[3]  # the noise has arrived


@pytest.mark.parametrize("name", ["knn", "prototype"])
def test_temperatures_are_fitted_on_scores_of_what_was_chosen(tmp_path: Path, name: str) -> None:
    def skewed(n: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
        """Of nearest neighbours most are of the right class, of many of the largest one."""
        labels = np.arange(n) % 3
        angles = np.random.default_rng(seed).uniform(0, 0.02, n) + 0.1 * labels
        features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        kept = (labels == 0) | (np.arange(n) < 30)
        return torch.from_numpy(features[kept].astype(np.float32)), labels[kept]

    def scaled(n: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
        """Directions tell the classes, lengths vary a thousandfold."""
        features, labels = blobs(n, 3, seed, 0.1)
        return features * torch.from_numpy(np.exp(np.random.default_rng(seed).uniform(0, 7, (n, 1)))).float(), labels

    make = {"knn": skewed, "prototype": scaled}[name]
    data = {"train": make(600, 0), "val": make(30, 1), "test": make(30, 2)}
    kind = PROTOCOLS.get(name)
    options = {"k": (5, 200)} if name == "knn" else {}
    outcome = kind(kind.Options(**options)).run(given(make_task(tmp_path), data))
    (details,), (validation,) = outcome.details["folds"], outcome.validation
    key, chosen = {"knn": ("k", 5), "prototype": ("form", "centred")}[name]
    assert details[key] == chosen
    tried = {one[key]: one["validation"] for one in details["tried"]}
    assert accuracy(validation.scores, validation.labels) == tried.pop(chosen) > max(tried.values())


def test_a_held_out_tenth_keeps_groups_whole_and_is_drawn_by_the_seed(tmp_path: Path) -> None:
    data = {"train": blobs(90, 3, 0), "test": blobs(9, 3, 1)}
    asked = given(make_task(tmp_path), data)
    grouped = replace(
        asked, read=lambda split, layer: replace(asked.read(split, layer), groups=[f"{row // 9}" for row in split.rows])
    )
    found = [labelled(replace(grouped, seed=seed), asked.folds[0], "penultimate") for seed in range(3)]
    for one in found:
        assert len({row // 9 for row in one.val}) == len(one.val) / 9 == 1
        assert sorted([*one.fit, *one.val]) == list(range(90)) and one.final is None
    assert len({tuple(one.val) for one in found}) > 1


@pytest.mark.parametrize("name", ["few_shot", "linear_probe", "prototype"])
def test_a_class_that_only_validation_images_are_of_is_named_where_train_alone_is_fitted(
    tmp_path: Path, name: str
) -> None:
    data = {pool: blobs(60, 3, seed) for seed, pool in enumerate(("train", "val", "test"))}
    features, labels = data["train"]
    data["train"] = features[labels != 1], labels[labels != 1]
    outcome = quick(name).run(given(make_task(tmp_path, refit="train"), data))
    assert any(text.endswith("no training sample is of 1 class: b.") for text in outcome.warnings)


@pytest.mark.parametrize("name", EVERY)
def test_calibration_is_that_of_the_models_own_probabilities(tmp_path: Path, name: str) -> None:
    task, protocol = make_task(tmp_path), quick(name)
    data = {"train": blobs(150, 3, 0), "val": blobs(90, 3, 1), "test": blobs(90, 3, 2)}
    outcome = protocol.run(given(task, data, validation=[whole("val", data)]))
    found = calibrated(protocol, task, outcome)
    assert found is not None and found["after"] is not None and protocol.scores is not None
    nll = []
    for fold, temperature in zip(outcome.folds, found["temperatures"], strict=True):
        logits, link = own_logits(protocol, protocol.scores, fold.scores, outcome.details)
        assert link == "softmax"
        for divisor in (1.0, temperature):
            p = torch.from_numpy(logits).double().div(divisor).softmax(dim=1).numpy()
            nll.append(log_loss(fold.labels, np.maximum(p, FLOOR), labels=[0, 1, 2]))
    assert found["before"]["nll"] == pytest.approx(np.mean(nll[::2]), rel=1e-5)
    assert found["after"]["nll"] == pytest.approx(np.mean(nll[1::2]), rel=1e-5)
    if name == "zero_shot":  # 20 x cosine, where scores are 100 x cosine
        assert logits == pytest.approx(outcome.folds[0].scores / 5)
        assert found["validation"] == 90
    if name == "knn":
        np.testing.assert_allclose(torch.from_numpy(logits).softmax(1).numpy(), outcome.folds[0].scores, atol=1e-6)


def test_one_fold_without_a_temperature_leaves_the_mean_without(tmp_path: Path) -> None:
    data = {"train": blobs(90, 3, 0), "val": blobs(90, 3, 1), "test": blobs(90, 3, 2), "easy": blobs(9, 3, 3, 0.0)}
    first = Fold(whole("train", data), whole("val", data), whole("test", data))
    task, protocol = make_task(tmp_path), quick("prototype")
    folds = [first, replace(first, val=whole("easy", data))]
    found = calibrated(protocol, task, protocol.run(given(task, data, folds)))
    assert found is not None and (found["after"], found["temperatures"], found["validation"]) == (None, [], 99)
    found = calibrated(protocol, task, protocol.run(given(task, data, [first, first])))
    assert found is not None and found["after"] is not None and len(found["temperatures"]) == 2


def test_a_model_with_a_bias_is_read_by_a_sigmoid(tmp_path: Path) -> None:
    task, protocol = make_task(tmp_path), PROTOCOLS.get("zero_shot")()
    data = {"test": blobs(60, 3, 2)}
    everything = {"train": blobs(9, 3, 0), **data}
    outcome = protocol.run(given(task, everything, logits=Logits(50.0, -10.0)))
    logits, link = own_logits(protocol, "logits", outcome.folds[0].scores, outcome.details)
    assert link == "sigmoid"
    np.testing.assert_allclose(logits, outcome.folds[0].scores / 2 - 10, rtol=1e-5)
    found = calibrated(protocol, task, outcome)
    assert found is not None and found["after"] is None and found["validation"] == 0
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    truth = np.eye(3)[data["test"][1]]
    assert found["before"]["brier"] == pytest.approx(np.square(p - truth).sum(axis=1).mean(), rel=1e-5)


def test_all_is_every_protocol_of_this_project_and_keeps_what_is_asked_for_once() -> None:
    assert [one.name for one in make_protocols(["all"], {}, {})] == list(EVERY)
    assert [one.name for one in make_protocols(["knn", "all", "knn"], {}, {})] == [
        "knn",
        *(n for n in EVERY if n != "knn"),
    ]
    (knn,) = make_protocols(["knn"], {"knn_k": "3,5,7"}, {})
    assert knn.options.k == (3, 5, 7)
    (knn,) = make_protocols(["knn"], {}, {"knn.k": "9"})
    assert knn.options.k == (9,)
    with pytest.raises(UsageError, match="--knn-k is empty: give numbers of 1 or more"):
        make_protocols(["knn"], {"knn_k": ""}, {})


@pytest.mark.parametrize("name", [name for name in EVERY if name != "zero_shot"])
@pytest.mark.parametrize("pool", ["train", "val"])
def test_sets_of_right_labels_are_for_tests_and_nothing_is_fitted_to_them(tmp_path: Path, name: str, pool: str) -> None:
    task = make_task(tmp_path, metric="any_label_accuracy")
    data = {"train": blobs(60, 3, 0), "val": blobs(30, 3, 1), "test": blobs(30, 3, 2)}
    sets = {key: (features, np.eye(3, dtype=np.int8)[labels]) for key, (features, labels) in data.items()}
    outcome = quick(name).run(given(task, {**data, "test": sets["test"]}))
    assert outcome.folds[0].labels.shape == (30, 3)
    with pytest.raises(DataError, match="have sets of labels, of which any is right"):
        quick(name).run(given(task, {**data, pool: sets[pool]}))
