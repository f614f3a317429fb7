"""Where the features of a network are read: the layers `embedding` and `penultimate`, in one forward pass.

CLIP ViT (paper, A.3): penultimate is the pooled token after the last LayerNorm, before the projection.
CLIP ResNet: the output of the attention pool, which is the embedding itself.
CLIP with a tower from timm: what goes into the projection, be it a head of open_clip's or the trunk's own.
timm classifier: the input of the last linear layer, `forward_head(pre_logits=True)`.
One of ours around a network of another library: what its `read_layers` returns; its `layer_rule` says what.
Any other network with `encode_image`: the embedding serves as both. Any other network: its output.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from evalsuite.errors import ModelError
from evalsuite.models.base import EMBEDDING, PENULTIMATE
from evalsuite.text import counted

ReadLayers = Callable[[torch.Tensor], dict[str, torch.Tensor]]
"""(n, channels, height, width) -> layer name -> (n, dim)."""

LayerFunction = Callable[[nn.Module], ReadLayers]
"""Returns what reads the layers of a module as it is now. Nothing is changed in the module, so threads may share it."""

PROJECTING_TOWERS = (("open_clip.transformer", "VisionTransformer"), ("clip.model", "VisionTransformer"))
"""Towers (open_clip's and OpenAI's own) that return what they would project when `proj` is None."""

TIMM_TOWER = ("open_clip.timm_model", "TimmModel")

ACTIVATIONS: Mapping[str, str] = {
    "QuickGELU": "quickgelu",
    "GELU": "gelu",
    "GELUTanh": "gelu_tanh",
    "ReLU": "relu",
    "SiLU": "silu",
    "Swish": "silu",
    "Hardswish": "hardswish",
}
"""Class name of an activation -> what is recorded."""


def layer_function(module: nn.Module) -> tuple[LayerFunction, str]:
    """Choose how the features of `module` are read; the second value says so, readable."""
    if callable(getattr(module, "read_layers", None)):
        return own_layers, str(module.layer_rule)
    if not hasattr(module, "encode_image"):
        if hasattr(module, "forward_features") and hasattr(module, "forward_head"):
            return timm_layers, "input of the last linear layer"
        return plain_layers, "output of the module"
    tower = getattr(module, "visual", None)
    kind = kind_of_tower(tower)
    if kind in PROJECTING_TOWERS and isinstance(getattr(tower, "proj", None), nn.Parameter):
        return projected_layers, "pooled token before the projection"
    if kind == TIMM_TOWER and len(getattr(tower, "head", ())) > 0:
        return trunk_layers, "output of the trunk before the projection head"
    if kind == TIMM_TOWER and getattr(getattr(tower, "trunk", None), "num_classes", 0) > 0:
        return projecting_trunk_layers, "input of the trunk's own head, which is the projection"
    return embedding_layers, "the embedding: this tower has no separate projection"


def own_layers(module: nn.Module) -> ReadLayers:
    """Read a network of ours that knows its layers."""
    network: Any = module
    return lambda batch: dict(network.read_layers(batch))


def projected_layers(module: nn.Module) -> ReadLayers:
    """Read a CLIP ViT; the last product is the one the tower itself computes."""
    tower: Any = module.visual
    headless = copy.copy(tower)  # the same parts and weights, without the projection
    headless._parameters = {**tower._parameters, "proj": None}

    def read(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled = _pooled(headless(batch))
        return {PENULTIMATE: pooled, EMBEDDING: pooled @ tower.proj}

    return read


def trunk_layers(module: nn.Module) -> ReadLayers:
    """Read a CLIP model whose image tower is a timm network followed by a projection head."""
    tower: Any = module.visual

    def read(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        trunk = tower.trunk(batch)
        embedding = tower.head(trunk)
        # With open_clip's own attention pooling the head pools as well, and the trunk returns a map.
        return {PENULTIMATE: trunk if trunk.ndim == 2 else embedding, EMBEDDING: embedding}

    return read


def projecting_trunk_layers(module: nn.Module) -> ReadLayers:
    """Read a CLIP model whose image tower is a timm network with the projection as its classifier."""
    visual: Any = module.visual
    trunk = visual.trunk

    def read(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        features = trunk.forward_features(batch)
        return {PENULTIMATE: trunk.forward_head(features, pre_logits=True), EMBEDDING: trunk.forward_head(features)}

    return read


def embedding_layers(module: nn.Module) -> ReadLayers:
    """Read a network that offers nothing but `encode_image`."""
    encode = unnormalised(module.encode_image)

    def read(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        embedding = encode(batch)
        return {PENULTIMATE: embedding, EMBEDDING: embedding}

    return read


def timm_layers(module: nn.Module) -> ReadLayers:
    """Read a timm network."""
    network: Any = module
    return lambda batch: {PENULTIMATE: network.forward_head(network.forward_features(batch), pre_logits=True)}


def plain_layers(module: nn.Module) -> ReadLayers:
    """Read a network whose output is the features."""
    return lambda batch: {PENULTIMATE: _pooled(module(batch))}


def unnormalised(encode: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return `encode_image` or `encode_text` without L2 normalisation; CoCa normalises unless told not to."""
    keywords = {"normalize": False} if "normalize" in inspect.signature(encode).parameters else {}
    return lambda inputs: _pooled(encode(inputs, **keywords))


