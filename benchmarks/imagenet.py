"""A sweep of ImageNet's size on a GPU: synthetic features with the spectrum of real ones, made on the device.

The bar is not scikit-learn, which would take days, but the floor of the sweep's own operation count: evaluations x
4 N D C operations at the device's measured float32 rate, without TF32.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.ours import recorded, top1
from evalsuite.precision import exact_products
from evalsuite.probe import Targets, refit, sweep

ROWS, VALIDATION_ROWS, DIM, CLASSES = 1_281_167, 50_000, 768, 1_000
DECAY = 0.6
"""The j-th principal direction has the spread j^-DECAY, the power law that features of image encoders follow."""
SIGNAL = 0.5
"""Spread of the class means over the spread within a class."""
BATCH = 65_536
SQUARE = 8_192


class NoDeviceError(Exception):
    """There is no GPU."""


def imagenet() -> dict[str, Any]:
    """Return the figures of the sweep on the first GPU; raise NoDeviceError without one."""
    if not torch.cuda.is_available():
        raise NoDeviceError("it needs a CUDA device and there is none")
    return measure(torch.device("cuda"), ROWS, VALIDATION_ROWS, DIM, CLASSES)


def measure(device: torch.device, rows: int, validation_rows: int, dim: int, classes: int) -> dict[str, Any]:
    """Run a sweep and its refit on features of this size, made on the device."""
    features, labels = synthetic(device, rows + validation_rows, dim, classes)
    order = torch.arange(len(features), device=device)
    targets = Targets("multinomial", labels, classes)
    started = _now(device)
    with recorded() as fits:
        found = sweep(
            features,
            targets,
            fit_rows=order[:rows],
            validation_rows=order[rows:],
            score=top1(labels[rows:]),
        )
    searched = _now(device)
    final = refit(features, targets, found.best_lambda, warm_start=found.solution)
    seconds = _now(device) - started
    evaluations = sum(fit.evaluations[0] for fit in fits.values())
    operations = 4 * dim * classes * (evaluations * rows + final.evaluations[0] * len(features))
    rate = product_rate(device)
    return {
        "shape": f"{rows:,} x {dim} x {classes}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "seconds": seconds,
        "search_s": searched - started,
        "evaluations": evaluations,
        "refit_evaluations": final.evaluations[0],
        "product_rate": rate,
        "floor_s": operations / rate,
        "lambda": found.best_lambda,
        "score": max(trial["score"] for trial in found.tried),
        "converged": all(trial["converged"] for trial in found.tried) and final.converged[0],
        "peak_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        "features_bytes": features.numel() * features.element_size(),
        "fits": found.tried,
    }


def synthetic(device: torch.device, rows: int, dim: int, classes: int) -> tuple[Tensor, Tensor]:
    """Return features (rows, dim) float32 of Gaussian classes in rotated power-law directions, and labels."""
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    spreads = torch.arange(1, dim + 1, device=device, dtype=torch.float32) ** -DECAY
    turn = spreads[:, None] * torch.linalg.qr(normal(dim, dim)).Q
    means = SIGNAL * normal(classes, dim)
    labels = torch.randint(classes, (rows,), generator=generator, device=device)
    features = torch.empty(rows, dim, device=device)
    for start in range(0, rows, BATCH):
        part = labels[start : start + BATCH]
        torch.mm(normal(len(part), dim) + means[part], turn, out=features[start : start + BATCH])
    return features, labels


def product_rate(device: torch.device, square: int = SQUARE) -> float:
    """Return the rate of exact float32 matrix products in operations per second."""
    a = torch.ones(square, square, device=device)
    seconds = []
    with exact_products():
        for _ in range(4):
            started = _now(device)
            torch.mm(a, a)
            seconds.append(_now(device) - started)
    return 2 * square**3 / min(seconds)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
