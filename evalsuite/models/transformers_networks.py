"""Networks of transformers, with what evalsuite reads of them: the layers, and texts where there is a text encoder.

| type | penultimate | embedding |
|---|---|---|
| clip, altclip, chinese_clip, metaclip_2 | pooled token before the projection | after it |
| siglip | output of the attention pool | the same: there is no projection |
| clip_vision_model, siglip_vision_model | pooled output | none |
| vit, deit, vit_msn, dinov2, dinov2_with_registers, dinov3_vit | class token after the last LayerNorm | none |
| others | pooled output, the input of the classifier | none |
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from evalsuite.errors import MissingExtraError, ModelError
from evalsuite.models.base import EMBEDDING, PENULTIMATE
from evalsuite.models.checkpoints import first_line
from evalsuite.models.names import ResolvedModel
from evalsuite.models.repositories import CONFIG, TEXT_TYPES
from evalsuite.text import shortened

Reading = Literal["class token", "pooled"]

IMAGE_TYPES: Mapping[str, Reading] = {
    **dict.fromkeys(("vit", "deit", "vit_msn", "dinov2", "dinov2_with_registers", "dinov3_vit"), "class token"),
    **dict.fromkeys(
        ("beit", "data2vec-vision", "convnext", "convnextv2", "dinov3_convnext", "swin", "swinv2", "focalnet", "resnet",
         "regnet", "bit", "mobilenet_v1", "mobilenet_v2", "clip_vision_model", "siglip_vision_model"),
        "pooled",
    ),
}  # fmt: skip
"""transformers' `model_type` of an image encoder -> how its features are read."""

RULES: Mapping[Reading, str] = {
    "class token": "class token after the last LayerNorm",
    "pooled": "pooled output, the input of the classifier",
}

POOLERS: Mapping[str, bool] = {"vit": False, "deit": False, "beit": True, "data2vec-vision": True}
"""Whether a type has a pooler that classifiers read too; that of ViT is one layer more, which classifiers lack."""

MASKED = frozenset({"altclip", "chinese_clip"})
"""Types whose text encoder is told which tokens are padding. CLIP's cannot see what comes after the end, and SigLIP's
was trained to read the padding."""

LONGEST = 100_000
"""What a tokenizer says it reads at most is no limit from here on: transformers writes 1e30 where there is none."""


def library() -> Any:
    """Return transformers. Untyped on purpose: only some of its functions have types, by release."""
    return importlib.import_module("transformers")


