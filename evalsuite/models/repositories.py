"""Repositories of the hub, and folders that look like one: a configuration, weights, and what texts and images need.

The configuration says who can read it: `open_clip_config.json` open_clip; `config.json` timm, where it names an
`architecture`, or transformers, where it names a `model_type`. Imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evalsuite.config import expanded
from evalsuite.errors import ModelError, UsageError
from evalsuite.reading import parse_json, read_bytes

OPEN_CLIP_CONFIG = "open_clip_config.json"
CONFIG = "config.json"

Format = Literal["open_clip", "timm", "hf"]
"""Who reads a repository; the names are those of our backends."""

CONFIGS: Mapping[Format, str] = {"open_clip": OPEN_CLIP_CONFIG, "timm": CONFIG, "hf": CONFIG}

TEXT_TYPES = frozenset({"clip", "siglip", "altclip", "chinese_clip", "metaclip_2"})
"""Values of transformers' `model_type` whose models read texts too."""

_ID = re.compile(r"(?P<id>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class Repository:
    """A repository of the hub, at a revision (a branch, tag or commit), or a folder on this machine."""

    id: str
    revision: str | None = None
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str, name: str) -> Repository:
        """Read `ORG/NAME`, `ORG/NAME@REVISION` or a folder. name: the model in the words of the user.

        Raises UsageError for what is neither.
        """
        folder = expanded(text)
        if text[:1] in ("/", ".", "~") or folder.is_dir():
            if not folder.is_dir():
                raise UsageError(f"The model {name!r} names the folder {str(folder)!r}, which is not there.")
            return cls(str(folder.absolute()), None, folder.absolute())
        found = _ID.fullmatch(text)
        if found is None:
            raise UsageError(f"The model {name!r} must name a repository, ORG/NAME or ORG/NAME@REVISION, or a folder.")
        return cls(found["id"], found["revision"])

    @property
    def label(self) -> str:
        """What names it in a slug."""
        if self.folder is None:
            return self.id.replace("/", "-") + (f"-{self.revision}" if self.revision else "")
        from evalsuite.models.names import folder_label

        return folder_label(self.folder)

    def find(self, filename: str) -> Path | None:
        """Return a file of it that is on this machine; the network is not asked."""
        if self.folder is not None:
            path = self.folder / filename
            return path if path.is_file() else None
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.id, filename, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def read(self, filename: str) -> Mapping[str, Any] | None:
        """Return a JSON file of it that is on this machine; ModelError where it is no mapping."""
        path = self.find(filename)
        if path is None:
            return None
        content = parse_json(read_bytes(path, error=ModelError), path, error=ModelError)
        if not isinstance(content, dict):
            raise ModelError(f"{path}: must be a mapping, not {type(content).__name__}.")
        return content

    @property
    def format(self) -> Format | None:
        """Who can read it; None where its configuration is not on this machine, or is nobody's that we know."""
        if self.find(OPEN_CLIP_CONFIG) is not None:
            return "open_clip"
        config = self.read(CONFIG)
        if config is None:
            return None
        return "hf" if "model_type" in config else "timm" if "architecture" in config else None


def fetch(
    repository: Repository, filenames: Sequence[str], wanted: str, *, offline: bool, optional: bool = False
) -> Path | None:
    """Return the first of these files that there is, downloaded if need be. wanted: the model, in words.

    Raises ModelError within seconds where it is not available; optional: returns None where none of them exists.
    """
    from evalsuite.models.weights import HubFile, download_file

    for filename in filenames:
        found = repository.find(filename)
        if found is not None:
            return found
    if optional and (offline or repository.folder is not None):
        return None
    if repository.folder is not None:
        raise ModelError(f"{wanted}: {repository.folder} has no {' or '.join(filenames)}.")
    remedy = "On a machine with network run it once and copy its hub cache (HF_HOME) here, or give a folder."
    file = HubFile(repository.id, tuple(filenames), repository.revision)
    return download_file(file, f"{' or '.join(filenames)} of {wanted}", remedy, offline=offline, optional=optional)


def pinned(repository: Repository) -> Repository:
    """Return a repository at the commit that its configuration on this machine is of."""
    path = repository.find(CONFIG)
    if repository.folder is not None or path is None:
        return repository
    return Repository(repository.id, path.parent.name)


def fetch_configuration(repository: Repository, wanted: str, *, offline: bool) -> Format:
    """Have the configuration of a repository on this machine, and return who can read it; ModelError otherwise."""
    if repository.format is None and repository.read(CONFIG) is None:
        fetch(repository, [OPEN_CLIP_CONFIG, CONFIG], wanted, offline=offline)
    found = repository.format
    if found is None:
        raise ModelError(
            f"{wanted}: its {CONFIG} is of no format that is read here: it names neither an `architecture` of timm nor "
            f"a `model_type` of transformers, and there is no {OPEN_CLIP_CONFIG}."
        )
    return found
