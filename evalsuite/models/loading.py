"""Load a model by name, and tell its fingerprint without loading it where that is possible."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from evalsuite.models.base import ImageModel
from evalsuite.models.names import ResolvedModel, resolve

POCKET = "evalsuite.models.pocket"


def load_model(
    name_or_resolved: str | ResolvedModel, *, offline: bool = False, cache_dir: Path | None = None
) -> ImageModel:
    """Load a model, in evaluation mode, on the CPU, in float32.

    offline: touch no network, as HF_HUB_OFFLINE=1 does. cache_dir: where digests of checkpoints are remembered.
    Raises UsageError for an unknown name and ModelError where the weights are not to be had or do not fit.
    """
    resolved = _resolved(name_or_resolved)
    model: ImageModel
    match resolved.backend:
        case "pixels":
            from evalsuite.models.pixels import PixelsModel

            model = PixelsModel()
        case "pocket":
            model = _pocket().load_pocket()
        case "open_clip":
            from evalsuite.models import open_clip_models

            model = open_clip_models.load(resolved, offline=offline, cache_dir=cache_dir)
        case "timm":
            from evalsuite.models import timm_models

            model = timm_models.load(resolved, offline=offline, cache_dir=cache_dir)
        case "file" | "entry_point":
            from evalsuite.models import file_models

            model = file_models.load(resolved)
    return model


def weights_fingerprint(
    name_or_resolved: str | ResolvedModel, *, offline: bool = False, cache_dir: Path | None = None
) -> str | None:
    """Return the fingerprint that the loaded model will have, without loading it and without the network.

    None where it is not known yet: the weights are not on this machine, or somebody's own code makes the
    model. Raises UsageError for an unknown name, tag or architecture. offline: accepted for symmetry with
    `load_model`; nothing is ever downloaded here.
    """
    resolved = _resolved(name_or_resolved)
    match resolved.backend:
        case "pixels":
            from evalsuite.models.pixels import pixels_fingerprint

            return pixels_fingerprint()
        case "pocket":
            return str(_pocket().pocket_fingerprint())
        case "open_clip":
            from evalsuite.models import open_clip_models

            return open_clip_models.weights_fingerprint(resolved, cache_dir=cache_dir)
        case "timm":
            from evalsuite.models import timm_models

            return timm_models.weights_fingerprint(resolved, cache_dir=cache_dir)
        case "file" | "entry_point":
            return None


def _resolved(model: str | ResolvedModel) -> ResolvedModel:
    return model if isinstance(model, ResolvedModel) else resolve(model)


def _pocket() -> Any:
    # By name, because its package brings its own weights and tokenizer and is large to import.
    return importlib.import_module(POCKET)
