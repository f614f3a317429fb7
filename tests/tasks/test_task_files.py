"""Task and prompt files: the shipped ones, and what is said about wrong ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evalsuite.errors import SpecError, UsageError
from evalsuite.metrics import METRICS
from evalsuite.tasks import TaskIndex, apply_prompts, load_task_file, read_prompts
from evalsuite.tasks.loading import SIMPLE_TEMPLATE
from evalsuite.tasks.schema import prompt_schema, task_schema
from evalsuite.tasks.split_rules import FoldSplits, SampledSplits

CLASSES_AND_TEMPLATES = {
    # The counts OpenAI published in data/prompts.md, and in the notebook for ImageNet.
    "birdsnap": (500, 1),
    "caltech101": (102, 34),
    "clevr_counts": (8, 1),
    "country211": (211, 5),
    "dtd": (47, 8),
    "eurosat": (10, 3),
    "fgvc_aircraft": (100, 2),
    "flowers102": (102, 1),
    "gtsrb": (43, 3),
    "hateful_memes": (2, 1),
    "imagenet": (1000, 80),
    "kinetics700": (700, 28),
    "kitti_distance": (4, 1),
    "oxford_pets": (37, 1),
    "pcam": (2, 1),
    "rendered_sst2": (2, 1),
    "stanford_cars": (196, 8),
    "sun397": (397, 2),
    "cifar10": (10, 18),
    "cifar100": (100, 18),
    "digits": (10, 1),
    # Shifts of ImageNet and CIFAR have their classes, or those of a subset, and their templates.
    "cifair10": (10, 18),
    "cifair100": (100, 18),
    "cifar10_1": (10, 18),
    "imagenet_a": (200, 80),
    "imagenet_r": (200, 80),
    "imagenet_real": (1000, 80),
    "imagenet_sketch": (1000, 80),
    "imagenet_v2": (1000, 80),
    "objectnet": (113, 80),
    # Captions have no classes.
    "coco_captions": (0, 1),
    "flickr30k": (0, 1),
    "fairface": (18, 6),
    "fairface_age": (9, 6),
    "fairface_gender": (2, 6),
    "fairface_race": (7, 6),
    "fer2013": (7, 6),
    "fer_plus": (8, 6),
    "food101": (101, 1),
    "mnist": (10, 1),
    "resisc45": (45, 18),
    "stl10": (10, 2),
    "ucf101": (101, 48),
    "voc2007": (20, 1),
}

VALID = """\
title: Birds
classes: [magpie, {blue_tit: blue tit}]
prompts: {templates: ['a photo of a {}.']}
sources:
  - {kind: folder, path: ., pools: {train: train, test: test}}
