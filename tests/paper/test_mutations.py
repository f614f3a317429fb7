"""What the tiny datasets can catch: task files with another order of classes, another split or another frame."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import evalsuite
from evalsuite.data import decoding
from evalsuite.errors import DataError
from evalsuite.tasks.spec import TaskClass
from evalsuite.tasks.yaml_files import read_yaml
from tests.paper.conftest import Tree
from tests.paper.folders import SUN
from tests.paper.oracle import oracle_for
from tests.paper.tree import write_task

Change = Callable[[dict[str, Any], Sequence[TaskClass]], None]
"""Breaks the content of a task file, given its classes."""

Score = Callable[..., float]


@pytest.fixture
def score(tree: Tree, tmp_path: Path, no_checksums: None) -> Score:
    """Return the zero-shot value of the oracle on a task whose file was changed; sizes are not checked."""

    def run(name: str, change: Change | None = None) -> float:
        folder = tmp_path / "tasks"
        shutil.copytree(tree.tasks, folder)
        path = folder / f"{name}.yaml"
        if change is not None:
            content = read_yaml(path)[0]
            del content["sizes"]
            change(content, evalsuite.load_task(path).class_list)
            write_task(path, content)
        task = evalsuite.load_task(path)
        stores: dict[str, Any] = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
        options: dict[str, Any] = {"data_root": tree.data, "trust_adapters": True, "offline": True, "device": "cpu"}
        (result,) = evalsuite.evaluate(oracle_for(task), task, "zero_shot", **stores, **options)
        if result.error is not None:
            raise DataError(result.error.message)
        assert result.metric is not None
        value: float = result.metric.value
        return value

    return run


def keys_in_order(order: Callable[[str], Any]) -> Change:
    """Give the names, in the order of the file, to the keys in another one."""

    def change(content: dict[str, Any], classes: Sequence[TaskClass]) -> None:
        keys = sorted((item.key for item in classes), key=order)
        content["classes"] = [{"key": key, "names": item.names} for key, item in zip(keys, classes, strict=True)]

    return change


def names_in_order(content: dict[str, Any], classes: Sequence[TaskClass]) -> None:
    """Give the names, in alphabetical order, to the keys in the order of the file."""
    names = sorted(item.names for item in classes)
    content["classes"] = [{"key": item.key, "names": name} for item, name in zip(classes, names, strict=True)]


def labels(make: Callable[[list[str]], Any]) -> Change:
    """Replace the label map of every source by one made from the class keys."""

    def change(content: dict[str, Any], classes: Sequence[TaskClass]) -> None:
        for source in content["sources"]:
            source["labels"] = make([item.key for item in classes])

    return change


def codes(**changed: str) -> Callable[[list[str]], Any]:
    """Return a label map where each key stands for itself, but for some."""
    return lambda keys: {"by_code": {key: key for key in keys} | changed}


def class_names_of_sun(keys: list[str]) -> Any:
    """Take the order of ClassName.txt for that of the prompts."""
    plain = {folder[2:].replace("/", "_"): folder[2:] for folder in SUN}
    ours = [key for key in keys if key in plain]
    return {"by_code": {key: key for key in keys} | dict(zip(plain.values(), ours, strict=True))}


def in_test_pool(**changed: Any) -> Change:
    """Replace a part of the pool `test` of every source."""

    def change(content: dict[str, Any], classes: Sequence[TaskClass]) -> None:
        for source in content["sources"]:
            if isinstance(source["pools"]["test"], dict):
                source["pools"]["test"] = {**source["pools"]["test"], **changed}

    return change


def other_memes(content: dict[str, Any], classes: Sequence[TaskClass]) -> None:
    """Take the other dev set."""
    content["sources"][0]["pools"]["test"] = "dev_unseen.jsonl"


def other_partition(content: dict[str, Any], classes: Sequence[TaskClass]) -> None:
    """Take the test list of the second partition of SUN397."""
    content["sources"][0]["lists"]["test"]["file"] = "Partitions/Testing_02.txt"


FER2013_FOLDERS = dict(enumerate(["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]))

MISSILES = codes(n03773504="n04008634", n04008634="n03773504")
"""Images of the first of two classes with one name, counted as the second: the first wins the tie."""

ORDERS: dict[str, tuple[str, Change, float | None]] = {
    "caltech without regard to case": ("caltech101", keys_in_order(str.lower), None),
    "sun in the order of ClassName.txt": ("sun397", labels(class_names_of_sun), 5 / 7),
    "voc alphabetical": ("voc2007", keys_in_order(str), None),
    "eurosat alphabetical": ("eurosat", keys_in_order(str), None),
    "clevr by number": ("clevr_counts", keys_in_order(int), 0.0),
    "fer in the order of folders": ("fer2013", labels(lambda keys: {"by_code": FER2013_FOLDERS}), 4 / 7),
    "kitti in the order of folders": ("kitti_distance", labels(lambda keys: {"by_index": keys[2::-1] + keys[3:]}), 0.5),
    "imagenet alphabetical": ("imagenet", names_in_order, 0.0),
    "imagenet with the last class of a name": ("imagenet", labels(MISSILES), 6 / 7),
}
"""What is wrong -> task, change, and the value where it follows from the number of classes that are wrong."""

REFUSED: dict[str, tuple[str, Change]] = {
    "pets in the order of the prompts": ("oxford_pets", labels(lambda keys: {"by_index": "classes"})),
    "flowers counted from 1": ("flowers102", labels(lambda keys: {"by_index": keys[-1:] + keys[:-1]})),
    "flowers alphabetical": ("flowers102", labels(lambda keys: {"by_index": sorted(keys)})),
}
"""The same where torchvision's dataset has the names of its classes."""

SPLITS: dict[str, tuple[str, Change, float]] = {
    "dtd partition 2": ("dtd", in_test_pool(partition=2), 0.0),
    "fer public test": ("fer2013", in_test_pool(where={"Usage": "PublicTest"}), 13 / 14),
    "memes dev_unseen": ("hateful_memes", other_memes, 0.0),
    "sun partition 2": ("sun397", other_partition, 0.0),
}


@pytest.mark.parametrize("what", ORDERS)
def test_another_order_of_classes_is_seen(score: Score, what: str) -> None:
    name, change, expected = ORDERS[what]
    value = score(name, change)
    assert value < 1.0
    if expected is not None:
        assert value == pytest.approx(expected)


@pytest.mark.parametrize("what", REFUSED)
def test_another_order_than_that_of_the_names_in_the_data_is_refused(score: Score, what: str) -> None:
    with pytest.raises(DataError, match="The order is not that of the data"):
        score(*REFUSED[what])


@pytest.mark.parametrize("what", SPLITS)
def test_another_split_is_seen(score: Score, what: str) -> None:
    name, change, expected = SPLITS[what]
    assert score(name, change) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["ucf101", "kinetics700"])
def test_another_frame_is_seen(score: Score, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    frames = decoding._frames
    monkeypatch.setattr(decoding, "_frames", lambda *arguments: islice(frames(*arguments), 2, None))
    assert score(name) < 0.5
