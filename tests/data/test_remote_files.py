"""Files that are fetched and unpacked: checked, merged, and resumed after a kill at any point."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from evalsuite.data.download.remote_files import fetch_remote
from evalsuite.data.fetching import fetch_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataMissingError, SpecError
from evalsuite.locks import Lock
from evalsuite.progress import Progress
from evalsuite.tasks import load_task_file
from evalsuite.tasks.sources import RemoteFile
from tests.archives import tar_of, zip_of
from tests.campaign._stage import TO_FETCH
from tests.data.test_unpacking import tree
from tests.file_server import CONTENT, FileServer, left, md5
from tests.processes import Finished, Zygote


def test_two_archives_make_one_tree(server: FileServer, tmp_path: Path) -> None:
    server.files["trainval.tar"] = tar_of({"VOC/Images/1.jpg": b"1", "VOC/Sets/train.txt": b"1"})
    server.files["test.zip"] = zip_of({"VOC/Images/2.jpg": b"2", "VOC/Sets/test.txt": b"2"})
    files = [
        RemoteFile(url=server.url("trainval.tar"), to="d", unpack=True, makes=["d/VOC/Sets/train.txt"]),
        RemoteFile(url=server.url("test.zip"), to="d", unpack=True, makes=["d/VOC/Sets/test.txt"]),
    ]
    for file in files:
        fetch_remote(file, tmp_path, Progress())
    assert tree(tmp_path / "d") == {
        "VOC/Images/1.jpg": b"1", "VOC/Images/2.jpg": b"2", "VOC/Sets/train.txt": b"1", "VOC/Sets/test.txt": b"2"
    }  # fmt: skip
    for file in files:
        assert fetch_remote(file, tmp_path, Progress()) == 0
    assert len(server.requests) == 2


def test_an_archive_that_is_there_is_checked_and_stays(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = archive = zip_of({"a/1": b"1"})
    file = RemoteFile(url=server.url("a.zip"), md5=md5(archive), unpack=True, makes=["a"])
    (tmp_path / "a.zip").write_bytes(b"half of it")
    with pytest.raises(DataMissingError, match=r"a.zip is not the right file: expected md5 .* Remove it"):
        fetch_remote(file, tmp_path, Progress())
    (tmp_path / "a.zip").write_bytes(archive)
    assert fetch_remote(file, tmp_path, Progress()) == 0
    assert left(tmp_path) == ["a", "a/1", "a.zip"]
    assert server.requests == []


@pytest.mark.parametrize("failing", ["three.tar", "downloaded"])
def test_a_disk_that_fails_is_said_in_a_line_and_the_same_call_clears_up(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    server.files["three.tar"] = tar_of({f"three/{pool}/{key}/1.png": b"1" for pool in "ab" for key in "xy"})
    (tmp_path / "three.yaml").write_text(TO_FETCH.format(url=server.url("three.tar")))
    task, place = load_task_file(tmp_path / "three.yaml"), DataPlace(tmp_path / "data", tmp_path / "cache")
    unlink, read = Path.unlink, Path.read_text

    def fail(path: Path) -> None:
        if path.name == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, **options: fail(path) or unlink(path, **options))
        patch.setattr(Path, "read_text", lambda path, **options: fail(path) or read(path, **options))
        with pytest.raises(DataMissingError, match="Input/output error") as found:
            fetch_task(task, place)
    assert len(str(found.value).splitlines()) == 1
    assert fetch_task(task, place).after == "ready" and fetch_task(task, place).received == 0
    assert [name for name in left(tmp_path / "data") if "three.tar" in name] == []


def test_a_damaged_archive_is_fetched_again_only_if_it_was_downloaded(server: FileServer, tmp_path: Path) -> None:
    good = zip_of({"a/1": b"1"})
    server.files["a.zip"] = b"<html>busy</html>"
    file = RemoteFile(url=server.url("a.zip"), unpack=True, makes=["a"])
    with pytest.raises(DataMissingError, match=r"It is an HTML page.* It was removed: type the same command again"):
        fetch_remote(file, tmp_path, Progress())
    assert left(tmp_path) == []
    (tmp_path / "a.zip").write_bytes(good[:50])
    with pytest.raises(DataMissingError, match=r"Remove .*a\.zip, and type the same command again"):
        fetch_remote(file, tmp_path, Progress())
    assert left(tmp_path) == ["a.zip"]
    (tmp_path / "a.zip").unlink()
    server.files["a.zip"] = good
    fetch_remote(file, tmp_path, Progress())
    assert left(tmp_path) == ["a", "a/1"]


def test_an_archive_of_a_kind_that_is_not_supported_is_not_even_fetched(server: FileServer, tmp_path: Path) -> None:
    server.files["UCF101.rar"] = b"Rar!"
    with pytest.raises(DataMissingError, match=r"UCF101\.rar cannot be unpacked"):
        fetch_remote(RemoteFile(url=server.url("UCF101.rar"), unpack=True), tmp_path, Progress())
    assert server.requests == []


def test_an_archive_without_what_it_should_make(server: FileServer, tmp_path: Path) -> None:
    server.files["a.zip"] = zip_of({"b/1": b"1"})
    with pytest.raises(DataMissingError, match=r"fetched, but .*/a is not there"):
        fetch_remote(RemoteFile(url=server.url("a.zip"), unpack=True, makes=["a"]), tmp_path, Progress())


@pytest.mark.parametrize(
    "bad", [{"to": "../up"}, {"to": "/abs"}, {"name": "../x"}, {"makes": ["../../x"]}, {"name": ".."}, {"name": ""}]
)
def test_a_task_file_cannot_write_elsewhere(tmp_path: Path, bad: dict[str, Any]) -> None:
    path = tmp_path / "task.yaml"
    file = {"url": "http://x.invalid/f.bin" if "name" not in bad else "http://x.invalid/", **bad}
    path.write_text(
        "title: Bad\nclasses: [a, b]\nprompts: {templates: ['a {}.']}\n"
        f"sources: [{{kind: folder, path: ., pools: {{train: t, test: u}}, files: [{json.dumps(file)}]}}]\n"
    )
    with pytest.raises(
        SpecError, match=r"task\.yaml.*\n.*line 4, sources\[0\]\.files\[0\].*(data root|the name of a file)"
    ):
        load_task_file(path)


def test_two_processes_fetch_a_file_once(server: FileServer, tmp_path: Path) -> None:
    file = RemoteFile(url=server.url("f.bin"))
    fetch_remote(file, tmp_path, Progress())
    (lock,) = (tmp_path / ".evalsuite-locks").glob("*.lock")
    (tmp_path / "f.bin").unlink()
    held = Lock(lock)
    held.acquire()

    notes: list[str] = []

    class TheOther(Progress):
        def note(self, text: str) -> None:
            notes.append(text)
            (tmp_path / "f.bin").write_bytes(CONTENT)  # the other process is ready now
            held.release()

    assert fetch_remote(file, tmp_path, TheOther()) == 0
    assert len(notes) == 1 and notes[0].startswith(f"f.bin is fetched by process {os.getpid()} on ")
    assert server.gets("f.bin") == [""]


def test_a_failure_leaves_no_empty_folder(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match="404"):
        fetch_remote(RemoteFile(url=server.url("gone"), to="a/b"), tmp_path, Progress())
    assert left(tmp_path) == []  # an empty folder may look like data


# --- kill -9 ---

KILLED = """
import os, pathlib, signal, sys, tarfile
from evalsuite.data.download.remote_files import fetch_remote
from evalsuite.data.fetching import fetch_task
from evalsuite.data.place import DataPlace
from evalsuite.progress import Progress
from evalsuite.tasks.sources import RemoteFile

