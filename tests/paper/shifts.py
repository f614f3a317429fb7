"""Tiny copies of ImageNet, CIFAR and the sets that shift from them, in the true formats."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from evalsuite.tasks import TaskIndex
from tests.paper import archives
from tests.paper.picture import BRIGHT, CELLS, DARK, code, picture

BASE = ("n01443537", "n01498041", "n02129165", "n02708093", "n03196217", "n07749582")
"""Classes of ImageNet that the little copy has: a goldfish, a stingray, a lion, two clocks and a lemon."""

IN_A, IN_R = "n01498041", "n01443537"
"""A class of ImageNet-A and one of ImageNet-R."""

IMAGES = 2
"""Images of each class in each set."""


@cache
def names(task: str) -> dict[str, str]:
    """Return class key -> name of a shipped task."""
    return {item.key: item.names[0] for item in TaskIndex().load(task).class_list}


def tempting(key: str, task: str) -> Image.Image:
    """Draw an image of a class that is a little more like one of ImageNet that the task leaves out."""
    right, inside = code(names("imagenet")[key]), set(names(task))
    others = [code(name) for other, name in names("imagenet").items() if other not in inside]
    wrong = max(others, key=lambda other: float(other @ right))
    differing = np.flatnonzero(right != wrong)
    mixed = wrong.copy()
    mixed[differing[: (len(differing) - 1) // 2]] *= -1
    cells = np.where(mixed > 0, BRIGHT, DARK).reshape(CELLS, CELLS).astype(np.uint8)
    return Image.fromarray(cells).resize((36, 36), Image.Resampling.NEAREST).convert("RGB")


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _per_class(root: Path, folder: Callable[[str], str], file: str, keys: Sequence[str], task: str) -> int:
    for key in keys:
        for number in range(IMAGES):
            _save(root / folder(key) / file.format(key=key, number=number), picture(names(task)[key], number))
    return IMAGES * len(keys)


def write_imagenet(root: Path) -> None:
    """Write imagenet/{train,val}/<wnid>; the validation images are numbered from 1, as they are."""
    _per_class(root / "imagenet" / "train", str, "{key}_{number}.JPEG", BASE, "imagenet")
    for number in range(IMAGES * len(BASE)):
        key = BASE[number % len(BASE)]
        file = root / "imagenet" / "val" / key / f"ILSVRC2012_val_{number + 1:08d}.JPEG"
        _save(file, picture(names("imagenet")[key], 5 + number))


def write_imagenet_v2(root: Path) -> int:
    """Write folders that are called by the number of their class."""
    order = list(names("imagenet"))
    folder = root / "imagenetv2-matched-frequency-format-val"
    return _per_class(folder, lambda key: str(order.index(key)), "{number}.jpeg", BASE, "imagenet")


def write_imagenet_a(root: Path) -> int:
    """Write one class of ImageNet-A, and an image that is more like a class outside it."""
    _save(root / "imagenet-a" / IN_A / "tempting.png", tempting(IN_A, "imagenet_a"))
    return 1 + _per_class(root / "imagenet-a", str, "0.0{number}_{key}.jpg", [IN_A], "imagenet_a")


def write_imagenet_r(root: Path) -> int:
    """Write one class of ImageNet-R, and an image that is more like a class outside it."""
    _save(root / "imagenet-r" / IN_R / "tempting.png", tempting(IN_R, "imagenet_r"))
    return 1 + _per_class(root / "imagenet-r", str, "art_{number}.jpg", [IN_R], "imagenet_r")


def write_imagenet_sketch(root: Path) -> int:
    """Write sketch/<wnid>."""
    return _per_class(root / "sketch", str, "sketch_{number}.JPEG", BASE, "imagenet_sketch")


def write_objectnet(root: Path) -> int:
    """Write folders of two classes that ImageNet has and of one that it has not, all with a red border."""
    folder = root / "objectnet-1.0" / "images"
    for key in ("alarm_clock", "lemon", "air_freshener"):
        for number in range(IMAGES):
            shown = picture(names("objectnet").get(key, key), number)
            _save(folder / key / f"{number}.png", ImageOps.expand(shown, 2, (255, 0, 0)))
    return 2 * IMAGES


def write_imagenet_real(root: Path) -> int:
    """Write real.json: an image with its label and another one, some with their label, and one with none."""
    order = list(names("imagenet"))
    truth = [order.index(BASE[number % len(BASE)]) for number in range(IMAGES * len(BASE))]
    labels = [[label] for label in truth]
    labels[0], labels[1] = [999, truth[0]], []
    (root / "imagenet_real").mkdir(parents=True)
    (root / "imagenet_real" / "real.json").write_text(json.dumps(labels))
    return len(labels) - 1


def write_cifair10(root: Path) -> int:
    """Write ciFAIR-10/test_batch."""
    content = pickle.loads((root / "cifar-10-batches-py" / "test_batch").read_bytes())
    return _batch(root / "ciFAIR-10" / "test_batch", content, "labels")


def write_cifair100(root: Path) -> int:
    """Write ciFAIR-100/test."""
    content = pickle.loads((root / "cifar-100-python" / "test").read_bytes())
    return _batch(root / "ciFAIR-100" / "test", content, "fine_labels")


def _batch(file: Path, content: dict[str, Any], labels: str) -> int:
    file.parent.mkdir(parents=True)
    content["data"] = 255 - (255 - content["data"]) // 2 * 2  # near the images of CIFAR, and not the same
    file.write_bytes(pickle.dumps(content, protocol=2))
    return len(content[labels])


def write_cifar10_1(root: Path) -> int:
    """Write the two files of version 6."""
    folder = root / "CIFAR-10.1"
    folder.mkdir(parents=True)
    shown = [np.asarray(picture(name, 40, 32)) for name in archives.CIFAR10]
    np.save(folder / "cifar10.1_v6_data.npy", np.stack(shown))
    np.save(folder / "cifar10.1_v6_labels.npy", np.arange(len(shown), dtype=np.int32))
    return len(shown)


WRITERS: dict[str, Callable[[Path], int]] = {
    "imagenet_v2": write_imagenet_v2,
    "imagenet_r": write_imagenet_r,
    "imagenet_a": write_imagenet_a,
    "imagenet_sketch": write_imagenet_sketch,
    "objectnet": write_objectnet,
    "imagenet_real": write_imagenet_real,
    "cifair10": write_cifair10,
    "cifair100": write_cifair100,
    "cifar10_1": write_cifar10_1,
}
"""Task -> what writes it and returns the number of its test samples; what they shift from must be there."""


def write_shifts(root: Path) -> dict[str, int]:
    """Write everything; return the number of test samples of each task."""
    write_imagenet(root)
    archives.write_cifar10(root)
    archives.write_cifar100(root)
    return {task: write(root) for task, write in WRITERS.items()}
