"""The leaderboard of the page in a real browser: what its reader chooses, and what follows from it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalsuite.report.comparison import compare
from evalsuite.report.contenders import Contender
from evalsuite.report.html.board import row_key
from evalsuite.report.table import Leaderboard, Row
from tests.report.browser import Browser
from tests.report.conftest import Bench
from tests.report.pages import (
    DESKTOP,
    HEADINGS,
    IN_A_BROWSER,
    MODELS,
    PHONE,
    ROWS,
    board_of,
    quiet_browser,
    write_page,
)

pytestmark = IN_A_BROWSER
PUBLISHED = ("clip/*", "resnet/50")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Return three measured models on three tasks; one of them has a partial value, one lacks a task."""
    bench = Bench(tmp_path_factory.mktemp("board") / "out")
    for model, noise in (("clip/vit-b-32", 0.2), ("m/fair", 0.8), ("m/some", 0.5)):
        for task in ("mnist", "eurosat", "dtd"):
            if (model, task) != ("m/fair", "dtd"):
                status = "partial" if (model, task) == ("m/some", "eurosat") else "ok"
                bench.add(model, task, noise, status=status)
    return bench


@pytest.fixture(scope="module")
def board(bench: Bench) -> Leaderboard:
    """Return these among some rows of the paper."""
    return board_of(bench, PUBLISHED)


