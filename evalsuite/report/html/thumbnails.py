"""Reopen single samples by their id, and make small pictures of them that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image

from evalsuite.data.base import Pool, TaskData
from evalsuite.data.opening import open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, DataMissingError, EvalsuiteError, UsageError
from evalsuite.tasks.spec import TaskSpec

SIDE = 64
"""Longer side in pixels."""

JPEG_QUALITY = 80


@dataclass(frozen=True)
class Thumbnails:
    """Pictures by sample id; note: why some are missing, for the page; hint: what its maker can do about it."""

    images: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    hint: str = ""


def thumbnails(task: TaskSpec | None, wanted: Mapping[str, tuple[str, ...]], place: DataPlace) -> Thumbnails:
    """Return a data URI for each of the sample ids that are `wanted`, and why some are missing.

    wanted: sample id -> keys of its classes as the predictions say. An image whose label is another one here is left
    out: it is not the image that was measured.
    """
    if task is None:
        return _none("its task file was not found where this page was made", "name its folder with --include-path")
    try:
        data = open_task(task, replace(place, offline=True), test_only=True)
        return _from_pools(data, wanted)
    except DataMissingError:
        return _none("the images were not where this page was made", "say where they are with --data-root")
    except UsageError:
        return _none("the adapter that reads the images is not trusted", "see --trust-adapters")
    except EvalsuiteError:
        return _none("the images could not be read where this page was made", "`evalsuite validate` says why")


def _none(why: str, hint: str) -> Thumbnails:
    return Thumbnails({}, f"No thumbnails: {why}.", f"No thumbnails: {why}; {hint}.")


def data_uri(image: Image.Image, side: int = SIDE) -> str:
    """Return the image, at most `side` pixels wide and high, as a data URI: JPEG, or PNG if it is as small already."""
    small, kind = image.convert("RGB"), "png" if max(image.size) <= side else "jpeg"
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, kind, quality=JPEG_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _from_pools(data: TaskData, wanted: Mapping[str, tuple[str, ...]]) -> Thumbnails:
    found: dict[str, str] = {}
    for name in dict.fromkeys(fold.test.pool for fold in data.folds(test_only=True)):
        pool = data.open_pool(name)
        rows = {identifier: row for row, identifier in enumerate(pool.ids) if identifier in wanted}
        for identifier, row in rows.items():
            if identifier not in found and _is_of(data.task, pool, row, wanted[identifier]):
                with suppress(DataError):
                    found[identifier] = data_uri(pool.read(row).image)
    missing = len(wanted) - len(found)
    if not missing:
        return Thumbnails(found)
    note = f"{missing} of {len(wanted)} images cannot be read here, or have another label than was measured."
    return Thumbnails(found, note)


def _is_of(task: TaskSpec, pool: Pool, row: int, wanted: tuple[str, ...]) -> bool:
    """Say whether an image has the labels that were logged: all of its own, or one where any of them is right."""
    label: Any = pool.labels[row]
    if pool.labels.ndim == 1:
        return (task.class_keys[int(label)],) == wanted
    own = tuple(key for key, there in zip(task.class_keys, label.tolist(), strict=True) if there == 1)
    return own == wanted if task.multilabel else set(wanted) <= set(own)
