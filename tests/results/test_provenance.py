"""Provenance: versions, the commit, and checkouts git can say nothing about."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest

from evalsuite.results import provenance
from evalsuite.results.provenance import collect, git_state


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    (root / "tasks.yaml").write_text("a: 1\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    git_state.cache_clear()
    return root


def test_collect_notes_versions_and_what_it_was_told() -> None:
    found = collect("cuda:0", "fp32", 7, "evalsuite run --model pocket")
    assert (found.device, found.precision, found.seed) == ("cuda:0", "fp32", 7)
    assert found.command == "evalsuite run --model pocket"
    assert found.packages["torch"] == version("torch")
    assert found.packages["scikit-learn"] == version("scikit-learn")
    assert found.evalsuite == version("evalsuite")
    age = datetime.now(UTC) - datetime.fromisoformat(found.created)
    assert timedelta(0) <= age < timedelta(minutes=1)


def test_the_commit_and_changes_of_a_checkout_are_noted(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert git_state(repository) == (commit, False)
    git_state.cache_clear()
    (repository / "tasks.yaml").write_text("a: 2\n")
    monkeypatch.setattr(provenance, "checkout_dir", lambda: repository)
    found = collect("cpu", "fp32", 0, "")
    assert (found.git_commit, found.git_dirty) == (commit, True)


def test_a_new_file_makes_a_checkout_dirty(repository: Path) -> None:
    (repository / "new.yaml").write_text("b: 1\n")
    assert git_state(repository)[1] is True


def test_a_copy_inside_another_repository_does_not_take_its_commit(repository: Path) -> None:
    inner = repository / "unpacked"
    inner.mkdir()
    assert git_state(inner) == (None, None)


def test_no_git_no_repository_and_no_commit_are_no_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git_state.cache_clear()
    assert git_state(tmp_path) == (None, None)
    git(tmp_path, "init", "-q")
    git_state.cache_clear()
    assert git_state(tmp_path) == (None, None)
    git_state.cache_clear()
    monkeypatch.setenv("PATH", os.devnull)
    assert git_state(tmp_path) == (None, None)
    monkeypatch.setattr(provenance, "checkout_dir", lambda: None)
    found = collect("cpu", "fp32", 0, "")
    assert (found.git_commit, found.git_dirty) == (None, None)
