"""A number is never that of another state of a model: what decides it is looked at again at every evaluation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

import evalsuite
from evalsuite.records import Result
from tests.datasets import write_folder_task

SIZE = 8


def shrink(image: Image.Image) -> torch.Tensor:
    """Read the global, as people's notebooks do."""
    pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE)), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255


class Encoder(nn.Module):
    """A network of one weight per colour."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.temperature = 1.0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the mean colours, weighted."""
        return batch.mean(dim=(2, 3)) * self.weight / self.temperature


@pytest.fixture
def task(tmp_path: Path) -> str:
    return str(write_folder_task(tmp_path / "shapes"))


@pytest.fixture
def probe(tmp_path: Path, task: str) -> Callable[[Any], Result]:
    """A function that evaluates a model on three colours, with stores that last."""

    def evaluate(model: Any) -> Result:
        (result,) = evalsuite.evaluate(
            model, task, "linear_probe", output=tmp_path / "out", cache_dir=tmp_path / "cache"
        )
        assert isinstance(result, Result) and result.metric is not None, result
        return result

    return evaluate


def encoded(result: Result) -> int:
    """Return how many images the evaluation encoded: none where it was served from the store."""
    return result.timings.images_encoded


def was_stored(first: Result, second: Result) -> bool:
    """Say whether the second evaluation gave the record of the first."""
    assert first.provenance is not None and second.provenance is not None
    return first.provenance.created == second.provenance.created and first == second


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.weight.data.zero_(),
        lambda model: model.load_state_dict({"weight": torch.zeros(3)}),
        lambda model: setattr(model, "weight", nn.Parameter(torch.zeros(3))),
        lambda model: setattr(model, "temperature", float("inf")),
        lambda model: model.register_forward_hook(lambda module, given, made: made * 0),
    ],
    ids=["data", "loaded", "replaced", "attribute", "hook"],
)
def test_a_model_that_was_wrapped_once_and_changed_since_is_computed_anew(
    probe: Callable[[Any], Result], change: Callable[[Encoder], object]
) -> None:
    network = Encoder()
    model = evalsuite.wrap_module(network, shrink, name="training")
    first = probe(model)
    assert was_stored(first, probe(model))
    change(network)
    second = probe(model)
    assert first.metric is not None and first.metric.value == 1.0
    assert second.metric is not None and second.metric.value == pytest.approx(1 / 3)
    assert second.run_key != first.run_key and second.model_fingerprint != first.model_fingerprint


def test_every_step_of_a_training_loop_has_its_own_number(probe: Callable[[Any], Result]) -> None:
    network = Encoder()
    model = evalsuite.wrap_module(network, shrink, name="training")
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    keys = []
    for _ in range(3):
        keys.append(probe(model).run_key)
        network(torch.ones(2, 3, 4, 4)).sum().backward()
        optimiser.step()
    assert len(set(keys)) == 3


def test_an_edited_global_a_new_lambda_and_a_new_forward_are_computed_anew(
    probe: Callable[[Any], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pipeline(function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        return transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor(), transforms.Lambda(function)])

    first = probe(evalsuite.wrap_module(Encoder(), shrink, name="m"))
    monkeypatch.setitem(globals(), "SIZE", 2)
    assert encoded(probe(evalsuite.wrap_module(Encoder(), shrink, name="m"))) == 27
    monkeypatch.setitem(globals(), "SIZE", 8)
    assert was_stored(first, probe(evalsuite.wrap_module(Encoder(), shrink, name="m")))

    as_it_is = probe(evalsuite.wrap_module(Encoder(), pipeline(lambda x: x), name="m"))
    blank = probe(evalsuite.wrap_module(Encoder(), pipeline(lambda x: x * 0), name="m"))
    assert as_it_is.metric is not None and blank.metric is not None
    assert as_it_is.metric.value == 1.0 and blank.metric.value == pytest.approx(1 / 3)

    before = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, batch: before(self, batch) * 0)
    edited = probe(evalsuite.wrap_module(Encoder(), shrink, name="m"))
    assert edited.metric is not None and edited.metric.value == pytest.approx(1 / 3)


def test_a_model_that_cannot_be_described_is_never_reused_and_the_record_says_why(
    probe: Callable[[Any], Result], tmp_path: Path
) -> None:
    class Guarded(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    model = evalsuite.wrap_module(Guarded(), shrink, name="guarded")
    first, second = probe(model), probe(model)
    assert encoded(first) == encoded(second) == 27
    assert not was_stored(first, second)
    assert first.model_info is not None and first.model_info.not_described == ("an object of the type _thread.lock",)
    assert any("_thread.lock" in warning and "computed anew" in warning for warning in first.warnings)
    assert not list((tmp_path / "cache" / "features").glob("guarded*"))
    assert len(list((tmp_path / "out").rglob("*.linear_probe.json"))) == 1


def test_evaluation_leaves_the_model_and_the_random_states_as_they_were(probe: Callable[[Any], Result]) -> None:
    network = Encoder().train()
    model = evalsuite.wrap_module(network, shrink, name="training")
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    probe(model)
    assert torch.equal(torch.rand(3), expected)
    assert network.training and network.weight.requires_grad
