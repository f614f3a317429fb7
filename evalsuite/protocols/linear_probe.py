"""The linear probe of the CLIP paper, appendix A.3.

L2-regularised logistic regression on the penultimate features as they come, without normalisation,
by full-batch L-BFGS of at most 1,000 iterations. Lambda is chosen on the validation split by the
task's own metric, in a parametric binary search over 97 points between 10^-6 and 10^6, the middle one of
those that tie; it is fitted again on train + validation (or on train alone, where the task says so), and the
test split is scored once. Without an official validation split a tenth of train is held out for the search
(`evalsuite.protocols.training`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from evalsuite.metrics import METRICS
from evalsuite.models.base import PENULTIMATE
from evalsuite.options import option
from evalsuite.protocols.base import FoldScores, Head, ProtocolInput, in_fold
from evalsuite.protocols.training import FoldResult, Labelled, TrainedProtocol, absent_classes, as_tensor, labelled

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from evalsuite import probe

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


class LinearProbe(TrainedProtocol):
    """The linear-probe protocol."""

    name = "linear_probe"
    prefix = "probe"
    Options = ProbeOptions
    version = 3
    layer = PENULTIMATE
    scores = "logits"
    multilabel_scores = "binary_logits"
    has_head = True

    options: ProbeOptions

    def run_fold(self, given: ProtocolInput, number: int) -> FoldResult:
        """Search lambda, fit again, and score the test split."""
        from evalsuite import probe

        fold, count = given.folds[number], len(given.folds)
        known = labelled(given, fold, self.layer)
        # Half precision stays as it is stored: the solver widens it chunk by chunk, and it takes half the memory.
        features = known.samples.features.to(given.device)
        targets = _targets(given, known.samples.labels)
        search = self._search(given, features, targets, known, in_fold("sweep", number, count))
        validation = search.solution.logits(0, features, as_tensor(known.val, given))
        solution = probe.refit(
            features,
            targets,
            search.best_lambda,
            rows=None if known.final is None else as_tensor(known.final, given),
            warm_start=search.solution,
            tolerance=self.options.refit_tolerance,
            max_iterations=self.options.max_iterations,
        )
        test, what = given.read(fold.test, self.layer), in_fold("linear probe", number, count)
        scores = solution.logits(0, test.features.to(given.device)).float().cpu().numpy()
        return FoldResult(
            scores=FoldScores(scores, test.labels, test.ids),
            validation=known.scores(validation.float().cpu().numpy()),
            details=_details(search, solution),
            sizes=(len(known.fit), len(known.val), len(test.ids)),
            warnings=[*absent_classes(given, known.final_labels, what), *_warnings(search, solution, what)],
            head=Head(solution.weights[0].cpu().numpy(), solution.intercepts[0].cpu().numpy()),
        )

    def _search(
        self, given: ProtocolInput, features: torch.Tensor, targets: probe.Targets, known: Labelled, what: str
    ) -> probe.SweepResult:
        from evalsuite import probe

        metric = METRICS.get(given.task.metric)
        expected = known.samples.labels[known.val]
        return probe.sweep(
            features,
            targets,
            fit_rows=as_tensor(known.fit, given),
            validation_rows=as_tensor(known.val, given),
            score=lambda logits: float(metric.compute(logits.float().cpu().numpy(), expected)),
            grid=self.options.grid,
            tolerance=self.options.tolerance,
            max_iterations=self.options.max_iterations,
            on_round=lambda done, total: given.on_progress(what, done, total),
        )


def _targets(given: ProtocolInput, labels: NDArray[Any]) -> probe.Targets:
    from evalsuite import probe

    kind: Literal["multinomial", "one_vs_rest"] = "one_vs_rest" if given.task.multilabel else "multinomial"
    return probe.Targets(kind, as_tensor(labels, given), len(given.task.class_list))


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
