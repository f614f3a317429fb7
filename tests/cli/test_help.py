"""Help has examples, comes at once, and shells complete names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from evalsuite.cli import evalsuite
from tests.cli.conftest import (
    REFUSE_HEAVY_IMPORTS,
)
from tests.processes import RunCli, WarmCli


def commands(group: click.Group, *path: str) -> Iterator[list[str]]:
    """Yield every command as it is typed, and the groups."""
    yield list(path)
    with click.Context(group) as context:
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            if isinstance(found, click.Group):
                yield from commands(found, *path, name)
            else:
                yield [*path, name]


@pytest.mark.parametrize("command", list(commands(evalsuite)), ids=lambda command: " ".join(command) or "evalsuite")
def test_help_has_examples(cli: WarmCli, command: list[str]) -> None:
    finished = cli(*command, "--help")
    assert finished.returncode == 0, finished.stderr
    assert "Usage: evalsuite" in finished.stdout
    assert "..." not in finished.stdout.partition("Commands:")[2].partition("Examples:")[0]  # no sentence is cut off
    if command not in (["ls"], ["new"], ["cache"], ["export"]):
        example = " ".join(["evalsuite", *command])
        assert re.search(rf"^ +{example}", finished.stdout.partition("Examples:")[2], re.MULTILINE)
    assert finished.stdout == cli(*command, "-h").stdout


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["run", "--help"],
        ["download", "--help"],
        ["describe", "--help"],
        ["predict", "--help"],
        ["search", "--help"],
        ["ls", "groups"],
        ["ls", "models", "clip/*"],
        ["ls", "tasks", "digits", "tag:ocr"],
        ["leaderboard", "--published", "resnet/50", "-o", "."],
        ["import", "--help"],
        ["export", "csv", "--published", "resnet/50", "-t", "mnist"],
        ["compare", "published:clip/vit-b-32", "published:resnet/50", "--protocol", "linear_probe"],
    ],
    ids=" ".join,
)
def test_what_should_be_quick_imports_nothing_heavy(run_cli: RunCli, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE_HEAVY_IMPORTS)
    finished = run_cli(*command, env={"PYTHONPATH": str(tmp_path)})
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip()


def test_the_hook_that_refuses_imports_works(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE_HEAVY_IMPORTS)
    finished = run_cli("run", "-m", "pixels", "--dry-run", env={"PYTHONPATH": str(tmp_path)})
    assert finished.returncode != 0
    assert re.search("(torch|open_clip) was imported", finished.stderr)  # or looked for


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("evalsuite le", {"leaderboard"}),
        ("evalsuite run -t dig", {"digits"}),
        ("evalsuite run -t mnist,cifar1", {"mnist,cifar10", "mnist,cifar100", "mnist,cifar10_1"}),
        ("evalsuite run -m clip/vit-b-", {"clip/vit-b-16", "clip/vit-b-32"}),
        ("evalsuite run --precision f", {"fp32", "fp16"}),
        ("evalsuite leaderboard --published clip-", {"clip-paper"}),
        ("evalsuite leaderboard --format ma", {"markdown"}),
        ("evalsuite export mod", {"model-card"}),
        ("evalsuite compare published:clip/vit-l", {"published:clip/vit-l-14", "published:clip/vit-l-14-336px"}),
        ("evalsuite compare pocket published:resnet/5", {"published:resnet/50"}),
        ("evalsuite compare clip/vit-b-3", {"clip/vit-b-32"}),
    ],
)
def test_a_shell_completes_names(cli: WarmCli, typed: str, offered: set[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    finished = cli(env={"_EVALSUITE_COMPLETE": "bash_complete", **words})
    assert {line.partition(",")[2] for line in finished.stdout.splitlines()} == offered
