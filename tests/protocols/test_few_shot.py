"""Few-shot probes, held against scikit-learn's LogisticRegression on the very same rows."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evalsuite import probe
from evalsuite.data.base import Split
from evalsuite.errors import EvalsuiteError
from evalsuite.protocols.base import Samples
from evalsuite.protocols.few_shot import Draw, FewShot, FewShotOptions
from evalsuite.protocols.training import labelled
from evalsuite.tasks import TaskSpec
from tests.problems import Pools, Scikit, blobs, fold_of, given, make_task, stored_features

LAMBDAS = 10.0 ** (-6 + np.arange(97) / 8)


def run(task: TaskSpec, data: Pools, **options: Any) -> Any:
    """Run the protocol."""
    return FewShot(FewShotOptions(**options)).run(given(task, data))


def held_against_scikit(task: TaskSpec, data: Pools) -> None:
    """Compare the accuracy of every number of images and seed, and the probabilities of the most images."""
    outcome = run(task, data)
    known = labelled(given(task, data), fold_of(data), "penultimate")
    features, labels = known.samples.features.double().numpy(), known.samples.labels
    test, expected = data["test"][0].double().numpy(), data["test"][1]
    assert [shot["images"] for shot in outcome.details["shots"]] == [1, 2, 4, 8, 16]
    for shot in outcome.details["shots"]:
        for seed in range(3):
            drawn = Draw.of(known, seed).take(shot["images"])
            (lambdas,) = shot["lambdas"]
            model = Scikit(features[drawn.fit], labels[drawn.fit], lambdas[seed])
            # one test image whose two best classes are equal to the last bits may fall to either side
            assert shot["values"][seed] == pytest.approx(model.score(test, expected), abs=1.5 / len(expected))
            if shot["images"] == 16:
                found = torch.from_numpy(outcome.folds[seed].scores).double().softmax(dim=1).numpy()
                # at the smallest lambdas scikit-learn's search ends by rounding
                np.testing.assert_allclose(
                    found, model.predict_proba(test), atol=1e-4 if lambdas[seed] > 1e-5 else 1e-3
                )
        assert shot["mean"] == pytest.approx(np.mean(shot["values"]))
        assert shot["std"] == pytest.approx(np.std(shot["values"], ddof=1))
    assert outcome.sizes == {"train": 160, "val": 40, "test": len(expected)}
    assert outcome.details["full"] == len(labels) / 10


def test_it_is_scikit_learns_regression_on_digits(digits: tuple[TaskSpec, Pools]) -> None:
    held_against_scikit(*digits)


@pytest.mark.shared
@pytest.mark.parametrize("model", ["pixels", "pocket"])
def test_it_is_scikit_learns_regression_on_cifar10(model: str, shared_data: Path, tmp_path: Path) -> None:
    held_against_scikit(*stored_features(model, "cifar10", tmp_path, data_root=shared_data, limit=1_000))


def test_lambda_is_the_best_on_the_further_images(tmp_path: Path) -> None:
    data = {"train": blobs(120, 3, 0), "test": blobs(30, 3, 2)}
    task = make_task(tmp_path)
    (shot,) = run(task, data, images=(8,), seeds=2).details["shots"]
    known = labelled(given(task, data), fold_of(data), "penultimate")
    features, labels = known.samples.features.double().numpy(), known.samples.labels
    for seed in range(2):
        drawn = Draw.of(known, seed).take(8)
        right = [
            Scikit(features[drawn.fit], labels[drawn.fit], lam).score(features[drawn.val], labels[drawn.val])
            for lam in LAMBDAS[::8]
        ]
        chosen = Scikit(features[drawn.fit], labels[drawn.fit], shot["lambdas"][0][seed])
        assert chosen.score(features[drawn.val], labels[drawn.val]) >= max(right[::2])


@pytest.mark.parametrize("official", [True, False])
def test_draws_are_balanced_nested_and_do_not_depend_on_the_order_of_files(tmp_path: Path, official: bool) -> None:
    data = {"train": blobs(90, 3, 0), "val": blobs(60, 3, 1), "test": blobs(9, 3, 2)}
    if not official:
        del data["val"]
    task = make_task(tmp_path)
    known = labelled(given(task, data), fold_of(data), "penultimate")
    draw, before = Draw.of(known, 0), set[int]()
    for images in (1, 2, 4, 8, 16):
        drawn = draw.take(images)
        assert np.bincount(known.samples.labels[drawn.fit]).tolist() == [images] * 3
        assert np.bincount(known.samples.labels[drawn.val]).tolist() == [min(images, 4)] * 3
        assert not set(drawn.fit) & set(drawn.val) and not drawn.short
        assert before <= set(drawn.fit.tolist())
        assert all(known.samples.ids[row].startswith("val" if official else "train") for row in drawn.val)
        before = set(drawn.fit.tolist())
    assert set(draw.take(8).fit) != set(Draw.of(known, 1).take(8).fit)
    order = np.random.default_rng(0).permutation(len(known.samples.ids))
    mixed = type(known.samples)(
        known.samples.features[order], known.samples.labels[order], [known.samples.ids[row] for row in order]
    )
    place = {name: row for row, name in enumerate(mixed.ids)}
    turned = type(known)(mixed, np.argsort(order)[known.fit], np.argsort(order)[known.val], None, official)
    again = Draw.of(turned, 0).take(8)
    assert [mixed.ids[row] for row in again.fit] == [known.samples.ids[row] for row in draw.take(8).fit]
    assert all(place[mixed.ids[row]] == row for row in again.fit)


def test_the_seeds_of_draws_follow_the_seed_of_the_run(tmp_path: Path) -> None:
    data = {name: blobs(90, 3, seed) for seed, name in enumerate(("train", "val", "test"))}
    options, task = FewShotOptions(images=(2,), seeds=2), make_task(tmp_path)
    first, later = (FewShot(options).run(given(task, data, seed=seed)).folds for seed in (0, 1))
    np.testing.assert_array_equal(first[1].scores, later[0].scores)
    assert not np.array_equal(first[0].scores, later[0].scores)


def test_images_in_all_are_those_that_the_linear_probe_may_fit(tmp_path: Path) -> None:
    data = {name: blobs(n, 3, n) for name, n in (("train", 60), ("val", 30), ("test", 9))}
    for refit, full in (("train", 20.0), ("train+val", 30.0)):
        assert run(make_task(tmp_path, refit=refit), data, images=(1,), seeds=1).details["full"] == full


def test_lambda_is_not_chosen_by_images_of_groups_that_are_fitted(tmp_path: Path) -> None:
    task, data = make_task(tmp_path), {"train": blobs(180, 3, 0), "test": blobs(30, 3, 2)}
    plain = given(task, data)

    def read(split: Split, layer: str) -> Samples:
        samples = plain.read(split, layer)  # twelve videos of each class, with five frames each
        groups = [f"{label}/{row // 3 % 12}" for row, label in enumerate(samples.labels)]
        return dataclasses.replace(samples, groups=groups if split.pool == "train" else None)

    grouped = dataclasses.replace(plain, read=read)
    known = labelled(grouped, fold_of(data), "penultimate")
    assert known.samples.groups is not None
    groups = np.array(known.samples.groups)
    for seed, images in itertools.product(range(3), (1, 4, 16)):
        drawn = Draw.of(known, seed).take(images)
        assert not set(groups[drawn.fit]) & set(groups[drawn.val]) and not drawn.short
        assert np.bincount(known.samples.labels[drawn.fit]).tolist() == [images] * 3
        assert np.bincount(known.samples.labels[drawn.val]).tolist() == [min(images, 4)] * 3
    outcome = FewShot(FewShotOptions(images=(4, 60), seeds=2)).run(grouped)
    assert outcome.sizes == {"train": 12, "val": 12, "test": 30}
    assert any("60 images per class left out: the largest class has 55" in text for text in outcome.warnings)


def test_the_features_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"train": blobs(60, 3, 0), "test": blobs(9, 3, 2)}
    seen: set[int] = set()
    kept = probe.sweep

    def watched(features: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        seen.add(features.data_ptr())
        return kept(features, *arguments, **options)

    monkeypatch.setattr("evalsuite.probe.sweep", watched)
    run(make_task(tmp_path), data, images=(1, 2), seeds=2)
    assert len(seen) == 1


def test_classes_with_too_few_images_give_what_they_have_and_are_named(tmp_path: Path) -> None:
    features, labels = blobs(60, 3, 0)
    kept = np.flatnonzero((labels != 1) | (np.cumsum(labels == 1) <= 3))
    data = {"train": (features[kept], labels[kept]), "test": blobs(30, 3, 2)}
    outcome = run(make_task(tmp_path), data, images=(1, 4, 32))
    assert [shot["images"] for shot in outcome.details["shots"]] == [1, 4]
    assert outcome.sizes["train"] == 4 + 4 + 2
    assert "few-shot: 32 images per class left out: the largest class has 20." in outcome.warnings
    assert (
        "few-shot: of 1 class of 3 there are fewer than 4 images to fit and 4 to choose lambda by; all are taken: b."
        in outcome.warnings
    )


def test_a_class_of_the_validation_split_alone_is_not_fitted_and_named(tmp_path: Path) -> None:
    data = {name: blobs(60, 3, seed) for seed, name in enumerate(("train", "val", "test"))}
    features, labels = data["train"]
    data["train"] = features[labels != 1], labels[labels != 1]
    outcome = run(make_task(tmp_path), data, images=(1,), seeds=1)
    assert "few-shot: no training sample is of 1 class: b." in outcome.warnings


def test_classes_of_one_image_each_cannot_choose_lambda(tmp_path: Path) -> None:
    data = {"train": blobs(3, 3, 0), "test": blobs(9, 3, 2)}
    with pytest.raises(EvalsuiteError, match="No validation samples can be held out of 3: no class has two samples"):
        run(make_task(tmp_path), data)
    with pytest.raises(EvalsuiteError, match=r"no class has 4 training images, the largest has 2.*--few-shot-images"):
        run(make_task(tmp_path), {**data, "train": blobs(6, 3, 0)}, images=(4,))


def test_several_labels_per_image_are_no_task_for_it(tmp_path: Path) -> None:
    task = make_task(tmp_path, metric="map_11_point", multilabel="true")
    assert "several classes" in (FewShot().not_applicable(task) or "")
