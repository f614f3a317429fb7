"""What a model costs: GFLOPs of its image encoder for one image, and its training where that is published."""

from __future__ import annotations

from evalsuite.models.aliases import aliases
from evalsuite.report.table import Row
from evalsuite.results.figures import read_figures


def known_gflops() -> dict[str, float]:
    """Return GFLOPs by the slug of a model, and of its row in a paper."""
    known = {alias.published: alias.gflops for alias in aliases().values()}
    known |= {alias.slug: alias.gflops for alias in aliases().values()}
    return known | {row: known[other] for row, other in read_figures().same_encoder.items()}


def gflops_of(row: Row, known: dict[str, float]) -> float | None:
    """Return what was counted when the row was measured, else what is known of the model."""
    counted = (cell.info.gflops for cell in row.cells.values() if cell.info)
    return next((gflops for gflops in counted if gflops), None) or known.get(row.model)


def training_days(row: Row) -> float | None:
    """Return the days of one V100 that the training of a model took, where they are published."""
    return next((one.device_days for one in read_figures().training if one.model == row.model), None)
