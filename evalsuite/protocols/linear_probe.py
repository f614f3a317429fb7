"""The linear probe of the CLIP paper, appendix A.3.

L2-regularised logistic regression on the penultimate features as they come, without normalisation,
by full-batch L-BFGS of at most 1,000 iterations. Lambda is chosen on the validation split by the
task's own metric, in a parametric binary search over 97 points between 10^-6 and 10^6; the chosen
lambda is fitted again on train + validation (or on train alone, where the task says so), and the
test split is scored once. Without an official validation split a tenth of train is held out for the
search: stratified, by group where samples belong together, at least one sample a class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from evalsuite.data.base import Fold, Split
from evalsuite.data.drawing import hold_out
from evalsuite.metrics import METRICS
from evalsuite.models.base import PENULTIMATE
from evalsuite.probe.solution import Solution
from evalsuite.probe.solver import Targets
from evalsuite.probe.sweep import Grid, SweepResult, refit, sweep
from evalsuite.protocols.base import FoldScores, Outcome, ProtocolInput, Samples, in_fold, size_of

HOLD_OUT_FRACTION = 0.1

PROBE_TOLERANCE = 1e-6
REFIT_SHARE = 1e-2
"""The final fit is solved to this share of the sweep's tolerance: at 1e-6 probabilities may be 5e-3 off."""

SOLVER = "lbfgs"
"""Part of every record's options and fingerprint. There is one solver; the word stays, so that records stay current."""


@dataclass(frozen=True)
class ProbeOptions:
    """Options of the probe; tolerances are on the relative suboptimality of the objective."""

    grid: Grid = "parametric"
    tolerance: float = PROBE_TOLERANCE
    refit_tolerance: float = PROBE_TOLERANCE * REFIT_SHARE
    max_iterations: int = 1_000


@dataclass(frozen=True)
class _FoldResult:
    scores: FoldScores
    details: dict[str, Any]
    sizes: tuple[int, int, int]
    warnings: list[str]


class LinearProbe:
    """The linear-probe protocol."""

    name = "linear_probe"
    layer = PENULTIMATE
    needs_text = False
    needs_training = True
    version = 2

    def __init__(self, options: ProbeOptions | None = None) -> None:
        self._options = options or ProbeOptions()

    def options(self) -> Mapping[str, Any]:
        """Return its options as plain data."""
        return {**asdict(self._options), "solver": SOLVER}

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
            details={"folds": [result.details for result in results]},
            warnings=[warning for result in results for warning in result.warnings],
        )

    def _run_fold(self, given: ProtocolInput, number: int) -> _FoldResult:
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
        final_rows = None if with_val else torch.from_numpy(fit_rows).to(given.device)
        solution = refit(
            features,
            targets,
            search.best_lambda,
            rows=final_rows,
            warm_start=search.solution,
            tolerance=self._options.refit_tolerance,
            max_iterations=self._options.max_iterations,
        )
        test = given.read(fold.test, self.layer)
        scores = solution.logits(0, test.features.to(given.device)).float().cpu().numpy()
        return _FoldResult(
            scores=FoldScores(scores, test.labels, test.ids),
            details=_details(search, solution),
            sizes=(len(fit_rows), len(val_rows), len(test.ids)),
            warnings=_warnings(search, solution, in_fold("linear probe", number, count)),
        )

    def _fitting_samples(
        self, given: ProtocolInput, fold: Fold
    ) -> tuple[Samples, NDArray[np.int64], NDArray[np.int64]]:
        """Return train (and validation) samples as one block, and the rows of each part in it."""
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
        targets: Targets,
        fit_rows: NDArray[np.int64],
        val_rows: NDArray[np.int64],
        labels: NDArray[Any],
        what: str,
    ) -> SweepResult:
        metric = METRICS.get(given.task.metric)
        expected = labels[val_rows]
        return sweep(
            features,
            targets,
            fit_rows=torch.from_numpy(fit_rows).to(given.device),
            validation_rows=torch.from_numpy(val_rows).to(given.device),
            score=lambda logits: float(metric.compute(logits.float().cpu().numpy(), expected)),
            grid=self._options.grid,
            tolerance=self._options.tolerance,
            max_iterations=self._options.max_iterations,
            on_round=lambda done, total: given.on_progress(what, done, total),
        )


def _targets(given: ProtocolInput, labels: NDArray[Any]) -> Targets:
    kind: Literal["multinomial", "one_vs_rest"] = "one_vs_rest" if given.task.multilabel else "multinomial"
    return Targets(kind, torch.from_numpy(labels).to(given.device), len(given.task.class_list))


def _details(search: SweepResult, solution: Solution) -> dict[str, Any]:
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


def _warnings(search: SweepResult, solution: Solution, what: str) -> list[str]:
    found = []
    unfinished = [trial["lambda"] for trial in search.tried if not trial["converged"]]
    if unfinished:
        shown = ", ".join(f"{value:.3g}" for value in unfinished)
        found.append(f"{what}: the fits at lambda = {shown} did not converge within the iteration limit.")
    if not solution.converged[0]:
        found.append(f"{what}: the final fit did not converge (gradient norm {solution.gradient_norm[0]:.2g}).")
    tried = [trial["lambda"] for trial in search.tried]
    # A plateau that reaches inside the grid (an easy task) needs no larger one.
    if search.plateau in ((min(tried),) * 2, (max(tried),) * 2):
        found.append(f"{what}: the best lambda {search.best_lambda:.3g} is at the end of the grid.")
    return found
