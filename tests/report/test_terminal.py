"""The leaderboard on a terminal: every number is there, in pages that fit."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evalsuite.report.formats import to_terminal
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.report.table import Leaderboard, Row
from evalsuite.results.library import Library
from evalsuite.results.numbers import MEASURED, Number, Numbers

PAPER = build_leaderboard(
    Numbers.of([], Library().choose(["resnet", "bit-m"])),
    protocols=["linear_probe"],
    baselines=["resnet/50"],
    groups={"ocr": ["mnist"]},
)


def pages(text: str) -> list[list[str]]:
    """Return the lines of each page of a table."""
    return [page.splitlines() for page in re.split(r"\n\s*\n", text) if re.search("^resnet/50 ", page, re.MULTILINE)]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_every_column_is_on_one_page_that_fits(width: int) -> None:
    text = to_terminal(PAPER, width)
    assert max(len(line) for line in text.splitlines()) <= width
    numbers: list[str] = []
    for page in pages(text):
        rows = [line.split() for line in page if line.startswith(("resnet/", "bit-m/"))]
        assert [row[0] for row in rows] == [row.model for row in PAPER.rows]
        numbers += next(row for row in rows if row[0] == "resnet/50")[1:]
    printed = next(row for row in PAPER.rows if row.model == "resnet/50")
    assert printed.places is not None
    expected = [
        f"{100 * printed.average:.1f}",
        printed.places.label,
        f"{printed.rank:.1f}",
        str(printed.wins),
        "+0.0",
        "98.3",
    ]
    assert numbers == expected + [f"{100 * printed.cells[task].value:.1f}" for task in PAPER.tasks]


def test_wide_terminals_need_fewer_pages_and_shared_labels_are_said_once() -> None:
    narrow, wide = to_terminal(PAPER, 80), to_terminal(PAPER, 200)
    assert len(pages(narrow)) > len(pages(wide)) > 1
    assert wide.splitlines()[0] == "linear_probe, paper" and wide.count("linear_probe, paper\n") == 1
    assert "- average: unweighted mean over the 27 tasks" in wide


def test_long_names_leave_room_for_numbers_and_an_empty_table_says_so() -> None:
    name = "open_clip/" + "x" * 100
    cells = {
        task: Number(model=name, name=name, protocol="zero_shot", task=task, metric="accuracy", value=value)
        for task, value in {"mnist": 0.5, "dtd": 0.4}.items()
    }
    row = Row(name, "zero_shot", MEASURED, cells)
    text = to_terminal(Leaderboard(("mnist", "dtd"), (row,), ("a note",)), 60)
    assert "50.0" in text and "40.0" in text and max(map(len, text.splitlines())) <= 60
    assert "".join(re.findall("x+", text)) == "x" * 100
    assert to_terminal(Leaderboard((), (), ("a note",)), 60) == "There is no value to show.\n- a note\n"


def on_a_terminal(arguments: list[str], home: Path) -> str:
    """Run the command line with a terminal as its output and return what it wrote there."""
    leader, follower = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    environment |= {"EVALSUITE_HOME": str(home), "TERM": "xterm-256color", "COLUMNS": "90"}
    command = [sys.executable, "-m", "evalsuite", "leaderboard", "-o", str(home), *arguments]
    with subprocess.Popen(command, stdout=follower, env=environment) as process:
        os.close(follower)
        parts = []
        while part := _read(leader):
            parts.append(part)
        assert process.wait() == 0
    os.close(leader)
    return b"".join(parts).decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that the other end is closed
        return b""


def test_a_terminal_gets_pages_with_bold_and_a_pipe_markdown(tmp_path: Path) -> None:
    chosen = ["--published", "clip/vit-b-32,clip/rn50", "--protocol", "zero_shot", "-t", "mnist,cifar10"]
    shown = on_a_terminal(chosen, tmp_path)
    assert shown.splitlines()[0].endswith("zero_shot, paper\x1b[0m")
    assert "\x1b[1m 66.6\x1b[0m" in shown and "\x1b[1m   91.3\x1b[0m" in shown and "|" not in shown
    assert on_a_terminal([*chosen, "--format", "markdown"], tmp_path).startswith("| model")
    piped = subprocess.run(
        [sys.executable, "-m", "evalsuite", "leaderboard", "-o", str(tmp_path), *chosen],
        capture_output=True,
        text=True,
        check=True,
    )
    assert piped.stdout.startswith("| model")