where, what = sys.argv[3:]

def deadly(function, name_of):
    def call(self, *arguments, **options):
        if name_of(self, *arguments) == what:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(self, *arguments, **options)
    return call

if where == "unpack":
    tarfile.TarFile.extract = deadly(tarfile.TarFile.extract, lambda archive, member, *_: member.name)
elif where == "move":
    pathlib.Path.replace = deadly(pathlib.Path.replace, lambda path, *_: path.name)
elif where == "clean":
    pathlib.Path.unlink = deadly(pathlib.Path.unlink, lambda path, *_: path.name)

class Reporter(Progress):
    def progress(self, name, done, total, unit):
        if where == "fetch" and done >= int(what):
            os.kill(os.getpid(), signal.SIGKILL)

print(fetch_remote(RemoteFile.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]), Reporter()))
"""


def fetch_in_a_process(zygote: Zygote, file: RemoteFile, root: Path, where: str = "", what: str = "") -> Finished:
    arguments = [file.model_dump_json(), root, where, what]
    return zygote.run(arguments, zygote.environment(root.parent), root.parent, code=KILLED)


def big_tar() -> dict[str, bytes]:
    return {f"VOC/{folder}/{number}.jpg": os.urandom(50_000) for folder in "abc" for number in range(5)}


@pytest.mark.parametrize(
    ("where", "what", "requests"),
    [
        ("fetch", "400000", 2),
        ("unpack", "VOC/b/2.jpg", 1),
        ("move", "new.tar.part", 2),
        ("move", "b", 1),  # the folder that is new: the tree has a and c already
        ("move", "3.jpg", 1),
        ("clean", ".new.tar.part.json", 1),
        ("clean", "new.tar", 1),
    ],
)
def test_a_kill_at_any_point_is_gone_on_from(
    server: FileServer, zygote: Zygote, tmp_path: Path, where: str, what: str, requests: int
) -> None:
    members = big_tar()
    server.files["new.tar"] = archive = tar_of(members)
    for folder in "ac":  # so that the archive is merged into what is there
        (tmp_path / "VOC" / folder).mkdir(parents=True)
    (tmp_path / "VOC/a/old.jpg").write_bytes(b"old")
    # What it makes appears first: alone it does not tell that the move was stopped.
    file = RemoteFile(url=server.url("new.tar"), md5=md5(archive), unpack=True, makes=["VOC/a/0.jpg"])
    killed = fetch_in_a_process(zygote, file, tmp_path, where, what)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    complete = {**members, "VOC/a/old.jpg": b"old"}
    assert {path: data for path, data in tree(tmp_path).items() if path in complete} != complete or where == "clean"

    again = fetch_in_a_process(zygote, file, tmp_path)
    assert again.returncode == 0, again.stderr
    assert {path: data for path, data in tree(tmp_path).items() if not path.startswith(".evalsuite")} == complete
    assert [name for name in left(tmp_path) if "tar" in name] == []
    ranges = server.gets("new.tar")
    assert len(ranges) == requests
    if where == "fetch":
        received = int(again.stdout)
        assert ranges[1] == f"bytes={len(archive) - received}-"
        assert 0 < received <= len(archive) - 390_000
    else:
        assert again.stdout.strip() == "0"
