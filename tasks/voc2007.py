"""Pascal VOC 2007 classification: labels from ImageSets/Main/<class>_<set>.txt.

Each line is an image and 1 (present), -1 (absent) or 0 (only "difficult" objects: the devkit's
VOCevalcls leaves the image out for that class).
"""

from __future__ import annotations

from pathlib import Path

from evalsuite.data import MultiLabel, RawPool, raw_pool_from_files
from evalsuite.errors import DataError, DataMissingError
from evalsuite.text import counted

FOLDER = "VOCdevkit/VOC2007"
POOLS = ("train", "val", "test")
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The words in the names of the list files (VOCinit.m of the devkit, `VOCopts.classes`)."""

MARKS = {"1": 1, "0": 0, "-1": -1}
_ARCHIVES = {"test": "VOCtest_06-Nov-2007.tar"}
_TRAINVAL = "VOCtrainval_06-Nov-2007.tar"


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the image set `pool` (train, val or test) of the devkit under `root`/VOCdevkit/VOC2007."""
    if pool not in POOLS:
        raise DataError(f"VOC 2007 has the pools {', '.join(POOLS)}, not {pool!r}.")
    devkit = (root or Path()) / FOLDER
    advice = f"Unpack {_ARCHIVES.get(pool, _TRAINVAL)} under the data root again."
    lists = {name: devkit / "ImageSets" / "Main" / f"{name}_{pool}.txt" for name in CLASSES}
    absent = [path.name for path in lists.values() if not path.is_file()]
    if absent:
        raise DataMissingError(
            f"VOC 2007: {len(absent)} of {len(CLASSES)} lists are missing in {devkit / 'ImageSets' / 'Main'}: "
            f"{', '.join(absent)}. {advice}"
        )
    marks = {name: _marks(path) for name, path in lists.items()}
    images = sorted(set().union(*marks.values()))
    for name, path in lists.items():
        unnamed = [image for image in images if image not in marks[name]]
        if unnamed:
            raise DataError(
                f"VOC 2007: {path} does not name {len(unnamed)} of the {len(images)} images that the lists of the "
                f"other classes name, such as {unnamed[0]!r}. {advice}"
            )
    files = [f"JPEGImages/{image}.jpg" for image in images]
    lost = [file for file in files if not (devkit / file).is_file()]
    if lost:
        raise DataMissingError(
            f"VOC 2007: the set {pool!r} lacks {counted(len(lost), 'image')}, the first: {devkit / lost[0]}. {advice}"
        )
    labels = [
        MultiLabel(
            present=tuple(name for name in CLASSES if marks[name][image] == 1),
            ignored=tuple(name for name in CLASSES if marks[name][image] == 0),
        )
        for image in images
    ]
    return raw_pool_from_files(devkit, files, labels)


def _marks(path: Path) -> dict[str, int]:
    """Return the mark of each image of a list file."""
    marks: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2 or fields[1] not in MARKS:
            raise DataError(f"VOC 2007: line {number} of {path} must be an image and 1, 0 or -1: {line!r}.")
        if fields[0] in marks:
            raise DataError(f"VOC 2007: line {number} of {path} names the image {fields[0]!r} a second time.")
        marks[fields[0]] = MARKS[fields[1]]
    return marks
