"""A baseline model of another package, through public entry points alone: listed, run, compared, ranked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.datasets import write_folder_task
from tests.packages import install
from tests.processes import WarmCli

ACME = '''
"""Two baselines: an object that describes itself, and a torch module."""

import numpy as np
import torch
from torch import nn

from evalsuite.models.base import ModelInfo


def to_tensor(image):
    """Eight by eight pixels, grey."""
    return torch.from_numpy(np.asarray(image.convert("L").resize((8, 8)), dtype=np.float32)[None] / 255)


class Edges:
    """Differences of neighbouring pixels."""

    info = ModelInfo(
        name="acme-edges",
        slug="acme/edges",
        backend="acme",
        fingerprint="edges 1",
        input_size=8,
        layers={"penultimate": 112},
        parameters=0,
        preprocessing="grey, 8 x 8",
        published="resnet/50",
    )
    preprocess = staticmethod(to_tensor)

    def encode_images(self, batch):
        across, down = batch.diff(dim=3), batch.diff(dim=2)
        return {"penultimate": torch.cat([across.flatten(1), down.flatten(1)], dim=1)}


class Random(nn.Module):
    """An untrained layer of 32 units."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(64, 32, generator=generator))

    def forward(self, batch):
        return (batch.flatten(1) @ self.weight).relu()


def edges():
    return Edges()


def random():
    return Random(), to_tensor
'''

ENTRY_POINTS = "[evalsuite.models]\nacme-edges = acme_baselines:edges\nacme-random = acme_baselines:random\n"


@pytest.fixture
def package(tmp_path: Path) -> dict[str, str]:
    """The environment in which a package with two models is installed."""
    return install(tmp_path / "site", ENTRY_POINTS, {"acme_baselines.py": ACME})


def test_it_is_listed_run_and_ranked(tmp_path: Path, cli: WarmCli, package: dict[str, str]) -> None:
    assert "acme-edges" in cli("ls", "models", env=package).stdout
    only = cli("ls", "models", "acme-*", env=package).stdout
    assert "acme_baselines:random" in only and "resnet/50" not in only.partition("A model is one of")[0]

    out, models = tmp_path / "out", ("-m", "acme-edges", "-m", "acme-random")
    done = cli("run", *models, "-t", "digits", "-o", out, env=package)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = {}
    for path in out.rglob("digits.linear_probe.json"):
        record = json.loads(path.read_text())
        found[record["model"]] = record
    edges, random = found["plugin/acme-edges"], found["plugin/acme-random"]
    assert edges["metric"]["value"] > 0.8 and random["metric"]["value"] > 0.5
    assert edges["model_info"]["name"] == "acme-edges" and edges["model_info"]["parameters"] == 0
    assert random["model_info"]["parameters"] == 64 * 32

    again = cli("run", *models, "-t", "digits", "-o", out, env=package)
    assert again.returncode == 0 and again.stderr.count("(stored)") == 2, again.stderr

    table = cli("leaderboard", "-o", out, "--format", "csv", env=package).stdout
    assert "plugin/acme-edges" in table and "plugin/acme-random" in table


def test_it_stands_next_to_the_published_row_that_it_names(
    tmp_path: Path, cli: WarmCli, package: dict[str, str]
) -> None:
    task, out = write_folder_task(tmp_path / "data", name="mnist"), tmp_path / "out"
    done = cli("run", "-m", "acme-edges", "-t", task, "-o", out, env=package)
    assert done.returncode == 0, done.stderr
    table = cli("leaderboard", "-o", out, "-t", "mnist", "--published", "resnet/50", "--format", "csv", env=package)
    assert "plugin/acme-edges" in table.stdout and "resnet/50" in table.stdout, table.stderr
    compared = cli("compare", "plugin/acme-edges", "-o", out, env=package)
    assert compared.returncode == 0 and "resnet/50" in compared.stdout, compared.stderr


def test_a_package_that_fails_on_import_is_an_error_of_its_model_alone(
    tmp_path: Path, cli: WarmCli, package: dict[str, str]
) -> None:
    (tmp_path / "site" / "acme_baselines.py").write_text("import a_module_that_is_not_there\n")
    assert cli("ls", "models", env=package).returncode == 0
    done = cli("run", "-m", "acme-edges", "-m", "pixels", "-t", "digits", "-o", tmp_path / "out", env=package)
    assert done.returncode == 1
    assert "acme-edges: acme_baselines:edges fails on import" in done.stderr
    assert "a_module_that_is_not_there" in done.stderr and "Traceback" not in done.stderr
    assert list((tmp_path / "out").glob("pixels-*"))
