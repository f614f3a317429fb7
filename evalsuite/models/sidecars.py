"""Configuration files next to a checkpoint, as open_clip and timm write them for the hub: how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError


@dataclass(frozen=True)
class Sidecar:
    """A configuration file that was read."""

    path: Path
    content: Mapping[str, Any]

    def part(self, name: str) -> dict[str, Any]:
        """Return a mapping of it; empty where it has none of this name, ModelError where it is no mapping."""
        found = self.content.get(name) or {}
        if not isinstance(found, dict):
            raise ModelError(f"{self.path}: {name} must be a mapping, not {type(found).__name__}.")
        return found


def read_sidecar(checkpoint: Path, name: str) -> Sidecar | None:
    """Return the file `name` in the folder of a checkpoint, or None; ModelError where it is no JSON mapping."""
    path = checkpoint.parent / name
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}, the configuration next to the weights, cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}, the configuration next to the weights, must be a mapping.")
    return Sidecar(path, content)
