"""The loss and gradient of a regularised logistic regression, in one pass over the features.

Notation, here and in the modules around: N rows x_n of D features, K logits. The parameters are W (K, D) and b (K,):

    F(W, b) = sum_n loss(W (x_n - mean) + b, y_n) + lambda / 2 |W|^2

which is scikit-learn's objective (lambda = 1 / C). Subtracting the mean changes nothing but b, because b is
free of the penalty: b + W mean is as good an intercept as b. It makes the problem better conditioned and
keeps float32 products accurate where features have a large common offset. What is minimised over is theta (K, r + 1):
W V and b, for the r coordinates V' (x_n - mean) of `space.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from evalsuite.errors import EvalsuiteError
from evalsuite.threads import Threads

Made = TypeVar("Made")

CPU_BUFFER_BYTES = 8 << 20
"""Working memory of the chunks that are read at a time on a CPU: about what its caches hold; more is slower."""

ACCELERATOR_BUFFER_BYTES = 1 << 30
"""Working memory of one chunk on an accelerator: large enough to keep its matrix units busy."""

ROWS_MULTIPLE = 64
"""Rows of a chunk are a multiple of this, which products like."""

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
    mean is zero, so that chunks are views; basis: V (D, r) float64 with orthonormal columns, of the coordinates that
    parameters are in, or None where those are the features'; threads: what shares passes over the rows.
    """

    features: Tensor
    rows: Tensor | None
    mean: Tensor
    dtype: torch.dtype = torch.float32
    centred: bool = False
    basis: Tensor | None = None
    threads: Threads = field(default_factory=Threads)

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
    def width(self) -> int:
        """Return D."""
        return int(self.features.shape[1])

    @property
    def dim(self) -> int:
        """Return r."""
        return self.width if self.basis is None else int(self.basis.shape[1])

    def outside(self, weights: Tensor) -> Tensor:
        """Return weights (..., r) of the coordinates as those of the features (..., D)."""
        return weights if self.basis is None else weights @ self.basis.T.to(weights.dtype)

    def inside(self, weights: Tensor) -> Tensor:
        """Return weights or slopes (..., D) of the features as those of the coordinates (..., r)."""
        return weights if self.basis is None else weights @ self.basis.to(weights.dtype)

    def chunks(self, columns: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield (positions, centred rows (m, D) in the working precision), m bounded by the buffer."""
        for span in self._spans(columns):
            yield span, self._centred(span)

    def shared(self, columns: int, work: Callable[[slice, Tensor], Made]) -> Iterator[Made]:
        """Yield what is made of each of the `chunks`, in their order; threads share them."""
        return self.threads.map(lambda span: work(span, self._centred(span)), self._spans(columns))

    def _spans(self, columns: int) -> list[slice]:
        """Return the positions of the chunks, as many for each thread."""
        count = -(-len(self) // (buffer_rows(self, columns) * self.threads.count)) * self.threads.count
        size = -(-len(self) // (count * ROWS_MULTIPLE)) * ROWS_MULTIPLE
        return [slice(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def _centred(self, span: slice) -> Tensor:
        block = self.features[span] if self.rows is None else self.features[self.rows[span]]
        return block if self.centred else block.to(self.dtype) - self.mean.to(self.dtype)

    def take(self, positions: Tensor) -> Tensor:
        """Return centred rows (m, D) by position, in the working precision."""
        rows = positions if self.rows is None else self.rows[positions]
        return self.features[rows].to(self.dtype).sub_(self.mean.to(self.dtype))  # indexing has made a copy


def buffer_rows(design: Design, columns: int) -> int:
    """Return how many rows fit the buffer when each needs its features and `columns` logits."""
    budget = CPU_BUFFER_BYTES if design.mean.device.type == "cpu" else ACCELERATOR_BUFFER_BYTES
    itemsize = torch.finfo(design.dtype).bits // 8
    rows = budget // (design.threads.count * itemsize * (design.width + BUFFERS_PER_LOGIT * columns))
    return max(ROWS_MULTIPLE, rows // ROWS_MULTIPLE * ROWS_MULTIPLE)


class Objective(ABC):
    """F and its derivatives over one design, at points theta (K, r + 1) float64.

    coupled: the K logits of a row are of one softmax, one problem (G = 1); else each is a problem of its own (G = K).
    """

    coupled: bool

    def __init__(self, design: Design, lambda_: float, labels: Tensor, n_logits: int) -> None:
        self.design, self.lambda_, self.labels, self.n_logits = design, lambda_, labels, n_logits

    def evaluate(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return F of each problem (G,) and the gradient of their sum (K, r + 1), both float64."""
        slope_w = torch.zeros(self.n_logits, self.design.width, dtype=torch.float64, device=theta.device)
        slope_b = torch.zeros(self.n_logits, dtype=torch.float64, device=theta.device)
        values = torch.zeros(1 if self.coupled else self.n_logits, dtype=torch.float64, device=theta.device)

        def part(span: slice, x: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            losses, residual = self.loss(span, logits)
            return losses, residual @ x, residual.sum(dim=1, dtype=torch.float64)

        for losses, of_weights, of_intercepts in self._pass(theta, part):
            values += losses
            slope_w += of_weights
            slope_b += of_intercepts
        gradient = self.project(torch.cat([self.design.inside(slope_w), slope_b.unsqueeze(1)], dim=1))
        weights = theta[:, :-1]
        gradient[:, :-1] += self.lambda_ * weights
        return values + self.lambda_ / 2 * weights.square().view(len(values), -1).sum(dim=1), gradient

    def curvature(self, theta: Tensor) -> Tensor:
        """Return the mean of the Hessian of the loss in the logits over a sample of the rows: (K, K) float64."""
        stride = -(-len(self.design) // max(CURVATURE_ROWS, ROWS_PER_LOGIT * self.n_logits))
        positions = torch.arange(0, len(self.design), stride, device=theta.device)
        total = torch.zeros(self.n_logits, self.n_logits, dtype=torch.float64, device=theta.device)
        for part in torch.split(positions, buffer_rows(self.design, self.n_logits)):
            p = self.probabilities(part, self.logits(theta[None], part)[0])
            both = p @ p.T
            total += torch.diag(p.sum(dim=1, dtype=torch.float64)) - (both if self.coupled else both.diag().diag())
        # Where its rows and columns sum to zero, rounding would tilt the null vector into the rest.
        return self.project(self.project(total).T) / len(positions)

    def curvature_weights(self, theta: Tensor) -> Tensor:
        """Return p (1 - p), the curvature of each row's loss in each logit: (K, N)."""

        def part(span: slice, _: Tensor, logits: Tensor) -> Tensor:
            p = self.probabilities(span, logits)
            return p * (1 - p)

        return torch.cat(list(self._pass(theta, part)), dim=1)

    def _pass(self, theta: Tensor, work: Callable[[slice, Tensor, Tensor], Made]) -> Iterator[Made]:
        """Yield what is made of positions, their rows (m, D) and logits (K, m).

        Logits are class-major: the reductions over K then run over long contiguous rows.
        """
        weights, intercepts = self._outside(theta)
        return self.design.shared(len(theta), lambda span, x: work(span, x, torch.addmm(intercepts, weights, x.T)))

    def logits(self, thetas: Tensor, positions: Tensor) -> Tensor:
        """Return the logits (J, K, m) at points (J, K, r + 1) of some rows, by position."""
        weights, intercepts = self._outside(thetas.flatten(0, 1))
        parts = torch.split(positions, buffer_rows(self.design, len(weights)))
        found = self.design.threads.map(lambda part: torch.addmm(intercepts, weights, self.design.take(part).T), parts)
        return torch.cat(list(found), dim=1).view(*thetas.shape[:2], -1)

    def _outside(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (L, D) and intercepts (L, 1) for the rows as the design has them, in their precision."""
        dtype = self.design.dtype
        return self.design.outside(theta[:, :-1]).to(dtype), theta[:, -1:].to(dtype)

    def hessian_vector_product(self, rows: slice | Tensor, logits: Tensor, directions: Tensor) -> Tensor:
        """Return the Hessian of each row's loss in the logits (K, m) times directions (J, K, m)."""
        p = self.probabilities(rows, logits)
        weighted = p * directions
        return weighted - p * (weighted.sum(dim=1, keepdim=True) if self.coupled else weighted)

    def project(self, gradient: Tensor) -> Tensor:
        """Remove from a gradient (K, ...) of the losses what rounding alone can have put there."""
        return gradient

    @abstractmethod
    def loss(self, rows: slice | Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the summed losses (G,) float64 and d loss / d logits (K, m) of some rows, a slice of them or
        positions (m,); may overwrite the logits."""

    @abstractmethod
    def probabilities(self, rows: slice | Tensor, logits: Tensor) -> Tensor:
        """Return p (K, m) at the logits: zero where a row takes no part."""


class Softmax(Objective):
    """Multinomial logistic regression: loss = log sum_k exp z_k - z_y, of labels (N,) int64 in [0, K)."""

    coupled = True

    def project(self, gradient: Tensor) -> Tensor:
        # Adding one vector to every row of W changes no probability, so the losses have no slope that way.
        # Rounding gives them one, and the inverse curvature there is 1 / lambda, up to 10^6.
        return gradient - gradient.mean(dim=0)

    def loss(self, rows: slice | Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        index = self.labels[rows].unsqueeze(0)
        top = logits.amax(dim=0, keepdim=True)
        gap = top - logits.gather(0, index)
        e = logits.sub_(top).exp_()
        e_true = e.gather(0, index)
        # A well-separated row has p_y = 1 - tiny. In float32, 1 - p_y would lose the tiny part, and log(sum)
        # of a sum that is 1 + tiny too; both are therefore taken from the sum over the wrong classes.
        e.scatter_(0, index, 0.0)
        wrong = e.sum(dim=0, keepdim=True)
        loss = (gap + torch.log1p(wrong - (1 - e_true))).sum(dim=1, dtype=torch.float64)
        return loss, e.scatter_(0, index, -wrong).div_(wrong + e_true)

    def probabilities(self, rows: slice | Tensor, logits: Tensor) -> Tensor:
        return torch.softmax(logits, dim=0)


class Sigmoid(Objective):
    """K binary logistic regressions: loss = log(1 + exp(-s z)), s = +1 for a positive row and -1 for a negative.

    labels: (K, N) int8 in {1, 0, -1}, -1 where the problem ignores the row.
    """

    coupled = False

    def loss(self, rows: slice | Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        labels = self.labels[:, rows].to(logits.dtype)
        used, sign = labels >= 0, 2 * labels - 1
        margin = sign * logits
        loss = (functional.softplus(-margin) * used).sum(dim=1, dtype=torch.float64)
        return loss, -sign * torch.sigmoid(-margin) * used

    def probabilities(self, rows: slice | Tensor, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits) * (self.labels[:, rows] >= 0)
