"""What the documentation shows is right: every YAML block is read, every command and option in it exists."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from evalsuite import __version__
from evalsuite.cli import evalsuite
from evalsuite.metrics import METRICS
from evalsuite.tasks import load_prompt_file, load_task_file
from evalsuite.tasks.spec import PromptSpec, TaskSpec
from evalsuite.tasks.yaml_files import read_yaml, validate

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md")), ROOT / "examples" / "README.md"]
EVERY_PAGE = [*PAGES, *sorted((ROOT / "docs" / "datasets").glob("*.md")), ROOT / "results" / "published" / "README.md",
              ROOT / "training" / "pocket" / "README.md"]  # fmt: skip


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """Return (what stands before, content) of each code block of a language."""
    text = page.read_text("utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start()].rstrip().rpartition("\n")[2], match[1]) for match in found]


TASK_BLOCKS = blocks(ROOT / "docs" / "tasks.md", "yaml")


@pytest.mark.parametrize("number", range(len(TASK_BLOCKS)))
def test_a_yaml_block_of_the_page_on_tasks_is_a_valid_file(tmp_path: Path, number: int) -> None:
    before, content = TASK_BLOCKS[number]
    path = tmp_path / "block.yaml"
    path.write_text(content, "utf-8")
    (tmp_path / "my_birds_prompts.yaml").write_text("templates: ['a {}.']\n")
    if before == "<!-- prompt file -->":
        load_prompt_file(path)
    else:
        load_task_file(path)


def test_the_page_on_tasks_names_every_key() -> None:
    text = (ROOT / "docs" / "tasks.md").read_text("utf-8")
    schema = TaskSpec.model_json_schema()
    parts = [schema, *schema["$defs"].values(), PromptSpec.model_json_schema()]
    keys = {key for part in parts for key in part.get("properties", {})}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", text)] == []
    kinds = [part["properties"]["kind"]["const"] for part in parts if "kind" in part.get("properties", {})]
    assert len(kinds) == 8
    assert [kind for kind in kinds if f"kind: {kind}" not in text] == []
    for metric in METRICS:
        assert f"`{metric}`" in text


def test_every_yaml_block_elsewhere_is_a_config_or_a_task(tmp_path: Path) -> None:
    options = {name.removeprefix("--") for option in command_of(["run"])[0].params for name in option.opts}
    for page in PAGES:
        if page.name == "tasks.md":
            continue
        for _, content in blocks(page, "yaml"):
            path = tmp_path / "block.yaml"
            path.write_text(content, "utf-8")
            value, node = read_yaml(path)
            if "sources" in value:
                validate(TaskSpec, {"name": "block", **value}, path, node)
            else:
                assert {str(key).replace("_", "-") for key in value} <= options, page


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every `evalsuite ...` of the pages, in blocks and in running text, with its words."""
    for page in PAGES:
        text = page.read_text("utf-8")
        lines = [line for _, block in blocks(page, "sh") for line in block.splitlines()]
        for line in [*lines, *re.findall(r"`(evalsuite [^`\n]+)`", text)]:
            for part in line.split("&&"):
                words = shlex.split(part.strip(), comments=True)
                if words and words[0] == "evalsuite":
                    yield f"{page.name}: {part.strip()}", words[1:]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words name, and the words that are left."""
    command: click.Command = evalsuite
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"there is no command {rest[0]!r}"
        command, rest = found, rest[1:]
    return command, rest


def test_every_command_of_the_pages_exists_with_its_options() -> None:
    shown = list(shown_commands())
    assert len(shown) > 20
    for where, words in shown:
        command, rest = command_of(words)
        known = {name for option in command.params for name in [*option.opts, *option.secondary_opts]}
        known |= {"--help", "-h", "--version"}
        used = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert used <= known, where


def test_every_link_to_a_file_leads_somewhere() -> None:
    found = 0
    for page in EVERY_PAGE:
        for target, heading in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text("utf-8")):
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name}: {target}"
            assert not heading or heading in anchors(file), f"{page.name}: {target}#{heading}"
            found += 1
    assert found > 100


def anchors(page: Path) -> set[str]:
    """Return what headings of a page are linked by: small letters, words joined by hyphens, no other signs."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def said_by_the_code() -> str:
    """Return all texts of the package, those in f-strings with ... for each value."""
    texts = []
    for path in (ROOT / "evalsuite").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_every_message_of_the_page_on_troubleshooting_is_one_of_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    messages = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    assert len(messages) > 25
    said = said_by_the_code()
    others = {"evalsuite: command not found", "No module named 'evalsuite'"}  # a shell's, and Python's
    assert [message for message in messages if message not in others and not has(said, message)] == []


def has(said: str, message: str) -> bool:
    """Say whether a message, with ... for what differs, is in a text."""
    parts = [re.escape(part) for part in re.split(r"\.\.\.", message.strip(" ."))]
    return re.search("[^\n]*".join(parts), said) is not None


def test_every_path_that_a_page_names_exists() -> None:
    folders = "evalsuite|tests|tasks|prompts|docs|examples|training|benchmarks"
    for page in PAGES:
        for name in set(re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text("utf-8"))):
            assert "NAME" in name or (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_picture_of_the_architecture_names_what_exists() -> None:
    ((_, picture),) = blocks(ROOT / "docs" / "how-it-works.md", "mermaid")
    named = re.findall(r"\b((?:evalsuite|tasks|prompts|results)(?:/\w+)*)/", picture)
    assert {"evalsuite/runner", "evalsuite/report", "prompts", "results/published"} <= set(named)
    assert [name for name in named if not (ROOT / name).is_dir()] == []


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and every anchor leads somewhere, every name of the code is found."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    probes = (tmp_path / "site" / "paper" / "linear-probe" / "index.html").read_text("utf-8")
    assert "efficientnet-ns/l2-800" in probes and "85.1" in probes
    faces = (tmp_path / "site" / "paper" / "bias" / "index.html").read_text("utf-8")
    assert "Table 7: People who are given a label of crime or of animals, by age" in faces
    python = (tmp_path / "site" / "api" / "index.html").read_text("utf-8")
    assert "Evaluate models on tasks and return a result" in python
    assert not re.search(r"https?://(fonts|unpkg|cdn)", (tmp_path / "site" / "index.html").read_text("utf-8"))


def test_the_changelog_and_the_citation_are_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", changelog, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert versions[1] == (__version__, citation["date-released"])
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", __version__)
    assert citation["message"] and citation["title"] and citation["authors"]  # what the format requires


def test_git_checks_commits_with_targets_of_the_makefile_alone() -> None:
    found = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert [repository["repo"] for repository in found["repos"]] == ["local"]
    entries = [hook["entry"] for repository in found["repos"] for hook in repository["hooks"]]
    assert "make lint" in entries
    assert all(entry.removeprefix("make ") in targets for entry in entries)
