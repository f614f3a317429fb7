"""A small CLIP with random weights: `-m tests/paper/small_clip.py:factory`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from open_clip import get_tokenizer
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from PIL import Image
from torch import Tensor, nn

SIDE, WIDTH, EMBEDDING = 32, 32, 16

_TOKENIZER = get_tokenizer("ViT-B-32")


def preprocess(image: Image.Image) -> Tensor:
    """Turn an image of any mode into (3, 32, 32) in [-1, 1]."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(small, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def tokenizer(texts: list[str]) -> Tensor:
    """Return (n, 77) token numbers of CLIP's vocabulary."""
    tokens: Tensor = _TOKENIZER(texts)
    return tokens


def factory() -> tuple[nn.Module, Callable[[Image.Image], Tensor], Callable[[list[str]], Tensor]]:
    """Return (module, preprocess, tokenizer); the weights are the same each time."""
    vision = CLIPVisionCfg(layers=2, width=WIDTH, head_width=16, patch_size=8, image_size=SIDE)
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=WIDTH, heads=2, layers=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = CLIP(EMBEDDING, vision, text)
    return module.eval(), preprocess, tokenizer
