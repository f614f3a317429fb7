"""Networks compiled by torch: the same features to rounding, and results of their own."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import evalsuite
from evalsuite.models import modules
from tests.datasets import write_folder_task


class Tower(nn.Module):
    """A small network with `encode_image`; counts how often its code runs as Python."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 5)
        self.calls = 0

    def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        """Return (n, 5)."""
        if not torch.compiler.is_compiling():
            self.calls += 1
        found: torch.Tensor = torch.relu(self.layer(batch.mean(dim=(2, 3))))
        return found


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return a grey level per channel."""
    colour = image.convert("RGB").resize((1, 1)).getpixel((0, 0))
    return torch.tensor(colour, dtype=torch.float32).view(3, 1, 1) / 255


@pytest.fixture(autouse=True)
def without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace as torch.compile does, and run what was traced without making machine code of it, which takes minutes."""
    monkeypatch.setattr(modules.torch, "compile", functools.partial(torch.compile, backend="eager"))


def test_a_compiled_network_gives_the_same_and_its_results_are_kept_apart(tmp_path: Path) -> None:
    task = str(write_folder_task(tmp_path / "shapes"))
    network = Tower()
    model = evalsuite.wrap_module(network, preprocess, name="tower")
    keywords: dict[str, Any] = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache", "batch_size": 9}
    (plain,) = evalsuite.evaluate(model, task, "linear_probe", **keywords)
    called = network.calls
    (fast,) = evalsuite.evaluate(model, task, "linear_probe", compile=True, **keywords)
    assert network.calls == called  # it was traced, not called
    assert model.compiled is None and not hasattr(network, "_orig_mod")  # the caller's own is as it was
    assert fast.metric.value == plain.metric.value
    assert fast.run_key != plain.run_key and fast.changed_options == {"compile": True}
    assert plain.changed_options == {} and fast.options_hash != plain.options_hash
