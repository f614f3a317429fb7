"""What is wrong with a YAML file, for people who do not know the words of the parser: the line, and what to write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

LONGEST = 100
"""Letters of a line that is shown."""


@dataclass(frozen=True)
class Place:
    """A place in a text: its lines, and the line and the column where the parser stopped, counted from 0."""

    lines: list[str]
    number: int
    column: int

    @property
    def line(self) -> str:
        """The line, empty behind the end of the text."""
        return self.lines[self.number] if self.number < len(self.lines) else ""

    @property
    def indent(self) -> int:
        """How many signs of white space the line begins with."""
        return len(self.line) - len(self.line.lstrip())

    def before(self) -> Place:
        """Return the line before it that has something in it, or this one where there is none."""
        for number in range(self.number - 1, -1, -1):
            if self.lines[number].strip() and not self.lines[number].lstrip().startswith("#"):
                return Place(self.lines, number, 0)
        return self

    @property
    def inner(self) -> int:
        """Where the keys of the line begin: behind the `- ` of a list."""
        found = re.match(r"\s*(- +)*", self.line)
        return found.end() if found else 0


def explain(error: yaml.YAMLError, text: str) -> str:
    """Return what is wrong and how it is written, with the line, and below it the line itself."""
    lines = text.split("\n")
    if isinstance(error, yaml.reader.ReaderError):
        before = text.encode()[: error.position].decode(errors="ignore")  # libyaml counts bytes
        code = error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")
        place = Place(lines, before.count("\n"), len(before) - before.rfind("\n") - 1)
        return _told(place, f"the character U+{code:04X}, which no text has: remove it")
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return str(error.problem or error)
    place = Place(lines, mark.line, mark.column)
    start = error.context_mark or mark
    return _told(*_reason(str(error.problem or ""), str(error.context or ""), place, _at(lines, start)))


def _at(lines: list[str], mark: Any) -> Place:
    return Place(lines, mark.line, mark.column)


def _told(place: Place, words: str) -> str:
    line = place.line.rstrip().replace("\t", "\\t")
    if len(line) > LONGEST:
        line = f"{line[:LONGEST]}..."
    shown = f"\n  {place.number + 1} | {line}" if line.strip() else ""
    return f"line {place.number + 1}, column {place.column + 1}: {words}.{shown}"


def _reason(problem: str, context: str, place: Place, start: Place) -> tuple[Place, str]:
    """Return where the cause is, and it. start: of the list, text or mapping that the parser was in."""
    for near in (place, place.before()):
        if "\t" in near.line[: near.indent]:
            column = near.line.index("\t")
            return Place(near.lines, near.number, column), "a tab; indent with spaces, two for each level"
    if "mapping values are not allowed" in problem:
        last = place.before()
        if last.inner == place.inner and not re.search(r":(\s|$)", last.line):
            return last, _no_colon(last)
        return place, _second_colon(place)
    if "did not find expected key" in problem or "expected '-' indicator" in problem:
        return place, _misplaced(place)
    if "expected <document start>" in problem:
        return place, "this line begins further left than the first one: let all keys of the file begin in column 1"
    if "could not find expected ':'" in problem:
        return start, _no_colon(start)
    if "',' or ']'" in problem or "',' or '}'" in problem:
        return start, _not_closed(start)
    if "flow node" in context and not place.line.strip() and (opened := _opened(place)):
        return opened, _not_closed(opened)
    for said, words in _SAYINGS:
        if said in problem:
            near = start if "quoted scalar" in context and "end of stream" in problem else place
            return near, words.format(sign=near.line[near.column : near.column + 1])
    return place, ", ".join(part for part in (problem, context) if part)


def _second_colon(place: Place) -> str:
    if ": " in place.line[: place.column] or place.line[: place.column].rstrip().endswith(":"):
        key, _, value = place.line.strip().removeprefix("- ").partition(":")
        return f"a second colon: put the text in quotes, `{key}: '{value.strip()}'`"
    return (
        f"this line is indented, but the one before it has a value already: begin it in column "
        f"{place.before().inner + 1}"
    )


def _misplaced(place: Place) -> str:
    if place.column > place.inner:
        for number in range(place.number):
            if place.lines[number].count("'") % 2 and re.search(r"[:\[,-] *'", place.lines[number]):
                return f"the quote in line {number + 1} does not end: close it, or leave it out"
        return "there is more text behind the value: put all of it in quotes"
    return (
        f"wrong indentation: the line begins in column {place.inner + 1}, and its neighbours do not; the keys of the "
        f"line before begin in column {place.before().inner + 1}"
    )


def _not_closed(start: Place) -> str:
    sign = start.line[start.column : start.column + 1]
    return (
        f"what begins with `{sign}` does not end, or lacks a comma; a text with one of the signs , : [ ] {{ }} in it "
        "needs quotes"
    )


def _opened(end: Place) -> Place | None:
    """Return where the list or mapping begins that is open at the end of a text."""
    for number in range(min(end.number, len(end.lines) - 1), -1, -1):
        line = end.lines[number]
        for opening, closing in ("[]", "{}"):
            if line.count(opening) > line.count(closing):
                return Place(end.lines, number, line.rindex(opening))
    return None


def _no_colon(start: Place) -> str:
    line = start.line.strip().removeprefix("- ")
    if joined := re.match(r"([\w-]+):(\S+)", line):
        return f"a space is missing after the colon: `{joined[1]}: {joined[2]}`"
    return "no `key: value`: there is no colon after the key"


_SAYINGS: tuple[tuple[str, str], ...] = (
    ("cannot start any token", "a text cannot begin with `{sign}`: put it in quotes"),
    ("alphabetic or numeric character", "a text cannot begin with `*` or `&`: put it in quotes, as in '*.jpg'"),
    ("block sequence entries are not allowed", "a list with `- ` begins in a line of its own, below its key"),
    ("end of stream", "the quote that begins here does not end"),
    ("document indicator", "a quote is open where `---` begins another document"),
    ("unknown escape character", 'a backslash in "...": write two of them, or use single quotes'),
    ("found another document", "`---` begins a second document: a file holds one"),
    ("could not determine a constructor", "a tag that is not read here: put what begins with `!` in quotes"),
    ("unhashable key", "a list or a mapping is in the place of a key: put a text with `{{` or `[` in quotes"),
    ("expected node content", "a value is missing, or begins with a sign that needs quotes"),
)
"""Part of what the parser says -> what to tell."""
