"""Configuration files next to a checkpoint, as open_clip and timm write them for the hub: how it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError
from evalsuite.models.repositories import Repository
from evalsuite.models.weights import HubFile, WeightsPlace
from evalsuite.reading import parse_json, read_bytes


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
    place = f"{path}, the configuration next to the weights,"
    content = parse_json(read_bytes(path, error=ModelError), place, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{place} must be a mapping.")
    return Sidecar(path, content)


def configuration(repository: Repository, name: str, model: str) -> Mapping[str, Any]:
    """Return a configuration of a repository; ModelError while it is not on this machine. model: its name."""
    content = repository.read(name)
    if content is None:
        raise ModelError(f"{model}: {name} of {repository.id} is not on this machine yet.")
    return content


def weights_of(repository: Repository, names: Sequence[str], config: str) -> WeightsPlace:
    """Return where the weights of a repository are: of the commit that its configuration is of."""
    if repository.folder is not None:
        return next((path for path in map(repository.find, names) if path is not None), None)
    at = repository.find(config)
    return HubFile(repository.id, tuple(names), at.parent.name if at else repository.revision)
