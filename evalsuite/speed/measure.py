"""Measure what bounds a run: decoding, the model, copies to the device, texts and the probe."""

from __future__ import annotations

import hashlib
import io
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import torch

from evalsuite.data.decoding import decode_image
from evalsuite.features.batches import Batch
from evalsuite.features.blocks import Stamp
from evalsuite.features.encoding import MapBatches
from evalsuite.models.base import PENULTIMATE, Preprocess
from evalsuite.models.preprocessing import Finish, understood
from evalsuite.probe import Targets, solve
from evalsuite.runner.models import ModelSession
from evalsuite.speed.record import Speed, this_machine
from evalsuite.threads import threads_for

PHOTOGRAPH = (500, 375)
"""Width and height of the most frequent photographs of ImageNet."""

SECONDS = 3.0
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
    decode = {"pillow": decode_rate(loaded.model.preprocess)}
    image, finish = prepared(loaded.model.preprocess, photograph())
    say(f"{session.slug}: encoding")
    sizes = sorted({max(1, batch_size // 16), max(1, batch_size // 4), batch_size})
    encode, dim = encode_rates(loaded.encode_batches, image, finish, sizes, session.devices)
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


def rate(once: Callable[[], int], seconds: float = SECONDS) -> float:
    """Return how many things a function does per second; it returns how many it did. The first time is not counted."""
    once()
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds or not done:
        done += once()
    return done / elapsed


def decode_rate(preprocess: Preprocess) -> float:
    """Return how many photographs one processor hashes, decodes and preprocesses per second."""
    content = photograph()

    def once() -> int:
        hashlib.sha256(content).hexdigest()
        prepared(preprocess, content)
        return 1

    with threads_for(0):
        return rate(once)


def encode_rates(
    encode: MapBatches, image: torch.Tensor, finish: Finish | None, sizes: Sequence[int], devices: int
) -> tuple[dict[int, float], int]:
    """Return images per second by batch size, on all devices, and the dimension of the layer that a probe reads."""
    found: dict[int, float] = {}
    dim = 0
    for size in sizes:
        if found and size / max(found.values()) > LONGEST:
            break
        images = image.expand(size, *image.shape).contiguous()
        batch = Batch(images, list(range(size)), [Stamp(0, 0, "")] * size, finish)
        started = time.perf_counter()
        (*_, last) = encode(batch for _ in range(devices))  # what is set up at the first batch is not part of the rate
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

    return rate(once, seconds=1.0)


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

    return rate(once, seconds=1.0)


def _encode_texts(session: ModelSession) -> int:
    session.loaded.encode_texts([f"a photo of a thing, number {number}." for number in range(TEXTS)])
    return TEXTS


@lru_cache(maxsize=1)
def photograph() -> bytes:
    """Return a photograph that scikit-learn ships, as a JPEG file of 500 x 375."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    file = io.BytesIO()
    Image.fromarray(load_sample_image("china.jpg")).resize(PHOTOGRAPH).save(file, "JPEG", quality=90)
    return file.getvalue()


def prepared(preprocess: Preprocess, content: bytes) -> tuple[torch.Tensor, Finish | None]:
    """Return what a worker makes of a file, (channels, height, width), and what is left to the device."""
    image = decode_image(content, "photograph.jpg")
    recipe = understood(preprocess)
    pixels = None if recipe is None else recipe.pixels(image)
    if recipe is None or pixels is None:
        return preprocess(image), None
    return torch.from_numpy(np.array(pixels, order="C")), recipe.finish
