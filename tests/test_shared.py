"""The shipped tasks on the original MNIST and CIFAR-10 files, where they are there."""

from __future__ import annotations

from pathlib import Path

import pytest

import evalsuite
from evalsuite.data.opening import open_task
from evalsuite.data.place import DataPlace
from evalsuite.data.splits import check_sizes

pytestmark = pytest.mark.shared


@pytest.mark.parametrize(("name", "first_train", "first_test"), [("mnist", "5", "7"), ("cifar10", None, None)])
def test_shipped_task_fits_the_real_files(
    name: str, first_train: str | None, first_test: str | None, shared_data: Path, tmp_path: Path
) -> None:
    task = evalsuite.load_task(name)
    data = open_task(task, DataPlace(shared_data, offline=True, cache_dir=tmp_path))
    check_sizes(task, data.folds())
    for pool, label in (("train", first_train), ("test", first_test)):
        opened = data.open_pool(pool)
        assert opened.read(0).image.size == {"mnist": (28, 28), "cifar10": (32, 32)}[name]
        if label is not None:
            assert task.class_keys[opened.labels[0]] == label


def test_a_part_of_mnist_and_cifar10_runs_end_to_end(shared_data: Path, tmp_path: Path) -> None:
    results = evalsuite.evaluate(
        "pixels",
        ["mnist", "cifar10"],
        "linear_probe",
        data_root=shared_data,
        output=tmp_path / "out",
        cache_dir=tmp_path / "cache",
        limit=1_000,
        offline=True,
        device="cpu",
    )
    mnist, cifar = (result.metric for result in results)
    assert mnist is not None and 0.82 < mnist.value < 0.92  # logistic regression on 900 images
    assert cifar is not None and 0.2 < cifar.value < 0.4
