"""The names of the files of a head, next to the record of its result."""

from __future__ import annotations

from pathlib import Path

HEAD_ENDS = (".head.safetensors", ".head.json")
"""Ends of the names: of the weights, and of what they belong to."""


def head_paths(record: Path) -> tuple[Path, Path]:
    """Return where the head of the record at `record` lies, and the description of that head."""
    first, second = (record.with_name(record.name.removesuffix(".json") + end) for end in HEAD_ENDS)
    return first, second
