"""`evalsuite download` as people type it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.archives import tar_of, zip_of
from tests.cli.conftest import REFUSE_HEAVY_IMPORTS
from tests.file_server import FileServer
from tests.hub_server import GATED, HubServer, hub_environment
from tests.processes import Finished, RunCli, WarmCli

POOLS = {"train": "train", "test": "test"}
WriteTask = Callable[..., Path]


@pytest.fixture
def write_task(tmp_path: Path) -> WriteTask:
    """Write a task file of the classes red and blue."""

    def write(name: str, *sources: dict[str, Any]) -> Path:
        path = tmp_path / f"{name}.yaml"
        prompts = {"templates": ["a {}."]}
        path.write_text(
            yaml.safe_dump({"title": name, "classes": ["red", "blue"], "prompts": prompts, "sources": list(sources)})
        )
        return path

    return write


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = {"red": png((200, 0, 0)), "blue": png((0, 0, 200))}


def served(server: FileServer, name: str) -> dict[str, Any]:
    """Serve a folder dataset as NAME.zip; return its source."""
    server.files[f"{name}.zip"] = zip_of(
        {f"{name}/{pool}/{key}/{number}.png": IMAGES[key] for pool in POOLS for key in IMAGES for number in range(2)}
    )
    files = [{"url": server.url(f"{name}.zip"), "unpack": True, "makes": [f"{name}/train", f"{name}/test"]}]
    return {"kind": "folder", "path": name, "pools": POOLS, "files": files}


def rows(finished: Finished) -> dict[str, list[str]]:
    """Return the words of the table's lines by task."""
    lines = finished.stdout.split("\n\n")[0].splitlines()[2:]
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_what_was_downloaded_can_be_evaluated(cli: WarmCli, server: FileServer, write_task: WriteTask) -> None:
    task = write_task("shapes", served(server, "shapes"))
    finished = cli("download", task, "--data-root", "made/root")
    assert finished.returncode == 0, finished.stderr
    assert rows(finished)["shapes"][:3] == ["ready", "folder", "fetched"]
    assert "shapes.zip" in finished.stderr and "unpacking" in finished.stderr
    arguments = ["-t", task, "--data-root", "made/root", "-m", "pixels", "--protocol", "linear_probe"]
    run = cli("run", *arguments, "-o", "out", "--cache-dir", "cache")
    assert run.returncode == 0, run.stderr
    again = cli("download", task, "--data-root", "made/root")
    assert rows(again)["shapes"] == ["ready", "folder", "was", "there"]
    assert server.gets("shapes.zip") == [""]


def test_a_run_may_fetch_what_it_lacks(cli: WarmCli, server: FileServer, write_task: WriteTask, tmp_path: Path) -> None:
    task = write_task("shapes", served(server, "shapes"))
    arguments = ["run", "-t", task, "-m", "pixels", "--protocol", "linear_probe", "--data-root", "made"]
    stores = ["-o", "out", "--cache-dir", "cache"]
    planned = cli(*arguments, *stores, "--download", "--dry-run", "--offline")
    assert planned.returncode == 2 and "made" in planned.stderr  # a plan makes no folder
    (tmp_path / "made").mkdir()
    assert "blocked" in cli(*arguments, *stores, "--download", "--dry-run").stdout
    assert cli(*arguments, *stores).returncode == 1
    assert server.gets("shapes.zip") == []
    finished = cli(*arguments, *stores, "--download")
    assert finished.returncode == 0, finished.stderr
    assert "unpacking shapes.zip" in finished.stderr
    assert cli(*arguments, *stores).returncode == 0
    assert server.gets("shapes.zip") == [""]


