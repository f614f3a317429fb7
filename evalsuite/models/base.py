"""What a model must offer: four names, documented with shapes.

Nobody needs a base class of ours. Any object that has `info`, `preprocess` and `encode_images` is an
`ImageModel`; one that also has `encode_texts` is an `ImageTextModel` and can be evaluated zero-shot.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from evalsuite.errors import INTERRUPTIONS, ModelError
from evalsuite.records import ModelInfo as ModelInfo  # part of what a model must offer

if TYPE_CHECKING:
    import torch
    from PIL import Image

PENULTIMATE = "penultimate"
"""The layer a linear probe reads: before the projection for CLIP ViTs (paper, appendix A.3)."""

EMBEDDING = "embedding"
"""The joint image-text space that zero-shot classification reads."""


@dataclass(frozen=True)
class Logits:
    """How a model makes a logit of a cosine: scale x cosine + bias, as it was trained.

    scale: 100 is that of the CLIP models, where it was clipped (paper, section 2.5). assumed: the model says none.
    """

    scale: float = 100.0
    bias: float = 0.0
    assumed: bool = False


UNKNOWN_LOGITS = Logits(assumed=True)
"""Of a model that says none."""

Preprocess: TypeAlias = "Callable[[Image.Image], torch.Tensor]"
"""Turns one PIL image of any mode into a (channels, height, width) float32 tensor."""


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

        batch: (n, channels, height, width) float32 on the model's device; its memory is used again for the next one.
        Returns every layer of `info.layers` as an (n, dim) float tensor, unnormalised.
        """


@runtime_checkable
class ImageTextModel(ImageModel, Protocol):
    """An image encoder whose `embedding` layer shares a space with a text encoder."""

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Encode texts into (n, dim of `embedding`) float, unnormalised, on the model's device."""


@contextmanager
def not_exiting(what: str) -> Iterator[None]:
    """Let somebody's code that ends a program fail alone: ModelError in place of sys.exit. what: whose code it is."""
    try:
        yield
    except (Exception, *INTERRUPTIONS):
        raise
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        does = "calls sys.exit" if isinstance(error, SystemExit) else f"raises {type(error).__name__}"
        raise ModelError(f"{what} {does}, at {last.filename}, line {last.lineno}.") from error


def move(model: object, device: torch.device | str) -> None:
    """Move a model to a device in place, if it has `to(device)`."""
    to = getattr(model, "to", None)
    if callable(to):
        to(device)
