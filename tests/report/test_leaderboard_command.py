"""`evalsuite leaderboard` as a person types it."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evalsuite import config
from evalsuite.cli import main
from evalsuite.records import MetricRecord, Result
from evalsuite.results.store import ResultStore


def store(root: Path, model: str, task: str, value: float, **changes: Any) -> Path:
    fields: dict[str, Any] = {
        "status": "ok",
        "model": model,
        "model_name": model,
        "task": task,
        "protocol": "zero_shot",
        "fingerprint": "inputs",
        "metric": MetricRecord(name="accuracy", value=value, n=100),
    }
    return ResultStore(root).write(Result(**(fields | changes)), f"weights of {model}")


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Run the command line as the shell does; the default results folder is tmp_path/default."""
    monkeypatch.setattr(config, "default_output", lambda: tmp_path / "default")

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["evalsuite", "leaderboard", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        code = stopped.value.code
        return Outcome(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return call


def test_the_default_folder_is_shown_and_broken_files_are_named(run: Any, tmp_path: Path) -> None:
    path = store(tmp_path / "default", "m/a", "mnist", 0.5)
    (path.parent / "cut.json").write_text("{")
    (path.parent / "foreign.json").write_text('{"accuracy": 0.9}')
    (path.parent / "newer.json").write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    found = run()
    assert found.code == 0
    assert "| m/a" in found.out and "50.0" in found.out
    assert f"warning: {path.parent / 'cut.json'} was left out: it is not JSON" in found.err
    assert f"warning: {path.parent / 'foreign.json'} was left out: it is not a result" in found.err
    assert f"warning: {path.parent / 'newer.json'} was left out: it has schema 2" in found.err
    assert len(found.err.splitlines()) == 3 and ".json" not in found.out


def test_without_results_it_says_what_to_type(run: Any, tmp_path: Path) -> None:
    for arguments in ([], ["-o", str(tmp_path / "typo")], ["-o", str(tmp_path)]):
        found = run(*arguments)
        assert found.code == 2 and found.out == ""
        assert "evalsuite run --model pocket --tasks digits" in found.err
    assert "typo" in run("-o", str(tmp_path / "typo"), "--published", "all").err


def test_published_rows_alone_make_a_table(run: Any) -> None:
    found = run("--published", "resnet/50,efficientnet/b0", "-t", "mnist,imagenet")
    assert found.code == 0
    assert [line.split("|")[1].strip() for line in found.out.splitlines()[2:4]] == ["efficientnet/b0", "resnet/50"]
    assert "98.3" in found.out and "74.3" in found.out and "Radford" in found.out


def test_folders_filters_groups_and_published_rows_combine(run: Any, tmp_path: Path) -> None:
    store(tmp_path / "one", "clip/vit-b-32", "mnist", 0.5)
    store(tmp_path / "two", "clip/rn50", "mnist", 0.4)
    store(tmp_path / "two", "clip/rn50", "digits", 0.3)
    store(tmp_path / "two", "pixels", "mnist", 0.2)
    folders = ["-o", str(tmp_path / "one"), "-o", str(tmp_path / "two")]
    found = run(*folders, "-m", "clip/*", "-t", "all", "--published", "clip/rn50", "--format", "csv")
    assert found.code == 0
    rows = list(csv.DictReader(found.out.splitlines()))
    assert [(row["model"], row["origin"], row["mnist"]) for row in rows] == [
        ("clip/rn50", "paper", "66.60"),
        ("clip/vit-b-32", "measured", "50.00"),
        ("clip/rn50", "measured", "40.00"),
    ]
    assert "digits" not in rows[0]
    assert "average: unweighted mean" in found.err


def test_a_file_gets_the_format_of_its_suffix(run: Any, tmp_path: Path) -> None:
    store(tmp_path / "default", "m/a", "mnist", 0.5)
    assert run("--to", str(tmp_path / "board.csv")).code == 0
    assert (tmp_path / "board.csv").read_text().startswith("model,protocol,origin,mnist")
    assert run("--to", str(tmp_path / "board.md")).out == f"Wrote 1 row to {tmp_path / 'board.md'}.\n"
    assert (tmp_path / "board.md").read_text().startswith("| model")
    refused = run("--to", str(tmp_path / "board.txt"))
    assert refused.code == 2 and ".md or .csv or .json" in refused.err
    assert run("--to", str(tmp_path / "board.txt"), "--format", "csv").code == 0
    (tmp_path / "file").write_text("")
    assert run("--to", str(tmp_path / "file" / "board.md")).code == 2


def test_partial_results_and_underscores(run: Any, tmp_path: Path) -> None:
    store(tmp_path / "default", "m/a", "mnist", 0.5)
    store(tmp_path / "default", "m/a", "cifar10", 0.7, status="partial")
    assert "70.0" not in run().out
    assert "70.0*" in run("--include_partial").out


@pytest.mark.parametrize("arguments", [["--tasks", "mnits"], ["--published", "resnet/5O"], ["--protocol", "zero"]])
def test_wrong_names_are_exit_2_with_a_suggestion(run: Any, tmp_path: Path, arguments: list[str]) -> None:
    store(tmp_path / "default", "m/a", "mnist", 0.5)
    found = run(*arguments)
    assert found.code == 2 and "Did you mean" in found.err and found.out == ""


@pytest.mark.parametrize("arguments", [["--help"], ["--published", "all"], ["-t", "all"]])
def test_neither_help_nor_a_run_imports_torch(tmp_path: Path, arguments: list[str]) -> None:
    store(tmp_path, "m/a", "mnist", 0.5)
    command = ["evalsuite", "leaderboard", "-o", str(tmp_path), *arguments]
    code = (
        f"import sys; sys.argv = {command!r}\n"
        "from evalsuite.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as stopped:\n    assert not stopped.code, stopped.code\n"
        "print('imported:', sorted({'torch', 'datasets', 'sklearn'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "imported: []"
    assert "evalsuite leaderboard" in finished.stdout if "--help" in arguments else "| m/a" in finished.stdout


def test_tags_groups_baselines_and_claims(run: Any) -> None:
    found = run("--published", "clip/rn50", "--tag", "satellite", "--baseline", "bit-m", "--groups", "main")
    header = [cell.strip() for cell in found.out.splitlines()[0].split("|")]
    assert found.code == 0
    assert header[4:-1] == ["eurosat", "resisc45", "average", "place", "rank", "wins", "vs bit-m", "tag:satellite"]
    claims = run("--claims", "--protocol", "linear_probe")
    assert claims.code == 0 and "16 of 27 tasks, 67.6 against 69.9" in claims.out
    refused = run("--published", "all", "--tag", "satelite")
    assert refused.code == 2 and "Did you mean satellite" in refused.err
