"""What `evalsuite cache verify` looks at next to features: texts, records, samples, imports, notes, copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalsuite.cli.terminal import say
from evalsuite.text import counted

if TYPE_CHECKING:
    from evalsuite.results.verifying import Checked

SHOWN_PROBLEMS = 10


def show(what: str, problems: Sequence[str], note: str = "") -> bool:
    """Print how something is, and what is wrong with it; return whether anything is."""
    say(f"{what}: {counted(len(problems), 'problem') if problems else 'ok'}{note}")
    for problem in problems[:SHOWN_PROBLEMS]:
        say(f"  {problem}")
    if len(problems) > SHOWN_PROBLEMS:
        say(f"  and {len(problems) - SHOWN_PROBLEMS} more")
    return bool(problems)


def show_checked(found: Checked) -> bool:
    """Print what was looked at, unless there was nothing."""
    if not (found.files or found.problems):
        return False
    old = f"; {found.unsealed} without a checksum: from before there were any" if found.unsealed else ""
    return show(found.what, found.problems, f" ({counted(found.files, 'file')}{old})")


def others(
    cache_dir: Path, outputs: Sequence[Path], wanted: Callable[[str, str], bool], folders: Sequence[Path] | None
) -> Iterator[Checked]:
    """Yield what was found of everything but features.

    wanted: told the model and the task of a result. folders: of the models that were chosen; None: everything is.
    """
    from evalsuite.data.sources.copies import damaged_copies
    from evalsuite.features.verifying import damaged_notes, models_of, verify_model
    from evalsuite.results.verifying import Checked, verify_results, verify_tables

    for folder in models_of(cache_dir) if folders is None else dict.fromkeys(folders):
        files, unsealed, problems = verify_model(folder)
        yield Checked(f"texts of {folder.name}", files, unsealed, tuple(problems))
    for output in outputs:
        yield verify_results(output, lambda result: wanted(result.model, result.task))
    if folders is None:
        yield from verify_tables()
        count, problems = damaged_copies(cache_dir)
        yield Checked("copies of data", count, 0, tuple(problems))
        notes = tuple(damaged_notes(cache_dir))
        yield Checked(f"notes in {cache_dir}", len(notes), 0, notes)
