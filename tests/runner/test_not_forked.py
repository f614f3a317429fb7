"""Models from files, and what cannot be pickled, where workers start as new processes (macOS, Windows, Python 3.14)."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

import evalsuite
from evalsuite.errors import UsageError
from tests.datasets import write_folder_task

MODEL = """
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Shrink:
    side: int

    def __call__(self, image):
        small = image.convert("RGB").resize((self.side, self.side))
        return torch.from_numpy(np.asarray(small, np.float32) / 255).permute(2, 0, 1)


def function(image):
    return Shrink(8)(image)


def of_a_function():
    return nn.Flatten(), function


def of_a_class():
    return nn.Flatten(), Shrink(8)


def of_a_lambda():
    return nn.Flatten(), lambda image: Shrink(8)(image)
"""

SCRIPT = """
import multiprocessing, sys
import evalsuite

if __name__ == "__main__":
    method, task, *models = sys.argv[1:]
    multiprocessing.set_start_method(method)
    found = evalsuite.evaluate(models, task, "linear_probe", output="out", cache_dir="cache", workers=1)
    for result in found:
        print(result.model, result.status, result.error.message if result.error else result.metric.value)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_models_from_files_are_evaluated_where_workers_are_not_forked(tmp_path: Path, method: str) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "script.py").write_text(SCRIPT)
    task = write_folder_task(tmp_path / "shapes")
    names = ("function", "class", "lambda")
    models = [f"mine.py:of_a_{name}" for name in names]
    done = subprocess.run(
        [sys.executable, "script.py", method, task, *models], cwd=tmp_path, text=True, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"file/mine-of_a_{name} ok 1.0" for name in names]


def test_a_script_that_every_process_runs_again_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # As a process is in which multiprocessing runs the script of its parent: the parent would wait for it, and it for
    # the job that the parent holds.
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(UsageError, match=r"__main__.*workers=0"):
        evalsuite.evaluate("pocket", "digits", output=tmp_path / "out", cache_dir=tmp_path / "cache")
