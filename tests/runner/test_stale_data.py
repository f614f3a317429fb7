"""A number is never that of other inputs: data, prompts and adapters that were replaced are noticed."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

import evalsuite
from evalsuite.records import Result
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel

RIGHT, WRONG = "templates: ['a photo of a {}.']\n", "templates: ['{} is not what red is.']\n"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A folder dataset whose images have the colour of their class."""
    return write_folder_task(tmp_path / "shapes")


def evaluate(
    tmp_path: Path, task: Path, protocol: str = "zero_shot", model: CountingModel | None = None, **options: object
) -> Result:
    """Evaluate with stores that last."""
    stores = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache", **options}
    (result,) = evalsuite.evaluate(model or CountingModel(), str(task), protocol, **stores)  # type: ignore[arg-type]
    assert isinstance(result, Result)
    return result


def test_prompts_that_are_edited_during_a_run_are_recorded_as_they_were_used(tmp_path: Path, task: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text(RIGHT)

    class Editing(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            file.write_text(WRONG)
            return super().encode_images(batch)

    found = evaluate(tmp_path, task, model=Editing(), prompts=str(file))
    assert found.metric is not None and found.metric.value == 1.0
    assert found.options["prompts"] == hashlib.sha256(RIGHT.encode()).hexdigest()[:8]
    edited = evaluate(tmp_path, task, prompts=str(file))
    assert edited.metric is not None and edited.metric.value == pytest.approx(1 / 3)
    assert edited.options["prompts"] == hashlib.sha256(WRONG.encode()).hexdigest()[:8]


def test_prompts_that_are_edited_during_a_run_are_not_read_again(tmp_path: Path, task: Path) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text(RIGHT)

    class Removing(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            file.unlink(missing_ok=True)
            return super().encode_images(batch)

    assert evaluate(tmp_path, task, model=Removing(), prompts=str(file)).status == "ok"


ADAPTER = """
import numpy as np
from evalsuite.data import raw_pool_from_arrays

VALUE = {value}

def open_pool(root, pool):
    rows = range(4 if pool == "train" else 2)
    images = [np.full((8, 8, 3), VALUE + 40 * (row % 2), np.uint8) for row in rows]
    return raw_pool_from_arrays(images, [row % 2 for row in rows])
"""


@pytest.fixture
def adapted(tmp_path: Path) -> Path:
    """A task that an adapter reads: dark and light images."""
    (tmp_path / "grey.py").write_text(ADAPTER.format(value=10))
    path = tmp_path / "grey.yaml"
    path.write_text(
        "title: Grey\nclasses: [dark, light]\nprompts: {templates: ['{}']}\n"
        "sources: [{kind: python, file: grey.py, pools: [train, test], path: ., labels: {by_index: [dark, light]}}]\n"
    )
    return path


def rewrite(path: Path, content: bytes) -> None:
    """Put other bytes of the same number in a file's place, with the same time of modification."""
    before = path.stat()
    assert len(content) == before.st_size and content != path.read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_adapter_of_the_same_size_and_time_is_the_one_that_runs(
    tmp_path: Path, adapted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "grey.py"
    first = evaluate(tmp_path, adapted, "linear_probe", trust_adapters=True)
    rewrite(file, file.read_bytes().replace(b"10", b"90"))
    second = evaluate(tmp_path, adapted, "linear_probe", trust_adapters=True)
    assert first.data is not None and second.data is not None
    assert second.timings.images_encoded == 6 and first.data.content != second.data.content


def test_a_model_file_of_the_same_size_and_time_is_the_one_that_runs(
    tmp_path: Path, task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "model.py"
    file.write_text(
        "import torch\nfrom tests.models_for_tests import CountingModel\n"
        "class Model(CountingModel):\n"
        "    def encode_images(self, batch):\n"
        "        return {name: 1 * value for name, value in super().encode_images(batch).items()}\n"
        "def make():\n    return Model()\n"
    )
    stores = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    values = []
    for _ in range(2):
        (found,) = evalsuite.evaluate(f"{file}:make", str(task), "linear_probe", **stores)
        values.append(found.metric.value)
        if len(values) == 1:
            rewrite(file, file.read_bytes().replace(b"1 * value", b"0 * value"))
    assert values == [1.0, pytest.approx(1 / 3)]
