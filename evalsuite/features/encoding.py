"""Run a model over batches on one device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from evalsuite.errors import JobError
from evalsuite.features.batches import Batch
from evalsuite.models.base import ImageModel
from evalsuite.precision import exact_products

Precision = Literal["fp32", "fp16", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

ROWS_CHECKED = 65_536
"""Rows of features that are looked at together for values that are not finite."""


@dataclass(frozen=True)
class EncodedBatch:
    """A batch and its features: layer -> (n, dim) tensor on the CPU. seconds: what the device took for it."""

    batch: Batch
    layers: Mapping[str, torch.Tensor]
    seconds: float = 0.0


MapBatches = Callable[[Iterable[Batch]], Iterator[EncodedBatch]]
"""Encodes batches, in order. An executor makes one and hands it down."""


def encode_batches(
    model: ImageModel, device: torch.device, precision: Precision, batches: Iterable[Batch]
) -> Iterator[EncodedBatch]:
    """Encode batches one after the other on one device."""
    for batch in batches:
        encoded = encode_batch(model, device, precision, batch)
        batch.release()
        yield encoded


def encode_batch(model: ImageModel, device: torch.device, precision: Precision, batch: Batch) -> EncodedBatch:
    """Encode one batch, in halves where the device has not enough memory for it.

    Raises JobError when a single image does not fit.
    """
    started = time.perf_counter()
    try:
        with inference(device, precision):
            encoded = model.encode_images(batch.on(device))
        layers = {name: _to_store(value, precision) for name, value in encoded.items()}
        return EncodedBatch(batch, layers, time.perf_counter() - started)
    except torch.OutOfMemoryError as error:
        if len(batch.rows) == 1:
            raise JobError(
                f"One image of shape {tuple(batch.images.shape[1:])} does not fit into the memory of {device}: "
                "use --precision fp16, a smaller model or a device with more memory."
            ) from error
    torch.cuda.empty_cache()
    middle = len(batch.rows) // 2
    halves = [
        encode_batch(
            model, device, precision, Batch(batch.images[part], batch.rows[part], batch.stamps[part], batch.finish)
        )
        for part in (slice(None, middle), slice(middle, None))
    ]
    layers = {name: torch.cat([half.layers[name] for half in halves]) for name in halves[0].layers}
    return EncodedBatch(batch, layers, time.perf_counter() - started)


@contextmanager
def inference(device: torch.device, precision: Precision) -> Iterator[None]:
    """No gradients; autocast for half precisions; fp32 means TF32 off."""
    arithmetic = exact_products() if precision == "fp32" else torch.autocast(device.type, dtype=DTYPES[precision])
    with torch.inference_mode(), arithmetic:
        yield


def _to_store(value: torch.Tensor, precision: Precision) -> torch.Tensor:
    """Bring features to the CPU: fp16 stays so, everything else is kept as float32 (numpy has no bf16)."""
    dtype = torch.float16 if precision == "fp16" and value.dtype == torch.float16 else torch.float32
    return value.detach().to("cpu", dtype)


def first_not_finite(features: torch.Tensor) -> int | None:
    """Return the first row of features (n, dim) that holds a NaN or an infinity, or None."""
    for start in range(0, len(features), ROWS_CHECKED):  # a mask of all of ImageNet would take a gigabyte
        block = features[start : start + ROWS_CHECKED]
        finite = torch.isfinite(block).all(dim=1)
        if not bool(finite.all()):
            return start + int(torch.nonzero(~finite)[0])
    return None
