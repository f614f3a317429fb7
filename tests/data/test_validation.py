"""What `validate` says of data that is known to have holes."""

from __future__ import annotations

import pytest

from evalsuite.data import open_task
from evalsuite.data.place import DataPlace
from evalsuite.data.validation import check_data

SOURCE = {"kind": "folder", "path": "pets", "pools": {"train": "train", "test": "test"}}


@pytest.fixture
def root(tmp_path, encode):
    """Three cats and three dogs a pool."""
    for pool in ("train", "test"):
        for number, name in enumerate(f"{key}/{index}.png" for key in ("cat", "dog") for index in range(3)):
            path = tmp_path / "pets" / pool / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(number))
    return tmp_path


def checks(task, root):
    return {check.name: (check.state, check.text) for check in check_data(open_task(task, DataPlace(root)))}


def test_one_image_of_each_class_decodes(root, make_task):
    found = checks(make_task(SOURCE), root)
    assert found["train images"] == ("ok", "2 decoded, one of each class")
    (root / "pets/train/dog/0.png").write_bytes(b"")
    state, text = checks(make_task(SOURCE), root)["train images"]
    assert state == "failed" and "dog/0.png" in text


def test_images_that_may_be_unreadable_are_counted_and_the_next_one_is_tried(root, make_task):
    (root / "pets/train/dog/0.png").write_bytes(b"")
    (root / "pets/train/dog/1.png").write_bytes(b"")
    state, text = checks(make_task(SOURCE, max_unreadable=2), root)["train images"]
    assert state == "ok"
    assert text.startswith("2 decoded, one of each class; 2 could not be read, of 2 that are allowed: ")
    assert checks(make_task(SOURCE, max_unreadable=1), root)["train images"][0] == "failed"


def test_a_class_without_samples_fails_unless_the_sizes_are_not_exact(root, make_task):
    for path in (root / "pets/test/dog").iterdir():
        path.unlink()
    assert checks(make_task(SOURCE), root)["test labels"] == ("failed", "no sample of 1 class: dog")
    state, text = checks(make_task(SOURCE, sizes={"test": 6, "exact": False}), root)["test labels"]
    assert state == "ok" and "no sample of 1 class: dog" in text


def test_sizes_that_are_not_compared_are_not_called_right(root, make_task):
    state, text = checks(make_task(SOURCE, sizes={"train": 50, "test": 6, "exact": False}), root)["sizes"]
    assert state == "skipped" and text.startswith("not compared")
    assert text.endswith("train 6 here, 50 there; test 6 here, 6 there")
    assert checks(make_task(SOURCE, sizes={"train": 6, "test": 6}), root)["sizes"] == ("ok", "as the task file says")
    only_test = checks(make_task(SOURCE, sizes={"test": 6}), root)["sizes"]
    assert only_test == ("ok", "as the task file says, which states none of train")
    assert checks(make_task(SOURCE), root)["sizes"] == ("ok", "the task file states none")
    assert checks(make_task(SOURCE, sizes={"train": 7, "test": 6}), root)["sizes"][0] == "failed"


def test_classes_that_no_decoded_image_shows_are_not_called_shown(root, make_task):
    task = make_task(SOURCE, classes=["cat", "cow", "dog", "pig"], sizes={"test": 6, "exact": False})
    assert checks(task, root)["train images"] == ("ok", "2 decoded, for 2 of 4 classes")
    (root / "pets/train/dog/0.png").write_bytes(b"")
    (root / "pets/train/dog/1.png").write_bytes(b"")
    (root / "pets/train/dog/2.png").write_bytes(b"")
    _, text = checks(make_task(SOURCE, max_unreadable=3), root)["train images"]
    assert text.startswith("1 decoded, for 1 of 2 classes; 3 could not be read")


def test_images_that_are_passed_over_are_told(root, make_task):
    (root / "pets/test/dog/0.png").rename(root / "pets/test/dog/0.JFIF")
    found = checks(make_task(SOURCE), root)
    assert found["pool test"][0] == "skipped" and "(1 x .jfif)" in found["pool test"][1]
    assert "pool train" not in found
