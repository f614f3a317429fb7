"""Load a model by name, and tell its fingerprint without loading it where that is possible."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from evalsuite.errors import EvalsuiteError, MissingExtraError, ModelError, UsageError
from evalsuite.models.base import ImageModel, Logits, not_exiting
from evalsuite.models.names import BackendName, ResolvedModel, resolve
from evalsuite.models.repositories import Format, Repository, fetch_configuration

if TYPE_CHECKING:  # so that mypy sees that each module has the shape of a backend
    from evalsuite.models import (
        feature_folders,
        file_models,
        open_clip_models,
        pixels,
        pocket,
        timm_models,
        torchvision_models,
        transformers_models,
    )
    from evalsuite.models.skeletons import Skeleton

    _CHECKED: tuple[Backend, ...] = (
        feature_folders, file_models, open_clip_models, pixels, pocket, timm_models, torchvision_models,
        transformers_models,
    )  # fmt: skip

BACKENDS: Mapping[BackendName, str] = {
    "pixels": "evalsuite.models.pixels",
    "pocket": "evalsuite.models.pocket",
    "open_clip": "evalsuite.models.open_clip_models",
    "timm": "evalsuite.models.timm_models",
    "hf": "evalsuite.models.transformers_models",
    "torchvision": "evalsuite.models.torchvision_models",
    "features": "evalsuite.models.feature_folders",
    "file": "evalsuite.models.file_models",
    "entry_point": "evalsuite.models.file_models",
}
"""Each backend's module; it is imported when the first of its models is asked for."""

SIZED = frozenset({"open_clip", "timm", "hf", "hub", "torchvision"})
"""Backends whose models can be asked for images of another size."""


class Backend(Protocol):
    """What the module of a backend offers."""

    def load(self, resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> ImageModel:
        """Load a model, in evaluation mode, on the CPU, in float32; ModelError says why it cannot be loaded."""

    def weights_fingerprint(self, resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
        """Return the fingerprint that the loaded model will have, or None where only loading tells."""


def load_model(
    name_or_resolved: str | ResolvedModel,
    *,
    offline: bool = False,
    cache_dir: Path | None = None,
    image_size: int | None = None,
) -> ImageModel:
    """Load a model, in evaluation mode, on the CPU, in float32.

    offline: touch no network, as HF_HUB_OFFLINE=1 does. cache_dir: where digests of checkpoints are remembered.
    image_size: side of its input image in pixels, where it is to be another than the model's own.
    Raises UsageError for an unknown name and ModelError where the weights are not available or do not fit.
    """
    resolved = sized(_resolved(name_or_resolved), image_size)
    with _without_network(offline), not_exiting(f"The model {resolved.name!r}"):
        if resolved.repository is not None:
            resolved = _configured(resolved, resolved.repository, offline)
        model = _backend(resolved).load(resolved, offline=offline, cache_dir=cache_dir)
    return model if cache_dir is None else _with_size(model, resolved, cache_dir)


def _with_size(model: ImageModel, resolved: ResolvedModel, cache_dir: Path) -> ImageModel:
    """Note in a model how much it computes, where that can be counted and nobody has said it."""
    from evalsuite.models.modules import TorchImageModel
    from evalsuite.models.sizes import known_size

    if isinstance(model, TorchImageModel) and model.info.gflops is None:
        size = known_size(resolved, cache_dir)
        if size is not None:
            model.info = model.info.model_copy(update={"gflops": size.gflops})
    return model


def sized(resolved: ResolvedModel, image_size: int | None) -> ResolvedModel:
    """Return the model with images of another size; UsageError for one that has no choice."""
    if image_size is None:
        return resolved
    if resolved.backend not in SIZED:
        raise UsageError(f"--image-size: the model {resolved.name!r} decides itself how large its images are.")
    return replace(resolved, image_size=image_size)


def _configured(resolved: ResolvedModel, repository: Repository, offline: bool) -> ResolvedModel:
    """Have the configuration of a repository on this machine, and return the model with the backend that reads it."""
    if resolved.backend == "hf" and find_spec("transformers") is None:
        raise MissingExtraError("transformers", "transformers", f"The model {resolved.name}")
    found = fetch_configuration(repository, resolved.name, offline=offline)
    if resolved.backend not in ("hub", found):
        raise ModelError(f"{resolved.name}: {repository.id} is in the format of {found}. {_instead(found, repository)}")
    return replace(resolved, backend=found)


def _instead(found: Format, repository: Repository) -> str:
    return f"Write {'hf' if found == 'hf' else 'hf-hub'}:{repository.id}."


def settled(resolved: ResolvedModel) -> ResolvedModel | None:
    """Return the model with the backend that reads it; None while its configuration is not on this machine."""
    if resolved.repository is None:
        return resolved
    found = resolved.repository.format
    if found is None or resolved.backend not in ("hub", found):
        return None
    return replace(resolved, backend=found)


@contextmanager
def _without_network(asked: bool) -> Iterator[None]:
    """Let no library below ask the hub, if that is asked for: they read the setting when they are imported."""
    if not asked:
        yield
        return
    from huggingface_hub import constants

    transformers: Any = sys.modules.get("transformers.utils.hub")  # older ones keep a copy
    places = [(constants, "HF_HUB_OFFLINE"), (transformers, "_is_offline_mode")]
    before = [(place, name, getattr(place, name)) for place, name in places if hasattr(place, name)]
    for place, name, _ in before:
        setattr(place, name, True)
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def weights_fingerprint(name_or_resolved: str | ResolvedModel, *, cache_dir: Path | None = None) -> str | None:
    """Return the fingerprint that the loaded model will have, without loading it and without the network.

    None where it is not known yet: the weights are not on this machine, or somebody's own code makes the
    model. Raises UsageError for an unknown name, tag or architecture, ModelError for a configuration that is none.
    """
    resolved = settled(_resolved(name_or_resolved))
    if resolved is None:
        return None
    try:
        return _backend(resolved).weights_fingerprint(resolved, cache_dir=cache_dir)
    except EvalsuiteError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ModelError(
            f"{resolved.name}: what it is cannot be told ({type(error).__name__}: {error}). The configuration next to "
            "the weights has other keys or values than open_clip and timm write."
        ) from error


def known_logits(name_or_resolved: str | ResolvedModel, *, cache_dir: Path | None = None) -> Logits | None:
    """Return the scale and the bias of a model's logits, without loading it; None where only loading tells."""
    resolved = settled(_resolved(name_or_resolved))
    find = getattr(_backend(resolved), "known_logits", None) if resolved else None
    found: Logits | None = find(resolved, cache_dir=cache_dir) if find is not None else None
    return found


def skeleton(name_or_resolved: str | ResolvedModel) -> Skeleton | None:
    """Return the network of a model without its weights; None where only loading makes it.

    Raises UsageError for an unknown name, tag or architecture.
    """
    resolved = settled(_resolved(name_or_resolved))
    build = getattr(_backend(resolved), "skeleton", None) if resolved else None
    found: Skeleton | None = build(resolved) if build is not None else None
    return found


def _resolved(model: str | ResolvedModel) -> ResolvedModel:
    return model if isinstance(model, ResolvedModel) else resolve(model)


def _backend(resolved: ResolvedModel) -> Backend:
    return cast(Backend, importlib.import_module(BACKENDS[resolved.backend]))
