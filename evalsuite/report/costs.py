"""What a model costs: GFLOPs of its image encoder for one image, and its training where that is published."""

from __future__ import annotations

from evalsuite.models.aliases import aliases
from evalsuite.report.html.facts import facts_of
from evalsuite.report.table import Row
from evalsuite.results.figures import read_figures


def gflops_of(row: Row) -> float | None:
    """Return what was counted when the row was measured, else what is known of the model or of one of equal cost."""
    other = read_figures().same_encoder.get(row.model)
    equal = next((alias.gflops for alias in aliases().values() if other and alias.published == other), None)
    return facts_of(row).gflops or equal


def training_days(row: Row) -> float | None:
    """Return the days of one V100 that the training of a model took, where they are published."""
    return next((one.device_days for one in read_figures().training if one.model == row.model), None)
