"""Text embeddings, stored by (model, precision, texts)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from evalsuite import atomic
from evalsuite.features.sums import digest, owner

TextEncoder = Callable[[Sequence[str]], torch.Tensor]

TEXTS = "texts"
"""Folder of the text embeddings of a model, next to its pools."""

_LOG = logging.getLogger(__name__)


class DamagedTextsError(ValueError):
    """A file of text embeddings is not what was written; the text says how."""


def text_embeddings(folder: Path, texts: Sequence[str], encode: TextEncoder) -> torch.Tensor:
    """Return the (len(texts), dim) float32 embeddings of `texts`, computing them once.

    folder: of one model and precision. encode: called only when they are not stored, or damaged, which is told.
    """
    name = hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()
    path = folder / f"{name[:32]}.safetensors"
    if path.is_file():
        try:
            found, _ = read_texts(path)
            if len(found) == len(texts):
                return found
            problem = f"{len(found)} rows for {len(texts)} texts"
        except DamagedTextsError as error:
            problem = str(error)
        _LOG.warning("%s is damaged (%s): these texts are encoded again.", path, problem)
    embedding = encode(texts).detach().to("cpu", torch.float32).contiguous()
    sums = {"of": _owner(path), "digest": _digest(path, embedding)}
    atomic.write_bytes(path, save({"embedding": embedding}, sums))
    return embedding


def read_texts(path: Path) -> tuple[torch.Tensor, bool]:
    """Return embeddings, and whether they have a checksum, which 0.1.0 did not write; DamagedTextsError if damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            sums = file.metadata()
            embedding = file.get_tensor("embedding")
    except (SafetensorError, ValueError, TypeError) as error:
        raise DamagedTextsError(" ".join(str(error).split())) from error
    if embedding.ndim != 2 or embedding.dtype != torch.float32 or not bool(torch.isfinite(embedding).all()):
        raise DamagedTextsError("it holds no rows of finite float32")
    if sums is None:
        return embedding, False
    if sums.get("of") != _owner(path):
        raise DamagedTextsError("it is of other texts, or of another model")
    if sums.get("digest") != _digest(path, embedding):
        raise DamagedTextsError("its bytes are not those that were written")
    return embedding, True


def _owner(path: Path) -> str:
    return f"{owner(path.parent)}/{path.stem}"


def _digest(path: Path, embedding: torch.Tensor) -> str:
    return digest([_owner(path), str(tuple(embedding.shape)), embedding.numpy()])
