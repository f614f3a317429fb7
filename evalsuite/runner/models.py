"""A model during a run: known by its name and its weights first, loaded only when something must be computed."""

from __future__ import annotations

import hashlib
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import torch

from evalsuite import atomic
from evalsuite.data.place import DataPlace
from evalsuite.errors import EvalsuiteError, ModelError, NotFiniteError, UsageError
from evalsuite.features import precomputed
from evalsuite.features.catalog import FEATURES
from evalsuite.features.encoding import EncodeRows, MapBatches, Precision, first_not_finite, inference
from evalsuite.features.texts import TEXTS, EmbeddedTexts, text_embeddings
from evalsuite.models.base import (
    EMBEDDING,
    PENULTIMATE,
    UNKNOWN_LOGITS,
    ImageModel,
    ImageTextModel,
    Logits,
    ModelInfo,
    move,
)
from evalsuite.models.feature_folders import FeatureFolder, FeaturesModel
from evalsuite.models.layers import embeddings_of
from evalsuite.models.loading import known_logits, load_model, skeleton, weights_fingerprint
from evalsuite.models.modules import TEXTS_AT_ONCE, TorchImageTextModel, device_of_live
from evalsuite.models.named_layers import with_layer
from evalsuite.models.names import ResolvedModel
from evalsuite.options import CacheMode
from evalsuite.results.store import file_slug
from evalsuite.runner.base import Executor, RowsExecutor
from evalsuite.runner.known_models import RUN_KEY_DIGITS, KnownModel

ARITHMETIC: Mapping[Precision, str] = {"fp16": "fp16, CLIP's transformers without autocast"}
"""What stored features are kept under, where that is not the name of the precision alone: how it is computed counts."""


@dataclass(frozen=True)
class LoadedModel:
    """A model whose network is in memory, on the first device of the executor."""

    model: ImageModel
    executor: Executor
    precision: Precision

    @cached_property
    def encode_batches(self) -> MapBatches:
        """The executor's mapping over batches of images."""
        return self.executor.mapping(self.model, self.precision)

    def encode_rows(self, task: str) -> EncodeRows | None:
        """Return what gives the features of rows without batches of images: given features, or another machine."""
        if isinstance(self.model, FeaturesModel):
            return precomputed.reading(self.model.folder, task)
        return self._encode_elsewhere

    @cached_property
    def _encode_elsewhere(self) -> EncodeRows | None:
        if isinstance(self.executor, RowsExecutor):
            return self.executor.reading(self.model, self.precision)
        return None

    def text_faults(self) -> list[str]:
        """Test how the model reads texts; a model that is no torch module cannot be asked."""
        if not isinstance(self.model, TorchImageTextModel):
            return []
        with inference(self.executor.devices[0], self.precision):
            return self.model.text_faults()

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of the texts whose end the model does not read, as far as it can be asked."""
        return self.model.cut_texts(texts) if isinstance(self.model, TorchImageTextModel) else []

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the (len(texts), dim) float32 embeddings on the CPU.

        Raises ModelError without a text encoder, NotFiniteError for a NaN or an infinity.
        """
        model = self.model
        if not isinstance(model, ImageTextModel):
            raise ModelError(f"The model {model.info.name!r} has no `encode_texts`.")
        parts, dim = [], model.info.layers.get(EMBEDDING, 0)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            with inference(self.executor.devices[0], self.precision):
                part = texts[start : start + TEXTS_AT_ONCE]
                parts.append(embeddings_of(model.encode_texts(part), len(part), model.info.name, dim).float().cpu())
        found = torch.cat(parts)
        row = first_not_finite(found)
        if row is not None:
            raise NotFiniteError(f"gave the text {texts[row]!r} a value that is not finite (NaN or infinity).")
        return found


