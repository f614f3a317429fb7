"""Tasks become ready: their sources are tried in order, offline, by hand, and after a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalsuite.data.download.transfers import Retries
from evalsuite.data.fetching import fetch_task, plan_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataMissingError, UsageError
from evalsuite.progress import Progress
from evalsuite.tasks.spec import TaskSpec
from tests.archives import zip_of
from tests.file_server import CONTENT, FileServer, left

HALF = len(CONTENT) // 2
MakeTask = Callable[..., TaskSpec]


class Told(Progress):
    """What a download told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.bytes: list[tuple[str, int, int | None]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        self.bytes.append((what, done, total))


def folder_source(server: FileServer | None, **more: Any) -> dict[str, Any]:
    """Return a source of two pools that comes as one zip."""
    source: dict[str, Any] = {"kind": "folder", "path": "pets", "pools": {"train": "train", "test": "test"}, **more}
    if server is not None:
        server.files["pets.zip"] = zip_of({"pets/train/cat/1.png": b"1", "pets/test/cat/1.png": b"1"})
        source["files"] = [{"url": server.url("pets.zip"), "unpack": True, "makes": ["pets/train", "pets/test"]}]
    return source


def test_a_task_becomes_ready(server: FileServer, make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(folder_source(server))
    root = tmp_path / "new" / "root"
    assert plan_task(task, DataPlace(root))[2][0].what == server.url("pets.zip")
    told = Told()
    done = fetch_task(task, DataPlace(root, progress=told))
    assert (done.task, done.before, done.after, done.source) == ("pets", "downloadable", "ready", "folder")
    assert done.received == len(server.files["pets.zip"])
    assert told.bytes[-1] == ("pets.zip", done.received, done.received)
    assert left(root / "pets") == ["test", "test/cat", "test/cat/1.png", "train", "train/cat", "train/cat/1.png"]
    again = fetch_task(task, DataPlace(root))
    assert (again.before, again.received, len(server.gets("pets.zip"))) == ("ready", 0, 1)
    assert plan_task(task, DataPlace(root)) == ("ready", "", [])


def test_the_default_data_root_is_used(
    server: FileServer, make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALSUITE_DATA", str(tmp_path / "mine"))
    fetch_task(make_task(folder_source(server)), DataPlace())
    assert (tmp_path / "mine/pets/train").is_dir()


def test_a_data_root_that_cannot_be_made(server: FileServer, make_task: MakeTask, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="--data-root"):
        fetch_task(make_task(folder_source(server)), DataPlace(tmp_path / "file" / "root"))


def test_a_source_that_fails_is_noted_and_the_next_one_tried(
    server: FileServer, make_task: MakeTask, tmp_path: Path
) -> None:
    dead = {**folder_source(None, path="other"), "files": [{"url": server.url("dead.zip"), "unpack": True}]}
    task = make_task(dead, folder_source(None, path="by-hand", note="Ask the authors."), folder_source(server))
    done = fetch_task(task, DataPlace(tmp_path))
    assert (done.source, done.after) == ("folder", "ready")
    assert len(done.notes) == 1
    assert "dead.zip" in done.notes[0] and "404" in done.notes[0]

    with pytest.raises(DataMissingError) as caught:
        fetch_task(make_task(dead, folder_source(None, path="by-hand", note="Ask the authors.")), DataPlace(tmp_path))
    for words in ("dead.zip", "404", "Ask the authors.", str(tmp_path / "by-hand" / "train"), "if they lie here"):
        assert words in str(caught.value)


def test_only_sources_of_the_kind_that_is_asked_for(server: FileServer, make_task: MakeTask, tmp_path: Path) -> None:
    table = {"kind": "table", "path": "t", "pools": {"train": "train.csv", "test": "test.csv"}, "image": "i"}
    with pytest.raises(DataMissingError, match="none of its sources can be downloaded"):
        fetch_task(make_task(folder_source(server), table), DataPlace(tmp_path), kind="table")
    with pytest.raises(DataMissingError, match=r"no source of the kind 'python'; it has: folder, table"):
        fetch_task(make_task(folder_source(server), table), DataPlace(tmp_path), kind="python")
    assert server.requests == []


def test_a_source_that_is_fetched_and_still_not_ready(server: FileServer, make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(folder_source(server, needs=["lists.txt"]))
    with pytest.raises(DataMissingError, match=r"fetched, but partial still: missing: .*lists\.txt"):
        fetch_task(task, DataPlace(tmp_path))


def test_a_download_that_was_stopped_is_no_ready_source(
    server: FileServer, make_task: MakeTask, tmp_path: Path
) -> None:
    source = {"kind": "torchvision", "dataset": "DTD", "path": "x", "root": "x", "pools": {"train": {}, "test": {}}}
    task = make_task({**source, "files": [{"url": server.url("f.bin"), "to": "x", "name": "data"}]})
    server.faults["f.bin"] = ["cut", 404]
    with pytest.raises(DataMissingError):
        fetch_task(task, DataPlace(tmp_path), retries=Retries((0.0,), lambda _: None))
    assert (tmp_path / "x/data.part").exists()  # the folder is not empty now, which is all this source looks at
    assert fetch_task(task, DataPlace(tmp_path)).received == len(CONTENT) - HALF
    assert (tmp_path / "x/data").read_bytes() == CONTENT


def test_offline_unpacks_what_was_brought_by_hand_and_fetches_nothing(
    server: FileServer, make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(folder_source(server))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataMissingError, match=r"nothing is downloaded offline") as caught:
        fetch_task(task, DataPlace(tmp_path))
    assert f"{tmp_path / 'pets.zip'} (from {server.url('pets.zip')})" in str(caught.value)
    assert plan_task(task, DataPlace(tmp_path))[2] == []
    (tmp_path / "pets.zip").write_bytes(server.files["pets.zip"])
    assert fetch_task(task, DataPlace(tmp_path)).after == "ready"
    assert server.requests == []


def test_offline_the_hub_is_not_asked_where_the_files_are_there(
    make_task: MakeTask, tmp_path: Path, no_network: None
) -> None:
    (tmp_path / "wds.zip").write_bytes(zip_of({"wds/train/0.tar": b"t", "wds/test/0.tar": b"t"}))
    source = {
        "kind": "webdataset",
        "path": "wds",
        "repo": "org/wds",
        "pools": {"train": "train/*.tar", "test": "test/*.tar"},
    }
    task = make_task({**source, "files": [{"url": "http://x.invalid/wds.zip", "unpack": True, "makes": ["wds"]}]})
    assert fetch_task(task, DataPlace(tmp_path, offline=True)).after == "ready"


def test_an_adapter_that_is_not_trusted_is_not_fetched_for(
    server: FileServer, make_task: MakeTask, tmp_path: Path
) -> None:
    (tmp_path / "adapter.py").write_text("raise SystemExit('the adapter was run')")
    source = {"kind": "python", "file": "adapter.py", "path": "f.bin", "pools": ["train", "test"]}
    task = make_task({**source, "files": [{"url": server.url("f.bin")}]}, path=tmp_path / "pets.yaml")
    with pytest.raises(DataMissingError, match="--trust-adapters"):
        fetch_task(task, DataPlace(tmp_path / "root"))
    assert server.requests == []
    assert fetch_task(task, DataPlace(tmp_path / "root", trust_adapters=True)).after == "ready"
