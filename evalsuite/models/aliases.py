"""The models with names of their own: data in aliases.yaml, checked when read. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evalsuite.errors import EvalsuiteError
from evalsuite.records import WeightFidelity, first_problem
from evalsuite.yaml_loading import load_yaml

ALIASES_FILE = Path(__file__).with_name("aliases.yaml")
WITHOUT_FILE = Path(__file__).with_name("without_alias.yaml")


class Alias(BaseModel):
    """One entry of aliases.yaml; the head of that file says what the fields mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slug: str
    title: str
    names: tuple[str, ...] = ()
    backend: Literal["open_clip", "timm"]
    target: str
    hub: str | None = None
    input_size: int = Field(gt=0)
    parameters: int = Field(gt=0)
    gflops: float = Field(gt=0)
    layer: str
    published: str
    weight_fidelity: WeightFidelity
    note: str = ""

    @property
    def all_names(self) -> set[str]:
        """Every name and slug it answers to, in lower case."""
        return {name.casefold() for name in (self.slug, *self.names)}


@cache
def aliases() -> Mapping[str, Alias]:
    """Return every alias by slug, in the order of the file."""
    return read_aliases(ALIASES_FILE)


@cache
def rows_without_alias() -> Mapping[str, str]:
    """Return the rows of the paper's table 10 that no alias stands for: slug -> why."""
    entries, _ = load_yaml(WITHOUT_FILE)
    found: dict[str, str] = dict(entries)
    return found


def read_aliases(path: Path) -> dict[str, Alias]:
    """Read and check an alias file: slug -> Alias.

    Raises EvalsuiteError naming the file and the entry: a wrong field, or a name that is given twice.
    """
    entries, _ = load_yaml(path)
    if not isinstance(entries, dict):
        raise EvalsuiteError(f"{path}: must be a mapping of slug -> fields.")
    found: dict[str, Alias] = {}
    owner: dict[str, str] = {}
    for slug, fields in entries.items():
        try:
            alias = Alias(slug=slug, **fields)
        except TypeError as error:
            raise EvalsuiteError(f"{path}: the entry {slug!r} must hold `key: value` pairs.") from error
        except ValidationError as error:
            raise EvalsuiteError(f"{path}: the entry {slug!r} is wrong: {first_problem(error)}.") from error
        for name in alias.all_names:
            if name in owner:
                raise EvalsuiteError(f"{path}: the name {name!r} belongs to {owner[name]!r} and {slug!r}.")
            owner[name] = slug
        found[slug] = alias
    return found


def find_alias(name: str) -> Alias | None:
    """Return the alias with this slug or name, ignoring case."""
    return next((alias for alias in aliases().values() if name.casefold() in alias.all_names), None)


def alias_of_target(backend: str, target: str) -> Alias | None:
    """Return the alias of these weights: `open_clip:ViT-B-32/openai` is `ViT-B/32` under another name."""
    return next((alias for alias in aliases().values() if (alias.backend, alias.target) == (backend, target)), None)


def alias_names() -> list[str]:
    """Return every name and slug that an alias answers to."""
    return [name for alias in aliases().values() for name in (*alias.names, alias.slug)]
