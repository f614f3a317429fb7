"""STL-10 and PatchCamelyon, tiny, in the binary formats they are published in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.paper.picture import Written, picture

SIDE = 96

STL10_NAMES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
"""class_names.txt; label k of the files is name k - 1."""

STL10_DECOYS = range(40, 50)
"""Rows of the training set that are in no fold: each shows another class than its label."""

STL10_FOLDS, STL10_A_FOLD = 10, 4
PCAM_NAMES = ("lymph node", "lymph node containing metastatic tumor tissue")
"""The prompt names of the labels 0 and 1."""

PCAM_SETS = {"train": 24, "valid": 8, "test": 12}


def stl10_labels(count: int, step: int) -> list[int]:
    """Return labels from 0; any ten rows one after the other have all of them where `step` is odd and not 5."""
    return [row * step % len(STL10_NAMES) for row in range(count)]


def write_stl10(root: Path) -> Written:
    """Write stl10_binary without the unlabeled images: 90 training images in 10 folds of 40, 30 test images."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("".join(f"{name}\n" for name in STL10_NAMES))
    train, test = stl10_labels(90, 3), stl10_labels(30, 7)
    shown = [(label + 1) % 10 if row in STL10_DECOYS else label for row, label in enumerate(train)]
    _write_stl10_set(folder, "train", train, shown)
    _write_stl10_set(folder, "test", test, test)
    rows = {label: [row for row in range(90) if train[row] == label and row not in STL10_DECOYS] for label in train}
    lines = []
    for fold in range(STL10_FOLDS):
        chosen = [of_class[(fold + turn) % len(of_class)] for of_class in rows.values() for turn in range(STL10_A_FOLD)]
        lines.append(" ".join(str(row) for row in sorted(chosen)) + " \n")
    (folder / "fold_indices.txt").write_text("".join(lines))
    return Written({"train": STL10_A_FOLD * len(STL10_NAMES), "test": len(test)})


def _write_stl10_set(folder: Path, name: str, labels: list[int], shown: list[int]) -> None:
    """Write pixels channel by channel, each column by column, and labels that count from 1."""
    pixels = np.stack([_pixels(STL10_NAMES[label], row) for row, label in enumerate(shown)])
    pixels.transpose(0, 3, 2, 1).tofile(folder / f"{name}_X.bin")
    (np.array(labels, np.uint8) + 1).astype(np.uint8).tofile(folder / f"{name}_y.bin")


def pcam_labels(count: int) -> list[int]:
    """Return the labels of a set in a fixed order, as many of each."""
    return [(0, 1, 1, 0)[row % 4] for row in range(count)]


def write_pcam(root: Path) -> Written:
    """Write the six files of the three sets; the patches of each set are other ones."""
    import h5py

    folder = root / "pcam"
    folder.mkdir(parents=True)
    for number, (name, count) in enumerate(PCAM_SETS.items()):
        labels = pcam_labels(count)
        pixels = np.stack([_pixels(PCAM_NAMES[label], 100 * number + row) for row, label in enumerate(labels)])
        with h5py.File(folder / f"camelyonpatch_level_2_split_{name}_x.h5", "w") as file:
            file.create_dataset("x", data=pixels)
        with h5py.File(folder / f"camelyonpatch_level_2_split_{name}_y.h5", "w") as file:
            file.create_dataset("y", data=np.array(labels, np.uint8).reshape(-1, 1, 1, 1))
    return Written({"train": PCAM_SETS["train"], "val": PCAM_SETS["valid"], "test": PCAM_SETS["test"]})


def _pixels(name: str, variant: int) -> NDArray[np.uint8]:
    return np.asarray(picture(name, variant, SIDE))
