"""What a name stands for: the same in every command and in Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import evalsuite
from evalsuite import UsageError
from evalsuite.records import MetricRecord, Result
from evalsuite.report.comparison import compare
from evalsuite.report.contenders import choose_contenders
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.imported import store_imported
from evalsuite.results.importing import read_table
from evalsuite.results.library import Library
from evalsuite.results.naming import stands_for
from evalsuite.results.numbers import MEASURED, ModelKey, Numbers, Origin
from evalsuite.results.store import ResultStore, hash8

LAB = """\
name,pretrained,MNIST,ImageNet 1k
ViT-B-32,openai,0.4824,0.6332
"""
PAPER, IMPORT = Origin("published", "clip-paper", "paper"), Origin("imported", "lab", "imported:lab")
MINE = ModelKey("clip/vit-b-32", "ViT-B/32", "new", MEASURED)
OLDER = ModelKey("clip/vit-b-32", "ViT-B/32", "old", MEASURED)
OTHER = ModelKey("resnet/mine", "net.py:make", "w", MEASURED)
PRINTED = ModelKey("clip/vit-b-32", "ViT-B/32", "", PAPER)
RESNETS = [ModelKey(f"resnet/{depth}", depth, "", PAPER) for depth in ("50", "101")]
IMPORTED = ModelKey("clip/vit-b-32", "ViT-B-32 openai", "", IMPORT)
KNOWN = [MINE, OLDER, OTHER, PRINTED, *RESNETS, IMPORTED]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clip/vit-b-32", {MINE, OLDER, PRINTED, IMPORTED}),
        ("CLIP/ViT-B-32", {MINE, OLDER, PRINTED, IMPORTED}),
        ("ViT-B/32", {MINE, OLDER, PRINTED, IMPORTED}),  # an alias: what it stands for, too
        ("net.py:make", {OTHER}),
        (f"clip/vit-b-32@{hash8('new')}", {MINE}),
        (f"ViT-B/32 @{hash8('old')}", {OLDER}),  # as a leaderboard writes it
        ("published:clip/vit-b-32", {PRINTED, IMPORTED}),
        ("published:net.py:make", set()),
        ("lab:clip/vit-b-32", {IMPORTED}),
        ("published:lab:clip/vit-b-32", {IMPORTED}),
        ("published:lab", {IMPORTED}),
        ("lab", {IMPORTED}),
        ("imported:lab", {IMPORTED}),
        ("clip-paper", {PRINTED, *RESNETS}),
        ("resnet", {OTHER, *RESNETS}),
        ("published:resnet", {*RESNETS}),
        ("resnet/50", {RESNETS[0]}),
        ("50", {RESNETS[0]}),
        ("resnet/*", {OTHER, *RESNETS}),
        ("published:all", {PRINTED, *RESNETS, IMPORTED}),
        ("vit", set()),
    ],
)
def test_the_one_rule(name: str, expected: set[ModelKey]) -> None:
    assert stands_for(name, KNOWN) == expected


@pytest.fixture
def lab(tmp_path: Path) -> None:
    """Import a table of one model under the name `lab`."""
    path = tmp_path / "lab.csv"
    path.write_text(LAB)
    store_imported(read_table([path], "lab", "fraction")[0])


def measured(folder: Path, task: str = "mnist", model: str = "m/a") -> Numbers:
    result = Result(
        status="ok", model=model, model_name=model, task=task, protocol="zero_shot", fingerprint="f",
        metric=MetricRecord(name="accuracy", value=0.5, n=10_000),
    )  # fmt: skip
    ResultStore(folder).write(result, f"weights of {model}")
    return Numbers.of([result])


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("name", ["published:lab", "published:lab:clip/vit-b-32", "published:imported:lab"])
def test_an_imported_table_is_compared_as_it_is_shown(tmp_path: Path, name: str) -> None:
    table = measured(tmp_path / "out")
    found = compare(*choose_contenders(["m/a", name], table.numbers))
    assert (found.second, [(row.task, row.second.value, row.outcome) for row in found.rows]) == (
        "clip/vit-b-32 (imported:lab)",
        [("mnist", 0.4824, "tie")],
    )
    board = evalsuite.leaderboard(tmp_path / "out", published=name, tasks="mnist")
    assert [row.labels for row in board.rows] == [
        ("m/a", "zero_shot", "measured"),
        ("clip/vit-b-32", "zero_shot", "imported:lab"),
    ]


@pytest.mark.usefixtures("lab")
def test_a_papers_row_comes_before_an_imports_of_the_same_model() -> None:
    first, second = choose_contenders(["published:clip/vit-b-32", "published:lab:clip/vit-b-32"], [])
    assert (first.label, second.label) == ("clip/vit-b-32 (paper)", "clip/vit-b-32 (imported:lab)")


@pytest.mark.usefixtures("lab")
def test_python_names_models_as_the_commands_do(tmp_path: Path) -> None:
    measured(tmp_path / "out", model="clip/vit-b-32")
    measured(tmp_path / "out")
    for name in ("ViT-B/32", "clip", "clip/*", f"clip/vit-b-32@{hash8('weights of clip/vit-b-32')}"):
        board = evalsuite.leaderboard(tmp_path / "out", models=name)
        assert [row.model for row in board.rows] == ["clip/vit-b-32"], name
    found = evalsuite.leaderboard(tmp_path / "out", published=["lab"], models="published:clip", tasks=["mnist"])
    assert [row.origin.label for row in found.rows] == ["imported:lab"]
    with pytest.raises(UsageError, match="Did you mean lab"):
        evalsuite.leaderboard(tmp_path / "out", published=["lap"])


def test_tasks_are_chosen_by_groups_and_tags_in_python_too(tmp_path: Path) -> None:
    for task in ("mnist", "digits", "eurosat"):
        measured(tmp_path / "out", task)
    assert evalsuite.leaderboard(tmp_path / "out", tasks="all").tasks == ("mnist", "eurosat")
    assert evalsuite.leaderboard(tmp_path / "out", tags=["satellite"]).tasks == ("eurosat",)


def test_a_baseline_without_a_value_on_the_tasks_is_not_an_unknown_name(tmp_path: Path) -> None:
    table = measured(tmp_path / "out", "digits")
    with pytest.raises(UsageError, match=r"'resnet/50' has no value on digits, the tasks of the table") as refused:
        build_leaderboard(table, baselines=["resnet/50"])
    assert "no result for the baseline" not in str(refused.value) and "--tasks" in str(refused.value)


@pytest.mark.usefixtures("lab")
def test_an_import_is_a_baseline_where_it_is_shown(tmp_path: Path) -> None:
    measured(tmp_path / "out")
    with pytest.raises(UsageError, match="'lab' is not a row of the table: --published lab shows an import"):
        evalsuite.leaderboard(tmp_path / "out", baselines="lab")
    board = evalsuite.leaderboard(tmp_path / "out", published="lab", baselines="lab", tasks="mnist")
    assert board.rows[0].differences["lab"].value == pytest.approx(0.5 - 0.4824)


def test_a_tag_alone_shows_published_tasks_that_were_not_measured(tmp_path: Path) -> None:
    measured(tmp_path / "out", "eurosat")
    board = evalsuite.leaderboard(tmp_path / "out", published="resnet/50", tags="satellite")
    assert board.tasks == ("eurosat", "resisc45")


def test_one_report_reads_each_published_file_once(tmp_path: Path) -> None:
    measured(tmp_path / "out")
    code = (
        "import json, sys\n"
        "opened = []\n"
        "def note(event, arguments):\n"
        "    if event == 'open' and 'published' in str(arguments[0]): opened.append(str(arguments[0]))\n"
        "sys.addaudithook(note)\n"
        "sys.argv = 'evalsuite report -o out --published all --to page.html'.split()\n"
        "from evalsuite.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(json.dumps([name for name in opened if name.endswith(('.csv', '.yaml'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    opened = json.loads(done.stdout.splitlines()[-1])
    assert opened and len(opened) == len(set(opened))


def test_every_name_that_the_shell_offers_is_one() -> None:
    library = Library()
    for name in library.names():
        assert library.choose([name]), name
