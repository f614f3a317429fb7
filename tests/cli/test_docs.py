"""What the documentation shows is right: every YAML block is read, every command and option in it exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from evalsuite.cli import evalsuite
from evalsuite.metrics import METRICS
from evalsuite.tasks import load_prompt_file, load_task_file
from evalsuite.tasks.spec import PromptSpec, TaskSpec
from evalsuite.tasks.yaml_files import read_yaml, validate

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]


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
    assert len(kinds) == 6
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
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_path_in_the_guide_for_contributors_exists() -> None:
    for page in (ROOT / "docs" / "how-it-works.md", ROOT / "CONTRIBUTING.md"):
        text = page.read_text("utf-8")
        for name in set(re.findall(r"`((?:evalsuite|tests|tasks|prompts|docs|examples)/[\w./-]+)`", text)):
            assert "NAME" in name or (ROOT / name).exists(), f"{page.name}: {name}"
