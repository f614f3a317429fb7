"""A model during a run: known by name first, loaded only when something must be computed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from evalsuite import atomic
from evalsuite.errors import EvalsuiteError, ModelError, UsageError
from evalsuite.features.catalog import FEATURES
from evalsuite.features.encoding import MapBatches, Precision, inference
from evalsuite.features.store import PoolFeatures
from evalsuite.features.texts import text_embeddings
from evalsuite.models.base import ImageModel, ImageTextModel, ModelInfo
from evalsuite.models.loading import load_model, weights_fingerprint
from evalsuite.models.names import ResolvedModel
from evalsuite.results.store import file_slug
from evalsuite.runner.settings import Executor, RunSettings

TEXTS_AT_A_TIME = 256


class ModelSession:
    """One model of a run.

    given: what a name resolved to, or a ready model (as a training loop has it).
    """

    def __init__(self, given: ResolvedModel | ImageModel, settings: RunSettings, executor: Executor) -> None:
        self._settings = settings
        self._executor = executor
        self._resolved = given if isinstance(given, ResolvedModel) else None
        self._loaded: ImageModel | None = None if isinstance(given, ResolvedModel) else given
        self._on_device = False
        self._failure: Exception | None = None
        self._fingerprint: str | None = None
        self._mapping: MapBatches | None = None
        self._seconds_loading = 0.0

    @property
    def name(self) -> str:
        """The name the user gave."""
        return self._resolved.name if self._resolved else self._required().info.name

    @property
    def slug(self) -> str:
        """The name in results."""
        return self._resolved.slug if self._resolved else self._required().info.slug

    def fingerprint(self, *, may_load: bool = True) -> str | None:
        """Return the model's fingerprint; None if only loading tells and that is not allowed."""
        if self._fingerprint is None and self._resolved is not None and self._loaded is None:
            self._fingerprint = weights_fingerprint(
                self._resolved, offline=self._settings.offline, cache_dir=self._settings.cache_dir
            )
        if self._fingerprint is None and (may_load or self._loaded is not None):
            self._fingerprint = self._required().info.fingerprint
        return self._fingerprint

    def check_name(self) -> None:
        """Raise UsageError for weights or an architecture that do not exist; what else is wrong is for the job."""
        try:
            self.fingerprint(may_load=False)
        except UsageError:
            raise
        except EvalsuiteError:  # met again, and recorded, when the job needs the weights
            return

    def key(self, *, may_load: bool = True) -> str:
        """Return the fingerprint of model and precision; "" if only loading tells and that is not allowed."""
        fingerprint = self.fingerprint(may_load=may_load)
        if fingerprint is None:
            return ""
        return hashlib.sha256(f"{fingerprint}:{self.precision}".encode()).hexdigest()

    @property
    def is_code(self) -> bool:
        """Whether somebody's own code makes the model, so that only running it tells what it is."""
        return self._resolved is not None and self._resolved.backend in ("file", "entry_point")

    @property
    def precision(self) -> Precision:
        """The precision of the run."""
        return self._executor.precision

    @property
    def device(self) -> torch.device:
        """The first device of the run."""
        return self._executor.devices[0]

    def has_text(self, *, may_load: bool = True) -> bool | None:
        """Return whether it can encode texts; None if only loading tells and that is not allowed."""
        if self._resolved is not None and self._resolved.has_text is not None:
            return self._resolved.has_text
        if self._loaded is None:
            known = self._described(may_load=may_load)
            if known is not None:
                return bool(known["has_text"])
            if not may_load:
                return None
        return isinstance(self._required(), ImageTextModel)

    def info(self) -> ModelInfo:
        """Return what is recorded about the model, from the store where it was loaded before."""
        if self._loaded is None:
            known = self._described()
            if known is not None:
                return ModelInfo.model_validate(known["info"])
        return self._required().info

    def pool_features(self, task: str, pool: str, fingerprint: str, *, may_load: bool = True) -> PoolFeatures:
        """Return the store of a pool's features under this model and precision."""
        name = f"{file_slug(task)}.{file_slug(pool)}-{fingerprint[:12]}"
        return PoolFeatures(self._folder(may_load=may_load) / name)

    def take_loading_seconds(self) -> float:
        """Return how long loading took, once: it belongs to the first job that needed it."""
        seconds, self._seconds_loading = self._seconds_loading, 0.0
        return seconds

    def ready(self) -> tuple[ImageModel, MapBatches]:
        """Return the model, on its device, and the mapping over batches."""
        model = self._on_first_device()
        if self._mapping is None:
            self._mapping = self._executor.mapping(model)
        return model, self._mapping

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the (len(texts), dim) float32 embeddings, from the store where they were computed before."""
        return text_embeddings(self._folder() / "texts", texts, self._encode_texts)

    def _encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        model = self._on_first_device()
        if not isinstance(model, ImageTextModel):
            raise ModelError(f"The model {self.name!r} has no `encode_texts`.")
        parts = []
        for start in range(0, len(texts), TEXTS_AT_A_TIME):
            with inference(self.device, self.precision):
                parts.append(model.encode_texts(texts[start : start + TEXTS_AT_A_TIME]).float().cpu())
        return torch.cat(parts)

    def _folder(self, *, may_load: bool = True) -> Path:
        key = self.key(may_load=may_load)
        return self._settings.cache_dir / FEATURES / f"{file_slug(self.slug)}-{key[:12]}"

    def _described(self, *, may_load: bool = True) -> dict[str, object] | None:
        if not self.key(may_load=may_load):
            return None
        path = self._folder(may_load=may_load) / "model.json"
        known: dict[str, object] | None = json.loads(path.read_text("utf-8")) if path.is_file() else None
        return known

    def _on_first_device(self) -> ImageModel:
        model = self._required()
        if not self._on_device:
            move = getattr(model, "to", None)
            if move is not None:
                move(self.device)
            self._on_device = True
            description = {"info": model.info.model_dump(mode="json"), "has_text": isinstance(model, ImageTextModel)}
            atomic.write_json(self._folder() / "model.json", description)
        return model

    def _required(self) -> ImageModel:
        """Load the model once; a failure is remembered, so that it is not tried again for every task."""
        if self._failure is not None:
            raise self._failure
        if self._loaded is None:
            if self._resolved is None:
                raise RuntimeError("A model session has neither a name nor a model.")
            started = time.perf_counter()
            try:
                self._loaded = load_model(
                    self._resolved, offline=self._settings.offline, cache_dir=self._settings.cache_dir
                )
            except Exception as error:
                self._failure = error
                raise
            self._seconds_loading = time.perf_counter() - started
        return self._loaded
