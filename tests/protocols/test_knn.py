"""Nearest neighbours, held against scikit-learn's classifier with the same votes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from evalsuite import nearest as nearest_module
from evalsuite.data.drawing import hold_out
from evalsuite.errors import EvalsuiteError
from evalsuite.metrics import map_11_point
from evalsuite.nearest import nearest
from evalsuite.protocols.knn import KNN, KNNOptions
from evalsuite.tasks import TaskSpec
from tests.problems import Pools, blobs, fold_of, given, make_task, stored_features


def run(task: TaskSpec, data: Pools, **options: Any) -> Any:
    """Run the protocol."""
    return KNN(KNNOptions(**options)).run(given(task, data))


def votes(distance: np.ndarray) -> np.ndarray:
    """Return DINO's weights of cosine distances."""
    return np.exp((1 - distance) / 0.07)


def scikit(k: int, train: tuple[torch.Tensor, np.ndarray]) -> Any:
    """Return scikit-learn's classifier."""
    model = KNeighborsClassifier(k, weights=votes, metric="cosine", algorithm="brute")
    return model.fit(train[0].double().numpy(), train[1])


def held_against_scikit(task: TaskSpec, data: Pools) -> None:
    """Compare every k on both splits, and the shares of the votes of the chosen one."""
    outcome = run(task, data)
    features, labels = data["train"]
    if "val" in data:
        fit, val = (features, labels), data["val"]
        both = torch.cat([features, val[0]]), np.concatenate([labels, val[1]])
    else:
        ids = [f"train/{row:06d}" for row in range(len(labels))]
        fit_rows, val_rows = hold_out(ids, labels, seed=0)
        fit, val, both = *((features[rows], labels[rows]) for rows in (fit_rows, val_rows)), (features, labels)
    test, expected = data["test"]
    (details,) = outcome.details["folds"]
    assert [one["k"] for one in details["tried"]] == [10, 20, 100, 200]
    for one in details["tried"]:
        for name, bank, (asked, truth) in (("validation", fit, val), ("test", both, (test, expected))):
            wrong = int(ambiguous(bank, asked, one["k"]).sum())
            score = scikit(one["k"], bank).score(asked.double(), truth)
            assert wrong <= 0.05 * len(truth) and one[name] == pytest.approx(score, abs=(wrong + 1e-9) / len(truth))
    best = max(one["validation"] for one in details["tried"])
    assert details["k"] == min(one["k"] for one in details["tried"] if one["validation"] == best)
    wanted = scikit(details["k"], both).predict_proba(test.double())
    clear = ~ambiguous(both, test, details["k"])
    np.testing.assert_allclose(outcome.folds[0].scores[clear], wanted[clear], atol=1e-5)


def ambiguous(bank: tuple[torch.Tensor, np.ndarray], asked: torch.Tensor, k: int) -> np.ndarray:
    """Return which queries have a neighbour k + 1 that is as near as neighbour k, to the rounding of float32, or two
    best classes with as many votes."""
    search = NearestNeighbors(n_neighbors=k + 1, metric="cosine", algorithm="brute").fit(bank[0].double().numpy())
    distance, _ = search.kneighbors(asked.double().numpy())
    best = np.sort(scikit(k, bank).predict_proba(asked.double()), axis=1)
    return np.asarray((distance[:, k] - distance[:, k - 1] < 5e-7) | (best[:, -1] - best[:, -2] < 1e-5))


def test_it_is_scikit_learns_classifier_on_digits(digits: tuple[TaskSpec, Pools]) -> None:
    held_against_scikit(*digits)


@pytest.mark.shared
@pytest.mark.parametrize("model", ["pixels", "pocket"])
def test_it_is_scikit_learns_classifier_on_cifar10(model: str, shared_data: Path, tmp_path: Path) -> None:
    held_against_scikit(*stored_features(model, "cifar10", tmp_path, data_root=shared_data, limit=1_000))


def test_validation_images_vote_unless_the_task_fits_train_alone(tmp_path: Path) -> None:
    data = {"train": blobs(60, 3, 0), "val": blobs(45, 3, 1), "test": blobs(30, 3, 2)}
    for refit, voters in (("train+val", ["train", "val"]), ("train", ["train"])):
        outcome = run(make_task(tmp_path, refit=refit), data, k=(5,))
        both = torch.cat([data[name][0] for name in voters]), np.concatenate([data[name][1] for name in voters])
        wanted = scikit(5, both).predict_proba(data["test"][0].double())
        np.testing.assert_allclose(outcome.folds[0].scores, wanted, atol=1e-5)
        assert outcome.sizes == {"train": 60, "val": 45, "test": 30}


