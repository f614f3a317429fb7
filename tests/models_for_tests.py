"""Small models and pools for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from evalsuite.data.base import LoadedSample, Pool
from evalsuite.errors import DataError
from evalsuite.models.base import ModelInfo


class CountingModel:
    """The mean colour of an image as features; counts what it encodes, and can fail on purpose."""

    def __init__(self, fail_after: int | None = None, fingerprint: str = "counting") -> None:
        self.encoded = 0
        self.batches: list[int] = []
        self.fail_after = fail_after
        self.info = ModelInfo(
            name="counting",
            slug="counting",
            backend="test",
            fingerprint=fingerprint,
            input_size=8,
            layers={"penultimate": 3, "embedding": 3},
        )

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Return the pixels in [0, 1]."""
        array = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
        return torch.from_numpy(array).permute(2, 0, 1)

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return the mean colour, and twice that."""
        if self.fail_after is not None and self.encoded >= self.fail_after:
            raise KeyboardInterrupt
        self.encoded += len(batch)
        self.batches.append(len(batch))
        mean = batch.mean(dim=(2, 3))
        return {"penultimate": mean, "embedding": 2 * mean}

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the colour a text names."""
        colours = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
        found = [next((rgb for word, rgb in colours.items() if word in text), (1, 1, 1)) for text in texts]
        return torch.tensor(found, dtype=torch.float32)


class ArrayReader:
    """Reads samples from an array; rows in `broken` cannot be read."""

    def __init__(self, images: np.ndarray, broken: set[int] | None = None) -> None:
        self.images = images
        self.broken = broken or set()

    def __call__(self, row: int) -> LoadedSample:
        """Return one image, or refuse it."""
        if row in self.broken:
            raise DataError(f"the image number {row} is truncated")
        return LoadedSample(Image.fromarray(self.images[row]), self.images[row].tobytes())


def array_pool(
    n: int = 20, *, seed: int = 0, broken: set[int] | None = None, mtimes: np.ndarray | None = None, size: int = 8
) -> Pool:
    """Return a pool of `n` random images of two classes."""
    images = np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    return Pool(
        name="train",
        ids=tuple(f"{row:08d}" for row in range(n)),
        labels=np.arange(n) % 2,
        read=ArrayReader(images, broken),
        sizes=np.full(n, images[0].nbytes, dtype=np.int64),
        mtimes=mtimes,
        groups=None,
        fingerprint="arrays",
    )
