"""What a section of the page is that is there only where there are numbers for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evalsuite.report.html.templates import environment
from evalsuite.results.numbers import Numbers
from evalsuite.tasks import TaskIndex


@dataclass(frozen=True)
class Section:
    """A section. name: its anchor; title: its heading, and its link at the top of the page.

    content: makes what stands below the heading from the numbers that the page shows (of all protocols, each with its
    record) and the index of task files; None where there is nothing to say, and then there is no section.
    """

    name: str
    title: str
    content: Callable[[Numbers, TaskIndex], Markup | None]


@dataclass(frozen=True)
class DrawnSection:
    """A section with its content."""

    name: str
    title: str
    content: Markup


def rendered(template: str, **context: object) -> Markup:
    """Return what `templates/sections/<template>.html.jinja` makes of values; these are escaped there."""
    return Markup(environment().get_template(f"sections/{template}.html.jinja").render(context))


def drawn(sections: Sequence[Section], numbers: Numbers, index: TaskIndex) -> tuple[DrawnSection, ...]:
    """Return the sections that have something to show, in their order."""
    made = ((section, section.content(numbers, index)) for section in sections)
    return tuple(DrawnSection(section.name, section.title, content) for section, content in made if content is not None)
