"""Nearest neighbours against one matrix product and topk by hand, on the same rows, in turn, in one run.

    python -m benchmarks.nearest
    python -m benchmarks.nearest --queries 2000 --rows 10000 --json nearest.json

Timed is what the protocol `knn` does to find the neighbours of its test images: `evalsuite.nearest.nearest` on stored
features, which normalises, multiplies, takes the k highest and merges blocks. By hand is the product of rows that are
normalised already, in chunks of as many queries, and torch.topk: nothing exact on one device can do less.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

from evalsuite.nearest import CPU_BLOCK_BYTES, nearest, unit


@click.command()
@click.option("--queries", default=10_000, show_default=True, type=click.IntRange(1), help="Test images.")
@click.option("--rows", default=50_000, show_default=True, type=click.IntRange(1), help="Training images.")
@click.option("--dim", default=512, show_default=True, type=click.IntRange(1), help="Dimensions of the features.")
@click.option("--k", default=200, show_default=True, type=click.IntRange(1), help="Neighbours of each.")
@click.option("--half", is_flag=True, help="Features in float16, as a GPU stores them.")
@click.option(
    "--repeats", default=3, show_default=True, type=click.IntRange(1), help="Times that both take their turn."
)
@click.option("--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def main(queries: int, rows: int, dim: int, k: int, half: bool, repeats: int, target: Path | None) -> None:
    """Compare the search for neighbours with a product and topk."""
    torch.manual_seed(0)
    kind = torch.float16 if half else torch.float32
    asked, bank = torch.randn(queries, dim).to(kind), torch.randn(rows, dim).to(kind)
    ready = unit(asked), unit(bank)
    ours, theirs = _in_turn(lambda: nearest(asked, bank, k).similarity, lambda: by_hand(*ready, k), repeats)
    ratios = [first / second for first, second in zip(ours, theirs, strict=True)]
    found: dict[str, Any] = {
        "queries": queries, "rows": rows, "dim": dim, "k": k, "half": half,
        "ours_s": median(ours), "by_hand_s": median(theirs), "ratio": median(ratios),
    }  # fmt: skip
    click.echo(
        f"{queries:,} x {rows:,} x {dim}, k = {k}: {found['ratio']:.2f} x a product and topk by hand "
        f"({found['ours_s']:.2f} s against {found['by_hand_s']:.2f} s; {min(ratios):.2f} to {max(ratios):.2f})"
    )
    if target is not None:
        target.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def by_hand(queries: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    """Return the k highest products of unit rows, (n, k)."""
    step = max(1, CPU_BLOCK_BYTES // (4 * len(bank)))
    return torch.cat([(part @ bank.T).topk(k).values for part in queries.split(step)])


def _in_turn(
    first: Callable[[], torch.Tensor], second: Callable[[], torch.Tensor], repeats: int
) -> tuple[list[float], list[float]]:
    """Return the seconds that each took, in turn; the two must find the same."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        results = []
        for call, taken in zip((first, second), times, strict=True):
            started = time.perf_counter()
            results.append(call())
            taken.append(time.perf_counter() - started)
        torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
    return times


if __name__ == "__main__":
    main()
