"""`evalsuite audit`: planted copies and wrong labels are found, on clean data nothing is, what cannot be is said."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score

from evalsuite.api import load_task
from evalsuite.applied.audit_formats import to_table
from evalsuite.applied.auditing import audit
from evalsuite.data.place import DataPlace
from evalsuite.options import RunOptions
from evalsuite.protocols import make_protocols
from evalsuite.runner.base import Reporter
from evalsuite.stats import exceeding
from tests.cli.conftest import records
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel
from tests.processes import WarmCli, Zygote

STORES = ("-o", "out", "--cache-dir", "cache")
COPIES = ("exact.png", "jpeg.jpg", "moved.png")


CLASSES = ("warm", "cold")


def picture(seed: int, warm: bool) -> Image.Image:
    """Return a cloud of colours, larger than what is shown of it."""
    fields = np.random.default_rng(seed).integers(0, 256, (7, 7, 3))
    fields[:, :, 2 if warm else 0] //= 3
    return Image.fromarray(fields.astype(np.uint8)).resize((72, 72), Image.Resampling.BICUBIC)


def shown(cloud: Image.Image, right: int = 0) -> Image.Image:
    """Return the middle of a picture, or what is so many pixels to the right of it."""
    return cloud.crop((4 + right, 4, 68 + right, 68))


def write_clouds(root: Path) -> Path:
    """Write a folder dataset, and copies of training images among its test images; return its task file."""
    for warm, name in enumerate(CLASSES):
        clouds = [picture(1_000 * warm + number, name == "warm") for number in range(80)]
        for pool, chosen in (("train", range(60)), ("test", range(60, 80))):
            (root / pool / name).mkdir(parents=True)
            for number in chosen:
                shown(clouds[number]).save(root / pool / name / f"{number:03d}.png")
        test = root / "test" / name
        for number in range(5):
            (test / f"{number}-{COPIES[0]}").write_bytes((root / "train" / name / f"{number:03d}.png").read_bytes())
            shown(clouds[10 + number]).save(test / f"{number}-{COPIES[1]}", quality=75)
            shown(clouds[20 + number], right=1).save(test / f"{number}-{COPIES[2]}")
    (root / "task.yaml").write_text(
        "title: Clouds\nclasses: [warm, cold]\nprompts: {templates: ['a {} cloud']}\n"
        "sources: [{kind: folder, path: ., pools: {train: train, test: test}}]\n"
    )
    return root / "task.yaml"


@pytest.fixture(scope="module")
def audited(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an audit of planted copies says, in every format."""
    folder = tmp_path_factory.mktemp("audited")
    write_clouds(folder / "data")
    environment = zygote.environment(folder)
    for name in ("found.json", "found.csv", "found.html"):
        done = zygote.run(["audit", "data/task.yaml", "-m", "pocket", *STORES, "--to", name], environment, folder, ())
        assert done.returncode == 0, done.output
        assert f"Wrote {name}." in done.stdout and "10 test images of 70 (14.29 %) are byte for byte" in done.stdout
    return folder


def test_planted_copies_are_found_and_nothing_else(audited: Path) -> None:
    found = json.loads((audited / "found.json").read_text())
    pairs = {one["image"]: one for one in found["findings"] if one["kind"] != "label"}
    kinds = [key.rpartition("-")[2] for key in pairs]
    assert [kinds.count(name) for name in COPIES[:2]] == [10, 10] and kinds.count(COPIES[2]) >= 7
    assert set(kinds) == set(COPIES)
    for name, one in pairs.items():
        assert one["kind"] == ("exact" if name.endswith("exact.png") else "near")
        assert one["class"] == one["other_class"] == name.partition("/")[0] and one["split"] == "test"
        assert one["similarity"] >= found["threshold"][0]
    assert found["threshold_given"] is False and found["images"] == [{"test": 70, "train": 120}]


def test_the_score_without_the_duplicates_is_that_of_the_clean_images(audited: Path) -> None:
    import pandas as pd

    found = json.loads((audited / "found.json").read_text())
    copies = {one["image"] for one in found["findings"] if one["kind"] != "label"}
    for one in found["scores"]:
        (path,) = (audited / "out").rglob(f"task.{one['protocol']}.samples.parquet")
        rows = pd.read_parquet(path)
        out = rows["sample"].isin(copies)
        shares = {
            name: accuracy_score(part["label"], part["prediction"])
            for name, part in (("all", rows), ("clean", rows[~out]), ("overlap", rows[out]))
        }
        for name, share in shares.items():
            assert one[name]["value"] == pytest.approx(share, abs=1e-9)
        assert one["overlap"]["n"] == len(copies) and one["clean"]["n"] == 70 - len(copies)
        gap = one["all_minus_clean"]
        assert gap["value"] == pytest.approx(shares["all"] - shares["clean"], abs=1e-9)
        assert gap["interval"]["low"] <= gap["value"] <= gap["interval"]["high"] and gap["test"] == "paired bootstrap"
        right = round(shares["overlap"] * len(copies))
        assert one["p_overlap"] == pytest.approx(exceeding(right, len(copies), shares["clean"]))
    assert [one["protocol"] for one in found["scores"]] == ["zero_shot", "linear_probe"]
    stored = {record["protocol"]: record["metric"]["value"] for record in records(audited / "out")}
    assert {one["protocol"]: one["all"]["value"] for one in found["scores"]} == stored


