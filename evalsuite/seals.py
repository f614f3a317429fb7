"""Digests that travel with what is stored, so that damage is found when it is read.

A sealed JSON file ends with the sha256 of the object before it, as its last key; a file without one was written before
there were any, or by hand. Accidents are found, not forgeries.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from evalsuite import atomic

KEY = "digest"
"""The last key of a sealed object."""

NAME = "file"
"""The key of what a file is called, without its suffix, in files that may be mistaken for each other."""

BROKEN = f"its bytes are not those that were written: its `{KEY}` does not fit"

_SEAL = re.compile(rb',\n  "digest": "([0-9a-f]{64})"\n\}\s*\Z')


def sealed(value: dict[str, Any]) -> bytes:
    """Return an object, which has a key, as indented JSON with its digest."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f'{text[:-2]},\n  "{KEY}": "{digest}"\n}}\n'.encode()


def write_sealed(path: Path, value: dict[str, Any]) -> None:
    """Replace the content of `path` atomically by `value`, which has a key, as indented JSON with its digest."""
    atomic.write_bytes(path, sealed(value))


def write_named(path: Path, value: dict[str, Any]) -> None:
    """Do as `write_sealed` does, for a file whose name says what it is of: the content says so, too."""
    write_sealed(path, {NAME: path.stem, **value})


def read_named(path: Path) -> Any:
    """Return the value of what `write_named` wrote; ValueError where it is damaged, or the file of another name."""
    value = read_sealed(path)
    if isinstance(value, dict) and value.pop(NAME, path.stem) != path.stem:
        raise ValueError("it is another file's content")
    return value


def unseal(content: bytes) -> tuple[bytes, bool]:
    """Return a JSON object without its digest, and whether that fits; what has none at its end is returned as it is.

    >>> unseal(b'{"a": 1}')
    (b'{"a": 1}', True)
    """
    found = _SEAL.search(content)
    if found is None:
        return content, True
    body = content[: found.start()] + b"\n}"
    return body, hashlib.sha256(body).hexdigest() == found[1].decode()


def is_sealed(content: bytes) -> bool:
    """Tell whether a JSON object has a digest at its end, which need not fit."""
    return _SEAL.search(content) is not None


def read_sealed(path: Path, *, always: bool = False) -> Any:
    """Return the value of a JSON file; ValueError where it is no JSON or its digest does not fit.

    always: whether such files have had a digest from the first.
    """
    content = path.read_bytes()
    if always and not is_sealed(content):
        raise ValueError(BROKEN)
    return parse_sealed(content)


def parse_sealed(content: bytes) -> Any:
    """Do as `read_sealed` does, on what was read."""
    body, fits = unseal(content)
    try:
        value = json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deeply to be read") from None
    if not fits or (isinstance(value, dict) and KEY in value):
        raise ValueError(BROKEN)
    return value


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, read whole by pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
