"""Other people's results: what is read from their files, what is left out and named, how an import is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalsuite.config import imported_dir
from evalsuite.errors import SpecError, UsageError
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.imported import store_imported
from evalsuite.results.importing import Units, read_table
from evalsuite.results.layouts import load_layouts
from evalsuite.results.library import Library
from evalsuite.results.numbers import Numbers
from evalsuite.tasks import TaskIndex

WIDE = """\
name,pretrained,params (M),FLOPs (B),Average perf. on 38 datasets,\
ImageNet 1k,Caltech-101,MNIST,EuroSAT,CLEVR Distance,Pascal VOC 2007
ViT-B-32,openai,151.28,14.78,030282.6,0.6332,0.8750,0.4824,0.5052,0.15,0.7643
ViT-B-32,laion2b_s34b_b79k,151.28,14.78,0.5694,0.6656,,0.6996,0.4806,0.24,0.7910
"""
LONG = """\
acc1,acc5,mean_per_class_recall,dataset,model,pretrained,task,mean_average_precision,image_retrieval_recall@5,model_fullname,lp_acc1
0.5,0.9,0.4,mnist,ViT-B-16,openai,zeroshot_classification,,,ViT-B-16 openai,
0.88,0.99,0.87,wds/vtab-pets,ViT-B-16,openai,zeroshot_classification,,,ViT-B-16 openai,
,,,voc2007_multilabel,ViT-B-16,openai,zeroshot_classification,0.76,,ViT-B-16 openai,
,,,flickr30k,ViT-B-16,openai,zeroshot_retrieval,,0.83,ViT-B-16 openai,
,,,mnist,ViT-B-16,openai,linear_probe,,,ViT-B-16 openai,0.97
0.7,0.9,0.6,vtab/cifar10,ViT-B-16,openai,zeroshot_classification,,,ViT-B-16 openai,
0.6,0.9,0.6,cifar10,ViT-B-16,openai,zeroshot_classification,,,ViT-B-16 openai,
0.7,0.9,0.7,cifar10,ViT-B-16,/data/epoch_3.pt,zeroshot_classification,,,ViT-B-16 /data/epoch_3.pt,
"""
EVALUATION: dict[str, Any] = {
    "dataset": "vtab/flowers",
    "model": "ViT-L-14",
    "pretrained": "openai",
    "task": "zeroshot_classification",
    "metrics": {"acc1": 0.79, "acc5": float("nan"), "mean_per_class_recall": 0.78},
    "language": "en",
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, "utf-8")
        return tmp_path / name

    return write


def evaluation(write: Callable[[str, str], Path], name: str = "one.json", **changes: Any) -> Path:
    return write(name, json.dumps({**EVALUATION, **changes}))


def test_the_table_of_open_clip(write: Callable[[str, str], Path]) -> None:
    table, skipped = read_table([write("openclip_results.csv", WIDE)], None, "fraction")
    assert (table.name, [(row.slug, row.protocol) for row in table.rows]) == (
        "open-clip",
        [("clip/vit-b-32", "zero_shot"), ("open_clip/vit-b-32-laion2b_s34b_b79k", "zero_shot")],
    )
    assert table.rows[0].scores == {"imagenet": 0.6332, "caltech101": 0.875, "mnist": 0.4824, "eurosat": 0.5052}
    assert set(table.rows[1].scores) == {"imagenet", "mnist", "eurosat"}
    assert table.tasks["caltech101"].metric == "mean_per_class_recall"
    assert table.tasks["eurosat"].test_size == 5400 and "5,400" in (table.tasks["eurosat"].caveat or "")
    assert skipped == {
        "no task here": ["CLEVR Distance"],
        "not scored by map_11_point, the task's metric": ["Pascal VOC 2007"],
        "no value": ["ViT-B-32 laion2b_s34b_b79k on Caltech-101"],
    }


def test_the_table_of_clip_benchmark(write: Callable[[str, str], Path]) -> None:
    table, skipped = read_table([write("benchmark.csv", LONG)], "lab", "fraction")
    rows = {(row.slug, row.protocol): row.scores for row in table.rows}
    assert rows == {
        ("clip/vit-b-16", "zero_shot"): {"mnist": 0.5, "oxford_pets": 0.87, "cifar10": 0.7},
        ("clip/vit-b-16", "linear_probe_adamw"): {"mnist": 0.97},
        ("open_clip/vit-b-16-data-epoch_3", "zero_shot"): {"cifar10": 0.7},
    }
    assert table.name == "lab" and set(table.notes) == {"zero_shot", "linear_probe_adamw"}
    assert list(skipped) == [
        "not scored by map_11_point, the task's metric",
        "zeroshot_retrieval is no protocol here",
        "another number for a model and task that has one already",
    ]
    assert [place.rpartition(", ")[2] for place in list(skipped.values())[2]] == ["line 8"]


def test_the_evaluations_of_clip_benchmark(write: Callable[[str, str], Path]) -> None:
    probe = {"lp_acc1": 0.9, "lp_mean_per_class_recall": 0.91, "fewshot_k": -1}
    files = [
        evaluation(write),
        evaluation(write, "probe.json", task="linear_probe", metrics=probe),
        evaluation(write, "few.json", task="linear_probe", dataset="wds/mnist", metrics={**probe, "fewshot_k": 5}),
        evaluation(write, "italian.json", dataset="imagenet1k", language="it"),
        evaluation(write, "empty.json", dataset="mnist", metrics={"acc1": None}),
    ]
    table, skipped = read_table(files, None, "fraction")
    assert {(row.slug, row.protocol): row.scores for row in table.rows} == {
        ("clip/vit-l-14", "zero_shot"): {"flowers102": 0.78},
        ("clip/vit-l-14", "linear_probe_adamw"): {"flowers102": 0.91},
    }
    assert list(skipped) == ["a few-shot probe", "prompts in another language (it)", "no value"]
    assert set(table.files) == {str(path) for path in files}


@pytest.mark.parametrize(
    ("name", "text", "units", "message"),
    [
        ("a.csv", WIDE.replace("0.6656", "66.56"), "fraction", "line 3, column 'ImageNet 1k'.*--units percent"),
        ("a.csv", WIDE.replace("0.6656", "-0.1"), "fraction", "line 3.*not between 0 and 1"),
        ("a.csv", WIDE.replace("0.6656", "inf"), "fraction", "line 3.*not between 0 and 1"),
        ("a.csv", WIDE.replace("0.6656", "n/a"), "fraction", "line 3, column 'ImageNet 1k': 'n/a' is not a number"),
        ("a.csv", WIDE.replace("0.24,", ""), "fraction", "line 3: 10 cells where the header has 11"),
        ("a.csv", WIDE, "percent", "no number in the files is above 1"),
        ("a.csv", WIDE.replace("\nViT-B-32,openai", "\n,openai"), "fraction", "line 2.*name of the model"),
        ("a.csv", LONG.replace("0.5,0.9,0.4,", "50,90,40,"), "fraction", "line 2: '50' is not between 0 and 1"),
        ("a.csv", "model,score\na,1\n", "fraction", "no known layout"),
        ("a.txt", "anything", "fraction", "no known layout"),
        ("a.csv", WIDE.split("\n")[0], "fraction", "They are empty"),
        ("a.csv", "name,pretrained,SVHN\nm,p,0.5\n", "fraction", "can be imported. no task here: SVHN"),
        ("a.json", "{", "fraction", "is not JSON"),
        ("a.json", "[]", "fraction", "not the JSON of a CLIP_benchmark evaluation"),
        ("a.json", json.dumps({**EVALUATION, "metrics": 0.5}), "fraction", "evaluation: metrics"),
        ("a.json", json.dumps({**EVALUATION, "metrics": {"mean_per_class_recall": [1]}}), "fraction", "not a number"),
        ("a.json", json.dumps({**EVALUATION, "metrics": {"mean_per_class_recall": True}}), "fraction", "not a number"),
        ("a.json", '{"schema_version": 1, "fingerprint": "f"}', "fraction", "is a result of evalsuite"),
    ],
)
def test_wrong_files_are_refused(
    write: Callable[[str, str], Path], name: str, text: str, units: Units, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_table([write(name, text)], None, units)


def test_percent_is_the_same_table(write: Callable[[str, str], Path]) -> None:
    percent = WIDE.replace("0.6332", "63.32").replace("0.8750", "87.5").replace("0.4824", "48.24")
    table, _ = read_table([write("a.csv", percent.replace("0.5052", "50.52"))], None, "percent")
    assert table.rows[0].scores == pytest.approx(
        {"imagenet": 0.6332, "caltech101": 0.875, "mnist": 0.4824, "eurosat": 0.5052}
    )


def test_files_of_two_layouts_and_names_that_are_taken_are_refused(write: Callable[[str, str], Path]) -> None:
    with pytest.raises(UsageError, match="several layouts"):
        read_table([write("a.csv", WIDE), evaluation(write)], None, "fraction")
    for name in ("all", "clip-paper", "../evil", ".hidden", "Upper"):
        with pytest.raises(UsageError, match="--name"):
            read_table([evaluation(write)], name, "fraction")


def test_an_import_stands_beside_papers_with_its_origin_and_is_replaced(write: Callable[[str, str], Path]) -> None:
    path = store_imported(read_table([write("a.csv", WIDE)], None, "fraction")[0])
    assert path == imported_dir() / "open-clip.json"
    numbers = Library().choose(["clip/vit-b-32", "open-clip"])
    assert list(dict.fromkeys((number.model, number.protocol, number.origin.label) for number in numbers)) == [
        ("clip/vit-b-32", "linear_probe", "paper"),
        ("clip/vit-b-32", "zero_shot", "paper"),
        ("clip/vit-b-32", "zero_shot", "imported:open-clip"),
        ("open_clip/vit-b-32-laion2b_s34b_b79k", "zero_shot", "imported:open-clip"),
    ]
    last = {number.task: number for number in numbers if number.model.startswith("open_clip/")}
    assert last["eurosat"].origin.kind == "imported" and last["mnist"].metric == "accuracy"
    assert last["eurosat"].n == 5400 and "5,400" in last["eurosat"].caveat
    assert len({number.row for number in Library().printed}) == 75
    assert len({number.row for number in Library().choose(["all"])}) == 77
    store_imported(read_table([write("a.csv", WIDE.replace("0.6332", "0.6"))], None, "fraction")[0])
    assert [number.value for number in Library().imported if number.task == "imagenet"] == [0.6, 0.6656]


def test_a_leaderboard_names_where_imported_numbers_come_from(write: Callable[[str, str], Path]) -> None:
    store_imported(read_table([write("a.csv", WIDE)], None, "fraction")[0])
    numbers = [number for number in Library().choose(["clip/vit-b-32"]) if number.protocol == "zero_shot"]
    board = build_leaderboard(Numbers.of([], numbers), tasks=["imagenet", "eurosat"], claims=True)
    assert {(row.origin.label, round(100 * row.average, 2)) for row in board.rows} == {
        ("paper", 56.3),
        ("imported:open-clip", 56.92),
    }
    notes = [note for note in board.notes if note.startswith("imported:open-clip")]
    assert "DataComp" in notes[0] and "eurosat: VTAB's split, 5,400" in notes[1]
    assert {verdict.origin for verdict in board.claims} == {"paper"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.6332", "63.32", r"rows.0.scores.imagenet: it must be a number of 1 or less, not 63.32"),
        ('"schema_version": 1', '"schema_version": 2', "schema_version"),
        ('"name": "open-clip"', '"name": "other"', "its name is 'other'"),
        ('"clip/vit-b-32"', '"VIT"', "slug"),
        ('"mnist": {', '"mnits": {', "mnist, of which `tasks` says nothing"),
        ('"notes": {\n    "zero_shot"', '"notes": {\n    "probe"', "zero_shot, of which `notes` says nothing"),
        ('{\n  "schema', "{", "JSON"),
        ("0.6332", "0.6333", "not those that were written"),
    ],
)
def test_a_stored_import_is_checked_when_it_is_read(
    write: Callable[[str, str], Path], old: str, new: str, message: str
) -> None:
    path = store_imported(read_table([write("a.csv", WIDE)], None, "fraction")[0])
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SpecError, match=message) as refused:
        Library().choose(["all"])
    assert str(path) in str(refused.value)


def test_the_layouts_speak_of_tasks_that_there_are_and_of_each_name_once() -> None:
    index = TaskIndex()
    layouts = load_layouts()
    assert set(layouts) == {"clip-benchmark", "open-clip"}
    for layout in layouts.values():
        names = [name for dataset in layout.datasets.values() for name in dataset.names]
        assert len(names) == len(set(names))
        assert set(layout.datasets) <= set(index.files)
        for task, dataset in layout.datasets.items():
            size = index.load(task).sizes.test
            scored = dataset.metric in (None, index.load(task).metric)
            assert dataset.caveat or dataset.test_size in (size, None) or not scored, task
