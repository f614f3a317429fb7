"""The splits of the shipped task files where the data is not as it was published, or not all there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evalsuite
from evalsuite.data import open_task
from evalsuite.data.base import TaskData
from evalsuite.data.drawing import hold_out
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataMissingError
from evalsuite.tasks.split_rules import Sizes
from tests.paper.conftest import Tree
from tests.paper.oracle import oracle_for
from tests.paper.saving import save
from tests.paper.tables import FER2013
from tests.paper.traffic import TRACKS
from tests.paper.tree import WRITERS


def opened(tree: Tree, name: str, data: Path, *, test_only: bool = False) -> TaskData:
    """Open the data of a task under a data root."""
    place = DataPlace(data, trust_adapters=True, offline=True)
    return open_task(evalsuite.load_task(tree.tasks / f"{name}.yaml"), place, test_only=test_only)


@pytest.fixture
def birds(tree: Tree, tmp_path: Path) -> Path:
    """A copy of Birdsnap that may be changed; return its data root."""
    shutil.copytree(tree.data / "birdsnap", tmp_path / "birdsnap")
    return tmp_path


def test_birdsnap_under_other_names_is_refused(tree: Tree, birds: Path) -> None:
    for image in (birds / "birdsnap" / "images").glob("*/*.jpg"):
        image.rename(image.with_name(f"photo_{image.name}"))
    with pytest.raises(DataMissingError, match="18 of the 18 samples in the list"):
        opened(tree, "birdsnap", birds).folds()


def test_birdsnap_with_folders_in_another_spelling_has_the_same_splits(tree: Tree, birds: Path) -> None:
    (before,) = opened(tree, "birdsnap", birds).folds()
    for folder in (birds / "birdsnap" / "images").iterdir():
        folder.rename(folder.with_name(folder.name.replace("_", " ").lower()))
    (after,) = opened(tree, "birdsnap", birds).folds()
    assert (len(after.train), len(after.test)) == (len(before.train), len(before.test))


TRAINING_FILES: dict[str, list[str]] = {
    "food101": ["food-101/meta/train.json"],
    "cifar10": ["cifar-10-batches-py/data_batch_*"],
    "cifar100": ["cifar-100-python/train"],
    "sun397": ["SUN397/Partitions/Training_*"],
    "stanford_cars": ["stanford_cars/cars_train", "stanford_cars/devkit/cars_train_annos.mat"],
    "fgvc_aircraft": [f"fgvc-aircraft-2013b/data/images_variant_{name}.txt" for name in ("train", "val", "trainval")],
    "voc2007": [f"VOCdevkit/VOC2007/ImageSets/Main/*_{name}.txt" for name in ("train", "val", "trainval")],
    "dtd": ["dtd/dtd/labels/train*.txt", "dtd/dtd/labels/val*.txt"],
    "oxford_pets": ["oxford-iiit-pet/annotations/trainval.txt"],
    "mnist": ["MNIST/raw/train-*"],
    "stl10": ["stl10_binary/train_*", "stl10_binary/fold_indices.txt"],
    "gtsrb": ["gtsrb/GTSRB/Training"],
    "country211": ["country211/train", "country211/valid"],
    "pcam": ["pcam/*_train_*", "pcam/*_valid_*"],
    "ucf101": ["ucfTrainTestlist/trainlist*"],
    "kinetics700": ["kinetics700/train"],
    "clevr_counts": ["clevr/CLEVR_v1.0/images/train", "clevr/CLEVR_v1.0/scenes/CLEVR_train_scenes.json"],
    "hateful_memes": ["hateful_memes/train.jsonl"],
    "rendered_sst2": ["rendered-sst2/train", "rendered-sst2/valid"],
    "imagenet": ["imagenet/train"],
}
"""Files and folders that are for training alone, apart from single images."""

DRAWN = ("caltech101", "eurosat", "resisc45")
"""Here the images of all splits decide which of them the test split draws."""


def without_training(tree: Tree, name: str, data: Path) -> Path:
    """Copy a dataset without what only training reads; return its data root."""
    shutil.copytree(tree.data / top_folder(tree, name), data / top_folder(tree, name))
    if name == "ucf101":
        shutil.copytree(tree.data / "ucfTrainTestlist", data / "ucfTrainTestlist")
    for path in training_images(tree, name):
        (data / path).unlink(missing_ok=True)
    for pattern in TRAINING_FILES.get(name, []):
        found = list(data.glob(pattern))
        assert found, pattern
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if name == "fer2013":
        table = data / "fer2013" / "icml_face_data.csv"
        lines = table.read_text().splitlines()
        table.write_text("\n".join([lines[0], *(line for line in lines if "PrivateTest" in line)]))
    return data


def top_folder(tree: Tree, name: str) -> str:
    """Return the folder of the source that the tree has."""
    return Path(opened(tree, name, tree.data).task.sources[0].path or name).parts[0]


def training_images(tree: Tree, name: str) -> list[str]:
    """Return the image files that are in a split for training and in no test split, under the data root."""
    data = opened(tree, name, tree.data)
    source = data.task.sources[0]
    files: dict[str, set[str]] = {"test": set(), "train": set()}
    for fold in data.folds():
        for part, split in fold.splits.items():
            pool = data.open_pool(split.pool)
            folder = source.pools[split.pool] if source.kind == "folder" and isinstance(source.pools, dict) else "."
            if pool.mtimes is not None:
                images = {f"{source.path}/{folder}/{pool.ids[row]}" for row in split.rows}
                files["test" if part == "test" else "train"] |= images
    return sorted(files["train"] - files["test"])


@pytest.mark.usefixtures("no_checksums")
@pytest.mark.parametrize("name", WRITERS)
def test_test_data_alone_is_enough_for_zero_shot(tree: Tree, tmp_path: Path, name: str) -> None:
    data = without_training(tree, name, tmp_path / "data")
    task = evalsuite.load_task(tree.tasks / f"{name}.yaml")
    stores: dict[str, Any] = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    options: dict[str, Any] = {"data_root": data, "trust_adapters": True, "offline": True, "device": "cpu"}
    results = evalsuite.evaluate(oracle_for(task), task, **stores, **options)
    probe, zero_shot = sorted(results, key=lambda result: result.protocol)
    assert probe.status == "error"
    if name in DRAWN:
        assert zero_shot.status == "error"  # rather than a score on another test split
    else:
        assert zero_shot.metric is not None, zero_shot.error
        assert zero_shot.metric.value == 1.0
        assert zero_shot.data is not None and np.sum(zero_shot.data.sizes["test"]) == np.sum(
            tree.written[name].sizes["test"]
        )


def test_no_track_of_gtsrb_is_both_trained_on_and_validated(tree: Tree) -> None:
    data = opened(tree, "gtsrb", tree.data)
    (fold,) = data.folds()
    pool = data.open_pool(fold.train.pool)
    fit, held = hold_out(pool.ids, pool.labels, pool.groups)
    tracks = [{pool.ids[row].rsplit("_", 1)[0] for row in rows} for rows in (fit, held)]
    assert len(held) == len(pool) // TRACKS and tracks[0].isdisjoint(tracks[1])
    assert len(set(pool.groups or ())) == TRACKS * 43


USAGES = {"Training": ("train", 3), "PublicTest": ("test", 2), "PrivateTest": ("test", 2)}
"""Beginning of a file's name in the folder copies of FER 2013 -> the folder, and its images per class."""


