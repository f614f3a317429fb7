"""KITTI: how far the closest vehicle is, as in VTAB (task_adaptation, data/kitti.py, `closest_vehicle_distance`).

The splits are those of TensorFlow Datasets' kitti 3.1.0, which VTAB reads: whole videos of the training images, drawn
by numpy's legacy generator. Which video an image is from stands in the object devkit's `mapping` folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evalsuite.data import RawPool, raw_pool_from_files
from evalsuite.errors import DataError, DataMissingError
from evalsuite.text import counted

FOLDER = "Kitti/raw"
"""Where torchvision's Kitti unpacks the images and labels."""

MAPPING = "devkit_object/mapping"
VEHICLES = frozenset({"Car", "Van", "Truck"})
THRESHOLDS = (-100.0, 8.0, 20.0, 999.0)
"""Metres; a label is the number of the last one that is below the distance (VTAB)."""

NO_VEHICLE = 1000.0
"""The distance where there is no vehicle (VTAB)."""

SEED, PERCENT = 123, 10
"""Of the draw, and of the videos that make the test and the validation set each (TFDS kitti 3.1.0)."""

POOLS = ("train", "val", "test")
_Z = 12
"""Which of the 14 numbers after an object's type is the z of its location, in metres (readme.txt of the devkit)."""


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the images of the split `pool` (train, val or test).

    Labels: 0 up to 8 m, 1 up to 20 m, 2 farther, 3 no vehicle. Groups: the videos.
    """
    if pool not in POOLS:
        raise DataError(f"KITTI has the pools {', '.join(POOLS)}, not {pool!r}.")
    base = (root or Path()) / FOLDER
    videos = videos_of_images(base)
    chosen = split_of_videos(videos)
    numbers = [number for number, video in enumerate(videos) if chosen[video] == pool]
    ids = [f"training/image_2/{number:06d}.png" for number in numbers]
    notes = [base / f"training/label_2/{number:06d}.txt" for number in numbers]
    absent = [path for path in [*(base / sample for sample in ids), *notes] if not path.is_file()]
    if absent:
        raise DataMissingError(
            f"KITTI: the split {pool!r} lacks {counted(len(absent), 'image or label file')}, the first: {absent[0]}. "
            "They are in data_object_image_2.zip and data_object_label_2.zip of "
            f"https://s3.eu-central-1.amazonaws.com/avg-kitti/; unpack both in {base}."
        )
    return raw_pool_from_files(base, ids, [_label(path) for path in notes], [videos[number] for number in numbers])


def videos_of_images(base: Path) -> list[str]:
    """Return the video each training image is from, by the image's number.

    train_rand.txt holds, for each image, a line number of train_mapping.txt (from 1), whose lines are
    `date video frame`.
    """
    folder = base / MAPPING
    order, lines = folder / "train_rand.txt", folder / "train_mapping.txt"
    for path in (order, lines):
        if not path.is_file():
            raise DataMissingError(
                f"KITTI: {path} is missing, which says which images are of one video. It is in "
                "https://s3.eu-central-1.amazonaws.com/avg-kitti/devkit_object.zip, which torchvision does not "
                f"download: unpack it in {base / 'devkit_object'}."
            )
    entries = [line.split() for line in lines.read_text(encoding="utf-8").splitlines()]
    videos = []
    for image, text in enumerate(order.read_text(encoding="utf-8").strip().split(",")):
        number = int(text) if text.strip().isdecimal() else 0
        if not 1 <= number <= len(entries) or len(entries[number - 1]) < 2:
            raise DataError(
                f"KITTI: {order} gives image {image} the line {text.strip()!r} of {lines.name}, "
                f"which names no video; that file has {len(entries)} lines. Unpack devkit_object.zip again."
            )
        videos.append(entries[number - 1][1])
    return videos


def split_of_videos(videos: list[str]) -> dict[str, str]:
    """Return the pool of each video: a tenth of them each for test and val, at least one, drawn in that order."""
    names = sorted(set(videos))
    count = max(1, PERCENT * len(names) // 100)
    if len(names) < 2 * count:
        raise DataError(f"KITTI: the mapping names {len(names)} videos, too few for a test and a validation set.")
    generator = np.random.RandomState(SEED)
    test = set(generator.choice(names, count, replace=False).tolist())
    rest = [name for name in names if name not in test]
    val = set(generator.choice(rest, count, replace=False).tolist())
    return {name: "test" if name in test else "val" if name in val else "train" for name in names}


def _label(path: Path) -> int:
    """Return the number of the last threshold below the distance of the closest vehicle."""
    distance = NO_VEHICLE
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, *numbers = line.split() or [""]
        try:
            z = [float(number) for number in numbers][_Z]
        except (ValueError, IndexError) as error:
            raise DataError(f"KITTI: {path} must have lines of a type and 14 numbers, not {line!r}.") from error
        if kind in VEHICLES:
            distance = min(distance, z)
    below = [number for number, threshold in enumerate(THRESHOLDS) if threshold < distance]
    if not below:
        raise DataError(f"KITTI: {path} has a vehicle at {distance} m, which no label stands for.")
    return below[-1]