def test_csv_and_page_have_all_findings_and_the_page_asks_nobody(audited: Path) -> None:
    findings = json.loads((audited / "found.json").read_text())["findings"]
    rows = list(csv.DictReader(io.StringIO((audited / "found.csv").read_text())))
    assert [(row["kind"], row["image"]) for row in rows] == [(one["kind"], one["image"]) for one in findings]
    page = (audited / "found.html").read_text()
    pairs = sum(one["kind"] != "label" for one in findings)
    assert page.count("<img") == page.count("data:image/png;base64,") == 2 * (pairs + 24) + len(findings) - pairs
    assert "default-src 'none'" in page and not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert page.count("<svg") == 1 and 'class="threshold"' in page and 'class="reference"' in page


@pytest.mark.parametrize("model", ["pocket", "pixels"])
def test_digits_have_no_duplicates_and_their_score_is_the_same(cli: WarmCli, model: str) -> None:
    done = cli("audit", "digits", "-m", model, *STORES, "--protocol", "linear_probe")
    assert done.returncode == 0, done.output
    assert "0 test images of 899 (0.00 %) are byte for byte among 898 training images." in done.stdout
    assert "0 test images of 899 (0.00 %) are nearly so" in done.stdout
    assert re.search(r"linear_probe +accuracy .* of 899 +the same +none", done.stdout)
    suspects = re.search(r"^(\d+) training labels? of 898", done.stdout, re.MULTILINE)
    assert suspects is not None and int(suspects[1]) <= 9


def test_an_audit_of_stored_features_opens_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, task = CountingModel(), load_task(write_folder_task(tmp_path / "shapes", train=12, test=4))
    options = RunOptions(output=tmp_path / "out", device="cpu")
    place = DataPlace(cache_dir=tmp_path / "cache", offline=True)
    protocols = make_protocols(["linear_probe"], {}, {})
    first = audit(model, task, protocols, options, place, Reporter())
    assert model.encoded == 48
    monkeypatch.setattr("PIL.Image.open", _refuse)
    again = audit(model, task, protocols, options, place, Reporter())
    assert model.encoded == 48 and to_table(again) == to_table(first)
    knn = make_protocols(["zero_shot"], {}, {})  # reads no training image
    other = audit(model, task, knn, options, place, Reporter())
    assert model.encoded == 48 and len(other.folds[0].train) == 36


def test_an_image_counts_once_however_many_draws_score_it(tmp_path: Path) -> None:
    task = load_task(write_folder_task(tmp_path / "shapes", train=12, test=4))
    for name in ("red/000.png", "blue/001.png"):
        (tmp_path / "shapes" / "test" / name).write_bytes((tmp_path / "shapes" / "train" / name).read_bytes())
    red, blue = (tmp_path / "shapes" / "test" / colour / "003.png" for colour in ("red", "blue"))
    pictures = red.read_bytes(), blue.read_bytes()
    blue.write_bytes(pictures[0])  # two clean images are wrong
    red.write_bytes(pictures[1])
    options, place = RunOptions(output=tmp_path / "out", device="cpu"), DataPlace(cache_dir=tmp_path / "cache")
    protocols = make_protocols(["few_shot"], {"few_shot_images": "1"}, {})
    found = audit(CountingModel(), task, protocols, options, place, Reporter(), threshold=1, label_errors=False)
    (one,) = found.scores
    assert one.overlap is not None and one.clean is not None and one.overlap.n % 3 == 0  # of three draws
    images = len(found.folds[0].duplicates.pairs)
    assert images == one.overlap.n // 3 >= 2 and one.clean.value < one.overlap.value
    assert one.p == exceeding(round(one.overlap.value * images), images, one.clean.value)


def _refuse(*arguments: Any) -> Any:
    raise AssertionError("an image was opened")


def test_planted_wrong_labels_are_listed_with_the_more_likely_class(
    cli: WarmCli, shapes: Path, colours: str, tmp_path: Path
) -> None:
    for old, new in (("red", "blue"), ("green", "red")):
        source = shapes.parent / "train" / old / "000.png"
        source.rename(shapes.parent / "train" / new / f"was_{old}.png")
    lines = shapes.read_text().splitlines()
    shapes.write_text("\n".join(line for line in lines if not line.startswith("sizes")))
    done = cli("audit", shapes, "-m", colours, *STORES, "--format", "csv", "--threshold", "1")
    assert done.returncode == 0, done.output
    rows = [row for row in csv.DictReader(io.StringIO(done.stdout)) if row["kind"] == "label"]
    assert {(row["image"], row["class"], row["other_class"]) for row in rows if row["split"] == "train"} == {
        ("blue/was_red.png", "blue", "red"),
        ("red/was_green.png", "red", "green"),
    }
    assert not [row for row in rows if row["split"] == "test"]


