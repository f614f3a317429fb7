"""The tasks of the group `shift` on tiny copies of their data."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import evalsuite
from evalsuite.api import open_model
from evalsuite.applied.searching import collection, search
from evalsuite.data import open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, SpecError
from evalsuite.options import RunOptions
from evalsuite.records import Result
from evalsuite.resources import data_dir
from evalsuite.runner.base import Reporter
from evalsuite.tasks import TaskIndex
from evalsuite.tasks.spec import PromptSpec, TaskSpec
from evalsuite.tasks.yaml_files import read_yaml
from tests.paper.oracle import Oracle
from tests.paper.shifts import BASE, IMAGES, WRITERS, names, write_shifts
from tests.paper.tree import write_task

ONE = PromptSpec(templates=["a photo of a {}."])
"""One template in place of up to 80: they change nothing for the oracle."""


class Counting(Oracle):
    """An oracle of several tasks that counts the images it sees."""

    def __init__(self, tasks: Iterable[TaskSpec]) -> None:
        named = [name for task in tasks for item in task.class_list for name in item.names]
        super().__init__({f"a photo of a {name}.": name for name in named})
        self.seen = 0

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        self.seen += len(batch)
        return super().encode_images(batch)


@dataclass(frozen=True)
class Shifts:
    """Where the data and the task files are, and how many test samples each task has."""

    data: Path
    tasks: Path
    counts: dict[str, int]

    def load(self, name: str) -> TaskSpec:
        """Return a task with one template."""
        return evalsuite.load_task(self.tasks / f"{name}.yaml").with_prompt_spec(ONE)


@pytest.fixture(scope="module")
def shifts(tmp_path_factory: pytest.TempPathFactory) -> Shifts:
    """Everything that the group needs, with task files that state no sizes."""
    root = tmp_path_factory.mktemp("shifts")
    counts, tasks = write_shifts(root / "data"), root / "tasks"
    shutil.copytree(data_dir("tasks"), tasks, ignore=shutil.ignore_patterns("__pycache__"))
    for name in [*WRITERS, "imagenet", "cifar10", "cifar100"]:
        content = read_yaml(tasks / f"{name}.yaml")[0]
        del content["sizes"]
        write_task(tasks / f"{name}.yaml", content)
    return Shifts(root / "data", tasks, counts)


def run(
    shifts: Shifts, stores: Path, tasks: Sequence[TaskSpec], oracle: Oracle, protocol: str, **options: Any
) -> list[Result]:
    """Evaluate the oracle."""
    where: dict[str, Any] = {"output": stores / "out", "cache_dir": stores / "cache", "data_root": shifts.data}
    where |= {"trust_adapters": True, "offline": True, "device": "cpu", **options}
    return list(evalsuite.evaluate(oracle, tasks, protocol, **where))


def value(result: Result) -> float:
    """Return the number of a result."""
    assert result.metric is not None, result.error
    return result.metric.value


def test_the_group_has_these_tasks_and_none_of_the_27() -> None:
    groups = TaskIndex().groups
    assert groups["shift"] == list(WRITERS) and not set(groups["shift"]) & set(groups["all"])


@pytest.mark.parametrize("name", WRITERS)
def test_an_oracle_is_right(shifts: Shifts, tmp_path: Path, name: str) -> None:
    task = shifts.load(name)
    (result,) = run(shifts, tmp_path, [task], Counting([task]), "zero_shot")
    assert value(result) == 1.0 and result.metric is not None and result.metric.n == shifts.counts[name]


def renamed(content: dict[str, Any], keys: list[str]) -> None:
    """Give each class the name of the next one."""
    shown = list(names(content["prompts"]).values())
    content["classes"] = [{"key": key, "names": [name]} for key, name in zip(keys, shown[1:] + shown[:1], strict=True)]


def by_text(content: dict[str, Any], keys: list[str]) -> None:
    """Take the folders 0, 1, 10, 100 ... for the classes in this order."""
    order = sorted(range(len(keys)), key=str)
    for source in content["sources"]:
        source["labels"] = {"by_index": [keys[order.index(number)] for number in range(len(keys))]}


def by_order(order: Callable[[list[str]], list[str]]) -> Callable[[dict[str, Any], list[str]], None]:
    """Return what takes labels for those of classes in another order."""

    def change(content: dict[str, Any], keys: list[str]) -> None:
        content["sources"][0]["labels"] = {"by_index": order(keys)}

    return change


def all_classes(content: dict[str, Any], keys: list[str]) -> None:
    """Let all 1,000 classes compete."""
    del content["subset"]


MUTATIONS: dict[str, tuple[Callable[[dict[str, Any], list[str]], None], float]] = {
    "imagenet_v2": (by_text, 1 / 6),
    "imagenet_r": (all_classes, 2 / 3),
    "imagenet_a": (all_classes, 2 / 3),
    "imagenet_sketch": (renamed, 0.0),
    "objectnet": (renamed, 0.0),
    "imagenet_real": (by_order(lambda keys: keys[::-1]), 0.0),
    "cifair10": (by_order(lambda keys: keys[::-1]), 0.0),
    "cifair100": (by_order(lambda keys: keys[1:] + keys[:1]), 0.0),
    "cifar10_1": (by_order(lambda keys: keys[5:] + keys[:5]), 0.0),
}
"""Task -> what is wrong with its file, and the value that is left."""


def broken(shifts: Shifts, folder: Path, name: str, change: Callable[[dict[str, Any], list[str]], None]) -> TaskSpec:
    """Return a task whose file was changed."""
    shutil.copytree(shifts.tasks, folder)
    path = folder / f"{name}.yaml"
    content = read_yaml(path)[0]
    change(content, evalsuite.load_task(path).class_keys)
    write_task(path, content)
    return evalsuite.load_task(path).with_prompt_spec(ONE)


@pytest.mark.parametrize("name", MUTATIONS)
def test_another_order_or_subset_is_seen(shifts: Shifts, tmp_path: Path, name: str) -> None:
    change, left = MUTATIONS[name]
    task = broken(shifts, tmp_path / "tasks", name, change)
    (result,) = run(shifts, tmp_path, [task], Counting([task]), "zero_shot")
    assert value(result) == pytest.approx(left)


def test_any_label_of_an_image_is_right_and_one_without_is_left_out(shifts: Shifts) -> None:
    data = open_task(shifts.load("imagenet_real"), DataPlace(shifts.data, offline=True))
    images = open_task(shifts.load("imagenet"), DataPlace(shifts.data, offline=True)).open_pool("test")
    pool = data.open_pool("test")
    assert set(images.ids) - set(pool.ids) == {f"{BASE[1]}/ILSVRC2012_val_00000002.JPEG"}
    several = pool.labels[pool.ids.index(f"{BASE[0]}/ILSVRC2012_val_00000001.JPEG")]
    assert np.flatnonzero(several).tolist() == [1, 999]
    assert pool.fingerprint == images.fingerprint and data.resolved["images_of"] == {"test": "imagenet/test"}
    row, other = (opened.ids.index(f"{BASE[2]}/ILSVRC2012_val_00000003.JPEG") for opened in (pool, images))
    assert pool.content(row) == pool.encoded(row) == images.content(other)
    assert np.array_equal(pool.read(row).image, images.read(other).image)


@pytest.mark.parametrize("first", [0, 2])
def test_labels_that_do_not_fit_the_numbers_of_images_are_refused(shifts: Shifts, tmp_path: Path, first: int) -> None:
    def change(content: dict[str, Any], keys: list[str]) -> None:
        content["sources"][0]["first"] = first

    task = broken(shifts, tmp_path / "tasks", "imagenet_real", change)
    with pytest.raises(DataError, match="has labels for 12 images, and none for"):
        open_task(task, DataPlace(shifts.data, offline=True)).open_pool("test")


def test_images_of_another_task_are_encoded_once(shifts: Shifts, tmp_path: Path) -> None:
    tasks = [shifts.load(name) for name in ("imagenet", "imagenet_v2", "imagenet_real", "imagenet_a", "objectnet")]
    oracle = Counting(tasks)
    results = run(shifts, tmp_path, tasks, oracle, "linear_probe")
    assert [value(result) for result in results[:3]] == [1.0, 1.0, 1.0]
    own = 2 * IMAGES * len(BASE)  # to train and to test
    assert oracle.seen == own + sum(shifts.counts[name] for name in ("imagenet_v2", "imagenet_a", "objectnet"))
    trained = {result.task: result.data.sizes["train"] for result in results if result.data}
    assert trained["imagenet_v2"] == IMAGES * len(BASE) - len(BASE)  # one of each class is held out
    assert trained["imagenet_a"] == 4 and trained["objectnet"] == 3 + 1  # both kinds of clocks are alarm clocks
    assert value(results[4]) == 1.0
    # What another task has encoded serves a task that comes later, too.
    (again,) = run(shifts, tmp_path, [shifts.load("imagenet_sketch")], oracle, "linear_probe")
    assert value(again) == 1.0 and again.timings.images_encoded == shifts.counts["imagenet_sketch"]


def test_probes_of_cifar_are_trained_on_its_images(shifts: Shifts, tmp_path: Path, no_checksums: None) -> None:
    tasks = [shifts.load(name) for name in ("cifair10", "cifar10_1", "cifar10")]
    oracle = Counting(tasks)
    results = run(shifts, tmp_path, tasks, oracle, "linear_probe")
    assert [value(result) for result in results] == [1.0, 1.0, 1.0]
    assert oracle.seen == sum(result.timings.images_encoded for result in results) == 40 + 20 + 10 + 20


def test_without_the_images_to_train_on_zero_shot_runs(shifts: Shifts, tmp_path: Path) -> None:
    shutil.copytree(shifts.data / "imagenet-a", tmp_path / "imagenet-a")
    only = Shifts(tmp_path, shifts.tasks, shifts.counts)
    task = shifts.load("imagenet_a")
    oracle = Counting([task])
    assert value(run(only, tmp_path, [task], oracle, "zero_shot")[0]) == 1.0
    (failed,) = run(only, tmp_path, [task], oracle, "linear_probe")
    assert failed.error is not None and failed.error.kind == "DataMissingError"
    assert "The task 'imagenet_a' uses images of 'imagenet'." in failed.error.message


def test_the_border_of_objectnet_is_cut_off(shifts: Shifts) -> None:
    pool = open_task(shifts.load("objectnet"), DataPlace(shifts.data, offline=True)).open_pool("test")
    sample = pool.read(0)
    assert sample.image.size == (36, 36) and sample.image.getpixel((0, 0)) != (255, 0, 0)
    assert (
        pool.encoded(0) is None and pool.content(0) == (shifts.data / "objectnet-1.0/images" / pool.ids[0]).read_bytes()
    )


class _Runs:
    """Something that is called when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, ("1 / 0",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"data": _Runs(), "labels": []}), "builtins.eval, which is not read"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, protocol=2), "and n `labels`"),
        (b"nothing", "cannot be read"),
    ],
)
def test_a_file_that_is_none_of_cifair_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "ciFAIR-10").mkdir()
    (tmp_path / "ciFAIR-10" / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_task(evalsuite.load_task("cifair10"), DataPlace(tmp_path, offline=True), test_only=True).open_pool("test")


def _borrowing(borrows: str) -> str:
    return (
        "title: T\nclasses: [lemon, fig]\nprompts: {templates: ['{}']}\n"
        f"borrows: {{train: {borrows}}}\nsources: [{{kind: folder, path: ., pools: {{test: test}}}}]\n"
    )


@pytest.mark.parametrize(
    ("borrows", "message"),
    [
        ("{task: imagnet, pool: train}", "no task 'imagnet' to borrow from"),
        ("{task: imagenet, pool: train}", "these are no classes: .*fig"),
        ("{task: imagenet, pool: train, classes: {lemon: [n07749582]}}", "these have none there: fig"),
        ("{task: imagenet, pool: train, classes: {lemon: [n07749582], fig: [n07749582]}}", "stands for two classes"),
        ("{task: imagenet_v2, pool: train}", "which borrows it itself"),
    ],
)
def test_what_cannot_be_borrowed(shifts: Shifts, tmp_path: Path, borrows: str, message: str) -> None:
    (tmp_path / "t.yaml").write_text(_borrowing(borrows))
    (tmp_path / "test" / "lemon").mkdir(parents=True)
    shutil.copy(next((shifts.data / "imagenet" / "val" / BASE[5]).iterdir()), tmp_path / "test" / "lemon")
    task = evalsuite.load_task(tmp_path / "t.yaml")
    with pytest.raises(SpecError, match=message):
        open_task(task, DataPlace(shifts.data, offline=True)).open_pool("train")


def test_a_subset_of_unknown_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(
        "title: T\nprompts: imagenet\nsubset: [n07749582, n0]\n"
        "sources: [{kind: folder, path: ., pools: {train: a, test: b}}]\n"
    )
    with pytest.raises(SpecError, match="`subset` names 'n0'"):
        evalsuite.load_task(tmp_path / "t.yaml")


def test_of_several_right_labels_the_predicted_one_is_logged(shifts: Shifts, tmp_path: Path) -> None:
    task = shifts.load("imagenet_real")
    run(shifts, tmp_path, [task], Counting([task]), "zero_shot", log_samples=True)
    (path,) = (tmp_path / "out").rglob("*.samples.parquet")
    rows = pd.read_parquet(path)
    assert (rows["label"] == rows["prediction"]).all() and len(rows) == shifts.counts["imagenet_real"]


def test_a_search_takes_what_another_task_has_stored_of_the_same_images(shifts: Shifts, tmp_path: Path) -> None:
    tasks = [shifts.load(name) for name in ("imagenet", "imagenet_real")]
    oracle = Counting(tasks)
    run(shifts, tmp_path, tasks[:1], oracle, "zero_shot")
    seen, options = oracle.seen, RunOptions(device="cpu")
    place = DataPlace(shifts.data, tmp_path / "cache", offline=True)
    session = open_model(oracle, options, place, print)
    within = collection(session, tasks[1], options, place, Reporter())
    assert oracle.seen == seen and len(within.encoded.rows) == shifts.counts["imagenet_real"]
    (name,) = (item.names[0] for item in tasks[0].class_list if item.key == BASE[0])
    words = f"a photo of a {name}."
    found = search(session, words, within, 1, options, Reporter())
    assert found.hits[0].image.startswith(BASE[0]) and found.hits[0].label == ""


@pytest.mark.parametrize("protocol", ["linear_probe", "knn", "prototype", "few_shot", "zero_shot"])
def test_every_protocol_takes_any_right_label_for_right(shifts: Shifts, tmp_path: Path, protocol: str) -> None:
    task = shifts.load("imagenet_real")
    few = {"knn_k": (2,), "few_shot_images": (1,), "few_shot_seeds": 1}
    (result,) = run(
        shifts, tmp_path, [task], Counting([task]), protocol, calibrate=True, log_samples=True,
        **{name: value for name, value in few.items() if name.startswith(protocol)},
    )  # fmt: skip
    assert value(result) == 1.0 and result.metric is not None and result.metric.n == shifts.counts["imagenet_real"]
    assert "calibration" not in result.details  # of which label would it be?
