"""Read YAML into pydantic models, with errors that name the file, the line and the nearest known key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from evalsuite.errors import SpecError
from evalsuite.tasks.yaml_faults import tell
from evalsuite.yaml_loading import load_yaml, parse_yaml

M = TypeVar("M", bound=BaseModel)


def read_yaml(path: Path) -> tuple[dict[str, Any], yaml.Node]:
    """Return the mapping in a YAML file and its node tree; SpecError where it is not one."""
    return _checked(path, *load_yaml(path))


def parse_mapping(text: str, path: Path) -> tuple[dict[str, Any], yaml.Node]:
    """Return the mapping in the text of a YAML file and its node tree; SpecError where it is not one."""
    return _checked(path, *parse_yaml(text, path))


def _checked(path: Path, value: Any, node: yaml.Node | None) -> tuple[dict[str, Any], yaml.Node]:
    if value is None or node is None:
        raise SpecError(f"{path} is empty: it must hold `key: value` lines, such as `title: My birds`.")
    if not isinstance(value, dict):
        found = {list: "a list: leave out the `- ` before the first key"}.get(
            type(value), "a text: write a colon and a space behind each key"
        )
        raise SpecError(f"{path}, line {node.start_mark.line + 1}: it must hold `key: value` lines, not {found}.")
    _refuse_duplicate_keys(path, node)
    return value, node


def validate(model: type[M], value: dict[str, Any], path: Path, node: yaml.Node) -> M:
    """Return `value` as `model`; SpecError lists the first faults with their lines and what to write instead."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        title = model.__name__.removesuffix("Spec").lower()
        raise SpecError("\n".join([f"{path} is not a valid {title} file:", *tell(error, model, node)])) from None


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
