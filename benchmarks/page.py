"""The page of the report in a headless Chromium: seconds until it is there, and of what its reader does.

    python -m benchmarks.page
    python -m benchmarks.page --repeats 9 --json page.json

The page shows the rows of all tables that ship with the program, on the 27 tasks of the paper. Timed is the way to
the end of the second frame after an action, when its result is on the screen: up to 17 ms of it wait for the screen.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

import click

from tests.report.browser import Browser
from tests.report.pages import DESKTOP, PROGRAM, board_of, write_page

FRAMES = "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
SORTED = "document.querySelectorAll('#board thead th button')"
ACTIONS = {
    "sort": [f"{SORTED}[{place}].click()" for place in (5, 9, 14, 20, 26)],
    "filter": [f"search.value = '{text}'; search.dispatchEvent(new Event('input'))" for text in ("vit", "resnet", "")],
    "hide a group": ["document.querySelector('#columns input[data-group]').click()"] * 2,
}
"""What the reader does -> statements, each timed by itself."""


@click.command()
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1), help="How often each is done.")
@click.option("--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures here.")
def main(repeats: int, target: Path | None) -> None:
    """Measure the page."""
    if PROGRAM is None:
        raise click.ClickException("There is no Chromium: apt-get install chromium")
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, Browser(PROGRAM, Path(folder) / "profile") as browser:
        browser.call("Emulation.setDeviceMetricsOverride", **DESKTOP)
        page = write_page(Path(folder), board_of(None, ["all"]))
        for _ in range(repeats):
            browser.open(page)
            entry = "performance.getEntriesByType('navigation')[0].loadEventEnd"
            found.setdefault("open", []).append(browser.evaluate(f"(async () => {{ {FRAMES}; return {entry} }})()"))
            for name, statements in ACTIONS.items():
                found.setdefault(name, []).extend(timed(browser, statement) for statement in statements)
        rows = browser.evaluate("document.querySelectorAll('#board tbody tr').length")
    click.echo(f"{rows} rows, {summary(found)}")
    if target is not None:
        target.write_text(json.dumps({"rows": rows, "ms": found}, indent=2) + "\n", "utf-8")


def timed(browser: Browser, statement: str) -> float:
    """Return the milliseconds until what a statement does is on the screen."""
    clock = "performance.now()"
    took: float = browser.evaluate(
        f"(async () => {{ const since = {clock}; {statement}; {FRAMES}; return {clock} - since }})()"
    )
    return took


def summary(found: dict[str, list[float]]) -> str:
    """Return median and range of each action, in words."""
    parts = (
        f"{name} {statistics.median(values):.0f} ms ({min(values):.0f} to {max(values):.0f})"
        for name, values in found.items()
    )
    return ", ".join(parts)


if __name__ == "__main__":
    main()
