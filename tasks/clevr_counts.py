"""CLEVR: how many objects there are in a scene, from the scene graphs of CLEVR 1.0.

The layout is that of the official CLEVR_v1.0.zip in the folder where torchvision's CLEVRClassification unpacks it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evalsuite.data import RawPool, raw_pool_from_files
from evalsuite.errors import DataError, DataMissingError
from evalsuite.text import counted

FOLDER = "clevr/CLEVR_v1.0"
POOLS = ("train", "val")
"""The scene graphs of the test set are not published."""

_ADVICE = "Unpack https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip in the folder clevr under the data root again."


def open_pool(root: Path | None, pool: str) -> RawPool:
    """Open the set `pool` (train or val); the label of an image is its number of objects, 3 .. 10."""
    if pool not in POOLS:
        raise DataError(f"CLEVR has the pools {', '.join(POOLS)} with labels, not {pool!r}.")
    base = (root or Path()) / FOLDER
    counts = _counts(base / "scenes" / f"CLEVR_{pool}_scenes.json")
    images = base / "images" / pool
    present = {path.name for path in images.glob("*.png")}
    absent = sorted(counts.keys() - present)
    if absent:
        raise DataMissingError(
            f"CLEVR: {len(absent)} of {len(counts)} images of the set {pool!r} are missing, "
            f"the first: {images / absent[0]}. {_ADVICE}"
        )
    strange = sorted(present - counts.keys())
    if strange:
        raise DataError(
            f"CLEVR: no scene for {counted(len(strange), 'image')}, the first: {images / strange[0]}. {_ADVICE}"
        )
    names = sorted(counts)
    return raw_pool_from_files(base, [f"images/{pool}/{name}" for name in names], [counts[name] for name in names])


def _counts(path: Path) -> dict[str, int]:
    """Return the number of objects by the name of the image."""
    try:
        with path.open(encoding="utf-8") as file:
            scenes = json.load(file, object_hook=_shrunk)["scenes"]
        counts = {str(scene["image_filename"]): int(scene["objects"]) for scene in scenes}
    except FileNotFoundError as error:
        raise DataMissingError(f"CLEVR: {path} is missing. {_ADVICE}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"CLEVR: {path} is no file of scenes ({type(error).__name__}: {error}). {_ADVICE}") from error
    if len(counts) != len(scenes):
        raise DataError(f"CLEVR: {path} names an image more than once. {_ADVICE}")
    return counts


def _shrunk(value: dict[str, Any]) -> dict[str, Any]:
    """Replace the objects of a scene by their number while it is parsed: 70,000 whole scenes are gigabytes."""
    if isinstance(value.get("objects"), list):
        return {"image_filename": value["image_filename"], "objects": len(value["objects"])}
    return value
