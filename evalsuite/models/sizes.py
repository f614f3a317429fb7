"""Parameters and FLOPs of image encoders, counted without weights and without memory, and remembered.

FLOPs = 2 x multiply-adds of convolutions and matrix products, as torch.utils.flop_counter counts them, for one image;
the image encoder alone, without text tower and without classifier. On the meta device attention is counted as its
matrix products; on a CPU without gradients torch's fused attention would be missed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalsuite.errors import EvalsuiteError
from evalsuite.models.loading import skeleton
from evalsuite.models.names import ResolvedModel
from evalsuite.seals import read_named, write_named

if TYPE_CHECKING:
    from evalsuite.models.skeletons import Skeleton

FOLDER = "model-sizes"
"""Folder of the cache with what was counted, one small file per network and image size."""

LIBRARIES = {"open_clip": "open_clip_torch", "timm": "timm", "hf": "transformers", "torchvision": "torchvision"}
"""Backend -> the package whose networks it builds."""


@dataclass(frozen=True)
class Size:
    """Of an image encoder. input_size: side of its images in pixels; gflops: 1e9 FLOPs for one image."""

    input_size: int
    parameters: int
    gflops: float


def model_size(resolved: ResolvedModel, cache_dir: Path | None = None) -> Size | None:
    """Return the size of a model, counted once.

    None where it cannot be counted: its configuration is not on this machine, somebody's code makes it, or its code
    looks at values. cache_dir: where it is remembered. Raises UsageError for weights or an architecture that do not
    exist.
    """
    counted = counted_before(resolved, cache_dir)
    if counted is not None:
        return counted
    bones = skeleton(resolved)
    found = None if bones is None else _counted(bones)
    file = _remembered_at(resolved, cache_dir)
    if found is not None and file is not None:
        write_named(file, asdict(found))
    return found


def counted_before(resolved: ResolvedModel, cache_dir: Path | None) -> Size | None:
    """Return the size of a model where it is remembered, or ships; builds nothing."""
    alias = resolved.alias
    if alias is not None and resolved.image_size is None:
        return Size(alias.input_size, alias.parameters, alias.gflops)
    file = _remembered_at(resolved, cache_dir)
    try:
        return None if file is None else Size(**read_named(file))
    except (OSError, ValueError, TypeError):  # not there, or damaged: it is counted again
        return None


def known_size(resolved: ResolvedModel, cache_dir: Path | None = None) -> Size | None:
    """Return the size of a model for a list; None also where something is wrong with the model."""
    try:
        return model_size(resolved, cache_dir)
    except EvalsuiteError:
        return None


def count(bones: Skeleton) -> Size:
    """Count an image encoder that is on the meta device."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from evalsuite.models.layers import layer_function
    from evalsuite.models.modules import image_parameters

    # The counter follows what could be trained, and trips over parameters that are made in the forward pass.
    module: Any = bones.module.eval().requires_grad_(False)
    encode = getattr(module, "encode_image", None) or layer_function(module)[0](module)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encode(torch.zeros(1, *bones.shape, device="meta"))
    return Size(max(bones.shape[1:]), image_parameters(module), round(counter.get_total_flops() / 1e9, 3))


def _counted(bones: Skeleton) -> Size | None:
    """Count; None for the few networks whose code looks at values."""
    try:
        return count(bones)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, AssertionError):
        return None


def _remembered_at(resolved: ResolvedModel, cache_dir: Path | None) -> Path | None:
    """Return the file for what was counted; None where the name does not say what the network is."""
    package = LIBRARIES.get(resolved.backend)
    if cache_dir is None or package is None or resolved.checkpoint is not None:
        return None
    repository = resolved.repository
    config = (
        None if repository is None else [repository.read(name) for name in ("open_clip_config.json", "config.json")]
    )
    key = [package, version(package), resolved.target, resolved.image_size, config]
    return cache_dir / FOLDER / f"{sha256(json.dumps(key).encode()).hexdigest()[:24]}.json"
