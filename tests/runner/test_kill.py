"""kill -9 and Ctrl-C during `evalsuite run`, then the same command again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.datasets import write_folder_task
from tests.processes import Finished, Started, Zygote

MODEL = '''
"""Slow enough to be interrupted: it says when it encodes a batch."""

import sys
import torch
from tests.models_for_tests import CountingModel


class Talking(CountingModel):
    def __init__(self):
        print("load", flush=True)
        super().__init__()

    def encode_texts(self, texts):
        print("texts", flush=True)
        return super().encode_texts(texts)

    def encode_images(self, batch):
        print("batch", flush=True)
        return super().encode_images(batch)


def factory():
    return Talking()
'''


@dataclass(frozen=True)
class Setting:
    """Two tasks, a model, and the results of a run that nothing happened to."""

    zygote: Zygote
    folder: Path

    def start(self, out: str) -> Started:
        """Begin a run over both tasks, in batches of two images."""
        folder = self.folder
        arguments = [
            "run", "-m", f"{folder / 'model.py'}:factory",
            "-t", folder / "one" / "one.yaml", "-t", folder / "two" / "two.yaml",
            "-o", folder / out / "results", "--cache-dir", folder / out / "cache", "--batch-size", "2",
        ]  # fmt: skip
        return self.zygote.start(arguments, self.zygote.environment(folder), folder)

    def finish(self, out: str) -> Finished:
        """Type the same command again and see it end well, with the results of the run that nothing happened to."""
        done = self.start(out).finish()
        assert done.returncode == 0, done.stderr
        assert measured(self.folder / out) == measured(self.folder / "undisturbed")
        return done


def measured(folder: Path) -> dict[str, Any]:
    """Return what the records say that is not about time, and the bytes of the stored features.

    Of the fits: lambdas and scores as they are, objectives to nine digits. Their last bits may depend on where
    the system's BLAS finds its operands in memory, which is another matter than losing something.
    """
    found: dict[str, Any] = {}
    for path in sorted((folder / "results").rglob("[!.]*.json")):  # not what a kill left unfinished
        record = json.loads(path.read_text())
        name = f"{path.parent.name}/{path.name}"
        found[name] = [record[key] for key in ("status", "metric", "metrics", "fingerprint")]
        for fold in record["details"].get("folds", []):
            tried = [(trial["lambda"], trial["score"], f"{trial['objective']:.9g}") for trial in fold["tried"]]
            found[name] += [fold["lambda"], fold["plateau"], tried, f"{fold['refit']['objective']:.9g}"]
    for path in sorted((folder / "cache").rglob("*.npy")):
        found["/".join([*path.parts[-4:-2], path.name])] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def setting(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("kill")
    write_folder_task(folder / "one", name="one")
    write_folder_task(folder / "two", name="two", classes=("white", "black", "red"))
    (folder / "model.py").write_text(MODEL)
    found = Setting(zygote, folder)
    found.finish("undisturbed")
    assert len(measured(folder / "undisturbed")) > 4
    return found


def after(batches: int) -> Callable[[str], bool]:
    """Return what says of a line that it is the one after so many batches."""
    seen = iter(range(1, batches + 1))
    return lambda line: line == "batch\n" and next(seen) == batches


@pytest.mark.parametrize("batches", [1, 11, 20])
def test_killed_run_finishes_with_the_same_results(setting: Setting, batches: int) -> None:
    out = f"killed-{batches}"
    process = setting.start(out)
    process.stop_at(after(batches), signal.SIGKILL)
    assert process.finish().returncode == -signal.SIGKILL
    setting.finish(out)
    assert len(list((setting.folder / out / "results").rglob("*.json"))) == 4


def test_run_killed_while_it_fits_finishes_with_the_same_results(setting: Setting) -> None:
    out = "killed-fitting"
    process = setting.start(out)
    results = setting.folder / out / "results"
    deadline = time.monotonic() + 120
    while not list(results.rglob("*.zero_shot.json")) and time.monotonic() < deadline:
        os.sched_yield()
    os.kill(process.pid, signal.SIGKILL)
    assert process.finish().returncode == -signal.SIGKILL
    setting.finish(out)


@pytest.mark.parametrize(
    ("line", "name"), [("load", "SIGTERM"), ("texts", "SIGHUP"), ("texts", "SIGINT"), ("load", "SIGUSR1")]
)
def test_signals_in_other_phases_end_the_same(setting: Setting, line: str, name: str) -> None:
    number = signal.Signals[name]
    process = setting.start(f"{line}-{name}")
    process.stop_at(lambda found: found == f"{line}\n", number)
    stopped = process.finish()
    assert stopped.returncode == 128 + number
    assert "same command" in stopped.stderr and "Traceback" not in stopped.stderr
    setting.finish(f"{line}-{name}")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_signals_keep_what_is_done_say_how_to_go_on_and_have_exit_codes(setting: Setting, name: str) -> None:
    number = signal.Signals[name]
    process = setting.start(name)
    process.stop_at(after(5), number)
    stopped = process.finish()
    assert stopped.returncode == 128 + number
    assert "same command" in stopped.stderr and "Traceback" not in stopped.stderr
    done = setting.finish(name)
    assert done.stdout.count("batch\n") < 28  # of 28 batches in all, some were kept
