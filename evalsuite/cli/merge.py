"""evalsuite merge: join the stores of machines that share no disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from evalsuite.cli.options import Command
from evalsuite.cli.terminal import say
from evalsuite.errors import EvalsuiteError, UsageError
from evalsuite.text import counted

if TYPE_CHECKING:
    from evalsuite.features.merging import FeaturePlan
    from evalsuite.results.merging import ResultPlan

SHOWN = 3


@click.command(
    cls=Command,
    epilog="""
    evalsuite merge node1 node2 node3 --to all            what runs with --shard wrote on three machines
    evalsuite merge node*/results --to results --dry-run  what would be done
    """,
)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR...")
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where all of it goes.")
@click.option("--dry-run", is_flag=True, help="Show what would be done and stop.")
def merge(folders: tuple[Path, ...], to: Path, dry_run: bool) -> int:
    """Join folders of results and of features.

    Each DIR has results, features (a --cache-dir) or both in it; what lies at the same place below two of them is of
    the same job, and lies there below the new one. Two values of a job that differ, or features of other images, are
    refused before anything is written. The same command again does what is left.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}.")
    sources = [folder for folder in folders if folder.resolve() != to.resolve()]
    from evalsuite.atomic import check_writable
    from evalsuite.features.merging import plan_features
    from evalsuite.results.merging import plan_results

    results, features = plan_results(sources, to), plan_features(sources, to)
    _refuse([*results.contradictions, *features.contradictions])
    left_out = [*results.unreadable, *features.unreadable]
    for text in left_out:
        say(f"left out: {text}", err=True)
    rows = sum(pool.rows for pool in features.pools)
    amount = f"{counted(len(results.copies), 'record')} and {counted(rows, 'row')} of features"
    if dry_run:
        for source, target in results.copies.items():
            say(f"{source} -> {target}")
        for path in results.outdated:
            say(f"{path} is removed: its job has a value")
        for pool in features.pools:
            say(f"{counted(pool.rows, 'row')} -> {pool.target}")
        say(f"{amount} to merge into {to}. Nothing was done (--dry-run).")
    else:
        check_writable(to, "--to")
        _carry_out(results, features, rows)
        say(f"{amount} merged into {to}.")
    return 1 if left_out else 0


def _refuse(contradictions: Sequence[str]) -> None:
    if contradictions:
        shown = "\n".join(f"  {text}" for text in contradictions[:SHOWN])
        more = f"\n  and {len(contradictions) - SHOWN} more" if len(contradictions) > SHOWN else ""
        raise EvalsuiteError(
            f"{counted(len(contradictions), 'contradiction')}; nothing was merged:\n{shown}{more}\n"
            "Leave a folder out, or remove what is wrong from it."
        )


def _carry_out(results: ResultPlan, features: FeaturePlan, rows: int) -> None:
    from evalsuite import atomic
    from evalsuite.cli.progress import make_reporter
    from evalsuite.features.merging import merge_pool
    from evalsuite.results.merging import copy_record
    from evalsuite.results.store import remove_record

    done = 0
    with make_reporter() as reporter:

        def on_rows(count: int) -> None:
            nonlocal done
            done += count
            reporter.progress("features", done, rows, "rows")

        # Features first: a record without them is computed again where one of its images has changed.
        for target, source in features.files.items():
            atomic.write_bytes(target, source.read_bytes())
        for pool in features.pools:
            merge_pool(pool, reporter.note, on_rows)
        for source, target in results.copies.items():
            copy_record(source, target, reporter.note)
        for path in results.outdated:
            remove_record(path)
