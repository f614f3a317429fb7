"""A torch module as a model: the wrapper that every backend with a network uses."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from PIL import Image
from torch import nn

from evalsuite.errors import ModelError, UsageError
from evalsuite.models.base import EMBEDDING, ModelInfo
from evalsuite.models.identity import fingerprint, state_digest
from evalsuite.models.layers import (
    LayerFunction,
    activations,
    clip_activation,
    layer_function,
    layer_sizes,
    undisturbed,
    unnormalised,
)
from evalsuite.models.names import slugify

Preprocess = Callable[[Image.Image], torch.Tensor]

Tokenizer = Callable[[list[str]], torch.Tensor]
"""texts -> (n, context length) token numbers, as open_clip's tokenizers do."""

TEXTS_AT_ONCE = 256
"""Texts a forward pass: ImageNet has 80,000 prompts, and a text tower of ViT-L needs about 1 MB for each."""

PROBE_SIZE = (224, 224)
"""Size of the grey image that is encoded once to learn the dimensions of a module somebody hands in."""


class TorchImageModel:
    """An image encoder that is a torch module."""

    def __init__(self, module: nn.Module, preprocess: Preprocess, info: ModelInfo, layers: LayerFunction) -> None:
        self.module = module
        self._preprocess = preprocess
        self._info = info
        self._layers = layers

    @property
    def info(self) -> ModelInfo:
        """Describe the model."""
        return self._info

    @property
    def preprocess(self) -> Preprocess:
        """Return the preprocessing of one image."""
        return self._preprocess

    def to(self, device: torch.device | str) -> Self:
        """Move the network."""
        self.module.to(device)
        return self

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Encode (n, channels, height, width): layer name -> (n, dim), unnormalised."""
        with undisturbed(self.module):
            return self._layers(self.module, _as_parameters(batch, self.module))


class TorchImageTextModel(TorchImageModel):
    """An image encoder with the text encoder of its embedding space."""

    def __init__(
        self,
        module: nn.Module,
        preprocess: Preprocess,
        info: ModelInfo,
        layers: LayerFunction,
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__(module, preprocess, info, layers)
        self.tokenizer = tokenizer

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Encode texts: (n, dim of `embedding`), unnormalised, a few hundred at a time."""
        encode: Any = self.module.encode_text
        device = _device(self.module)
        chunks: list[torch.Tensor] = []
        with undisturbed(self.module):
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                tokens = self.tokenizer(list(texts[start : start + TEXTS_AT_ONCE]))
                chunks.append(unnormalised(encode, tokens.to(device)))
        if not chunks:
            return torch.empty((0, self.info.layers[EMBEDDING]), device=device)
        return torch.cat(chunks)


def wrap_module(
    module: nn.Module,
    preprocess: Preprocess,
    tokenizer: Tokenizer | None = None,
    *,
    name: str,
    slug: str | None = None,
    source: str = "",
    backend: str = "module",
) -> TorchImageModel:
    """Make a model of a torch module, on the device and in the mode it is in.

    module: with `encode_image` (and `encode_text`) as open_clip and CLIP have them, or a timm network, or any
    module that turns (n, 3, height, width) into (n, dim) features. Its weights are read here for the
    fingerprint, so wrap it again after training on. source: anything else that decides the features.
    Raises UsageError or ModelError saying what does not fit.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"the model {name!r}: a torch module was expected, not {type(module).__name__}.")
    if not callable(preprocess):
        raise UsageError(f"the model {name!r}: preprocess must be a function of an image, not {preprocess!r}.")
    if tokenizer is not None and not callable(getattr(module, "encode_text", None)):
        raise UsageError(f"the model {name!r} has a tokenizer, but its module has no encode_text(tokens).")
    layers, rule = layer_function(module)
    image = _preprocessed(preprocess, name)
    with undisturbed(module):
        sizes = layer_sizes(layers(module, _as_parameters(image[None], module)), name)
    has_text = tokenizer is not None and EMBEDDING in sizes
    weights = state_digest(module)
    info = ModelInfo(
        name=name,
        slug=slug or slugify(name),
        backend=backend,
        fingerprint=fingerprint(
            backend="module",
            weights=weights,
            architecture=_described(module),
            preprocessing=_described(preprocess),
            tokenizer=_described(tokenizer) if has_text else None,
            layers=rule,
            source=source,
        ),
        input_size=max(image.shape[-2:]),
        layers=sizes,
        parameters=image_parameters(module),
        activation=clip_activation(module),
        weights=weights,
        preprocessing=_described(preprocess),
        details={"penultimate": rule, "activations": activations(module)},
    )
    if tokenizer is None or not has_text:
        return TorchImageModel(module, preprocess, info, layers)
    return TorchImageTextModel(module, preprocess, info, layers, tokenizer)


def image_parameters(module: nn.Module) -> int:
    """Count the parameters of the image encoder: without a text tower, without a classifier of timm."""
    encoder: Any = module
    if isinstance(getattr(module, "visual", None), nn.Module):
        encoder = module.visual
    total = sum(parameter.numel() for parameter in encoder.parameters())
    classifier = encoder.get_classifier() if hasattr(encoder, "get_classifier") else None
    if isinstance(classifier, nn.Module):
        total -= sum(parameter.numel() for parameter in classifier.parameters())
    return int(total)


def _preprocessed(preprocess: Preprocess, name: str) -> torch.Tensor:
    image: Any = preprocess(Image.new("RGB", PROBE_SIZE, (127, 127, 127)))
    if not isinstance(image, torch.Tensor) or image.ndim != 3:
        found = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise ModelError(
            f"the model {name!r}: preprocess must turn an image into a (channels, height, width) tensor, not {found}."
        )
    return image


def _as_parameters(batch: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """Bring a batch to the device and the precision of the network."""
    for parameter in module.parameters():
        if parameter.is_floating_point():
            return batch.to(parameter.device, parameter.dtype)
    return batch


def _device(module: nn.Module) -> torch.device:
    parameter = next(module.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")


def _described(thing: object) -> str:
    """Describe a module or a function for a fingerprint, the same way in every process.

    A function by its source and what it captured, an object by what it prints, or by its attributes where it
    prints nothing of its own. Addresses are dropped, because they differ from run to run.
    """
    if inspect.isfunction(thing):
        try:
            source = inspect.getsource(thing)
        except OSError:  # typed at a prompt
            source = thing.__code__.co_code.hex()
        captured = [repr(cell.cell_contents) for cell in thing.__closure__ or ()]
        content = _without_addresses(repr((source, captured, thing.__defaults__)))
        return f"{thing.__qualname__} {hashlib.sha256(content.encode()).hexdigest()[:16]}"
    text = repr(thing)
    if type(thing).__repr__ is object.__repr__ and hasattr(thing, "__dict__"):
        text = f"{text} {sorted(vars(thing).items())}"
    return " ".join(_without_addresses(text).split())


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
