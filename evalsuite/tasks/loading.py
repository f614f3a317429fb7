"""Read task and prompt files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evalsuite import resources
from evalsuite.errors import SpecError
from evalsuite.metrics import METRICS
from evalsuite.reading import read_text
from evalsuite.registry import did_you_mean
from evalsuite.tasks.label_maps import check_label_map
from evalsuite.tasks.random_words import random_prompts
from evalsuite.tasks.sources import SourceSpec
from evalsuite.tasks.spec import PLACEHOLDER, PromptSpec, TaskSpec
from evalsuite.tasks.yaml_files import parse_mapping, read_yaml, validate
from evalsuite.yaml_loading import MOST_BYTES

MOST_PROMPTS = 5_000_000
"""Prompts of a task, each template with each name; 80 templates for 21,841 classes with two names are 3.5 million."""

SIMPLE_TEMPLATE = "a photo of a {}."
"""The paper's default prompt (section 3.1.4), without any ensemble."""


def load_task_file(path: Path) -> TaskSpec:
    """Read one task file and its prompt file; SpecError says what to fix, where."""
    value, node = read_yaml(path)
    value.setdefault("name", path.stem)
    task = validate(TaskSpec, value, path, node)
    prompts = task.prompts
    if isinstance(prompts, str):
        prompts = load_prompt_file(find_prompt_file(prompts, path))
    if task.captions is None and task.classes is None and prompts.classes is None:
        raise SpecError(f"{path}: neither the task nor its prompt file lists the classes; add `classes:`.")
    task = task.with_path(path).with_prompt_spec(prompts)
    if task.captions is None:
        _check_subset(task, path)
        _check_classes(task, path)
        _check_sets(task, path)
    elif task.class_list:
        raise SpecError(f"{path}: a task of captions has no classes.")
    _check_prompts(task, path)
    _check_metric(task, path)
    for source in task.sources:
        _check_splits(task, source, path)
    return task


def load_prompt_file(path: Path) -> PromptSpec:
    """Read one prompt file."""
    value, node = read_yaml(path)
    return validate(PromptSpec, value, path, node)


def find_prompt_file(name: str, task_path: Path) -> Path:
    """Return the prompt file called `name`: next to the task, in prompts there or next to its folder, or shipped."""
    file_name = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    folders = [task_path.parent, task_path.parent / "prompts", task_path.parent.parent / "prompts"]
    for folder in [*folders, resources.data_dir("prompts")]:
        candidate = folder / file_name
        if not candidate.is_file() or candidate.resolve() == task_path.resolve():
            continue
        if folder != task_path.parent or not _is_task(candidate):
            return candidate
    raise SpecError(
        f"{task_path}: there is no prompt file {file_name!r} next to it, in {folders[1]}, in {folders[2]} "
        f"or among the shipped ones ({resources.data_dir('prompts')}). Write one, or put "
        "`prompts: {templates: ['a photo of a {}.']}` into the task file."
    )


def _is_task(path: Path) -> bool:
    """Say whether a file is a task's: two tasks may share prompts that are called like one of them."""
    return "sources" in read_yaml(path)[0]


def load_other_task(task: TaskSpec, name: str) -> TaskSpec:
    """Return the task called `name` that another one borrows from: next to its file, else a shipped one."""
    folders = [resources.data_dir("tasks")] if task.path is None else [task.path.parent, resources.data_dir("tasks")]
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return load_task_file(folder / f"{name}.yaml")
    raise SpecError(
        f"Task {task.name!r}: there is no task {name!r} to borrow from in {' or '.join(map(str, folders))}."
    )


@dataclass(frozen=True)
class PromptChoice:
    """What `--prompts` asks for, read once: what is computed with is what is recorded.

    choice: as it was typed. label: default, simple, names, random, or eight digits of the sha256 of the file's text.
    prompts: None for those that the task decides.
    """

    choice: str
    label: str
    prompts: PromptSpec | None = None


OWN_PROMPTS = PromptChoice("default", "default")
"""The task's own."""

RANDOM = "random"

FIXED_PROMPTS = {"simple": [SIMPLE_TEMPLATE], "names": [PLACEHOLDER]}
"""The paper's default prompt for every task, and bare names."""

NAMED_PROMPTS = (OWN_PROMPTS.choice, *FIXED_PROMPTS, RANDOM)
"""What `--prompts` takes next to files."""