"""


def write(path: Path, text: str) -> Path:
    """Write a task file."""
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(CLASSES_AND_TEMPLATES))
def test_shipped_tasks_have_the_published_classes_and_templates(name: str) -> None:
    task = TaskIndex().load(name)
    assert (len(task.class_list), len(task.prompt_spec.templates)) == CLASSES_AND_TEMPLATES[name]
    assert METRICS.get(task.metric).multilabel == task.multilabel
    assert task.name == name and task.split_fidelity.why


def test_every_shipped_task_is_known_to_this_test() -> None:
    assert set(TaskIndex().files) == set(CLASSES_AND_TEMPLATES)


def test_hard_tasks_fit_the_format() -> None:
    index = TaskIndex()
    fer = {item.key: item.names for item in index.load("fer2013").class_list}
    assert fer["surprise"] == ["surprised", "shocked", "spooked"] and sum(map(len, fer.values())) == 12
    stl, ucf, resisc = (index.load(name) for name in ("stl10", "ucf101", "resisc45"))
    assert isinstance(stl.splits, FoldSplits) and stl.splits.count == 10
    assert isinstance(ucf.splits, FoldSplits) and ucf.splits.count == 3
    assert ucf.sources[0].kind == "folder" and ucf.sources[0].group and ucf.sources[0].frame == "middle"
    assert isinstance(resisc.splits, SampledSplits) and resisc.refit == "train"
    voc = index.load("voc2007")
    assert voc.multilabel and voc.metric == "map_11_point"
    # the published list is not alphabetical: diningtable and pottedplant come late
    assert voc.class_keys[16:18] == ["diningtable", "pottedplant"]


def test_selection_by_name_group_tag_glob_and_path(tmp_path: Path) -> None:
    index = TaskIndex()
    path = write(tmp_path / "birds.yaml", VALID)
    chosen = index.select(["cifar10*", "embedded", "tag:digits", str(path), "mnist"])
    assert [task.name for task in chosen] == ["cifar10", "cifar100", "cifar10_1", "digits", "mnist", "birds"]
    assert {task.name for task in index.select(["*"])} == set(CLASSES_AND_TEMPLATES)
    assert len(index.groups["all"]) == 27 and index.without_file(["all"]) == []


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("cifar1O", "Did you mean cifar10"),
        ("tag:orc", "Did you mean ocr"),
        ("x*", "No task matches"),
        ("nowhere.yaml", "There is no file"),
    ],
)
def test_unknown_choices_offer_the_nearest(choice: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TaskIndex().select([choice])


def test_include_path_adds_tasks_and_groups_and_replaces_by_name(tmp_path: Path) -> None:
    write(tmp_path / "birds.yaml", VALID)
    write(tmp_path / "digits.yaml", VALID.replace("Birds", "Other digits"))
    write(tmp_path / "groups.yaml", "mine: [birds, digits]\n")
    index = TaskIndex([tmp_path])
    assert [task.title for task in index.select(["mine"])] == ["Birds", "Other digits"]
    with pytest.raises(UsageError, match="no such folder"):
        TaskIndex([tmp_path / "nowhere"])


def test_a_folder_with_tasks_may_hold_yaml_of_other_programs(tmp_path: Path) -> None:
    write(tmp_path / "birds.yaml", VALID)
    write(tmp_path / "birds_prompts.yaml", "templates: ['a {}.']\nclasses: [magpie, robin]\n")
    write(tmp_path / "compose.yaml", "version: '3'\nservices: {web: {image: nginx}}\n")
    write(tmp_path / "two.yaml", "title: one of two documents\n---\nkind: Service\n")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    index = TaskIndex([tmp_path])
    assert {path.name for path in index.foreign} == {"compose.yaml", "two.yaml", "binary.yaml"}
    assert "birds" in {task.name for task in index.select(["*"])}
    with pytest.raises(UsageError, match="Unknown task 'compose'"):
        index.load("compose")


@pytest.mark.parametrize(
    "broken", [VALID.replace("title: Birds", "title: [Birds"), VALID.replace("sources:", "source:")]
)
def test_a_broken_task_in_a_folder_with_tasks_is_an_error(tmp_path: Path, broken: str) -> None:
    write(tmp_path / "birds.yaml", broken)
    index = TaskIndex([tmp_path])
    assert index.foreign == []
    with pytest.raises(SpecError, match=r"birds\.yaml"):
        index.select(["*"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (VALID.replace("title:", "titel:"), r"line 1.*unknown key 'titel'. Did you mean title"),
        (VALID.replace("pools:", "pool:"), r"line 5.*unknown key 'pool'. Did you mean pools?"),
        (VALID.replace("'a photo of a {}.'", "'a photo.'"), r"line 3.*'a photo.' has 0 placeholders"),
        (VALID.replace("a {}", "{} {}"), r"has 2 placeholders"),
        (VALID.replace("title: Birds\n", ""), r"the key 'title' is missing"),
        (VALID + "title: Twice\n", r"line 6: the key 'title' is given twice"),
        (VALID.replace("magpie", "no"), r"put the word in quotes"),
        (VALID.replace("{blue_tit: blue tit}", "{blue_tit: ''}"), r"line 2, classes\[1\]: .*an empty name"),
        (VALID.replace("{blue_tit: blue tit}", "{blue_tit: [tit, ' ']}"), r"'blue_tit' has an empty name"),
        (VALID.replace("{blue_tit: blue tit}", "' '"), r"a class has an empty key"),
        (VALID.replace("{blue_tit: blue tit}", "{blue_tit: }"), r"line 2.*a class needs a name, not None"),
        (VALID.replace("{blue_tit: blue tit}", "{no: norway}"), r"line 2.*a class needs a name, not False"),
        (VALID.replace("{blue_tit: blue tit}", "magpie"), r"'magpie' is listed 2 times"),
        (VALID.replace("classes: [magpie, {blue_tit: blue tit}]\n", ""), r"lists the classes"),
        (VALID.replace("test: test}", "test: test}, labels: {by_code: {0: magpy}}"), r"are no class: 'magpy'"),
        (VALID.replace("test: test}", "test: test}, labels: {by_index: [magpie]}"), r"without a label: 'blue_tit'"),
        (VALID + "metric: acuracy\n", r"line 6, metric: unknown metric 'acuracy'. Did you mean accuracy"),
        (VALID.replace("kind: folder", "kind: foldr"), r"unknown kind 'foldr'. Did you mean folder"),
        ("- a list\n", r"line 1: it must hold `key: value` lines, not a list"),
        ("title: [\n", r"not valid YAML"),
        (VALID.replace("{templates: ['a photo of a {}.']}", "nowhere"), r"no prompt file 'nowhere.yaml'"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_with_the_place_and_the_remedy(tmp_path: Path, wrong: str, message: str) -> None:
    path = write(tmp_path / "birds.yaml", wrong)
    with pytest.raises(SpecError, match=r"(?s)birds\.yaml.*" + message):
        load_task_file(path)


def test_prompts_of_the_command_line(tmp_path: Path) -> None:
    task = load_task_file(write(tmp_path / "birds.yaml", VALID))
    assert apply_prompts(task, read_prompts("default")) is task
    simple = apply_prompts(task, read_prompts("simple"))
    assert simple.prompt_spec.templates == [SIMPLE_TEMPLATE]
    assert simple.class_list == task.class_list

    prompts = "templates: ['{} seen']\nclasses: [{blue_tit: [tit, blue tit]}, {magpie: pica}]\n"
    other = apply_prompts(task, read_prompts(str(write(tmp_path / "p.yaml", prompts))))
    # the label order stays the task's own
    assert [(item.key, item.names) for item in other.class_list] == [
        ("magpie", ["pica"]),
        ("blue_tit", ["tit", "blue tit"]),
    ]
    assert other.prompt_spec.templates == ["{} seen"]

    wrong = write(tmp_path / "q.yaml", "templates: ['{}']\nclasses: [magpie, crow]\n")
    with pytest.raises(SpecError, match="crow"):
        apply_prompts(task, read_prompts(str(wrong)))


def shape(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of each part of a schema; the wording around them differs between versions of pydantic."""
    parts = {"": schema, **schema.get("$defs", {})}
    return {
        name: (sorted(part.get("properties", {})), sorted(part.get("required", [])), part.get("additionalProperties"))
        for name, part in parts.items()
    }


