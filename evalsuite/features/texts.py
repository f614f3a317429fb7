"""Text embeddings, stored by (model, precision, texts)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from evalsuite import atomic

TextEncoder = Callable[[Sequence[str]], torch.Tensor]


def text_embeddings(folder: Path, texts: Sequence[str], encode: TextEncoder) -> torch.Tensor:
    """Return the (len(texts), dim) float32 embeddings of `texts`, computing them once.

    folder: of one model and precision. encode: called only when they are not stored.
    """
    digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
    path = folder / f"{digest[:32]}.safetensors"
    if path.is_file():
        return load_file(path)["embedding"]
    embedding = encode(texts).detach().to("cpu", torch.float32).contiguous()
    atomic.write_bytes(path, save({"embedding": embedding}))
    return embedding