def read_prompts(choice: str) -> PromptChoice:
    """Read `--prompts`: default, simple, names, random, or a prompt file; SpecError where it is none of them."""
    if choice in (OWN_PROMPTS.choice, RANDOM):
        return PromptChoice(choice, choice)
    if choice in FIXED_PROMPTS:
        return PromptChoice(choice, choice, PromptSpec(templates=FIXED_PROMPTS[choice], source=f"--prompts {choice}"))
    path = Path(choice)
    if not path.is_file():
        raise SpecError(
            f"There is no file {choice} (--prompts).{did_you_mean(choice, NAMED_PROMPTS)} "
            f"Give {', '.join(NAMED_PROMPTS)}, or a YAML file with `templates: ['a photo of a {{}}.']`."
        )
    text = read_text(path, most=MOST_BYTES)
    value, node = parse_mapping(text, path)
    label = hashlib.sha256(text.encode()).hexdigest()[:8]
    return PromptChoice(choice, label, validate(PromptSpec, value, path, node))


def apply_prompts(task: TaskSpec, chosen: PromptChoice) -> TaskSpec:
    """Return the task with the prompts that `--prompts` asks for.

    Raises SpecError if a prompt file names classes whose keys are not the task's.
    """
    choice, prompts = chosen.choice, chosen.prompts
    if choice == RANDOM:
        prompts = random_prompts(len(task.prompt_spec.templates))
    if prompts is None:
        return task
    if prompts.classes is None:
        prompted = task.with_prompt_spec(prompts)
        _check_prompts(prompted, Path(choice))
        return prompted
    keys = [item.key for item in prompts.classes]
    _check_keys(keys, Path(choice))
    if set(keys) != set(task.class_keys):
        missing, strange = sorted(set(task.class_keys) - set(keys)), sorted(set(keys) - set(task.class_keys))
        raise SpecError(
            f"{choice}: its classes are not those of the task {task.name!r} "
            f"(missing: {missing[:5]}, unknown: {strange[:5]}). Use the task's class keys, or leave `classes` out."
        )
    # The label order stays the task's own, whatever the order in the file.
    by_key = {item.key: item for item in prompts.classes}
    prompted = task.changed(classes=[by_key[key] for key in task.class_keys]).with_prompt_spec(prompts)
    _check_prompts(prompted, Path(choice))
    return prompted


def _check_prompts(task: TaskSpec, path: Path) -> None:
    count = len(task.prompt_spec.templates) * sum(len(item.names) for item in task.class_list)
    if count > MOST_PROMPTS:
        raise SpecError(f"{path}: templates and names make {count:,} prompts; the most is {MOST_PROMPTS:,}.")


def _check_metric(task: TaskSpec, path: Path) -> None:
    metric = METRICS.get(task.metric)
    if metric.multilabel != task.multilabel:
        needed = "true" if metric.multilabel else "false"
        raise SpecError(f"{path}: the metric {task.metric} needs `multilabel: {needed}`.")
    if metric.captions != (task.captions is not None):
        needed = "is for tasks of captions (`captions: 5`)" if metric.captions else "is not for tasks of captions"
        raise SpecError(f"{path}: the metric {task.metric} {needed}.")
    if metric.bias != (task.bias is not None):
        raise SpecError(f"{path}: the metric people_rate is for tasks with the key `bias`, and they have no other one.")
    if metric.n_classes not in (None, len(task.class_list)):
        raise SpecError(
            f"{path}: the metric {task.metric} is for {metric.n_classes} classes; this task has {len(task.class_list)}."
        )


def _check_splits(task: TaskSpec, source: SourceSpec, path: Path) -> None:
    """Refuse splits that are neither a pool nor a list of the source; {} stands for the number of a fold."""
    known = {*source.pools, *source.lists, *task.borrows}
    for name in (source.splits or task.splits).names:
        if name not in known:
            raise SpecError(
                f"{path}: the split {name!r} is neither a pool nor a list of the {source.kind} source."
                f"{did_you_mean(name, known)} Known: {', '.join(sorted(known))}."
            )


def _check_subset(task: TaskSpec, path: Path) -> None:
    known = set(task.class_keys)
    for key in task.subset or ():
        if key not in known:
            raise SpecError(f"{path}: `subset` names {key!r}, which is no class of the prompt file.")


def _check_sets(task: TaskSpec, path: Path) -> None:
    """Refuse label sets of `bias` that leave out a class, or name what is none."""
    named = {key for keys in task.bias.sets.values() for key in keys} if task.bias else set(task.class_keys)
    if wrong := sorted(named ^ set(task.class_keys)):
        raise SpecError(f"{path}: the sets of `bias` must be made of all classes; differing: {', '.join(wrong[:5])}.")


def _check_keys(keys: Sequence[str], path: Path) -> None:
    """Refuse a key that two classes have."""
    for key, count in Counter(keys).most_common(1):
        if count > 1:
            raise SpecError(f"{path}: the class key {key!r} is listed {count} times.")


def _check_classes(task: TaskSpec, path: Path) -> None:
    keys = task.class_keys
    if len(keys) < 2:
        raise SpecError(f"{path}: a classification task needs two classes or more, this one has {len(keys)}.")
    _check_keys(keys, path)
    for number, source in enumerate(task.sources, 1):
        check_label_map(source.labels, keys, f"{path}, source {number} ({source.kind})")
