"""The one reader of YAML, for files that may come from anybody: safe tags alone, limits, errors with their line.

What is text stays text: `2024-05-01`, `12:30` and `007` are no date, no number of seconds and no octal number here, as
YAML 1.1 has them, but what was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml

from evalsuite.errors import SpecError
from evalsuite.reading import read_text
from evalsuite.yaml_words import explain

MOST_BYTES = 4 << 20
"""Bytes of a file. The classes and prompts of ImageNet take a tenth of a megabyte."""

MOST_NODES = 250_000
"""Keys and values of a file, those that aliases repeat counted each time. 21,841 classes with two names have 87,000."""

MOST_DEPTH = 40
"""Lists and mappings in one another. A task file has seven."""

MOST_DIGITS = 18
"""Digits of a whole number: those with more do not fit in 64 bits."""

_TEXT_HERE = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:int")
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)$")


def load_yaml(path: Path) -> tuple[Any, yaml.Node | None]:
    """Return what a YAML file holds and its nodes, which know their lines; SpecError says what is wrong where."""
    return parse_yaml(read_text(path, most=MOST_BYTES), path)


def parse_yaml(text: str, place: object) -> tuple[Any, yaml.Node | None]:
    """Return what the text of a YAML file holds and its nodes. place: what the text is from, for the message."""
    if len(text) > MOST_BYTES:
        raise SpecError(f"{place} is larger than {MOST_BYTES >> 20} MB, the most that is read of such a file.")
    try:
        _check_size(text)
        loader = _Loader(text)
        try:
            node: yaml.Node | None = loader.get_single_node()
            return (None if node is None else loader.construct_document(node)), node
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise SpecError(f"{place} is not valid YAML: {explain(error, text)}") from error


@dataclass
class _Opened:
    """A list or mapping that has not ended: its anchor, the nodes before it, the levels in it so far."""

    anchor: str | None
    before: int
    levels: int = 0


def _check_size(text: str) -> None:
    """Raise YAMLError for more nodes or a deeper nesting than is read, aliases followed, without building anything."""
    known: dict[str, tuple[int, int]] = {}  # anchor -> nodes, levels
    opened: list[_Opened] = []
    total = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        levels = 0
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(_Opened(event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = opened.pop()
            levels = ended.levels + 1
            known[ended.anchor or ""] = total - ended.before, levels
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in known:
                raise _at(event, f"the alias {event.anchor!r} stands for nothing, or for itself; a text needs quotes")
            nodes, levels = known[event.anchor]
            total += nodes
        elif isinstance(event, yaml.ScalarEvent):
            if "\0" in event.value:
                raise _at(event, "a text with the character NUL, which nothing here can have")
            known[event.anchor or ""] = 1, 0
            total += 1
        if opened:
            opened[-1].levels = max(opened[-1].levels, levels)
        if total > MOST_NODES:
            raise _at(event, f"it has more than {MOST_NODES:,} keys and values")
        if len(opened) + levels > MOST_DEPTH:
            raise _at(event, f"more than {MOST_DEPTH} lists and mappings are in one another")


def _at(place: yaml.Event | yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    mark: Any = place.start_mark  # libyaml's, which has the same names as PyYAML's own
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _Loader(yaml.CSafeLoader):
    """A safe loader that knows fewer kinds of scalars, and says of each value that is wrong where it is."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        letter: [(tag, form) for tag, form in known if tag not in _TEXT_HERE]
        for letter, known in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError, IndexError) as error:
            tag = node.tag.rpartition(":")[2]
            raise _at(node, f"{str(node.value)[:40]!r} is no {tag}") from error

    def whole(self, node: yaml.ScalarNode) -> int:
        """Return a whole number that other programs can take, too."""
        text = str(self.construct_scalar(node))
        if sum(letter.isalnum() for letter in text) > MOST_DIGITS:
            raise _at(node, f"a number of more than {MOST_DIGITS} digits: put it in quotes if it is a name")
        return int(self.construct_yaml_int(node))


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _WHOLE, list("-+0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole)
