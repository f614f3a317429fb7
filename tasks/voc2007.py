"""Pascal VOC 2007 classification: labels from ImageSets/Main/<class>_<set>.txt.

Each line is an image and 1 (present), -1 (absent) or 0 (only "difficult" objects: the devkit's
VOCevalcls leaves the image out for that class).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evalsuite.data import LoadedSample, MultiLabel, RawPool
from evalsuite.data.decoding import decode_image
from evalsuite.errors import DataMissingError


class _Reader:
    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __call__(self, row: int) -> LoadedSample:
        content = self.files[row].read_bytes()
        return LoadedSample(decode_image(content, str(self.files[row])), content)


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the image set `pool` (train, val or test) of the devkit under `root`/VOCdevkit/VOC2007."""
    devkit = (root or Path()) / "VOCdevkit" / "VOC2007"
    lists = sorted((devkit / "ImageSets" / "Main").glob(f"*_{pool}.txt"))
    if not lists:
        raise DataMissingError(f"There are no files <class>_{pool}.txt in {devkit / 'ImageSets' / 'Main'}.")
    marks: dict[str, dict[str, int]] = {}
    for path in lists:
        name = path.stem.removesuffix(f"_{pool}")
        for line in path.read_text().splitlines():
            image, mark = line.split()
            marks.setdefault(image, {})[name] = int(mark)
    ids = sorted(marks)
    files = [devkit / "JPEGImages" / f"{image}.jpg" for image in ids]
    absent = [path for path in files if not path.is_file()]
    if absent:
        raise DataMissingError(f"{len(absent)} images of the set {pool!r} are missing, the first: {absent[0]}.")
    stats = [path.stat() for path in files]
    return RawPool(
        ids=[f"JPEGImages/{image}.jpg" for image in ids],
        labels=[
            MultiLabel(
                present=tuple(name for name, mark in marks[image].items() if mark == 1),
                ignored=tuple(name for name, mark in marks[image].items() if mark == 0),
            )
            for image in ids
        ],
        read=_Reader(files),
        sizes=np.array([stat.st_size for stat in stats], dtype=np.int64),
        mtimes=np.array([stat.st_mtime_ns for stat in stats], dtype=np.int64),
    )
