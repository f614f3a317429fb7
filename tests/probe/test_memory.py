"""A sweep's memory: what a process needs beyond the features, by the kernel's own account."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")

SWEEP = """
import sys
from pathlib import Path

import torch

from evalsuite.probe import Targets, refit, sweep

rows, dim, classes, iterations = map(int, sys.argv[1:])


def peak() -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


torch.manual_seed(0)
labels = torch.arange(rows) % classes
features = torch.rand(rows, dim)
features[torch.arange(rows), labels % dim] += 0.5
before = peak()
found = sweep(
    features,
    Targets("multinomial", labels, classes),
    fit_rows=torch.arange(0, rows * 9 // 10),
    validation_rows=torch.arange(rows * 9 // 10, rows),
    score=lambda logits: float((logits.argmax(1) == labels[rows * 9 // 10 :]).double().mean()),
    max_iterations=iterations,
)
refit(
    features,
    Targets("multinomial", labels, classes),
    found.best_lambda,
    warm_start=found.solution,
    max_iterations=iterations,
)
print(before, peak(), features.numel() * 4)
"""


@pytest.mark.skipif(not STATUS.is_file(), reason="the kernel tells a process's peak memory in /proc")
@pytest.mark.parametrize(
    ("rows", "dim", "classes", "iterations"),
    [(48_000, 784, 10, 1), (4_000, 512, 100, 12)],
    ids=["MNIST's shape", "many classes"],
)
def test_a_sweep_needs_half_the_features_and_300_mb(rows: int, dim: int, classes: int, iterations: int) -> None:
    """The bound is 1.5 x the features + 300 MB with the features themselves."""
    script = subprocess.run(
        [sys.executable, "-c", SWEEP, *map(str, (rows, dim, classes, iterations))],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert script.returncode == 0, script.stderr
    before, after, size = map(int, script.stdout.split())
    assert before > size  # the features were counted
    assert after - before <= 0.5 * size + 300e6
