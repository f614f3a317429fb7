"""The nearest rows by cosine: exact, in chunks, on any device. Tensors only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evalsuite.precision import exact_products

BANK_BYTES = 128 << 20
"""Rows of the bank that are normalised at a time: 65,536 of 512 dimensions. More blocks mean more merging."""

CPU_BLOCK_BYTES = 64 << 20
ACCELERATOR_BLOCK_BYTES = 1 << 30
"""Similarities that are there at a time."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of each query, nearest first.

    similarity: (n, k) float32, the cosine; rows: (n, k) int64 into the bank.
    """

    similarity: Tensor
    rows: Tensor


def nearest(queries: Tensor, bank: Tensor, k: int, *, rows: Tensor | None = None) -> Neighbours:
    """Return the k rows of the bank with the highest cosine to each query, fewer where it has fewer.

    queries: (n, D), bank: (N, D), floating point of any width, on any devices; the work is done on that of the queries,
    in float32. rows: (m,) int64, the rows of the bank that count, without a copy of them; the result names them by
    their place in `rows`.
    """
    size, step = len(bank) if rows is None else len(rows), max(1, BANK_BYTES // (4 * bank.shape[1]))
    found: list[Neighbours] = []
    with torch.no_grad(), exact_products():
        for start in range(0, size, step):
            span = slice(start, start + step)
            block = bank[span] if rows is None else bank[rows[span]]
            # Taking rows has copied them: nobody else sees what is done to the block.
            block = block.to(queries.device, torch.float32, copy=rows is None)
            part = _of_block(queries, block.div_(_lengths(block)), k)
            part = Neighbours(part.similarity, part.rows + start)
            found = [merged(found[0], part, k) if found else part]
    if not found:
        nothing = torch.empty(len(queries), 0, device=queries.device)
        return Neighbours(nothing, nothing.long())
    return found[0]


def unit(vectors: Tensor) -> Tensor:
    """Return (n, D) vectors in float32 with a length of one each; a vector of zeros stays."""
    wide = vectors.float()
    return wide.div(_lengths(wide))


def _lengths(vectors: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return found.clamp_(min=torch.finfo(torch.float32).tiny)


def _of_block(queries: Tensor, block: Tensor, k: int) -> Neighbours:
    """Return the neighbours among the unit rows (m, D) of a block."""
    k = min(k, len(block))
    budget = CPU_BLOCK_BYTES if block.device.type == "cpu" else ACCELERATOR_BLOCK_BYTES
    step = max(1, budget // (4 * len(block)))
    similarity = torch.empty(len(queries), k, device=block.device)
    rows = torch.empty(len(queries), k, dtype=torch.int64, device=block.device)
    room = torch.empty(min(step, len(queries)), len(block), device=block.device)
    for start in range(0, len(queries), step):
        span = slice(start, start + step)
        part = unit(queries[span])
        torch.topk(torch.mm(part, block.T, out=room[: len(part)]), k, out=(similarity[span], rows[span]))
    return Neighbours(similarity, rows)


def merged(first: Neighbours, second: Neighbours, k: int) -> Neighbours:
    """Return the k nearest of two sets of neighbours of the same queries."""
    similarity = torch.cat([first.similarity, second.similarity], dim=1)
    best, place = similarity.topk(min(k, similarity.shape[1]))
    return Neighbours(best, torch.cat([first.rows, second.rows], dim=1).gather(1, place))
