"""What is wrong with a file that people wrote: of each fault that pydantic finds the line, the key, what to write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from evalsuite.faults import FORMS, in_words, shown, wanted
from evalsuite.registry import did_you_mean
from evalsuite.text import brief, counted, shortened

MOST_FAULTS = 4
"""Faults of a file that are told in one message."""

MOST_LETTERS = 400
"""Letters of what is told of one fault."""

MISSPELT = 0.8
"""How like a key here one has to be that belongs elsewhere, so that it is taken for misspelt, not for misplaced."""

MOST_KEYS = 12
"""Keys that are listed."""

_WHAT_KIND = ("kind", "rule")
"""Keys whose value says which other keys there are."""


@dataclass(frozen=True)
class Keys:
    """Which keys a file may have where. A place is "" for the left edge, then such as "prompts" or "sources[].labels".

    names: place -> its keys. tags: place -> the values of the key that says of which kind it is.
    """

    names: dict[str, list[str]]
    tags: dict[str, list[str]]

    @classmethod
    def of(cls, model: type[BaseModel]) -> Keys:
        """Read them from the schema of a model."""
        schema = model.model_json_schema()
        found = cls({}, {})
        found._walk(schema, schema.get("$defs", {}), "", ())
        return found

    def _walk(self, part: Mapping[str, Any], parts: Mapping[str, Any], place: str, within: Sequence[str]) -> None:
        reference = part.get("$ref", "").rpartition("/")[2]
        if reference and reference not in within:
            self._walk(parts[reference], parts, place, (*within, reference))
        self.tags.setdefault(place, []).extend(part.get("discriminator", {}).get("mapping", ()))
        for form in (*part.get("anyOf", ()), *part.get("oneOf", ()), *part.get("allOf", ())):
            self._walk(form, parts, place, within)
        names = self.names.setdefault(place, [])
        for name, value in part.get("properties", {}).items():
            if name not in names:
                names.append(name)
            self._walk(value, parts, f"{place}.{name}".lstrip("."), within)
        for inner, end in (("items", "[]"), ("additionalProperties", ".*")):
            if isinstance(part.get(inner), dict):
                self._walk(part[inner], parts, place + end, within)

    def place(self, path: Iterable[int | str]) -> str:
        """Return the place of what lies at keys and numbers in a file."""
        found = ""
        for part in path:
            known = isinstance(part, str) and part in self.names.get(found, ())
            found = f"{found}.{part}".lstrip(".") if known else found + ("[]" if isinstance(part, int) else ".*")
        return found


@dataclass(frozen=True)
class Fault:
    """A fault and where it is.

    path: keys and numbers in the file. form: what pydantic calls one of several forms that the value may have.
    needed: what the value has to be, in each of its forms.
    """

    item: Mapping[str, Any]
    line: int
    path: tuple[int | str, ...]
    value: yaml.Node
    form: str = ""
    needed: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What pydantic calls it."""
        return str(self.item["type"])

    @property
    def parent(self) -> tuple[int | str, ...]:
        """Where the key is missing, or should not be."""
        return self.path[:-1] if self.kind == "extra_forbidden" else self.path


def tell(error: ValidationError, model: type[BaseModel], node: yaml.Node) -> list[str]:
    """Return a line for each of the first faults of a file, and one that says how many more there are."""
    keys = Keys.of(model)
    found = _without_echoes([_located(item, node) for item in error.errors(include_url=False)], keys)
    lines = [brief(_line(fault, keys), lines=1, letters=MOST_LETTERS) for fault in found[:MOST_FAULTS]]
    more = len(found) - len(lines)
    return [*lines, *([f"  and {counted(more, 'fault')} more."] if more else [])]


def _located(item: Mapping[str, Any], node: yaml.Node) -> Fault:
    """Find the deepest part of a fault's place that is in the file."""
    location: tuple[int | str, ...] = item["loc"]
    if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
        location = (*location, str(item["ctx"]["discriminator"]).strip("'"))
    line, path, form = node.start_mark.line + 1, [], ""
    for part in location:
        child = _child(node, part)
        if child is not None:
            node, line = child
            path.append(part)
        elif not _says(node, part):
            form = str(part)
    return Fault(item, line, tuple(path), node, form)


def _says(node: yaml.Node, part: int | str) -> bool:
    """Say whether a mapping has `kind: part`: pydantic puts that into its places."""
    return isinstance(node, yaml.MappingNode) and any(
        key.value in _WHAT_KIND and value.value == part for key, value in node.value
    )


def _child(node: yaml.Node, part: int | str) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        child = node.value[part]
        return child, child.start_mark.line + 1
    return None


