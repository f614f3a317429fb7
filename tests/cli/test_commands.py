"""Every command does what its help says, as a person sees it: what is printed, what is stored, the exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.cli.conftest import COLOUR_MODEL, contents, records
from tests.datasets import write_folder_task
from tests.processes import RunCli, WarmCli, Zygote

STORES = ("-o", "out", "--cache-dir", "cache")

COMMANDS = [
    [],
    ["run"],
    ["speed"],
    ["predict"],
    ["search"],
    ["audit"],
    ["leaderboard"],
    ["import"],
    ["export"],
    ["export", "csv"],
    ["export", "parquet"],
    ["export", "model-card"],
    ["compare"],
    ["report"],
    ["ls"],
    ["ls", "tasks"],
    ["ls", "groups"],
    ["ls", "models"],
    ["describe"],
    ["download"],
    ["validate"],
    ["new"],
    ["new", "task"],
    ["cache"],
    ["cache", "ls"],
    ["cache", "rm"],
    ["cache", "verify"],
]

REFUSE_HEAVY_IMPORTS = """
import sys

HEAVY = {"torch", "torchvision", "open_clip", "timm", "datasets", "transformers", "sklearn"}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise AssertionError(f"{name} was imported")


sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope="session")
def finished_run(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the colour model was run on three colours, with --log-samples; never changed by a test."""
    folder = tmp_path_factory.mktemp("finished")
    task = write_folder_task(folder / "data")
    (folder / "colour_model.py").write_text(COLOUR_MODEL)
    arguments = ["run", "-m", "colour_model.py:factory", "-t", str(task), *STORES, "--log-samples"]
    finished = zygote.run(arguments, zygote.environment(folder), folder, ())
    assert finished.returncode == 0, finished.stderr
    assert "2 results (2 ok) in out" in finished.output
    return folder


@pytest.fixture
def work(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run to work in; modification times are kept."""
    return Path(shutil.copytree(finished_run, tmp_path / "work"))


def by_protocol(folder: Path) -> Mapping[str, dict[str, Any]]:
    """Read the records of a store by protocol."""
    return {record["protocol"]: record for record in records(folder)}


# --- help, lists, completion ---


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "evalsuite")
def test_help_has_examples(cli: WarmCli, command: list[str]) -> None:
    finished = cli(*command, "--help")
    assert finished.returncode == 0, finished.stderr
    assert "Usage: evalsuite" in finished.stdout
    if command not in (["ls"], ["new"], ["cache"], ["export"]):
        example = " ".join(["evalsuite", *command])
        assert re.search(rf"^ +{example}", finished.stdout.partition("Examples:")[2], re.MULTILINE)
    assert finished.stdout == cli(*command, "-h").stdout


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["run", "--help"],
        ["download", "--help"],
        ["describe", "--help"],
        ["predict", "--help"],
        ["search", "--help"],
        ["ls", "groups"],
        ["ls", "models", "clip/*"],
        ["ls", "tasks", "digits", "tag:ocr"],
        ["leaderboard", "--published", "resnet/50", "-o", "."],
        ["import", "--help"],
        ["export", "csv", "--published", "resnet/50", "-t", "mnist"],
        ["compare", "published:clip/vit-b-32", "published:resnet/50", "--protocol", "linear_probe"],
    ],
    ids=" ".join,
)
def test_what_should_be_quick_imports_nothing_heavy(run_cli: RunCli, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE_HEAVY_IMPORTS)
    finished = run_cli(*command, env={"PYTHONPATH": str(tmp_path)})
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip()


def test_the_hook_that_refuses_imports_works(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE_HEAVY_IMPORTS)
    finished = run_cli("run", "-m", "pixels", "--dry-run", env={"PYTHONPATH": str(tmp_path)})
    assert finished.returncode != 0
    assert re.search("(torch|open_clip) was imported", finished.stderr)  # or looked for


def test_ls_tasks(cli: WarmCli, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "country211/train/AD").mkdir(parents=True)
    listed = cli("ls", "tasks", "digits,mnist,country211,fer2013", "--data-root", ".").stdout.splitlines()
    assert [line.split()[:5] for line in listed[2:6]] == [
        ["digits", "10", "accuracy", "convention", "ready"],
        ["mnist", "10", "accuracy", "exact", "absent"],
        ["country211", "211", "accuracy", "exact", "partial"],
        ["fer2013", "7", "accuracy", "convention", "absent"],
    ]
    assert "evalsuite download mnist" in listed[3] and "evalsuite describe fer2013" in listed[5]
    assert "1 of 4 are ready (data root: .)" in listed
    assert listed[-1].startswith("country211 is there only in part: without images: country211/valid, country211/test.")
    own = cli("ls", "tasks", "shapes", "--include-path", shapes.parent).stdout.splitlines()
    assert own[2].split()[:5] == ["shapes", "3", "accuracy", "convention", "ready"]


