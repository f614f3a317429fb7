"""The loss and gradient of many regularised logistic regressions at once, in one pass over the features.

Notation, here and in `solver.py`: N rows x_n of D features, P problems that share those rows
(one for each lambda, or for each lambda and class), K logits each. The parameters of a problem are W (K, D) and
b (K,), packed as theta (K, D + 1) with b last. A problem minimises

    F(W, b) = sum_n loss(W (x_n - mean) + b, y_n) + lambda / 2 |W|^2

which is scikit-learn's objective (lambda = 1 / C). Subtracting the mean changes nothing but b, because b is
free of the penalty: b + W mean is as good an intercept as b. It makes the problem better conditioned and
keeps float32 products accurate where features have a large common offset.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from evalsuite.errors import EvalsuiteError

CPU_BUFFER_BYTES = 8 << 20
"""Working memory of one chunk on a CPU: about what its caches hold; more is slower."""

ACCELERATOR_BUFFER_BYTES = 1 << 30
"""Working memory of one chunk on an accelerator: large enough to keep its matrix units busy."""

ROWS_MULTIPLE = 64
"""Rows of a chunk are a multiple of this, so that threads can share them."""

BUFFERS_PER_LOGIT = 4
"""Logits, exponentials, residuals and one temporary are alive at once in the softmax below."""

CURVATURE_ROWS = 8192
"""Rows, spread evenly, that a mean curvature is taken from at least: it only has to be about right."""

ROWS_PER_LOGIT = 10
"""And so many for each logit, so that the mean of K x K matrices has full rank."""


def working_dtype(features: Tensor) -> torch.dtype:
    """Return the precision of matrix products: float64 for float64 features, else float32."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class Design:
    """The rows of `features` that a fit uses, centred and read chunk by chunk, never copied whole.

    features: (n, D) floating point, on any device; rows: (N,) int64 indices into it, or None for all;
    mean: (D,) float64, what is subtracted from every row; dtype: the precision of matrix products; centred: the
    mean is zero, so that chunks are views.
    """

    features: Tensor
    rows: Tensor | None
    mean: Tensor
    dtype: torch.dtype = torch.float32
    centred: bool = False

    @classmethod
    def of(cls, features: Tensor, rows: Tensor | None) -> Design:
        """Take the mean of the rows; raise EvalsuiteError where one of them is not finite."""
        zeros = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
        raw = cls(features, rows, zeros, working_dtype(features))
        if len(raw) == 0:
            raise EvalsuiteError("A linear probe needs at least one training row, and there is none.")
        total = torch.zeros_like(raw.mean)
        for span, x in raw.chunks(columns=0):
            finite = torch.isfinite(x).all(dim=1)
            if not bool(finite.all()):
                position = span.start + int(torch.nonzero(~finite)[0])
                row = position if rows is None else int(rows[position])
                raise EvalsuiteError(
                    f"Row {row} of the features holds a value that is not finite (NaN or infinity); a linear "
                    "probe cannot be fitted to it. Extract the features again, in float32 if they overflowed."
                )
            total += x.sum(dim=0, dtype=torch.float64)
        return replace(raw, mean=total / len(raw))

    def __len__(self) -> int:
        """Return N."""
        return len(self.features) if self.rows is None else len(self.rows)

    @property
    def dim(self) -> int:
        """Return D."""
        return int(self.features.shape[1])

    def chunks(self, columns: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield (positions, centred rows (m, D) in the working precision), m bounded by the buffer."""
        mean = self.mean.to(self.dtype)
        size = buffer_rows(self, columns)
        for start in range(0, len(self), size):
            span = slice(start, min(start + size, len(self)))
            block = self.features[span] if self.rows is None else self.features[self.rows[span]]
            yield span, block if self.centred else block.to(self.dtype) - mean

    def take(self, positions: Tensor) -> Tensor:
        """Return centred rows (m, D) by position, in the working precision."""
        rows = positions if self.rows is None else self.rows[positions]
        return self.features[rows].to(self.dtype).sub_(self.mean.to(self.dtype))  # indexing has made a copy


def buffer_rows(design: Design, columns: int) -> int:
    """Return how many rows fit the buffer when each needs its features and `columns` logits."""
    budget = CPU_BUFFER_BYTES if design.mean.device.type == "cpu" else ACCELERATOR_BUFFER_BYTES
    itemsize = torch.finfo(design.dtype).bits // 8
    rows = budget // (itemsize * (design.dim + BUFFERS_PER_LOGIT * columns))
    return max(ROWS_MULTIPLE, rows // ROWS_MULTIPLE * ROWS_MULTIPLE)


def _affine(weights: Tensor, intercepts: Tensor, x: Tensor) -> Tensor:
    """Return W x + b for rows x (m, D), weights (L, D) and intercepts (L, 1): (L, m)."""
    parts = _parts(x)
    if parts == 1:
        return torch.addmm(intercepts, weights, x.T)
    blocks = x.view(parts, -1, x.shape[1]).transpose(1, 2)
    found = torch.baddbmm(intercepts.expand(parts, -1, -1), weights.expand(parts, -1, -1), blocks)
    return found.transpose(0, 1).reshape(len(weights), -1)


def _times_rows(residual: Tensor, x: Tensor) -> Tensor:
    """Return sum_m r_m x_m' for residuals (L, m) and rows x (m, D): (L, D), summed over the parts in float64."""
    parts = _parts(x)
    if parts == 1:
        return residual @ x
    residuals = residual.view(len(residual), parts, -1).transpose(0, 1)
    blocks = torch.bmm(residuals, x.view(parts, -1, x.shape[1]))
    return blocks.sum(dim=0, dtype=torch.float64)


def _parts(x: Tensor) -> int:
    """Return into how many parts the rows of a product are split.

    Few weights times many rows is a product that a CPU's libraries divide badly among threads; one part for each
    thread is twice as fast.
    """
    threads = torch.get_num_threads() if x.device.type == "cpu" else 1
    return threads if len(x) % threads == 0 else 1


class Objective(ABC):
    """F and its gradient for P problems over one design.

    lambdas: (P,) float64, lambda of each problem; n_logits: K. Points and gradients are theta (A, K, D + 1)
    float64 for the A problems named by `ids` (A,) int64, so that finished problems cost nothing.
    """

    def __init__(self, design: Design, lambdas: Tensor, n_logits: int) -> None:
        self.design = design
        self.lambdas = lambdas
        self.n_logits = n_logits

    def evaluate(self, ids: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return F (A,) and its gradient (A, K, D + 1), both float64."""
        n_problems, width = len(ids), len(ids) * self.n_logits
        value = torch.zeros(n_problems, dtype=torch.float64, device=theta.device)
        slope_w = torch.zeros(width, self.design.dim, dtype=torch.float64, device=theta.device)
        slope_b = torch.zeros(n_problems, self.n_logits, dtype=torch.float64, device=theta.device)
        for span, x, logits in self._logits(theta):
            loss, residual = self.loss(ids, span, logits)
            value += loss
            slope_w += _times_rows(residual.reshape(width, -1), x)
            slope_b += residual.sum(dim=2, dtype=torch.float64)
        gradient = torch.cat([slope_w.view(n_problems, self.n_logits, -1), slope_b.unsqueeze(2)], dim=2)
        gradient = self.project(gradient)
        weights, lambdas = theta[:, :, :-1], self.lambdas[ids]
        value += lambdas / 2 * weights.square().sum(dim=(1, 2))
        gradient[:, :, :-1] += lambdas[:, None, None] * weights
        return value, gradient

    def curvature(self, ids: Tensor, theta: Tensor) -> Tensor:
        """Return the mean of the Hessian of the loss in the logits over a sample of the rows: (A, K, K) float64."""
        stride = -(-len(self.design) // max(CURVATURE_ROWS, ROWS_PER_LOGIT * self.n_logits))
        positions = torch.arange(0, len(self.design), stride, device=theta.device)
        total = torch.zeros(len(ids), self.n_logits, self.n_logits, dtype=torch.float64, device=theta.device)
        for part in torch.split(positions, buffer_rows(self.design, len(ids) * self.n_logits)):
            total += self._hessian(ids, part, self._logits_of(theta, part))
        return total / len(positions)

    def curvature_weights(self, index: int, theta: Tensor) -> Tensor:
        """Return p (1 - p), the curvature of each row's loss in each logit, of one problem: (K, N)."""
        found = torch.empty(self.n_logits, len(self.design), dtype=self.design.dtype, device=theta.device)
        ids = torch.tensor([index], device=theta.device)
        for span, _, logits in self._logits(theta.unsqueeze(0)):
            found[:, span] = self._diagonal(ids, span, logits)[0]
        return found

    def _logits(self, theta: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield (positions, rows (m, D), logits (A, K, m)).

        Logits are class-major: the reductions over K then run over long contiguous rows.
        """
        dtype = self.design.dtype
        flat = theta.reshape(-1, self.design.dim + 1)
        weights, intercepts = flat[:, :-1].to(dtype), flat[:, -1:].to(dtype)
        for span, x in self.design.chunks(columns=len(flat)):
            yield span, x, _affine(weights, intercepts, x).view(theta.shape[0], self.n_logits, -1)

    def logits(self, theta: Tensor, positions: Tensor) -> Tensor:
        """Return the logits (B, K, m) at points theta (B, K, D + 1) of some rows, by position."""
        parts = torch.split(positions, buffer_rows(self.design, len(theta) * self.n_logits))
        return torch.cat([self._logits_of(theta, part) for part in parts], dim=2)

    def _logits_of(self, theta: Tensor, positions: Tensor) -> Tensor:
        """Return the same of so few rows that a copy of them does no harm."""
        flat = theta.reshape(-1, self.design.dim + 1).to(self.design.dtype)
        x = self.design.take(positions)
        return torch.addmm(flat[:, -1:], flat[:, :-1], x.T).view(len(theta), self.n_logits, -1)

    def project(self, gradient: Tensor) -> Tensor:
        """Remove from the gradient of the losses what rounding alone can have put there."""
        return gradient

    @abstractmethod
    def loss(self, ids: Tensor, rows: slice | Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed losses (A,) float64 and d loss / d logits (A, K, m) of some rows, a slice of them or
        positions (m,); may overwrite the logits."""

    @abstractmethod
    def hessian_vector_product(self, ids: Tensor, rows: slice | Tensor, logits: Tensor, directions: Tensor) -> Tensor:
        """Return the Hessian of each row's loss in the logits (A, K, m) times directions (A, J, K, m)."""

    @abstractmethod
    def _diagonal(self, ids: Tensor, rows: slice | Tensor, logits: Tensor) -> Tensor:
        """Return the diagonal of the Hessian of each row's loss in the logits: (A, K, m)."""

    @abstractmethod
    def _hessian(self, ids: Tensor, rows: Tensor, logits: Tensor) -> Tensor:
        """Return the summed Hessians of the losses in the logits: (A, K, K)."""


class Softmax(Objective):
    """Multinomial logistic regression: loss = log sum_k exp z_k - z_y.

    labels: (N,) int64 in [0, K), one for each row of the design.
    """

    def __init__(self, design: Design, lambdas: Tensor, labels: Tensor, n_classes: int) -> None:
        super().__init__(design, lambdas, n_classes)
        self.labels = labels

    def project(self, gradient: Tensor) -> Tensor:
        # Adding one vector to every row of W changes no probability, so the losses have no slope that way.
        # Rounding gives them one, and the inverse curvature there is 1 / lambda, up to 10^6.
        return gradient - gradient.mean(dim=1, keepdim=True)

    def loss(self, ids: Tensor, rows: slice | Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        index = self.labels[rows].expand(len(ids), 1, -1)
        top = logits.amax(dim=1, keepdim=True)
        gap = top - logits.gather(1, index)
        e = logits.sub_(top).exp_()
        e_true = e.gather(1, index)
        # A well-separated row has p_y = 1 - tiny. In float32, 1 - p_y would lose the tiny part, and log(sum)
        # of a sum that is 1 + tiny too; both are therefore taken from the sum over the wrong classes.
        e.scatter_(1, index, 0.0)
        wrong = e.sum(dim=1, keepdim=True)
        loss = (gap + torch.log1p(wrong - (1 - e_true))).sum(dim=(1, 2), dtype=torch.float64)
        total = wrong + e_true
        residual = e.scatter_(1, index, -wrong).div_(total)
        return loss, residual

    def hessian_vector_product(self, ids: Tensor, rows: slice | Tensor, logits: Tensor, directions: Tensor) -> Tensor:
        p = torch.softmax(logits, dim=1).unsqueeze(1)
        weighted = p * directions
        return weighted - p * weighted.sum(dim=2, keepdim=True)

    def _diagonal(self, ids: Tensor, rows: slice | Tensor, logits: Tensor) -> Tensor:
        p = torch.softmax(logits, dim=1)
        return p * (1 - p)

    def _hessian(self, ids: Tensor, rows: Tensor, logits: Tensor) -> Tensor:
        p = torch.softmax(logits, dim=1)
        hessian = torch.diag_embed(p.sum(dim=2, dtype=torch.float64)) - p @ p.transpose(1, 2)
        # Its rows and columns sum to zero, see `project`; rounding would tilt the null vector into the rest.
        hessian -= hessian.mean(dim=1, keepdim=True)
        return hessian - hessian.mean(dim=2, keepdim=True)


class Sigmoid(Objective):
    """Binary logistic regression: loss = log(1 + exp(-s z)), s = +1 for a positive row and -1 for a negative.

    labels: (T, N) int8 in {1, 0, -1}, one row per binary task, -1 where the task ignores the sample;
    task_of: (P,) int64, the task of each problem.
    """

    def __init__(self, design: Design, lambdas: Tensor, labels: Tensor, task_of: Tensor) -> None:
        super().__init__(design, lambdas, n_logits=1)
        self.labels = labels
        self.task_of = task_of

    def loss(self, ids: Tensor, rows: slice | Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        labels = self.labels[self.task_of[ids]][:, rows].unsqueeze(1).to(logits.dtype)
        used, sign = (labels >= 0).to(logits.dtype), 2 * labels - 1
        margin = sign * logits
        loss = (functional.softplus(-margin) * used).sum(dim=(1, 2), dtype=torch.float64)
        return loss, -sign * torch.sigmoid(-margin) * used

    def hessian_vector_product(self, ids: Tensor, rows: slice | Tensor, logits: Tensor, directions: Tensor) -> Tensor:
        return self._diagonal(ids, rows, logits).unsqueeze(1) * directions

    def _diagonal(self, ids: Tensor, rows: slice | Tensor, logits: Tensor) -> Tensor:
        used = (self.labels[self.task_of[ids]][:, rows] >= 0).unsqueeze(1)
        p = torch.sigmoid(logits)
        return p * (1 - p) * used

    def _hessian(self, ids: Tensor, rows: Tensor, logits: Tensor) -> Tensor:
        return self._diagonal(ids, rows, logits).sum(dim=2, keepdim=True, dtype=torch.float64)
