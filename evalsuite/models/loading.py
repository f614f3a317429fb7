"""Load a model by name, and tell its fingerprint without loading it where that is possible."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from evalsuite.models.base import ImageModel, Logits, not_exiting
from evalsuite.models.names import BackendName, ResolvedModel, resolve

if TYPE_CHECKING:  # so that mypy sees that each module has the shape of a backend
    from evalsuite.models import file_models, open_clip_models, pixels, pocket, timm_models
    from evalsuite.models.skeletons import Skeleton

    _CHECKED: tuple[Backend, ...] = (file_models, open_clip_models, pixels, pocket, timm_models)

BACKENDS: Mapping[BackendName, str] = {
    "pixels": "evalsuite.models.pixels",
    "pocket": "evalsuite.models.pocket",
    "open_clip": "evalsuite.models.open_clip_models",
    "timm": "evalsuite.models.timm_models",
    "file": "evalsuite.models.file_models",
    "entry_point": "evalsuite.models.file_models",
}
"""Each backend's module; it is imported when the first of its models is asked for."""


class Backend(Protocol):
    """What the module of a backend offers."""

    def load(self, resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> ImageModel:
        """Load a model, in evaluation mode, on the CPU, in float32; ModelError says why it cannot be loaded."""

    def weights_fingerprint(self, resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
        """Return the fingerprint that the loaded model will have, or None where only loading tells."""


def load_model(
    name_or_resolved: str | ResolvedModel, *, offline: bool = False, cache_dir: Path | None = None
) -> ImageModel:
    """Load a model, in evaluation mode, on the CPU, in float32.

    offline: touch no network, as HF_HUB_OFFLINE=1 does. cache_dir: where digests of checkpoints are remembered.
    Raises UsageError for an unknown name and ModelError where the weights are not available or do not fit.
    """
    resolved = _resolved(name_or_resolved)
    with _without_network(offline), not_exiting(f"The model {resolved.name!r}"):
        return _backend(resolved).load(resolved, offline=offline, cache_dir=cache_dir)


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
    model. Raises UsageError for an unknown name, tag or architecture.
    """
    resolved = _resolved(name_or_resolved)
    return _backend(resolved).weights_fingerprint(resolved, cache_dir=cache_dir)


def known_logits(name_or_resolved: str | ResolvedModel, *, cache_dir: Path | None = None) -> Logits | None:
    """Return the scale and the bias of a model's logits, without loading it; None where only loading tells."""
    resolved = _resolved(name_or_resolved)
    find = getattr(_backend(resolved), "known_logits", None)
    found: Logits | None = find(resolved, cache_dir=cache_dir) if find is not None else None
    return found


def skeleton(name_or_resolved: str | ResolvedModel) -> Skeleton | None:
    """Return the network of a model without its weights; None where only loading makes it.

    Raises UsageError for an unknown name, tag or architecture.
    """
    resolved = _resolved(name_or_resolved)
    build = getattr(_backend(resolved), "skeleton", None)
    found: Skeleton | None = build(resolved) if build is not None else None
    return found


def _resolved(model: str | ResolvedModel) -> ResolvedModel:
    return model if isinstance(model, ResolvedModel) else resolve(model)


def _backend(resolved: ResolvedModel) -> Backend:
    return cast(Backend, importlib.import_module(BACKENDS[resolved.backend]))
