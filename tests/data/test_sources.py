"""What every kind of source does by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evalsuite.data import DataState, RawPool, raw_pool_from_arrays
from evalsuite.data.place import DataPlace
from evalsuite.data.sources.base import Source
from evalsuite.tasks.sources import SourceSpec
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
