"""A model of which the fingerprint is known: enough to find what is stored of it; nothing is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from evalsuite import atomic
from evalsuite.features.store import PoolFeatures
from evalsuite.hashing import combined_sha256
from evalsuite.models.base import ImageModel, ImageTextModel, ModelInfo
from evalsuite.results.store import file_slug, hash8

TEXT_TEST_FILE = "text_test.json"


class Description(BaseModel):
    """What is stored about a model next to its features, so that a finished job need not load it."""

    info: ModelInfo
    has_text: bool


@dataclass(frozen=True)
class KnownModel:
    """A model whose fingerprint is known: enough to find what is stored of it; nothing is loaded.

    run_key: the fingerprint of model, precision and what else decides features (`variant`). folder: of its features;
    it need not be there yet. reusable: whether the fingerprint covers all that decides the features; if not, the
    folder is of this session alone. given: digest of the files of a task, where features are given in a folder.
    """

    run_key: str
    folder: Path
    reusable: bool = True
    given: Callable[[str], str] | None = None

    def key(self, task: str) -> str:
        """Return what decides the features of a task: the run key, and the files where they are given."""
        return self.run_key if self.given is None else combined_sha256([self.run_key, self.given(task)])

    def pool_features(self, task: str, pool: str, fingerprint: str, layer: str = "") -> PoolFeatures:
        """Return the store of a pool's features under this model and precision. layer: one that it has, too."""
        if self.given is not None:
            fingerprint = combined_sha256([fingerprint, self.given(task)])
        chosen = f"-{file_slug(layer)}-{hash8(layer)}" if layer else ""
        return PoolFeatures(self.folder / f"{file_slug(task)}.{file_slug(pool)}-{fingerprint[:12]}{chosen}")

    def description(self) -> Description | None:
        """Return what the model is, where it was loaded before."""
        path = self._description_file
        return Description.model_validate_json(path.read_bytes()) if path.is_file() else None

    def describe(self, model: ImageModel) -> None:
        """Store what the model is, for the next run."""
        found = Description(info=model.info, has_text=isinstance(model, ImageTextModel))
        atomic.write_json(self._description_file, found.model_dump(mode="json"))

    @property
    def overflows(self) -> bool:
        """Whether this precision is known to be too narrow for the model."""
        return self._overflow_file.is_file()

    def note_overflow(self, why: str) -> None:
        """Remember that this precision is too narrow for the model, so that the next run does not try it again."""
        atomic.write_json(self._overflow_file, {"why": why})

    def text_warnings(self) -> list[str] | None:
        """Return what the test of the text encoder said; None: it was not tested."""
        path = self.folder / TEXT_TEST_FILE
        return list(json.loads(path.read_text("utf-8"))) if path.is_file() else None

    def note_text_warnings(self, warnings: Sequence[str]) -> None:
        """Store what the test of the text encoder said, for the next run."""
        atomic.write_json(self.folder / TEXT_TEST_FILE, list(warnings))

    @property
    def _description_file(self) -> Path:
        return self.folder / "model.json"

    @property
    def _overflow_file(self) -> Path:
        return self.folder / "overflow.json"
