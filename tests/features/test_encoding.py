"""What devices do with batches: several at a time, features fetched late, memory found once, images released."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from evalsuite import probe
from evalsuite.errors import JobError
from evalsuite.features import encoding
from evalsuite.features.batches import Batch
from evalsuite.features.encoding import EncodedBatch, Encoder, Precision, Room, encode_batches, encode_over
from evalsuite.features.lanes import HostLane
from evalsuite.models.layers import own_layers
from evalsuite.models.modules import TorchImageModel
from evalsuite.models.pocket import load_pocket
from evalsuite.models.preprocessing import Finish
from evalsuite.precision import exact_products
from evalsuite.threads import threads
from tests.models_for_tests import CountingModel

CPU = torch.device("cpu")
PATIENCE = 60.0
"""Seconds after which a test that waits for another thread gives up: it has failed then."""


def batches(count: int, size: int = 2) -> list[Batch]:
    """Return batches of `size` images; each image is its row number."""
    rows = [list(range(size * number, size * (number + 1))) for number in range(count)]
    return [Batch(torch.tensor(row).float().view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone(), row, []) for row in rows]


def check(encoded: Sequence[EncodedBatch], samples: int) -> None:
    """All rows are there, in order, with features of their own."""
    assert [row for item in encoded for row in item.rows] == list(range(samples))
    found = torch.cat([item.layers["penultimate"] for item in encoded])
    assert torch.equal(found, torch.arange(samples).float()[:, None].expand(-1, 3))


class Small(CountingModel):
    """A model on a device whose memory holds a few images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.refused = 0

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Encode, if there is memory."""
        if len(batch) > self.most:
            self.refused += 1
            raise torch.OutOfMemoryError("no memory")
        return super().encode_images(batch)


def test_several_devices_compute_at_the_same_time() -> None:
    together = threading.Barrier(3)

    class Gpu(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            together.wait(PATIENCE)  # until the two other devices compute too
            return super().encode_images(batch)

    model = Gpu()
    check(list(encode_over([Encoder(model, CPU, "fp32") for _ in range(3)], batches(12))), 24)
    assert model.encoded == 24 and not together.broken


class Noted(torch.nn.Module):
    """A network that notes who calls it, and with how many images; the first call waits for a second one to begin."""

    def __init__(self, network: Any, alone: bool) -> None:
        super().__init__()
        self.network = network
        self.calls: list[tuple[int, int]] = []
        self.together = threading.Barrier(1 if alone else 2)

    def read_layers(self, images: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Read the layers of the network."""
        self.calls.append((threading.get_ident(), len(images)))
        if len(self.calls) <= 2:
            self.together.wait(PATIENCE)
        features: Mapping[str, torch.Tensor] = self.network(images)
        return features


def noted(alone: bool = False, **info: Any) -> tuple[TorchImageModel, Noted]:
    """Return pocket, with a network that notes its calls."""
    pocket = load_pocket()
    module = Noted(pocket.layers(pocket.module), alone)
    return replace(pocket, module=module, layers=own_layers, info=pocket.info.model_copy(update=info)), module


def encoded_by(model: Any, images: torch.Tensor, count: int, precision: Precision = "fp32") -> torch.Tensor:
    """Return the features of uint8 images, all in one batch, on a device with so many threads."""
    batch = Batch(images, list(range(len(images))), [], Finish((0.5,) * 3, (0.2,) * 3))
    with threads(count):
        (found,) = encode_batches(model, CPU, precision, [batch])
    return found.layers["penultimate"]


