"""Layers that are chosen by name (`--layer`), next to `penultimate` and `embedding`, in the same forward pass.

cls: the class token after the last norm. avgpool: the mean of the patch tokens, or of the places of the last map.
cls+avgpool: both, one after the other, which the linear probes of DINOv2 and DINOv3 read (arXiv:2304.07193, appendix
B.3). PATH: the output of the module of this name inside the network, where that is (n, dim); PATH.cls and PATH.avgpool:
of its tokens or its map. Names may be joined by `+`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import nn

from evalsuite.errors import UsageError
from evalsuite.models.base import ImageModel
from evalsuite.models.layers import PROJECTING_TOWERS, LayerFunction, ReadLayers, kind_of_tower, layer_sizes
from evalsuite.models.modules import GREY_SIZE, TorchImageModel
from evalsuite.registry import did_you_mean
from evalsuite.text import shortened

CLS, AVGPOOL = "cls", "avgpool"

USUAL = (CLS, AVGPOOL, f"{CLS}+{AVGPOOL}")
"""What is offered of networks that have tokens or maps."""


@dataclass(frozen=True)
class Source:
    """Where values come from: what a method of the module at `path` returns.

    pool: `cls`, `avgpool` or "": as they are. norm: the path of a module that the network puts after it.
    """

    path: str
    method: str = "forward"
    pool: str = ""
    norm: str = ""


@dataclass(frozen=True)
class Layout:
    """How a network lays out what it makes of an image. final: where its last tokens or its last map come from.

    prefix: tokens before those of the patches; class_token: whether the first is one; channels_last: of maps.
    """

    final: Source | None = None
    prefix: int = 0
    class_token: bool = False
    channels_last: bool = False

    @property
    def named(self) -> list[str]:
        """The layers of USUAL that there are."""
        return [name for name in USUAL if self.final is not None and (self.class_token or name == AVGPOOL)]


@dataclass(frozen=True)
class WithLayer:
    """A `LayerFunction` that reads one more layer than another one. model: what messages call the network."""

    base: LayerFunction
    layer: str
    model: str

    def __call__(self, module: nn.Module) -> ReadLayers:
        """Return what reads the layers of a module as it is now, in which nothing is changed."""
        sources = [_source(module, part, self) for part in self.layer.split("+")]
        caught: dict[tuple[str, str], Any] = {}
        places = {(source.path, source.method) for source in sources}
        listening = module
        for path, method in sorted(places, key=lambda place: -len(_steps(place[0]))):  # parts before the whole
            listening = _listening(listening, path, method, caught)
        read = self.base(listening)

        def read_more(batch: torch.Tensor) -> dict[str, torch.Tensor]:
            found = read(batch)
            parts = [self._rows(module, source, caught, len(batch)) for source in sources]
            caught.clear()
            return {**found, self.layer: torch.cat(parts, dim=1)}

        return read_more

    def _rows(self, module: nn.Module, source: Source, caught: dict[tuple[str, str], Any], n: int) -> torch.Tensor:
        """Return the values of a source as (n, dim)."""
        value = caught.get((source.path, source.method))
        if value is None:
            raise UsageError(
                f"--layer {self.layer}: {self.model} does not call {source.path} when it encodes an image."
            )
        value = value[0] if isinstance(value, tuple) else value
        if isinstance(value, torch.Tensor):
            if source.norm:
                value = module.get_submodule(source.norm)(value)
            value = _pooled(_layout(module), value, source.pool)
        if isinstance(value, torch.Tensor) and value.ndim == 2 and len(value) == n:
            return value
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        advice = "" if source.pool else f" Write {source.path}.{CLS} or {source.path}.{AVGPOOL} for tokens or a map."
        raise UsageError(
            f"--layer {self.layer}: {source.path or source.method} of {self.model} gives {shape} for a batch "
            f"of {n}, not one row of numbers per image.{advice}"
        )


def with_layer(model: ImageModel, layer: str | None) -> ImageModel:
    """Return a model that also gives the layer of this name; UsageError lists what there is where it cannot.

    A model that gives it already, and None, change nothing.
    """
    if layer is None or layer in model.info.layers:
        return model
    if not isinstance(model, TorchImageModel):
        raise UsageError(f"--layer {layer}: {model.info.name} has the layers {', '.join(model.info.layers)}.")
    more = replace(model, layers=WithLayer(model.layers, layer, model.info.name))
    grey = model.preprocess(Image.new("RGB", GREY_SIZE, (127, 127, 127)))
    more.info = model.info.model_copy(update={"layers": layer_sizes(more.encode_images(grey[None]), model.info.name)})
    return more


def usual_sizes(module: nn.Module, base: LayerFunction, image: torch.Tensor) -> Iterator[tuple[str, int]]:
    """Yield the named layers that a network has, with their dimensions. image: (1, channels, height, width)."""
    for layer in USUAL:
        try:
            yield layer, int(WithLayer(base, layer, "the network")(module)(image)[layer].shape[1])
        except UsageError:
            continue


def _source(module: nn.Module, part: str, asked: WithLayer) -> Source:
    layout, inside = _layout(module), _inside(module)
    if layout.final is not None and part in layout.named:
        return replace(layout.final, pool=part)
    if part in inside:
        return Source(part)
    path, _, pool = part.rpartition(".")
    if pool in (CLS, AVGPOOL) and path in inside:
        return Source(path, pool=pool)
    standard = ["penultimate", *(["embedding"] if hasattr(module, "encode_image") else [])]
    near = did_you_mean(part, [*layout.named, *inside])
    raise UsageError(
        f"--layer {asked.layer}: {asked.model} has no {part!r}.{near} It has {', '.join(standard + layout.named)}, "
        f"and modules by their path: {shortened(_children(inside), 8)}."
    )


def _inside(module: nn.Module) -> list[str]:
    """Return the paths of the modules that an image goes through: of a model with a text tower, those in `visual`."""
    paths = [path for path, _ in module.named_modules() if path]
    within = [path for path in paths if path.startswith("visual.")]
    return within if hasattr(module, "encode_image") and within else paths


def _children(paths: Sequence[str]) -> list[str]:
    """Return the paths of the fewest parts."""
    fewest = min((path.count(".") for path in paths), default=0)
    return [path for path in paths if path.count(".") == fewest]


def _layout(module: nn.Module) -> Layout:
    tower = getattr(module, "visual", None) if hasattr(module, "encode_image") else None
    if kind_of_tower(tower) == PROJECTING_TOWERS[0]:
        pools = getattr(tower, "attn_pool", None) is not None  # it has no tokens in the space of the last norm
        final = None if pools else Source("visual.transformer", norm="visual.ln_post")
        return Layout(final, prefix=1, class_token=True)
    network: Any = module if tower is None else getattr(tower, "trunk", None)
    path = "" if tower is None else "visual.trunk"
    if not (hasattr(network, "forward_features") and hasattr(network, "forward_head")):
        return Layout()
    tokens = [name for name, _ in network.named_parameters(recurse=False) if name.startswith("cls_token")]
    prefix = getattr(network, "num_prefix_tokens", 0)
    known = prefix > 0 or not tokens  # some have a class token and do not say where
    last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
    return Layout(Source(path, "forward_features") if known else None, prefix, prefix > 0 and bool(tokens), last)


def _pooled(layout: Layout, value: torch.Tensor, pool: str) -> torch.Tensor:
    """Return (n, dim) of tokens (n, count, dim) or of a map, where there is a rule for it; else the value as it is."""
    if value.ndim == 3 and pool == CLS:
        return value[:, 0]
    if value.ndim == 3 and pool == AVGPOOL:
        return value[:, layout.prefix :].mean(dim=1)
    if value.ndim == 4 and pool == AVGPOOL:
        return value.mean(dim=(1, 2) if layout.channels_last else (2, 3))
    if value.ndim == 4 and value.shape[2:] == (1, 1):
        return value.flatten(start_dim=1)
    return value


def _listening(module: nn.Module, path: str, method: str, caught: dict[tuple[str, str], Any]) -> nn.Module:
    """Return a twin of a network, with the same parts and weights, that notes what a method of one of them returns."""

    def listen(part: nn.Module) -> None:
        call: Callable[..., Any] = getattr(part, method)

        def noted(*arguments: Any, **keywords: Any) -> Any:
            caught[path, method] = value = call(*arguments, **keywords)
            return value

        part.__dict__[method] = noted

    return _twin(module, _steps(path), listen)


def _steps(path: str) -> list[str]:
    return path.split(".") if path else []


def _twin(module: nn.Module, path: Sequence[str], change: Callable[[nn.Module], None]) -> nn.Module:
    twin: nn.Module = object.__new__(type(module))  # copying a module may do more: a parametrised one refuses
    twin.__dict__.update(module.__dict__)
    if path:
        child: Any = module._modules[path[0]]
        twin._modules = {**module._modules, path[0]: _twin(child, path[1:], change)}
    else:
        change(twin)
    return twin
