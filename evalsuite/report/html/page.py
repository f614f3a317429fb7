"""Put the report together: one HTML file that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from evalsuite.data.place import DataPlace
from evalsuite.metrics import METRICS
from evalsuite.report.editions import editions
from evalsuite.report.html.board import BoardView, board_view
from evalsuite.report.html.details import Detail, choose, look_behind, preference
from evalsuite.report.html.figures import Figure, cost_figures, legend, task_dots, zero_shot_figures
from evalsuite.report.html.leaders import leaders
from evalsuite.report.html.pairs import paired_rows
from evalsuite.report.html.sections import SECTIONS
from evalsuite.report.html.sections.base import DrawnSection, drawn
from evalsuite.report.html.tables import group_tasks, heat_map
from evalsuite.report.html.templates import TEMPLATES, environment, script
from evalsuite.report.html.thumbnails import Thumbnails, thumbnails
from evalsuite.report.table import Leaderboard
from evalsuite.results.library import Library
from evalsuite.results.numbers import Numbers
from evalsuite.tasks import TaskIndex
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import counted, printable, shortened

LIMIT_BYTES = 5_000_000
"""A larger page loses its thumbnails."""

TOO_LARGE = f"No thumbnails: with them this page would be larger than {LIMIT_BYTES // 1_000_000} MB."


@dataclass(frozen=True)
class TaskSection:
    """What the page says of a task; homepage: of its dataset; caveats: what is known of the numbers that it shows."""

    name: str
    title: str
    homepage: str
    best: str
    facts: tuple[str, ...]
    caveats: tuple[str, ...]
    dots: Figure
    details: tuple[Detail, ...]


def report_page(
    board: Leaderboard,
    *,
    detail: Sequence[str] = (),
    index: TaskIndex | None = None,
    place: DataPlace | None = None,
    left_out: Sequence[str] = (),
    version: str = "",
    limit: int = LIMIT_BYTES,
    library: Library | None = None,
    folder: Path | None = None,
    tell: Callable[[str], None] = lambda hint: None,
    numbers: Numbers | None = None,
) -> str:
    """Return the page of a leaderboard.

    detail: models to look behind, by default the best measured one of each task and protocol. index, place: where
    task files and images are. left_out: files that could not be read, named on the page. version: of this package.
    limit: bytes above which thumbnails are dropped. library: of published rows that the figures need. folder: where the
    page will lie, for links to samples. tell: gets what could be done about what the page lacks. UsageError for a name
    in `detail` that has no result. numbers: what the optional sections are made from, of all protocols.
    """
    index = index or TaskIndex()
    specs = {task: index.load(task) for task in board.tasks if task in index.files}
    details = [look_behind(item, specs.get(item.task)) for item in choose(board, detail)]
    pictured = _with_thumbnails(details, specs, place or DataPlace())
    for hint in dict.fromkeys(hint for item in pictured for hint in item.hints):
        tell(hint)
    zero_shot = zero_shot_figures(board, detail, library)
    groups = group_tasks(board.tasks, board.groups)
    table = board_view(
        board,
        groups,
        titles={task: spec.title for task, spec in specs.items()},
        details=[item.anchor for item in details],
        folder=folder,
        pairs=paired_rows(board.rows),
    )
    further = drawn(SECTIONS, numbers or Numbers(), index)
    render = _renderer(board, table, zero_shot, further, specs, left_out, version)
    page = render(pictured)
    if len(page.encode()) > limit and any(mistake.image for item in pictured for mistake in item.mistakes):
        page = render([replace(item, notes=(*item.notes, TOO_LARGE)) if item.mistakes else item for item in details])
    return page


def _with_thumbnails(details: Sequence[Detail], specs: Mapping[str, TaskSpec], place: DataPlace) -> list[Detail]:
    """Return the details with pictures of their mistakes; the images of a task are opened once."""
    wanted: dict[str, dict[str, tuple[str, ...]]] = {}
    for item in details:
        for mistake in item.mistakes:
            wanted.setdefault(item.chosen.task, {})[mistake.sample] = mistake.labels
    found = {task: thumbnails(specs.get(task), samples, place) for task, samples in wanted.items()}
    return [_pictured(item, found[item.chosen.task]) if item.mistakes else item for item in details]


def _pictured(detail: Detail, found: Thumbnails) -> Detail:
    mistakes = tuple(replace(mistake, image=found.images.get(mistake.sample, "")) for mistake in detail.mistakes)
    notes, hints = (
        (*known, *filter(None, [new])) for known, new in ((detail.notes, found.note), (detail.hints, found.hint))
    )
    return replace(detail, mistakes=mistakes, notes=notes, hints=hints)


def _renderer(
    board: Leaderboard,
    table: BoardView,
    zero_shot: Sequence[Figure],
    further: Sequence[DrawnSection],
    specs: Mapping[str, TaskSpec],
    left_out: Sequence[str],
    version: str,
) -> Callable[[Sequence[Detail]], str]:
    """Return what makes the page of some details; everything else is drawn once."""
    style, code = (TEMPLATES / "style.css").read_text(encoding="utf-8"), script()
    cost = cost_figures(board)
    context = {
        "board": board,
        "table": table,
        "heat": heat_map(board),
        "zero_shot": zero_shot,
        "further": further,
        "cost": cost,
        "legend": legend(cost.families),
        "leaders": leaders(board.rows, board.tasks),
        "notes": (*board.remarks, *left_out),
        "style": Markup(style),
        "script": Markup(code),
        "style_hash": _csp_hash(style),
        "script_hash": _csp_hash(code),
        "version": version,
        "created": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }
    tasks = [column.key for group in table.groups for column in group.tasks]
    sections = [_section(board, task, specs.get(task)) for task in tasks]
    template = environment().get_template("page.html.jinja")

    def render(details: Sequence[Detail]) -> str:
        shown = [
            replace(section, details=tuple(item for item in details if item.chosen.task == section.name))
            for section in sections
        ]
        return printable(template.render(context, sections=shown))

    return render


def _section(board: Leaderboard, task: str, spec: TaskSpec | None) -> TaskSection:
    title = spec.title if spec else task
    rows = [row for row in board.rows if task in row.cells]
    row = max(rows, key=lambda row: preference(row.cells[task]), default=None)
    best = f"{row.cells[task].percent}, {row.described}" if row else ""
    caveats = (*_caveats(board, task), *_warnings(board, task))
    homepage = spec.homepage if spec and spec.homepage.startswith(("https://", "http://")) else ""
    return TaskSection(task, title, homepage, best, _facts(spec), caveats, task_dots(board, task, title), ())


def _facts(spec: TaskSpec | None) -> tuple[str, ...]:
    if spec is None:
        return ("No task file of this name is known here.",)
    classes = f"{counted(len(spec.class_list), 'class')}{', several per image' if spec.multilabel else ''}"
    split = f"splits {spec.split_fidelity.level}: {spec.split_fidelity.why}"
    return tuple(fact for fact in (METRICS.get(spec.metric).title, classes, ", ".join(spec.tags), split) if fact)


def _caveats(board: Leaderboard, task: str) -> tuple[str, ...]:
    shown = [row.cells[task] for row in board.rows if task in row.cells]
    caveats = {number.origin.label: number.caveat for number in shown if number.origin.kind == "published"}
    known = (f"On the numbers of the {origin}: {text.strip()}" for origin, text in caveats.items() if text)
    return tuple(filter(None, (editions(board.rows, task), *known)))


def _warnings(board: Leaderboard, task: str) -> tuple[str, ...]:
    """Return what the records of the task warn of, each once, with the rows that do."""
    rows: dict[str, list[str]] = {}
    for row in board.rows:
        record = row.cells[task].record if task in row.cells else None
        for warning in record.warnings if record else ():
            rows.setdefault(warning, []).append(row.described)
    return tuple(f"{shortened(described, 3)}: {warning}" for warning, described in rows.items())


def _csp_hash(text: str) -> str:
    """Return the source expression by which a Content-Security-Policy allows this very text and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
