"""Regular expressions of task files, matched within a time limit: some of them would go on for ever."""

from __future__ import annotations

import time
from collections.abc import Sequence

import regex

from evalsuite.errors import DataError, SpecError

MOST_LETTERS = 1_000
"""Letters of an expression."""

SECONDS = 5.0
"""For all paths of a pool, with `SECONDS_PER_PATH` for each; a usual expression takes microseconds."""

SECONDS_PER_PATH = 1e-3


def first_groups(expression: str, paths: Sequence[str], source: str, key: str) -> list[str]:
    """Return the first group of an expression, the value of `key` of a source, in each path.

    Raises SpecError for what is no expression with a group, or takes too long, DataError for a path it does not match.
    """
    if len(expression) > MOST_LETTERS:
        raise SpecError(f"{source}: `{key}` has {len(expression):,} letters; the most is {MOST_LETTERS:,}.")
    try:
        pattern = regex.compile(expression)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise SpecError(f"{source}: `{key}` is no regular expression ({error}): {expression!r}.") from error
    if pattern.groups < 1:
        raise SpecError(f"{source}: `{key}` needs a pair of parentheses around the {key}: {expression!r}.")
    end = time.monotonic() + SECONDS + SECONDS_PER_PATH * len(paths)
    found = []
    for path in paths:
        try:
            match = pattern.search(path, timeout=max(end - time.monotonic(), 0.001))
        except TimeoutError:
            raise SpecError(
                f"{source}: `{key}` ({expression!r}) takes too long on {path!r}: it can be matched in too many ways. "
                "Let each part end where the next begins, such as [^/]+/ instead of .+/."
            ) from None
        if match is None or match.group(1) is None:
            raise DataError(f"{source}: `{key}` ({expression!r}) does not match the sample {path!r}.")
        found.append(str(match.group(1)))
    return found
