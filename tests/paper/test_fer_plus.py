"""FER+: labels by votes, and the images of FER 2013 that they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evalsuite
from evalsuite.data import open_task
from evalsuite.data.base import TaskData
from evalsuite.data.place import DataPlace
from evalsuite.data.splits import check_sizes
from evalsuite.errors import DataError, DataMissingError
from evalsuite.resources import data_dir
from tests.paper.oracle import oracle_for
from tests.paper.picture import picture
from tests.paper.saving import write_lines

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
SHOWN = ("neutral", "happy", "surprised", "sad", "angry", "disgusted", "fearful", "contemptuous")
NOBODY = (0,) * 8
TABLE_NINE = {"Training": (28_709, 28_561), "PublicTest": (3_589, 3_579), "PrivateTest": (3_589, 3_574)}
"""Usage -> rows of FER 2013, and those of FER+ with an image: table 9 has 28,561 + 3,579 and 3,574."""

Vote = tuple[str, bool, Sequence[int]]
"""Usage, whether there is an image, and the votes for the eight emotions, perhaps for unknown and NF."""


def write_votes(folder: Path, votes: Iterable[Vote]) -> None:
    """Write fer2013new.csv."""
    rows = []
    for number, (usage, has_image, counts) in enumerate(votes):
        name = f"fer{number:07d}.png" if has_image else ""
        rows.append(",".join([usage, name, *map(str, [*counts, *[0] * (10 - len(counts))])]))
    write_lines(folder / "fer2013new.csv", [HEADER, *rows])


def for_emotion(number: int, votes: int = 10, **others: int) -> tuple[int, ...]:
    """Return so many votes for the emotion of a number, and the `others` for `unknown` and `nf`."""
    return (*(votes if number == k else 0 for k in range(8)), others.get("unknown", 0), others.get("nf", 0))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three images of each emotion in each usage, and rows that have no label; return the data root."""
    rows, votes = ["emotion,pixels,Usage"], []
    blank = " ".join(["0"] * 48 * 48)
    for usage in TABLE_NINE:
        for variant in range(3):
            for number, name in enumerate(SHOWN):
                pixels = np.asarray(picture(name, variant, 48).convert("L")).reshape(-1).tolist()
                rows.append(f"6,{' '.join(map(str, pixels))},{usage}")
                votes.append((usage, True, for_emotion(number, 4, unknown=6 * (variant == 1))))
        for has_image, counts in ((False, for_emotion(1)), (True, (*NOBODY, 10, 0))):
            rows.append(f"6,{blank},{usage}")
            votes.append((usage, has_image, counts))
    write_lines(tmp_path / "fer2013" / "fer2013.csv", rows)
    write_votes(tmp_path / "fer2013", votes)
    return tmp_path


def opened(data: Path) -> TaskData:
    """Open the task under a data root."""
    return open_task(evalsuite.load_task("fer_plus"), DataPlace(data, offline=True))


def test_the_emotion_with_the_most_votes_is_the_label(small: Path, tmp_path: Path) -> None:
    task = evalsuite.load_task("fer_plus")
    stores: dict[str, Any] = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    options: dict[str, Any] = {"data_root": small, "device": "cpu"}
    (result,) = evalsuite.evaluate(oracle_for(task), task, "zero_shot", **options, **stores)
    assert result.metric is not None and (result.metric.value, result.metric.n) == (1.0, 24)


def test_of_a_tie_the_first_column_counts(small: Path) -> None:
    pool = opened(small).open_pool("train")
    votes = (small / "fer2013" / "fer2013new.csv").read_text().splitlines()
    votes[8] = "Training,fer0000007.png,0,0,0,3,3,0,0,3,1,0"
    write_lines(small / "fer2013" / "fer2013new.csv", votes)
    changed = opened(small).open_pool("train")
    assert pool.ids == changed.ids and pool.fingerprint == changed.fingerprint
    assert (pool.labels[7], changed.labels[7]) == (SHOWN.index("contemptuous"), SHOWN.index("sad"))


def test_the_numbers_of_table_nine(tmp_path: Path) -> None:
    for name in ("fer_plus.yaml", "fer_plus.py"):  # with images of one pixel, to read 35,887 of them at once
        text = (data_dir("tasks") / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("SIDE = 48", "SIDE = 1").replace("exact: false", "exact: true"))
    rows, votes = ["emotion, Usage, pixels"], []
    for usage, (count, with_image) in TABLE_NINE.items():
        rows += [f"0, {usage}, {number % 256}" for number in range(count)]
        votes += [(usage, number < with_image, for_emotion(number % 8, 5, unknown=5)) for number in range(count)]
    write_lines(tmp_path / "fer2013" / "icml_face_data.csv", rows)
    write_votes(tmp_path / "fer2013", votes)
    task = evalsuite.load_task(tmp_path / "fer_plus.yaml")
    data = open_task(task, DataPlace(tmp_path, trust_adapters=True, offline=True))
    (fold,) = data.folds()
    check_sizes(data.task, data.folds())
    assert {name: len(split) for name, split in fold.splits.items()} == {"train": 28_561, "val": 3_579, "test": 3_574}


def _without_last(lines: list[str]) -> list[str]:
    return lines[:-1]


def _one_more(lines: list[str]) -> list[str]:
    return [*lines, lines[-1]]


def _moved(lines: list[str]) -> list[str]:
    return [lines[0], *lines[2:], lines[1]]


def _no_numbers(lines: list[str]) -> list[str]:
    return [lines[0], lines[1].replace("4", "many"), *lines[2:]]


def _no_column(lines: list[str]) -> list[str]:
    return [lines[0].replace("contempt", "scorn"), *lines[1:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_last, "row 77 of .* is not there"),
        (_one_more, "has more rows than"),
        (_moved, "is of 'Training'; that of .* says 'PublicTest'"),
        (_no_numbers, "row 0: the votes must be numbers"),
        (_no_column, "has no column 'contempt'"),
    ],
)
def test_votes_that_do_not_fit_the_images_are_refused(
    small: Path, change: Callable[[list[str]], list[str]], message: str
) -> None:
    path = small / "fer2013" / "fer2013new.csv"
    write_lines(path, change(path.read_text().splitlines()))
    with pytest.raises(DataError, match=message):
        opened(small).open_pool("train")


def test_both_tables_are_needed(small: Path) -> None:
    (small / "fer2013" / "fer2013new.csv").unlink()
    with pytest.raises(DataMissingError, match=r"fer2013new\.csv"):
        opened(small).open_pool("train")
