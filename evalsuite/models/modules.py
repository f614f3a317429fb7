"""A torch module as a model: what every backend with a network makes, and the one place that describes one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import torch
from PIL import Image
from torch import nn

from evalsuite.code_identity import identify
from evalsuite.errors import ModelError, UsageError
from evalsuite.models.base import EMBEDDING, ImageModel, ModelInfo, Preprocess
from evalsuite.models.identity import fingerprint, glance, readable, state_digest
from evalsuite.models.layers import (
    PROJECTING_TOWERS,
    LayerFunction,
    ReadLayers,
    activations,
    chosen_activation,
    convolutional,
    embeddings_of,
    kind_of_tower,
    layer_function,
    layer_sizes,
    undisturbed,
    unnormalised,
)
from evalsuite.models.logits import logits_of
from evalsuite.models.names import BackendName, ResolvedModel, slugify
from evalsuite.models.sharded import is_sharded, whole
from evalsuite.models.text_rules import cut_texts, text_faults, text_rules

Tokenizer = Callable[[list[str]], torch.Tensor]
"""texts -> (n, context length) token numbers, as open_clip's tokenizers do."""

TEXTS_AT_ONCE = 256
"""Texts per forward pass: ImageNet has 80,000 prompts, and a text tower of ViT-L needs about 1 MB for each."""

GREY_SIZE = (224, 224)
"""Size of the grey image that is encoded once to learn the dimensions of a network."""


