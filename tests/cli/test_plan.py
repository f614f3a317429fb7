"""What a run would do, by `--dry-run`: names, groups, options from a file, what is stored."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import (
    STORES,
    contents,
    plan_of,
    planned,
    tasks_of,
)
from tests.processes import WarmCli


def test_options_may_be_repeated_separated_by_commas_and_spelt_with_underscores(cli: WarmCli, shapes: Path) -> None:
    usual = plan_of(cli, "-m", "pixels,resnet/50", "-t", f"digits,{shapes}", "--protocol", "linear_probe")
    assert [line[:3] for line in usual] == [
        ("pixels", "digits", "linear_probe"),
        ("pixels", "shapes", "linear_probe"),
        ("resnet/50", "digits", "linear_probe"),
        ("resnet/50", "shapes", "linear_probe"),
    ]
    repeated = ["--model", "pixels", "--models", "resnet/50", "--task", "digits", "--tasks", shapes]
    assert plan_of(cli, *repeated, "--protocols", "linear_probe") == usual
    finished = cli(
        "run", "--dry_run", "--data_root=.", "-m", "pixels,resnet/50", "-t", f"digits,{shapes}", "--offline",
        "--protocol", "linear_probe", "-o", "out", "--cache_dir", "cache",
    )  # fmt: skip
    assert planned(finished.stdout) == usual


def test_tasks_by_tag_glob_group_and_folder(cli: WarmCli, shapes: Path) -> None:
    few = ("-m", "pixels", "--protocol", "linear_probe")
    assert tasks_of(plan_of(cli, *few, "-t", "cifar*")) == ["cifar10", "cifar100", "cifar10_1"]
    assert tasks_of(plan_of(cli, *few, "-t", "embedded")) == ["digits"]
    assert {"digits", "mnist"} <= set(tasks_of(plan_of(cli, *few, "-t", "tag:ocr")))
    assert "food101" not in tasks_of(plan_of(cli, *few, "-t", "tag:ocr"))
    assert "shapes" in tasks_of(plan_of(cli, *few, "-t", "*", "--include-path", shapes.parent))
    assert tasks_of(plan_of(cli, *few, "-t", "digits,embedded,digits")) == ["digits"]
    group = tasks_of(plan_of(cli, *few, "-t", "all"))
    assert group[0] == "food101"
    assert "digits" not in group


def test_a_config_file_lies_between_defaults_and_the_command_line(cli: WarmCli, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "night.yaml").write_text(
        f"model: [pixels, resnet/50]\ntasks: {shapes}\nprotocol: linear_probe\ndry-run: true\nlimit: 2\n"
        "output: from-file\ncache_dir: cache\n"
    )
    from_file = cli("run", "-C", "night.yaml")
    assert [line[0] for line in planned(from_file.stdout)] == ["pixels", "resnet/50"]
    assert {line[2] for line in planned(from_file.stdout)} == {"linear_probe"}
    # limit 2: two samples to train and two to test
    assert from_file.stdout.splitlines()[2].split()[-2:] == ["4", "4"]
    assert (tmp_path / "from-file").is_dir()
    # The command line wins, before and after the option.
    won = cli("run", "-m", "pixels", "-C", "night.yaml", "--limit", "3", "-o", "from-line")
    assert [line[0] for line in planned(won.stdout)] == ["pixels"]
    assert won.stdout.splitlines()[2].split()[-2:] == ["6", "6"]
    assert (tmp_path / "from-line").is_dir()


def test_a_plan_says_what_is_stored_and_what_is_to_do(cli: WarmCli, tmp_path: Path) -> None:
    limited = ("-m", "pixels", "-t", "digits", "--limit", "20")
    assert cli("run", *limited, *STORES).returncode == 0
    before = contents(tmp_path)
    stored = cli("run", *limited, *STORES, "--dry-run")
    assert planned(stored.stdout) == [
        ("pixels", "digits", "zero_shot", "not applicable"),
        ("pixels", "digits", "linear_probe", "stored"),
    ]
    again = cli("run", *limited, *STORES, "--dry-run", "--overwrite")
    assert again.stdout.splitlines()[3].split()[-4:] == ["to", "do", "0", "40"]
    larger = cli("run", "-m", "pixels", "-t", "digits", "--limit", "30", *STORES, "--dry-run")
    assert larger.stdout.splitlines()[3].split()[-4:] == ["to", "do", "20", "60"]
    assert {name for name in contents(tmp_path) if name.startswith(("out", "cache"))} <= set(before)
    missing = cli("run", "-m", "pixels", "-t", "ucf101", *STORES, "--dry-run")
    assert missing.returncode == 0
    assert planned(missing.stdout)[1][3] == "blocked"


def test_a_plan_loads_no_model(cli: WarmCli, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('loaded')\n")
    finished = cli("run", "-m", "mine.py:factory", "-t", shapes, *STORES, "--dry-run")
    assert finished.returncode == 0, finished.stderr
    assert "loaded" not in finished.output
    assert not list(tmp_path.rglob("*.json"))
