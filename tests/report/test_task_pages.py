"""The pages of the datasets: written from the task files, and not older than they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from evalsuite.report.task_page import index_page, task_page
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


def test_names_end_no_row_and_are_no_html(tmp_path: Path) -> None:
    bad = "a|b <script>x</script>\nend\x1b[2J http://me:secret@example.org/"
    files = [{"url": "http://me:secret@example.org/a.zip", "unpack": True}]
    pools = {"train": "train", "test": "test"}
    task = {
        "title": bad, "licence": bad, "homepage": bad, "citation": bad, "notes": bad, "tags": [bad],
        "classes": [{"key": "a", "names": [bad]}, {"key": "b", "names": ["b"]}],
        "prompts": {"templates": [f"{bad} {{}}"], "source": bad}, "split_fidelity": {"level": "exact", "why": bad},
        "sources": [{"kind": "folder", "path": ".", "pools": pools, "note": bad, "files": files}],
    }  # fmt: skip
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(task))
    page = task_page(TaskIndex().load(str(tmp_path / "bad.yaml")))
    assert "secret" not in page and "\x1b" not in page and not re.search(r"(?<!\\)</?script", page)
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 10 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert "<http://***@example.org/a.zip>" in page
