"""A tiny GTSRB: tracks of .ppm images with a table per class, and a test set with one table."""

from __future__ import annotations

from pathlib import Path

from tests.paper.picture import Written
from tests.paper.saving import SIDE, TEST, TRAIN, per_class, read_names, save, write_lines

HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2"

TRACKS = 2


def write_gtsrb(root: Path) -> Written:
    """Write all 43 classes, because torchvision numbers the folders it finds.

    gtsrb.txt holds the names in the prompts by class id.
    """
    folder, names = root / "gtsrb", read_names("gtsrb.txt")
    test = []
    for label, name in enumerate(names):
        rows, training = [], folder / "GTSRB" / "Training" / f"{label:05d}"
        for variant in range(TRAIN):
            file = f"{variant % TRACKS:05d}_{variant // TRACKS:05d}.ppm"
            save(training / file, name, variant)
            rows.append(f"{_box(file)};{label}")
        write_lines(
            folder / "GTSRB" / "Training" / f"{label:05d}" / f"GT-{label:05d}.csv", [f"{HEADER};ClassId", *rows]
        )
        for variant in range(TEST):
            # Neighbours in the test set are of different classes.
            file = f"{variant * len(names) + (label * 17) % len(names):05d}.ppm"
            save(folder / "GTSRB" / "Final_Test" / "Images" / file, name, TRAIN + variant)
            test.append((file, label))
    test.sort()
    write_lines(folder / "GT-final_test.csv", [f"{HEADER};ClassId", *(f"{_box(file)};{label}" for file, label in test)])
    unlabelled = [HEADER, *(_box(file) for file, _ in test)]
    write_lines(folder / "GTSRB" / "Final_Test" / "Images" / "GT-final_test.test.csv", unlabelled)
    return Written(per_class(len(names)))


def _box(file: str) -> str:
    return f"{file};{SIDE};{SIDE};3;3;{SIDE - 4};{SIDE - 4}"