def test_folders_of_fer2013_have_the_official_split(tree: Tree, tmp_path: Path) -> None:
    folders = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
    shown = dict(zip(["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"], FER2013, strict=True))
    for usage, (folder, count) in USAGES.items():
        for number, key in enumerate(folders * count):
            name = shown[key] if usage != "PublicTest" else "angry"
            save(tmp_path / "fer2013" / folder / key / f"{usage}_{1000 + number}.jpg", name, number, mode="L")
    sizes = dict(zip(("train", "val", "test"), (7 * count for _, count in USAGES.values()), strict=True))
    task = evalsuite.load_task(tree.tasks / "fer2013.yaml").changed(sizes=Sizes(**sizes))
    data = open_task(task, DataPlace(tmp_path, offline=True))
    (fold,) = data.folds()
    assert {name: len(split) for name, split in fold.splits.items()} == sizes
    stores: dict[str, Any] = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    (result,) = evalsuite.evaluate(oracle_for(task), task, "zero_shot", data_root=tmp_path, device="cpu", **stores)
    assert result.metric is not None and result.metric.value == 1.0


def test_ucf101_with_the_other_spelling_of_a_folder(tree: Tree, tmp_path: Path) -> None:
    for folder in ("UCF-101", "ucfTrainTestlist"):
        shutil.copytree(tree.data / folder, tmp_path / folder)
    (tmp_path / "UCF-101/HandstandPushups").rename(tmp_path / "UCF-101/HandStandPushups")
    same, other = (opened(tree, "ucf101", data).folds() for data in (tree.data, tmp_path))
    assert [(len(fold.train), len(fold.test)) for fold in other] == [(len(fold.train), len(fold.test)) for fold in same]


def test_a_result_on_hateful_memes_says_which_edition_it_is_of(tree: Tree, tmp_path: Path) -> None:
    shutil.copytree(tree.data / "hateful_memes", tmp_path / "hateful_memes")
    task = evalsuite.load_task(tree.tasks / "hateful_memes.yaml")
    options: dict[str, Any] = {"data_root": tmp_path, "cache_dir": tmp_path / "cache", "device": "cpu"}
    (second,) = evalsuite.evaluate(oracle_for(task), task, "zero_shot", output=tmp_path / "second", **options)
    (tmp_path / "hateful_memes/dev_seen.jsonl").rename(tmp_path / "hateful_memes/dev.jsonl")
    (first,) = evalsuite.evaluate(oracle_for(task), task, "zero_shot", output=tmp_path / "first", **options)
    assert first.data is not None and second.data is not None
    assert [list(result.data.resolved["files"]["test"]) for result in (first, second)] == [
        ["dev.jsonl"],
        ["dev_seen.jsonl"],
    ]
    assert (first.data.split_fidelity.level, second.data.split_fidelity.level) == ("approximate", "exact")