def _without_echoes(faults: Sequence[Fault], keys: Keys) -> list[Fault]:
    """Return each fault once: where a value may have several forms, pydantic tells what it lacks for each of them."""
    kept: dict[tuple[object, ...], Fault] = {}
    for fault in faults:
        if fault.kind in FORMS or fault.kind == "literal_error":
            if any(_is_inside(other, fault) for other in faults):
                continue
            first = kept.get((fault.path, "form"), fault)
            needed = dict.fromkeys((*first.needed, str(wanted(fault.item))))
            kept[fault.path, "form"] = replace(first, needed=tuple(needed))
        elif not (fault.kind == "missing" and any(_explains(other, fault, keys) for other in faults)):
            name = fault.item["loc"][-1] if fault.kind == "missing" else ""
            kept.setdefault((fault.path, fault.kind, name), fault)
    return list(kept.values())


def _is_inside(other: Fault, fault: Fault) -> bool:
    """Say whether another fault is in the value of this one: the value has one of its forms, and a fault in it."""
    inside = other.path[: len(fault.path)] == fault.path
    return inside and (other.path != fault.path or other.kind == "missing")


def _explains(unknown: Fault, missing: Fault, keys: Keys) -> bool:
    """Say whether a key is missing because it is written otherwise, or only in a form that is not meant."""
    if unknown.kind != "extra_forbidden" or unknown.parent != missing.parent:
        return False
    return bool(missing.form) or f" {missing.item['loc'][-1]}?" in _unknown_key(unknown, keys)


def _line(fault: Fault, keys: Keys) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault.path).removeprefix(".")
    where = f"  line {fault.line}" + (f", {path}" if path else "")
    text = _told(fault, keys)
    return f"{where}: {text}" if text.endswith("?") else f"{where}: {text}."


def _told(fault: Fault, keys: Keys) -> str:
    value = fault.item["input"]
    if fault.kind == "extra_forbidden":
        return _unknown_key(fault, keys).removesuffix(".")
    if fault.kind == "union_tag_invalid":
        name, tag = fault.path[-1], str(fault.item["ctx"]["tag"])
        known = re.findall("'([^']+)'", fault.item["ctx"]["expected_tags"])
        return f"unknown {name} {tag!r}.{did_you_mean(tag, known)} Known: {', '.join(known)}"
    if fault.kind == "union_tag_not_found":
        known = keys.tags.get(keys.place(fault.path), [])
        return f"{in_words(fault.item)}: it is one of {', '.join(known)}"
    if fault.needed:
        return f"it must be {' or '.join(fault.needed)}, not {shown(value)}{_how(fault, keys)}"
    return in_words(fault.item)


def _unknown_key(fault: Fault, keys: Keys) -> str:
    """Say what to do with a key that does not belong where it is: move it, or write it otherwise."""
    name, here = str(fault.path[-1]), keys.place(fault.parent)
    own = keys.names.get(here, [])
    if name in own:
        return f"the key {name!r} belongs to another {' or '.join(_WHAT_KIND)} than the one given here."
    homes = [place for place, names in keys.names.items() if name in names]
    if not homes or get_close_matches(name, own, cutoff=MISSPELT):
        hint = did_you_mean(name, own) or f" Keys here: {shortened(own, MOST_KEYS)}."
        return f"unknown key {name!r}.{hint}"
    if "" in homes:
        return f"the key {name!r} is too deep: it begins at the left edge of the file."
    below = shortened([f"`{place.replace('[]', '').replace('.*', '')}:`" for place in homes], 3)
    return f"the key {name!r} is in the wrong place: it belongs below {below}, two spaces deeper."


def _how(fault: Fault, keys: Keys) -> str:
    """Say how a value is written in the form that it should have."""
    value, needed = fault.item["input"], fault.needed
    if isinstance(value, bool):
        return " (YAML reads yes, no, on and off as true and false: put the word in quotes)"
    if FORMS["list_type"] in needed:
        if isinstance(value, dict) and all(isinstance(key, int) for key in value):
            return f": write [{shortened([str(name) for name in value.values()], 3)}], without numbers"
        if isinstance(value, dict):
            return ": begin each entry with `- `"
        return "" if value is None else f": write [{brief(str(value), lines=1, letters=40)}]"
    if FORMS["model_type"] in needed:
        names = keys.names.get(keys.place(fault.path), [])
        listed = f" ({shortened(names, MOST_KEYS)})" if names else ""
        return ": leave out the `- `" if isinstance(value, list) else f": its keys{listed} go below it, indented"
    if FORMS["string_type"] in needed:
        scalar = value is not None and not isinstance(value, dict | list)
        return f": put it in quotes, '{value}'" if scalar else "" if value is None else ": put the text in quotes"
    return ""
