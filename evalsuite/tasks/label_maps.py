"""The `labels` of a source: how its raw labels become keys of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import field_validator, model_validator

from evalsuite.errors import SpecError
from evalsuite.registry import nearest
from evalsuite.tasks.parts import Strict
from evalsuite.text import composed, shortened


class ByCode(Strict):
    """Raw labels are codes of this source: {raw: class key}."""

    by_code: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _codes_are_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("by_code"), dict):
            return {**value, "by_code": {str(raw): composed(str(key)) for raw, key in value["by_code"].items()}}
        return value


class ByIndex(Strict):
    """Raw labels are integers: the class keys in this source's order.

    `classes` states that the source has the order of the task's class list.
    """

    by_index: Literal["classes"] | list[str]

    @field_validator("by_index")
    @classmethod
    def _one_form(cls, value: Literal["classes"] | list[str]) -> Literal["classes"] | list[str]:
        return [composed(key) for key in value] if isinstance(value, list) else value


LabelMap = Literal["by_key", "by_name"] | ByCode | ByIndex
"""`by_name`: raw labels are names or keys of the classes, in other case or punctuation perhaps."""


def check_label_map(labels: LabelMap, keys: Sequence[str], place: str) -> None:
    """Raise SpecError where a map names what is no class, or leaves a class without a label.

    keys: the keys of the task's classes. place: what the map belongs to, for the message.
    """
    if isinstance(labels, ByCode):
        rule, mapped = "by_code", list(labels.by_code.values())
    elif isinstance(labels, ByIndex) and labels.by_index != "classes":
        rule, mapped = "by_index", labels.by_index
    else:
        return
    classes, labelled = set(keys), set(mapped)
    strange, absent = [key for key in mapped if key not in classes], [key for key in keys if key not in labelled]
    problems = []
    if strange:
        near = nearest(strange[0], keys)
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        problems.append(f"keys that are no class: {shortened(list(map(repr, strange)))}{hint}")
    if absent:
        problems.append(f"classes without a label: {shortened(list(map(repr, absent)))}")
    if rule == "by_index" and len(labelled) != len(mapped):
        problems.append(f"{Counter(mapped).most_common(1)[0][0]!r} is listed twice")
    if problems:
        raise SpecError(f"{place}: `{rule}` does not fit the classes ({'; '.join(problems)}).")


def describe_label_map(labels: LabelMap) -> str:
    """Say in words what the raw labels of a source are."""
    if isinstance(labels, ByCode):
        return "codes, " + ", ".join(f"{raw} = {key}" for raw, key in labels.by_code.items())
    if isinstance(labels, ByIndex):
        order = "of the classes" if labels.by_index == "classes" else ", ".join(labels.by_index)
        return f"numbers, in the order {order}"
    return "the keys of the classes" if labels == "by_key" else "names of the classes, in any spelling"
