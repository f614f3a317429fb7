"""docs/figures.md, made from the numbers that ship: each figure of the paper, and what they make of its words.

python -m tests.report.figures_page            print it
python -m tests.report.figures_page --write    write it and the images next to it; `make docs` does
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from evalsuite.report.escaping import markdown_line
from evalsuite.report.paper.drawing import draw as draw_image
from evalsuite.report.paper.figure import CannotDrawError, PaperFigure
from evalsuite.report.paper.figures import FIGURES, draw, material_of, published_numbers, verdicts
from evalsuite.report.paper.tables import TABLES, dataset_table, score_table
from evalsuite.results.library import Library

PAGE = Path(__file__).parents[2] / "docs" / "figures.md"
IMAGES = "figures"

HEAD = """# The paper's figures and tables

```sh
evalsuite figure                             # which figures there are, and which can be drawn now
evalsuite figure 8                           # from the paper's tables, in evalsuite-figure-8.svg
evalsuite figure 5 -m ViT-B/32 --to five.png # of a model that you measured
evalsuite figure 10 --cost training          # by the cost of training, where it is published
evalsuite figure 12 --to twelve.csv          # its data
evalsuite table 10 -m 'clip/*'               # linear probes of the paper, and yours among them
evalsuite table 16 --to sixteen.tex          # accuracy under shift
```

Figures are drawn from one table of numbers: what you measured, what the paper printed, or both (`--origin`). Full
marks were measured here, hollow ones are published. `-m` chooses models, `-t` tasks (default: the paper's 27). SVG,
PNG and PDF need matplotlib (`pip install 'evalsuite[plots]'`) and are the same bytes each time; CSV, JSON and
Markdown need nothing. Tables have the formats of [`evalsuite leaderboard`](results.md#leaderboard). Figures 5, 8 and
11 are of one model: the paper's ViT-L/14@336px unless `-m` names another.

Each figure and table says what the numbers that ship make of the paper's text: this page is made from them (`make
docs`). A number agrees if it is the same in as many decimals as are printed. The paper is
[arXiv:2103.00020](https://arxiv.org/abs/2103.00020); its statements are in
`results/published/figures/clip_paper.yaml`.
"""

SMALLER = {"20": ("mnist", "food101", "eurosat", "imagenet"), "22": ("mnist", "food101", "eurosat", "imagenet")}
"""Figures of a panel for each task: the page shows some."""


def page() -> str:
    """Return the text of the page."""
    library = Library()
    parts = [HEAD]
    for number, recipe in FIGURES.items():
        parts.append(f"## Figure {number}: {recipe.title}\n\n" + "\n".join(_figure(number, library)))
    parts.append("## Tables\n\n" + "\n".join(_tables(library)))
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def images() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each image of the page."""
    library = Library()
    for number in FIGURES:
        found = _drawn(number, library, SMALLER.get(number, ()))
        if isinstance(found, PaperFigure):
            yield f"figure-{number}.svg", draw_image(found, "svg")


def _drawn(number: str, library: Library, tasks: tuple[str, ...] = ()) -> PaperFigure | str:
    try:
        return draw(number, material_of(published_numbers(library), tasks), library)
    except CannotDrawError as error:
        return str(error)


def _figure(number: str, library: Library) -> Iterator[str]:
    found = _drawn(number, library)
    if isinstance(found, str):
        first, *commands = found.splitlines()
        yield f"{first}\n\n```sh"
        yield from (command.strip() for command in commands)
        yield "```\n"
        yield from (f"- {markdown_line(line)}" for line in verdicts(f"figure {number}", {}))
        return
    some = f" (here: {', '.join(SMALLER[number])})" if number in SMALLER else ""
    yield f"![Figure {number}]({IMAGES}/figure-{number}.svg)\n"
    yield f"{markdown_line(found.caption.rstrip('.'))}{some}.\n"
    yield from (f"- {markdown_line(note)}" for note in found.notes)


def _tables(library: Library) -> Iterator[str]:
    for number, title in TABLES.items():
        yield f"- `evalsuite table {number}`: {title}."
    yield "\nWhat the numbers that ship make of what the paper says of them:\n"
    differing = [f"{row['task']} ({row['differs']})" for row in dataset_table(library).rows if row["differs"]]
    yield f"- Table 9 differs from the task files on {', '.join(differing)}; `evalsuite table 9` says why."
    lines = [verdict.line() for number in ("10", "11") for verdict in score_table(number, [], library).claims]
    for number in ("13", "16"):
        lines += (
            note
            for note in score_table(number, [], library).notes
            if not note.startswith(("average:", "bold:", "rank:", "paper:"))
        )
    yield from (f"- {markdown_line(line)}" for line in dict.fromkeys(lines))


def main(arguments: list[str]) -> str:
    """Return the page, or write it and its images."""
    if arguments != ["--write"]:
        return page()
    folder = PAGE.parent / IMAGES
    folder.mkdir(exist_ok=True)
    for name, content in images():
        (folder / name).write_bytes(content)
    PAGE.write_text(page(), "utf-8")
    return f"Wrote {PAGE} and {folder}.\n"


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]))
