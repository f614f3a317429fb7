"""What only a GPU can show: pinned memory, streams, memory that runs out, half precisions, the probe's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest
import torch
from sklearn.datasets import load_digits

import evalsuite
from evalsuite.executors.local import LocalExecutor
from evalsuite.features.batches import Batch
from evalsuite.features.encoding import EncodedBatch, Encoder, Room, encode_batches
from evalsuite.features.lanes import pinned
from evalsuite.models.preprocessing import Finish
from evalsuite.nearest import nearest
from evalsuite.probe import Targets, refit, sweep
from tests.models_for_tests import CountingModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

PATIENCE = 60.0
"""Seconds after which a test that waits for another thread gives up: it has failed then."""

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
FINISH = Finish((0.48, 0.45, 0.40), (0.26, 0.26, 0.27))


def noise(count: int, side: int = 32, seed: int = 0) -> torch.Tensor:
    """Return `count` images of noise, uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


class Convolution(CountingModel):
    """A small convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.module = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.GELU(), torch.nn.Conv2d(16, 24, 3), torch.nn.Flatten()
        )
        self.last = torch.nn.LazyLinear(40)

    def to(self, device: torch.device) -> Convolution:
        """Move the network."""
        self.module.to(device)
        self.last.to(device)
        return self

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Encode."""
        return {"penultimate": self.last(self.module(batch))}


def encoded(model: CountingModel, device: torch.device, precision: str, batches: Sequence[Batch]) -> torch.Tensor:
    """Return the features of all batches."""
    found = list(encode_batches(model, device, precision, batches))  # type: ignore[arg-type]
    return torch.cat([item.layers["penultimate"] for item in found])


@pytest.mark.parametrize(("precision", "far"), [("fp32", 2e-6), ("fp16", 2e-3), ("bf16", 2e-2)])
def test_features_are_those_of_the_cpu(precision: str, far: float, loose: object) -> None:
    images = noise(96)
    batches = [Batch(images[start : start + 32], list(range(start, start + 32)), [], FINISH) for start in (0, 32, 64)]
    model = Convolution()
    expected = encoded(model, CPU, "fp32", batches)
    found = encoded(model.to(GPU), GPU, precision, batches)
    assert float((found.float() - expected).norm() / expected.norm()) < far
    assert found.dtype == (torch.float16 if precision == "fp16" else torch.float32)


def test_pixels_are_the_same_bits_on_both() -> None:
    images = noise(8)
    assert torch.equal(FINISH(images.to(GPU)).cpu(), FINISH(images))