@pytest.fixture(scope="module")
def page(bench: Bench, board: Leaderboard) -> Path:
    """Return the page of the board."""
    return write_page(bench.store.root.parent, board)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a browser for all tests of this file."""
    for browser in quiet_browser(tmp_path_factory.mktemp("browser")):
        yield browser()


@pytest.fixture
def browser(opened: Browser, page: Path) -> Browser:
    """Return the browser with the page as it opens on a desktop."""
    opened.call("Emulation.setDeviceMetricsOverride", **DESKTOP)
    opened.open(page)
    return opened


def cell(board_row: Row, heading: str) -> str:
    """Return the expression of a cell: its row, and the kind (and key) of its column."""
    kind, _, key = heading.partition(":")
    place = f"{HEADINGS}.findIndex(th => th.dataset.kind === '{kind}' && th.dataset.key === '{key}')"
    said = board_row.title + " " + ", ".join(board_row.labels[1:]).replace("zero_shot", "zero-shot").replace("_", " ")
    rows = "[...document.querySelectorAll('#board tbody tr')]"
    return f"{rows}.find(row => row.cells[0].textContent.trim() === {json.dumps(said)}).cells[{place}]"


def text_of(browser: Browser, row: Row, heading: str) -> Any:
    return browser.evaluate(f"{cell(row, heading)}.textContent.trim()")


def sorted_by(browser: Browser, heading: str) -> list[str]:
    kind, _, key = heading.partition(":")
    browser.evaluate(
        f"{HEADINGS}.find(th => th.dataset.kind === '{kind}' && th.dataset.key === '{key}').firstElementChild.click()"
    )
    found: list[str] = browser.evaluate(MODELS)
    return found


def tick(browser: Browser, box: str) -> None:
    browser.evaluate(f"document.querySelector(`#columns [{box}]`).click()")


def search(browser: Browser, words: str) -> None:
    typed = f"const box = document.getElementById('search'); box.value = {json.dumps(words)};"
    browser.evaluate(f"{{ {typed} box.dispatchEvent(new Event('input')) }}")


def row_of(board: Leaderboard, model: str, origin: str, protocol: str = "linear_probe") -> Row:
    return next(row for row in board.rows if (row.model, row.origin.label, row.protocol) == (model, origin, protocol))


def test_averages_ranks_and_wins_follow_the_columns(browser: Browser, bench: Bench, board: Leaderboard) -> None:
    """They are what the leaderboard of these tasks has, group averages too, and the page says over what they are."""
    assert "over all 3 tasks" in browser.evaluate("document.getElementById('over').textContent")
    tick(browser, 'data-task="dtd"')
    assert "over the 2 tasks shown, not over all 3" in browser.evaluate("document.getElementById('over').textContent")
    kept = [task for task in board.tasks if task != "dtd"]
    fewer = board_of(bench, PUBLISHED, kept)
    assert len(fewer.rows) == len(board.rows) > 10
    for row in fewer.rows:
        rank = "–" if row.rank is None else f"{row.rank:.1f}"
        average = f"{100 * row.average:.1f}{row.average_mark}"
        assert text_of(browser, row, "average") == average, row.described
        assert [text_of(browser, row, name) for name in ("rank", "wins")] == [rank, str(row.wins)], row.described
    browser.evaluate("document.querySelector('#columns [data-all=\"\"]').click()")
    assert browser.evaluate(f"{HEADINGS}.filter(th => th.dataset.kind === 'task' && !th.hidden).length") == 0
    browser.evaluate("document.querySelector('#columns [data-all=\"1\"]').click()")
    first = board.rows[0]
    assert text_of(browser, first, "average") == f"{100 * first.average:.1f}"


def test_what_lacks_something_comes_last_whichever_way(browser: Browser) -> None:
    """No partial average, nor one over fewer tasks, stands between whole ones."""
    for clicks in range(3):
        models = browser.evaluate(MODELS) if not clicks else sorted_by(browser, "average")
        assert set(models[-2:]) == {"m/fair", "m/some"}, models
        parts = browser.evaluate(f"{ROWS}.map(row => row.classList.contains('part'))")
        assert parts == [False] * (len(models) - 2) + [True] * 2
    assert sorted_by(browser, "task:dtd")[-1] == "m/fair"
    assert sorted_by(browser, "task:dtd")[-1] == "m/fair"


def test_a_model_is_found_by_each_of_its_spellings(browser: Browser) -> None:
    for words in ("ViT-B/32", "vit b-32", "clip/vit-b-32", "VITB32", "CLIP ViT-B/32", "ViT-B-32/openai"):
        search(browser, words)
        assert set(browser.evaluate(MODELS)) == {"clip/vit-b-32"}, words
    search(browser, "ResNet-50")
    assert set(browser.evaluate(MODELS)) == {"resnet/50"}


def test_an_empty_search_offers_to_clear_it(browser: Browser, board: Leaderboard) -> None:
    search(browser, "nosuch")
    assert browser.evaluate(MODELS) == [] and not browser.evaluate("document.getElementById('empty').hidden")
    browser.evaluate("document.getElementById('clear').click()")
    assert len(browser.evaluate(MODELS)) == len(board.rows) and browser.evaluate(
        "document.getElementById('empty').hidden"
    )
    assert browser.evaluate("document.getElementById('search').value") == ""


def test_the_address_keeps_what_was_chosen(browser: Browser, page: Path, board: Leaderboard) -> None:
    search(browser, "clip")
    sorted_by(browser, "task:mnist")
    tick(browser, 'data-task="dtd"')
    browser.evaluate(f"{cell(row_of(board, 'resnet/50', 'paper'), 'model')}.querySelector('.pin').click()")
    browser.evaluate("document.getElementById('theme').click(); document.getElementById('task-mnist').open = false")
    opened = "['mnist', 'dtd'].map(task => document.getElementById(`task-${task}`).open)"
    seen = f"[document.documentElement.dataset.theme, ...{opened}]"
    browser.evaluate("new Promise(done => setTimeout(done))")
    shown = [browser.evaluate(expression) for expression in (MODELS, f"{HEADINGS}.map(th => th.hidden)", seen)]
    assert shown[0][0] == "resnet/50" and shown[2][1:] == [False, True]
    address = browser.evaluate("location.hash")
    browser.open(page, address)
    assert [browser.evaluate(one) for one in (MODELS, f"{HEADINGS}.map(th => th.hidden)", seen)] == shown


def test_the_address_of_a_task_opens_it(browser: Browser, page: Path) -> None:
    browser.open(page, "#?open=")
    assert browser.evaluate("document.querySelectorAll('details.task[open]').length") == 0
    browser.open(page, "#task-mnist?open=")
    assert browser.evaluate("[...document.querySelectorAll('details.task[open]')].map(one => one.id)") == ["task-mnist"]
    assert abs(browser.evaluate("document.getElementById('task-mnist').getBoundingClientRect().top")) < 900


def test_each_score_tells_what_is_known_of_it(browser: Browser, board: Leaderboard) -> None:
    numbers = f"{ROWS}.flatMap(row => [...row.cells].filter((_, place) => {HEADINGS}[place].dataset.kind === 'task'))"
    titles = browser.evaluate(f"{numbers}.filter(cell => cell.textContent !== '–').map(cell => cell.title)")
    assert len(titles) == sum(len(row.cells) for row in board.rows)
    assert all("interval " in title and "n = " in title for title in titles)
    measured = row_of(board, "m/some", "measured")
    title = browser.evaluate(f"{cell(measured, 'task:eurosat')}.title")
    assert title == "accuracy, interval {:.1f} to {:.1f}, n = 400, from a part of the samples, 2026-01-01".format(
        *(100 * bound for bound in (measured.cells["eurosat"].value - 0.03, measured.cells["eurosat"].value + 0.03))
    )


def test_a_link_leads_to_the_samples(browser: Browser, page: Path, board: Leaderboard) -> None:
    """To what is on the page, else to the file."""
    best, other = (row_of(board, name, "measured") for name in ("clip/vit-b-32", "m/fair"))
    anchor = browser.evaluate(f"{cell(best, 'task:mnist')}.querySelector('a').getAttribute('href')")
    browser.evaluate(f"{cell(best, 'task:mnist')}.querySelector('a').click()")
    assert browser.evaluate(f"document.querySelector('{anchor}').closest('details').open")
    file = browser.evaluate(f"{cell(other, 'task:mnist')}.querySelector('a').getAttribute('href')")
    assert (page.parent / file).is_file() and file.endswith(".parquet")


def test_a_click_on_a_score_says_it_where_it_can_be_read(browser: Browser, board: Leaderboard) -> None:
    browser.evaluate(f"{cell(row_of(board, 'm/fair', 'measured'), 'task:mnist')}.click()")
    told = browser.evaluate("document.getElementById('told').textContent")
    assert told.startswith("m/fair (linear_probe, measured) on mnist: ") and "n = 400" in told
    assert browser.evaluate("document.querySelector('#told a').hash") == "#task-mnist"


def pin(browser: Browser, row: Row) -> None:
    browser.evaluate(f"{cell(row, 'model')}.querySelector('.pin').click()")


def difference(browser: Browser, heading: str) -> list[str]:
    kind, _, key = heading.partition(":")
    place = f"{HEADINGS}.findIndex(th => th.dataset.kind === '{kind}' && th.dataset.key === '{key}')"
    own = f"document.getElementById('difference').cells[{place}]"
    found: list[str] = browser.evaluate(
        f"{own}.children.length ? [...{own}.children].map(part => part.textContent) : [{own}.textContent]"
    )
    return found


def test_two_pinned_rows_are_compared_in_place(browser: Browser, board: Leaderboard) -> None:
    """Where samples are stored by the paired test of `evalsuite compare`, else by their intervals."""
    one, other = (row_of(board, name, "measured") for name in ("clip/vit-b-32", "m/fair"))
    pin(browser, one)
    pin(browser, other)
    assert browser.evaluate(MODELS)[:3] == [one.title, other.title, "difference"]
    pair = [Contender(row.title, {number.job: number for number in row.cells.values()}) for row in (one, other)]
    expected = {row.task: row for row in compare(*pair).rows}
    for task, row in expected.items():
        assert row.interval is not None and row.p_holm is not None
        bounds = [f"{100 * bound:+.1f}".replace("-", "−") for bound in (row.interval.low, row.interval.high)]
        p = "p < 0.001" if row.p_holm < 0.001 else f"p {row.p_holm:.3f}"
        assert difference(browser, f"task:{task}") == [f"{100 * row.difference:+.1f}", " to ".join(bounds), p]
    assert difference(browser, "task:dtd") == ["–"]
    mean = sum(row.difference for row in expected.values()) / 2
    assert difference(browser, "average") == [f"{100 * mean:+.1f} (2/3)"]
    paper = row_of(board, "resnet/50", "paper")
    pin(browser, paper)  # the one that was pinned first makes room
    assert browser.evaluate(MODELS)[:3] == [other.title, paper.title, "difference"]
    a, b = (row.cells["mnist"] for row in (other, paper))
    first, second = a.confidence(), b.confidence()
    assert first is not None and second is not None
    low = a.value - b.value - ((a.value - first.low) ** 2 + (second.high - b.value) ** 2) ** 0.5
    assert difference(browser, "task:mnist")[1].startswith(f"{100 * low:+.1f}".replace("-", "−"))
    assert len(difference(browser, "task:mnist")) == 2


def test_what_is_shown_can_be_saved_and_copied(browser: Browser, board: Leaderboard) -> None:
    search(browser, "clip/vit")
    tick(browser, 'data-task="dtd"')
    browser.evaluate("URL.createObjectURL = blob => { window.saved = blob; return '#leaderboard' }")
    browser.evaluate("document.getElementById('csv').click()")
    table = list(csv.DictReader(io.StringIO(browser.evaluate("saved.text()"))))
    assert [line["model"] for line in table] == browser.evaluate(MODELS) and len(table) > 3
    assert "dtd" not in table[0]
    for line in table:
        row = row_of(board, line["model"], line["origin"], line["protocol"])
        assert float(line["mnist"]) == pytest.approx(100 * row.cells["mnist"].value, abs=0.0051)
        kept = [row.cells[task].value for task in board.tasks if task != "dtd"]
        assert float(line["average"]) == pytest.approx(100 * sum(kept) / 2, abs=0.0051)
    browser.evaluate("document.getElementById('markdown').click()")
    lines = browser.evaluate("document.getElementById('text').value").splitlines()
    assert lines[0].startswith("| model | protocol | origin | average | place | rank | wins |")
    assert "dtd" not in lines[0]
    assert [line.split(" | ")[0][2:] for line in lines[2 : 2 + len(table)]] == [line["model"] for line in table]
    assert "over the 2 tasks shown" in lines[-1]


def test_names_stay_in_sight_and_a_phone_shows_scores_first(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", **PHONE)
    browser.open(page)
    label, score = (f"{ROWS}[0].cells[{place}].getBoundingClientRect()" for place in (0, 1))
    assert browser.evaluate(f"{label}.bottom") < PHONE["height"] and browser.evaluate(f"{score}.right") < PHONE["width"]
    said = browser.evaluate(f"{ROWS}[0].cells[0].textContent")
    assert "linear probe" in said and "paper" in said
    before = browser.evaluate(f"{label}.left")
    browser.evaluate("document.querySelector('.tall').scrollTo(1e5, 0)")
    assert browser.evaluate(f"{score}.right") < 0 and browser.evaluate(f"{label}.left") == before


@pytest.mark.parametrize("width", [703, 1032], ids=["portrait", "landscape"])
def test_paper_has_every_column_dark_on_white(opened: Browser, width: int, tmp_path: Path) -> None:
    """A4 less its margins, the system dark: every task is in a block that has the names of the rows."""
    page = write_page(tmp_path, board_of(None, ["clip/*"]))
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    opened.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    try:
        opened.call("Emulation.setEmulatedMedia", media="print", features=dark)
        opened.open(page)
        opened.evaluate("document.getElementById('theme').click(); dispatchEvent(new Event('beforeprint'))")
        told = (
            "[head.textContent, rows.length, rows[0].cells[0].textContent, scrollWidth, getComputedStyle(head).display]"
        )
        blocks = opened.evaluate(
            "[...document.querySelectorAll('#paper table')].map("
            f"({{tHead: head, tBodies: [{{rows}}], scrollWidth}}) => {told})"
        )
        tasks = opened.evaluate("JSON.parse(document.getElementById('data').textContent).tasks")
        assert len(tasks) == 27 and len(blocks) > 1
        assert all(any(task in heading for heading, *_ in blocks) for task in tasks)
        for _, rows, name, wide, display in blocks:
            assert rows == 18 and name.startswith("clip/vit-l-14-336px") and display == "table-header-group"
            assert wide <= width
        paint = "(one => [one.color, one.backgroundColor])(getComputedStyle(document.body))"
        assert opened.evaluate(paint) == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        opened.evaluate("dispatchEvent(new Event('afterprint'))")
        assert opened.evaluate("document.getElementById('paper')") is None
    finally:
        opened.call("Emulation.setEmulatedMedia", media="", features=[])


def test_row_keys_do_not_change_from_page_to_page(board: Leaderboard) -> None:
    """They stand in addresses that people keep."""
    assert row_key(row_of(board, "resnet/50", "paper")) == "4ceacb92"
