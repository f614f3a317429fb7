"""A small CLIP with random weights: `-m tests/paper/small_clip.py:factory`."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from PIL import Image
from torch import Tensor, nn

SIDE, WIDTH, EMBEDDING = 32, 32, 16

CONTEXT, WORDS = 24, 8192
END = WORDS - 1
"""The last token of a text; the text tower reads the output at the largest number."""


def preprocess(image: Image.Image) -> Tensor:
    """Turn an image of any mode into (3, 32, 32) in [-1, 1]."""
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(small, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def tokenizer(texts: list[str]) -> Tensor:
    """Return (n, 24) numbers of words, by a checksum: CLIP's own tokenizer takes half a minute for all prompts."""
    rows = [[crc32(word.encode()) % END for word in text.split()][: CONTEXT - 1] for text in texts]
    return torch.tensor([[*row, END, *[0] * (CONTEXT - 1 - len(row))] for row in rows])


def factory() -> tuple[nn.Module, Callable[[Image.Image], Tensor], Callable[[list[str]], Tensor]]:
    """Return (module, preprocess, tokenizer); the weights are the same each time."""
    vision = CLIPVisionCfg(layers=2, width=WIDTH, head_width=16, patch_size=8, image_size=SIDE)
    text = CLIPTextCfg(context_length=CONTEXT, vocab_size=WORDS, width=WIDTH, heads=2, layers=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = CLIP(EMBEDDING, vision, text)
    return module.eval(), preprocess, tokenizer
