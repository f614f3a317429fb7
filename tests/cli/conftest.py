"""Small things to run the command line on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.datasets import write_folder_task

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
