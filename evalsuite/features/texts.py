"""Text embeddings, stored by (model, precision, texts)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from evalsuite import atomic


@dataclass(frozen=True)
class EmbeddedTexts:
    """Embeddings of texts, (n, dim). cut: the numbers of those whose end the encoder does not read, as far as known."""

    embedding: torch.Tensor
    cut: list[int] = field(default_factory=list)


TextEncoder = Callable[[Sequence[str]], EmbeddedTexts]


def text_embeddings(folder: Path, texts: Sequence[str], encode: TextEncoder) -> EmbeddedTexts:
    """Return `texts` with their float32 embeddings on the CPU, computing them once.

    folder: of one model and precision. encode: called only when they are not stored.
    """
    digest = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
    path = folder / f"{digest[:32]}.safetensors"
    if path.is_file():
        stored = load_file(path)
        return EmbeddedTexts(stored["embedding"], stored["cut"].tolist() if "cut" in stored else [])
    found = encode(texts)
    embedding = found.embedding.detach().to("cpu", torch.float32).contiguous()
    tensors = {"embedding": embedding, "cut": torch.tensor(found.cut, dtype=torch.int64)}
    atomic.write_bytes(path, save(tensors))
    return EmbeddedTexts(embedding, found.cut)
