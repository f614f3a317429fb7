"""The command line does what is meant: names in a row, options without a command, help, commas, lists for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from evalsuite import __version__
from evalsuite.errors import UsageError
from evalsuite.options import RunOptions, build
from evalsuite.text import listed, split_names
from tests.cli.conftest import plan_of, tasks_of
from tests.datasets import write_folder_task
from tests.processes import WarmCli

STORES = ("-o", "out", "--cache-dir", "cache")
FEW = ("-m", "pixels", "--protocol", "linear_probe")


def test_several_values_may_follow_an_option(cli: WarmCli, shapes: Path, tmp_path: Path) -> None:
    other = write_folder_task(tmp_path / "other", name="other")
    assert tasks_of(plan_of(cli, *FEW, "-t", shapes, other)) == ["shapes", "other"]
    assert tasks_of(plan_of(cli, *FEW, "-t", "digits", "mnist", "--seed", "3")) == ["digits", "mnist"]
    published = ("leaderboard", "--published", "clip/vit-b-32", "resnet/50", "-t", "mnist", "cifar10")
    assert re.findall(r"^\| (\S+)", cli(*published).stdout, re.MULTILINE)[:1] == ["model"]
    assert {"clip/vit-b-32", "resnet/50"} <= set(cli(*published).stdout.split())


def test_names_alone_are_told_apart_by_what_they_are(cli: WarmCli, shapes: Path) -> None:
    usual = plan_of(cli, "-m", "pocket,pixels", "-t", f"digits,{shapes}", "--protocol", "linear_probe")
    assert plan_of(cli, "pocket", "pixels", "digits", shapes, "linear_probe") == usual
    assert plan_of(cli, "pocket,pixels", "-t", "digits", shapes, "--protocol", "linear_probe") == usual


def test_options_without_a_command_are_those_of_run(cli: WarmCli) -> None:
    done = cli("--model", "pixels", "--tasks", "digits", "--dry-run", *STORES)
    assert done.returncode == 0, done.stderr
    assert done.stdout == cli("run", "--model", "pixels", "--tasks", "digits", "--dry-run", *STORES).stdout


def test_help_and_version_in_every_spelling(cli: WarmCli) -> None:
    assert cli("help").stdout == cli("--help").stdout and "Commands:" in cli("help").stdout
    assert cli("help", "run").stdout == cli("run", "help").stdout == cli("run", "--help").stdout
    assert cli("ls", "help").stdout == cli("ls", "--help").stdout == cli("help", "ls").stdout
    assert cli("-V").stdout == cli("--version").stdout == f"evalsuite, version {__version__}\n"


def test_quiet_says_only_results_and_what_goes_wrong(cli: WarmCli) -> None:
    arguments = ("pocket", "digits", "--limit", "20", "--protocol", "zero_shot", *STORES)
    quiet = cli("run", "-q", *arguments)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert "pocket" in quiet.stdout and "Next:" not in quiet.stdout
    assert cli("-q", "run", *arguments).stderr == ""
    assert "pocket digits zero_shot" in cli("run", *arguments).stderr
    failing = cli("run", "-q", "pixels", "mnist", "--data-root", ".", *STORES)
    assert failing.returncode == 1 and "evalsuite download mnist" in failing.stderr


def test_verbose_says_what_libraries_log(cli: WarmCli, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import logging\nfrom torch import nn\nfrom torchvision import transforms\n\n\ndef factory():\n"
        "    logging.getLogger('loud').info('the loud factory')\n"
        "    return nn.Flatten(), transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])\n"
    )
    arguments = ("loud.py:factory", "digits", "--limit", "20", "--protocol", "linear_probe", *STORES)
    assert "loud factory" not in cli("run", *arguments).stderr
    assert "loud: the loud factory" in cli("run", "-v", *arguments, "--overwrite").stderr


def test_lists_for_programs(cli: WarmCli) -> None:
    (digits,) = json.loads(cli("ls", "tasks", "digits", "--json").stdout)
    assert (digits["task"], digits["classes"], digits["data"]) == ("digits", 10, "ready")
    assert digits["tags"] and isinstance(digits["tags"], list)
    assert len(json.loads(cli("ls", "--json").stdout)) > 30
    models = {model["model"]: model for model in json.loads(cli("ls", "models", "--json").stdout)}
    assert models["clip/vit-b-32"]["also"] == ["ViT-B/32"]
    groups = {group["group"]: group for group in json.loads(cli("ls", "groups", "--json").stdout)}
    assert groups["embedded"]["members_with_a_task_file"] == ["digits"]


def test_a_part_of_a_name_finds_models_and_tasks(cli: WarmCli) -> None:
    def first(*arguments: str) -> list[str]:
        table = cli("ls", *arguments).stdout.partition("\n\n")[0]
        return [line.split()[0] for line in table.splitlines()[2:]]

    assert all("clip" in name for name in first("models", "clip")) and "clip/vit-b-32" in first("models", "clip")
    assert "clip/vit-b-32" in first("models", "vit-b/32") and "clip/rn50" not in first("models", "vit-b/32")
    assert first("tasks", "cifar1") == ["cifar10", "cifar100", "cifar10_1"]
    assert first("tasks", "cifar10") == ["cifar10"]


def test_the_page_opens_in_the_browser(cli: WarmCli, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened\n')
    browser.chmod(0o755)
    arguments = ("report", "--published", "resnet/50", "-t", "mnist", "--to", "page.html", "--open")
    done = cli(*arguments, env={"BROWSER": f"{browser} %s"})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opened").read_text().strip() == (tmp_path / "page.html").as_uri()


# --- commas ---


def test_a_file_with_a_comma_in_its_name_is_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.yaml").write_text("")
    (tmp_path / "run,1").mkdir()
    (tmp_path / "run,1" / "last.pt").write_text("")
    assert split_names("a,b.yaml") == ["a,b.yaml"]
    assert split_names("digits, a,b.yaml,mnist,,") == ["digits", "a,b.yaml", "mnist"]
    assert split_names("pixels,open_clip:RN50/openai@run,1/last.pt,pocket") == [
        "pixels", "open_clip:RN50/openai@run,1/last.pt", "pocket"
    ]  # fmt: skip
    assert split_names("timm:x@run,1/last.pt,open_clip:RN50/run,1/last.pt?quickgelu") == [
        "timm:x@run,1/last.pt", "open_clip:RN50/run,1/last.pt?quickgelu"
    ]  # fmt: skip
    assert split_names("features:run,1,a,c.yaml") == ["features:run,1", "a", "c.yaml"]
    assert listed(["x,y", "z"]) == ["x,y", "z"] and listed(("x,y",)) == ["x,y"]


def test_prompts_of_a_file_with_a_comma_in_its_name(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "short,er.yaml").write_text("templates: ['{}']\n")
    task = shapes.rename(shapes.with_name("sha,pes.yaml"))
    task.write_text(f"name: shapes\n{task.read_text()}")
    common = ("run", "-m", colours, "-t", task, "--protocol", "zero_shot", *STORES)
    done = cli(*common, "--prompts", "default,short,er.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("zero_shot") == 2
    assert build(RunOptions, {"prompts": ["a,b"]}).prompts == ("a,b",)
    assert build(RunOptions, {"prompts": "a,b"}).prompts == ("a", "b")


def test_a_share_is_no_limit(cli: WarmCli) -> None:
    done = cli("run", "pixels", "digits", "--limit", "10%")
    assert done.returncode == 2 and "not a share" in done.stderr
    with pytest.raises(UsageError, match="a number of 1 or more"):
        build(RunOptions, {"limit": 0.1})
