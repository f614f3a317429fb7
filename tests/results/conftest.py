"""What tests of stores share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalsuite.records import Result
from evalsuite.results.store import load_stored


def load_results(paths: Sequence[Path]) -> tuple[list[Result], list[str]]:
    """Return the records under `paths`, without their files, and the warnings."""
    stored, warnings = load_stored(paths)
    return [item.result for item in stored], warnings
