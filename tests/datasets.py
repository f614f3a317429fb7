"""Small datasets that tests write in true on-disk formats."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {
    "red": (200, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 210),
    "white": (230, 230, 230),
    "black": (20, 20, 20),
}


def write_folder_task(
    root: Path,
    name: str = "shapes",
    classes: Sequence[str] = ("red", "green", "blue"),
    train: int = 6,
    test: int = 3,
    size: int = 16,
) -> Path:
    """Write PNG images whose colour is their class, and the task file next to them; return its path."""
    rng = np.random.default_rng(0)
    for pool, count in (("train", train), ("test", test)):
        for key in classes:
            folder = root / pool / key
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                noise = rng.integers(-15, 16, (size, size, 3))
                pixels = np.clip(np.array(COLOURS[key]) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    path = root / f"{name}.yaml"
    path.write_text(
        f"title: {name}\n"
        f"classes: [{', '.join(classes)}]\n"
        "prompts: {templates: ['a photo of a {} square.']}\n"
        "sources:\n"
        "  - {kind: folder, path: ., pools: {train: train, test: test}}\n"
        f"sizes: {{train: {train * len(classes)}, test: {test * len(classes)}}}\n"
        "split_fidelity: {level: convention, why: Made up for the tests.}\n"
    )
    return path


def jpeg_of_scans(side: int, more: int) -> bytes:
    """Return a grey progressive JPEG whose last scan is there again and again."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * more + b"\xff\xd9"
