"""The task and prompt files people write, as typed data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, PrivateAttr, field_validator, model_validator

from evalsuite import resources
from evalsuite.faults import shown
from evalsuite.metrics import METRICS
from evalsuite.records import SplitFidelity
from evalsuite.registry import did_you_mean
from evalsuite.tasks.bias import BiasSpec
from evalsuite.tasks.borrowed import Borrowed
from evalsuite.tasks.parts import FilePath, Strict
from evalsuite.tasks.sources import AnySource, SourceSpec
from evalsuite.tasks.split_rules import OfficialSplits, Sizes, SplitRule
from evalsuite.text import composed

PLACEHOLDER = "{}"

MAX_PIXELS = 1 << 26
"""64 megapixels, 200 MB as RGB: more than cameras make, and a larger picture is taken for a decompression bomb."""

MAX_ASPECT = 100
"""Resized to a shorter side of 224, an image of this shape has five megapixels."""


class TaskClass(Strict):
    """A class: a stable key and one or more names for prompts."""

    key: str
    names: list[str] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        """Accept `cat` for {key: cat, names: [cat]} and {tabby_cat: tabby cat} for a key with its name."""
        if value is None or isinstance(value, bool):
            raise ValueError(f"a class needs a name, not {shown(value)}: put the word in quotes")
        if isinstance(value, str | int):
            return {"key": str(value), "names": [str(value)]}
        if isinstance(value, dict) and len(value) == 1 and "key" not in value:
            ((key, names),) = value.items()
            listed = names if isinstance(names, list) else [names]
            for part in (key, *listed):
                if part is None or isinstance(part, bool):
                    raise ValueError(f"a class needs a name, not {part} (words such as no and null need quotes)")
            return {"key": str(key), "names": [str(name) for name in listed]}
        return value

    @model_validator(mode="after")
    def _named(self) -> Self:
        """Refuse what would make a prompt without a class, or a class that no label can name."""
        if not self.key.strip():
            raise ValueError("a class has an empty key")
        if not all(name.strip() for name in self.names):
            raise ValueError(f"the class {self.key!r} has an empty name: no prompt could tell of it")
        return self

    @field_validator("key")
    @classmethod
    def _one_form(cls, key: str) -> str:
        return composed(key)


class PromptSpec(Strict):
    """A prompt file: templates with one `{}` for the class name, and the classes they name."""

    templates: list[str] = Field(min_length=1)
    classes: list[TaskClass] | None = None
    source: str = Field(default="", description="where the templates and names were published")

    @field_validator("templates")
    @classmethod
    def _one_placeholder(cls, templates: list[str]) -> list[str]:
        for template in templates:
            if template.count(PLACEHOLDER) != 1:
                raise ValueError(
                    f"the template {template!r} has {template.count(PLACEHOLDER)} placeholders; "
                    f"it needs exactly one {PLACEHOLDER} where the class name goes"
                )
        return templates


class TaskSpec(Strict):
    """A dataset with its classes, splits, prompts, metric, tags and sizes: one YAML file."""

    # Built when the first task is read: packages that bring kinds of sources import this module.
    model_config = ConfigDict(defer_build=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=200, description="default: the file's name")
    title: str
    prompts: FilePath | PromptSpec = Field(
        description="a prompt file (its name, or a path next to this file), or inline"
    )
    classes: list[TaskClass] | None = Field(default=None, description="default: the classes of the prompt file")
    subset: list[str] | None = Field(default=None, description="keys: only these classes of the prompt file")
    captions: int | None = Field(
        default=None, ge=1, le=100, description="how many captions of an image count, in place of classes"
    )
    bias: BiasSpec | None = Field(default=None, description="what the protocol `bias` counts; it has no other one")
    borrows: dict[str, Borrowed] = Field(
        default_factory=dict, description="pool -> the pool of another task that it is"
    )
    sources: list[AnySource] = Field(min_length=1, description="in order of preference")
    splits: SplitRule = OfficialSplits()
    refit: Literal["train+val", "train"] = "train+val"
    sizes: Sizes = Sizes()
    max_unreadable: int = Field(default=0, ge=0, description="images a pool may miss before it is an error")
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, description="pixels an image may have before it is an error")
    max_aspect: int = Field(default=MAX_ASPECT, ge=1, description="times an image may be as long as it is wide")
    metric: str = Field(default="accuracy", description="a name of evalsuite.metrics.METRICS")
    multilabel: bool = False
    split_fidelity: SplitFidelity = SplitFidelity(
        level="convention", why="The task file does not say how its splits relate to published ones."
    )
    tags: list[str] = Field(default_factory=list)
    licence: str = ""
    homepage: str = ""
    citation: str = ""
    notes: str = ""

    _path: Path | None = PrivateAttr(default=None)
    _prompts: PromptSpec | None = PrivateAttr(default=None)

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        if name not in METRICS:
            known = ", ".join(METRICS.names())
            raise ValueError(f"unknown metric {name!r}.{did_you_mean(name, METRICS.names())} Known: {known}")
        return name

    @property
    def path(self) -> Path | None:
        """The file this task was read from."""
        return self._path

    @property
    def is_shipped(self) -> bool:
        """Whether it is one of this project's tasks, which its name finds everywhere."""
        return self._path is not None and self._path.parent.resolve() == resources.data_dir("tasks").resolve()

    @property
    def prompt_spec(self) -> PromptSpec:
        """Templates and class names, with the prompt file read in."""
        if self._prompts is None:
            raise RuntimeError(f"The task {self.name!r} was built without its prompts; use evalsuite.load_task.")
        return self._prompts

    @property
    def class_list(self) -> list[TaskClass]:
        """The classes; the order of this list is the label order of this project."""
        classes = self.classes if self.classes is not None else (self.prompt_spec.classes or [])
        if self.subset is None:
            return classes
        wanted = set(self.subset)
        return [item for item in classes if item.key in wanted]

    @property
    def one_label(self) -> bool:
        """Whether an image has one class, and one class alone is right."""
        return not (self.multilabel or self.captions or METRICS.get(self.metric).any_label)

    @property
    def classifies(self) -> bool:
        """Whether its number is of predicted classes, and not of captions or of labels next to the classes."""
        return self.captions is None and self.bias is None

    @property
    def class_keys(self) -> list[str]:
        """The keys of the classes in label order."""
        return [item.key for item in self.class_list]

    def from_source(self, source: SourceSpec) -> TaskSpec:
        """Return this task with the splits, sizes and fidelity that hold where its images come from `source`."""
        return self.changed(
            splits=source.splits or self.splits,
            sizes=source.sizes or self.sizes,
            split_fidelity=source.split_fidelity or self.split_fidelity,
        )

    def with_path(self, path: Path) -> TaskSpec:
        """Return this task, known to come from `path`."""
        return self.changed(path=path)

    def with_prompt_spec(self, prompts: PromptSpec) -> TaskSpec:
        """Return this task with other templates; its classes stay, if it knows them already."""
        if self.classes is None and self._prompts is None:
            return self.changed(prompts=prompts)
        return self.changed(prompts=prompts, classes=self.class_list)

    def changed(self, *, path: Path | None = None, prompts: PromptSpec | None = None, **fields: Any) -> TaskSpec:
        """Return this task with another path, prompts read in, or other values of its fields."""
        copy = self.model_copy(update=fields)
        copy._path = path or self._path
        copy._prompts = prompts or self._prompts
        return copy
