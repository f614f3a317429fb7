"""The command line on the 27 datasets: everything there, nearly nothing there, and `validate`."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalsuite import cli
from tests.cli.conftest import contents
from tests.paper import small_clip
from tests.paper.conftest import Tree
from tests.paper.tree import WRITERS
from tests.processes import Zygote

PRESENT = {"mnist": "MNIST", "eurosat": "eurosat", "hateful_memes": "hateful_memes"}
"""The tasks whose data is there, and its folder."""

ALL_CLASSES = (
    *("cifar10", "voc2007", "oxford_pets", "mnist", "fer2013", "stl10", "eurosat", "gtsrb", "kitti_distance", "pcam"),
    *("clevr_counts", "hateful_memes", "rendered_sst2"),
)
"""The tasks that have samples of all their classes in the tree."""

HOW = r"evalsuite download \S*{name}|\b[Pp]ut .+ into|\bSort the videos into|\bunpack .+ so that"

Here = Callable[..., tuple[int, str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_checksums: None) -> Here:
    """Run the command line in this process; return its exit code and all it printed."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["evalsuite", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, " ".join((printed.out + printed.err).split())

    return run


def options(tree: Tree, stores: Path, data: Path | None = None) -> list[str]:
    """Return where the data, the task files and the stores are."""
    folders = ["--data-root", data or tree.data, "--include-path", tree.tasks, "--trust-adapters"]
    return [str(item) for item in [*folders, "--output", stores / "out", "--cache-dir", stores / "cache"]]


def results(stores: Path) -> list[dict[str, Any]]:
    """Read every result."""
    return [json.loads(path.read_text("utf-8")) for path in sorted((stores / "out").rglob("*.json"))]


@pytest.mark.slow
def test_two_models_on_all_tasks(tree: Tree, tmp_path: Path, zygote: Zygote) -> None:
    models = ["-m", "pixels", "-m", f"{small_clip.__file__}:factory"]

    def launch(*more: str) -> str:
        arguments = ["run", "-t", "all", *models, *options(tree, tmp_path), *more]
        code = "from tests.paper.launch import main; main()"
        done = zygote.run(arguments, zygote.environment(tmp_path), tmp_path, code=code)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    assert "108 results (27 not applicable, 81 ok)" in launch()
    found = Counter((result["model"], result["protocol"], result["status"]) for result in results(tmp_path))
    (clip,) = {model for model, _, _ in found} - {"pixels"}
    assert found == {
        ("pixels", "linear_probe", "ok"): 27,
        ("pixels", "zero_shot", "not_applicable"): 27,
        (clip, "linear_probe", "ok"): 27,
        (clip, "zero_shot", "ok"): 27,
    }
    values = [result["metric"]["value"] for result in results(tmp_path) if result["metric"]]
    assert all(0 <= value <= 1 for value in values) and len(set(values)) > 10
    check_plan(launch("--dry-run"), clip)
    before = contents(tmp_path / "out")
    assert "108 results (27 not applicable, 81 ok)" in launch()
    written = {path for path, content in contents(tmp_path / "out").items() if before[path] != content}
    # Only what has no value is written again.
    assert written <= {path for path in before if path.startswith("pixels-") and path.endswith(".zero_shot.json")}


def check_plan(printed: str, clip: str) -> None:
    """Check the plan after a run: all is stored, but what a model of somebody's code is known by is in its weights."""
    lines = [line for line in printed.splitlines() if line.startswith(("pixels ", f"{clip} "))]
    assert len(lines) == 108
    known = ("stored", "not applicable", "to do", "blocked")
    states = Counter((line.split()[0], next(state for state in known if f" {state} " in line)) for line in lines)
    assert states == {("pixels", "stored"): 27, ("pixels", "not applicable"): 27, (clip, "to do"): 54}
    assert printed.count("known only after its code has run") == 54
    assert "108 jobs: 54 to do, 0 blocked." in printed


def test_what_is_missing_is_said_with_the_way_to_get_it(tree: Tree, tmp_path: Path, here: Here) -> None:
    data = tmp_path / "data"
    for folder in PRESENT.values():
        shutil.copytree(tree.data / folder, data / folder)
    command = ["run", "-m", "pixels", "-t", "all", "--protocol", "linear_probe", *options(tree, tmp_path, data)]
    code, printed = here(*command)
    assert code == 1 and "27 results (24 error, 3 ok)" in printed
    found = {result["task"]: result for result in results(tmp_path)}
    assert {name for name, result in found.items() if result["status"] == "ok"} == set(PRESENT)
    for name in set(WRITERS) - set(PRESENT):
        assert found[name]["status"] == "error" and found[name]["error"]["kind"] == "DataMissingError"
        message = found[name]["error"]["message"]
        assert f"'{name}'" in message and str(data) in message
        assert re.search(HOW.format(name=name), message), message
        assert "Homepage of the dataset: http" in message
    shutil.rmtree(tmp_path / "out")
    code, printed = here(*command, "--skip-missing")
    assert code == 0 and "3 results (3 ok)" in printed
    assert all(re.search(rf"Skipped [\w ,]*\b{name}:", printed) for name in set(WRITERS) - set(PRESENT))
    assert {result["task"] for result in results(tmp_path)} == set(PRESENT)


def test_tasks_with_all_their_classes_are_valid(tree: Tree, tmp_path: Path, here: Here) -> None:
    folders = options(tree, tmp_path)[: -len(("--output", "DIR", "--cache-dir", "DIR"))]
    code, printed = here("validate", *ALL_CLASSES, *folders)
    assert code == 0, printed
    assert f"{len(ALL_CLASSES)} tasks, 0 failed." in printed
    code, printed = here("validate", "imagenet", *folders)
    assert code == 1 and "no sample of 993 classes" in printed
