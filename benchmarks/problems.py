"""The problems of the probe's benchmark: features and labels, made from files or from a seed.

The first `n_fit` rows are train, the rest validation. Features are float32, as an encoder gives them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from benchmarks.patches import patch_features

PATCH_SCALE = 7.0
"""Brings the patch features, whose spread is 0.14, to about one, as those of image encoders have."""


class AbsentError(Exception):
    """The files of a problem are not there; the message says which."""


@dataclass(frozen=True)
class Problem:
    """features: (n, D) float32; labels: (n,) int64 in [0, C); n_fit: the first rows, to train on."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    n_fit: int

    @property
    def n_classes(self) -> int:
        """Return C."""
        return int(self.labels.max()) + 1

    @property
    def shape(self) -> str:
        """Return rows to fit x dimensions x classes."""
        return f"{self.n_fit:,} x {self.features.shape[1]} x {self.n_classes}"

    def rows(self, whole: bool) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the train rows, or train and validation together."""
        stop = len(self.labels) if whole else self.n_fit
        return self.features[:stop], self.labels[:stop]


def make(name: str, data: Path, quick: bool) -> Problem:
    """Make a problem by its name; raise AbsentError where its files are not there."""
    full, small = MAKERS[name]
    return (small if quick else full)(data)


def cifar(data: Path, n_fit: int, n_validation: int) -> Problem:
    """CIFAR-10's first training images as random-patch features."""
    images, labels = read_cifar(data, n_fit + n_validation)
    return Problem(PATCH_SCALE * patch_features(images), labels, n_fit)


def mnist(data: Path, n_fit: int, n_validation: int) -> Problem:
    """MNIST's first training images as pixels in [0, 1]."""
    images, labels = read_mnist(data, n_fit + n_validation)
    return Problem(images.reshape(len(images), -1), labels, n_fit)


def crossed(data: Path, n_fit: int, n_validation: int) -> Problem:
    """100 classes on real features: image i of CIFAR-10 next to image i of MNIST, label 10 a + b.

    The features are the patch features of the one and the pixels of the other, averaged over squares of 2 x 2.
    """
    pictures, first = read_cifar(data, n_fit + n_validation)
    digits, second = read_mnist(data, n_fit + n_validation)
    halved = digits.reshape(len(digits), 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(digits), -1)
    features = np.concatenate([PATCH_SCALE * patch_features(pictures), halved], axis=1)
    return Problem(features, 10 * first + second, n_fit)


def digits(data: Path) -> Problem:
    """scikit-learn's handwritten digits: the train half of the project's task."""
    found = load_digits()
    return Problem((found.data[:898] / 16).astype(np.float32), found.target[:898].astype(np.int64), 808)


def separable(data: Path, n_fit: int, n_validation: int, dim: int, n_classes: int) -> Problem:
    """Gaussian classes that a hyperplane separates: the case in which a preconditioner may lose."""
    rng = np.random.default_rng(0)
    n = n_fit + n_validation
    means = rng.normal(size=(n_classes, dim))
    labels = rng.integers(0, n_classes, n)
    scales = 3 * np.arange(1, dim + 1) ** -0.5
    features = (rng.normal(size=(n, dim)) + means[labels] / 2) * scales
    return Problem(features.astype(np.float32), labels, n_fit)


Maker = Callable[[Path], Problem]
MAKERS: dict[str, tuple[Maker, Maker]] = {
    "cifar": (
        partial(cifar, n_fit=45_000, n_validation=5_000),
        partial(cifar, n_fit=2_000, n_validation=500),
    ),
    "cifar-4k": (
        partial(cifar, n_fit=4_000, n_validation=1_000),
        partial(cifar, n_fit=400, n_validation=100),
    ),
    "mnist": (
        partial(mnist, n_fit=54_000, n_validation=6_000),
        partial(mnist, n_fit=1_000, n_validation=200),
    ),
    "digits": (digits, digits),
    "mnist-10k": (
        partial(mnist, n_fit=10_000, n_validation=1_000),
        partial(mnist, n_fit=500, n_validation=100),
    ),
    "crossed-4k": (
        partial(crossed, n_fit=4_000, n_validation=500),
        partial(crossed, n_fit=500, n_validation=100),
    ),
    "crossed": (
        partial(crossed, n_fit=10_000, n_validation=1_000),
        partial(crossed, n_fit=500, n_validation=100),
    ),
    "separable": (
        partial(separable, n_fit=10_000, n_validation=1_000, dim=512, n_classes=100),
        partial(separable, n_fit=1_000, n_validation=100, dim=64, n_classes=20),
    ),
}
"""Name: how it is made, in full and for a quick look."""

QUICK = ("cifar", "digits", "separable")
"""What `--quick` runs unless told otherwise."""


def read_cifar(data: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read CIFAR-10's first training images (n, 32, 32, 3) and labels from the hub's parquet layout."""
    import io

    import pyarrow.parquet as parquet
    from PIL import Image

    path = data / "cifar10" / "train-00000-of-00001.parquet"
    if not path.is_file():
        raise AbsentError(f"{path} is not there")
    table = parquet.read_table(path).slice(0, count)
    files = (cell["bytes"] for cell in table["image"].to_pylist())
    images = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    return images, table["label"].to_numpy().astype(np.int64)


def read_mnist(data: Path, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read MNIST's first training images (n, 28, 28), in [0, 1]; the idx files have headers of 16 and 8 bytes."""
    folder = data / "MNIST" / "raw"
    paths = (folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte")
    for path in paths:
        if not path.is_file():
            raise AbsentError(f"{path} is not there")
    images = np.frombuffer(paths[0].read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)[:count]
    labels = np.frombuffer(paths[1].read_bytes(), np.uint8, offset=8)[:count]
    return images.astype(np.float32) / np.float32(255), labels.astype(np.int64)
