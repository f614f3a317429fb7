"""The linear probe's solver against scikit-learn's, on the same problems, in turn, in one run.

    python -m benchmarks.probe --quick
    python -m benchmarks.probe --data ../shared/data --json probe.json
    python -m benchmarks.probe --problems cifar-4k --busy 1

Timed is the whole sweep of the paper, 15 fits to a suboptimality of 1e-6 and the refit to 1e-8, as it ships. It is
compared with scikit-learn's `LogisticRegression` at the very lambdas the sweep tried, and the refit: at its default
stop, and "tight": until it is within 1e-6 of the optimum (credited with the time at which it first was) or, where it
never is, until it stalls or hits 1,000 iterations. Scikit-learn runs with one or two threads, whichever a short trial
finds faster. With `--busy N`, both run next to N busy processes, and the sweep alone in turn. How the two take turns:
`race.py`. What F* is: `reference.py`. The problems: `problems.py`.

Suboptimality is (F - F*) / max(F*, 1e-3 N) on the sum of the losses + lambda/2 |W|^2, in float64.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.imagenet import NoDeviceError, imagenet
from benchmarks.problems import MAKERS, QUICK, AbsentError, make
from benchmarks.race import Plan, race
from benchmarks.stored import store

ROOT = Path(__file__).resolve().parents[1]
IMAGENET = "imagenet"
QUICK_BUSY_S, BUSY_S = 2.0, 20.0
COLUMNS = (
    "problem", "rows x features x classes", "ours", "default stop", "tight stop", "suboptimality ours / refit",
    "suboptimality scikit-learn default / tight", "lambda", "probabilities", "evaluations", "peak memory",
    "product rate",
)  # fmt: skip


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=ROOT.parent / "shared" / "data",
              help="Folder with MNIST/raw and cifar10.  [default: ../shared/data next to the checkout]")  # fmt: skip
@click.option("--problems", "names", type=click.Choice([*MAKERS, IMAGENET]), multiple=True,
              help="One problem; may be given several times.  [default: all]")  # fmt: skip
@click.option("--quick", is_flag=True, help="Small problems, about a minute.")
@click.option("--repeats", type=click.IntRange(1), default=4, show_default=True, help="Sweeps between the fits.")
@click.option("--fits", type=click.IntRange(2), help="Run scikit-learn at so many of the 15 lambdas only.")
@click.option("--exhaustive", is_flag=True, help="Search the reference's lambda over all 97, not along the path.")
@click.option("--busy", type=click.IntRange(0), default=0, help="Busy processes next to what is timed.")
@click.option("--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
@click.option("--markdown", is_flag=True, help="Print a markdown table at the end.")
def main(
    data: Path,
    names: Sequence[str],
    quick: bool,
    repeats: int,
    fits: int | None,
    exhaustive: bool,
    busy: int,
    target: Path | None,
    markdown: bool,
) -> None:
    """Compare the whole sweep with scikit-learn's fits at the same lambdas."""
    if target is not None and not target.resolve().parent.is_dir():
        raise click.BadParameter(f"{target.parent} is not a folder.", param_hint="--json")
    plan = Plan(repeats, QUICK_BUSY_S if quick else BUSY_S, fits, exhaustive, busy)
    figures: dict[str, Any] = {}
    for name in names or (QUICK if quick else [*MAKERS, IMAGENET]):
        try:
            figures[name] = measure(name, data, quick, plan)
        except (AbsentError, NoDeviceError) as absent:
            click.echo(f"{name}: skipped, {absent}.")
            continue
        if target is not None:  # after every problem: the next one takes minutes
            target.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if markdown:
        click.echo("\n" + table({name: found for name, found in figures.items() if name != IMAGENET}))


