"""What a terminal gets: tables that fit, no marks of Markdown, a good end where nobody reads, completion."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len

from evalsuite.columns import Column, as_table, facts
from tests.cli.conftest import REFUSE_HEAVY_IMPORTS
from tests.processes import RunCli, WarmCli, Zygote, cli_environment

REFUSE_TORCH = REFUSE_HEAVY_IMPORTS.replace('"open_clip", ', "")
"""Names of models are looked for among the files of open_clip, which is not imported."""

STORES = ("-o", "out", "--cache-dir", "cache")

SHOWN = (
    ("ls", "tasks"),
    ("ls", "groups"),
    ("ls", "models", "clip"),
    ("run", "pocket", "digits", "mnist", "--dry-run", *STORES),
    ("run", "pixels", "digits", "--limit", "20", *STORES),
    ("leaderboard", "--published", "all", "-m", "clip/*", "-o", "out"),
    ("compare", "published:clip/vit-b-32", "published:resnet/50"),
    ("compare", "--reproduce", "-o", "out", "--include-partial"),
    ("table", "9"),
    ("table", "10", "-m", "clip/*"),
    ("robustness", "--published", "all", "-m", "clip/*"),
    ("describe", "digits", "fer2013"),
    ("describe", "pocket"),
    ("validate", "digits", "--offline"),
    ("audit", "digits", "-m", "pocket", "--protocol", "prototype", "--no-label-errors", *STORES),
    ("cache", "ls", "--cache-dir", "cache"),
)


def on_a_terminal(zygote: Zygote, folder: Path, columns: int, arguments: Sequence[str]) -> tuple[int, str]:
    """Run the command line with a terminal of that many columns as stdout; return its exit code and what it shows."""
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    parts: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(leader, 65536):
                parts.append(part)
        except OSError:  # how Linux says that the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    request = {"arguments": arguments, "env": zygote.environment(folder), "cwd": str(folder), "without": [],
               "code": None, "stdout": os.ttyname(follower), "stderr": str(folder / "stderr")}  # fmt: skip
    code = zygote.ask({"wait": zygote.ask(request)})
    os.close(follower)
    reader.join()
    os.close(leader)
    return code, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(parts).decode()).replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_everything_fits_the_terminal_and_is_no_markdown(zygote: Zygote, tmp_path: Path, columns: int) -> None:
    for arguments in SHOWN:
        code, shown = on_a_terminal(zygote, tmp_path, columns, arguments)
        assert code == 0, (arguments, (tmp_path / "stderr").read_text())
        lines = shown.splitlines()
        assert lines, arguments
        wide = [line for line in lines if len(line) > columns and "  " in line.strip()]  # lines of tables
        assert not wide, (arguments, wide[:3])
        marks = re.findall(r"^\|.*|\*\*.*\*\*|^#+ (?!pocket)|\]\(\S+\)", shown, re.MULTILINE)
        assert not marks, (arguments, marks)


def test_columns_of_the_environment_win_in_a_pipe(cli: WarmCli) -> None:
    wide, narrow = cli("ls", "tasks"), cli("ls", "tasks", env={"COLUMNS": "60"})
    assert max(map(len, wide.stdout.splitlines())) > 100
    assert max(len(line) for line in narrow.stdout.splitlines() if "  " in line) <= 60
    assert "A wider terminal also shows:" in narrow.stdout and "tags" in narrow.stdout


def test_a_table_wraps_then_leaves_out_then_becomes_blocks() -> None:
    columns = [Column("name"), Column("words", wraps=True), Column("more", spare=True), Column("n", right=True)]
    rows = [["first", "one two three four five six seven", "extra", 1], ["second", "eight", None, 22]]
    assert as_table(columns, rows).splitlines()[2] == "first   one two three four five six seven  extra   1"
    wrapped = as_table(columns, rows, 40).splitlines()
    assert max(map(len, wrapped)) <= 40 and wrapped[0].split() == ["name", "words", "more", "n"]
    left_out = as_table(columns, rows, 30)
    assert "extra" not in left_out and left_out.endswith("A wider terminal also shows: more.")
    blocks = as_table(columns, rows, 24).split("\n\n")
    assert len(blocks) == 2 and blocks[1].splitlines() == ["name   second", "words  eight", "n      22"]
    for width in (24, 30, 40):
        assert max(len(line) for line in as_table(columns, rows, width).splitlines() if "wider" not in line) <= width
    everything = as_table(columns, rows, 24).split()
    assert {"one", "four", "seven", "eight", "first", "second", "extra", "22"} <= set(everything)


def test_letters_are_as_wide_as_a_terminal_shows_them() -> None:
    names = ["鵲と四十雀の写真", "cafe\u0301", "plain", "\x1b[2J"]
    lines = as_table([Column("task", wraps=True), Column("n", right=True)], [[name, 7] for name in names]).splitlines()
    assert [cell_len(line) for line in lines[1:]] == [16 + 2 + 1] * 5
    assert "\\x1b[2J" in lines[-1]
    narrow = as_table([Column("task", wraps=True), Column("more", wraps=True)], [[names[0] * 3, "more " * 9]], 40)
    assert max(map(cell_len, narrow.splitlines())) <= 40
    assert "".join(line.split()[0] for line in narrow.splitlines()[2:] if line[0] != " ") == names[0] * 3
    assert facts([("文", "one"), ("", ""), ("name", "two")]).splitlines() == ["文    one", "name  two"]


@pytest.mark.parametrize("arguments", [("ls", "models"), ("leaderboard", "--published", "all"), ("--help",)])
def test_a_full_disk_behind_the_output_is_said_in_a_line(
    zygote: Zygote, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    request = {"arguments": arguments, "env": zygote.environment(tmp_path), "cwd": str(tmp_path), "without": [],
               "code": None, "stdout": "/dev/full", "stderr": str(tmp_path / "stderr")}  # fmt: skip
    code = zygote.ask({"wait": zygote.ask(request)})
    said = (tmp_path / "stderr").read_text().splitlines()
    assert (code, len(said)) == (1, 1) and "The output cannot be written" in said[0], said


@pytest.mark.parametrize("arguments", [("ls", "models"), ("leaderboard", "--published", "all"), ("--help",)])
def test_a_reader_that_goes_ends_it_in_silence(zygote: Zygote, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    started = zygote.start(arguments, zygote.environment(tmp_path), tmp_path)
    started.lines.close()  # type: ignore[attr-defined]  # as `| head -0` does
    assert zygote.ask({"wait": started.pid}) == 0
    assert started.stderr.read_text() == ""


@pytest.mark.parametrize(("closed", "arguments", "code"), [("2>&-", "ls modles", 2), ("<&- >&- 2>&-", "ls groups", 0)])
def test_closed_streams_are_no_error(tmp_path: Path, closed: str, arguments: str, code: int) -> None:
    line = f"{sys.executable} -m evalsuite {arguments} {closed}"
    done = subprocess.run(
        ["sh", "-c", line], env=cli_environment(tmp_path), cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


# --- completion ---


def completed(cli: WarmCli, shell: str, typed: str) -> list[str]:
    """Return what the command line answers to a shell, a line each."""
    words = typed.split(" ")
    last = words[-1] if shell == "fish" else str(len(words) - 1)
    return cli(env={"_EVALSUITE_COMPLETE": f"{shell}_complete", "COMP_WORDS": typed, "COMP_CWORD": last}).stdout.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("evalsuite run -t dig", "digits"),
        ("evalsuite run --protocol linear", "linear_probe"),
        ("evalsuite run pock", "pocket"),
        ("evalsuite run pocket dig", "digits"),
        ("evalsuite run --proto", "--protocol"),
        ("evalsuite ls mod", "models"),
    ],
)
def test_bash_zsh_and_fish_complete_names(cli: WarmCli, typed: str, offered: str) -> None:
    assert f"plain,{offered}" in completed(cli, "bash", typed)
    assert completed(cli, "zsh", typed)[:2] == ["plain", offered]
    assert any(line.partition(",")[2] == offered for line in completed(cli, "fish", typed))


TYPED = {
    "bash": "LINE; COMP_WORDS=(evalsuite run -t digi); COMP_CWORD=3; _evalsuite_completion evalsuite; echo $COMPREPLY",
    "zsh": """
    zmodload zsh/zpty
    zpty shell zsh -f -i
    zpty -w shell 'PS1=; autoload -Uz compinit; compinit -u -D; LINE'
    zpty -w -n shell $'evalsuite run -t digi\\t'
    zpty -r shell shown '*digits*' && echo digits
    """,
    "fish": "LINE; complete --do-complete 'evalsuite run -t digi'",
}
"""Shell -> a script in which LINE, from the page, has a name completed."""


@pytest.mark.parametrize("shell", TYPED)
def test_a_shell_itself_completes_with_what_the_page_says(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    page = (Path(__file__).parents[2] / "docs" / "terminal.md").read_text("utf-8")
    (line,) = re.findall(rf"^.*_EVALSUITE_COMPLETE={shell}_source evalsuite.*$", page, re.MULTILINE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [shell, "-c", TYPED[shell].replace("LINE", line)], env={**cli_environment(tmp_path), "PATH": path},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["digits"], done.stderr


@pytest.mark.parametrize("typed", ["evalsuite run -t dig", "evalsuite run --protocol z", "evalsuite run -m clip/vit-b"])
def test_completion_imports_nothing_heavy(tmp_path: Path, typed: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE_HEAVY_IMPORTS)
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    asked = {"PYTHONPATH": str(tmp_path), "_EVALSUITE_COMPLETE": "bash_complete", **words}
    done = subprocess.run(
        [Path(sys.executable).with_name("evalsuite")],
        env=cli_environment(tmp_path, asked), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("plain,"), done.stderr


def test_wrong_names_are_told_before_torch_is_imported(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE_TORCH)
    for arguments in (
        ["-m", "ViT-B-33"],
        ["-m", "org/model"],
        ["org/model"],
        ["-t", "digitz"],
        ["--protocol", "zeroshot"],
        ["--limit", "0.1"],
    ):
        done = run_cli("run", *arguments, env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == 2 and "was imported" not in done.stderr, done.stderr


def test_a_run_says_something_before_it_imports_torch(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE_TORCH)
    done = run_cli("run", "pocket", "digits", env={"PYTHONPATH": str(tmp_path)})
    assert "loading torch" in done.stderr.partition("torch was imported")[0]


@pytest.mark.parametrize("columns", ["²", "-5", "wide", "9" * 5_000])
def test_a_width_that_is_no_number_is_forgotten(columns: str, cli: WarmCli) -> None:
    found = cli("ls", "tasks", env={"COLUMNS": columns})
    assert (found.returncode, found.stderr) == (0, "") and "digits" in found.stdout
