"""Models of your own, as `evalsuite run -m my_model.py:FACTORY` takes them. docs/models.md says what is possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

SIDE = 16
COLOURS = ("red", "green", "blue")


def preprocess(image: Image.Image) -> Tensor:
    """Turn one image of any mode into (3, 16, 16) float32 in [0, 1]."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(small, dtype=np.float32) / 255).permute(2, 0, 1)


class ColourModel(nn.Module):
    """A toy with both towers: an image is how much it deviates from grey, a text is the colours it names."""

    def encode_image(self, images: Tensor) -> Tensor:
        """Map (n, 3, height, width) to (n, 3)."""
        return (images - images.mean(dim=1, keepdim=True)).mean(dim=(2, 3))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Map (n, 3) counts of the three words to (n, 3)."""
        return tokens - tokens.mean(dim=1, keepdim=True)


def tokenizer(texts: Sequence[str]) -> Tensor:
    """Count the names of colours in each text: (n, 3) float32."""
    return torch.tensor([[float(text.split().count(colour)) for colour in COLOURS] for text in texts])


def colours() -> tuple[nn.Module, Callable[[Image.Image], Tensor], Callable[[Sequence[str]], Tensor]]:
    """Return (module, preprocess, tokenizer): the module has encode_image and encode_text, as CLIP has."""
    return ColourModel(), preprocess, tokenizer


def network() -> tuple[nn.Module, Callable[[Image.Image], Tensor]]:
    """Return (module, preprocess): any module that maps images to (n, dim); there is no zero-shot result then."""
    torch.manual_seed(0)  # untrained weights, but the same each time: they are a part of the fingerprint
    convolution = nn.Conv2d(3, 8, kernel_size=5, stride=2)
    return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten()), preprocess
