"""Read YAML into pydantic models, with errors that name the file, the line and the nearest known key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from evalsuite.errors import SpecError
from evalsuite.registry import did_you_mean
from evalsuite.text import brief, counted
from evalsuite.yaml_loading import load_yaml, parse_yaml

MOST_FAULTS = 4
"""Faults of a file that are told in one message."""

MOST_LETTERS = 400
"""Letters of what is told of one fault."""

M = TypeVar("M", bound=BaseModel)
_Location = Sequence[int | str]


def read_yaml(path: Path) -> tuple[dict[str, Any], yaml.Node]:
    """Return the mapping in a YAML file and its node tree; SpecError where it is not one."""
    return _checked(path, *load_yaml(path))


def parse_mapping(text: str, path: Path) -> tuple[dict[str, Any], yaml.Node]:
    """Return the mapping in the text of a YAML file and its node tree; SpecError where it is not one."""
    return _checked(path, *parse_yaml(text, path))


def _checked(path: Path, value: Any, node: yaml.Node | None) -> tuple[dict[str, Any], yaml.Node]:
    if not isinstance(value, dict) or node is None:
        raise SpecError(f"{path} must hold a mapping of keys to values, not {type(value).__name__}.")
    _refuse_duplicate_keys(path, node)
    return value, node


def validate(model: type[M], value: dict[str, Any], path: Path, node: yaml.Node) -> M:
    """Return `value` as `model`; SpecError lists the first faults with their lines and what to write instead."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        items = [item for item in error.errors(include_url=False) if not _of_another_form(item)]
        faults = [brief(_fault(model, item, node), lines=1, letters=MOST_LETTERS) for item in items[:MOST_FAULTS]]
        more = [f"  and {counted(len(items) - len(faults), 'fault')} more."] if len(items) > len(faults) else []
        raise SpecError("\n".join([f"{path} is not a valid {_title(model)} file:", *faults, *more])) from None


def _of_another_form(item: Any) -> bool:
    """Tell whether a fault is that a mapping is no text, where either is allowed and the mapping has faults, too."""
    form = str(item["loc"][-1])
    return item["type"] == "string_type" and (form == "str" or form.startswith("function-after["))


def _title(model: type[BaseModel]) -> str:
    return model.__name__.removesuffix("Spec").lower()


def _fault(model: type[BaseModel], item: Any, node: yaml.Node) -> str:
    location: tuple[int | str, ...] = item["loc"]
    line, shown = _locate(node, location)
    where = f"  line {line}" + (f", {shown}" if shown else "")
    if item["type"] == "extra_forbidden":
        key = str(location[-1])
        return f"{where}: unknown key {key!r}.{did_you_mean(key, known_keys(model))}"
    if item["type"] == "missing":
        return f"{where}: the key {location[-1]!r} is missing."
    message = item["msg"].removeprefix("Value error, ")
    if isinstance(item["input"], bool) and item["type"] != "bool_type":
        message += " (YAML reads yes, no, on and off as true and false: put the word in quotes)"
    return f"{where}: {message}."


def known_keys(model: type[BaseModel]) -> list[str]:
    """Return the keys of a model and of every model it is made of."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return sorted({key for part in parts for key in part.get("properties", {})})


def _locate(node: yaml.Node, location: _Location) -> tuple[int, str]:
    """Return the line of the deepest part of `location` that is in the file, and that part as text."""
    shown: list[str] = []
    line = node.start_mark.line + 1
    for part in location:
        child = _child(node, part)
        if child is None:  # names of union members are in pydantic's locations, not in the file
            continue
        node, line = child
        shown.append(f"[{part}]" if isinstance(part, int) else f".{part}")
    return line, "".join(shown).removeprefix(".")


def _child(node: yaml.Node, part: int | str) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child = node.value[part]
        return child, child.start_mark.line + 1
    return None


def _refuse_duplicate_keys(path: Path, node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise SpecError(f"{path}, line {line}: the key {key.value!r} is given twice.")
            seen.add(key.value)
            _refuse_duplicate_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_duplicate_keys(path, child)