def test_threads_of_a_cpu_encode_pieces_of_a_batch_at_the_same_time_and_the_bits_do_not_depend_on_them() -> None:
    images = torch.randint(0, 256, (37, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model, network = noted()
    found = encoded_by(model, images, 2)
    assert sorted(size for _, size in network.calls) == [5, 16, 16]
    assert len({thread for thread, _ in network.calls}) == 2
    floats = Finish((0.5,) * 3, (0.2,) * 3)(images)
    whole = load_pocket().encode_images(floats)["penultimate"]
    assert float((found - whole).norm(dim=1).max()) < 1e-6 * float(whole.norm(dim=1).min())
    for count in (1, 3):
        assert torch.equal(encoded_by(load_pocket(), images, count), found)


@pytest.mark.parametrize(("backend", "precision"), [("hf", "fp32"), ("module", "fp32"), ("pocket", "bf16")])
def test_a_model_that_is_not_made_for_threads_is_called_in_one(backend: str, precision: Precision) -> None:
    model, network = noted(alone=True, backend=backend)
    encoded_by(model, torch.zeros(40, 3, 32, 32, dtype=torch.uint8), 2, precision)
    assert [size for _, size in network.calls] == [40]


def test_a_fast_device_takes_the_batches_that_a_slow_one_has_no_time_for() -> None:
    slow_has_one, rest_is_done = threading.Event(), threading.Event()

    class Slow(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            slow_has_one.set()
            assert rest_is_done.wait(PATIENCE)
            return super().encode_images(batch)

    class Fast(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            assert slow_has_one.wait(PATIENCE)
            found = super().encode_images(batch)
            if self.encoded >= 10:
                rest_is_done.set()
            return found

    slow, fast = Slow(), Fast()
    check(list(encode_over([Encoder(slow, CPU, "fp32"), Encoder(fast, CPU, "fp32")], batches(6))), 12)
    assert slow.encoded == 2 and fast.encoded == 10


def test_the_next_batch_is_launched_before_the_last_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "BATCHES_AHEAD", 4)  # all three are there before the first is encoded
    events: list[str] = []
    three_are_there = threading.Event()

    class Late(HostLane):
        def landing(self) -> Any:
            events.append("launched")
            return super().landing()

        def arrived(self, mark: Any) -> None:
            events.append("fetched")

    class Model(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            assert three_are_there.wait(PATIENCE)
            return super().encode_images(batch)

    def source() -> Iterator[Batch]:
        yield from batches(3)
        three_are_there.set()

    encoder = Encoder(Model(), CPU, "fp32", lane=Late())
    check(list(encode_over([encoder], source())), 6)
    assert events == ["launched", "launched", "fetched", "launched", "fetched", "fetched"]


def test_what_fits_is_found_once_for_all_devices_and_told() -> None:
    notes: list[str] = []
    room = Room(notes.append)
    models = [Small(5), Small(5)]
    check(list(encode_over([Encoder(model, CPU, "fp32", room) for model in models], batches(20, size=16))), 320)
    assert max(size for model in models for size in model.batches) == 4
    assert 2 <= sum(model.refused for model in models) <= 4  # 16 and 8, by either device or by both at once
    (note,) = notes
    assert "16 images" in note and "4 images at a time" in note


def test_batches_that_fit_are_encoded_whole() -> None:
    model = Small(16)
    list(encode_over([Encoder(model, CPU, "fp32", Room(pytest.fail))], batches(3, size=16)))
    assert model.batches == [16, 16, 16]


def test_a_single_image_that_does_not_fit_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(JobError, match=r"One image of shape \(3, 4, 4\) .* --precision fp16"):
        list(encode_batches(Small(0), CPU, "fp32", batches(2)))


def test_images_are_released_once_and_may_be_overwritten_then() -> None:
    class Views(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            return {"penultimate": batch[:, :, 0, 0], "whole": batch.flatten(1)}

    released: list[int] = []

    def overwrite(batch: Batch) -> Callable[[], None]:
        def release() -> None:
            released.append(batch.rows[0])
            batch.images.fill_(-1)

        return release

    given = [Batch(batch.images, batch.rows, [], release=overwrite(batch)) for batch in batches(5)]
    encoded = list(encode_batches(Views(), CPU, "fp32", given))
    check(encoded, 10)
    assert torch.equal(encoded[4].layers["whole"][1], torch.full((48,), 9.0))
    assert released == [0, 2, 4, 6, 8]


def test_features_of_one_token_do_not_keep_all_tokens_in_memory() -> None:
    class Tokens(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            return {"penultimate": batch.mean(dim=(2, 3))[:, None].repeat(1, 50, 1)[:, 0]}

    encoded = list(encode_batches(Tokens(), CPU, "fp32", batches(2)))
    check(encoded, 4)
    assert all(item.layers["penultimate"].untyped_storage().nbytes() == 2 * 3 * 4 for item in encoded)


def test_the_device_makes_float_of_pixels() -> None:
    pixels = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    finish = Finish((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    (item,) = encode_batches(CountingModel(), CPU, "fp32", [Batch(pixels, [0, 1, 2, 3], [], finish)])
    assert torch.equal(item.layers["penultimate"], finish(pixels).mean(dim=(2, 3)))


def test_features_that_are_the_images_outlast_the_next_batches() -> None:
    class Itself(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            return {"penultimate": batch.flatten(1)}

    pixels = [torch.full((size, 3, 4, 4), size, dtype=torch.uint8) for size in (3, 2, 4, 1)]
    given = [Batch(images, list(range(len(images))), [], Finish()) for images in pixels]
    for item, images in zip(list(encode_batches(Itself(), CPU, "fp32", given)), pixels, strict=True):
        assert torch.equal(item.layers["penultimate"], images.flatten(1) / 255)


def test_features_that_are_a_part_of_an_image_outlast_the_next_ones() -> None:
    class Part(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            return {"penultimate": torch.from_numpy(batch.numpy()[:, 1:].reshape(len(batch), -1))}

    given = [Batch(torch.full((1, 3, 4, 4), value, dtype=torch.uint8), [value], [], Finish()) for value in range(4)]
    for item, batch in zip(list(encode_batches(Part(), CPU, "fp32", given)), given, strict=True):
        assert torch.equal(item.layers["penultimate"], batch.images[:, 1:].flatten(1) / 255)


def test_seconds_that_the_device_computed_are_told() -> None:
    assert all(item.seconds > 0 for item in encode_batches(CountingModel(), CPU, "fp32", batches(3)))


def test_a_device_that_cannot_be_used_is_an_error_and_no_hang() -> None:
    class Gone(HostLane):
        def used(self) -> Any:
            raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError, match="the device is gone"):
        list(encode_over([Encoder(CountingModel(), CPU, "fp32", lane=Gone())], batches(9)))


@pytest.mark.parametrize("devices", [1, 2])
def test_no_thread_is_left_by_whoever_stops_early(devices: int) -> None:
    before = threading.active_count()
    encoded = encode_over([Encoder(CountingModel(), CPU, "fp32") for _ in range(devices)], batches(50))
    next(encoded)
    encoded.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_half_precision_casts_the_weights_once_per_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    cleared: list[int] = []
    clear = torch.clear_autocast_cache
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: (cleared.append(1), clear()))
    list(encode_batches(CountingModel(), CPU, "bf16", batches(7)))
    assert len(cleared) == 1  # autocast forgets its casts when the last context ends


def test_a_network_that_stores_what_it_computes_can_be_trained_afterwards() -> None:
    class Rotary(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))
            self.table: torch.Tensor | None = None

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if self.table is None:
                self.table = torch.arange(3.0).cos()
            return batch.mean(dim=(2, 3)) * self.table * self.weight

    class Model(CountingModel):
        network = Rotary()

        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            return {"penultimate": self.network(batch)}

    list(encode_batches(Model(), CPU, "fp32", batches(2)))
    Model.network(torch.ones(1, 3, 2, 2)).sum().backward()
    assert Model.network.weight.grad is not None


def test_products_stay_exact_until_the_last_of_several_threads_has_finished() -> None:
    settings = torch.backends.mkldnn.matmul if hasattr(torch.backends.mkldnn, "matmul") else None
    if settings is None:
        pytest.skip("torch before 2.9 has one setting for all")
    before = settings.fp32_precision
    try:
        settings.fp32_precision = "tf32"
        first, second = exact_products(), exact_products()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert settings.fp32_precision == "ieee"
        second.__exit__(None, None, None)
        assert settings.fp32_precision == "tf32"
    finally:
        settings.fp32_precision = before


def test_fp32_is_exact_whatever_the_process_has_allowed(loose: list[Callable[[], bool]]) -> None:
    seen: list[list[bool]] = []

    class Watching(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
            seen.append([exact() for exact in loose])
            return super().encode_images(batch)

    list(encode_batches(Watching(), CPU, "fp32", batches(2)))
    assert seen == [[True] * len(loose)] * 2
    assert not any(exact() for exact in loose)
    list(encode_batches(Watching(), CPU, "bf16", batches(1)))
    assert not any(seen[-1])  # the test could fail


@pytest.mark.parametrize("part", ["fit", "logits", "sweep"])
def test_products_of_the_probe_are_exact_too(loose: list[Callable[[], bool]], part: str) -> None:
    seen: list[bool] = []
    products = {torch.matmul, torch.mm, torch.addmm, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.mm}

    class Watching(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in products and any(getattr(value, "dtype", None) == torch.float32 for value in args):
                seen.extend(exact() for exact in loose)
            return func(*args, **(kwargs or {}))

    features, labels = torch.randn(30, 4), torch.arange(30) % 3
    targets, rows = probe.Targets("multinomial", labels, 3), torch.arange(30)
    solution = probe.refit(features, targets, 1.0)
    with Watching():
        if part == "fit":
            probe.refit(features, targets, 1.0)
        elif part == "logits":
            solution.logits(0, features)
        else:
            probe.sweep(features, targets, fit_rows=rows[:20], validation_rows=rows[20:], score=lambda found: 1.0)
    assert seen and all(seen)


def test_not_more_batches_are_read_ahead_than_devices_can_use() -> None:
    read: list[int] = []

    def source() -> Iterator[Batch]:
        for batch in batches(40):
            read.append(batch.rows[0])
            yield batch

    for number, _ in enumerate(encode_batches(CountingModel(), CPU, "fp32", source())):
        assert len(read) <= number + 1 + encoding.BATCHES_AHEAD
