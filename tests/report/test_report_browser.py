"""The report in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import WarmCli, cli, zygote
from tests.report.browser import Browser, find_chromium
from tests.report.conftest import Bench

__all__ = ["cli", "zygote"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt-get install chromium"),
]
MODELS = (
    "[...document.querySelectorAll('#board tbody tr')].filter(row => !row.hidden).map(row => row.cells[0].textContent)"
)
HEADING = "[...document.querySelectorAll('#board thead tr:nth-child(2) th button')]"


def test_sorting_filtering_and_silence(cli: WarmCli, tmp_path: Path, bench: Bench) -> None:
    for model, noise in (("m/good", 0.2), ("m/fair", 0.8), ("n/bad", 2.0)):
        bench.add(model, "mnist", noise)
    bench.add("m/good", "cifar10", 0.2)
    target = tmp_path / "page.html"
    assert cli("report", "-o", "out", "--to", target).returncode == 0
    program = find_chromium()
    assert program is not None
    with Browser(program, tmp_path / "profile") as browser:
        browser.open(target)
        assert browser.evaluate(MODELS)[0] == "m/good"
        browser.evaluate(f"{HEADING}.find(b => b.textContent.includes('model')).click()")
        assert browser.evaluate(MODELS) == ["m/fair", "m/good", "n/bad"]
        browser.evaluate(f"{HEADING}.find(b => b.textContent.includes('mnist')).click()")
        assert browser.evaluate(MODELS) == ["m/good", "m/fair", "n/bad"]
        browser.evaluate(f"{HEADING}.find(b => b.textContent.includes('mnist')).click()")
        assert browser.evaluate(MODELS) == ["n/bad", "m/fair", "m/good"]
        browser.evaluate(
            "const s = document.getElementById('search'); s.value = 'm/'; s.dispatchEvent(new Event('input'))"
        )
        assert browser.evaluate(MODELS) == ["m/fair", "m/good"]
        assert "2 of 3" in browser.evaluate("document.getElementById('count').textContent")
        browser.evaluate("document.getElementById('theme').click()")
        assert browser.evaluate("document.documentElement.dataset.theme") in ("light", "dark")
        requests = [event["request"]["url"] for event in browser.happened("Network.requestWillBeSent")]
        assert all(url.startswith(("file:", "data:")) for url in requests), requests
        assert browser.happened("Log.entryAdded") == [] and browser.happened("Runtime.exceptionThrown") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window(cli: WarmCli, tmp_path: Path, bench: Bench, width: int) -> None:
    bench.add("m/good", "mnist", 0.2)
    target = tmp_path / "page.html"
    assert cli("report", "-o", "out", "--published", "all", "--to", target).returncode == 0
    program = find_chromium()
    assert program is not None
    with Browser(program, tmp_path / "profile") as browser:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        browser.open(target)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
