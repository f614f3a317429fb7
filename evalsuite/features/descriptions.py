"""What a model is, next to its features: `model.json`, whose checksum lies in another folder.

The file itself stays as version 0.1.0 wrote it, and is read by it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from evalsuite import atomic
from evalsuite.seals import read_sealed, sha256_of, write_sealed

DESCRIPTION = "model.json"

DIGESTS = "digests"
"""Folder next to that of the features, with a file per model."""


def write_description(folder: Path, value: Any, *, reusable: bool) -> None:
    """Store what a model is. folder: of its features. reusable: whether another run will read it."""
    atomic.write_json(folder / DESCRIPTION, value)
    if reusable:
        write_sealed(_digest_file(folder), {"sha256": sha256_of(folder / DESCRIPTION)})


def read_description(folder: Path) -> bytes | None:
    """Return the content of what was stored of a model, None where nothing was; ValueError where it is damaged."""
    try:
        content = (folder / DESCRIPTION).read_bytes()
    except FileNotFoundError:
        return None
    noted = _noted(folder)
    if noted is not None and hashlib.sha256(content).hexdigest() != noted:
        raise ValueError("its bytes are not those that were written")
    return content


def description_files(folder: Path) -> tuple[Path, Path]:
    """Return where what a model is, and the checksum of that, are stored; they belong together."""
    return folder / DESCRIPTION, _digest_file(folder)


def forget_description(folder: Path) -> None:
    """Remove the checksum of a model whose folder is removed."""
    atomic.remove(_digest_file(folder))


def _noted(folder: Path) -> str | None:
    """Return the sha256 of a description; None where there is none, as for what version 0.1.0 wrote."""
    try:
        found = read_sealed(_digest_file(folder), always=True)
    except FileNotFoundError:
        return None
    return str(found.get("sha256")) if isinstance(found, dict) else ""


def _digest_file(folder: Path) -> Path:
    return folder.parent.parent / DIGESTS / f"{folder.name}.json"
