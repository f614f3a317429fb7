"""The published tables: the paper's facts, and what is refused."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evalsuite.errors import SpecError, UsageError
from evalsuite.metrics import METRICS
from evalsuite.records import Strict
from evalsuite.resources import data_dir
from evalsuite.results.bias_tables import BiasPaper
from evalsuite.results.figures import FiguresFile, RetrievalTable
from evalsuite.results.layouts import Layout
from evalsuite.results.library import Library
from evalsuite.results.numbers import Number
from evalsuite.results.published import read_description
from evalsuite.results.shift import ShiftTable

PROBE_FILE = "clip_paper_linear_probe.csv"
LIBRARY = Library()
PROBES = [number for number in LIBRARY.printed if number.protocol == "linear_probe"]
ZERO_SHOT = [number for number in LIBRARY.printed if number.protocol == "zero_shot"]


def rows(numbers: Sequence[Number]) -> dict[str, dict[str, float]]:
    """Return the scores of each model."""
    found: dict[str, dict[str, float]] = {}
    for number in numbers:
        found.setdefault(number.model, {})[number.task] = number.value
    return found


def average(slug: str, numbers: Sequence[Number]) -> float:
    scores = rows(numbers)[slug]
    return 100 * sum(scores.values()) / len(scores)


def test_every_number_has_a_metric_a_test_size_a_source_and_its_caveats() -> None:
    for number in (*PROBES, *ZERO_SHOT):
        assert number.metric in METRICS and number.n and number.origin.kind == "published"
        assert number.source.startswith("Radford et al. 2021, arXiv:2103.00020, table 1")
    found = {number.task: number for number in PROBES}
    assert (found["oxford_pets"].metric, found["voc2007"].metric) == ("mean_per_class_recall", "map_11_point")
    assert "ten folds" in found["stl10"].caveat and "openai/CLIP#153" in found["voc2007"].caveat


def test_the_tables_have_the_papers_size_and_unique_slugs() -> None:
    assert (len(PROBES), len(ZERO_SHOT)) == (66 * 27, 9 * 27)
    assert (len(rows(PROBES)), len(rows(ZERO_SHOT))) == (66, 9)
    assert {len(scores) for scores in (rows(PROBES) | rows(ZERO_SHOT)).values()} == {27}
    assert rows(ZERO_SHOT).keys() < rows(PROBES).keys()
    assert {number.origin.label for number in PROBES} == {"paper"}


@pytest.mark.parametrize(
    ("family", "model", "slug"),
    [
        ("CLIP-ViT", "ViT-B/32", "clip/vit-b-32"),
        ("CLIP-ViT", "ViT-L/14@336px", "clip/vit-l-14-336px"),
        ("CLIP-RN", "RN50x64", "clip/rn50x64"),
        ("BiT-M", "R50x1", "bit-m/r50x1"),
        ("BiT-S", "R50x1", "bit-s/r50x1"),
        ("ResNet", "50", "resnet/50"),
        ("EfficientNet", "B0", "efficientnet/b0"),
        ("EfficientNet Noisy Student", "L2-800", "efficientnet-ns/l2-800"),
        ("Instagram", "ResNeXt-101 32x8d", "instagram/resnext-101-32x8d"),
        ("LM", "LM RN50", "lm/rn50"),
        ("VirTex", "VirTex", "virtex/virtex"),
        ("ViT", "B/32", "vit/b-32"),
    ],
)
def test_slugs_follow_the_rule(family: str, model: str, slug: str) -> None:
    with (data_dir("results/published") / PROBE_FILE).open(newline="") as file:
        slugs = [row["slug"] for row in csv.DictReader(file) if (row["family"], row["model"]) == (family, model)]
    assert slugs == [slug] and model in {number.name for number in PROBES if number.model == slug}


def digest_of_numbers(protocol: str) -> str:
    """Return a digest of which model has which value on which task."""
    found = sorted((n.model, n.task, f"{n.value:.4f}") for n in LIBRARY.printed if n.protocol == protocol)
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


DIGESTS = {"linear_probe": "c2142cb591c156dd", "zero_shot": "7faf9617ed11803c"}
"""Of the tables, after each cell was compared with the paper's. Who corrects a digit changes them, too."""


@pytest.mark.parametrize("protocol", DIGESTS)
def test_no_number_is_another_and_none_is_elsewhere(protocol: str) -> None:
    assert digest_of_numbers(protocol) == DIGESTS[protocol]


