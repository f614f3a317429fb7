"""The memory of L-BFGS for a batch of problems, and the product of its inverse Hessian with a vector.

With the last m pairs (s_i, y_i) of a problem, each scaled so that s_i' y_i = 1, M its preconditioner and c a scale, the
inverse Hessian is (Nocedal and Wright, equation 7.24, with H0 = c M)

    H = c M + [ S'  M Y' ] Q [  S  ]      Q = [ R^-T (I + c Y M Y') R^-1   -c R^-T ]
                             [ Y M ]          [         -c R^-1                0   ]

with the pairs as rows of S and Y and R_ij = s_i' y_j for i not later than j, else 0. It is the same H as that of the
two-loop recursion, in a few operations on the whole batch in place of some two hundred: on small problems those took
more time than the evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PAIRS = 10
"""Pairs (s, y) kept; scikit-learn's L-BFGS keeps as many."""


class Direction:
    """Pairs of P problems of n variables, in a ring of slots each: pair number j is in slot j (mod the slots);
    empty slots are zero. Rows, in its methods, are problems by position, rising, none twice."""

    def __init__(self, n_problems: int, size: int, device: torch.device) -> None:
        self._slots = slots = PAIRS
        # Y, S and M Y.
        self._parts = torch.zeros(n_problems, 3, slots, size, dtype=torch.float64, device=device)
        self._sy = torch.eye(slots, dtype=torch.float64, device=device).repeat(n_problems, 1, 1)
        self._ymy = torch.zeros_like(self._sy)
        self._scale = torch.ones(n_problems, dtype=torch.float64, device=device)
        self._middle = torch.zeros(n_problems, 2 * slots, 2 * slots, dtype=torch.float64, device=device)
        self.pairs = [0] * n_problems
        slot = torch.arange(slots, device=device)
        # not_later[h]: with the newest pair in slot h, whether slot i's is not later than slot j's.
        age = (slot[:, None] - slot[None, :]) % slots
        self._not_later = age[:, :, None] >= age[:, None, :]
        self._identity = self._sy[0].clone() if n_problems else self._sy.new_zeros(slots, slots)

    def keep(self, rows: list[int]) -> None:
        """Keep only these problems, in this order."""
        self._parts, self._sy, self._ymy = self._parts[rows], self._sy[rows], self._ymy[rows]
        self._scale, self._middle = self._scale[rows], self._middle[rows]
        self.pairs = [self.pairs[row] for row in rows]

    def forget(self, rows: Sequence[int]) -> None:
        """Drop all pairs of some problems."""
        index = list(rows)
        for part in (self._parts, self._ymy, self._middle):
            part[index] = 0
        self._sy[index] = self._identity
        self._scale[index] = 1
        for row in index:
            self.pairs[row] = 0

    def push(self, rows: list[int], s: Tensor, y: Tensor, my: Tensor) -> None:
        """Add a pair (B, n) and M y to each of these problems; a pair that rounding has spoilt is left out."""
        inner, scale = (s * y).sum(dim=1), (y * my).sum(dim=1)
        # Convexity makes both positive.
        useful = ((inner > 0) & (scale > 0) & torch.isfinite(inner / scale)).tolist()
        if not all(useful):
            kept = [i for i, good in enumerate(useful) if good]
            rows, s, y, my = [rows[i] for i in kept], s[kept], y[kept], my[kept]
            inner, scale = inner[kept], scale[kept]
        if not rows:
            return
        slots = [self.pairs[row] % self._slots for row in rows]
        for row in rows:
            self.pairs[row] += 1
        root = inner.rsqrt()[:, None]
        y = y * root
        # Slices cost a tenth of lists of indices, and problems that go in step are the rule.
        in_step = len(rows) == len(self.pairs) and len(set(slots)) == 1
        where: slice | list[int] = slice(None) if in_step else rows
        slot: int | list[int] = slots[0] if in_step else slots
        self._parts[where, :, slot] = torch.stack([y, s * root, my * root], dim=1)
        products = torch.bmm(self._right(rows), y.unsqueeze(2)).squeeze(2)
        with_s, with_my = products[:, : self._slots], products[:, self._slots :]
        self._sy[where, :, slot] = with_s
        self._ymy[where, slot], self._ymy[where, :, slot] = with_my, with_my
        self._scale[where] = inner / scale
        self._update(rows, slots)

    def pairs_of(self, rows: list[int]) -> Tensor:
        """Return all y of these problems: (B, slots, n)."""
        return self._parts[rows, 0]

    def precondition_again(self, rows: list[int], my: Tensor) -> None:
        """Take M y (B, slots, n) of all pairs after M has changed."""
        self._parts[rows, 2] = my
        self._ymy[rows] = torch.bmm(self._parts[rows, 0], my.transpose(1, 2))
        newest = [(self.pairs[row] - 1) % self._slots for row in rows]
        along = self._ymy[rows, newest, newest]
        self._scale[rows] = torch.where(along > 0, 1 / along, self._scale[rows])
        self._update(rows, newest)

    def product(self, rows: list[int], g: Tensor, mg: Tensor) -> Tensor:
        """Return H g for gradients g (B, n) of these problems, given M g."""
        right, scale = self._right(rows), self._of(self._scale, rows)[:, None]
        inner = torch.bmm(self._of(self._middle, rows), torch.bmm(right, g.unsqueeze(2)))
        return scale * mg + torch.bmm(inner.transpose(1, 2), right).squeeze(1)

    def _update(self, rows: list[int], newest: list[int]) -> None:
        """Make Q of these problems again."""
        not_later = self._not_later[newest] if len(set(newest)) > 1 else self._not_later[newest[0]]
        where: slice | list[int] = slice(None) if len(rows) == len(self.pairs) else rows
        scale = self._of(self._scale, rows)[:, None, None]
        inverse = torch.linalg.inv_ex(self._of(self._sy, rows) * not_later).inverse
        transposed = inverse.transpose(1, 2)
        inner = transposed @ (self._identity + scale * self._of(self._ymy, rows)) @ inverse
        inverse = -scale * inverse
        zero = torch.zeros_like(inverse)
        top, bottom = torch.cat([inner, inverse.transpose(1, 2)], dim=2), torch.cat([inverse, zero], dim=2)
        self._middle[where] = torch.cat([top, bottom], dim=1)

    def _right(self, rows: list[int]) -> Tensor:
        """Return S and Y M, one above the other: (B, 2 slots, n)."""
        return self._of(self._parts, rows)[:, 1:].flatten(1, 2)

    def _of(self, part: Tensor, rows: list[int]) -> Tensor:
        """Return a part of the memory for these problems; of all of them without a copy."""
        return part if len(rows) == len(self.pairs) else part[rows]
