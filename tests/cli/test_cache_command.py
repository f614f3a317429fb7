"""`evalsuite cache` lists, removes and checks stored features."""

from __future__ import annotations

import os
from pathlib import Path

from click.testing import CliRunner

from evalsuite.cli import evalsuite
from tests.cli.conftest import (
    STORES,
    contents,
)
from tests.processes import WarmCli


def test_cache_ls_and_rm(cli: WarmCli, work: Path) -> None:
    listed = cli("cache", "ls", "--cache-dir", "cache", cwd=work)
    assert [line.split()[1:3] for line in listed.stdout.splitlines()[2:4]] == [["shapes", "test"], ["shapes", "train"]]
    assert "2 pools" in listed.stdout
    results = contents(work / "out")
    assert "Nothing matches" in cli("cache", "rm", "-t", "mnist", "--cache-dir", "cache", cwd=work).stdout
    unanswered = cli("cache", "rm", "--all", "--cache-dir", "cache", cwd=work)
    assert unanswered.returncode == 2 and "--yes" in unanswered.stderr and "Interrupted" not in unanswered.stderr
    refused = CliRunner().invoke(evalsuite, ["cache", "rm", "--all", "--cache-dir", str(work / "cache")], input="n\n")
    assert "Nothing was removed" in refused.output
    assert "2 pools" in cli("cache", "ls", "--cache-dir", "cache", cwd=work).stdout
    assert "Removed 2 pools" in cli("cache", "rm", "-m", "file/*", "--yes", "--cache-dir", "cache", cwd=work).stdout
    assert "0 pools" in cli("cache", "ls", "--cache-dir", "cache", cwd=work).stdout
    assert contents(work / "out") == results


VERIFY = ("cache", "verify", "--cache-dir", "cache", "--include-path", "data")


def test_cache_verify_finds_nothing_wrong(cli: WarmCli, work: Path) -> None:
    finished = cli(*VERIFY, cwd=work)
    assert finished.returncode == 0, finished.output
    assert finished.stdout.count(": ok\n") == 2


def test_cache_verify_says_how_to_name_a_task_of_ones_own(cli: WarmCli, work: Path) -> None:
    finished = cli("cache", "verify", "--cache-dir", "cache", cwd=work)
    assert finished.returncode == 0
    assert finished.stdout.count("say where its results are with -o") == 2
    found = cli("cache", "verify", "--cache-dir", "cache", "-o", "out", cwd=work)
    assert "files of the store only" not in found.stdout and found.stdout.count(": ok\n") == 2


def test_cache_verify_notices_a_changed_byte(cli: WarmCli, work: Path) -> None:
    image = work / "data" / "train" / "green" / "002.png"
    status, content = image.stat(), bytearray((work / "data" / "train" / "green" / "003.png").read_bytes())
    content[: len(content)] = content[: status.st_size].ljust(status.st_size, b"\0")
    image.write_bytes(content)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))  # the same size and time: only the bytes differ
    assert image.stat().st_size == status.st_size
    finished = cli(*VERIFY, cwd=work)
    assert finished.returncode == 1
    assert "green/002.png" in finished.output
    assert "shapes/test: ok" in finished.output


def test_cache_verify_notices_a_changed_file_of_the_store(cli: WarmCli, work: Path) -> None:
    file = next(path for path in sorted((work / "cache").rglob("penultimate.npy")) if "test" in str(path))
    content = bytearray(file.read_bytes())
    content[-2] ^= 0x40
    file.write_bytes(content)
    finished = cli(*VERIFY, cwd=work)
    assert finished.returncode == 1, finished.output
    assert "shapes/train: ok" in finished.output


def test_cache_verify_notices_a_file_of_the_store_that_was_cut_off(cli: WarmCli, work: Path) -> None:
    file = next(path for path in sorted((work / "cache").rglob("penultimate.npy")) if "test" in str(path))
    file.write_bytes(file.read_bytes()[:-16])
    finished = cli(*VERIFY, cwd=work)
    assert finished.returncode == 1
    assert "cannot be read" in finished.output


def test_cache_verify_takes_a_failed_run_for_no_damage(cli: WarmCli, work: Path) -> None:
    (work / "broken.py").write_text("def factory():\n    raise ValueError('no')\n")
    assert cli("run", "-m", "timm:resnet10t@broken.py", "-t", "data/shapes.yaml", *STORES, cwd=work).returncode == 1
    assert cli(*VERIFY, cwd=work).returncode == 0
