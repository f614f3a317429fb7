"""Small things to run the command line on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.datasets import write_folder_task
from tests.processes import WarmCli, Zygote

COLOUR_MODEL = '''
"""A model whose features are the mean colour of an image, and whose texts are the colours they name."""

import numpy as np
import torch
from torch import nn

WORDS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class Colours(nn.Module):
    def encode_image(self, batch):
        return batch.mean(dim=(2, 3))

    def encode_text(self, tokens):
        return tokens


def preprocess(image):
    pixels = np.asarray(image.convert("RGB").resize((8, 8)), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)


def tokenizer(texts):
    return torch.tensor([[sum(WORDS[w][c] for w in text.split() if w in WORDS) for c in range(3)] for text in texts])


def factory():
    return Colours(), preprocess, tokenizer


def images_only():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), preprocess
'''


STORES = ("-o", "out", "--cache-dir", "cache")

REFUSE_HEAVY_IMPORTS = """
import sys

HEAVY = {"torch", "torchvision", "open_clip", "timm", "datasets", "transformers", "sklearn"}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise AssertionError(f"{name} was imported")


sys.meta_path.insert(0, Refuse())
"""
"""A sitecustomize.py that lets imports of what takes seconds fail."""


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A small folder dataset: three colours, six images each to train, three to test; its task file."""
    return write_folder_task(tmp_path / "data")


@pytest.fixture
def colours(tmp_path: Path) -> str:
    """The name of a tiny model with a text encoder that knows three colours."""
    path = tmp_path / "colour_model.py"
    path.write_text(COLOUR_MODEL)
    return f"{path}:factory"


def records(folder: Path) -> list[dict[str, Any]]:
    """Read every result under a folder, in the order of their names."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.rglob("*.json"))]


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file under a folder, locks left out: what must not change."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def finished_run(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the colour model was run on three colours, with --log-samples; never changed by a test."""
    folder = tmp_path_factory.mktemp("finished")
    task = write_folder_task(folder / "data")
    (folder / "colour_model.py").write_text(COLOUR_MODEL)
    arguments = ["run", "-m", "colour_model.py:factory", "-t", str(task), *STORES, "--log-samples"]
    finished = zygote.run(arguments, zygote.environment(folder), folder, ())
    assert finished.returncode == 0, finished.stderr
    assert "2 results (2 ok) in out" in finished.output
    return folder


@pytest.fixture
def work(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run to work in; modification times are kept."""
    return Path(shutil.copytree(finished_run, tmp_path / "work"))


def by_protocol(folder: Path) -> Mapping[str, dict[str, Any]]:
    """Read the records of a store by protocol."""
    return {record["protocol"]: record for record in records(folder)}


def planned(stdout: str) -> list[tuple[str, str, str, str]]:
    """Return (model, task, protocol, state) of each line of a plan."""
    return [tuple(re.split(r"  +", line)[:4]) for line in stdout.splitlines()[2:] if line][:-1]  # type: ignore[misc]


def plan_of(cli: WarmCli, *arguments: str | Path) -> list[tuple[str, str, str, str]]:
    finished = cli("run", "--dry-run", "--data-root", ".", "--offline", *arguments, *STORES)
    assert finished.returncode == 0, finished.stderr
    return planned(finished.stdout)


def tasks_of(plan: list[tuple[str, str, str, str]]) -> list[str]:
    return list(dict.fromkeys(line[1] for line in plan))