def test_several_labels_are_shares_of_the_votes_of_those_that_say_anything(tmp_path: Path) -> None:
    def several(n: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
        features, classes = blobs(n, 3, seed)
        labels = np.eye(3, dtype=np.int8)[classes] | np.eye(3, dtype=np.int8)[(classes + seed) % 3]
        labels[np.random.default_rng(seed).random(labels.shape) < 0.1] = -1
        return features, labels

    data = {"train": several(60, 0), "val": several(30, 1), "test": several(30, 2)}
    outcome = run(make_task(tmp_path, metric="map_11_point", multilabel="true"), data, k=(7, 15))
    bank = torch.cat([data["train"][0], data["val"][0]]).double().numpy()
    labels = np.concatenate([data["train"][1], data["val"][1]])
    (details,) = outcome.details["folds"]
    search = NearestNeighbors(n_neighbors=details["k"], metric="cosine", algorithm="brute").fit(bank)
    distance, rows = search.kneighbors(data["test"][0].double().numpy())
    wanted = np.array(
        [
            [(w * (labels[near, c] == 1)).sum() / (w * (labels[near, c] >= 0)).sum() for c in range(3)]
            for w, near in zip(votes(distance), rows, strict=True)
        ]
    )
    np.testing.assert_allclose(outcome.folds[0].scores, wanted, atol=1e-5)
    (chosen,) = [one for one in details["tried"] if one["k"] == details["k"]]
    assert chosen["test"] == pytest.approx(map_11_point(wanted, data["test"][1]))


def test_a_k_that_is_larger_than_the_training_set_is_left_out_and_said(tmp_path: Path) -> None:
    data = {"train": blobs(30, 3, 0), "val": blobs(15, 3, 1), "test": blobs(15, 3, 2)}
    outcome = run(make_task(tmp_path), data)
    assert [one["k"] for one in outcome.details["folds"][0]["tried"]] == [10, 20]
    assert outcome.warnings == ["nearest neighbours: k = 100, 200 left out: there are only 30 training images."]
    with pytest.raises(EvalsuiteError, match=r"only 30 training images.*smallest k \(100\).*--knn-k 15"):
        run(make_task(tmp_path), data, k=(100, 200))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_neighbours_are_the_same_whatever_the_blocks(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    bank, queries = torch.randn(101, 8).to(dtype), torch.randn(23, 8).to(dtype)
    rows = torch.randperm(101)[:77]
    at_once = nearest(queries, bank, 9, rows=rows)
    cosine = torch.nn.functional.cosine_similarity(queries.float()[:, None], bank[rows].float()[None], dim=2)
    wanted = cosine.sort(dim=1, descending=True)
    torch.testing.assert_close(at_once.similarity, wanted.values[:, :9])
    assert torch.equal(at_once.rows, wanted.indices[:, :9])
    monkeypatch.setattr(nearest_module, "BANK_BYTES", 5 * 4 * 8)
    monkeypatch.setattr(nearest_module, "CPU_BLOCK_BYTES", 64)
    in_parts = nearest(queries, bank, 9, rows=rows)
    torch.testing.assert_close(in_parts.similarity, at_once.similarity)
    assert torch.equal(in_parts.rows, at_once.rows)
    assert nearest(queries, bank, 500, rows=rows).rows.shape == (23, 77)
    assert nearest(queries, bank[:0], 3).rows.shape == (23, 0)


def test_folds_have_neighbours_of_their_own(tmp_path: Path) -> None:
    data = {"train": blobs(60, 3, 0), "val": blobs(30, 3, 1), "test": blobs(15, 3, 2), "other": blobs(60, 3, 3)}
    one = fold_of(data)
    folds = [one, type(one)(type(one.train)("other", np.arange(60)), one.val, one.test)]
    outcome = KNN(KNNOptions(k=(5,))).run(given(make_task(tmp_path), data, folds))
    for name, fold in zip(("train", "other"), outcome.folds, strict=True):
        alone = run(make_task(tmp_path), {**data, "train": data[name]}, k=(5,))
        np.testing.assert_array_equal(fold.scores, alone.folds[0].scores)
