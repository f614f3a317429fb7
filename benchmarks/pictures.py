"""What the benchmark of the image pass reads: a random checkpoint, and photographs as JPEG files of 500 x 375."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from evalsuite.processors import processors

ARCHITECTURE = "ViT-S-32"
SIZE = (500, 375)
"""Width and height of ImageNet's most frequent photographs."""

QUALITY = 90
CLASSES = ("china", "flower")

TASK = """\
title: Photographs
prompts: {templates: ["a photo of {}."], classes: [china, flower]}
sources:
  - kind: folder
    path: photographs
    pools: {train: train, test: test}
"""


def checkpoint(folder: Path, architecture: str = ARCHITECTURE, seed: int = 0) -> Path:
    """Write the random weights of an open_clip model, once, and return the file."""
    import open_clip
    import torch

    path = folder / f"{architecture}-{seed}.pt"
    if not path.is_file():
        torch.manual_seed(seed)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(open_clip.create_model(architecture).state_dict(), path)
    return path


def photographs(folder: Path, count: int) -> Path:
    """Write `count` different photographs for a task and return its file: parts of the two that scikit-learn ships."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    widest = photos[0].height * SIZE[0] // SIZE[1]
    files = [folder / "photographs" / "test" / CLASSES[number % 2] / f"{number:05}.jpg" for number in range(count)]

    def write(number: int, path: Path, share: Any) -> None:
        whole = photos[number % 2]
        width = int(widest * share[0])
        height = width * SIZE[1] // SIZE[0]
        left, top = int((whole.width - width) * share[1]), int((whole.height - height) * share[2])
        part = whole.resize(SIZE, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        path.parent.mkdir(parents=True, exist_ok=True)
        part.save(path, quality=QUALITY)

    shares = rng.uniform(0.7, 1.0, (count, 3))
    with ThreadPoolExecutor(processors()) as threads:
        missing = [number for number, path in enumerate(files) if not path.is_file()]
        list(threads.map(lambda number: write(number, files[number], shares[number]), missing))
    kept = set(files)
    for path in (folder / "photographs").rglob("*.jpg"):
        if path not in kept:
            path.unlink()
    for name in CLASSES:
        (folder / "photographs" / "train" / name).mkdir(parents=True, exist_ok=True)
    (folder / "photographs.yaml").write_text(TASK, "utf-8")
    return folder / "photographs.yaml"
