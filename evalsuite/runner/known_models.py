"""A model of which the fingerprint is known: enough to find what is stored of it; nothing is loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from evalsuite import atomic
from evalsuite.features.descriptions import DESCRIPTION, forget_description, read_description, write_description
from evalsuite.features.store import PoolFeatures
from evalsuite.hashing import combined_sha256
from evalsuite.models.base import ImageModel, ImageTextModel, ModelInfo
from evalsuite.records import first_problem
from evalsuite.results.store import file_slug, hash8
from evalsuite.seals import read_sealed, write_sealed

TEXT_TEST_FILE = "text_test.json"
LAST_MARK = "last"
"""File in the folder of a state of a model whose features are to go when there are those of a later state."""

RUN_KEY_DIGITS = 12
"""Digits of the run key in the name of a folder of features, after the name of the model."""

_LOG = logging.getLogger(__name__)


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
        """Return what the model is, where it was loaded before; None where that is damaged, too, which is told."""
        try:
            content = read_description(self.folder)
            return None if content is None else Description.model_validate_json(content)
        except ValueError as error:
            why = first_problem(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
            _LOG.warning("%s is damaged (%s): the model is loaded to write it again.", self.folder / DESCRIPTION, why)
            return None

    def describe(self, model: ImageModel) -> None:
        """Store what the model is, for the next run."""
        found = Description(info=model.info, has_text=isinstance(model, ImageTextModel))
        write_description(self.folder, found.model_dump(mode="json"), reusable=self.reusable)

    def claim(self) -> bool:
        """Take the features for a run, and tell whether they are of the last state alone: new, or marked as that."""
        if not self.folder.is_dir():
            return True
        marked = self._last_mark.is_file()
        atomic.remove(self._last_mark)
        return marked

    def replace_earlier(self, prefix: str, *, mark: bool) -> None:
        """Remove the features of earlier states of a model. prefix: of its folders. mark: the next state may, too."""
        if mark and self.folder.is_dir():
            atomic.write_text(self._last_mark, "")
        for folder in self.folder.parent.glob(f"{prefix}-{'[0-9a-f]' * RUN_KEY_DIGITS}"):
            if folder != self.folder and (folder / LAST_MARK).is_file():
                atomic.remove_folder(folder)
                forget_description(folder)

    @property
    def _last_mark(self) -> Path:
        return self.folder / LAST_MARK

    @property
    def overflows(self) -> bool:
        """Whether this precision is known to be too narrow for the model."""
        return self._overflow_file.is_file()

    def note_overflow(self, why: str) -> None:
        """Remember that this precision is too narrow for the model, so that the next run does not try it again."""
        atomic.write_json(self._overflow_file, {"why": why})

    def text_warnings(self) -> list[str] | None:
        """Return what the test of the text encoder said; None: it was not tested."""
        try:
            found = read_sealed(self.folder / TEXT_TEST_FILE)
            return list(found["warnings"] if isinstance(found, dict) else found)
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # damaged is as good as not there
            return None

    def note_text_warnings(self, warnings: Sequence[str]) -> None:
        """Store what the test of the text encoder said, for the next run."""
        write_sealed(self.folder / TEXT_TEST_FILE, {"warnings": list(warnings)})

    @property
    def _overflow_file(self) -> Path:
        return self.folder / "overflow.json"
