"""What every kind of source does by itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from evalsuite.data import DataState, RawPool, raw_pool_from_arrays
from evalsuite.data.place import DataPlace
from evalsuite.data.sources import sources_of
from evalsuite.data.sources.base import Source
from evalsuite.tasks.sources import SOURCE_KINDS, SourceSpec
from evalsuite.tasks.spec import TaskSpec


class GreySpec(SourceSpec):
    kind: Literal["grey"] = "grey"
    pools: dict[str, int]
    side: int = 4


class GreySource(Source[GreySpec]):
    """Images of one grey value."""

    def look(self) -> DataState:
        return DataState("ready")

    def open(self, pool: str) -> RawPool:
        value = self.spec.pools[pool]
        return raw_pool_from_arrays([np.full((self.spec.side, self.spec.side), value, np.uint8)], ["cat"])


def test_images_count_as_others_when_a_key_of_the_kind_changes(make_task: Callable[..., TaskSpec]) -> None:
    task = make_task({"kind": "folder", "path": "x", "pools": {"train": "t", "test": "u"}})

    def options(**keys: Any) -> dict[str, Any]:
        spec = GreySpec.model_validate({"pools": {"train": 7, "test": 8}, **keys})
        return GreySource(spec, task, DataPlace()).image_options("train")

    assert options() == options(labels={"by_index": "classes"}, note="Grey.", pools={"train": 7, "test": 9})
    assert options() != options(side=5)
    assert options() != options(pools={"train": 9, "test": 8})


def test_what_a_source_needs_must_be_there(make_task: Callable[..., TaskSpec], tmp_path: Path) -> None:
    task = make_task({"kind": "folder", "path": "x", "pools": {"train": "t", "test": "u"}})
    source = GreySource(GreySpec(pools={"train": 7}, path="grey", needs=["list.txt"]), task, DataPlace(tmp_path))
    assert (source.state().state, str(tmp_path / "grey" / "list.txt") in source.state().missing) == ("partial", True)
    (tmp_path / "grey").mkdir()
    (tmp_path / "grey" / "list.txt").touch()
    assert source.state() == DataState("ready")
    assert not source.can_be_fetched and source.title == "grey grey"


USUAL: dict[str, dict[str, Any]] = {
    "torchvision": {"dataset": "MNIST", "path": "MNIST", "pools": {"test": {"train": False}}},
    "huggingface": {"path": "p", "pools": {"test": "test"}},
    "webdataset": {"path": "p", "pools": {"test": "test-*.tar"}},
    "folder": {"path": "p", "pools": {"test": "test"}, "extensions": [".png", ".avi"]},
    "table": {"path": "p", "pools": {"test": "a.csv"}, "pixels": "values", "shape": [2, 2]},
}
"""The kinds that say themselves which of their keys decide the images of a pool."""

DECIDING: dict[str, dict[str, list[Any]]] = {
    "torchvision": {"dataset": ["FashionMNIST"], "pools": [{"test": {"train": True}}]},
    "huggingface": {"config": ["c"], "image": ["img"], "pools": [{"test": "validation"}, {"test": "test+validation"}]},
    "webdataset": {"image": [["png"]]},
    "folder": {
        "extensions": [[".png"], [".png", ".avi", ".jpg"]], "names": [{"test": "x*"}], "frame": ["middle"],
        "border": [2],
    },
    "table": {
        "pools": [{"test": "b.csv"}, {"test": {"file": "a.csv", "where": {"Usage": "x"}}}],
        "images": ["img"], "pixels": ["other", None], "shape": [[1, 4]],
    },
}  # fmt: skip
"""Key -> values each of which makes other images of the pool `test`."""

SAME: dict[str, dict[str, Any]] = {
    "torchvision": {"path": "other", "root": "other", "group": "(.)", "pools": {"test": {"train": False}, "train": {}}},
    "huggingface": {
        "repo": "a/b", "revision": "v2", "path": "other", "label": "fine", "group": "g",
        "pools": {"test": "test", "train": "train"},
    },
    "webdataset": {
        "repo": "a/b", "revision": "v2", "path": "other", "label": "txt", "url": "https://a.b/",
        "pools": {"test": "*.tar"},
    },
    "folder": {
        "path": "other", "pools": {"test": "other"}, "label": "(.)", "group": "(.)", "names": {"train": "x*"},
        "extensions": [".avi", ".png"],
    },
    "table": {
        "path": "other", "image": "img", "label": "fine", "separator": ";", "group": "g", "every_image": True,
        "pools": {"test": "a.csv", "train": "b.csv"},
    },
}  # fmt: skip
"""Key -> a value that leaves the images of the pool `test` as they are: what they hold is in their own digest."""


@pytest.mark.parametrize("kind", USUAL)
def test_each_key_of_a_kind_decides_images_or_does_not(kind: str, make_task: Callable[..., TaskSpec]) -> None:
    def options(**keys: Any) -> Any:
        task = make_task({"kind": kind, **USUAL[kind], **keys})
        (source,) = sources_of(task, DataPlace())
        return source.image_options("test")

    own = SOURCE_KINDS.get(kind).model_fields.keys() - SourceSpec.model_fields.keys()
    own |= {"path", "pools"} & SOURCE_KINDS.get(kind).model_fields.keys()
    assert own - {"kind"} == DECIDING[kind].keys() | SAME[kind].keys()
    seen = [options()]
    for key, values in DECIDING[kind].items():
        for value in values:
            assert options(**{key: value}) not in seen, key
            seen.append(options(**{key: value}))
    for key, value in SAME[kind].items():
        assert options(**{key: value}) == seen[0], key


def test_the_column_of_paths_decides_where_images_are_files(make_task: Callable[..., TaskSpec]) -> None:
    def options(**keys: Any) -> Any:
        spec = {"kind": "table", "path": "p", "pools": {"test": "a.csv"}, **keys}
        return sources_of(make_task(spec), DataPlace())[0].image_options("test")

    assert options() == options(image="image") != options(image="img")


def test_every_kind_that_speaks_for_itself_is_tested() -> None:
    opened = {name: SOURCE_KINDS.get(name).opened_by.partition(":") for name in SOURCE_KINDS}
    kinds = {name: getattr(importlib.import_module(module), kind) for name, (module, _, kind) in opened.items()}
    assert {name for name, kind in kinds.items() if "image_options" in vars(kind)} == {
        *USUAL,
        "python",
    }  # code, hashed as a whole
