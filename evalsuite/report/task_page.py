"""A page that says of a task what it is, where its images come from, and how far its numbers are the paper's."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from evalsuite.data.opening import can_be_fetched, describe_source
from evalsuite.metrics import METRICS
from evalsuite.tasks.sources import (
    ByCode,
    ByIndex,
    FolderSource,
    HuggingFaceSource,
    PythonSource,
    SourceSpec,
    TableSource,
    TorchvisionSource,
    WebDatasetSource,
)
from evalsuite.tasks.spec import TaskSpec
from evalsuite.tasks.split_rules import Draw, FoldSplits, OfficialSplits, SampledSplits, Sizes, SplitRule

SHOWN_TEMPLATES = 6
SHOWN_CLASSES = 12


def task_page(task: TaskSpec) -> str:
    """Return the page of a task, in Markdown."""
    parts = [
        f"# {task.title}",
        _facts(task),
        "## Splits\n\n" + _splits(task),
        "## Where the images come from\n\n" + _sources(task),
        "## Classes and prompts\n\n" + _prompts(task),
    ]
    if task.notes:
        parts.append(f"## To know\n\n{task.notes.strip()}")
    return "\n\n".join(parts) + "\n"


def index_page(tasks: Sequence[TaskSpec]) -> str:
    """Return a table of the pages of several tasks, in Markdown."""
    rows = [
        [
            f"[{task.title}]({task.name}.md)",
            f"`{task.name}`",
            len(task.class_list),
            _size(task.sizes, "train"),
            _size(task.sizes, "val"),
            _size(task.sizes, "test"),
            task.metric,
            task.split_fidelity.level,
        ]
        for task in tasks
    ]
    headers = ["dataset", "task", "classes", "train", "val", "test", "metric", "splits"]
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=("left",) * 2 + ("right",) * 4)
    return (
        "# Datasets\n\nWritten by `make docs` from the task files. What the column `splits` says:\n\n"
        "- `exact`: the paper's images,\n- `convention`: a choice that the paper leaves open, made as others make it,\n"
        f"- `approximate`: the paper's images cannot be had, and the result says so.\n\n{table}\n"
    )


def _facts(task: TaskSpec) -> str:
    metric = METRICS.get(task.metric)
    rows = [
        ["task", f"`{task.name}`"],
        ["classes", f"{len(task.class_list)}{', several a sample' if task.multilabel else ''}"],
        ["metric", f"`{task.metric}` ({metric.title})"],
        ["splits", f"{task.split_fidelity.level}: {task.split_fidelity.why}"],
        ["tags", ", ".join(task.tags)],
        ["licence", task.licence or "see the homepage"],
        ["homepage", f"<{task.homepage}>" if task.homepage else ""],
        ["citation", task.citation],
    ]
    return tabulate([row for row in rows if row[1]], ["", ""], tablefmt="pipe", disable_numparse=True)


def _splits(task: TaskSpec) -> str:
    lines = [_rule(task.splits)]
    sizes = [f"{name} {_size(task.sizes, name)}" for name in ("train", "val", "test") if _size(task.sizes, name)]
    if sizes:
        known = "" if task.sizes.exact else ", not checked: the data that can be had differs"
        lines.append(f"Samples: {', '.join(sizes)}{known}.")
    if _has_val(task.splits):
        lines.append(f"The final probe is fitted on {'train and val' if task.refit == 'train+val' else 'train alone'}.")
    else:
        lines.append("Without a validation set, the sweep holds out a tenth of train; the final fit is on all of it.")
    if task.max_unreadable:
        lines.append(f"Up to {task.max_unreadable:,} images a pool may be missing or unreadable; a result names them.")
    return "\n".join(lines)


def _has_val(rule: SplitRule) -> bool:
    return rule.val is not None


def _rule(rule: SplitRule) -> str:
    if isinstance(rule, SampledSplits):
        parts = [("train", rule.train), ("val", rule.val), ("test", rule.test)]
        amounts = ", ".join(f"{name} {_amount(amount)}" for name, amount in parts if amount is not None)
        return f"Drawn from all samples by the seed {rule.seed}, class by class: {amounts}."
    if isinstance(rule, FoldSplits):
        return f"{rule.count} folds whose scores are averaged: `{rule.train}` to train, `{rule.test}` to test."
    text = "Published splits: " + ", ".join(f"`{name}`" for name in (rule.train, rule.val, rule.test) if name) + "."
    return f"{text} {_draw(rule.draw)}" if isinstance(rule, OfficialSplits) and rule.draw is not None else text


def _draw(draw: Draw) -> str:
    counts = {"train": draw.train, "val": draw.val, "test": draw.test}
    drawn = ", ".join(f"{count:,} of {name}" for name, count in counts.items() if count is not None)
    return f"Of them, the seed {draw.seed} draws {drawn}."


def _amount(amount: int | float | str) -> str:
    if amount == "rest":
        return "the rest"
    return f"{amount} a class" if isinstance(amount, int) else f"{float(amount):.0%} of each class"


def _size(sizes: Sizes, name: str) -> str:
    value: int | list[int] | None = getattr(sizes, name)
    if value is None:
        return ""
    return " / ".join(f"{count:,}" for count in value) if isinstance(value, list) else f"{value:,}"


def _sources(task: TaskSpec) -> str:
    lines = ["The first of these that is complete counts; paths are under the data root.", ""]
    for number, spec in enumerate(task.sources, 1):
        lines.append(f"{number}. **{describe_source(spec)}**{'' if spec.verified else ' (nobody has verified it yet)'}")
        lines += [f"   - {line}" for line in _source(task, spec)]
    if any(can_be_fetched(spec) for spec in task.sources):
        lines += ["", f"`evalsuite download {task.name}` fetches it."]
    else:
        lines += ["", "It cannot be downloaded by `evalsuite download`; see above how to get it."]
    return "\n".join(lines)


def _source(task: TaskSpec, spec: SourceSpec) -> list[str]:
    lines = [f"looked for in {_place(task, spec)}"]
    if spec.needs:
        lines.append("needs " + ", ".join(f"`{name}`" for name in spec.needs))
    lines += [f"list `{name}`: `{entry.file}`" for name, entry in spec.lists.items()]
    lines.append(f"labels: {_labels(spec)}")
    for file in spec.files:
        sums = [f"{name} {value}" for name, value in (("md5", file.md5), ("sha256", file.sha256)) if value]
        lines.append(f"<{file.url}>, {', '.join(sums) or 'no checksum is published'}")
    if isinstance(spec, HuggingFaceSource | WebDatasetSource) and spec.repo is not None:
        lines.append(f"<https://huggingface.co/datasets/{spec.repo}> at `{spec.revision}`")
    if isinstance(spec, FolderSource | TableSource | HuggingFaceSource) and spec.group is not None:
        lines.append(f"a hold-out keeps samples together that are alike in `{spec.group}`")
    if spec.splits is not None:
        lines.append(f"splits of its own: {_rule(spec.splits)}")
    if spec.split_fidelity is not None:
        lines.append(f"then the splits are {spec.split_fidelity.level}: {spec.split_fidelity.why}")
    if spec.note:
        lines.append(spec.note.strip())
    return lines


def _place(task: TaskSpec, spec: SourceSpec) -> str:
    if isinstance(spec, HuggingFaceSource):
        return f"`{spec.path or task.name}/*.parquet`, else in the cache"
    if isinstance(spec, PythonSource):
        return f"`{spec.path}`, read by [{spec.file}](../../tasks/{spec.file})"
    if isinstance(spec, TorchvisionSource | WebDatasetSource | FolderSource | TableSource):
        return f"`{spec.path}`"
    raise TypeError(f"unknown source {spec!r}")


def _labels(spec: SourceSpec) -> str:
    if isinstance(spec.labels, ByCode):
        return "codes, " + ", ".join(f"{raw} = {key}" for raw, key in spec.labels.by_code.items())
    if isinstance(spec.labels, ByIndex):
        if spec.labels.by_index == "classes":
            return "numbers, in the order of the classes"
        return "numbers, in the order " + ", ".join(spec.labels.by_index)
    return "the keys of the classes" if spec.labels == "by_key" else "names of the classes, in any spelling"


def _prompts(task: TaskSpec) -> str:
    spec, classes = task.prompt_spec, task.class_list
    lines = [f"{len(classes)} classes, {len(spec.templates)} template{'s' if len(spec.templates) > 1 else ''}."]
    if spec.source:
        lines[0] += f" Published in {spec.source}."
    lines += ["", *(f"- `{template}`" for template in spec.templates[:SHOWN_TEMPLATES])]
    if len(spec.templates) > SHOWN_TEMPLATES:
        lines.append(f"- and {len(spec.templates) - SHOWN_TEMPLATES} more")
    named = [", ".join(item.names) if len(item.names) > 1 else item.names[0] for item in classes[:SHOWN_CLASSES]]
    rest = f" ... and {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else ""
    separator = "; " if any(len(item.names) > 1 for item in classes) else ", "
    lines += ["", f"In label order: {separator.join(named)}{rest}."]
    if isinstance(task.prompts, str):
        lines.append(f"All of them are in [prompts/{task.prompts}.yaml](../../prompts/{task.prompts}.yaml).")
    return "\n".join(lines)
