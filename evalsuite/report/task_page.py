"""A page that says of a task what it is, where its images come from, and how far its numbers are the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import tabulate

from evalsuite.data.place import DataPlace
from evalsuite.data.sources import sources_of
from evalsuite.metrics import METRICS
from evalsuite.report.escaping import markdown_cell, markdown_line
from evalsuite.tasks.spec import TaskSpec
from evalsuite.tasks.split_rules import Sizes
from evalsuite.text import counted

SHOWN_TEMPLATES = 6
SHOWN_CLASSES = 12


def task_page(task: TaskSpec) -> str:
    """Return the page of a task, in Markdown."""
    parts = [
        f"# {markdown_line(task.title)}",
        _facts(task),
        "## Splits\n\n" + _splits(task),
        "## Where the images come from\n\n" + _sources(task),
        "## Classes and prompts\n\n" + _prompts(task),
    ]
    if task.notes:
        parts.append("## To know\n\n" + _escaped(task.notes.strip().splitlines()))
    return "\n\n".join(parts) + "\n"


def index_page(tasks: Sequence[TaskSpec]) -> str:
    """Return a table of the pages of several tasks, in Markdown."""
    rows = []
    for task in tasks:
        sizes = [_size(task.sizes, name) for name in ("train", "val", "test")]
        names = [f"[{markdown_cell(task.title)}]({task.name}.md)", f"`{task.name}`"]
        rows.append([*names, len(task.class_list), *sizes, task.metric, task.split_fidelity.level])
    headers = ["dataset", "task", "classes", "train", "val", "test", "metric", "splits"]
    table = tabulate(rows, headers, tablefmt="pipe", disable_numparse=True, colalign=("left",) * 2 + ("right",) * 4)
    return (
        "# Datasets\n\nWritten by `make docs` from the task files. What the column `splits` says:\n\n"
        "- `exact`: the paper's images,\n- `convention`: a choice that the paper leaves open, made as others make it,\n"
        f"- `approximate`: the paper's images are not available, and the result says so.\n\n{table}\n"
    )


def _escaped(lines: Iterable[str]) -> str:
    """Return lines of ours, in which names may stand that end no line and are no HTML."""
    return "\n".join(map(markdown_line, lines))


def _facts(task: TaskSpec) -> str:
    metric = METRICS.get(task.metric)
    rows = [
        ["task", f"`{task.name}`"],
        ["classes", _classes(task)],
        ["metric", f"`{task.metric}` ({metric.title})"],
        ["splits", f"{task.split_fidelity.level}: {markdown_cell(task.split_fidelity.why)}"],
        ["tags", markdown_cell(", ".join(task.tags))],
        ["licence", markdown_cell(task.licence) or "see the homepage"],
        ["homepage", markdown_cell(f"<{task.homepage}>" if task.homepage else "")],
        ["citation", markdown_cell(task.citation)],
    ]
    return tabulate([row for row in rows if row[1]], ["", ""], tablefmt="pipe", disable_numparse=True)


def _classes(task: TaskSpec) -> str:
    if task.captions:
        return f"none, but {counted(task.captions, 'caption')} for each image"
    return f"{len(task.class_list)}{', several per sample' if task.multilabel else ''}"


def _splits(task: TaskSpec) -> str:
    lines = [task.splits.describe()]
    for pool, borrowed in task.borrows.items():
        other = f"[{borrowed.task}]({borrowed.task}.md)"
        lines.append(f"`{pool}` is the pool `{borrowed.pool}` of the task {other}, encoded once for both.")
    sizes = [f"{name} {_size(task.sizes, name)}" for name in ("train", "val", "test") if _size(task.sizes, name)]
    if sizes:
        known = "" if task.sizes.exact else ", not checked: the available data differs"
        lines.append(f"Samples: {', '.join(sizes)}{known}.")
    if task.splits.val is not None:
        lines.append(f"The final probe is fitted on {'train and val' if task.refit == 'train+val' else 'train alone'}.")
    else:
        lines.append("Without a validation set, the sweep holds out a tenth of train; the final fit is on all of it.")
    if task.max_unreadable:
        lines.append(
            f"Up to {task.max_unreadable:,} images per pool may be missing or unreadable; a result names them."
        )
    return _escaped(lines)


def _size(sizes: Sizes, name: str) -> str:
    value: int | list[int] | None = getattr(sizes, name)
    if value is None:
        return ""
    return " / ".join(f"{count:,}" for count in value) if isinstance(value, list) else f"{value:,}"


def _sources(task: TaskSpec) -> str:
    lines = ["The first of these that is complete counts; paths are under the data root.", ""]
    sources = sources_of(task, DataPlace())
    for number, source in enumerate(sources, 1):
        doubt = "" if source.spec.verified else " (nobody has verified it yet)"
        lines += [f"{number}. **{source.title}**{doubt}", *(f"   - {line}" for line in source.describe())]
    if any(source.can_be_fetched for source in sources):
        lines += ["", f"`evalsuite download {task.name}` fetches it."]
    else:
        lines += ["", "It cannot be downloaded by `evalsuite download`; see above how to get it."]
    return _escaped(lines)


def _prompts(task: TaskSpec) -> str:
    spec, classes = task.prompt_spec, task.class_list
    lines = [f"{counted(len(classes), 'class')}, {counted(len(spec.templates), 'template')}."]
    if task.captions:
        lines = [f"{counted(len(spec.templates), 'template')}, into which each caption is put."]
    if spec.source:
        lines[0] += f" Published in {spec.source}."
    lines += ["", *(f"- `{template}`" for template in spec.templates[:SHOWN_TEMPLATES])]
    if (more := len(spec.templates) - SHOWN_TEMPLATES) > 0:
        lines.append(f"- and {more} more")
    named = [", ".join(item.names) for item in classes[:SHOWN_CLASSES]]
    rest = f" ... and {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else ""
    separator = "; " if any(len(item.names) > 1 for item in classes) else ", "
    if named:
        lines += ["", f"In label order: {separator.join(named)}{rest}."]
    if isinstance(task.prompts, str):
        lines.append(f"All of them are in [prompts/{task.prompts}.yaml](../../prompts/{task.prompts}.yaml).")
    return _escaped(lines)
