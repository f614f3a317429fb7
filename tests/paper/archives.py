"""Tiny MNIST and CIFAR in the files of the real ones: idx arrays and pickled batches."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.paper.picture import Written, picture
from tests.paper.saving import TEST, TRAIN, per_class, read_names

DIGITS = tuple("0123456789")

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

CIFAR100 = {
    0: ("apple", 4),
    1: ("aquarium fish", 1),
    41: ("lawn mower", 19),
    47: ("maple tree", 17),
    96: ("willow tree", 17),
    99: ("worm", 13),
}
"""Fine label -> (name in the prompts, coarse label)."""

BATCHES = 5


def write_mnist(root: Path) -> Written:
    """Write MNIST/raw: four idx files, labels are the digits."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, first, count in (("train", 0, TRAIN), ("t10k", TRAIN, TEST)):
        labels = np.tile(np.arange(len(DIGITS), dtype=np.uint8), count)
        images = np.stack(
            [
                np.asarray(picture(DIGITS[label], first + row // len(DIGITS), 28).convert("L"))
                for row, label in enumerate(labels)
            ]
        )
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(_idx(labels))
    return Written(per_class(len(DIGITS)))


def write_cifar10(root: Path) -> Written:
    """Write cifar-10-batches-py: five batches to train, one to test, and the names of the labels."""
    folder = root / "cifar-10-batches-py"
    train = [(label, variant) for variant in range(TRAIN) for label in range(len(CIFAR10))]
    for batch in range(BATCHES):
        _dump(folder / f"data_batch_{batch + 1}", _cifar10_batch(train[batch::BATCHES]))
    test = [(label, TRAIN + variant) for variant in range(TEST) for label in range(len(CIFAR10))]
    _dump(folder / "test_batch", _cifar10_batch(test))
    _dump(folder / "batches.meta", {"num_cases_per_batch": 8, "label_names": list(CIFAR10), "num_vis": 3072})
    return Written(per_class(len(CIFAR10)))


def write_cifar100(root: Path) -> Written:
    """Write cifar-100-python: images of six of the hundred classes, with fine and coarse labels."""
    folder = root / "cifar-100-python"
    for split, first, count in (("train", 0, TRAIN), ("test", TRAIN, TEST)):
        labels = sorted(CIFAR100) * count
        variants = [first + row // len(CIFAR100) for row in range(len(labels))]
        content = {
            "filenames": [f"{split}_s_{row:06d}.png" for row in range(len(labels))],
            "fine_labels": labels,
            "coarse_labels": [CIFAR100[label][1] for label in labels],
            "data": _planes([(CIFAR100[label][0], variant) for label, variant in zip(labels, variants, strict=True)]),
        }
        _dump(folder / split, content)
    fine, coarse = read_names("cifar100.txt"), read_names("cifar100_coarse.txt")
    _dump(folder / "meta", {"fine_label_names": fine, "coarse_label_names": coarse})
    return Written(per_class(len(CIFAR100)))


def _cifar10_batch(samples: Sequence[tuple[int, int]]) -> dict[str, Any]:
    return {
        "labels": [label for label, _ in samples],
        "filenames": [f"{CIFAR10[label]}_s_{variant:06d}.png" for label, variant in samples],
        "data": _planes([(CIFAR10[label], variant) for label, variant in samples]),
    }


def _planes(samples: Sequence[tuple[str, int]]) -> NDArray[np.uint8]:
    """Return (n, 3072): the red, green and blue plane of each image."""
    images = np.stack([np.asarray(picture(name, variant, 32)) for name, variant in samples])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(samples), -1)


def _idx(array: NDArray[np.uint8]) -> bytes:
    """Return an array in the idx format: 0, 0, type 8 (bytes), number of axes, sizes, content."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _dump(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
