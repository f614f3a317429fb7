"""Hostile files, one by one: images, archives, YAML, sources, checkpoints, models, and names in every format."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.campaign import _code, _features, _files
from tests.campaign._contained import command, contained
from tests.campaign._files import Case
from tests.campaign._names import NAMES, commands, write_records, wrong
from tests.campaign.frame import Finding
from tests.campaign.fuzz import import_everything


def rounds(folder: Path, random: random.Random) -> Iterator[Finding | None]:
    """Meet each hostile file once, in an order of chance."""
    import_everything()
    found: list[Case | tuple[str, str]] = [*_files.cases(), *_code.cases(), *_features.cases()]
    found += [(name, shown) for name in NAMES for shown in commands(folder)]
    random.shuffle(found)
    for number, case in enumerate(found):
        place = folder / str(number)
        place.mkdir()
        fault = _met(case, place) if isinstance(case, Case) else _shown(*case, place)
        shutil.rmtree(place)
        yield (
            Finding(case.name if isinstance(case, Case) else f"name: {case[0]} in {case[1]}", fault) if fault else None
        )


def _met(case: Case, folder: Path) -> str:
    """Let the command line meet a case; return what is wrong with how it ended."""
    arguments = case.build(folder)
    ended = contained(partial(command, arguments), folder)
    outside = [name for name in ("executed", "out", "../out") if (folder / name).is_file()]
    if ended.fault:
        return ended.fault
    if ended.code not in case.codes:
        return f"ended with {ended.code}, not {case.codes}: {ended.printed[-600:]}"
    if outside:
        return f"wrote {outside}"
    if case.said not in ended.printed or (case.unsaid and case.unsaid in ended.printed):
        return f"said {ended.printed[-600:]}"
    return ""


def _shown(name: str, how: str, folder: Path) -> str:
    """Show records with a hostile name; return what is wrong with the output."""
    write_records(folder / "records", NAMES[name])
    kind, arguments = commands(folder / "records")[how]
    ended = contained(partial(command, arguments), folder)
    page = folder / "page.html"
    text = page.read_text("utf-8") if page.exists() else ended.printed
    return ended.fault or (f"ended with {ended.code}: {ended.printed[-600:]}" if ended.code else wrong(kind, text))
