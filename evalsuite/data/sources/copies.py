"""Copies of data that the `datasets` library keeps in the cache: whether they are still what it wrote."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from evalsuite.data.place import DataPlace
from evalsuite.hashing import files_sha256
from evalsuite.seals import read_sealed, write_sealed

SUMS = "evalsuite-sha256.json"
"""In the folder of a copy: the checksum of each of its files."""


def leave_only_intact(folder: Path, place: DataPlace) -> None:
    """Remove a copy of which a file is not what was written, and say so; it is made again from the data.

    A copy without checksums (0.1.0 wrote none) is left as it is.
    """
    try:
        noted = read_sealed(folder / SUMS)
        paths = [folder / name for name in noted]
        intact = files_sha256(paths, place.cache_dir, place.progress) == list(noted.values())
    except FileNotFoundError:
        intact = not (folder / SUMS).is_file()
    except (ValueError, TypeError, AttributeError):
        intact = False
    if not intact:
        place.progress.note(f"Warning: the copy of the data in {folder} is damaged: it is made again.")
        shutil.rmtree(folder)


def note_sums(folder: Path, files: Sequence[Path], place: DataPlace) -> None:
    """Note the checksums of the files of a copy, once; nothing is noted where there is none."""
    if files and not (folder / SUMS).is_file():
        digests = files_sha256(files, place.cache_dir, place.progress)
        names = [path.relative_to(folder).as_posix() for path in files]
        write_sealed(folder / SUMS, dict(zip(names, digests, strict=True)))


def files_of(dataset: object, folder: Path) -> list[Path]:
    """Return the files that a dataset reads from a folder, and those that describe them."""
    cached = [Path(str(file["filename"])) for file in getattr(dataset, "cache_files", ())]
    own = [path for path in cached if path.is_relative_to(folder)]
    described = [path.parent / "dataset_info.json" for path in own]
    return list(dict.fromkeys([*own, *(path for path in described if path.is_file())]))