def test_names_of_files_cannot_write_the_page(cli: WarmCli, shapes: Path, colours: str, tmp_path: Path) -> None:
    name = "<script>alert(1)<|script>.png".replace("|", "\u2215")
    for pool in ("train", "test"):
        (shapes.parent / pool / "red" / name).write_bytes((shapes.parent / "train" / "red" / "001.png").read_bytes())
    lines = shapes.read_text().splitlines()
    shapes.write_text("\n".join(line for line in lines if not line.startswith("sizes")))
    done = cli("audit", shapes, "-m", colours, *STORES, "--to", "page.html", "--no-label-errors")
    assert done.returncode == 0, done.output
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page


def test_what_cannot_be_audited_is_said_before_any_work(
    cli: WarmCli, shapes: Path, colours: str, tmp_path: Path
) -> None:
    only_test = shapes.with_name("only_test.yaml")
    only_test.write_text(shapes.read_text().replace("train: train, ", "").replace("sizes", "notes: x\n#"))
    captions = shapes.with_name("captions.yaml")
    captions.write_text(
        "title: C\nprompts: {templates: ['{}']}\ncaptions: 1\nmetric: recall_at_1\n"
        "sources: [{kind: folder, path: ., pools: {train: train, test: test}}]\n"
    )
    several = shapes.with_name("several.yaml")
    text = shapes.read_text().replace("title: shapes", "title: s\nmultilabel: true\nmetric: map_11_point")
    several.write_text(text)
    for arguments, without, message in (
        ((several,), (), r"have several labels.*--no-label-errors"),
        ((captions,), (), r"have captions and no classes"),
        ((only_test,), (), r"train"),
        ((shapes,), ("cleanlab",), r"pip install 'evalsuite\[audit\]'"),
        ((shapes, "--threshold", "2"), (), r"--threshold"),
        ((shapes, "--threshold", "nan"), (), r"'nan' is no number: give a number between -1 and 1"),
        (("no_such_task",), (), r"no_such_task"),
        ((shapes, "--executor", "moon"), (), r"--executor"),
    ):
        done = cli("audit", *arguments, "-m", colours, *STORES, without=without)
        assert done.returncode in (1, 2) and re.search(message, done.output, re.DOTALL), done.output
        assert "Traceback" not in done.output and not (tmp_path / "cache" / "features").exists()


def test_several_labels_have_duplicates_alone(cli: WarmCli, shapes: Path, colours: str, tmp_path: Path) -> None:
    text = shapes.read_text().replace("title: shapes", "title: s\nmultilabel: true\nmetric: map_11_point")
    (shapes.parent / "test" / "red" / "000.png").write_bytes((shapes.parent / "train" / "red" / "000.png").read_bytes())
    shapes.write_text(text)
    done = cli("audit", shapes, "-m", colours, *STORES, "--no-label-errors", without=("cleanlab",))
    assert done.returncode == 0, done.output
    assert "1 test image of 9 (11.11 %) is byte for byte among 18 training images." in done.stdout
    assert "map_11_point" in done.stdout


def test_images_of_the_validation_split_are_training_images_and_each_fold_has_its_own(
    cli: WarmCli, shapes: Path, colours: str
) -> None:
    root = shapes.parent
    (root / "train").rename(root / "all")
    names = sorted(path.relative_to(root / "all").as_posix() for path in (root / "all").rglob("*.png"))
    (root / "all" / "red" / "copy.png").write_bytes((root / "all" / "red" / "000.png").read_bytes())
    lists = {
        "train-0": [name for name in names if "000" not in name], "val-0": ["red/000.png"],
        "test-0": ["red/copy.png", "blue/000.png", "green/000.png"],
        "train-1": [name for name in names if "001" not in name and name != "red/000.png"], "val-1": ["blue/001.png"],
        "test-1": ["red/copy.png", "green/001.png"],
    }  # fmt: skip
    for name, items in lists.items():
        (root / f"{name}.txt").write_text("\n".join(items) + "\n")
    kinds = ("train", "val", "test")
    files = ", ".join(f"'{kind}-{{}}': {{file: '{kind}-{{}}.txt', pool: all, count: 2, first: 0}}" for kind in kinds)
    shapes.write_text(
        "title: s\nclasses: [red, green, blue]\nprompts: {templates: ['{}']}\n"
        f"sources: [{{kind: folder, path: ., pools: {{all: all}}, lists: {{{files}}}}}]\n"
        "splits: {rule: folds, count: 2, first: 0, train: 'train-{}', val: 'val-{}', test: 'test-{}'}\n"
    )
    done = cli("audit", shapes, "-m", colours, *STORES, "--format", "json", "--threshold", "1")
    assert done.returncode == 0, done.output
    found = json.loads(done.stdout)
    exact = [(one["fold"], one["image"], one["other_image"]) for one in found["findings"] if one["kind"] == "exact"]
    assert exact == [(0, "red/copy.png", "red/000.png")]
    assert found["images"] == [{"test": 3, "train": 16}, {"test": 2, "train": 15}]
    assert any("2 folds; label errors are looked for in the first" in note for note in found["notes"])
