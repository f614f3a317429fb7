"""Build the pocket model from its three files, and encode with it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from open_clip import SimpleTokenizer
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from evalsuite.errors import ModelError
from evalsuite.models.base import EMBEDDING, PENULTIMATE, ModelInfo
from evalsuite.models.layers import embedding_layers
from evalsuite.models.modules import TorchImageTextModel
from evalsuite.models.pocket import CONFIG_FILE, MERGES_FILE, WEIGHTS_FILE, pocket_fingerprint, read_part
from evalsuite.models.preprocessing import Finish, Recipe, RgbSquare
from evalsuite.models.skeletons import Skeleton, without_weights
from evalsuite.models.text_rules import text_rules
from evalsuite.records import first_problem


class PocketConfig(BaseModel):
    """What `config.json` holds: open_clip's configuration, the preprocessing, and counted sizes.

    `mean` and `std` normalise values in [0, 1], the same in all three channels. `gflops` counts one image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    embed_dim: int
    vision_cfg: dict[str, Any]
    text_cfg: dict[str, Any]
    mean: float
    std: float
    gflops: float | None = None

    @property
    def image_size(self) -> int:
        """Side of the square that images are resized to."""
        return int(self.vision_cfg["image_size"])


def pocket_preprocess(config: PocketConfig) -> Recipe:
    """Make the preprocessing, of which (3, side, side) float32 tensors come: RGB, resize, normalise."""
    return Recipe((RgbSquare(config.image_size),), Finish((config.mean,), (config.std,)))


def build_clip(config: PocketConfig) -> CLIP:
    """Build the network with fresh weights, in training mode."""
    try:
        return CLIP(config.embed_dim, CLIPVisionCfg(**config.vision_cfg), CLIPTextCfg(**config.text_cfg))
    except TypeError as error:
        raise ModelError(
            f"open_clip does not take this {CONFIG_FILE}: {error}. Install open_clip_torch >= 2.30."
        ) from error


def build_tokenizer(merges: Path, config: PocketConfig) -> SimpleTokenizer:
    """Build open_clip's byte-level tokenizer from learned merges."""
    return SimpleTokenizer(bpe_path=str(merges), context_length=config.text_cfg["context_length"])


def load_from(folder: Path) -> TorchImageTextModel:
    """Load configuration, tokenizer and weights from a folder, in float32 on the CPU.

    The attention pool of its ModifiedResNet ends in the projection to the joint space, so `penultimate` and
    `embedding` are the same numbers, as for CLIP's own ResNets.
    """
    config = _read_config(folder)
    read_part(folder, MERGES_FILE)  # a missing file is reported in our words
    tokenizer = build_tokenizer(folder / MERGES_FILE, config)
    if tokenizer.vocab_size != config.text_cfg["vocab_size"]:
        raise ModelError(
            f"{folder / MERGES_FILE} gives {tokenizer.vocab_size} tokens but {CONFIG_FILE} says "
            f"{config.text_cfg['vocab_size']}: the files are of different trainings. Take all from one."
        )
    weights = read_part(folder, WEIGHTS_FILE)
    clip = _load_weights(build_clip(config), weights, folder)
    info = _describe(config, clip, pocket_fingerprint(folder), weights)
    return TorchImageTextModel(clip, pocket_preprocess(config), info, embedding_layers, tokenizer)


def about(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield what is known of the model in a folder without loading it: lines for a person."""
    config = _read_config(folder)
    yield "weights", _weights(read_part(folder, WEIGHTS_FILE))
    rules = text_rules(build_tokenizer(folder / MERGES_FILE, config))
    yield "texts", "unknown" if rules is None else str(rules)
    yield "preprocessing", _preprocessing(config)


def skeleton_from(folder: Path) -> Skeleton:
    """Return the network that the configuration in a folder describes, without weights."""
    config = _read_config(folder)
    with without_weights():
        return Skeleton(build_clip(config), (3, config.image_size, config.image_size))


def _read_config(folder: Path) -> PocketConfig:
    try:
        return PocketConfig.model_validate(json.loads(read_part(folder, CONFIG_FILE)))
    except ValidationError as error:
        raise ModelError(f"{folder / CONFIG_FILE} is not a pocket configuration: {first_problem(error)}.") from error
    except ValueError as error:
        raise ModelError(f"{folder / CONFIG_FILE} is not a pocket configuration: {error}.") from error


def _load_weights(clip: CLIP, weights: bytes, folder: Path) -> CLIP:
    """Fill the network; a name or a shape that differs is an error."""
    try:
        state = load_safetensors(weights)
        clip.load_state_dict(state, strict=True)  # copies float16 values into float32 parameters
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{folder / WEIGHTS_FILE} does not fit {folder / CONFIG_FILE}: {error}. "
            "Reinstall evalsuite, or take both files from one training."
        ) from error
    return clip.eval().requires_grad_(False)


def _describe(config: PocketConfig, clip: CLIP, fingerprint: str, weights: bytes) -> ModelInfo:
    return ModelInfo(
        name="pocket",
        slug="pocket",
        backend="pocket",
        fingerprint=fingerprint,
        input_size=config.image_size,
        layers={PENULTIMATE: config.embed_dim, EMBEDDING: config.embed_dim},
        parameters=sum(parameter.numel() for parameter in clip.parameters()),
        gflops=config.gflops,
        activation="relu",
        weights=_weights(weights),
        weight_fidelity="exact",
        logit_scale=math.exp(float(clip.logit_scale.detach())),
        preprocessing=_preprocessing(config),
        details={"text_activation": "gelu"},
    )


def _weights(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()[:12]}"


def _preprocessing(config: PocketConfig) -> str:
    side = config.image_size
    return f"RGB, {side} x {side} bilinear, (x / 255 - {config.mean}) / {config.std}"