class ModelSession:
    """One model of a run, which becomes known and then loaded as the jobs need it, once for all of them.

    given: what a name resolved to, or a ready model (as a training loop has it). variant: what else than model and
    precision decides its features and is not the default. layer: one that is chosen by its name. cache: what stays of
    its features after `close`. too_narrow: what showed that it must `fall_back`.
    """

    too_narrow: NotFiniteError | None = None

    def __init__(
        self,
        given: ResolvedModel | ImageModel,
        place: DataPlace,
        executor: Executor,
        variant: Sequence[str] = (),
        layer: str | None = None,
        cache: CacheMode = "keep",
    ) -> None:
        self._network: ImageModel | None = None if isinstance(given, ResolvedModel) else _refreshed(given)
        self._resolved = given if isinstance(given, ResolvedModel) else _ready(given)
        self._place = place
        self.executor = executor
        self._variant = tuple(variant)
        self._layer = layer
        self._cache = cache
        self._is_last = False
        self._came_from: torch.device | None = None
        self._failure: Exception | None = None
        self._failed_at: TracebackType | None = None
        self._known: KnownModel | None = None
        self._seconds_loading = 0.0
        self._loading = threading.RLock()
        self.name = self._resolved.name
        self.slug = self._resolved.slug
        self.slugs = tuple(slug for slug in (self.slug, self._resolved.former_slug) if slug)
        self.is_code = self._resolved.is_code
        self._precisions = self._own_precision() or list(executor.precisions)
        self.device: torch.device = executor.devices[0]
        elsewhere = executor if isinstance(executor, RowsExecutor) else None
        self.devices = elsewhere.encoders if elsewhere else len(executor.devices)
        self.encoded_on = elsewhere.where if elsewhere else str(self.device)
        if self._resolved.backend == "features":
            self.encoded_on = "elsewhere: features were given"

    @property
    def precision(self) -> Precision:
        """What the model runs at; known for sure once the model is known."""
        return self._precisions[0]

    @property
    def fallback(self) -> str | None:
        """What a record says where the precision is not the one that is taken first."""
        first = self.executor.precisions[0]
        if self.precision == first or self._resolved.backend == "features":
            return None
        return f"{self.precision} was used: at {first} this model gives values that are not finite (NaN or infinity)."

    @property
    def can_fall_back(self) -> bool:
        """Whether there is another precision to take."""
        return len(self._precisions) > 1

    def fall_back(self, why: str) -> None:
        """Take the next precision, from now on and in later runs."""
        known = self.identify()
        if known.reusable:
            known.note_overflow(why)
        self.close()
        del self._precisions[0]
        self._known = self.too_narrow = None
        self.__dict__.pop("loaded", None)

    def check_name(self) -> None:
        """Raise UsageError for weights or an architecture that do not exist; what else is wrong is for the job."""
        try:
            self.known()
        except UsageError:
            raise
        except (EvalsuiteError, OSError):  # met again, and recorded, when the job needs the weights
            return

    def check_layer(self) -> None:
        """Raise UsageError for a chosen layer that it does not have, as far as that is known without loading it."""
        if self._layer is None:
            return
        if self._network is not None:
            with_layer(self._network, self._layer)
            return
        try:
            bones = skeleton(self._resolved)
            if bones is not None:
                bones.check(self._layer, self.name)
        except UsageError:
            raise
        except EvalsuiteError:  # met again, and recorded, when the job loads it
            return

    @property
    def further_layer(self) -> str:
        """The chosen layer, where it is none that every pass stores."""
        return "" if self._layer in (None, PENULTIMATE, EMBEDDING) else str(self._layer)

    def known(self) -> KnownModel | None:
        """Return the model as it is known without loading it; None where only loading tells."""
        if self._known is None:
            if self._network is not None:
                self._known = self._known_by(self._network.info.fingerprint, self._network.info.not_described)
            elif fingerprint := weights_fingerprint(self._resolved, cache_dir=self._place.cache_dir):
                self._known = self._known_by(fingerprint)
        return self._known

    def identify(self) -> KnownModel:
        """Return the known model; it is loaded where only that tells."""
        known = self.known()
        if known is None:
            self._load()
            known = self.known()
        if known is None:
            raise RuntimeError(f"The model {self.name!r} is loaded and has no fingerprint.")
        return known

    def claim(self) -> KnownModel:
        """Return the known model whose features this session is about to use or to compute."""
        known = self.identify()
        self._is_last = known.claim() or self._is_last
        return known

    def close(self) -> None:
        """Remove what was stored for this session alone, and what sessions that were stopped have left."""
        if self._came_from is not None:
            move(self._load(), self._came_from)
            self._came_from = None
        if self._known is not None:
            folder = self._known.folder
            with suppress(OSError):  # what was measured is no worse for it
                if not self._known.reusable:
                    atomic.remove_folder(folder)
                elif self._cache == "last":
                    self._known.replace_earlier(file_slug(self.slug), mark=self._is_last)
            for place in (folder, folder.parent):
                atomic.sweep(place)

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model on the first device of the run."""
        model = self._load()
        self._came_from = device_of_live(model)
        move(model, self.device)
        self.identify().describe(model)
        return LoadedModel(with_layer(model, self._layer), self.executor, self.precision)

    def known_text(self) -> bool | None:
        """Tell whether it can encode texts; None where only loading tells."""
        if self._network is not None:
            return isinstance(self._network, ImageTextModel)
        if self._resolved.has_text is not None:
            return self._resolved.has_text
        known = self.known()
        described = known.description() if known else None
        return described.has_text if described else None

    def has_text(self) -> bool:
        """Tell whether it can encode texts; it is loaded where only that tells."""
        found = self.known_text()
        return isinstance(self._load(), ImageTextModel) if found is None else found

    def info(self) -> ModelInfo:
        """Return what is recorded about the model, from the store where it was loaded before."""
        described = self.identify().description() if self._network is None else None
        if described is None:
            return self._load().info
        # Features are shared by all names of the same weights, and were described under the first.
        return described.info.model_copy(update={"name": self.name, "slug": self.slug})

    def parameters(self) -> int | None:
        """Return how many parameters it has; it is loaded where only that tells. None: nobody knows, or it fails."""
        if self._network is None and self._resolved.alias is not None:
            return self._resolved.alias.parameters
        try:
            return self.info().parameters
        except Exception:  # noqa: BLE001 - met again, and recorded, by the job that needs it
            return None

    def unload(self) -> None:
        """Give back the memory of the network where it can be loaded again."""
        if self._resolved.backend != "module":
            self._network = None
            self.__dict__.pop("loaded", None)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def logits(self) -> Logits:
        """Return how the model makes a logit of a cosine."""
        found = _logits_of(self.info())
        if not found.assumed or self._network is not None:
            return found
        # 0.1.0 described models without it.
        return known_logits(self._resolved, cache_dir=self._place.cache_dir) or _logits_of(self._load().info)

    def embed_texts(self, texts: Sequence[str]) -> EmbeddedTexts:
        """Return texts with their float32 embeddings, from the store where they were computed before."""
        if self._resolved.backend == "features" and self._features_given.of is not None:
            return text_embeddings(self._features_given.path / TEXTS, texts, self._encode_texts)
        return text_embeddings(self.identify().folder / TEXTS, texts, self._encode_texts)

    def text_warnings(self) -> list[str]:
        """Return what the test of the text encoder said, at the first run that used it."""
        return self.identify().text_warnings() or []

    def _encode_texts(self, texts: Sequence[str]) -> EmbeddedTexts:
        known, loaded = self.identify(), self.loaded
        if known.text_warnings() is None:
            known.note_text_warnings(loaded.text_faults())
        return EmbeddedTexts(loaded.encode_texts(texts), loaded.cut_texts(texts))

    def take_loading_seconds(self) -> float:
        """Return how long loading took, once: it belongs to the first job that needed it."""
        seconds, self._seconds_loading = self._seconds_loading, 0.0
        return seconds

    def _known_by(self, fingerprint: str, not_described: Sequence[str] = ()) -> KnownModel:
        known = self._known_at(self.precision, fingerprint, not_described)
        while known.overflows and len(self._precisions) > 1:
            del self._precisions[0]
            known = self._known_at(self.precision, fingerprint, not_described)
        return known

    def _known_at(self, precision: Precision, fingerprint: str, not_described: Sequence[str]) -> KnownModel:
        parts = fingerprint, ARITHMETIC.get(precision, precision), *self._variant
        key = hashlib.sha256(":".join(parts).encode()).hexdigest()
        given = self._digest_given if self._resolved.backend == "features" else None
        if not_described or self._cache == "off":
            alone = atomic.temporary_name(self._place.cache_dir / FEATURES)
            return KnownModel(key, alone, reusable=False, given=given)
        return KnownModel(key, self._folder(f"{file_slug(self.slug)}-{key[:RUN_KEY_DIGITS]}", key), given=given)

    def _own_precision(self) -> list[Precision]:
        """Return the precision of features that are given; nothing for other models."""
        if self._resolved.backend != "features":
            return []
        try:
            return [self._features_given.stated.precision]
        except ModelError:  # met again, and recorded, by the job that needs them
            return []

    @cached_property
    def _features_given(self) -> FeatureFolder:
        return FeatureFolder.open(Path(self._resolved.target))

    def _digest_given(self, task: str) -> str:
        return self._features_given.digest(self._place.cache_dir, task)

    def _folder(self, name: str, key: str) -> Path:
        """Return the folder of features: of another name of the same weights, where that is there already."""
        features = self._place.cache_dir / FEATURES
        others = sorted(features.glob(f"*-{key[:RUN_KEY_DIGITS]}")) if not (features / name).is_dir() else []
        return others[0] if others else features / name

    def _load(self) -> ImageModel:
        """Load the network once; a failure is remembered, so that it is not tried again for every task."""
        with self._loading:
            return self._load_once()

    def _load_once(self) -> ImageModel:
        if self._failure is not None:
            raise self._failure.with_traceback(self._failed_at)  # else each raise would add to it
        if self._network is None:
            started = time.perf_counter()
            try:
                self._network = load_model(self._resolved, offline=self._place.offline, cache_dir=self._place.cache_dir)
            except Exception as error:
                self._failure, self._failed_at = error, error.__traceback__
                traceback.clear_frames(error.__traceback__)  # they hold what was loaded so far
                raise
            self._seconds_loading = time.perf_counter() - started
        return self._network


def _logits_of(info: ModelInfo) -> Logits:
    if info.logit_scale is None:
        return UNKNOWN_LOGITS
    return Logits(info.logit_scale, info.logit_bias or 0.0)


def _refreshed(model: ImageModel) -> ImageModel:
    """Let a model that can look again at what decides its features do so: it may have been trained since."""
    refresh = getattr(model, "refresh", None)
    if callable(refresh):
        refresh()
    return model


def _ready(model: ImageModel) -> ResolvedModel:
    return ResolvedModel(model.info.name, model.info.slug, "module", model.info.name)
