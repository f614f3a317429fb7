"""Parameters and FLOPs of image encoders, counted without weights and without memory, and remembered.

Networks are built on torch's meta device, where a forward pass computes shapes only. FLOPs = 2 x multiply-adds of
convolutions and matrix products, as torch.utils.flop_counter counts them, for one image; the image encoder alone,
without text tower and without classifier. On the meta device attention is counted as its matrix products; on a CPU
without gradients torch's fused attention would be missed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalsuite import atomic
from evalsuite.errors import EvalsuiteError
from evalsuite.models.names import ResolvedModel

if TYPE_CHECKING:
    from torch import nn

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


@dataclass(frozen=True)
class Blueprint:
    """What can be counted. network: what decides it, for the cache; build: makes the image encoder."""

    network: Any
    input_size: int
    build: Callable[[], nn.Module]


def model_size(resolved: ResolvedModel, cache_dir: Path | None = None) -> Size | None:
    """Return the size of a model, counted once.

    None where it cannot be counted: its configuration is not on this machine, or somebody's code makes it.
    cache_dir: where it is remembered. Raises UsageError for weights or an architecture that do not exist.
    """
    alias = resolved.alias
    if alias is not None and resolved.image_size is None:
        return Size(alias.input_size, alias.parameters, alias.gflops)
    blueprint = _blueprint(resolved)
    if blueprint is None:
        return None
    key = json.dumps([blueprint.network, blueprint.input_size, version(LIBRARIES[resolved.backend])], default=list)
    file = cache_dir / FOLDER / f"{sha256(key.encode()).hexdigest()[:24]}.json" if cache_dir else None
    stored = _stored(file)
    if stored is not None:
        return stored
    found = _counted(blueprint)
    if found is not None and file is not None:
        atomic.write_json(file, asdict(found))
    return found


def count(encoder: nn.Module, input_size: int) -> Size:
    """Count an image encoder that is on the meta device; it encodes when it is called, or by its `read_layers`."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    encoder.eval().requires_grad_(False)  # the counter follows what could be trained, and trips over parts of it
    image = torch.zeros(1, 3, input_size, input_size, device="meta")
    encode: Any = getattr(encoder, "read_layers", encoder)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encode(image)
    encoding = getattr(encoder, "visual", encoder)
    parameters = sum(parameter.numel() for parameter in encoding.parameters())
    return Size(input_size, parameters, round(counter.get_total_flops() / 1e9, 3))


@contextmanager
def on_meta() -> Iterator[None]:
    """Build networks without memory for their weights."""
    import torch
    from torch.overrides import TorchFunctionMode

    class NumbersOnCpu(TorchFunctionMode):
        """Keep `torch.linspace` off the meta device: timm up to 1.0.20 reads drop-path rates from it."""

        def __torch_function__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            given = dict(kwargs or {})
            return func(*args, **({**given, "device": "cpu"} if func is torch.linspace else given))

    with torch.device("meta"), NumbersOnCpu():
        yield


def _counted(blueprint: Blueprint) -> Size | None:
    """Count; None for the few networks whose code reads values while it is built or runs."""
    try:
        with on_meta():
            encoder = blueprint.build()
        return count(encoder.to("meta"), blueprint.input_size)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, AssertionError, ImportError):
        return None


def _stored(file: Path | None) -> Size | None:
    if file is None:
        return None
    try:
        return Size(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # not there, or damaged: it is counted again
        return None


def _blueprint(resolved: ResolvedModel) -> Blueprint | None:
    makers = {"open_clip": _of_open_clip, "timm": _of_timm, "torchvision": _of_torchvision, "hf": _of_transformers}
    if resolved.repository is not None and resolved.repository.format != resolved.backend:
        return None
    maker = makers.get(resolved.backend)
    return maker(resolved) if maker is not None else None


def _of_open_clip(resolved: ResolvedModel) -> Blueprint:
    from evalsuite.models.open_clip_models import image_tower, make_plan

    plan = make_plan(resolved)
    size = plan.preprocessing["size"]
    parts = {key: plan.architecture.get(key) for key in ("embed_dim", "vision_cfg", "quick_gelu")}
    side = max(size) if isinstance(size, list | tuple) else int(size)
    return Blueprint(parts, side, lambda: image_tower(plan))


def _of_timm(resolved: ResolvedModel) -> Blueprint:
    from evalsuite.models.timm_models import headless, make_plan

    plan = make_plan(resolved)
    side = int(plan.preprocessing["input_size"][-1])
    network = [plan.architecture, resolved.image_size]
    return Blueprint(network, side, lambda: headless(resolved, plan))


def _of_torchvision(resolved: ResolvedModel) -> Blueprint:
    from evalsuite.models.torchvision_models import build, headless, make_plan

    plan = make_plan(resolved)
    network = [plan.architecture["name"], resolved.image_size]
    return Blueprint(
        network, plan.preprocessing["crop"], lambda: headless(build(resolved, plan.architecture["weights"]))
    )


def _of_transformers(resolved: ResolvedModel) -> Blueprint | None:
    from importlib.util import find_spec

    from evalsuite.models.repositories import CONFIG
    from evalsuite.models.transformers_models import side_of

    config = resolved.repository.read(CONFIG) if resolved.repository else None
    side = side_of(resolved)
    if config is None or side is None or find_spec("transformers") is None:
        return None
    from evalsuite.models.transformers_networks import empty_network

    return Blueprint([dict(config), resolved.image_size], side, lambda: empty_network(resolved))


def known_size(resolved: ResolvedModel, cache_dir: Path | None = None) -> Size | None:
    """Return the size of a model for a list; None also where something is wrong with the model."""
    try:
        return model_size(resolved, cache_dir)
    except EvalsuiteError:
        return None