@pytest.mark.parametrize(
    ("numbers", "model", "row"),
    [
        (
            PROBES,
            "clip/vit-l-14-336px",
            "95.9 97.9 87.4 79.9 82.2 91.5 71.6 89.9 83.0 95.1 96.0 99.2 99.2 72.9 99.7 98.1 94.9 92.4 69.2 "
            "46.4 85.6 92.0 73.0 60.3 77.3 80.5 85.4",
        ),
        (
            PROBES,
            "resnet/50",
            "71.3 91.8 74.5 52.7 60.5 49.9 48.5 83.8 72.3 92.4 90.8 90.8 98.3 54.9 96.4 96.7 83.6 70.6 67.1 "
            "11.7 82.5 71.2 46.8 43.0 56.5 55.5 74.3",
        ),
        (
            ZERO_SHOT,
            "clip/vit-l-14-336px",
            "93.8 95.7 77.5 49.5 68.4 78.8 37.2 84.3 55.7 93.5 92.8 78.3 88.3 57.7 99.4 59.6 71.7 52.3 21.9 "
            "34.9 63.0 76.9 61.3 24.8 63.3 67.9 76.2",
        ),
    ],
)
def test_rows_stand_under_the_datasets_of_the_paper(numbers: Sequence[Number], model: str, row: str) -> None:
    """In the order of the columns of tables 10 and 11, which is that of table 9."""
    order = (
        "food101 cifar10 cifar100 birdsnap sun397 stanford_cars fgvc_aircraft voc2007 dtd oxford_pets "
        "caltech101 flowers102 mnist fer2013 stl10 eurosat resisc45 gtsrb kitti_distance country211 pcam "
        "ucf101 kinetics700 clevr_counts hateful_memes rendered_sst2 imagenet"
    )
    found = rows(numbers)[model]
    assert [f"{100 * found[task]:.1f}" for task in order.split()] == row.split()


def test_scores_are_the_papers() -> None:
    assert average("clip/vit-l-14-336px", PROBES) == pytest.approx(85.0556, abs=1e-3)
    assert max(rows(PROBES), key=lambda slug: average(slug, PROBES)) == "clip/vit-l-14-336px"
    assert average("efficientnet-ns/l2-800", PROBES) == pytest.approx(80.3222, abs=1e-3)
    zero_shot = rows(ZERO_SHOT)
    assert zero_shot["clip/vit-l-14-336px"]["imagenet"] == pytest.approx(0.762)
    assert zero_shot["clip/vit-b-32"]["imagenet"] == pytest.approx(0.632)
    probes = rows(PROBES)
    assert probes["resnet/50"]["imagenet"] == pytest.approx(0.743)
    assert probes["clip/vit-b-32"]["mnist"] == pytest.approx(0.990)


def test_table_9_is_as_printed_with_its_errors_explained() -> None:
    (paper,) = LIBRARY.papers
    tasks = {task.task: task for task in paper.tasks}
    assert list(tasks) == list(rows(PROBES)["resnet/50"])
    assert (tasks["food101"].classes, tasks["country211"].train_size, tasks["ucf101"].test_size) == (102, 43200, 1794)
    caveats = paper.described.caveats
    assert set(caveats) >= {"food101", "fer2013", "stl10", "ucf101", "country211", "voc2007", "kitti_distance"}
    assert "42,200" in caveats["country211"] and "3,783" in caveats["ucf101"]


@pytest.mark.parametrize(
    ("name", "slugs"),
    [
        ("clip-paper", 75),
        ("resnet", 3),
        ("resnet/50", 1),
        ("bit-m/*", 6),
        ("ViT-B/32", 2),
        ("EfficientNet-NS/L2-475", 1),
    ],
)
def test_names_select_sets_families_rows_and_patterns(name: str, slugs: int) -> None:
    assert len({number.row for number in LIBRARY.choose([name])}) == slugs
    assert LIBRARY.choose([name, name]) == LIBRARY.choose([name]) == LIBRARY.choose([f"published:{name}"])


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean resnet/50"):
        LIBRARY.choose(["resnet/5O"])
    with pytest.raises(UsageError, match="clip-paper"):
        LIBRARY.choose(["clip-papr"])


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        text = (folder / name).read_text()
        assert text.count(old) == 1
        (folder / name).write_text(text.replace(old, new))

    return apply


