"""Copies of data that the `datasets` library keeps in the cache: whether they are still what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalsuite import atomic
from evalsuite.data.place import DataPlace
from evalsuite.hashing import files_sha256
from evalsuite.listing import matching
from evalsuite.seals import read_sealed, write_sealed

COPIES = "datasets"
"""In the cache: where the library keeps its copies."""

SUMS = "evalsuite-sha256.json"
"""In the folder of a copy: the checksum of each of its files."""


def leave_only_intact(folder: Path, place: DataPlace) -> None:
    """Remove a copy of which a file is not what was written, and say so; it is made again from the data.

    A copy without checksums (0.1.0 wrote none) is left as it is.
    """
    if (folder / SUMS).is_file() and not _fits(folder / SUMS, place):
        place.progress.note(f"Warning: the copy of the data in {folder} is damaged: it is made again.")
        atomic.remove_folder(folder)


def note_sums(folder: Path, files: Sequence[Path], place: DataPlace) -> None:
    """Note the checksums of those files of a copy that have none."""
    noted = read_sealed(folder / SUMS, always=True) if (folder / SUMS).is_file() else {}
    fresh = {path.relative_to(folder).as_posix(): path for path in files}
    fresh = {name: path for name, path in fresh.items() if name not in noted}
    if fresh:
        digests = files_sha256(list(fresh.values()), place.cache_dir, place.progress)
        write_sealed(folder / SUMS, {**noted, **dict(zip(fresh, digests, strict=True))})


def files_of(dataset: object, folder: Path) -> list[Path]:
    """Return the files that a dataset reads from a folder, and those that describe them."""
    cached = [Path(str(file["filename"])) for file in getattr(dataset, "cache_files", ())]
    own = [path for path in cached if path.is_relative_to(folder)]
    described = [path.parent / "dataset_info.json" for path in own]
    return list(dict.fromkeys([*own, *(path for path in described if path.is_file())]))


def damaged_copies(cache_dir: Path) -> tuple[int, list[str]]:
    """Return how many copies with checksums are in a cache, and which are damaged; every byte is read."""
    found = matching(cache_dir / COPIES, f"*/{SUMS}")
    problems = []
    for path in found:
        try:
            if not _fits(path):
                problems.append(f"{path.parent} is damaged; it is made again when it is needed")
        except OSError as error:
            problems.append(f"{path.parent} cannot be read ({error})")
    return len(found), problems


def _fits(sums: Path, place: DataPlace | None = None) -> bool:
    """Tell whether the files of a copy have their checksums. place: where known ones are remembered."""
    known = (None, None) if place is None else (place.cache_dir, place.progress)
    try:
        noted = read_sealed(sums, always=True)
        return files_sha256([sums.parent / name for name in noted], *known) == list(noted.values())
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return False