class ImageNetwork(nn.Module):
    """An image encoder of transformers. options: of its forward pass; warnings: what a result should tell."""

    def __init__(self, network: nn.Module, reading: Reading, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.layer_rule = RULES[reading]
        self.warnings: tuple[str, ...] = ()
        self._reading = reading
        self._options = dict(options)

    def read_layers(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return {"penultimate": (n, dim)} of (n, 3, height, width)."""
        output = self.network(pixel_values=batch, return_dict=True, **self._options)
        if self._reading == "class token":
            return {PENULTIMATE: output.last_hidden_state[:, 0]}
        return {PENULTIMATE: output.pooler_output.flatten(1)}


class ImageTextNetwork(ImageNetwork):
    """Two encoders of transformers with one embedding space."""

    def __init__(self, network: Any, kind: str, options: Mapping[str, Any]) -> None:
        super().__init__(network, "pooled", options)
        self._projection = getattr(network, "visual_projection", None)
        self.visual = nn.ModuleList(part for part in (network.vision_model, self._projection) if part is not None)
        self.layer_rule = (
            "pooled token before the projection" if self._projection is not None else "the embedding: no projection"
        )
        self.masked = kind in MASKED
        self.text_config: Any = network.config.text_config
        self.vocab_size = int(self.text_config.vocab_size)
        self.padding = int(self.text_config.pad_token_id or 0)

    @property
    def logit_scale(self) -> Any:
        """The logarithm of the scale, as it was trained."""
        return self.network.logit_scale

    @property
    def logit_bias(self) -> Any:
        """The bias of SigLIP; None of others."""
        return getattr(self.network, "logit_bias", None)

    def read_layers(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return both layers of (n, 3, height, width)."""
        network: Any = self.network
        pooled = network.vision_model(pixel_values=batch, return_dict=True, **self._options).pooler_output
        return {PENULTIMATE: pooled, EMBEDDING: pooled if self._projection is None else self._projection(pooled)}

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return (n, dim) of (n, context) tokens."""
        network: Any = self.network
        mask = {"attention_mask": tokens.ne(self.padding).long()} if self.masked else {}
        found = network.get_text_features(input_ids=tokens, **mask)
        features: torch.Tensor = found if isinstance(found, torch.Tensor) else found.pooler_output
        return features


@dataclass(frozen=True)
class HubTokenizer:
    """A tokenizer of transformers: texts -> (n, context) tokens. padded: to the context, not to the longest of them."""

    tokenizer: Any
    context: int
    padded: bool

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Return the tokens, cut to the context."""
        padding = "max_length" if self.padded else "longest"
        made = self.tokenizer(
            list(texts), padding=padding, truncation=True, max_length=self.context, return_tensors="pt"
        )
        tokens: torch.Tensor = made["input_ids"]
        return tokens


def make_network(folder: Path, config: Mapping[str, Any], resolved: ResolvedModel) -> ImageNetwork:
    """Build the network with its weights, in float32; ModelError where the weights lack something that is read."""
    kind = str(config["model_type"])
    pooler = {"add_pooling_layer": POOLERS[kind]} if kind in POOLERS else {}
    try:
        network, told = library().AutoModel.from_pretrained(
            str(folder),
            config=library().AutoConfig.from_pretrained(str(folder), local_files_only=True),
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            output_loading_info=True,
            **pooler,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, TypeError) as error:
        raise ModelError(f"{resolved.name}: {folder} cannot be loaded: {first_line(error)}") from error
    lacking = sorted({str(name) for name in told["missing_keys"]})
    other = sorted(str(name[0] if isinstance(name, tuple) else name) for name in told["mismatched_keys"])
    if lacking or other:
        kinds = (("lacks", lacking), ("has other sizes for", other))
        reasons = "; ".join(f"it {verb} {shortened(names, 3)}" for verb, names in kinds if names)
        raise ModelError(f"{resolved.name}: the weights in {folder} do not fit its config.json: {reasons}.")
    return wrapped(network.float(), kind, resolved.image_size)


def wrapped(network: Any, kind: str, image_size: int | None) -> ImageNetwork:
    """Return a network of transformers with its layers."""
    forward = network.vision_model.forward if kind in TEXT_TYPES else network.forward
    stretches = "interpolate_pos_encoding" in inspect.signature(forward).parameters
    options = {"interpolate_pos_encoding": True} if image_size is not None and stretches else {}
    if kind in TEXT_TYPES:
        return ImageTextNetwork(network, kind, options)
    return ImageNetwork(network, IMAGE_TYPES[kind], options)


def empty_network(resolved: ResolvedModel) -> ImageNetwork:
    """Build the network of a configuration that is on this machine, without its weights."""
    place = resolved.repository.find(CONFIG) if resolved.repository else None
    if place is None:
        raise ModelError(f"{resolved.name}: its configuration is not on this machine.")
    config = library().AutoConfig.from_pretrained(str(place.parent), local_files_only=True)
    kind = config.model_type
    pooler = {"add_pooling_layer": POOLERS[kind]} if kind in POOLERS else {}
    return wrapped(library().AutoModel.from_config(config, **pooler), kind, resolved.image_size)


def make_tokenizer(folder: Path, network: ImageNetwork, name: str) -> HubTokenizer | None:
    """Return the tokenizer of a network with texts, with its own rules."""
    if not isinstance(network, ImageTextNetwork):
        return None
    tokenizer = _read_tokenizer(folder, name)
    if tokenizer.pad_token_id is not None:
        network.padding = int(tokenizer.pad_token_id)
    return HubTokenizer(tokenizer, _context(tokenizer, network.text_config), padded=not network.masked)


def text_context(folder: Path, name: str) -> str:
    """Return the rules of a tokenizer, readable."""
    tokenizer = _read_tokenizer(folder, name)
    text = library().AutoConfig.from_pretrained(str(folder), local_files_only=True).text_config
    return f"context {_context(tokenizer, text)}, tokenizer {type(tokenizer).__name__}"


def _context(tokenizer: Any, text: Any) -> int:
    """Return the tokens of a text: what the tokenizer says, at most what there are positions for."""
    positions = int(text.max_position_embeddings)
    if "roberta" in str(text.model_type) or text.model_type == "altclip_text_model":
        positions -= int(text.pad_token_id) + 1  # the first position is that after the padding's
    said = int(tokenizer.model_max_length)
    return min(said, positions) if said < LONGEST else positions


def _read_tokenizer(folder: Path, name: str) -> Any:
    try:
        return library().AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except ImportError as error:
        package = "sentencepiece" if "sentencepiece" in str(error).casefold() else "transformers"
        raise MissingExtraError(package, "transformers", f"The tokenizer of {name}") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{name}: the tokenizer in {folder} cannot be read: {first_line(error)}") from error