def test_memory_that_is_used_again_at_once_is_copied_whole_before() -> None:
    """A slot is overwritten as soon as its batch is released: a copy that is still under way would show it."""
    slots = torch.zeros(2, 64, 3, 96, 96, dtype=torch.uint8)
    free: SimpleQueue[int] = SimpleQueue()
    for slot in range(len(slots)):
        free.put(slot)

    def batches() -> Iterator[Batch]:
        for number in range(300):
            slot = free.get(timeout=PATIENCE)  # the thread of the device gives it back
            slots[slot].fill_(number % 251)
            yield Batch(slots[slot], [number] * 64, [], None, lambda slot=slot: free.put(slot))  # type: ignore[misc]

    class Mean(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            values = batch.float()
            for _ in range(20):  # the device is behind
                values = values.flip(-1)
            low, high = values.amin((1, 2, 3)), values.amax((1, 2, 3))
            return {"penultimate": torch.stack([low, high], 1)}

    with pinned(slots, "cuda"):
        assert slots[0].is_pinned()
        for item in encode_batches(Mean(), GPU, "fp32", batches()):
            assert bool((item.layers["penultimate"] == item.rows[0] % 251).all()), item.rows[0]


def test_a_batch_that_does_not_fit_is_encoded_in_parts_and_said_once() -> None:
    class Large(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            room = torch.empty(len(batch), 16 << 20, dtype=torch.uint8, device=batch.device)  # 16 MB for each image
            room[:, :3] = batch[:, :, 0, 0]
            return {"penultimate": room[:, :3].float()}

    images = noise(256, side=8)
    said: list[str] = []
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.set_per_process_memory_fraction((1 << 30) / total, GPU)
    try:
        encoder = Encoder(Large(), GPU, "fp32", room := Room(said.append))
        found: list[EncodedBatch] = []
        with encoder.used():
            for start in (0, 128):
                batch = Batch(images[start : start + 128], list(range(start, start + 128)), [])
                found.append(encoder.fetch(batch, encoder.launch(batch)))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert torch.equal(torch.cat([item.layers["penultimate"] for item in found]), images[:, :, 0, 0].float())
    assert room.most in (16, 32) and len(said) == 1 and "cuda:0" in said[0], said


def test_fp16_that_overflows_becomes_bf16_and_the_record_says_so(tmp_path: Path) -> None:
    class Loud(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second = torch.nn.Linear(192, 64), torch.nn.Linear(64, 16)
            self.first.weight.data *= 4e5

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.second(torch.nn.functional.adaptive_avg_pool2d(images, 8).flatten(1) @ self.first.weight.T)

    (found,) = evalsuite.evaluate(
        Loud(), "digits", "prototype", preprocess=evalsuite.load_model("pocket").preprocess, name="loud", device="cuda",
        output=tmp_path / "results", cache_dir=tmp_path / "cache",
    )  # fmt: skip
    assert found.error is None and found.provenance.precision == "bf16", found


def test_every_protocol_gives_the_numbers_of_the_cpu(tmp_path: Path) -> None:
    def numbers(device: str) -> dict[str, float]:
        found = evalsuite.evaluate(
            "pocket", "digits", "all", device=device, precision="fp32",
            output=tmp_path / device / "results", cache_dir=tmp_path / device / "cache",
        )  # fmt: skip
        assert {result.status for result in found} <= {"ok", "skipped"}, found
        return {f"{result.protocol}": result.metric.value for result in found if result.metric is not None}

    on_cpu, on_gpu = numbers("cpu"), numbers("cuda")
    assert on_cpu.keys() == on_gpu.keys() and len(on_cpu) >= 4
    for protocol, value in on_cpu.items():
        assert on_gpu[protocol] == pytest.approx(value, abs=0.004), protocol  # one or two of some 900 images


def test_the_search_of_a_probe_ends_where_that_of_the_cpu_ends(loose: object) -> None:
    digits = load_digits()
    features = torch.from_numpy(digits.data / 16).float()
    labels = torch.from_numpy(digits.target)
    fit_rows, validation_rows = torch.arange(1_200), torch.arange(1_200, 1_797)

    def searched(device: torch.device) -> tuple[float, torch.Tensor]:
        mine, targets = features.to(device), Targets("multinomial", labels.to(device), 10)

        def score(logits: torch.Tensor) -> float:
            return float((logits.argmax(-1) == targets.values[validation_rows.to(device)]).double().mean())

        found = sweep(
            mine, targets, fit_rows=fit_rows.to(device), validation_rows=validation_rows.to(device), score=score
        )
        final = refit(mine, targets, found.best_lambda, warm_start=found.solution)
        return found.best_lambda, final.logits(0, mine).cpu()

    (expected, logits), (found, others) = searched(CPU), searched(GPU)
    assert found == expected
    assert float((others - logits).norm() / logits.norm()) < 1e-3


def test_neighbours_are_those_of_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    asked, bank = (torch.randn(count, 64, generator=generator) for count in (300, 2_000))
    expected, found = nearest(asked, bank, 20), nearest(asked.to(GPU), bank.to(GPU), 20)
    torch.testing.assert_close(found.similarity.cpu(), expected.similarity, atol=1e-5, rtol=0)
    assert torch.equal(found.rows.cpu(), expected.rows)


def test_a_compiled_network_gives_its_features() -> None:
    model = evalsuite.load_model("pocket")
    images = noise(64)
    batches = [Batch(images, list(range(64)), [], FINISH)]
    model.to(GPU)
    plain, fast = (
        list(LocalExecutor([GPU], ["fp32"], compile=compile).mapping(model, "fp32")(batches))
        for compile in (False, True)
    )
    for name, expected in plain[0].layers.items():
        torch.testing.assert_close(fast[0].layers[name], expected, atol=1e-3, rtol=1e-3)


def test_features_that_a_model_has_brought_to_the_cpu_itself_are_taken_as_they_are() -> None:
    class Homely(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            return {"penultimate": batch.mean(dim=(2, 3)).cpu()}

    images = noise(8)
    found = encoded(Homely(), GPU, "fp32", [Batch(images, list(range(8)), [], FINISH)])
    torch.testing.assert_close(found, FINISH(images).mean(dim=(2, 3)), atol=1e-5, rtol=1e-5)


def test_the_memory_that_runs_take_of_the_device_does_not_grow(tmp_path: Path) -> None:
    def run(number: int) -> int:
        evalsuite.evaluate(
            "pocket", "digits", "linear_probe", device="cuda", limit=200,
            output=tmp_path / f"results{number}", cache_dir=tmp_path / f"cache{number}",
        )  # fmt: skip
        return torch.cuda.memory_allocated(GPU)

    _, first = run(0), run(1)  # what libraries keep for a thread and a stream
    assert [run(2), run(3)] == [first] * 2
