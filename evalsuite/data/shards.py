"""Whether the files of a split are all those of one upload: what their names and checksums tell."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from evalsuite.errors import DataError
from evalsuite.text import counted, shortened

_PLACE = re.compile(r"(\d+)-of-(\d+)")
_NUMBER = re.compile(r"(.*?)(\d+)(\D*)")


def shortage(files: Sequence[Path], whole: str = "") -> str:
    """Say what does not fit in the names of files that say of how many they are: some missing, or several uploads.

    whole: the name, without its ending, of a file that holds all of a split, and has no others next to it.
    """
    if not files:
        return "no file"
    places = [match for path in files if (match := _PLACE.search(path.stem))]
    totals = sorted({int(match[2]) for match in places})
    numbers = Counter(int(match[1]) for match in places)
    mixed = 0 < len(places) < len(files) or (len(files) > 1 and any(path.stem == whole for path in files))
    kinds = {(path.parent, path.suffix) for path in files}
    if len(totals) > 1 or mixed or len(kinds) > 1 or any(count > 1 for count in numbers.values()):
        folders = " and ".join(map(str, sorted({path.parent for path in files})))
        named = shortened([path.name for path in sorted({path.stem: path for path in files}.values())], 4)
        return f"files of several uploads ({named}) are in {folders}: remove those of all but one"
    expected = totals[0] if totals else len(files)
    return f"{len(files)} of {expected} files are in {files[0].parent}" if len(files) != expected else ""


def gaps(files: Sequence[Path]) -> tuple[str, ...]:
    """Warn of numbers that are left out where files are numbered and do not say how many they are.

    Numbers that begin above 1 without zeros in front may be years.
    """
    numbered: Mapping[tuple[str, ...], dict[int, str]] = defaultdict(dict)
    for path in files:
        if (match := _NUMBER.fullmatch(path.stem)) and not _PLACE.search(path.stem):
            numbered[str(path.parent), match[1], match[3]][int(match[2])] = match[2]
    found = []
    for (folder, *_), numbers in numbered.items():
        low, high = min(numbers), max(numbers)
        absent = high - low + 1 - len(numbers)
        if absent and (low <= 1 or numbers[low].startswith("0")):
            missing = next(number for number in range(low, high) if number not in numbers)
            found.append(
                f"{folder}: of files numbered from {low} to {high}, {counted(absent, 'number')} "
                f"{'is' if absent == 1 else 'are'} not there, such as {missing}: the data may be incomplete."
            )
    return tuple(found)


def check_copies(files: Sequence[Path], digests: Sequence[str]) -> None:
    """Raise DataError where two files of a split have the same bytes: their samples would count twice."""
    first: dict[str, Path] = {}
    for path, digest in zip(files, digests, strict=True):
        if (other := first.setdefault(digest, path)) is not path:
            raise DataError(f"{path} is a copy of {other.name}, byte for byte: remove one of them.")
