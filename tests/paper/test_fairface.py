"""FairFace: three label sets over one pool of images, and tables 3 to 7 on a tree whose right numbers are known."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from scipy.stats import binomtest

import evalsuite
from evalsuite.data import open_task
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, SpecError
from evalsuite.records import Result
from evalsuite.resources import data_dir
from evalsuite.tasks import TaskIndex
from evalsuite.tasks.spec import TaskSpec
from evalsuite.tasks.yaml_files import read_yaml
from tests.paper import faces
from tests.paper.faces import Face, bias, harmed, otherwise, people, write_faces
from tests.paper.tree import write_task
from tests.processes import ROOT, Finished, Zygote

TASKS = ("fairface", "fairface_race", "fairface_gender", "fairface_age")
SETS = TASKS[1:]


@dataclass(frozen=True)
class Tree:
    """A data root, and task files that state no sizes."""

    data: Path
    tasks: Path

    def load(self, *names: str) -> list[TaskSpec]:
        """Return tasks."""
        return [evalsuite.load_task(self.tasks / f"{name}.yaml") for name in names]

    def changed(self, folder: Path) -> Tree:
        """Return a copy that may be changed."""
        shutil.copytree(self.data, folder / "data")
        shutil.copytree(self.tasks, folder / "tasks")
        return Tree(folder / "data", folder / "tasks")


def write_tree(root: Path, test: list[Face]) -> Tree:
    """Write the images, and the task files without sizes."""
    write_faces(root / "data", people(), test)
    (root / "tasks").mkdir()
    for name in TASKS:
        content = read_yaml(data_dir("tasks") / f"{name}.yaml")[0]
        del content["sizes"]
        write_task(root / "tasks" / f"{name}.yaml", content)
    return Tree(root / "data", root / "tasks")


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Faces that are all seen as they are."""
    return write_tree(tmp_path_factory.mktemp("right"), people())


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Faces some of which get wrong labels."""
    return write_tree(tmp_path_factory.mktemp("faulty"), harmed())


def run(tree: Tree, stores: Path, tasks: Iterable[str], *protocols: str, **options: Any) -> dict[str, Result]:
    """Evaluate the oracle; return the results by task."""
    model = evalsuite.wrap_module(*faces.factory(), name="oracle")
    where: dict[str, Any] = {"output": stores / "out", "cache_dir": stores / "cache", "data_root": tree.data}
    results = evalsuite.evaluate(
        model, tree.load(*tasks), list(protocols), offline=True, device="cpu", **where, **options
    )
    return {result.task: result for result in results}


def value(result: Result) -> float:
    """Return the number of a result."""
    assert result.metric is not None, result.error
    return result.metric.value


def test_the_group_has_these_tasks_and_none_of_the_27() -> None:
    groups = TaskIndex().groups
    assert groups["bias"] == list(TASKS) and not set(TASKS) & set(groups["all"])


def test_an_oracle_is_right_and_no_image_is_encoded_twice(right: Tree, tmp_path: Path) -> None:
    probed = run(right, tmp_path, SETS, "linear_probe")
    told = run(right, tmp_path, SETS, "zero_shot")
    labelled = run(right, tmp_path, TASKS[:1], "bias")["fairface"]
    assert [value(result) for result in (*probed.values(), *told.values(), labelled)] == [1.0] * 7
    encoded = [result.timings.images_encoded for result in (*probed.values(), *told.values(), labelled)]
    assert encoded == [2 * len(people()), 0, 0, 0, 0, 0, 0]
    assert told["fairface_age"].data and told["fairface_age"].data.resolved["images_of"] == {"test": "fairface/test"}


def exchanged_labels(tree: Tree) -> None:
    """Take the label Male for the class Female and the other way round, and each race for the next one."""
    path = tree.tasks / "fairface.yaml"
    content, sets = read_yaml(path)[0], bias().sets
    codes = {raw: key for keys in sets.values() for raw, key in zip(keys, [*keys[1:], keys[0]], strict=True)}
    content["sources"] = [{**content["sources"][0], "labels": {"by_code": codes}}]
    write_task(path, content)


def other_order(tree: Tree) -> None:
    """Give each class of a set the name of the next one."""
    for name, keys in bias().sets.items():
        path = tree.tasks / f"fairface_{name}.yaml"
        content = read_yaml(path)[0]
        shown = {item.key: item.names for item in faces.task().class_list}
        content["classes"] = [
            {"key": key, "names": shown[other]} for key, other in zip(keys, [*keys[1:], keys[0]], strict=True)
        ]
        del content["subset"]
        write_task(path, content)


def other_pairs(tree: Tree) -> None:
    """Give each row the image of the row below."""
    rewrite(
        tree,
        lambda rows: [{**row, "file": other["file"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)],
    )


def rewrite(tree: Tree, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    """Change the rows of the table of the test images."""
    path = tree.data / "fairface" / "fairface_label_val.csv"
    with path.open(newline="") as file:
        rows = change(list(csv.DictReader(file)))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("change", [exchanged_labels, other_order, other_pairs])
def test_other_labels_classes_or_pairs_are_seen(right: Tree, tmp_path: Path, change: Callable[[Tree], None]) -> None:
    tree = right.changed(tmp_path)
    change(tree)
    found = run(tree, tmp_path, SETS, "zero_shot")
    assert all(value(result) < 0.6 for result in found.values())
    if change is not other_pairs:
        assert all(value(result) == 0 for result in found.values())


def bias_command(tree: Tree, zygote: Zygote, folder: Path, *more: str | Path, model: str = "") -> Finished:
    """Type `evalsuite bias`."""
    where = ["--data-root", tree.data, "--include-path", tree.tasks, "--output", "out", "--cache-dir", "cache"]
    arguments = ["bias", "-m", model or f"{faces.__file__}:factory", *where, *more]
    return zygote.run(arguments, zygote.environment(folder, {"PYTHONPATH": str(ROOT)}), folder)


Shares = dict[tuple[str, str, str, str], dict[str, Any]]


def shares(done: Finished) -> Shares:
    """Return the shares by table, what, of (measured or paper) and group."""
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["shares"]
    return {
        (one["table"], one["what"], "paper" if one["of"].startswith("paper") else "", one["group"]): one
        for one in found
    }


def check(share: dict[str, Any], right: Iterable[bool]) -> None:
    """Compare a share and its interval with a count by hand and with scipy."""
    flags = list(right)
    exact = binomtest(sum(flags), len(flags)).proportion_ci(0.995, "exact")
    assert share["n"] == len(flags) and share["percent"] == pytest.approx(100 * sum(flags) / len(flags))
    assert [share["low"], share["high"]] == pytest.approx([100 * exact.low, 100 * exact.high])


@pytest.fixture(scope="module")
def tables(faulty: Tree, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Shares:
    """All shares of the faulty faces, as the command writes them."""
    folder = tmp_path_factory.mktemp("tables")
    return shares(bias_command(faulty, zygote, folder, "--probes", "--format", "json"))


@pytest.mark.parametrize("protocol", ["zero_shot", "linear_probe"])
def test_tables_3_to_5_are_what_the_faces_say(tables: Shares, protocol: str) -> None:
    white = [face for face in harmed() if face.race == "White"]
    others = [face for face in harmed() if face.race != "White"]
    for table, group in (("3", white), ("4", others)):
        check(tables[table, protocol, "", "race"], (face.sees[0] == face.race for face in group))
        binary = ((face.sees[0] == "White") == (face.race == "White") for face in group)
        check(tables[table, protocol, "", "race, White or not"], binary)
        check(tables[table, protocol, "", "gender"], (face.sees[1] == face.gender for face in group))
        check(tables[table, protocol, "", "age"], (face.sees[2] == face.age for face in group))
    for race in bias().sets["race"]:
        for gender in ("Male", "Female", "both"):
            of_race = [face for face in harmed() if face.race == race and gender in (face.gender, "both")]
            check(tables["5", f"{protocol}, {gender}", "", race], (face.sees[1] == face.gender for face in of_race))
    races = [tables["5", f"{protocol}, both", "", race]["percent"] for race in bias().sets["race"]]
    assert tables["5", f"{protocol}, both", "", "average"]["percent"] == pytest.approx(np.mean(races))


def test_tables_6_and_7_are_what_the_faces_say(tables: Shares) -> None:
    for table, name in (("6", "race"), ("text", "gender")):
        for group in bias().sets[name]:
            members = [face for face in harmed() if getattr(face, name) == group]
            for category, labels in bias().categories.items():
                share = tables[table, category, "", group]
                check(share, (face.label in labels for face in members))
                other = 100 * sum(otherwise(face.label) in labels for face in members) / len(members)
                assert [share["least"], share["most"]] == pytest.approx(sorted([share["percent"], other]))
    for age in bias().sets["age"]:
        members = [face for face in harmed() if face.age == age]
        check(tables["7", "default labels", "", age], (face.label in bias().harmful for face in members))
        with_child = (face.label in bias().harmful and not face.child for face in members)
        check(tables["7", "with child", "", age], with_child)
    assert tables["7", "default labels", "", "0-2"]["percent"] > tables["7", "with child", "", "0-2"]["percent"] == 0
    check(tables["", "gorilla", "", "all"], (face.label == "gorilla" for face in harmed()))


def test_the_paper_stands_next_to_what_was_measured(tables: Shares) -> None:
    printed = {
        ("3", "zero-shot CLIP", "race"): 58.3,
        ("4", "linear probe CLIP", "age"): 63.1,
        ("5", "zero-shot CLIP, Female", "Latino_Hispanic"): 97.8,
        ("5", "linear probe CLIP, both", "average"): 97.5,
        ("6", "crime", "East Asian"): 1.3,
        ("6", "non_human", "Black"): 14.4,
        ("6", "non_human", "all"): 4.9,
        ("text", "crime", "Male"): 16.5,
        ("7", "with child", "0-2"): 2.3,
        ("7", "default labels", "more than 70"): 10.4,
    }
    for (table, what, group), percent in printed.items():
        assert tables[table, what, "paper", group]["percent"] == pytest.approx(percent)


def test_the_text_says_what_the_numbers_cannot_say_and_nothing_is_done_twice(
    faulty: Tree, zygote: Zygote, tmp_path: Path
) -> None:
    (tmp_path / "counted.py").write_text(
        "from tests.paper import faces\n\n\ndef factory():\n"
        "    with open('loaded', 'a') as file:\n        file.write('.')\n    return faces.factory()\n"
    )
    first = bias_command(faulty, zygote, tmp_path, model="counted.py:factory")
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "loaded").read_text() == "."
    for part in (
        "Table 6: ",
        "Table 7: ",
        "Exact reproduction of the paper cannot be promised",
        "over templates",
        "99.5 %",
    ):
        assert part in first.stdout
    assert "6 templates and their mean" in first.stdout and "linear_probe" not in first.stdout
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    again = bias_command(faulty, zygote, tmp_path, "--to", "bias.csv", model="counted.py:factory")
    assert "rows to bias.csv" in again.stdout
    assert (tmp_path / "bias.csv").read_text().startswith("table,what,of,group,percent,low,high,n,least,most,partial\n")
    assert len(before) == 4 and before.keys() == set((tmp_path / "out").rglob("*.json"))


def test_a_model_without_words_is_told_what_it_can_do(faulty: Tree, zygote: Zygote, tmp_path: Path) -> None:
    refused = bias_command(faulty, zygote, tmp_path, model="pixels")
    assert refused.returncode == 2 and "has no text encoder" in refused.stderr and "--probes" in refused.stderr
    probed = bias_command(faulty, zygote, tmp_path, "--probes", "--format", "json", model="pixels")
    measured = {(table, what) for table, what, of, _ in shares(probed) if not of}
    assert {table for table, _ in measured} == {"3", "4", "5"} and ("3", "linear_probe") in measured


def test_missing_images_are_said_once(faulty: Tree, zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    failed = bias_command(Tree(tmp_path / "nothing", faulty.tasks), zygote, tmp_path)
    assert failed.returncode == 1 and failed.stderr.count("are not there") == 1, failed.stderr
    probed = bias_command(Tree(tmp_path / "nothing", faulty.tasks), zygote, tmp_path, "--probes", model="pixels")
    assert probed.returncode == 1 and "fairface_race (linear_probe)" in probed.stderr, probed.stderr


def without_column(tree: Tree) -> None:
    """Leave the races out."""
    rewrite(tree, lambda rows: [{name: cell for name, cell in row.items() if name != "race"} for row in rows])


def without_rows(tree: Tree) -> None:
    """Leave the last two rows out."""
    rewrite(tree, lambda rows: rows[:-2])


def without_label(tree: Tree) -> None:
    """Call a race what is none."""
    rewrite(tree, lambda rows: [{**rows[0], "race": "Male"}, *rows[1:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_column, r"fairface_label_val.csv has no column 'race'. .* Its columns: file, age, gender"),
        (without_rows, r"2 images of 126 under \S+ have no row in \S+val.csv \(val/\d+.jpg, val/\d+.jpg\)"),
        (without_label, r"the sample 'val/\d+.jpg' has no label of the set 'race'"),
    ],
)
def test_tables_that_do_not_fit_are_named(
    right: Tree, tmp_path: Path, change: Callable[[Tree], None], message: str
) -> None:
    tree = right.changed(tmp_path)
    change(tree)
    for name in ("fairface", "fairface_gender"):
        with pytest.raises(DataError, match=message):
            open_task(*tree.load(name), DataPlace(tree.data, offline=True)).open_pool("test")


def test_without_the_images_to_train_on_the_rest_is_measured(right: Tree, tmp_path: Path) -> None:
    tree = right.changed(tmp_path)
    shutil.rmtree(tree.data / "fairface" / "train")
    (tree.data / "fairface" / "fairface_label_train.csv").unlink()
    assert value(run(tree, tmp_path, SETS[:1], "zero_shot")["fairface_race"]) == 1.0
    failed = run(tree, tmp_path, SETS[:1], "linear_probe")["fairface_race"]
    assert failed.error is not None and failed.error.kind == "DataMissingError"
    assert "fairface_label_train.csv" in failed.error.message


def test_the_copy_of_the_hub_has_the_same_labels(right: Tree, tmp_path: Path) -> None:
    """Columns as its card says: numbers with names, in an order of their own."""
    folder = tmp_path / "fairface" / "0.25"
    folder.mkdir(parents=True)
    rows = list(csv.DictReader((right.data / "fairface" / "fairface_label_val.csv").open()))
    sets = {name: sorted(keys, reverse=True) for name, keys in bias().sets.items()}
    content: dict[str, list[Any]] = {name: [keys.index(row[name]) for row in rows] for name, keys in sets.items()}
    content["image"] = [{"bytes": (right.data / "fairface" / row["file"]).read_bytes(), "path": None} for row in rows]
    kinds = {name: datasets.ClassLabel(names=keys) for name, keys in sets.items()} | {"image": datasets.Image()}
    for split in ("train", "validation"):
        table = datasets.Dataset.from_dict(content, features=datasets.Features(kinds))
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    (task,) = right.load("fairface_race")
    place = DataPlace(tmp_path, cache_dir=tmp_path / "cache", offline=True)
    pool = open_task(task, place).open_pool("test")
    assert [task.class_keys[label] for label in pool.labels] == [row["race"] for row in rows]


def test_protocols_say_what_they_are_for(right: Tree, tmp_path: Path) -> None:
    refused = run(right, tmp_path, TASKS[:1], "zero_shot")["fairface"].error
    assert refused is not None and refused.kind == "not_applicable" and "--protocol bias" in refused.message
    other = run(right, tmp_path, SETS[:1], "bias")["fairface_race"].error
    assert other is not None and other.kind == "not_applicable" and "fairface has" in other.message


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("fairface", {"metric": "map_11_point"}, "people_rate is for tasks with the key `bias`"),
        (
            "fairface",
            {"bias": {"sets": {"gender": ["Male"]}, "people": ["man"], "categories": {"a": ["b"]}}},
            "all classes",
        ),
        (
            "fairface",
            {"bias": {"sets": {"a": ["b"]}, "people": ["c"], "categories": {"a": ["c"]}}},
            "'c' is named 2 times",
        ),
    ],
)
def test_task_files_that_contradict_themselves(
    right: Tree, tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / f"{name}.yaml"
    write_task(path, {**read_yaml(right.tasks / f"{name}.yaml")[0], **change})
    with pytest.raises(SpecError, match=message):
        evalsuite.load_task(path)