def swap_columns(folder: Path) -> None:
    """Exchange the numbers of two tasks and leave the header as it is."""
    header, *lines = (folder / PROBE_FILE).read_text().splitlines(keepends=True)
    cells = [line.split(",") for line in lines]
    swapped = [",".join([*row[:3], row[4], row[3], *row[5:]]) for row in cells]
    (folder / PROBE_FILE).write_text("".join([header, *swapped]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(PROBE_FILE, "lm/rn50,LM,LM RN50,81.3", "lm/rn50,LM,LM RN50,813"), "line 2.*1 or less, not 8.13"),
        (edit(PROBE_FILE, "lm/rn50,LM,LM RN50,81.3", "lm/rn50,LM,LM RN50,nan"), "line 2"),
        (edit(PROBE_FILE, "lm/rn50,LM,LM RN50,81.3", "lm/rn50,LM,LM RN50,"), "line 2.*not a number"),
        (edit(PROBE_FILE, "lm/rn50,LM,LM RN50,81.3,", "lm/rn50,LM,LM RN50,"), "line 2.*29 cells.*30"),
        (edit(PROBE_FILE, "resnet/101,", "resnet/50,"), "listed twice: resnet/50"),
        (edit(PROBE_FILE, "resnet/101,", "ResNet/101,"), "slug"),
        (edit(PROBE_FILE, "food101,cifar10,", "cifar10,food101,"), "columns"),
        (edit("clip_paper.yaml", "rows: 66", "rows: 65"), "66 rows where 65"),
        (edit("clip_paper.yaml", "units: percent", "units: parts"), "units"),
        (edit("clip_paper.yaml", "  kitti_distance:", "  kitti:"), "kitti"),
        (edit("clip_paper_datasets.csv", "mnist,MNIST,10", "mnist,MNIST,ten"), "line 14.*classes"),
        (edit("clip_paper_datasets.csv", "31669,mean_top1_top5", "31669,top1"), "which metric .* 'top1'"),
        (edit(PROBE_FILE, "lm/rn50,", "lm/rn_50,"), "line 2: the slug 'lm/rn_50'"),
        (edit("clip_paper.yaml", "units: percent", "units: [percent"), "clip_paper.yaml is not valid YAML"),
        (lambda folder: (folder / PROBE_FILE).unlink(), "There is no file"),
        (
            edit(PROBE_FILE, "lm/rn50,LM,LM RN50,81.3", "lm/rn50,LM,LM RN50,81.4"),
            f"{PROBE_FILE} is not the file.*sha256",
        ),
        (
            edit("clip_paper_datasets.csv", "mnist,MNIST,10", "mnist,MNIST,11"),
            "clip_paper_datasets.csv is not the file",
        ),
        (swap_columns, f"{PROBE_FILE} is not the file"),
        (edit("clip_paper.yaml", "sha256: f51bb90a", "sha256: f51bb90b"), f"{PROBE_FILE} is not the file"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    folder = shutil.copytree(data_dir("results/published"), tmp_path / "published")
    assert len(Library(folder).printed) == 75 * 27
    change(folder)
    with pytest.raises(SpecError, match=message):
        Library(folder).printed  # noqa: B018 - reading is what fails


def read(folder: Path, file: str, schema: type[Strict] | None) -> object:
    return Library(folder).papers if schema is None else read_description(folder / file, schema)


@pytest.mark.parametrize(
    ("file", "schema", "old", "new"),
    [
        ("clip_paper.yaml", None, "figure: 16", "figure: 17"),
        ("clip_paper.yaml", None, "logit_scale: 100", "logit_scale: 101"),
        ("bias/clip_paper.yaml", BiasPaper, "0-2: 2.3", "0-2: 2.8"),
        ("figures/clip_paper.yaml", FiguresFile, "name: won_other,", "name: other,"),
        ("retrieval/clip_paper.yaml", RetrievalTable, "[88.0,", "[83.0,"),
        ("shift/clip_paper.yaml", ShiftTable, "[88.3", "[83.3"),
        ("layouts/open_clip.yaml", Layout, "test_size: 50000", "test_size: 5000"),
        ("shift/clip_paper.yaml", ShiftTable, "digest: ", "# "),
    ],
)
def test_a_digit_of_a_description_that_was_changed_is_noticed(
    tmp_path: Path, file: str, schema: type[Strict] | None, old: str, new: str
) -> None:
    folder = shutil.copytree(data_dir("results/published"), tmp_path / "published")
    edit(file, old, new)(folder)
    with pytest.raises(SpecError, match=f"{file} is not the file that was checked") as said:
        read(folder, file, schema)
    # what the message says makes a correction good
    lines = [line for line in (folder / file).read_text().splitlines() if not line.startswith("digest: ")]
    (folder / file).write_text("\n".join([*lines, str(said.value).splitlines()[-1]]) + "\n")
    read(folder, file, schema)


def test_reading_the_tables_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from evalsuite.results.library import Library; Library().choose(['all']);"
        "sys.exit(' '.join({'torch', 'pandas', 'pyarrow'} & set(sys.modules)) or 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr.strip()) == (0, "")
