"""The shipped task files on tiny copies of the 27 datasets: a model that reads the pictures is right everywhere.

Each writer knows from the dataset's own documentation which raw label has which name in the prompts, and draws that
name; the task files must come to the same. Pictures that no split may read show another class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evalsuite
from evalsuite.resources import data_dir
from evalsuite.tasks import TaskIndex
from evalsuite.tasks.yaml_files import read_yaml
from tests.paper.conftest import Tree
from tests.paper.oracle import oracle_for
from tests.paper.tree import WRITERS


def test_the_tree_has_the_tasks_of_the_paper(tree: Tree) -> None:
    index = TaskIndex()
    assert list(WRITERS) == index.groups["paper27"] == index.groups["all"]
    assert not index.without_file(["all"])
    assert sorted(tree.tasks.glob("*.yaml")) == sorted(tree.tasks / f"{name}.yaml" for name in WRITERS)


@pytest.mark.parametrize("name", WRITERS)
def test_the_copied_task_files_are_the_shipped_ones_but_for_their_numbers(tree: Tree, name: str) -> None:
    shipped, copied = (read_yaml(folder / f"{name}.yaml")[0] for folder in (data_dir("tasks"), tree.tasks))
    written = tree.written[name]
    changed = {key for key in shipped | copied if shipped.get(key) != copied.get(key)}
    assert changed <= {"sizes"} | ({"splits"} if written.splits else set()) | set(written.further)
    # Numbers may differ, but not what they are numbers of.
    assert set(copied["sizes"]) == set(shipped["sizes"]) - {"exact"}
    if written.splits:
        assert set(copied["splits"]) | {"seed"} == set(shipped["splits"]) | {"seed"}
        for key in ("rule", "pool", "seed"):
            assert copied["splits"].get(key, 0) == shipped["splits"].get(key, 0)


@pytest.mark.usefixtures("no_checksums")
@pytest.mark.parametrize("name", WRITERS)
def test_an_oracle_is_right_in_both_protocols(tree: Tree, tmp_path: Path, name: str) -> None:
    task = evalsuite.load_task(tree.tasks / f"{name}.yaml")
    zero_shot, probe = evalsuite.evaluate(
        oracle_for(task),
        task,
        data_root=tree.data,
        output=tmp_path / "out",
        cache_dir=tmp_path / "cache",
        trust_adapters=True,
        offline=True,
        device="cpu",
    )
    assert [zero_shot.status, probe.status] == ["ok", "ok"], [zero_shot.error, probe.error]
    assert zero_shot.metric is not None and probe.metric is not None
    assert zero_shot.metric.value == 1.0
    assert probe.metric.value >= 0.99
    assert zero_shot.metric.name == probe.metric.name == task.metric
    check_sizes(tree.written[name].sizes, probe.data)


def check_sizes(written: Any, data: Any) -> None:
    """Compare the samples that a probe used with those that were written.

    Where there is no official validation split, a part of train was held out. Unreadable samples are not used.
    """
    used = {split: np.atleast_1d(count) for split, count in data.sizes.items()}
    unreadable = {pool: len(ids) for pool, ids in data.unreadable.items()}
    assert set(unreadable) <= {"train"}
    if "val" not in written:
        assert (used["val"] > 0).all()
        used["train"] = used["train"] + used.pop("val")
    used["train"] = used["train"] + unreadable.get("train", 0)
    assert set(used) == set(written)
    for split, count in used.items():
        expected = np.atleast_1d(written[split])
        assert np.broadcast_to(count, expected.shape).tolist() == expected.tolist(), split


@pytest.mark.usefixtures("no_checksums")
def test_a_video_that_failed_to_download_is_named_in_the_result(tree: Tree, tmp_path: Path) -> None:
    task = evalsuite.load_task(tree.tasks / "kinetics700.yaml")
    stores: dict[str, Any] = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    (probe,) = evalsuite.evaluate(oracle_for(task), task, "linear_probe", data_root=tree.data, **stores)
    assert probe.data is not None
    assert probe.data.unreadable == {"train": ["zumba/EmptyVideo0_000010_000020.mp4"]}