@dataclass(eq=False)
class TorchImageModel:
    """An image encoder that is a torch module.

    layers: how its features are read; compiled: the same, compiled by torch.
    """

    module: nn.Module
    preprocess: Preprocess
    info: ModelInfo
    layers: LayerFunction
    mark: Mark | None = field(default=None, kw_only=True)
    compiled: ReadLayers | None = field(default=None, kw_only=True)

    def refresh(self) -> None:
        """Bring the fingerprint up to date: weights move while a network is trained, and code while it is written."""
        if self.mark is not None:
            self.info = self.mark.update(self.info)

    def to(self, device: torch.device | str) -> Self:
        """Move the network. On a GPU, the weights of a convolutional one are laid out as its kernels want them."""
        self.module.to(device)
        # A live network stays as its owner laid it out, and on a CPU the layout would change last bits.
        if self.mark is None and torch.device(device).type == "cuda" and convolutional(self.module):
            self.module.to(memory_format=torch.channels_last)
        return self

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Encode (n, channels, height, width): layer name -> (n, dim), unnormalised."""
        with undisturbed(self.module):
            read = self.layers(self.module) if self.compiled is None else self.compiled
            return read(_as_parameters(batch, self.module))


@dataclass(eq=False)
class TorchImageTextModel(TorchImageModel):
    """An image encoder with the text encoder of its embedding space."""

    tokenizer: Tokenizer

    def text_faults(self) -> list[str]:
        """Return what is wrong with how texts are read, in words."""
        return text_faults(self.module, self.tokenizer, self.encode_texts)

    def cut_texts(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of the texts whose end the text encoder does not read."""
        return cut_texts(self.tokenizer, texts)

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Encode texts: (n, dim of `embedding`), unnormalised, a few hundred at a time."""
        encode = unnormalised(self.module.encode_text)
        device = _device(self.module)
        chunks: list[torch.Tensor] = []
        with undisturbed(self.module):
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                part = list(texts[start : start + TEXTS_AT_ONCE])
                tokens = self.tokenizer(part)
                if not hasattr(tokens, "to"):
                    raise ModelError(
                        f"The tokenizer of the model {self.info.name!r} returned {type(tokens).__name__}; it must "
                        "return a tensor of tokens, (n, length), as those of open_clip do."
                    )
                found = encode(tokens.to(device))
                chunks.append(embeddings_of(found, len(part), self.info.name, self.info.layers[EMBEDDING]))
        if not chunks:
            return torch.empty((0, self.info.layers[EMBEDDING]), device=device)
        return torch.cat(chunks)


@dataclass
class Mark:
    """What decides the features of a live network: it is looked at when the network is wrapped, and at each evaluation.

    rule: how layers are read; source: anything else that decides the features.
    """

    module: nn.Module
    preprocess: Preprocess
    tokenizer: Tokenizer | None
    rule: str
    source: str
    _seen: str = ""
    _weights: str = ""
    _values: str = ""

    def update(self, info: ModelInfo) -> ModelInfo:
        """Return `info` with the fingerprint, the weights and what is not described, as they are now."""
        seen = glance(self.module)
        if seen != self._seen:
            self._seen, self._weights, self._values = seen, state_digest(self.module), identify(self.module).digest
        parts = {
            "architecture": identify(self.module, without=("_parameters", "_buffers")),
            "preprocessing": identify(self.preprocess),
            "tokenizer": identify(self.tokenizer),
        }
        digests = {name: part.digest for name, part in parts.items()}
        now = fingerprint(backend="module", weights=self._values, layers=self.rule, source=self.source, **digests)
        unknown = dict.fromkeys(what for part in parts.values() for what in part.unknown)
        logits = logits_of(self.module) if self.tokenizer is not None else None
        scale = {"logit_scale": logits.scale, "logit_bias": logits.bias or None} if logits else {}
        return info.model_copy(
            update=scale | {"fingerprint": now, "weights": self._weights, "not_described": tuple(unknown)}
        )


@dataclass(frozen=True)
class Network:
    """A network that has encoded one grey image, and what that told: layers with their dimensions, and input size.

    rule: how `penultimate` is read, readable.
    """

    module: nn.Module
    preprocess: Preprocess
    read: LayerFunction
    rule: str
    layers: Mapping[str, int]
    input_size: int

    def as_model(
        self,
        resolved: ResolvedModel,
        tokenizer: Tokenizer | None,
        *,
        fingerprint: str,
        weights: str,
        preprocessing: str,
        warnings: Sequence[str] = (),
        **details: Any,
    ) -> TorchImageModel:
        """Return the model, with texts if it has a tokenizer and an embedding. The keywords: fields of ModelInfo."""
        found, alias = activations(self.module), resolved.alias
        logits = logits_of(self.module) if tokenizer is not None else None
        info = ModelInfo(
            name=resolved.name,
            slug=resolved.slug,
            backend=resolved.backend,
            fingerprint=fingerprint,
            input_size=self.input_size,
            layers=dict(self.layers),
            parameters=image_parameters(self.module),
            gflops=alias.gflops if alias and resolved.image_size is None else None,
            activation=chosen_activation(found),
            weights=weights,
            weight_fidelity=alias.weight_fidelity if alias else "unknown",
            preprocessing=preprocessing,
            published=alias.published if alias else None,
            logit_scale=logits.scale if logits else None,
            logit_bias=logits.bias if logits and logits.bias else None,
            warnings=tuple(warnings),
            details={"penultimate": self.rule, "activations": found, **_texts(tokenizer), **details},
        )
        if tokenizer is None or EMBEDDING not in self.layers:
            return TorchImageModel(self.module, self.preprocess, info, self.read)
        return TorchImageTextModel(self.module, self.preprocess, info, self.read, tokenizer)


def _texts(tokenizer: Tokenizer | None) -> dict[str, Any]:
    rules = text_rules(tokenizer) if tokenizer is not None else None
    return {"texts": asdict(rules)} if rules else {}


def examine(module: nn.Module, preprocess: Preprocess, name: str) -> Network:
    """Encode one grey image; ModelError where the preprocessing or the features have another form than they must."""
    read, rule = layer_function(module)
    image: Any = preprocess(Image.new("RGB", GREY_SIZE, (127, 127, 127)))
    if not isinstance(image, torch.Tensor) or image.ndim != 3:
        found = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise ModelError(
            f"the model {name!r}: preprocess must turn an image into a (channels, height, width) tensor, not {found}."
        )
    with undisturbed(module):
        layers = layer_sizes(read(module)(_as_parameters(image[None], module)), name)
    return Network(module, preprocess, read, rule, layers, max(image.shape[-2:]))


def wrap_module(
    module: nn.Module,
    preprocess: Preprocess,
    tokenizer: Tokenizer | None = None,
    *,
    name: str,
    slug: str | None = None,
    source: str = "",
    backend: BackendName = "module",
) -> TorchImageModel:
    """Make a model of a torch module, on the device and in the mode it is in.

    module: with `encode_image` (and `encode_text`) as open_clip and CLIP have them, or a timm network, or any
    module that turns (n, 3, height, width) into (n, dim) features. Weights, code and values are read for the
    fingerprint here and again at every evaluation; of a network that FSDP shards, a whole copy as it is now, on every
    process, all of which have to call this. source: anything else that decides the features.
    Raises UsageError or ModelError saying what does not fit.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"the model {name!r}: a torch module was expected, not {type(module).__name__}.")
    module = unwrapped(module)
    if not callable(preprocess):
        raise UsageError(f"the model {name!r}: preprocess must be a function of an image, not {preprocess!r}.")
    if tokenizer is not None and not callable(getattr(module, "encode_text", None)):
        raise UsageError(f"the model {name!r} has a tokenizer, but its module has no encode_text(tokens).")
    network = examine(module, preprocess, name)
    resolved = ResolvedModel(name, slug or slugify(name), backend, name)
    model = network.as_model(resolved, tokenizer, fingerprint="", weights="", preprocessing=readable(preprocess))
    texts = tokenizer if EMBEDDING in network.layers else None
    model.mark = Mark(module, preprocess, texts, network.rule, source)
    model.refresh()
    return model


