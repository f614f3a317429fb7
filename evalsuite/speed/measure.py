"""Measure what bounds a run: decoding, the model, copies to the device, texts and the probe."""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from PIL import Image

from evalsuite.data.base import LoadedSample, Pool
from evalsuite.data.decoding import decode_image
from evalsuite.features.batches import Batch
from evalsuite.features.blocks import Stamp
from evalsuite.features.decoders import DECODERS
from evalsuite.features.encoding import MapBatches
from evalsuite.features.lanes import pinned
from evalsuite.features.samples import Samples, Unreadable
from evalsuite.models.base import PENULTIMATE, Preprocess
from evalsuite.models.preprocessing import Finish, understood
from evalsuite.options import DecoderName
from evalsuite.probe import Targets, solve
from evalsuite.runner.models import ModelSession
from evalsuite.speed.record import Speed, this_machine
from evalsuite.threads import threads

PHOTOGRAPH = (500, 375)
"""Width and height of the most frequent photographs of ImageNet."""

SECONDS = 2.0
"""How long each thing is measured, about."""

LONGEST = 6.0
"""Seconds beyond which a batch is not tried: its size is left out."""

TEXTS = 32
PROBE_ROWS, PROBE_CLASSES, PROBE_ITERATIONS = 4_000, 20, 20
PROBE_LAMBDAS = tuple(10.0**power for power in range(-6, 7, 2))
"""The first round of the paper's search: seven values of lambda."""


def measure(session: ModelSession, batch_size: int, say: Callable[[str], None]) -> Speed:
    """Measure a model on the devices of a run; it is loaded for that. batch_size: the run's. say: told what is done."""
    say(f"{session.slug}: loading the model")
    loaded = session.loaded
    say(f"{session.slug}: decoding")
    decode = {decoder: decode_rate(loaded.model.preprocess, decoder) for decoder in DECODERS}
    image, finish = prepared(loaded.model.preprocess)
    say(f"{session.slug}: encoding")
    sizes = sorted({max(1, batch_size // 16), max(1, batch_size // 4), batch_size})
    encode, dim = encode_rates(loaded.encode_batches, image, finish, sizes, session.device.type, session.devices)
    say(f"{session.slug}: texts and the probe")
    texts = rate(partial(_encode_texts, session)) if session.has_text() else None
    return Speed(
        model=session.slug,
        run_key=session.identify().run_key,
        precision=session.precision,
        machine=this_machine(session),
        decode=decode,
        encode=encode,
        copied=copy_rate(image, session.device, batch_size),
        texts=texts,
        probe=probe_rate(dim, session.device),
        dim=dim,
    )


def rate(once: Callable[[], int]) -> float:
    """Return how many things a function does per second; it returns how many it did. The first time is not counted."""
    once()
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS or not done:
        done += once()
    return done / elapsed


def decode_rate(preprocess: Preprocess, decoder: DecoderName) -> float:
    """Return how many photographs one processor decodes, hashes and preprocesses per second, as a worker does."""
    samples = Samples(photographs(), [preprocess], decoder)

    def once() -> int:
        samples.read(0)
        return 1

    with threads(1):
        return rate(once)


def encode_rates(
    encode: MapBatches, image: torch.Tensor, finish: Finish | None, sizes: Sequence[int], kind: str, devices: int
) -> tuple[dict[int, float], int]:
    """Return images per second by batch size, on all devices, and the dimension of the layer that a probe reads.

    kind: of the devices ("cuda"), which decides whether the images lie in pinned memory, as those of a pass do.
    """
    found: dict[int, float] = {}
    dim = 0
    for size in sizes:
        if found and size / max(found.values()) > LONGEST:
            break
        images = image.expand(size, *image.shape).contiguous()
        batch = Batch(images, list(range(size)), [Stamp(0, 0, "")] * size, finish)
        with pinned(images, kind):
            started = time.perf_counter()
            (*_, last) = encode(batch for _ in range(devices))  # what is set up at the first batch is not the rate
            count = devices * max(1, round(SECONDS / max(time.perf_counter() - started, 1e-3)))
            started = time.perf_counter()
            deque(encode(batch for _ in range(count)), maxlen=0)
            found[size] = count * size / (time.perf_counter() - started)
        read = last.layers.get(PENULTIMATE, next(iter(last.layers.values())))
        dim = int(read.shape[1])
    return found, dim


def copy_rate(image: torch.Tensor, device: torch.device, size: int) -> float | None:
    """Return how many images reach a GPU per second, in batches of a size; None where there is nothing to copy to."""
    if device.type != "cuda":
        return None
    images = image.expand(size, *image.shape).contiguous().pin_memory()

    def once() -> int:
        images.to(device, non_blocking=True)
        torch.cuda.synchronize(device)
        return size

    return rate(once)


def probe_rate(dim: int, device: torch.device) -> float:
    """Return operations per second of the probe's passes over the rows, on classes that overlap."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(PROBE_ROWS) % PROBE_CLASSES
    means = torch.randn(PROBE_CLASSES, dim, generator=generator)
    features = (torch.randn(PROBE_ROWS, dim, generator=generator) + means[labels] / 2).to(device)
    targets = Targets("multinomial", labels.to(device), PROBE_CLASSES)

    def once() -> int:
        found = solve(features, targets, PROBE_LAMBDAS, max_iterations=PROBE_ITERATIONS)
        return 4 * sum(found.evaluations) * PROBE_ROWS * PROBE_CLASSES * dim

    return rate(once)


def _encode_texts(session: ModelSession) -> int:
    session.loaded.encode_texts([f"a photo of a thing, number {number}." for number in range(TEXTS)])
    return TEXTS


def prepared(preprocess: Preprocess) -> tuple[torch.Tensor, Finish | None]:
    """Return what a worker makes of a photograph, (channels, height, width), and what is left to the device."""
    sample, recipe = Samples(photographs(), [preprocess]).read(0), understood(preprocess)
    if isinstance(sample, Unreadable):
        raise RuntimeError(sample.problem)
    image = torch.from_numpy(np.array(sample.image(0), order="C"))
    return image, recipe.finish if recipe and image.dtype == torch.uint8 else None


@lru_cache(maxsize=1)
def photographs() -> Pool:
    """Return a pool of one photograph that scikit-learn ships, as a JPEG file of 500 x 375."""
    from sklearn.datasets import load_sample_image

    file = io.BytesIO()
    Image.fromarray(load_sample_image("china.jpg")).resize(PHOTOGRAPH).save(file, "JPEG", quality=90)
    read, sizes = _InMemory(file.getvalue()), np.array([len(file.getvalue())])
    return Pool("all", ("photograph.jpg",), np.zeros(1, np.int64), read, sizes, None, None, "photograph")


@dataclass(frozen=True)
class _InMemory:
    """Reads an image file that is in memory; see `EncodedReader`."""

    file: bytes

    def __call__(self, row: int) -> LoadedSample:
        return LoadedSample(decode_image(self.file, "photograph.jpg"), self.file)

    def encoded(self, row: int) -> bytes | None:
        return self.file
