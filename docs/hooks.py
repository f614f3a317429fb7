"""What the site has next to the files of this folder: pages that lie elsewhere in the repository, and pages of data."""

from __future__ import annotations

import ast
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from tabulate import tabulate

from evalsuite.report.bias_words import TITLES
from evalsuite.report.formats import to_markdown
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.bias_tables import read_bias_paper
from evalsuite.results.library import Library
from evalsuite.results.numbers import Numbers

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks" / "figures"

ELSEWHERE = {
    "README.md": "index.md",
    "examples/README.md": "examples.md",
    "results/published/README.md": "paper/published.md",
    "training/pocket/README.md": "pocket.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
"""File of the repository -> page of the site."""

TABLES = {
    "linear_probe": ("paper/linear-probe.md", "Table 10: linear probes"),
    "zero_shot": ("paper/zero-shot.md", "Table 11: zero-shot"),
}
"""Protocol -> page and title of the paper's table of it."""

PERFORMANCE = """# Performance

What the benchmarks of the repository wrote with `--json`. Ratios were measured in turn, in one run; seconds are
those of one machine. [Speed](speed.md) says how long a run takes on yours, [the probe](probe.md) how it is fast."""

LINK = re.compile(r"(?<=\]\()(?!https?://|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of this folder."""
    pages = {page: (ROOT / name).read_text("utf-8") for name, page in ELSEWHERE.items()}
    for protocol, (page, title) in TABLES.items():
        pages[page] = paper_table(protocol, title)
    pages["paper/bias.md"] = bias_tables()
    pages["performance.md"] = performance()
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each link to where its file is on the site, or to the repository where it is not."""
    here = page.file.src_uri
    source = next((name for name, target in ELSEWHERE.items() if target == here), f"docs/{here}")

    def led(link: re.Match[str]) -> str:
        name = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        target = ELSEWHERE.get(name, name.removeprefix("docs/") if name.startswith("docs/") else None)
        if target is None:
            return f"{config.repo_url}/blob/main/{name}"
        return posixpath.relpath(target, posixpath.dirname(here) or ".")

    return LINK.sub(led, markdown)


def paper_table(protocol: str, title: str) -> str:
    """Return a table of the paper as a page, from the numbers that ship."""
    library = Library()
    numbers = Numbers.of((), library.choose(["clip-paper"]))
    board = build_leaderboard(numbers, protocols=[protocol], library=library)
    command = f"evalsuite leaderboard --published clip-paper --protocol {protocol}"
    return f"# {title}\n\nMade from `results/published/`, as `{command}` shows it.\n\n{to_markdown(board)}"


def bias_tables() -> str:
    """Return the paper's tables of bias on faces as a page."""
    paper = read_bias_paper()
    parts = [
        "# Tables 3 to 7: bias on faces",
        f"Percent, as printed in {paper.citation}. [Bias on faces](../bias.md) says what they can and cannot say.",
    ]
    for number in dict.fromkeys(row.table for row in paper.rows):
        rows = [row for row in paper.rows if row.table == number]
        columns = list(dict.fromkeys(column for row in rows for column in row.values))
        cells = [[row.what, *(row.values.get(column, "") for column in columns)] for row in rows]
        title = TITLES[number].format(paper.reference)
        table = tabulate(cells, ["", *columns], tablefmt="pipe")
        parts.append(f"## {f'Table {number}: {title}' if number.isdigit() else title}\n\n{table}")
    return "\n\n".join(parts) + "\n"


def performance() -> str:
    """Return what the benchmarks measured, from the files that they wrote."""
    parts = [PERFORMANCE]
    for path in sorted(FIGURES.glob("*.json")):
        about = ast.get_docstring(ast.parse((ROOT / "benchmarks" / f"{path.stem}.py").read_text("utf-8"))) or ""
        found = json.loads(path.read_text("utf-8"))
        rows = [[name, f"{value:,.4g}" if isinstance(value, float) else value] for name, value in leaves(found)]
        table = tabulate(rows, ["figure", "value"], tablefmt="pipe", disable_numparse=True)
        parts.append(f"## {path.stem}\n\n{about}\n\n{table}")
    return "\n\n".join(parts) + "\n"


def leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the texts and numbers of nested mappings under the names of their keys, joined by dots."""
    for key, part in value.items():
        if isinstance(part, Mapping):
            yield from leaves(part, f"{prefix}{key}.")
        elif isinstance(part, str | int | float):
            yield f"{prefix}{key}", part