def test_ls_groups_and_models(cli: WarmCli) -> None:
    groups = cli("ls", "groups").stdout
    assert re.search(r"^embedded +1 +digits$", groups, re.MULTILINE)
    assert re.search(r"^tag:ocr +\d", groups, re.MULTILINE)
    models = cli("ls", "models", "resnet/*").stdout
    assert re.search(r"^resnet/50 ", models, re.MULTILINE)
    assert "clip/vit-b-32" not in models
    assert "open_clip:ARCH/TAG" in models


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("evalsuite le", {"leaderboard"}),
        ("evalsuite run -t dig", {"digits"}),
        ("evalsuite run -t mnist,cifar1", {"mnist,cifar10", "mnist,cifar100", "mnist,cifar10_1"}),
        ("evalsuite run -m clip/vit-b-", {"clip/vit-b-16", "clip/vit-b-32"}),
        ("evalsuite run --precision f", {"fp32", "fp16"}),
        ("evalsuite leaderboard --published clip-", {"clip-paper"}),
        ("evalsuite leaderboard --format ma", {"markdown"}),
        ("evalsuite export mod", {"model-card"}),
        ("evalsuite compare published:clip/vit-l", {"published:clip/vit-l-14", "published:clip/vit-l-14-336px"}),
        ("evalsuite compare pocket published:resnet/5", {"published:resnet/50"}),
        ("evalsuite compare clip/vit-b-3", {"clip/vit-b-32"}),
    ],
)
def test_a_shell_completes_names(cli: WarmCli, typed: str, offered: set[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    finished = cli(env={"_EVALSUITE_COMPLETE": "bash_complete", **words})
    assert {line.partition(",")[2] for line in finished.stdout.splitlines()} == offered


# --- choosing what to run ---


def planned(stdout: str) -> list[tuple[str, str, str, str]]:
    """Return (model, task, protocol, state) of each line of a plan."""
    return [tuple(re.split(r"  +", line)[:4]) for line in stdout.splitlines()[2:] if line][:-1]  # type: ignore[misc]


def plan_of(cli: WarmCli, *arguments: str | Path) -> list[tuple[str, str, str, str]]:
    finished = cli("run", "--dry-run", "--data-root", ".", "--offline", *arguments, *STORES)
    assert finished.returncode == 0, finished.stderr
    return planned(finished.stdout)


def tasks_of(plan: list[tuple[str, str, str, str]]) -> list[str]:
    return list(dict.fromkeys(line[1] for line in plan))


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


# --- running ---


def test_a_run_stores_what_it_measured(finished_run: Path) -> None:
    found = by_protocol(finished_run / "out")
    assert {name: (r["status"], r["metric"]["value"]) for name, r in found.items()} == {
        "zero_shot": ("ok", 1.0),
        "linear_probe": ("ok", 1.0),
    }
    # every image once: the training images for the probe, which finds the test images encoded
    assert found["zero_shot"]["timings"]["images_encoded"] == 9
    assert found["linear_probe"]["timings"]["images_encoded"] == 18
    assert found["linear_probe"]["data"]["sizes"] == {"train": 15, "val": 3, "test": 9}
    assert found["linear_probe"]["provenance"]["command"].startswith("evalsuite run -m colour_model.py:factory -t")


def test_the_second_run_does_nothing(cli: WarmCli, work: Path) -> None:
    before = contents(work / "out")
    finished = cli("run", "-m", "colour_model.py:factory", "-t", "data/shapes.yaml", *STORES, cwd=work)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("(stored)") == 2
    assert contents(work / "out") == before


def test_overwrite_computes_results_again_from_stored_features(cli: WarmCli, work: Path) -> None:
    before = by_protocol(work / "out")
    common = ("run", "-m", "colour_model.py:factory", "-t", "data/shapes.yaml", *STORES)
    assert cli(*common, "--overwrite", "--protocol", "zero_shot", cwd=work).returncode == 0
    after = by_protocol(work / "out")
    assert after["linear_probe"] == before["linear_probe"]
    assert "--overwrite" in after["zero_shot"]["provenance"]["command"]
    assert after["zero_shot"]["timings"]["images_encoded"] == 0
    assert after["zero_shot"]["metric"] == before["zero_shot"]["metric"]


def test_only_a_changed_image_is_encoded_again(cli: WarmCli, work: Path) -> None:
    image = work / "data" / "test" / "red" / "000.png"
    image.write_bytes((work / "data" / "test" / "blue" / "001.png").read_bytes())
    finished = cli("run", "-m", "colour_model.py:factory", "-t", "data/shapes.yaml", *STORES, cwd=work)
    assert finished.returncode == 0, finished.stderr
    after = by_protocol(work / "out")
    assert after["zero_shot"]["timings"]["images_encoded"] == 1
    assert after["zero_shot"]["metric"]["value"] == pytest.approx(8 / 9)


def test_an_image_of_the_same_size_is_not_taken_for_the_old_one(
    cli: WarmCli, colours: str, shapes: Path, tmp_path: Path
) -> None:
    for image in shapes.parent.rglob("*.png"):
        Image.open(image).save(image.with_suffix(".bmp"))
        image.unlink()
    common = ("run", "-m", colours, "-t", shapes, "--protocol", "zero_shot", *STORES)
    assert cli(*common).returncode == 0
    test = shapes.parent / "test"
    (test / "red" / "000.bmp").write_bytes((test / "blue" / "000.bmp").read_bytes())
    assert cli(*common).returncode == 0
    assert records(tmp_path / "out")[0]["metric"]["value"] == pytest.approx(8 / 9)


def test_a_run_that_found_everything_stored_shows_the_same_table(cli: WarmCli) -> None:
    common = ("run", "-m", "pixels", "-t", "digits", "--limit", "20", *STORES)
    first, again = cli(*common), cli(*common)
    assert "(stored)" in again.stderr
    assert again.stdout == first.stdout


def test_logged_samples_give_the_recorded_accuracy(work: Path) -> None:
    image_labels = {"red", "green", "blue"}
    for record in records(work / "out"):
        (folder,) = (work / "out").iterdir()
        table = pd.read_parquet(folder / record["samples"])
        assert len(table) == record["metric"]["n"] == 9
        assert set(table["label"]) == image_labels
        assert (table["prediction"] == table["label"]).mean() == record["metric"]["value"]
        assert table["sample"].tolist() == [f"{key}/{n:03d}.png" for key in sorted(image_labels) for n in range(3)]
        scores = np.stack(table["scores"].tolist())
        keys = np.array(["red", "green", "blue"])  # the order of the task file
        assert (keys[scores.argmax(axis=1)] == table["prediction"]).all()
        assert [best[0] for best in table["top5"]] == table["prediction"].tolist()


def test_samples_are_logged_later_when_they_are_asked_for(cli: WarmCli, tmp_path: Path) -> None:
    common = ("run", "-m", "pixels", "-t", "digits", "--limit", "20", "--protocol", "linear_probe", *STORES)
    assert cli(*common).returncode == 0
    assert records(tmp_path / "out")[0]["samples"] is None
    assert cli(*common, "--log-samples").returncode == 0
    (record,) = records(tmp_path / "out")
    table = pd.read_parquet(next((tmp_path / "out").rglob("*.parquet")))
    assert (table["prediction"] == table["label"]).mean() == pytest.approx(record["metric"]["value"])
    assert record["timings"]["images_encoded"] == 0


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


def test_limited_results_are_partial_and_shown_only_when_asked_for(cli: WarmCli, tmp_path: Path) -> None:
    assert cli("run", "-m", "pixels", "-t", "digits", "--limit", "20", *STORES).returncode == 0
    record = by_protocol(tmp_path / "out")["linear_probe"]
    assert (record["status"], record["metric"]["n"], record["options"]["limit"]) == ("partial", 20, 20)
    without = cli("leaderboard", "-o", "out").stdout
    assert "Left out: 1 partial result; --include-partial shows them" in without
    assert "measured" not in without
    shown = cli("leaderboard", "-o", "out", "--include-partial").stdout
    assert f"{100 * record['metric']['value']:.1f}*" in shown


def test_skip_missing_leaves_out_what_is_not_there(cli: WarmCli, colours: str, shapes: Path, tmp_path: Path) -> None:
    absent = shapes.with_name("absent.yaml")
    absent.write_text(shapes.read_text().replace("path: .", "path: nowhere"))
    common = ("run", "-m", colours, "-t", f"{absent},{shapes}", "--protocol", "zero_shot", *STORES)
    finished = cli(*common, "--skip-missing")
    assert finished.returncode == 0, finished.stderr
    assert "Skipped zero_shot of absent" in finished.stderr
    assert "1 result (1 ok) in out" in finished.stdout
    assert [(r["task"], r["status"]) for r in records(tmp_path / "out")] == [("shapes", "ok")]
    assert cli(*common).returncode == 1


def test_prompts_of_another_file_are_another_result(cli: WarmCli, work: Path) -> None:
    (work / "mine.yaml").write_text("templates: ['{}', 'the {}']\n")
    common = ("run", "-m", "colour_model.py:factory", "-t", "data/shapes.yaml", *STORES)
    assert cli(*common, "--prompts", "mine.yaml", cwd=work).returncode == 0
    found = [record for record in records(work / "out") if record["protocol"] == "zero_shot"]
    assert sorted(record["details"]["prompts"] for record in found) == [3, 6]
    assert len([record for record in records(work / "out") if record["protocol"] == "linear_probe"]) == 1


def test_a_model_without_text_has_no_zero_shot_result_and_that_is_no_error(cli: WarmCli, work: Path) -> None:
    common = (
        "run",
        "-m",
        "colour_model.py:images_only",
        "-t",
        "data/shapes.yaml",
        "-o",
        "other",
        "--cache-dir",
        "cache",
    )
    assert cli(*common, cwd=work).returncode == 0
    found = by_protocol(work / "other")
    assert {name: record["status"] for name, record in found.items()} == {
        "zero_shot": "not_applicable",
        "linear_probe": "ok",
    }


# --- leaderboard, new, validate, cache ---


def test_a_leaderboard_in_a_file(cli: WarmCli, work: Path) -> None:
    shown = cli("leaderboard", "-o", "out", cwd=work)
    assert shown.returncode == 0
    assert re.search(r"file/colour_model-factory +\| linear_probe +\| measured +\| +\*\*100\.0\*\*", shown.stdout)
    assert cli("leaderboard", "-o", "out", "--to", "board.csv", "--protocol", "zero_shot", cwd=work).returncode == 0
    table = pd.read_csv(work / "board.csv")
    assert table[["model", "protocol", "shapes"]].values.tolist() == [["file/colour_model-factory", "zero_shot", 100.0]]


def test_a_new_task_file_fits_the_schema_and_wants_its_images(cli: WarmCli, tmp_path: Path) -> None:
    finished = cli("new", "task", "my_birds.yaml")
    assert finished.returncode == 0
    assert "evalsuite validate my_birds.yaml" in finished.stdout
    checked = cli("validate", "my_birds.yaml")
    assert checked.returncode == 1
    assert "2 classes, 1 template" in checked.output
    assert "data failed absent: " in " ".join(checked.output.split())
    assert "1 task, 1 failed" in checked.output
    written = (tmp_path / "my_birds.yaml").read_bytes()
    assert cli("new", "task", "my_birds.yaml").returncode == 2
    assert (tmp_path / "my_birds.yaml").read_bytes() == written


def test_a_new_task_runs_once_its_images_are_there(cli: WarmCli, colours: str, tmp_path: Path) -> None:
    write_folder_task(tmp_path, classes=["red", "blue"])
    for pool in ("train", "test"):
        (tmp_path / pool / "red").rename(tmp_path / pool / "blue_tit")
        (tmp_path / pool / "blue").rename(tmp_path / pool / "magpie")
    assert cli("new", "task", "my_birds.yaml").returncode == 0
    assert cli("validate", "my_birds.yaml").returncode == 0
    assert cli("run", "-m", colours, "-t", "my_birds.yaml", "--protocol", "linear_probe", *STORES).returncode == 0
    assert records(tmp_path / "out")[0]["metric"]["value"] == 1.0


def test_validate_prints_every_check_and_fails_where_one_fails(cli: WarmCli, shapes: Path) -> None:
    good = cli("validate", shapes)
    assert good.returncode == 0
    assert "train 18, test 9" in good.stdout
    assert "3 decoded, one of each class" in good.stdout
    bad = shapes.with_name("bad.yaml")
    bad.write_text(shapes.read_text().replace("test: 9", "test: 10"))
    worse = shapes.with_name("worse.yaml")
    worse.write_text(shapes.read_text().replace("title:", "titel:"))
    finished = cli("validate", shapes, bad, worse)
    assert finished.returncode == 1
    assert "exactly 10" in finished.output
    assert "unknown key 'titel'" in finished.output
    assert "3 tasks, 2 failed" in finished.output


def test_validate_fails_for_a_path_that_is_not_there(cli: WarmCli, shapes: Path) -> None:
    shapes.write_text(shapes.read_text().replace("path: .", "path: nowhere"))
    moved = cli("validate", shapes)
    assert moved.returncode == 1
    assert "1 task, 1 failed" in moved.stdout and "nowhere/train" in moved.stdout
    root = cli("validate", "mnist", "--data-root", "nowhere", "--offline")
    assert root.returncode == 2 and "--data-root nowhere" in root.stderr


def test_validate_prints_the_schema(cli: WarmCli) -> None:
    schema = json.loads(cli("validate", "--schema").stdout)
    assert "name" not in schema["required"]
    assert "sources" in schema["required"]


def test_every_shipped_task_file_is_valid(cli: WarmCli, tmp_path: Path) -> None:
    finished = cli("validate", "--offline")
    assert finished.returncode == 0, finished.output
    assert ", 0 failed" in finished.stdout


def test_cache_ls_and_rm(cli: WarmCli, work: Path) -> None:
    listed = cli("cache", "ls", "--cache-dir", "cache", cwd=work)
    assert [line.split()[1:3] for line in listed.stdout.splitlines()[2:4]] == [["shapes", "test"], ["shapes", "train"]]
    assert "2 pools" in listed.stdout
    results = contents(work / "out")
    assert "Nothing matches" in cli("cache", "rm", "-t", "mnist", "--cache-dir", "cache", cwd=work).stdout
    # Nobody answers the question on a closed stdin: nothing is removed.
    assert cli("cache", "rm", "--all", "--cache-dir", "cache", cwd=work).returncode != 0
    assert "2 pools" in cli("cache", "ls", "--cache-dir", "cache", cwd=work).stdout
    assert "Removed 2 pools" in cli("cache", "rm", "-m", "file/*", "--yes", "--cache-dir", "cache", cwd=work).stdout
    assert "0 pools" in cli("cache", "ls", "--cache-dir", "cache", cwd=work).stdout
    assert contents(work / "out") == results


VERIFY = ("cache", "verify", "--cache-dir", "cache", "--include-path", "data")


def test_cache_verify_finds_nothing_wrong(cli: WarmCli, work: Path) -> None:
    finished = cli(*VERIFY, cwd=work)
    assert finished.returncode == 0, finished.output
    assert finished.stdout.count(": ok\n") == 2


def test_cache_verify_says_how_to_name_a_task_of_ones_own(cli: WarmCli, work: Path) -> None:
    finished = cli("cache", "verify", "--cache-dir", "cache", cwd=work)
    assert finished.returncode == 0
    assert finished.stdout.count("--include-path") == 2


def test_cache_verify_notices_a_changed_byte(cli: WarmCli, work: Path) -> None:
    image = work / "data" / "train" / "green" / "002.png"
    status, content = image.stat(), bytearray((work / "data" / "train" / "green" / "003.png").read_bytes())
    content[: len(content)] = content[: status.st_size].ljust(status.st_size, b"\0")
    image.write_bytes(content)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))  # the same size and time: only the bytes differ
    assert image.stat().st_size == status.st_size
    finished = cli(*VERIFY, cwd=work)
    assert finished.returncode == 1
    assert "green/002.png" in finished.output
    assert "shapes/test: ok" in finished.output


