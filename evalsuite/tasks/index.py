"""Every task that is known by name, and the groups of them."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType

from evalsuite import resources
from evalsuite.config import expanded
from evalsuite.errors import SpecError, UsageError
from evalsuite.reading import read_text
from evalsuite.registry import did_you_mean
from evalsuite.tasks.loading import load_task_file
from evalsuite.tasks.spec import TaskSpec
from evalsuite.tasks.yaml_files import read_yaml

GROUPS_FILE = "groups.yaml"
ENTRY_POINT_GROUP = "evalsuite.tasks"

KEYS_OF_A_TASK = frozenset(
    {"title", "classes", "prompts", "sources", "splits", "sizes", "metric", "borrows", "captions"}
)
"""A file with two of them at its left edge was meant to be a task, and is one or is broken."""


class TaskIndex:
    """Task files by name: the shipped ones, other packages' (entry points), `known` ones, those of `include_paths`.

    Later ones win, so that a user can replace a shipped task by one of the same name. known: name -> file. A folder of
    `include_paths` may hold YAML files of other programs: they are `foreign`, and no tasks.
    """

    def __init__(self, include_paths: Sequence[Path] = (), known: Mapping[str, Path] = MappingProxyType({})) -> None:
        for folder in include_paths:
            if not folder.is_dir():
                raise UsageError(f"--include-path {folder}: there is no such folder.")
        self._installed = [resources.data_dir("tasks"), *_entry_point_folders()]
        self._known = known
        self._folders = [*self._installed, *include_paths]
        self._own: list[Path] = []
        self.foreign: list[Path] = []
        for path in (path for folder in include_paths for path in _yaml_files(folder)):
            keys = _keys(path)
            if len(keys & KEYS_OF_A_TASK) > 1:
                self._own.append(path)
            elif "templates" not in keys:  # which a prompt file has
                self.foreign.append(path)
        self._loaded: dict[Path, TaskSpec] = {}

    @cached_property
    def files(self) -> dict[str, Path]:
        """Task name (the file's name) -> file."""
        installed = (path for folder in self._installed for path in _yaml_files(folder))
        return _by_name(installed) | dict(self._known) | _by_name(self._own)

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """Group name -> names of its tasks, some of which may have no task file."""
        groups: dict[str, list[str]] = {}
        for folder in self._folders:
            path = folder / GROUPS_FILE
            if path.is_file():
                found = read_yaml(path)[0]
                for name, members in found.items():
                    listed = isinstance(members, list) and all(isinstance(member, str) for member in members)
                    if not (isinstance(name, str) and listed):
                        raise SpecError(f"{path}: the group {name!r} must be a list of names of tasks.")
                groups.update(found)
        return groups

    @cached_property
    def tags(self) -> dict[str, list[str]]:
        """Tag -> names of its tasks, both sorted."""
        tags: dict[str, list[str]] = {}
        for name in sorted(self.files):
            for tag in self.load(name).tags:
                tags.setdefault(tag, []).append(name)
        return dict(sorted(tags.items()))

    def load(self, name: str) -> TaskSpec:
        """Return the task called `name`, or read the task file at that path."""
        path = self.files.get(name)
        if path is None:
            path = expanded(name)
            if path.suffix not in {".yaml", ".yml"}:
                known = [*self.files, *self.groups]
                if path.is_dir():
                    raise UsageError(
                        f"{name} is a folder, not a task. Of a folder of images with one folder for each class, "
                        f"`evalsuite new task --from-folder {shlex.quote(name)}` writes a task file."
                    )
                near = self._as_tag(name) or did_you_mean(name, known)
                raise UsageError(
                    f"Unknown task {name!r}.{near} "
                    "`evalsuite ls tasks` shows all of them; a file of your own is given by its path (my_task.yaml)."
                )
            if not path.exists():
                raise SpecError(f"There is no file {path}. `evalsuite new task {path.name}` writes one to start from.")
        path = path.resolve()
        if path not in self._loaded:
            self._loaded[path] = load_task_file(path)
        return self._loaded[path]

    def _as_tag(self, name: str) -> str:
        with suppress(SpecError):  # a broken task of somebody else's is no answer here
            return f" It is a tag: write tag:{name}." if name in self.tags else ""
        return ""

    def select(self, choices: Iterable[str]) -> list[TaskSpec]:
        """Return the tasks for names, groups, `tag:…`, globs and paths, each once, in the order given."""
        selected: dict[Path | None, TaskSpec] = {}
        for choice in choices:
            for name in self.expand(choice):
                task = self.load(name)
                selected.setdefault(task.path, task)
        return list(selected.values())

    def expand(self, choice: str) -> list[str]:
        """Return the names (or the path) that one choice stands for; those without a task file are left out."""
        if choice in self.groups:
            return [name for name in self.groups[choice] if name in self.files]
        if choice.startswith("tag:"):
            tag = choice.removeprefix("tag:")
            if tag not in self.tags:
                known = ", ".join(self.tags)
                raise UsageError(f"No task has the tag {tag!r}.{did_you_mean(tag, self.tags)} Tags: {known}.")
            return self.tags[tag]
        if any(character in choice for character in "*?[") and not choice.endswith((".yaml", ".yml")):
            matches = fnmatch.filter(sorted(self.files), choice)
            if not matches:
                raise UsageError(f"No task matches {choice!r}. `evalsuite ls tasks` shows all of them.")
            return matches
        return [choice]

    def without_file(self, choices: Iterable[str]) -> list[str]:
        """Return the tasks that the chosen groups name but for which there is no task file."""
        named = [name for choice in choices for name in self.groups.get(choice, [])]
        return [name for name in dict.fromkeys(named) if name not in self.files]


def _yaml_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that may be tasks, sorted."""
    for path in sorted(folder.rglob("*.yaml")):
        if path.name != GROUPS_FILE and "prompts" not in path.relative_to(folder).parts[:-1]:
            yield path


def _keys(path: Path) -> set[str]:
    """Return the words that look like keys of a file, be it valid YAML or not: those at the left edge, or after a {."""
    try:
        text = read_text(path)
    except SpecError:
        return set()
    edge = "" if text.lstrip().startswith("{") else "^"
    return set(re.findall(rf"""{edge}["']?(\w+)["']?[ \t]*:""", text, re.MULTILINE))


def _by_name(paths: Iterable[Path]) -> dict[str, Path]:
    return {path.stem: path for path in paths}


def _entry_point_folders() -> list[Path]:
    """Return the task folders of other packages: an entry point is a path, or a function that returns one."""
    folders = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        value = point.load()
        folders.append(Path(value() if callable(value) else value))
    return folders
