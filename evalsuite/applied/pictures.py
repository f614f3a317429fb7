"""A person's images as a pool: files and folders without labels, encoded once and stored like any other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from evalsuite.data.base import Pool
from evalsuite.data.decoding import image_extensions
from evalsuite.data.readers import raw_pool_from_files
from evalsuite.errors import EvalsuiteError, NotFiniteError, UsageError
from evalsuite.features.extraction import ensure_features
from evalsuite.features.store import PoolFeatures
from evalsuite.listing import walk
from evalsuite.options import RunOptions
from evalsuite.runner.base import Reporter
from evalsuite.runner.job import preparing
from evalsuite.runner.models import ModelSession
from evalsuite.runner.passes import reading
from evalsuite.text import is_unicode

LOOSE = "images"
"""The task that features of a person's images are stored under; the pool says which folder."""


@dataclass(frozen=True)
class Encoded:
    """Rows of a pool whose features are stored, and the images that cannot be read, with why."""

    pool: Pool
    rows: list[int]
    features: PoolFeatures
    unreadable: tuple[str, ...] = ()

    def read(self, layer: str) -> torch.Tensor:
        """Return the features of the rows, (n, D)."""
        return self.features.read(layer, [self.pool.ids[row] for row in self.rows])

    def mapped(self, layer: str) -> tuple[NDArray[np.floating], NDArray[np.int64] | None]:
        """Return features (N, D) that stay on the disk, and which of their rows are these, in order; None: all."""
        return self.features.mapped(layer, [self.pool.ids[row] for row in self.rows])


def open_images(paths: Sequence[Path]) -> Pool:
    """Return the images in files and folders as a pool without labels; UsageError where there is none.

    Ids are paths below the folder that all are in. Hidden files, and what is no image by its name, are passed over in
    folders.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += _in_folder(path)
        elif path.is_file():
            files.append(path)
        else:
            raise UsageError(f"There is no image or folder {path}.")
    if not files:
        where, known = ", ".join(map(str, paths)), ", ".join(sorted(image_extensions()))
        raise UsageError(f"There is no image in {where or 'nothing'}. Known are files that end in {known}.")
    whole = {file.parent.resolve() / file.name for file in files}  # one file has one name, however it was typed
    # The root is what features are stored under: that of a folder stays when images are added to it.
    folders = [path.resolve() for path in paths] if len(paths) == 1 and paths[0].is_dir() else []
    root = Path(os.path.commonpath(folders or [file.parent for file in whole]))
    ids = sorted(file.relative_to(root).as_posix() for file in whole)
    if strange := [name for name in ids if not is_unicode(name)]:
        raise UsageError(f"The name of the image {strange[0]!r} is no UTF-8. Rename the file.")
    raw = raw_pool_from_files(root, ids, [0] * len(ids))
    return Pool(
        name=LOOSE,
        ids=tuple(ids),
        labels=np.zeros(len(ids), np.int64),
        read=raw.read,
        sizes=raw.sizes,
        mtimes=raw.mtimes,
        groups=None,
        fingerprint=hashlib.sha256(os.fsencode(root)).hexdigest(),
        states=raw.states,
    )


def encode(
    session: ModelSession, task: str, pool: Pool, rows: Sequence[int], options: RunOptions, reporter: Reporter
) -> Encoded:
    """Encode what the store lacks of some rows of a pool; images that cannot be read are left out.

    EvalsuiteError where the model gives values that are not finite at every precision, or none can be read; UsageError
    for a person's own images where features are given and there is no model.
    """
    if task == LOOSE and session.identify().given is not None:
        raise UsageError(f"The model {session.name!r} is a folder of features: it cannot encode other images.")
    while True:
        features = session.identify().pool_features(*_stored_as(task, pool), session.further_layer)
        try:
            report = ensure_features(
                pool,
                rows,
                features,
                preparing(session, task, features, _stored_as(task, pool)),
                reading(options, session),
                max_unreadable=len(rows),
                on_images=lambda done, total: reporter.progress(f"{session.slug} {task}", done, total, "images"),
                tell=reporter.note,
            )
            break
        except NotFiniteError as error:
            what = f"The model {session.name!r} {error}"
            if not session.can_fall_back:
                raise EvalsuiteError(what) from error
            session.fall_back(what)
    unreadable = tuple(f"{item.identifier}: {item.problem}" for item in report.unreadable)
    there = [row for row in rows if pool.ids[row] in features]
    if not there:
        raise EvalsuiteError("\n".join(["None of the images can be read:", *unreadable[:3]]))
    return Encoded(pool, there, features, unreadable)


def _stored_as(task: str, pool: Pool) -> tuple[str, str, str]:
    """Return the task, the pool and the fingerprint that features are stored under: another task's, where it is."""
    return (
        (pool.owner.task, pool.owner.pool, pool.owner.fingerprint)
        if pool.owner
        else (task, pool.name, pool.fingerprint)
    )


def _in_folder(folder: Path) -> list[Path]:
    """Return the images below a folder, in the order of their names."""
    known, found = image_extensions(), []
    for place, folders, names in walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(place, name)
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in known
        ]
    return found