def measure(name: str, data: Path, quick: bool, plan: Plan) -> dict[str, Any]:
    """Measure one problem and say what came out."""
    if name == IMAGENET:
        found = imagenet()
        rate, floor = f"{found['product_rate'] / 1e12:.1f} TFLOP/s", f"{found['floor_s']:.1f} s"
        evaluations = f"{found['evaluations']} + {found['refit_evaluations']} evaluations"
        click.echo(f"{name}: {found['shape']} on {found['device']}: {found['seconds']:.1f} s")
        click.echo(f"  {evaluations}; the floor of their operations at {rate} is {floor}")
        return found
    problem = make(name, data, quick)
    click.echo(f"{name}: {problem.shape}")
    figures = race(problem, store(problem, ROOT / "build" / "benchmark"), plan, click.echo)
    for line in sentences(figures):
        click.echo(f"  {line}")
    return figures


def sentences(found: dict[str, Any]) -> list[str]:
    """Return what was measured on a problem, for a person."""
    at_least = "at least " if found["limited"] else ""
    gap = "unknown" if found["reference_gap"] is None else f"{found['reference_gap']:.0e}"
    lines = [
        f"{at_least}{found['ratio_default']:.2f} x scikit-learn's default stop, "
        f"{at_least}{found['ratio_tight']:.2f} x its tight stop ({found['ours_s']:.2f} s against "
        f"{found['sklearn_default_s']:.2f} and {found['sklearn_tight_s']:.2f} s)",
        f"worst suboptimality: ours {found['ours_suboptimality']:.1e}, refit {found['ours_refit_suboptimality']:.1e}; "
        f"scikit-learn {found['sklearn_default_suboptimality']:.1e}, tight {found['sklearn_tight_suboptimality']:.1e}; "
        f"the reference itself {gap}",
        f"lambda {found['lambda']:.3g}: {choice(found)}; probabilities of the refit within "
        f"{found['probability_difference']:.1e} of the reference's",
        f"{found['evaluations']} + {found['refit_evaluations']} evaluations, {memory(found)}, "
        f"{found['rate_fraction']:.0%} of {found['product_rate'] / 1e9:.0f} GFLOP/s",
    ]
    if found["limited"]:
        lines.insert(0, f"LIMITED: {found['sklearn_fits']} of scikit-learn's fits against our whole sweep")
    if found["busy_over_alone"] is not None:
        low, high = found["busy_over_alone_range"]
        calm, crowded = min(found["loads"]), max(found["loads"])
        lines.append(
            f"next to {found['neighbours']} busy: {found['busy_over_alone']:.2f} x the time alone, "
            f"{found['ours_alone_s']:.2f} s ({low:.2f} to {high:.2f} x; load {calm:.1f} to {crowded:.1f})"
        )
    if not found["converged"]:
        lines.append("a fit of ours did NOT converge")
    return lines


def choice(found: dict[str, Any]) -> str:
    """Say how the chosen lambda compares with that of tight fits."""
    if found["selected"] == "same":
        return "the same as of tight fits"
    low, high = found["reference_plateau"]
    if found["selected"] == "plateau":
        return f"on the plateau of tight fits, {low:.3g} to {high:.3g}"
    return f"tight fits choose {found['reference_lambda']:.3g}"


def memory(found: dict[str, Any]) -> str:
    """Say how much memory the sweep took, the features included."""
    if found["peak_bytes"] is None:
        return "peak memory unknown"
    size = found["features_bytes"]
    return f"peak {found['peak_bytes'] / 1e6:.0f} MB for features of {size / 1e6:.0f} MB"


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures as a markdown table, a line for each problem."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS)]
    for name, found in figures.items():
        bound = "≥ " if found["limited"] else ""
        rows.append(
            (
                name,
                found["shape"],
                f"{found['ours_s']:.2f} s",
                f"{bound}{found['ratio_default']:.1f} x",
                f"{bound}{found['ratio_tight']:.1f} x",
                f"{found['ours_suboptimality']:.0e} / {found['ours_refit_suboptimality']:.0e}",
                f"{found['sklearn_default_suboptimality']:.0e} / {found['sklearn_tight_suboptimality']:.0e}",
                f"{found['lambda']:.3g} ({found['selected']})",
                f"{found['probability_difference']:.0e}",
                f"{found['evaluations']} + {found['refit_evaluations']}",
                "?" if found["peak_bytes"] is None else f"{found['peak_bytes'] / 1e6:.0f} MB",
                f"{found['rate_fraction']:.0%}",
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
