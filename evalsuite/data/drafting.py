"""A first task file for a folder of images: its classes, pools, splits and sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evalsuite.data.opening import open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import UsageError
from evalsuite.tasks.sources import FolderSpec
from evalsuite.tasks.spec import PromptSpec, TaskSpec
from evalsuite.text import counted, shortened

POOLS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Name of a folder -> the split that it is."""

TRAIN_SHARE = 0.8
"""Of each class, where the folder has no splits."""

_WORDNET = re.compile(r"n\d{8}")
_EXTENSIONS = frozenset(FolderSpec.model_fields["extensions"].default)


@dataclass(frozen=True)
class Layout:
    """How a folder holds its images. pools: name -> folder below it; splits: as in a task file; why: both in words."""

    pools: Mapping[str, str]
    splits: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Draft:
    """A task file. found: what was found in the folder, in words."""

    text: str
    found: str


def draft(file: Path, title: str, folder: Path) -> Draft:
    """Return a task file, to be written to `file`, that describes a folder of images.

    The folder has train/<class>/ and test/<class>/ (also val/), or <class>/ alone: then the images are drawn into
    splits by a seed. UsageError for a folder without such images; DataError for splits that cannot be.
    """
    layout = _layout(folder)
    classes = _classes([folder / name for name in layout.pools.values()], folder)
    value: dict[str, Any] = {
        "title": title,
        "classes": [_as_written(key) for key in classes],
        "prompts": {"templates": ["a photo of a {}."]},
        "sources": [{"kind": "folder", "path": _seen_from(file.parent, folder), "pools": dict(layout.pools)}],
        "splits": dict(layout.splits),
        "split_fidelity": {"level": "convention", "why": layout.why},
    }
    task = TaskSpec.model_validate({"name": file.stem, **value}).with_path(file.absolute())
    task = task.with_prompt_spec(PromptSpec.model_validate(value["prompts"]))
    (fold,) = open_task(task, DataPlace(offline=True)).folds()
    sizes = {name: len(split) for name, split in fold.splits.items()}
    found = f"{counted(len(classes), 'class')}; {', '.join(f'{name} {size:,}' for name, size in sizes.items())}"
    return Draft(_written(value, sizes), f"{found}. {layout.why}")


def _layout(folder: Path) -> Layout:
    named = {POOLS[name.casefold()]: name for name in _folders(folder) if name.casefold() in POOLS}
    if "train" in named and "test" in named:
        splits: dict[str, Any] = {name: name for name in ("train", "val", "test") if name in named}
        return Layout(named, splits, f"The splits are the folders {', '.join(named[name] for name in splits)}.")
    if "train" in named and "val" in named:
        why = f"There is no folder of test images: {named['val']} is the test split."
        return Layout({"train": named["train"], "test": named["val"]}, {"train": "train", "test": "test"}, why)
    only = ", ".join(named.values())
    if len(named) > 1:
        raise UsageError(f"{folder} has the folders {only} and none to train on: name one of them `train`.")
    drawn = {"rule": "sample", "pool": "all", "seed": 0, "train": TRAIN_SHARE, "test": "rest"}
    why = f"Drawn by the seed 0: {TRAIN_SHARE:.0%} of the images of each class train, the rest test."
    return Layout({"all": only or "."}, drawn, why)


def _classes(pools: Iterable[Path], folder: Path) -> list[str]:
    """Return the names of the folders that hold images, in any of the pools, sorted."""
    names = sorted({name for pool in pools for name in _folders(pool) if _has_image(pool / name)})
    if len(names) < 2:
        raise UsageError(
            f"{folder} has {counted(len(names), 'folder')} with images ({shortened(names) or 'none'}), and a task "
            "needs two classes. Put the images of each class into a folder of its name: DIR/<class>/*.jpg, or "
            "DIR/train/<class>/*.jpg and DIR/test/<class>/*.jpg."
        )
    return names


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UsageError(f"{folder} cannot be looked at: {error.strerror or error}.") from error


def _has_image(folder: Path) -> bool:
    return any(path.suffix.lower() in _EXTENSIONS for path in folder.rglob("*"))


def _as_written(key: str) -> str | dict[str, str]:
    """Return a class as a task file has it: its folder, and the words of that where they are written otherwise."""
    name = " ".join(re.split(r"[_\s-]+", key)).strip() or key
    return key if name == key else {key: name}


def _seen_from(place: Path, folder: Path) -> str:
    path = os.path.relpath(folder.resolve(), place.resolve())
    return str(folder.resolve()) if path.startswith("..") else path


def _written(value: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """Return the text of a task file, with a comment before what its writer should look at."""
    names = [key for item in value["classes"] for key in (item if isinstance(item, dict) else [item])]
    numbers = " These are numbers of WordNet: write what they stand for." if all(map(_WORDNET.match, names)) else ""
    comments = {
        "classes": "The names of the folders, and what prompts say: correct the words, several are averaged: "
        f"[magpie, pica].{numbers}",
        "prompts": "Each template has one {} for the class.",
        "sizes": "A copy with other numbers of images is refused, not silently scored.",
    }
    lines = ["# A task: a dataset with its classes, splits, prompts and metric."]
    for key, part in {**value, "sizes": dict(sizes)}.items():
        lines += [f"# {comments[key]}"] if key in comments else []
        lines.append(_in_yaml(key, part))
    return "\n".join(lines) + "\n"


def _in_yaml(key: str, value: Any) -> str:
    flat = key in ("splits", "split_fidelity", "sizes")
    dumped = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100_000, default_flow_style=flat or None)
    text = dumped.removesuffix("...\n").rstrip("\n")
    if isinstance(value, str) or flat:
        return f"{key}: {text}"
    return f"{key}:\n" + "\n".join(f"  {line}" for line in text.splitlines())
