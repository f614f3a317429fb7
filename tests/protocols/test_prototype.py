"""Class means, held against scikit-learn's NearestCentroid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestCentroid

from evalsuite.data.drawing import hold_out
from evalsuite.protocols.prototype import Prototype
from evalsuite.tasks import TaskSpec
from tests.problems import Pools, blobs, given, make_task, stored_features


def moved(form: str, training: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return features as SimpleShot compares them (section 3.2: CL2N), or as they come."""
    if form == "plain":
        return features
    centred = features - training.mean(axis=0)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def share(form: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    """Return scikit-learn's accuracy."""
    model = NearestCentroid().fit(moved(form, train[0], train[0]), train[1])
    return float(model.score(moved(form, train[0], test[0]), test[1]))


def held_against_scikit(task: TaskSpec, data: Pools) -> None:
    """Compare both forms on both splits, and the scores of the chosen one."""
    outcome = Prototype().run(given(task, data))
    parts = {name: (features.double().numpy(), labels) for name, (features, labels) in data.items()}
    features, labels = parts["train"]
    if "val" in parts:
        fit, val = (features, labels), parts["val"]
        both = np.concatenate([features, val[0]]), np.concatenate([labels, val[1]])
    else:
        fit_rows, val_rows = hold_out([f"train/{row:06d}" for row in range(len(labels))], labels, seed=0)
        fit, val, both = *((features[rows], labels[rows]) for rows in (fit_rows, val_rows)), (features, labels)
    (details,) = outcome.details["folds"]
    for one in details["tried"]:
        assert one["validation"] == pytest.approx(share(one["form"], fit, val), abs=1e-12)
        assert one["test"] == pytest.approx(share(one["form"], both, parts["test"]), abs=1e-12)
    assert {one["form"]: one["validation"] for one in details["tried"]}[details["form"]] == max(
        one["validation"] for one in details["tried"]
    )
    form, (test, _) = details["form"], parts["test"]
    means = np.stack([moved(form, both[0], both[0])[both[1] == c].mean(axis=0) for c in range(len(task.class_list))])
    distance = cdist(moved(form, both[0], test), means, "sqeuclidean")
    found, wanted = outcome.folds[0].scores, -distance / 2
    np.testing.assert_allclose(found - found[:, :1], wanted - wanted[:, :1], rtol=1e-4, atol=1e-4)


def test_it_is_scikit_learns_nearest_centroid_on_digits(digits: tuple[TaskSpec, Pools]) -> None:
    held_against_scikit(*digits)


@pytest.mark.shared
@pytest.mark.parametrize("model", ["pixels", "pocket"])
def test_it_is_scikit_learns_nearest_centroid_on_cifar10(model: str, shared_data: Path, tmp_path: Path) -> None:
    held_against_scikit(*stored_features(model, "cifar10", tmp_path, data_root=shared_data, limit=1_000))


def test_validation_chooses_the_form_and_a_tie_is_plain(tmp_path: Path) -> None:
    def scaled(n: int, seed: int, spread: float) -> tuple[torch.Tensor, np.ndarray]:
        """Directions tell the classes, lengths vary a thousandfold."""
        features, labels = blobs(n, 3, seed, spread)
        lengths = np.exp(np.random.default_rng(seed).uniform(0, 7, (n, 1)))
        return features * torch.from_numpy(lengths).float(), labels

    wild = {name: scaled(150, seed, 0.1) for seed, name in enumerate(("train", "val", "test"))}
    (details,) = Prototype().run(given(make_task(tmp_path), wild)).details["folds"]
    assert details["form"] == "centred"
    easy = {name: blobs(30, 3, seed, 0.01) for seed, name in enumerate(("train", "val", "test"))}
    (details,) = Prototype().run(given(make_task(tmp_path), easy)).details["folds"]
    assert details["form"] == "plain" and {one["validation"] for one in details["tried"]} == {1.0}


def test_a_class_without_a_training_image_is_never_chosen_and_named(tmp_path: Path) -> None:
    data = {name: blobs(60, 3, seed) for seed, name in enumerate(("train", "val", "test"))}
    for name in ("train", "val"):
        features, labels = data[name]
        data[name] = features[labels != 1], labels[labels != 1]
    outcome = Prototype().run(given(make_task(tmp_path), data))
    assert "class means: no training sample is of 1 class: b." in outcome.warnings
    scores = outcome.folds[0].scores
    assert np.isfinite(scores).all() and 1 not in scores.argmax(axis=1)


def test_several_labels_per_image_are_no_task_for_it(tmp_path: Path) -> None:
    task = make_task(tmp_path, metric="map_11_point", multilabel="true")
    assert "several classes" in (Prototype().not_applicable(task) or "")
    assert Prototype().not_applicable(make_task(tmp_path)) is None
