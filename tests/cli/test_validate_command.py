"""`evalsuite validate` proves task files."""

from __future__ import annotations

import json
from pathlib import Path

from tests.processes import WarmCli


def test_validate_prints_every_check_and_fails_where_one_fails(cli: WarmCli, shapes: Path) -> None:
    good = cli("validate", shapes)
    assert good.returncode == 0
    assert "train 18, test 9" in good.stdout
    assert "3 decoded, one of each class" in good.stdout
    bad = shapes.with_name("bad.yaml")
    bad.write_text(shapes.read_text().replace("test: 9", "test: 10"))
    worse = shapes.with_name("worse.yaml")
    worse.write_text(shapes.read_text().replace("title:", "titel:"))
    finished = cli("validate", shapes, bad, worse)
    assert finished.returncode == 1
    assert "exactly 10" in finished.output
    assert "unknown key 'titel'" in finished.output
    assert "3 tasks, 2 failed" in finished.output


def test_validate_fails_for_a_path_that_is_not_there(cli: WarmCli, shapes: Path) -> None:
    shapes.write_text(shapes.read_text().replace("path: .", "path: nowhere"))
    moved = cli("validate", shapes)
    assert moved.returncode == 1
    assert "1 task, 1 failed" in moved.stdout and "nowhere/train" in moved.stdout
    root = cli("validate", "mnist", "--data-root", "nowhere", "--offline")
    assert root.returncode == 2 and "--data-root nowhere" in root.stderr


def test_validate_prints_the_schema(cli: WarmCli) -> None:
    schema = json.loads(cli("validate", "--schema").stdout)
    assert "name" not in schema["required"]
    assert "sources" in schema["required"]


def test_every_shipped_task_file_is_valid(cli: WarmCli, tmp_path: Path) -> None:
    finished = cli("validate", "--offline")
    assert finished.returncode == 0, finished.output
    assert ", 0 failed" in finished.stdout