def layer_sizes(features: Mapping[str, Any], name: str) -> dict[str, int]:
    """Return layer -> dimension of the features of one image; ModelError where they are no (1, dim) tensor."""
    for layer, values in features.items():
        if not isinstance(values, torch.Tensor):
            found: object = type(values).__name__
        elif values.layout != torch.strided or values.is_complex() or values.is_quantized:
            found = f"values of {values.dtype}, {values.layout}"
        elif values.ndim != 2 or values.shape[1] == 0:
            found = tuple(values.shape)
        else:
            continue
        raise ModelError(f"the model {name!r} must return (n, dim) features for {layer!r}, not {found}.")
    return {layer: int(values.shape[1]) for layer, values in features.items()}


def embeddings_of(found: object, count: int, name: str, dim: int) -> torch.Tensor:
    """Return what a model made of `count` texts; ModelError where it is not (count, dim). dim: 0 where unknown."""
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else ()
    if not isinstance(found, torch.Tensor) or len(shape) != 2 or shape != (count, dim or shape[1]):
        raise ModelError(
            f"The model {name!r} made {f'a tensor {shape}' if shape else type(found).__name__} of "
            f"{counted(count, 'text')}; it must be one vector for each, as long as the embeddings of its images"
            f"{f' ({dim})' if dim else ''}."
        )
    return found


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Evaluate without gradients and leave every submodule in the mode it was in.

    `no_grad` and not `inference_mode`: a network in the middle of its training may store what it
    computes here (rotary tables, say), and inference tensors could not be trained with later.
    """
    training = [part for part in module.modules() if part.training]
    if training:  # setting it takes longer than a GPU needs for a batch of a small network
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


def convolutional(module: nn.Module) -> bool:
    """Tell whether a network convolves more than its image into patches: a patch is as large as the step to the next.

    A network has such convolutions in its image tower only.
    """
    found = (part for part in module.modules() if isinstance(part, nn.Conv2d))
    return any(max(part.kernel_size) > 1 and part.kernel_size != part.stride for part in found)


def activations(module: nn.Module) -> dict[str, int]:
    """Count the activation modules of a network by kind, as they were really built."""
    kinds = (ACTIVATIONS.get(type(part).__name__) for part in module.modules())
    return dict(Counter(kind for kind in kinds if kind is not None).most_common())


def chosen_activation(found: Mapping[str, int]) -> str | None:
    """Return the activation where CLIP models have a choice, in the transformers: quickgelu, gelu or another."""
    return next((choice for choice in ("quickgelu", "gelu", *found) if choice in found), None)


def kind_of_tower(tower: object) -> tuple[str, str]:
    """Return the module and the name of the class of a tower."""
    return type(tower).__module__, type(tower).__name__


def _pooled(output: Any) -> torch.Tensor:
    """Return the first of (pooled, tokens), the form of towers that hand out tokens too."""
    first: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return first
