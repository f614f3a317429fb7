"""What is known of the model of a row: its size, its page on the web, and how people spell it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from evalsuite.models.aliases import Alias, aliases
from evalsuite.report.table import Row

HUB = "https://huggingface.co/"
_TIMM = re.compile(r"timm:([\w.-]+)")
_REPOSITORY = re.compile(r"(?:hf|hf-hub):([\w-][\w.-]*/[\w-][\w.-]*)")


@dataclass(frozen=True)
class ModelFacts:
    """Parameters and GFLOPs of the image encoder, None where not known; page: its address, or nothing."""

    parameters: int | None
    gflops: float | None
    page: str
    spellings: tuple[str, ...]


def facts_of(row: Row) -> ModelFacts:
    """Return what the records of a row say, and where they say nothing what the list of models does."""
    alias = _alias_of().get(row.model)
    infos = [cell.info for cell in row.cells.values() if cell.info]
    names = dict.fromkeys(cell.name for cell in row.cells.values())
    known = (alias.title, alias.slug, *alias.names, alias.target) if alias else ()
    return ModelFacts(
        parameters=next((info.parameters for info in infos if info.parameters), alias.parameters if alias else None),
        gflops=next((info.gflops for info in infos if info.gflops), alias.gflops if alias else None),
        page=_page(alias, next(iter(names), "")),
        spellings=tuple(dict.fromkeys((row.title, *names, *known))),
    )


@cache
def _alias_of() -> Mapping[str, Alias]:
    """Return the aliases by the slug of a model, and of its row in a paper."""
    known = {alias.published: alias for alias in aliases().values()}
    return known | {alias.slug: alias for alias in aliases().values()}


def _page(alias: Alias | None, name: str) -> str:
    """Return the address of the weights on the hub, where the name of the model tells it."""
    if alias is not None:
        return HUB + (alias.hub or f"timm/{alias.target}") if alias.hub or alias.backend == "timm" else ""
    if found := _TIMM.fullmatch(name):
        return f"{HUB}timm/{found[1]}"
    found = _REPOSITORY.fullmatch(name)
    return HUB + found[1] if found else ""
