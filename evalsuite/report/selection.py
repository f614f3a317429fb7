"""Choose among results: names and patterns a person gave, and which of several records of a job counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase

from evalsuite.errors import UsageError
from evalsuite.records import Result
from evalsuite.registry import did_you_mean


def resolve_names(kind: str, patterns: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the known names that `patterns` match, in their order; None: every known name.

    kind: what the names are, for the UsageError about a pattern that matches nothing.
    """
    if patterns is None:
        return list(known)
    chosen: dict[str, None] = {}
    for pattern in patterns:
        folded = pattern.casefold()
        found = [name for name in known if name.casefold() == folded or fnmatchcase(name.casefold(), folded)]
        if not found:
            raise UsageError(
                f"There is no result for the {kind} {pattern!r}.{did_you_mean(pattern, known)} "
                f"There are results for: {', '.join(known) or 'none'}."
            )
        chosen |= dict.fromkeys(found)
    return list(chosen)


def has_value(record: Result) -> bool:
    """Say whether a record has a finite value, of all samples or of a part of them."""
    return record.status in ("ok", "partial") and record.metric is not None and math.isfinite(record.metric.value)


def preference(record: Result) -> tuple[bool, str]:
    """Return what the record to show has most of: ok before partial, then the newest."""
    return record.status == "ok", record.provenance.created if record.provenance else ""


def problem_of(record: Result) -> tuple[str, str] | None:
    """Return (word, message) for a record that has no value, on one line; None for one that has."""
    if has_value(record):
        return None
    if record.status in ("ok", "partial"):
        return "error", "the record has no finite value; run it again."
    message = " ".join(record.error.message.split()) if record.error else "no reason was recorded."
    if record.status == "not_applicable":
        return "not applicable", message
    return "error", f"{record.error.kind}: {message}" if record.error else message
