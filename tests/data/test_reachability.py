"""What `validate` says of sources, and of labels and names."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalsuite.data.base import Fold, Pool, Split, TaskData
from evalsuite.data.download import prober
from evalsuite.data.download.hub import Repository
from evalsuite.data.download.prober import Prober
from evalsuite.data.place import DataPlace
from evalsuite.data.validation import check_data, check_definition, check_sources
from evalsuite.errors import DataError
from evalsuite.tasks.spec import TaskSpec
from tests.file_server import FileServer

MakeTask = Callable[..., TaskSpec]


@pytest.fixture
def server(server: FileServer) -> FileServer:
    server.files["f.zip"] = bytes(1000)
    return server


def source(path: str, *urls: str) -> dict[str, Any]:
    files = [{"url": url, "unpack": True, "makes": [path]} for url in urls]
    return {"kind": "folder", "path": path, "pools": {"train": "train", "test": "test"}, "files": files}


def checked(task: TaskSpec, root: Path, offline: bool = False) -> list[tuple[str, str]]:
    place = DataPlace(root, offline=offline)
    return [(check.state, check.text) for check in check_sources(task, place, Prober())]


def test_a_file_is_asked_for_and_not_fetched(server: FileServer) -> None:
    answer = Prober().ask_url(server.url("f.zip"))
    assert (answer.state, answer.size) == ("reachable", 1000)
    assert [request.method for request in server.requests] == ["HEAD"]


@pytest.mark.parametrize("refusal", ["no-head", 403, 404, 501])
def test_where_head_is_refused_one_byte_is_asked_for(server: FileServer, refusal: Any) -> None:
    server.faults["f.zip"] = [refusal]
    answer = Prober().ask_url(server.url("f.zip"))
    assert (answer.state, answer.size) == ("reachable", 1000)
    assert [(request.method, request.range) for request in server.requests] == [("HEAD", ""), ("GET", "bytes=0-0")]


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (404, "failed", "is dead (404"),
        (410, "failed", "is dead (410"),
        (401, "skipped", "asks for a login (401"),
        (403, "skipped", "asks for a login (403"),
        (503, "skipped", "answers 503"),
    ],
)
def test_what_a_server_answers(
    server: FileServer, make_task: MakeTask, tmp_path: Path, status: int, state: str, words: str
) -> None:
    server.faults["f.zip"] = [status, status]
    (check,) = checked(make_task(source("pets", server.url("f.zip"))), tmp_path)
    assert check[0] == state
    assert server.url("f.zip") in check[1] and words in check[1]


def test_one_dead_file_of_a_source_is_enough(server: FileServer, make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(source("pets", server.url("f.zip"), server.url("dead.zip")))
    assert checked(task, tmp_path)[0][0] == "failed"


def test_a_dead_link_is_no_failure_while_another_source_lives(
    server: FileServer, make_task: MakeTask, tmp_path: Path
) -> None:
    dead, alive = source("dead", server.url("dead.zip")), source("alive", server.url("f.zip"))
    first, second = checked(make_task(dead, alive), tmp_path)
    assert first[0] == "ok" and f"{server.url('dead.zip')} is dead" in first[1]
    assert second == ("ok", "folder alive: reachable")
    for pool in ("train", "test"):
        (tmp_path / "here" / pool / "cat").mkdir(parents=True)
    first, second = checked(make_task(dead, source("here")), tmp_path)
    assert first[0] == "ok"
    assert second == ("ok", "folder here: ready")
    first, second = checked(make_task(dead, source("by-hand")), tmp_path)
    assert first[0] == "failed"
    assert second == ("skipped", "folder by-hand: not there; it is available by hand only")


def test_offline_nothing_is_asked(make_task: MakeTask, tmp_path: Path, no_network: None) -> None:
    hub = {"kind": "huggingface", "repo": "org/pets", "pools": {"train": "train", "test": "test"}}
    task = make_task(source("pets", "http://example.invalid/f.zip"), hub)
    assert [state for state, _ in checked(task, tmp_path, offline=True)] == ["skipped", "skipped"]


def test_a_host_that_does_not_answer_is_asked_once(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def silent(url: str, *_: Any, **__: Any) -> None:
        asked.append(url)
        raise urllib.error.URLError("timed out")

    monkeypatch.setattr(prober, "open_url", silent)
    asking = Prober()
    for number in range(3):
        task = make_task(source("pets", f"http://one.invalid/{number}", f"http://two.invalid/{number}"))
        (check,) = check_sources(task, DataPlace(tmp_path), asking)
        assert check.state == "skipped"
        assert "one.invalid cannot be reached (timed out)" in check.text
    assert asked == ["http://one.invalid/0", "http://two.invalid/0"]


def test_a_password_in_a_link_is_not_told(make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("timed out")

    monkeypatch.setattr(prober, "open_url", silent)
    ((_, text),) = checked(make_task(source("pets", "http://me:mine@one.invalid:81/a.zip")), tmp_path)
    assert "one.invalid:81 cannot be reached" in text and "mine" not in text


def test_each_repository_is_named_where_the_hub_does_not_answer(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def silent(self: Repository, **_: Any) -> None:
        asked.append(self.name)
        raise ConnectionError(f"no route to /api/datasets/{self.name}")

    monkeypatch.setattr(Repository, "look_up", silent)
    asking = Prober()
    for name in ("org/one", "org/two", "org/one"):
        task = make_task({"kind": "huggingface", "repo": name, "pools": {"train": "train", "test": "test"}})
        (check,) = check_sources(task, DataPlace(tmp_path), asking)
        other = {"org/one": "org/two", "org/two": "org/one"}[name]
        assert check.state == "skipped" and "the hub cannot be reached" in check.text
        assert check.text.count(name) >= 2 and other not in check.text
    assert asked == ["org/one"]


# --- names and labels ---


def test_a_name_of_two_classes_is_told(make_task: MakeTask) -> None:
    classes = [{"key": "n1", "names": ["missile", "rocket"]}, {"key": "n2", "names": ["missile"]}, "cat"]
    task = make_task(source("pets"), classes=classes)
    (found,) = [check for check in check_definition(task) if check.name == "class names"]
    assert found.state == "ok"
    assert found.text == 'the name "missile" stands for two classes: n1, n2'
    assert [check.name for check in check_definition(make_task(source("pets")))] == ["classes", "metric"]


class Reader:
    """Counts what is read; some rows are damaged."""

    def __init__(self, damaged: set[int]) -> None:
        self.rows: list[int] = []
        self._damaged = damaged

    def __call__(self, row: int) -> Any:
        self.rows.append(row)
        if row in self._damaged:
            raise DataError(f"the image {row} is damaged")


def folds_of(task: TaskSpec, labels: list[int], trains: list[list[int]], reader: Reader) -> TaskData:
    count = len(labels)
    ids = tuple(map(str, range(count)))
    pool = Pool("all", ids, np.array(labels), reader, np.ones(count, np.int64), None, None, "")
    test = Split("all", np.array([0, 1]))
    folds = tuple(Fold(Split("all", np.array(rows)), None, test) for rows in trains)
    return TaskData(task, "folder", lambda _: pool, lambda: folds)


@pytest.mark.parametrize(
    ("third", "state", "text"),
    [
        ([6, 7], "ok", "all 2 classes, in each of 3 folds"),
        ([6, 8], "failed", "fold 2: no sample of 1 class: dog"),
        ([6, 9], "failed", "fold 2: 1 label out of range"),
    ],
)
def test_the_labels_of_every_fold_are_looked_at(make_task: MakeTask, third: list[int], state: str, text: str) -> None:
    reader = Reader(damaged={4})
    data = folds_of(make_task(source("pets")), [0, 1, 0, 1, 0, 1, 0, 1, 0, 7], [[2, 3], [4, 5], third], reader)
    checks = {check.name: check for check in check_data(data)}
    assert (checks["train labels"].state, checks["train labels"].text) == (state, text)
    assert checks["test labels"].text == "all 2 classes"
    assert checks["train images"].state == "ok"  # the damaged one is of another fold
    assert sorted(reader.rows) == [0, 1, 2, 3]


def test_one_image_may_show_several_classes(make_task: MakeTask) -> None:
    task = make_task(source("pets"), multilabel=True, metric="map_11_point")
    labels = np.array([[1, 1], [1, 0], [0, 1]])
    pool = Pool("all", ("0", "1", "2"), labels, Reader(set()), np.ones(3, np.int64), None, None, "")
    folds = (Fold(Split("all", np.array([1, 2])), None, Split("all", np.array([0]))),)
    checks = {check.name: check.text for check in check_data(TaskData(task, "folder", lambda _: pool, lambda: folds))}
    assert checks["train images"] == "2 decoded, one of each class"
    assert checks["test images"] == "1 decoded, in which all 2 classes are"