def test_published_schema_is_the_one_of_the_code() -> None:
    """If this fails, write docs/schema/*.json again with task_schema() and prompt_schema()."""
    published = Path(__file__).resolve().parents[2] / "docs" / "schema"
    for name, current in (("task", task_schema()), ("prompt", prompt_schema())):
        assert shape(json.loads((published / f"{name}.json").read_text())) == shape(json.loads(current))
    schema = json.loads(task_schema())
    assert schema["additionalProperties"] is False and "name" not in schema["required"]
    assert {"title", "sources", "prompts"} <= set(schema["required"])
    assert "templates" in json.loads(prompt_schema())["properties"]


def test_prompts_of_bare_names_and_of_random_words(tmp_path: Path) -> None:
    task = TaskIndex().load("cifar10")
    names = apply_prompts(task, read_prompts("names"))
    assert names.prompt_spec.templates == ["{}"] and names.class_list == task.class_list
    words = apply_prompts(task, read_prompts("random"))
    found = words.prompt_spec.templates
    assert len(found) == len(task.prompt_spec.templates) == 18 and len(set(found)) > 15
    assert all(re.fullmatch(r"a photo of a \{\}, which has [a-z]+ [a-z]+\.", template) for template in found)
    assert apply_prompts(task, read_prompts("random")).prompt_spec.templates == found
    named = {word for item in task.class_list for name in item.names for word in name.split()}
    assert not named & {word for template in found for word in re.findall(r"[a-z]+", template.partition(",")[2])}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{kind: webdataset, path: ../x, pools: {train: a, test: b}}", "'../x' leads out of its folder"),
        ("{kind: webdataset, path: x, pools: {train: /etc/*, test: b}}", "'/etc/*' leads out"),
        ("{kind: webdataset, path: x, pools: {train: '**/**/a', test: b}}", "** more than once"),
        ("{kind: huggingface, config: ../x, pools: {train: train, test: test}}", "'../x' leads out"),
        ("{kind: folder, path: ., pools: {train: ../train, test: test}}", "'../train' leads out"),
        ("{kind: table, path: ., images: /home, pools: {train: a.csv, test: b.csv}}", "'/home' leads out"),
        ("{kind: python, file: a.py, path: ../x, pools: [train, test]}", "'../x' leads out"),
        (f"{{kind: folder, path: {'a' * 300}, pools: {{train: train, test: test}}}}", "longer than the name of a file"),
        (
            "{kind: webdataset, path: x, pools: {train: a, test: b}, lists: {l: {file: ../../l.txt, pool: train}}}",
            "'../../l.txt' leads out of the data root",
        ),
        (
            "{kind: folder, path: x, pools: {train: a, test: b}, lists: {'l{}': {file: l, pool: train, count: 9999}}}",
            "1000 or less",
        ),
    ],
    ids=lambda value: value[:40] if value.startswith("{") else "",
)
def test_a_source_that_leads_out_or_has_no_end(tmp_path: Path, source: str, why: str) -> None:
    path = write(tmp_path / "birds.yaml", VALID.replace(VALID.splitlines()[-1], f"  - {source}"))
    with pytest.raises(SpecError) as caught:
        load_task_file(path)
    assert why in str(caught.value) and "line 5" in str(caught.value)


def test_many_faults_are_told_in_six_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "birds.yaml", VALID + "".join(f"{'x' * 900}{number}: 1\n" for number in range(30)))
    with pytest.raises(SpecError) as caught:
        load_task_file(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6 and lines[-1] == "  and 26 faults more." and max(map(len, lines)) <= 400


def test_prompts_without_end(tmp_path: Path) -> None:
    templates = ", ".join(["'{}'"] * 4_000)
    names = ", ".join(["a"] * 2_000)
    path = write(
        tmp_path / "birds.yaml", VALID.replace("'a photo of a {}.'", templates).replace("blue tit", f"[{names}]")
    )
    with pytest.raises(SpecError, match=r"make 8,004,000 prompts; the most is 5,000,000"):
        load_task_file(path)
