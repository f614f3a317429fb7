"""The linear probe of the CLIP paper, appendix A.3.

L2-regularised logistic regression on the penultimate features as they come, without normalisation,
by full-batch L-BFGS of at most 1,000 iterations. Lambda is chosen on the validation split by the
task's own metric, in a parametric binary search over 97 points between 10^-6 and 10^6, the middle one of
those that tie; it is fitted again on train + validation (or on train alone, where the task says so), and the
test split is scored once. Without an official validation split a tenth of train is held out for the
search: stratified, by group where samples belong together, at least one sample per class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from evalsuite.data.drawing import hold_out
from evalsuite.metrics import METRICS
from evalsuite.models.base import PENULTIMATE
from evalsuite.options import option
from evalsuite.protocols.base import EvaluationProtocol, FoldScores, Outcome, ProtocolInput, Samples, in_fold, size_of
from evalsuite.text import counted, shortened

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from evalsuite import probe
    from evalsuite.data.base import Fold, Split

HOLD_OUT_FRACTION = 0.1

REFIT_SHARE = 1e-2
"""The final fit is solved to this share of the sweep's tolerance: at 1e-6 probabilities may be 5e-3 off."""

SOLVER = "lbfgs"
"""Part of every record's options and fingerprint. There is one solver; the word stays, so that records stay current."""


@dataclass(frozen=True)
class ProbeOptions:
    """Options of the probe; tolerances are on the relative suboptimality of the objective."""

    grid: Literal["parametric", "full"] = option(
        "parametric", help="Lambdas the probe tries: the paper's binary search, or all 97."
    )
    tolerance: float = option(
        1e-6, gt=0, lt=1, help="Relative suboptimality of the probe's fits; the final fit's is a hundredth of it."
    )
    max_iterations: int = 1_000
    refit_tolerance: float = field(init=False)
    solver: str = field(init=False, default=SOLVER)

    def __post_init__(self) -> None:
        object.__setattr__(self, "refit_tolerance", self.tolerance * REFIT_SHARE)


class Refit(TypedDict):
    """The final fit of a fold."""

    objective: float
    iterations: int
    gradient_norm: float
    converged: bool


FoldDetails = TypedDict(
    "FoldDetails", {"lambda": float, "plateau": list[float], "tried": "list[probe.Trial]", "refit": Refit}
)
"""Of a fold: the lambda that was chosen, the range of those that tie with it, every fit, and the final one."""


class ProbeDetails(TypedDict):
    """What a record says of the probe."""

    folds: list[FoldDetails]


@dataclass(frozen=True)
class _FoldResult:
    scores: FoldScores
    details: FoldDetails
    sizes: tuple[int, int, int]
    warnings: list[str]


