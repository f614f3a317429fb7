"""Exact search over features on the disk: seconds of processors beyond the product, and memory above the map.

    python -m benchmarks.search
    python -m benchmarks.search --rows 100000 --json search.json

Timed is `evalsuite.applied.searching.nearest_stored` for a batch of queries over float16 rows that are mapped into
memory. The product is that of the same queries with the same rows in float32, in memory, which nothing exact can do
without. Memory is the growth of the process's own pages (RssAnon): those of the map are the system's.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from evalsuite.applied.searching import CHUNK_BYTES, nearest_stored


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, type=click.IntRange(1), help="Images.")
@click.option("--dim", default=512, show_default=True, type=click.IntRange(1), help="Dimensions of the features.")
@click.option("--queries", default=32, show_default=True, type=click.IntRange(1), help="Queries at a time.")
@click.option("--top", default=24, show_default=True, type=click.IntRange(1), help="Images found for each.")
@click.option("--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def main(rows: int, dim: int, queries: int, top: int, target: Path | None) -> None:
    """Measure a search."""
    torch.manual_seed(0)
    asked = torch.randn(queries, dim)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        written = np.lib.format.open_memmap(path, "w+", np.float16, (rows, dim))
        step = max(1, CHUNK_BYTES // (2 * dim))
        for start in range(0, rows, step):
            block = written[start : start + step]
            block[:] = torch.randn(block.shape).half().numpy()
        written.flush()
        del written, block
        features = np.load(path, mmap_mode="r")
        nearest_stored(asked, features[:step], None, top)  # whatever is only done once
        with Peak() as peak:
            started = time.process_time()
            nearest_stored(asked, features, None, top)
            search = time.process_time() - started
        product = _product(asked, dim, rows)
    found: dict[str, Any] = {
        "rows": rows, "dim": dim, "queries": queries, "search_s": search, "product_s": product,
        "beyond_s": search - product, "memory_bytes": peak.growth,
    }  # fmt: skip
    click.echo(
        f"{queries} queries in {rows:,} x {dim} float16: {search:.2f} s of processors, {search - product:.2f} s beyond "
        f"the product; {peak.growth / 1e6:.0f} MB above the map"
    )
    if target is not None:
        target.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


def _product(queries: torch.Tensor, dim: int, rows: int) -> float:
    """Return the seconds of processors that the product takes, block by block, with nothing around it."""
    block = torch.randn(min(rows, CHUNK_BYTES // (2 * dim)), dim)
    queries @ block.T
    started = time.process_time()
    for _ in range(0, rows, len(block)):
        queries @ block.T
    return time.process_time() - started


class Peak:
    """How much the pages of this process alone grow inside a context. growth: bytes."""

    def __init__(self) -> None:
        self.growth = 0
        self._over = threading.Event()

    def __enter__(self) -> Peak:
        self._before = _own_bytes()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self.growth = max(self.growth, _own_bytes() - self._before)


def _own_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
