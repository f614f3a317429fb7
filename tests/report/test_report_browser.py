"""The report in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import WarmCli
from tests.report.browser import Browser
from tests.report.conftest import Bench
from tests.report.pages import DESKTOP, HEADINGS, IN_A_BROWSER, MODELS, PHONE, PROGRAM, quiet_browser

pytestmark = IN_A_BROWSER
SHOWN = f"{HEADINGS}.filter(th => !th.hidden).map(th => th.textContent)"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """Return a browser that must not have complained, nor asked for anything but the page, when the test ends."""
    for opened in quiet_browser(tmp_path):
        yield opened()


@pytest.fixture
def page(cli: WarmCli, tmp_path: Path, bench: Bench) -> Path:
    """Return a page of three models on three tasks; the best ones have details of one, several and many classes."""
    for model, noise in (("m/good", 0.2), ("m/fair", 0.8), ("n/bad", 2.0)):
        bench.add(model, "mnist", noise, n_classes=10)
    bench.add("m/good", "dtd", 0.2, n_classes=47, protocol="zero_shot")
    bench.add("m/good", "voc2007", 0.4, metric="map_11_point", n_classes=20)
    target = tmp_path / "page.html"
    assert cli("report", "-o", "out", "--to", target).returncode == 0
    return target


def click(name: str) -> str:
    return f"{HEADINGS}.find(th => th.textContent === '{name}').firstElementChild.click()"


def set_value(control: str, value: str, event: str) -> str:
    return f"{{ const c = {control}; c.value = '{value}'; c.dispatchEvent(new Event('{event}')) }}"


def test_a_click_sorts_and_says_so(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.evaluate(MODELS)[0] == "m/good"
    browser.evaluate(click("model"))
    assert browser.evaluate(MODELS) == ["m/fair", "m/good", "m/good", "n/bad"]
    browser.evaluate(click("mnist"))
    assert browser.evaluate(MODELS) == ["m/good", "m/fair", "n/bad", "m/good"]
    sorts = f"{HEADINGS}.filter(th => th.ariaSort).map(th => [th.textContent, th.ariaSort])"
    assert browser.evaluate(sorts) == [["mnist", "descending"]]
    browser.evaluate(click("mnist"))
    assert browser.evaluate(MODELS) == ["n/bad", "m/fair", "m/good", "m/good"]
    assert browser.evaluate(sorts) == [["mnist", "ascending"]]


def test_the_keyboard_sorts_and_opens(browser: Browser, page: Path) -> None:
    browser.open(page)
    for target in (f"{HEADINGS}[0].firstElementChild", "document.querySelector('details.task summary')"):
        browser.evaluate(f"{target}.focus()")
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, text="\r")
    assert browser.evaluate(f"{HEADINGS}[0].ariaSort") == "ascending"
    assert browser.evaluate("document.querySelector('details.task').open") is False


def test_rows_are_filtered_and_groups_hidden(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.evaluate(set_value("document.getElementById('search')", "m/", "input"))
    assert browser.evaluate(MODELS) == ["m/good", "m/fair", "m/good"]
    browser.evaluate(set_value("document.getElementById('protocol')", "zero_shot", "change"))
    assert browser.evaluate(MODELS) == ["m/good"]
    assert browser.evaluate("document.getElementById('count').textContent") == "1 of 4 rows"
    assert "mnist" in browser.evaluate(SHOWN)
    box = "[...document.querySelectorAll('#controls label')].find(label => label.textContent === 'digits')"
    browser.evaluate(f"{box}.control.click()")
    assert "mnist" not in browser.evaluate(SHOWN) and "dtd" in browser.evaluate(SHOWN)


def test_an_address_that_was_cut_off_leaves_the_page_as_it_is(browser: Browser, page: Path) -> None:
    browser.open(page, "#task-mnist%E0%A4?sort=model")
    assert browser.evaluate("document.getElementById('controls').hidden") is False
    assert browser.evaluate(MODELS) == ["m/fair", "m/good", "m/good", "n/bad"]


def test_the_headings_and_models_stay_in_sight(cli: WarmCli, tmp_path: Path, browser: Browser) -> None:
    page = tmp_path / "published.html"
    (tmp_path / "none").mkdir()
    assert cli("report", "-o", "none", "--published", "all", "--to", page).returncode == 0
    browser.call("Emulation.setDeviceMetricsOverride", **DESKTOP)
    browser.open(page)
    place = "(({left, top}) => [left, top])(document.querySelector('%s').getBoundingClientRect())"
    frame, corner = place % ".tall", place % "#board thead tr:nth-child(2) th"
    group = place % "#board thead th.group:last-child span"
    before = browser.evaluate(corner)
    browser.evaluate("document.querySelector('.tall').scrollTo(1e5, 1e5)")
    assert browser.evaluate("document.querySelector('.tall').scrollTop") > 500
    assert browser.evaluate("document.querySelector('.tall').scrollLeft") > 0
    assert browser.evaluate(corner) == before
    left, top = browser.evaluate(group)
    assert browser.evaluate(frame)[1] <= top < before[1] and left > before[0]
    in_front = f"document.elementFromPoint({left + 2}, {top + 2}).closest('th').textContent"
    assert browser.evaluate(in_front) == "image encoder"


def test_every_drawing_and_table_has_a_name(browser: Browser, page: Path) -> None:
    browser.open(page)
    for what, named in (
        ("svg[role=img]", "one.querySelector(':scope > title') && one.querySelector(':scope > desc')"),
        ("table", "one.caption && one.caption.textContent"),
        ("th", "one.scope"),
        (
            "rect.bar, rect.ahead, rect.behind, circle.mark, path.mark",
            "one.closest('[aria-hidden]') || one.textContent",
        ),
        (".scroll", "one.tabIndex === 0 && (one.ariaLabel || one.getAttribute('aria-labelledby'))"),
    ):
        assert browser.evaluate(f"document.querySelectorAll('{what}').length") > 0, what
        assert browser.evaluate(f"[...document.querySelectorAll('{what}')].filter(one => !({named})).length") == 0, what


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_fits_its_window(browser: Browser, page: Path, size: dict[str, object]) -> None:
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    browser.open(page)
    browser.evaluate("document.querySelectorAll('details.task').forEach(task => { task.open = true })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= size["width"]
    browser.evaluate("document.getElementById('theme').click()")
    assert browser.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_page_may_not_ask_anybody(tmp_path: Path, page: Path) -> None:
    """What somebody smuggles into the page is stopped by its own policy."""
    assert PROGRAM is not None
    with Browser(PROGRAM, tmp_path / "profile") as browser:
        browser.open(page)
        browser.evaluate(
            "window.refused = []; document.addEventListener('securitypolicyviolation', e => refused.push(e.blockedURI))"
        )
        attempts = (
            "Promise.all([fetch('http://127.0.0.1:9/data').catch(() => 0), new Promise(failed => document.body.append("
            "Object.assign(new Image(), {onerror: failed, src: 'http://127.0.0.1:9/pixel'})))])"
        )
        browser.call(
            "Runtime.evaluate",
            expression=f"{attempts}.then(() => new Promise(requestAnimationFrame))",
            awaitPromise=True,
        )
        refused = browser.evaluate("refused.sort()")
    assert refused == ["http://127.0.0.1:9/data", "http://127.0.0.1:9/pixel"]
