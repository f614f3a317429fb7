"""`run --save-head` and `evalsuite predict`: a person's own images, classified by a kept probe or by words."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from evalsuite.atomic import remove_folder
from evalsuite.locks import Lock
from evalsuite.seals import read_sealed, write_sealed
from tests.processes import WarmCli, Zygote

STORES = ("-o", "out", "--cache-dir", "cache")


@pytest.fixture
def heads(cli: WarmCli, shapes: Path, colours: str, tmp_path: Path) -> Path:
    """The description of a head of the colour model, kept by a run."""
    done = cli("run", "-m", colours, "-t", shapes, "--protocol", "linear_probe", "--save-head", *STORES)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").rglob("*.head.json")
    return path


def test_a_kept_probe_classifies_images_as_in_the_run(
    cli: WarmCli, shapes: Path, colours: str, heads: Path, tmp_path: Path
) -> None:
    described = json.loads(heads.read_text())
    assert [item["key"] for item in described["classes"]] == ["red", "green", "blue"]
    assert described["layer"] == "penultimate" and described["dim"] == 3 and described["preprocessing"]
    folder = shapes.parent / "test"
    done = cli("predict", "-m", colours, folder, "--head", heads, "--format", "csv", "--cache-dir", "cache")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["image"].partition("/")[0] for row in rows] == [row["prediction"] for row in rows] and len(rows) == 9
    for row in rows:
        shares = [float(row[name]) for name in ("red", "green", "blue")]
        assert sum(shares) == pytest.approx(1, abs=1e-5) and float(row["probability"]) == max(shares)
    # the same from one image, in JSON and in a table, by the name of the record; nothing else is in the way
    one = cli("predict", "-m", colours, folder / "blue" / "000.png", "--head", heads.with_name(
        heads.name.replace(".head.json", ".json")), "--to", "one.json", "--cache-dir", "cache")  # fmt: skip
    assert one.returncode == 0, one.stderr
    (found,) = json.loads((tmp_path / "one.json").read_text())
    assert found["prediction"] == "blue"
    wanted = next(row for row in rows if row["image"] == "blue/000.png")
    assert found["probabilities"]["blue"] == pytest.approx(float(wanted["blue"]), abs=1e-5)
    board = cli("leaderboard", "-o", "out")
    assert board.returncode == 0 and "left out" not in board.stderr


def test_a_result_without_its_head_is_computed_again_where_one_is_asked_for(
    cli: WarmCli, shapes: Path, colours: str, tmp_path: Path
) -> None:
    common = ("run", "-m", colours, "-t", shapes, "--protocol", "linear_probe", *STORES)
    assert cli(*common).returncode == 0
    assert not list((tmp_path / "out").rglob("*.head.*"))
    assert "stored" not in cli(*common, "--save-head").stderr
    assert len(list((tmp_path / "out").rglob("*.head.*"))) == 2
    assert "stored" in cli(*common, "--save-head").stderr


def _other_classes(heads: Path) -> None:
    heads.write_text(
        heads.read_text().replace('"green"', '"tmp"').replace('"red"', '"green"').replace('"tmp"', '"red"')
    )


def _other_weights(heads: Path) -> None:
    weights = heads.with_name(heads.name.replace(".head.json", ".head.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\1\0")


def _other_result(heads: Path) -> None:
    write_sealed(heads, read_sealed(heads) | {"fingerprint": "0" * 64})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_other_classes, "its `digest` does not fit"),
        (_other_weights, "or of another head"),
        (_other_result, "is of another result than"),
        (lambda heads: heads.write_text("{"), "is damaged"),
    ],
)
def test_a_head_that_is_damaged_is_named_and_saved_again(
    cli: WarmCli, shapes: Path, colours: str, heads: Path, damage: Callable[[Path], None], said: str
) -> None:
    whole = heads.read_bytes()
    damage(heads)
    done = cli("predict", "-m", colours, shapes.parent / "test", "--head", heads, "--cache-dir", "cache")
    assert done.returncode == 2 and said in done.output and "--save-head" in done.output, done.output
    found = cli("cache", "verify", *STORES)
    assert found.returncode == 1 and said in found.output and str(heads.name) in found.output, found.output
    again = cli("run", "-m", colours, "-t", shapes, "--protocol", "linear_probe", "--save-head", *STORES)
    assert again.returncode == 0 and said in again.output and "The job is done again" in again.output, again.output
    assert heads.read_bytes() == whole and cli("cache", "verify", *STORES).returncode == 0


def test_who_waits_for_another_process_is_told_for_whom(
    zygote: Zygote, shapes: Path, colours: str, tmp_path: Path
) -> None:
    command = ["predict", "-m", colours, str(shapes.parent / "test"), "--classes", "red,blue", "--cache-dir", "cache"]
    env = zygote.environment(tmp_path)
    assert zygote.run(command, env, tmp_path).returncode == 0
    (features,) = (tmp_path / "cache" / "features").glob("*/images.*")
    remove_folder(*features.glob("compacted-*"))
    with Lock(features / "lock"):
        waiting = zygote.start(command, env, tmp_path, code="import evalsuite.locks\n"
            "evalsuite.locks.TELL_AFTER = 0\nfrom evalsuite.cli import main\nmain()")  # fmt: skip
        while not (waiting.stderr.exists() and "Waiting" in waiting.stderr.read_text()):
            assert Path(f"/proc/{waiting.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
            os.sched_yield()
    done = waiting.finish()
    assert done.returncode == 0 and f"is held by process {os.getpid()}" in done.stderr, done.stderr


def test_words_classify_without_a_probe(cli: WarmCli, shapes: Path, colours: str) -> None:
    folder = shapes.parent / "test"
    by_words = cli(
        "predict", "-m", colours, folder, "--classes", "green wall,blue wall", "--format", "csv", "--cache-dir", "c"
    )
    assert by_words.returncode == 0, by_words.stderr
    for row in csv.DictReader(io.StringIO(by_words.stdout)):
        colour = row["image"].partition("/")[0]
        assert colour == "red" or row["prediction"] == f"{colour} wall"
    by_task = cli("predict", "-m", colours, folder, "--task", shapes, "--cache-dir", "c")
    assert by_task.returncode == 0, by_task.stderr
    assert by_task.stdout.splitlines()[0].split() == ["image", "class", "%", "then"]
    assert "blue/000.png" in by_task.stdout and len(by_task.stdout.splitlines()) == 11


@pytest.mark.parametrize("wrong", ["weights", "model", "preprocessing", "layer"])
def test_a_head_of_another_model_layer_or_preprocessing_is_refused(
    cli: WarmCli, shapes: Path, colours: str, heads: Path, tmp_path: Path, wrong: str
) -> None:
    described, model = read_sealed(heads), colours
    if wrong == "weights":
        described["model_fingerprint"] = "0" * 64
    if wrong == "layer":
        described["layer"] = "middle"
    if wrong == "preprocessing":
        described |= {"model_fingerprint": "0" * 64, "preprocessing": "resize to 5"}
    heads.write_text(json.dumps(described))
    if wrong == "model":
        model = "pixels"
    done = cli("predict", "-m", model, shapes.parent / "test", "--head", heads, "--cache-dir", "cache")
    reason = {
        "weights": "with other weights or rules",
        "model": "not of pixels",
        "preprocessing": "another preprocessing (resize to 5; now",
        "layer": "middle",
    }[wrong]
    assert done.returncode == 2 and reason in done.output, done.output
    assert "Traceback" not in done.output


def test_what_is_wrong_is_one_clear_message(
    cli: WarmCli, shapes: Path, colours: str, heads: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    folder = shapes.parent / "test"
    images_only = colours.replace(":factory", ":images_only")
    for arguments, text in (
        ((colours, "empty", "--classes", "a,b"), "There is no image in empty."),
        ((colours, "nowhere", "--classes", "a,b"), "There is no image or folder nowhere."),
        ((colours, folder), "Give one of --head, --task and --classes"),
        ((colours, folder, "--head", heads, "--classes", "a,b"), "Give one of --head, --task and --classes"),
        ((colours, folder, "--classes", "cat"), "at least two different names"),
        ((colours, folder, "--task", "flickr30k"), "has captions and no classes"),
        ((colours, folder, "--head", "nowhere.head.json"), "nowhere.head.json names no head: there is no file"),
        ((images_only, folder, "--classes", "a,b"), "has no text encoder"),
    ):
        done = cli("predict", "-m", *arguments, "--cache-dir", "cache")
        assert done.returncode == 2 and text in done.output, done.output
        assert "Traceback" not in done.output
    weights = heads.with_name(heads.name.replace(".head.json", ".head.safetensors"))
    found = load_file(weights)
    save_file({**found, "weights": np.zeros_like(found["weights"])}, weights)
    done = cli("predict", "-m", colours, folder, "--head", heads, "--cache-dir", "cache")
    assert done.returncode == 2 and "is damaged, or of another head" in done.output


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_classified(
    cli: WarmCli, shapes: Path, colours: str
) -> None:
    folder = shapes.parent / "test"
    (folder / "red" / "000.png").write_bytes(b"no image")
    done = cli("predict", "-m", colours, folder, "--classes", "red,blue", "--cache-dir", "cache")
    assert done.returncode == 1 and "left out: red/000.png" in done.stderr
    assert len(done.stdout.splitlines()) == 10
