"""Text embeddings, stored by (model, precision, texts)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from evalsuite import atomic
from evalsuite.features.sums import digest, owner


@dataclass(frozen=True)
class EmbeddedTexts:
    """Embeddings of texts, (n, dim). cut: the numbers of those whose end the encoder does not read, as far as known."""

    embedding: torch.Tensor
    cut: list[int] = field(default_factory=list)


TEXTS = "texts"
"""Folder of the text embeddings of a model, next to its pools."""

_LOG = logging.getLogger(__name__)


class DamagedTextsError(ValueError):
    """A file of text embeddings is not what was written; the text says how."""


TextEncoder = Callable[[Sequence[str]], EmbeddedTexts]


def text_embeddings(folder: Path, texts: Sequence[str], encode: TextEncoder) -> EmbeddedTexts:
    """Return `texts` with their float32 embeddings on the CPU, computing them once.

    folder: of one model and precision. encode: called only when they are not stored, or damaged, which is told.
    """
    name = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
    path = folder / f"{name[:32]}.safetensors"
    if path.is_file():
        try:
            found, _ = read_texts(path)
            if len(found.embedding) == len(texts):
                return found
            problem = f"{len(found.embedding)} rows for {len(texts)} texts"
        except DamagedTextsError as error:
            problem = str(error)
        _LOG.warning("%s is damaged (%s): these texts are encoded again.", path, problem)
    found = encode(texts)
    embedding = found.embedding.detach().to("cpu", torch.float32).contiguous()
    tensors = {"embedding": embedding, "cut": torch.tensor(found.cut, dtype=torch.int64)}
    atomic.write_bytes(path, save(tensors, {"of": _owner(path), "digest": _digest(path, tensors)}))
    return EmbeddedTexts(embedding, found.cut)


def read_texts(path: Path) -> tuple[EmbeddedTexts, bool]:
    """Return embeddings, and whether they have a checksum, which 0.1.0 did not write; DamagedTextsError if damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            sums = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        embedding = tensors["embedding"]
        cut = tensors["cut"].tolist() if "cut" in tensors else []
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise DamagedTextsError(" ".join(str(error).split())) from error
    if embedding.ndim != 2 or embedding.dtype != torch.float32 or not bool(torch.isfinite(embedding).all()):
        raise DamagedTextsError("it holds no rows of finite float32")
    if sums is not None and sums.get("of") != _owner(path):
        raise DamagedTextsError("it is of other texts, or of another model")
    if sums is not None and sums.get("digest") != _digest(path, tensors):
        raise DamagedTextsError("its bytes are not those that were written")
    return EmbeddedTexts(embedding, cut), sums is not None


def _owner(path: Path) -> str:
    return f"{owner(path.parent)}/{path.stem}"


def _digest(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    arrays = ((f"{name} {tuple(tensors[name].shape)}", tensors[name].numpy()) for name in sorted(tensors))
    return digest([_owner(path), *(part for pair in arrays for part in pair)])
