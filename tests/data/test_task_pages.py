"""The pages of the datasets: written from the task files, and not older than they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalsuite.data.task_page import index_page, task_page
from evalsuite.tasks import TaskIndex

PAGES = Path(__file__).resolve().parents[2] / "docs" / "datasets"


@pytest.mark.parametrize("name", sorted(TaskIndex().files))
def test_published_pages_are_those_of_the_task_files(name: str) -> None:
    """If this fails, type `make docs`."""
    assert (PAGES / f"{name}.md").read_text("utf-8") == task_page(TaskIndex().load(name))


def test_the_index_has_every_task_and_nothing_else() -> None:
    tasks = TaskIndex().select(["*"])
    assert (PAGES / "README.md").read_text("utf-8") == index_page(tasks)
    assert {path.stem for path in PAGES.glob("*.md")} == {task.name for task in tasks} | {"README"}


def test_a_page_says_what_a_reader_needs() -> None:
    page = task_page(TaskIndex().load("kitti_distance"))
    for part in (
        "`kitti_distance`",
        "exact: The split by video",
        "train 6,347, val 423, test 711",
        "CC BY-NC-SA 3.0",
        "data_object_image_2.zip>, no checksum is published",
        "[kitti_distance.py](../../tasks/kitti_distance.py)",
        "a photo i took with no car",
        "evalsuite download kitti_distance",
        "wrong order",
    ):
        assert part in page
    by_hand = task_page(TaskIndex().load("fer2013"))
    assert "cannot be downloaded" in by_hand and "Kaggle" in by_hand
