"""What suggestions of the command line begin with: something that works when it is pasted."""

from __future__ import annotations

from pathlib import Path

import pytest

from evalsuite.cli.terminal import program


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """An installed command."""
    path = tmp_path / "my env" / "bin" / "evalsuite"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_command_that_the_shell_finds_is_named(monkeypatch: pytest.MonkeyPatch, script: Path) -> None:
    monkeypatch.setattr("sys.argv", [str(script)])
    monkeypatch.setenv("PATH", str(script.parent))
    assert program() == "evalsuite"


def test_a_command_that_the_shell_does_not_find_is_given_by_its_path(
    monkeypatch: pytest.MonkeyPatch, script: Path
) -> None:
    monkeypatch.setattr("sys.argv", [str(script)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == f"'{script}'"


def test_a_module_is_started_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/evalsuite/__main__.py"])
    assert program() == "python -m evalsuite"