def test_one_task_that_fails_does_not_stop_the_others(
    cli: WarmCli, server: FileServer, write_task: WriteTask, tmp_path: Path
) -> None:
    dead = {"kind": "folder", "path": "gone", "pools": POOLS, "note": "Write to the authors."}
    dead["files"] = [{"url": server.url("gone.zip"), "unpack": True, "makes": ["gone"]}]
    first, second = write_task("first", dead), write_task("second", dead, served(server, "second"))
    finished = cli("download", first, second, "--data-root", "root")
    assert finished.returncode == 1
    assert rows(finished)["first"][0] == "failed"
    assert rows(finished)["second"][:2] == ["ready", "folder"]
    assert "2 tasks, 1 failed" in finished.stdout
    for words in (server.url("gone.zip"), "404", "Write to the authors.", str(Path("root/gone/train"))):
        assert words in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_plan_fetches_nothing(cli: WarmCli, server: FileServer, write_task: WriteTask, tmp_path: Path) -> None:
    repo = {"kind": "huggingface", "repo": "org/pets", "pools": POOLS}
    tasks = [write_task("shapes", served(server, "shapes")), write_task("pets", repo)]
    by_hand = write_task("by-hand", {"kind": "folder", "path": "x", "pools": POOLS})
    finished = cli("download", *tasks, by_hand, "--data-root", "root", "--dry-run")
    assert finished.returncode == 0, finished.stderr
    size, root = f"{len(server.files['shapes.zip']) / 1000:.1f}", str(tmp_path / "root")
    assert rows(finished)["shapes"] == ["downloadable", "folder", server.url("shapes.zip"), size, "kB", root]
    assert rows(finished)["pets"][:4] == ["downloadable", "huggingface", "org/pets", "-"]
    assert rows(finished)["by-hand"] == ["absent", "cannot", "be", "fetched"]
    assert [request.method for request in server.requests] == ["HEAD"]
    assert not (tmp_path / "root").exists()


