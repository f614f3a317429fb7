"""A model that overflows in half precision: the next precision is taken, recorded, and remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import evalsuite
from evalsuite import api
from evalsuite.runner.base import Reporter
from tests.datasets import write_folder_task


class Listener(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)


class Loud(torch.nn.Module):
    """A linear layer whose output is `scale` times the mean colour; remembers in which types it has computed."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3, bias=False)
        torch.nn.init.eye_(self.layer.weight)
        with torch.no_grad():
            self.layer.weight.mul_(scale)
        self.seen_types: list[torch.dtype] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return (n, 3)."""
        found: torch.Tensor = self.layer(batch.mean(dim=(2, 3)))
        self.seen_types.append(found.dtype)
        return found


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the pixels in [0, 1]."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255).permute(2, 0, 1)


def run(tmp_path: Path, network: Loud, task: str, reporter: Reporter | None = None, **options: Any) -> Any:
    """Probe a network and return the result."""
    network.seen_types.clear()
    model = evalsuite.wrap_module(network, preprocess, name="loud")
    network.seen_types.clear()
    keywords = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache", "reporter": reporter, **options}
    (result,) = evalsuite.evaluate(model, task, "linear_probe", **keywords)
    return result


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A task, on a machine whose `auto` is what it is on a GPU."""
    choose = api.choose_precisions
    monkeypatch.setattr(api, "choose_precisions", lambda asked, device: choose(asked, torch.device("cuda")))
    return str(write_folder_task(tmp_path / "shapes"))


def test_auto_takes_the_next_precision_where_fp16_overflows_and_remembers_it(tmp_path: Path, task: str) -> None:
    network, listener = Loud(1e6), Listener()
    first = run(tmp_path, network, task, listener)
    assert first.status == "ok" and first.provenance.precision == "bf16"
    narrow = network.seen_types.count(torch.float16)  # the next batch may be on its way when the first is looked at
    assert narrow >= 1 and set(network.seen_types[:narrow]) == {torch.float16}
    assert set(network.seen_types[narrow:]) == {torch.bfloat16}
    assert any("bf16 was used" in warning for warning in first.warnings)
    (note,) = [note for note in listener.notes if note.startswith("Warning")]
    assert "not finite" in note and "fp16" in note and "bf16" in note

    again = run(tmp_path, network, task, overwrite=True)
    assert again.run_key == first.run_key and again.warnings == first.warnings
    assert not network.seen_types  # bf16 features were found at once: nothing is encoded


def test_a_model_that_no_half_precision_holds_runs_at_fp32(tmp_path: Path, task: str) -> None:
    class Halved(Loud):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            found = super().forward(batch)
            return found / 0 if found.dtype == torch.bfloat16 else found

    result = run(tmp_path, Halved(1e6), task)
    assert result.status == "ok", result.error
    assert result.provenance.precision == "fp32"


def test_a_precision_that_was_asked_for_is_not_exchanged(tmp_path: Path, task: str) -> None:
    network = Loud(1e6)
    run(tmp_path, network, task)
    result = run(tmp_path, network, task, precision="fp16")
    assert result.status == "error" and "--precision fp32" in result.error.message
    assert set(network.seen_types) == {torch.float16}


def test_a_model_that_fits_stays_at_fp16(tmp_path: Path, task: str) -> None:
    result = run(tmp_path, Loud(1.0), task)
    assert result.provenance.precision == "fp16"
    assert not any("was used" in warning for warning in result.warnings)