def device_of_live(model: ImageModel) -> torch.device | None:
    """Return where the network of a caller is; None for a model that belongs to the run, or has no parameters."""
    if not isinstance(model, TorchImageModel) or model.mark is None:
        return None
    parameter = next(model.module.parameters(), None)
    return None if parameter is None else parameter.device


def halved(model: ImageModel) -> ImageModel | None:
    """Return the model with a copy of its image tower that is fp16 throughout, as OpenAI's code runs CLIP on a GPU.

    None where the tower is no vision transformer of CLIP, and for a live network, of which nobody knows what has been
    put into it: autocast knows better what these need.
    """
    if not isinstance(model, TorchImageModel) or model.mark is not None:
        return None
    tower = _image_encoder(model.module)
    if kind_of_tower(tower) not in PROJECTING_TOWERS or any(value.is_floating_point() for value in tower.buffers()):
        return None
    # The copy is given its weights: it never takes the memory of float32 ones.
    weights = {id(value): nn.Parameter(value.detach().half(), requires_grad=False) for value in tower.parameters()}
    module = copy.copy(model.module)
    module._modules = {**module._modules, "visual": copy.deepcopy(tower, weights)}
    return replace(model, module=module)


def shareable(model: ImageModel) -> bool:
    """Tell whether several threads may encode with a model at a time: networks that keep nothing of a call.

    transformers changes modules while it collects the layers of a call; of a network of somebody's own nobody knows.
    """
    own = not isinstance(model, TorchImageModel) or model.mark is not None or model.compiled is not None
    return not own and model.info.backend in ("open_clip", "timm", "torchvision", "pocket")


def compiled(model: ImageModel) -> ImageModel:
    """Return the model with its network compiled by torch; one that is no torch module stays as it is."""
    if not isinstance(model, TorchImageModel):
        return model
    # Not the network itself: what is compiled keeps the modules, and the caller's own stays as it was.
    return replace(model, compiled=torch.compile(model.layers(model.module)))


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the network inside torch's wrappers; of one that is sharded by FSDP, a whole copy."""
    module = bare(module)
    return whole(module) if is_sharded(module) else module


def bare(module: nn.Module) -> nn.Module:
    """Return the network inside torch's wrappers for several devices and for compiled code: they hide its layers."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(compiled := getattr(module, "_orig_mod", None), nn.Module):
            module = compiled
        else:
            return module


def image_parameters(module: nn.Module) -> int:
    """Count the parameters of the image encoder: without a text tower, without a classifier of timm."""
    encoder: Any = _image_encoder(module)
    total = sum(parameter.numel() for parameter in encoder.parameters())
    classifier = encoder.get_classifier() if hasattr(encoder, "get_classifier") else None
    if isinstance(classifier, nn.Module):
        total -= sum(parameter.numel() for parameter in classifier.parameters())
    return int(total)


def _image_encoder(module: nn.Module) -> nn.Module:
    tower = getattr(module, "visual", None)
    return tower if isinstance(tower, nn.Module) else module


def _as_parameters(batch: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """Bring a batch to the device and the precision of the network."""
    for parameter in _image_encoder(module).parameters():
        if parameter.is_floating_point():
            return batch.to(parameter.device, parameter.dtype)
    return batch


def _device(module: nn.Module) -> torch.device:
    parameter = next(module.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")
