"""What a model must offer: four names, documented with shapes.

Nobody needs a base class of ours. Any object that has `info`, `preprocess` and `encode_images` is an
`ImageModel`; one that also has `encode_texts` is an `ImageTextModel` and can be evaluated zero-shot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:  # a plan and a leaderboard read ModelInfo without torch
    import torch
    from PIL import Image

PENULTIMATE = "penultimate"
"""The layer a linear probe reads: before the projection for CLIP ViTs (paper, appendix A.3)."""

EMBEDDING = "embedding"
"""The joint image-text space that zero-shot classification reads."""

Preprocess: TypeAlias = "Callable[[Image.Image], torch.Tensor]"
"""Turns one PIL image of any mode into a (channels, height, width) float32 tensor."""

WeightFidelity = Literal["exact", "same-recipe", "unknown"]


class ModelInfo(BaseModel):
    """What is recorded about a model in every result.

    `fingerprint` covers the weights, the preprocessing and the layers: two models with the same
    fingerprint and precision give the same features.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    slug: str
    backend: str
    fingerprint: str
    input_size: int
    layers: dict[str, int] = Field(description="layer name -> feature dimension; 0: known once images are seen")
    parameters: int | None = None
    gflops: float | None = Field(default=None, description="GFLOPs (1e9 multiply-adds x 2) per image, counted")
    activation: str | None = Field(default=None, description="'quickgelu', 'gelu', 'relu' ... where it is a choice")
    weights: str = Field(default="", description="where the weights came from: tag, hub commit, or sha256")
    weight_fidelity: WeightFidelity = "unknown"
    preprocessing: str = Field(default="", description="the preprocessing, readable")
    published: str | None = Field(default=None, description="slug of this model's row in the paper's tables")
    details: dict[str, Any] = Field(default_factory=dict)


@runtime_checkable
class ImageModel(Protocol):
    """An image encoder with its preprocessing.

    A model that has a `to(device)` method is moved to the device of the run; batches arrive there.
    """

    @property
    def info(self) -> ModelInfo:
        """Name, sizes, layers and fingerprint of this model."""

    @property
    def preprocess(self) -> Preprocess:
        """Turn one PIL image of any mode into a (channels, height, width) float32 tensor."""

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Encode preprocessed images.

        batch: (n, channels, height, width) float32 on the model's device.
        Returns every layer of `info.layers` as an (n, dim) float tensor, unnormalised.
        """


@runtime_checkable
class ImageTextModel(ImageModel, Protocol):
    """An image encoder whose `embedding` layer shares a space with a text encoder."""

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Encode texts into (n, dim of `embedding`) float, unnormalised, on the model's device."""
