"""What the writers of tiny datasets share: image files, and counting samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.paper.picture import picture

TRAIN, VAL, TEST = 4, 2, 2
"""Images a class that most writers put into each split."""

SIDE = 36


def save(
    path: Path, name: str, variant: int, *, width: int = SIDE, height: int = SIDE, mode: str = "RGB", kind: str = ""
) -> None:
    """Write the picture of a name. mode: of the stored image; kind: its format, where the file's name lies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(name, variant, width, height).convert(mode).save(path, format=kind or None)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file, a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_names(file: str) -> list[str]:
    """Return the lines of a data file next to this module."""
    return (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines()


def per_class(classes: int, train: int = TRAIN, val: int | None = None, test: int = TEST) -> dict[str, int]:
    """Return the `sizes` of a tree with so many images per class in each split; `val` None: there is no such split."""
    counts = {"train": train, "val": val, "test": test}
    return {split: classes * count for split, count in counts.items() if count is not None}
