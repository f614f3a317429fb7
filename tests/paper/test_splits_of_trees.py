"""The splits of the shipped task files where the data is not as it was published."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import evalsuite
from evalsuite.data import open_task
from evalsuite.data.base import TaskData
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataMissingError
from tests.paper.conftest import Tree


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