def test_kind_and_offline(cli: WarmCli, server: FileServer, write_task: WriteTask) -> None:
    table = {"kind": "table", "path": "t", "pools": {"train": "train.csv", "test": "test.csv"}}
    task = write_task("shapes", served(server, "shapes"), table)
    for options, words in ((["--kind", "table"], "none of its sources can be downloaded"), (["--offline"], "offline")):
        finished = cli("download", task, "--data-root", "root", *options)
        assert finished.returncode == 1
        assert words in finished.stderr
    assert server.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mnisst"], "Did you mean mnist?"),
        ([], "Name the tasks to download"),
        (["mnist", "--kind", "ftp"], "Unknown kind of source 'ftp'"),
        (["digits", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_names_are_refused_before_any_work(cli: WarmCli, arguments: list[str], words: str) -> None:
    finished = cli("download", *arguments, "--data-root", "root")
    assert finished.returncode == 2
    assert words in finished.output
    assert "Traceback" not in finished.stderr


def test_a_data_root_that_cannot_be_made(
    cli: WarmCli, server: FileServer, write_task: WriteTask, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    finished = cli("download", write_task("shapes", served(server, "shapes")), "--data-root", "file/root")
    assert finished.returncode == 2
    assert "--data-root" in finished.output


def test_help_is_quick_and_has_examples(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE_HEAVY_IMPORTS)
    finished = run_cli("download", "--help", env={"PYTHONPATH": str(tmp_path)})
    assert finished.returncode == 0, finished.stderr
    assert "evalsuite download all --data-root DIR --dry-run" in finished.stdout.partition("Examples:")[2]


# --- shards from a hub ---


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[HubServer]:
    """A hub with a repository of two pools of one shard each."""
    for pool in POOLS:
        folder = tmp_path / "repo" / pool
        folder.mkdir(parents=True)
        members = {
            f"{key}{suffix}": data for key in IMAGES for suffix, data in ((".png", IMAGES[key]), (".cls", key.encode()))
        }
        (folder / "0.tar").write_bytes(tar_of(members))
        (folder / "nshards.txt").write_text("1")
    (tmp_path / "repo" / "README.md").write_text("not needed")
    running = HubServer("org/shards", tmp_path / "repo")
    yield running
    running.shutdown()
    running.server_close()


def shard_source(repo: str) -> dict[str, Any]:
    return {"kind": "webdataset", "path": "wds", "repo": repo, "pools": {"train": "train/*.tar", "test": "test/*.tar"}}


def test_shards_of_a_repository(
    run_cli: RunCli, cli: WarmCli, shards: HubServer, write_task: WriteTask, tmp_path: Path
) -> None:
    task, env = write_task("shards", shard_source("org/shards")), hub_environment(tmp_path, shards.url)
    shards.cut = {"test/0.tar"}
    (tmp_path / "impatient").mkdir()
    impatient = "import time\n\ntime.sleep = lambda seconds: None\n"
    (tmp_path / "impatient" / "sitecustomize.py").write_text(impatient + REFUSE_HEAVY_IMPORTS)
    broken = run_cli("download", task, "--data-root", "root", env={**env, "PYTHONPATH": str(tmp_path / "impatient")})
    assert broken.returncode == 1
    assert "org/shards" in broken.stderr and "type the same command again" in broken.stderr
    assert "Traceback" not in broken.stderr

    shards.cut = set()
    shards.requests.clear()
    finished = run_cli("download", task, "--data-root", "root", env=env)
    assert finished.returncode == 0, finished.stderr
    assert [asked for asked in shards.requests if asked.startswith("GET") and asked.endswith("train/0.tar")] == []
    kept = [
        path for path in sorted((tmp_path / "root/wds").rglob("*")) if path.is_file() and ".cache" not in path.parts
    ]
    names = ["test/0.tar", "test/nshards.txt", "train/0.tar", "train/nshards.txt"]
    assert [path.relative_to(tmp_path / "root/wds").as_posix() for path in kept] == names
    with tarfile.open(tmp_path / "root/wds/test/0.tar") as archive:
        assert len(archive.getnames()) == 4
    assert cli("validate", task, "--data-root", "root", "--offline").returncode == 0


def test_a_gated_repository(run_cli: RunCli, shards: HubServer, write_task: WriteTask, tmp_path: Path) -> None:
    env = hub_environment(tmp_path, shards.url)
    gated, absent = write_task("gated", shard_source(GATED)), write_task("absent", shard_source("org/absent"))
    finished = run_cli("download", gated, absent, "--data-root", "root", env=env)
    assert finished.returncode == 1
    assert f"Accept its conditions at https://huggingface.co/datasets/{GATED}" in finished.stderr
    assert "no such repository" in finished.stderr
    checked = run_cli("validate", gated, absent, write_task("fine", shard_source("org/shards")), env=env)
    assert checked.returncode == 0, checked.stdout
    said = " ".join(checked.stdout.split())  # without the line breaks of the table
    assert "hf auth login" in said
    assert "webdataset wds: reachable" in said


def test_a_hub_that_cannot_be_reached(cli: WarmCli, write_task: WriteTask, tmp_path: Path) -> None:
    task = write_task("shards", shard_source("org/shards"))  # the process has no hub
    (tmp_path / "root" / "wds" / "train").mkdir(parents=True)  # the library takes such a folder for all there is
    finished = cli("download", task, "--data-root", "root")
    assert finished.returncode == 1
    assert "cannot be reached" in finished.stderr
    checked = cli("validate", task, "--data-root", "root")
    assert checked.returncode == 0, checked.stdout
    assert "skipped" in checked.stdout and "cannot be reached" in " ".join(checked.stdout.split())


def test_validate_fails_for_a_dead_link(
    cli: WarmCli, server: FileServer, write_task: WriteTask, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    source = served(server, "shapes")
    task = write_task("shapes", source)
    alive = cli("validate", task, "--data-root", "root")
    assert alive.returncode == 0 and "folder shapes: reachable" in alive.output
    server.files.clear()
    dead = cli("validate", task, "--data-root", "root")
    assert dead.returncode == 1 and "is dead (404" in dead.output
    assert cli("validate", task, "--data-root", "root", "--offline").returncode == 0
