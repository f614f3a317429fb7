"""Reopen single samples by their id, and make small pictures of them that a page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
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


def thumbnails(
    task: TaskSpec | None, wanted: Mapping[str, tuple[str, ...]], place: DataPlace
) -> tuple[dict[str, str], str]:
    """Return sample id -> data URI for the ids that are `wanted`, and why some are missing ("" where none is).

    wanted: sample id -> keys of its classes as the predictions say. An image whose label is another one here is left
    out: it is not the image that was measured.
    """
    if task is None:
        return {}, "No thumbnails: the task file is not known here; name its folder with --include-path."
    try:
        data = open_task(task, replace(place, offline=True), test_only=True)
        return _from_pools(data, wanted)
    except DataMissingError:
        return {}, "No thumbnails: the images are not on this machine; say where they are with --data-root."
    except UsageError:
        return {}, "No thumbnails: the adapter that reads the images is not trusted; see --trust-adapters."
    except EvalsuiteError:
        return {}, "No thumbnails: the images on this machine cannot be read."


def data_uri(image: Image.Image, side: int = SIDE) -> str:
    """Return the image, at most `side` pixels wide and high, as a data URI: JPEG, or PNG if it is as small already."""
    small, kind = image.convert("RGB"), "png" if max(image.size) <= side else "jpeg"
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, kind, quality=JPEG_QUALITY)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _from_pools(data: TaskData, wanted: Mapping[str, tuple[str, ...]]) -> tuple[dict[str, str], str]:
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
        return found, ""
    return found, f"{missing} of {len(wanted)} images cannot be read here, or have another label than was measured."


def _is_of(task: TaskSpec, pool: Pool, row: int, wanted: tuple[str, ...]) -> bool:
    """Say whether an image has the labels that were logged: all of its own, or one where any of them is right."""
    label: Any = pool.labels[row]
    if pool.labels.ndim == 1:
        return (task.class_keys[int(label)],) == wanted
    own = tuple(key for key, there in zip(task.class_keys, label.tolist(), strict=True) if there == 1)
    return own == wanted if task.multilabel else set(wanted) <= set(own)
