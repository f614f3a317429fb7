"""kill -9 and Ctrl-C during `evalsuite run`, then the same command again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import cli_environment
from tests.datasets import write_folder_task

MODEL = '''
"""Slow enough to be interrupted: it says when it encodes a batch."""

import sys
import torch
from tests.models_for_tests import CountingModel


class Talking(CountingModel):
    def encode_images(self, batch):
        print("batch", flush=True)
        return super().encode_images(batch)


def factory():
    return Talking()
'''


def command(tmp_path: Path, out: str) -> list[str]:
    """Return a run over two tasks, in batches of two images."""
    return [
        sys.executable, "-m", "evalsuite", "run", "-m", f"{tmp_path / 'model.py'}:factory",
        "-t", str(tmp_path / "one" / "one.yaml"), "-t", str(tmp_path / "two" / "two.yaml"),
        "-o", str(tmp_path / out / "results"), "--cache-dir", str(tmp_path / out / "cache"), "--batch-size", "2",
    ]  # fmt: skip


def start(tmp_path: Path, out: str) -> subprocess.Popen[str]:
    """Begin the run."""
    environment = cli_environment(tmp_path, {"PYTHONPATH": str(Path(__file__).resolve().parents[2])})
    return subprocess.Popen(
        command(tmp_path, out),
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def measured(folder: Path) -> dict[str, Any]:
    """Return what the records say that is not about time, and the bytes of the stored features.

    Of the fits: lambdas and scores as they are, objectives to nine digits. Their last bits may depend on where
    the system's BLAS finds its operands in memory, which is another matter than losing something.
    """
    found: dict[str, Any] = {}
    for path in sorted((folder / "results").rglob("*.json")):
        record = json.loads(path.read_text())
        found[path.name] = [record[key] for key in ("status", "metric", "metrics", "fingerprint")]
        for fold in record["details"].get("folds", []):
            tried = [(trial["lambda"], trial["score"], f"{trial['objective']:.9g}") for trial in fold["tried"]]
            found[path.name] += [fold["lambda"], fold["plateau"], tried, f"{fold['refit']['objective']:.9g}"]
    for path in sorted((folder / "cache").rglob("*.npy")):
        found[f"{path.parent.parent.name}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks, a model, and the results of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("kill")
    write_folder_task(folder / "one", name="one")
    write_folder_task(folder / "two", name="two", classes=("white", "black", "red"))
    (folder / "model.py").write_text(MODEL)
    process = start(folder, "undisturbed")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return folder


def stop_at(process: subprocess.Popen[str], batches: int, number: int) -> None:
    """Send a signal after so many batches."""
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += line == "batch\n"
        if seen >= batches:
            break
    os.kill(process.pid, number)


@pytest.mark.parametrize("batches", [1, 11, 20])
def test_killed_run_finishes_with_the_same_results(setting: Path, batches: int) -> None:
    out = f"killed-{batches}"
    process = start(setting, out)
    stop_at(process, batches, signal.SIGKILL)
    process.communicate()
    process = start(setting, out)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert measured(setting / out) == measured(setting / "undisturbed")
    assert len(list((setting / out / "results").rglob("*.json"))) == 4


def test_run_killed_while_it_fits_finishes_with_the_same_results(setting: Path) -> None:
    out = "killed-fitting"
    process = start(setting, out)
    results = setting / out / "results"
    deadline = time.monotonic() + 120
    while not list(results.rglob("*.zero_shot.json")) and time.monotonic() < deadline and process.poll() is None:
        os.sched_yield()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    process = start(setting, out)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert measured(setting / out) == measured(setting / "undisturbed")


def test_ctrl_c_exits_130_keeps_what_is_done_and_says_how_to_go_on(setting: Path) -> None:
    process = start(setting, "interrupted")
    stop_at(process, 5, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "same command" in errors and "Traceback" not in errors
    process = start(setting, "interrupted")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.count("batch\n") < 28  # of 28 batches in all, some were kept
    assert measured(setting / "interrupted") == measured(setting / "undisturbed")
