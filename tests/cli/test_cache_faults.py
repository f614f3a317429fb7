"""`evalsuite cache` and `run --dry-run` on stores in which something is wrong."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import COLOUR_MODEL
from tests.datasets import write_folder_task
from tests.processes import WarmCli, Zygote

RUN = ("run", "-m", "colour_model.py:factory", "-t", "data/shapes.yaml", "-o", "out", "--cache-dir", "cache")
CACHE = ("--cache-dir", "cache")


@pytest.fixture(scope="module")
def finished(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    write_folder_task(folder / "data", train=2, test=1)
    (folder / "colour_model.py").write_text(COLOUR_MODEL)
    done = zygote.run(list(RUN), zygote.environment(folder), folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def work(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "work"))


def pool(work: Path, name: str) -> Path:
    (found,) = (work / "cache" / "features").glob(f"*/shapes.{name}-*")
    return found


def test_one_bad_pool_file_is_said_and_the_others_are_listed_checked_and_removed(cli: WarmCli, work: Path) -> None:
    (pool(work, "train") / "pool.json").write_text("{")
    listed = cli("cache", "ls", *CACHE, cwd=work)
    assert listed.returncode == 0 and "2 pools" in listed.stdout and "pool.json" in listed.stderr
    verified = cli("cache", "verify", *CACHE, "--include-path", "data", cwd=work)
    assert (
        verified.returncode == 1
        and "shapes/test: ok" in verified.stdout
        and "shapes/train: 1 problem" in verified.stdout
    )
    assert "Removed 1 pool" in cli("cache", "rm", "-m", "file-*", "--yes", *CACHE, cwd=work).stdout
    assert "ok" in cli("cache", "verify", *CACHE, "--include-path", "data", cwd=work).stdout
    assert cli(*RUN, cwd=work).returncode == 0


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY"])
def test_a_features_file_that_was_cut_off_is_said_in_words_and_healed(cli: WarmCli, work: Path, content: bytes) -> None:
    array = pool(work, "test") / "compacted-000000" / "penultimate.npy"
    array.write_bytes(content)
    verified = cli("cache", "verify", *CACHE, "--include-path", "data", cwd=work)
    assert verified.returncode == 1 and "penultimate.npy" in verified.stdout and "Interrupted" not in verified.stderr
    done = cli(*RUN, "--overwrite", cwd=work)
    assert done.returncode == 0 and "computed again" in done.stderr, done.stderr
    assert cli("cache", "verify", *CACHE, "--include-path", "data", cwd=work).returncode == 0


def test_leftovers_are_no_damage_and_go_with_the_next_command(cli: WarmCli, work: Path) -> None:
    model = pool(work, "test").parent
    for folder in (model, model.parent, pool(work, "test")):
        (folder / ".tmp-0123abcd").mkdir()
        (folder / ".tmp-0123abcd" / "penultimate.npy").write_bytes(b"half")
        os.utime(folder / ".tmp-0123abcd", (0, 0))
    verified = cli("cache", "verify", *CACHE, "--include-path", "data", cwd=work)
    assert verified.returncode == 0 and "3 leftovers" in verified.stdout
    assert cli(*RUN, cwd=work).returncode == 0
    assert list((work / "cache").rglob(".tmp-*")) == []


def test_a_plan_writes_nothing(cli: WarmCli, work: Path) -> None:
    arguments = ["run", "-m", "pixels", "-t", "data/shapes.yaml", "--protocol", "linear_probe", *RUN[-4:]]
    assert cli(*arguments, cwd=work).returncode == 0
    for image in (work / "data").rglob("*.png"):
        os.utime(image, (0, 0))  # a run would note their new times
    before = {path: path.stat().st_mtime_ns for path in (work / "cache" / "features").rglob("*")}
    planned = cli(*arguments, "--dry-run", cwd=work)
    assert "0 to do" in planned.stdout
    assert {path: path.stat().st_mtime_ns for path in (work / "cache" / "features").rglob("*")} == before
    assert cli(*arguments, cwd=work).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (work / "cache" / "features").rglob("*")} != before
