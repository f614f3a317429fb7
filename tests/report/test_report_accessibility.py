"""The pages of the report held against the rules of axe-core, in both themes and on two widths."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import axe_core_python
import pytest

from tests.report.browser import Browser
from tests.report.conftest import Bench
from tests.report.pages import DESKTOP, IN_A_BROWSER, PHONE, board_of, quiet_browser, write_page

pytestmark = IN_A_BROWSER
AXE = files(axe_core_python).joinpath("axe.min.js").read_text("utf-8")
FOUND = "axe.run().then(found => found.violations.map(one => [one.id, one.nodes.map(node => node.html.slice(0, 200))]))"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a page of published rows, one of what was measured, with details and gaps, and one without any row."""
    folder = tmp_path_factory.mktemp("pages")
    bench = Bench(folder / "out")
    for model, noise in (("clip/vit-b-32", 0.2), ("m/fair", 0.8)):
        bench.add(model, "mnist", noise, n_classes=10)
    bench.add("m/fair", "mnist", 0.9, n_classes=10, protocol="zero_shot")
    bench.add("m/fair", "dtd", 0.2, n_classes=47, protocol="zero_shot", status="partial")
    bench.add("m/fair", "voc2007", 0.4, metric="map_11_point", n_classes=20)
    boards = {
        "published": board_of(None, ["clip/vit-b-*", "resnet/50"]),
        "measured": board_of(bench, ["resnet/50"]),
        "empty": board_of(None, []),
    }
    made = {}
    for name, board in boards.items():
        (folder / name).mkdir()
        made[name] = write_page(folder / name, board)
    return made


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a browser for all pages."""
    for browser in quiet_browser(tmp_path_factory.mktemp("browser")):
        yield browser()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["published", "measured", "empty"])
def test_axe_finds_nothing(
    opened: Browser, pages: dict[str, Path], name: str, theme: str, size: dict[str, object]
) -> None:
    opened.call("Emulation.setDeviceMetricsOverride", **size)
    opened.open(pages[name], f"#?theme={theme}")
    opened.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    for pin in range(2):
        opened.evaluate(f"document.querySelectorAll('.pin')[{pin}]?.click()")
    opened.evaluate(AXE)
    assert opened.evaluate(FOUND) == []