class LinearProbe(EvaluationProtocol):
    """The linear-probe protocol."""

    name = "linear_probe"
    prefix = "probe"
    Options = ProbeOptions
    version = 3
    layer = PENULTIMATE
    needs_training = True
    scores = "logits"
    multilabel_scores = "binary_logits"

    options: ProbeOptions

    def splits(self, folds: Sequence[Fold]) -> list[Split]:
        """Return every split of every fold."""
        return [split for fold in folds for split in (fold.train, fold.val, fold.test) if split is not None]

    def run(self, given: ProtocolInput) -> Outcome:
        """Search lambda, fit again, and score the test split, for each fold."""
        results = [self._run_fold(given, number) for number in range(len(given.folds))]
        train, val, test = zip(*(result.sizes for result in results), strict=True)
        return Outcome(
            folds=[result.scores for result in results],
            sizes={"train": size_of(train), "val": size_of(val), "test": size_of(test)},
            details=ProbeDetails(folds=[result.details for result in results]),
            warnings=[warning for result in results for warning in result.warnings],
        )

    def _run_fold(self, given: ProtocolInput, number: int) -> _FoldResult:
        from evalsuite import probe

        fold, count = given.folds[number], len(given.folds)
        samples, fit_rows, val_rows = self._fitting_samples(given, fold)
        # Half precision stays as it is stored: the solver widens it chunk by chunk, and it takes half the memory.
        features = samples.features.to(given.device)
        targets = _targets(given, samples.labels)
        search = self._search(
            given, features, targets, fit_rows, val_rows, samples.labels, in_fold("sweep", number, count)
        )
        # A held-out tenth was taken from train, so it always belongs to the fit.
        with_val = given.task.refit == "train+val" or fold.val is None
        final_rows = None if with_val else _tensor(fit_rows, given)
        solution = probe.refit(
            features,
            targets,
            search.best_lambda,
            rows=final_rows,
            warm_start=search.solution,
            tolerance=self.options.refit_tolerance,
            max_iterations=self.options.max_iterations,
        )
        test, what = given.read(fold.test, self.layer), in_fold("linear probe", number, count)
        scores = solution.logits(0, test.features.to(given.device)).float().cpu().numpy()
        return _FoldResult(
            scores=FoldScores(scores, test.labels, test.ids),
            details=_details(search, solution),
            sizes=(len(fit_rows), len(val_rows), len(test.ids)),
            warnings=[
                *_absent(given, samples.labels if final_rows is None else samples.labels[fit_rows], what),
                *_warnings(search, solution, what),
            ],
        )

    def _fitting_samples(
        self, given: ProtocolInput, fold: Fold
    ) -> tuple[Samples, NDArray[np.int64], NDArray[np.int64]]:
        """Return train (and validation) samples as one block, and the rows of each part in it."""
        import torch

        train = given.read(fold.train, self.layer)
        if fold.val is None:
            fit_rows, val_rows = hold_out(
                train.ids, train.labels, train.groups, fraction=HOLD_OUT_FRACTION, seed=given.seed
            )
            return train, fit_rows, val_rows
        val = given.read(fold.val, self.layer)
        both = Samples(
            features=torch.cat([train.features, val.features]),
            labels=np.concatenate([train.labels, val.labels]),
            ids=train.ids + val.ids,
        )
        rows = np.arange(len(both.ids))
        return both, rows[: len(train.ids)], rows[len(train.ids) :]

    def _search(
        self,
        given: ProtocolInput,
        features: torch.Tensor,
        targets: probe.Targets,
        fit_rows: NDArray[np.int64],
        val_rows: NDArray[np.int64],
        labels: NDArray[Any],
        what: str,
    ) -> probe.SweepResult:
        from evalsuite import probe

        metric = METRICS.get(given.task.metric)
        expected = labels[val_rows]
        return probe.sweep(
            features,
            targets,
            fit_rows=_tensor(fit_rows, given),
            validation_rows=_tensor(val_rows, given),
            score=lambda logits: float(metric.compute(logits.float().cpu().numpy(), expected)),
            grid=self.options.grid,
            tolerance=self.options.tolerance,
            max_iterations=self.options.max_iterations,
            on_round=lambda done, total: given.on_progress(what, done, total),
        )


def _targets(given: ProtocolInput, labels: NDArray[Any]) -> probe.Targets:
    from evalsuite import probe

    kind: Literal["multinomial", "one_vs_rest"] = "one_vs_rest" if given.task.multilabel else "multinomial"
    return probe.Targets(kind, _tensor(labels, given), len(given.task.class_list))


def _tensor(rows: NDArray[Any], given: ProtocolInput) -> torch.Tensor:
    import torch

    return torch.from_numpy(rows).to(given.device)


def _details(search: probe.SweepResult, solution: probe.Solution) -> FoldDetails:
    return {
        "lambda": search.best_lambda,
        "plateau": list(search.plateau),
        "tried": search.tried,
        "refit": {
            "objective": solution.objective[0],
            "iterations": solution.iterations[0],
            "gradient_norm": solution.gradient_norm[0],
            "converged": solution.converged[0],
        },
    }


def _absent(given: ProtocolInput, labels: NDArray[Any], what: str) -> list[str]:
    """Name the classes without a training sample (several labels: without a positive one)."""
    found = set(np.flatnonzero((labels == 1).any(axis=0)) if given.task.multilabel else np.unique(labels))
    absent = [key for index, key in enumerate(given.task.class_keys) if index not in found]
    if not absent:
        return []
    return [f"{what}: no training sample is of {counted(len(absent), 'class')}: {shortened(absent)}."]


def _warnings(search: probe.SweepResult, solution: probe.Solution, what: str) -> list[str]:
    from evalsuite import probe

    found = []
    unfinished = [trial["lambda"] for trial in search.tried if not trial["converged"]]
    if unfinished:
        shown = ", ".join(f"{value:.3g}" for value in unfinished)
        found.append(f"{what}: the fits at lambda = {shown} did not converge within the iteration limit.")
    if not solution.converged[0]:
        found.append(f"{what}: the final fit did not converge (gradient norm {solution.gradient_norm[0]:.2g}).")
    ends, (low, high) = (probe.LAMBDAS[0], probe.LAMBDAS[-1]), search.plateau
    if low == high and low in ends:
        found.append(f"{what}: the best lambda {low:.3g} is at the end of the grid.")
    elif low in ends or high in ends:
        found.append(
            f"{what}: the validation score is the same from lambda {low:.3g} to {high:.3g}, up to the end of the grid; "
            f"the middle, {search.best_lambda:.3g}, was chosen."
        )
    return found
