"""Likely label errors by confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068), with cleanlab.

It reads probabilities that a model gives images which it was not fitted to. Training images are divided into `FOLDS`
parts, by class, or by group where images belong together; each part is judged by the linear probe of the others. Test
images take no part. Lambda is the one of the paper's grid that gives the labels of the first part the highest
likelihood; one temperature then makes all labels as likely as can be, because probabilities are what is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from evalsuite import probe
from evalsuite.calibration import errors, fit_temperature, probabilities
from evalsuite.data.drawing import by_id, shuffled, strata
from evalsuite.errors import EvalsuiteError, MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

FOLDS = 5
"""cleanlab's own default (`cv_n_folds`)."""

RULE = "prune_by_noise_rate"
"""Of cleanlab's filters its own default; with others, fewer wrong labels are found, or more right ones are named."""


@dataclass(frozen=True)
class Suspect:
    """An image whose label is likely wrong. number: of the images judged; label, other: given and more likely class;
    own, best: their probabilities."""

    number: int
    label: int
    other: int
    own: float
    best: float


@dataclass(frozen=True)
class Judged:
    """Probabilities (n, C) of images by probes that have not seen them. known: (n,) whether the probe of an image had
    one of its class, without which it says nothing. best_lambda: of the probes; temperature: what divides logits."""

    shares: NDArray[np.float64]
    known: NDArray[np.bool_]
    best_lambda: float
    temperature: float


def cleanlab_filter() -> ModuleType:
    """Return the module of cleanlab that is used; MissingExtraError where it is not installed."""
    try:
        import cleanlab.filter
    except ImportError as error:
        raise MissingExtraError("cleanlab", "audit", "Looking for label errors") from error
    found: ModuleType = cleanlab.filter
    return found


def parts_of(
    ids: Sequence[str], labels: NDArray[np.int64], groups: Sequence[str] | None, seed: int
) -> NDArray[np.int64]:
    """Return the part of each image, (n,) below `FOLDS`: each class evenly, or each group whole."""
    bits = np.random.PCG64(seed)
    if groups is not None:
        names = sorted(set(groups))
        part_of = dict(zip(names, (shuffled(len(names), bits) % FOLDS).tolist(), strict=True))
        return np.array([part_of[name] for name in groups], np.int64)
    parts, dealt = np.empty(len(ids), np.int64), 0
    for _, rows in strata(labels, by_id(ids)):
        parts[rows[shuffled(len(rows), bits)]] = (dealt + np.arange(len(rows))) % FOLDS
        dealt += len(rows)  # small classes do not all begin with the first part
    return parts


def judge(
    features: torch.Tensor,
    labels: NDArray[np.int64],
    parts: NDArray[np.int64],
    n_classes: int,
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Judged:
    """Return probabilities of images (n, D) with labels (n,), each by the probe of the other parts.

    EvalsuiteError where there is one part only.
    """
    used = np.unique(parts)
    if len(used) < 2:
        raise EvalsuiteError("Looking for label errors needs at least two training images, or groups of them.")
    targets = probe.Targets("multinomial", torch.from_numpy(labels).to(features.device), n_classes)
    rows = [(_tensor(parts != part, features), _tensor(parts == part, features)) for part in used]
    what = "probes for label errors"
    first = _search(features, targets, *rows[0], labels)
    logits, known = np.zeros((len(labels), n_classes)), np.zeros(len(labels), np.bool_)
    for number, (fitted, held) in enumerate(rows):
        on_progress(what, number, len(rows))
        solution = first.solution
        if number:
            solution = probe.refit(features, targets, first.best_lambda, rows=fitted, warm_start=first.solution)
        place = held.cpu().numpy()
        logits[place] = solution.logits(0, features, held).double().cpu().numpy()
        known[place] = np.isin(labels[place], labels[fitted.cpu().numpy()])
    on_progress(what, len(rows), len(rows))
    temperature = fit_temperature(logits[known], labels[known], "softmax") or 1.0
    return Judged(probabilities(logits / temperature, "softmax"), known, first.best_lambda, temperature)


def suspects(labels: NDArray[np.int64], found: NDArray[np.float64]) -> list[Suspect]:
    """Return the images whose label is likely wrong, most likely first. labels: (n,); found: probabilities (n, C)."""
    present = np.unique(labels)
    if len(present) < 2:
        return []
    shares = found[:, present]
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    numbers = cleanlab_filter().find_label_issues(
        np.searchsorted(present, labels),
        shares,
        filter_by=RULE,
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    best = found.argmax(axis=1)
    return [
        Suspect(int(n), int(labels[n]), int(best[n]), float(found[n, labels[n]]), float(found[n, best[n]]))
        for n in numbers
    ]


def _search(
    features: torch.Tensor, targets: probe.Targets, fitted: torch.Tensor, held: torch.Tensor, labels: NDArray[Any]
) -> probe.SweepResult:
    expected = labels[held.cpu().numpy()]

    def likelihood(logits: torch.Tensor) -> float:
        return -errors(logits.double().cpu().numpy(), expected, "softmax")["nll"]

    return probe.sweep(features, targets, fit_rows=fitted, validation_rows=held, score=likelihood)


def _tensor(mask: NDArray[np.bool_], features: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.flatnonzero(mask)).to(features.device)
