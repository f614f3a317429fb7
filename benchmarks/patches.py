"""Features of small images that need no trained network: responses to random whitened patches.

A patch of 6 x 6 pixels is normalised (mean zero, variance one) and whitened with the covariance of many such patches;
some whitened patches, drawn at random, are the filters. A feature is the mean over a quarter of the image of
max(0, response - threshold): 4 x the number of filters (A. Coates, A. Ng, H. Lee: An Analysis of Single-Layer
Networks in Unsupervised Feature Learning, AISTATS 2011, with patches for centroids).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

SIZE = 6
FILTERS = 128
DRAWN = 20_000
"""Patches that the covariance is taken over; the filters are the first of them."""
CONTRAST_FLOOR = 1e-3
WHITENING_FLOOR = 0.1
THRESHOLD = 0.5
BATCH = 500


def patch_features(images: NDArray[np.uint8], seed: int = 0) -> NDArray[np.float32]:
    """Return features (n, 4 x FILTERS) of images (n, height, width, 3)."""
    with torch.no_grad():
        mean, whitening = _whitening(_drawn(images, seed))
        drawn = (_drawn(images, seed)[:FILTERS] - mean) @ whitening
        filters = functional.normalize(drawn, dim=1) @ whitening
        return torch.cat([_pooled(batch, filters, mean) for batch in _batches(images)]).numpy()


def _drawn(images: NDArray[np.uint8], seed: int) -> Tensor:
    """Return normalised patches (DRAWN, 3 x SIZE x SIZE) from random places."""
    rng = np.random.default_rng(seed)
    n, height, width, _ = images.shape
    which = rng.integers(n, size=DRAWN)
    top, left = rng.integers(height - SIZE + 1, size=DRAWN), rng.integers(width - SIZE + 1, size=DRAWN)
    windows = np.lib.stride_tricks.sliding_window_view(images, (SIZE, SIZE), axis=(1, 2))
    return _normalised(torch.from_numpy(windows[which, top, left].reshape(DRAWN, -1)).float() / 255)


def _whitening(patches: Tensor) -> tuple[Tensor, Tensor]:
    mean = patches.mean(dim=0)
    centred = patches - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(patches))
    return mean, vectors * (values + WHITENING_FLOOR).rsqrt() @ vectors.T


def _pooled(batch: Tensor, filters: Tensor, mean: Tensor) -> Tensor:
    """Return features (m, 4 x FILTERS) of images (m, 3, height, width)."""
    patches = _normalised(functional.unfold(batch, SIZE).transpose(1, 2))
    responses = torch.relu((patches - mean) @ filters.T - THRESHOLD)
    side = batch.shape[2] - SIZE + 1
    maps = responses.transpose(1, 2).reshape(len(batch), len(filters), side, -1)
    return functional.adaptive_avg_pool2d(maps, 2).flatten(1)


def _normalised(patches: Tensor) -> Tensor:
    centred = patches - patches.mean(dim=-1, keepdim=True)
    return centred * (patches.var(dim=-1, keepdim=True) + CONTRAST_FLOOR).rsqrt()


def _batches(images: NDArray[np.uint8]) -> Iterator[Tensor]:
    for start in range(0, len(images), BATCH):
        yield torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).float() / 255
