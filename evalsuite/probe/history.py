"""The memory of L-BFGS for a batch of problems, and the product of its inverse Hessian with a vector.

With the last m pairs (s_i, y_i) of a problem, M its preconditioner and c a scale, the inverse Hessian is (Nocedal
and Wright, equation 7.24, with H0 = c M)

    H = c M + [S  c M Y] [ R^-T (D + c Y' M Y) R^-1   -R^-T ] [  S'   ]
                         [         -R^-1                 0  ] [ c Y' M ]

with R_ij = s_i' y_j for i not later than j, else 0, and D its diagonal. It is the same H as that of the two-loop
recursion, in a dozen operations on the whole batch in place of some two hundred: on small problems those took
more time than the evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PAIRS = 10
"""Pairs (s, y) kept; scikit-learn's L-BFGS keeps as many."""


class History:
    """Pairs of P problems of n variables, in a ring of slots each: slot j of a problem is its pair number
    j (mod PAIRS); empty slots are zero."""

    def __init__(self, n_problems: int, size: int, device: torch.device) -> None:
        self._s = torch.zeros(n_problems, PAIRS, size, dtype=torch.float64, device=device)
        self._y, self._my = torch.zeros_like(self._s), torch.zeros_like(self._s)
        self._sy = torch.zeros(n_problems, PAIRS, PAIRS, dtype=torch.float64, device=device)
        self._ymy = torch.zeros_like(self._sy)
        self._scale = torch.ones(n_problems, dtype=torch.float64, device=device)
        self.pairs = [0] * n_problems

    def keep(self, rows: list[int]) -> None:
        """Keep only these problems, in this order; one may be asked for twice."""
        self._s, self._y, self._my = self._s[rows], self._y[rows], self._my[rows]
        self._sy, self._ymy, self._scale = self._sy[rows], self._ymy[rows], self._scale[rows]
        self.pairs = [self.pairs[row] for row in rows]

    def forget(self, rows: Sequence[int]) -> None:
        """Drop all pairs of some problems."""
        index = list(rows)
        for part in (self._s, self._y, self._my, self._sy, self._ymy):
            part[index] = 0
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
        slots = [self.pairs[row] % PAIRS for row in rows]
        self._s[rows, slots], self._y[rows, slots], self._my[rows, slots] = s, y, my
        self._sy[rows, slots] = torch.bmm(self._of(self._y, rows), s.unsqueeze(2)).squeeze(2)
        self._sy[rows, :, slots] = torch.bmm(self._of(self._s, rows), y.unsqueeze(2)).squeeze(2)
        products = torch.bmm(self._of(self._y, rows), my.unsqueeze(2)).squeeze(2)
        self._ymy[rows, slots], self._ymy[rows, :, slots] = products, products
        self._scale[rows] = inner / scale
        for row in rows:
            self.pairs[row] += 1

    def pairs_of(self, rows: list[int]) -> Tensor:
        """Return all y of these problems: (B, PAIRS, n)."""
        return self._y[rows]

    def precondition_again(self, rows: list[int], my: Tensor) -> None:
        """Take M y (B, PAIRS, n) of all pairs after M has changed; the next pair sets the scale again."""
        self._my[rows] = my
        self._ymy[rows] = torch.bmm(self._y[rows], my.transpose(1, 2))

    def product(self, rows: list[int], g: Tensor, mg: Tensor) -> Tensor:
        """Return H g for gradients g (B, n) of these problems, given M g."""
        order = torch.tensor([[(self.pairs[row] + age) % PAIRS for age in range(PAIRS)] for row in rows])
        order = order.to(g.device)
        across = order.unsqueeze(1).expand(-1, PAIRS, -1)
        down = order.unsqueeze(2).expand(-1, -1, PAIRS)
        scale = self._scale[rows][:, None]
        sy = self._of(self._sy, rows).gather(1, down).gather(2, across)
        ymy = self._of(self._ymy, rows).gather(1, down).gather(2, across)
        diagonal = sy.diagonal(dim1=1, dim2=2)
        # An empty slot has only zeros; a one on its diagonal keeps R invertible and changes nothing else.
        r = torch.triu(sy) + torch.diag_embed((diagonal == 0).to(sy.dtype))
        s, y, my = self._of(self._s, rows), self._of(self._y, rows), self._of(self._my, rows)
        p1 = torch.bmm(s, g.unsqueeze(2)).gather(1, order.unsqueeze(2))
        p2 = scale.unsqueeze(2) * torch.bmm(y, mg.unsqueeze(2)).gather(1, order.unsqueeze(2))
        w = torch.linalg.solve_triangular(r, p1, upper=True)
        middle = diagonal.unsqueeze(2) * w + scale.unsqueeze(2) * torch.bmm(ymy, w) - p2
        u = torch.linalg.solve_triangular(r.transpose(1, 2), middle, upper=False)
        u, w = (torch.zeros_like(u).scatter(1, order.unsqueeze(2), part) for part in (u, w))
        correction = torch.bmm(u.transpose(1, 2), s) - scale.unsqueeze(2) * torch.bmm(w.transpose(1, 2), my)
        return scale * mg + correction.squeeze(1)

    def _of(self, part: Tensor, rows: list[int]) -> Tensor:
        """Return a part of the memory for these problems; of all of them without a copy."""
        return part if rows == list(range(len(self.pairs))) else part[rows]