def test_cache_verify_notices_a_changed_file_of_the_store(cli: WarmCli, work: Path) -> None:
    file = next(path for path in sorted((work / "cache").rglob("penultimate.npy")) if "test" in str(path))
    content = bytearray(file.read_bytes())
    content[-2] ^= 0x40
    file.write_bytes(content)
    finished = cli(*VERIFY, cwd=work)
    assert finished.returncode == 1, finished.output
    assert "shapes/train: ok" in finished.output


def test_cache_verify_notices_a_file_of_the_store_that_was_cut_off(cli: WarmCli, work: Path) -> None:
    file = next(path for path in sorted((work / "cache").rglob("penultimate.npy")) if "test" in str(path))
    file.write_bytes(file.read_bytes()[:-16])
    finished = cli(*VERIFY, cwd=work)
    assert finished.returncode == 1
    assert "cannot be read" in finished.output


def test_cache_verify_takes_a_failed_run_for_no_damage(cli: WarmCli, work: Path) -> None:
    (work / "broken.py").write_text("def factory():\n    raise ValueError('no')\n")
    assert cli("run", "-m", "timm:resnet10t@broken.py", "-t", "data/shapes.yaml", *STORES, cwd=work).returncode == 1
    assert cli(*VERIFY, cwd=work).returncode == 0
