"""A task during a run: which samples a protocol reads, what is opened for it, and under which name features lie."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evalsuite.data.base import Fold, Owner, Pool, Split
from evalsuite.data.drawing import hold_out, stratified_limit
from evalsuite.data.place import DataPlace
from evalsuite.errors import EvalsuiteError
from evalsuite.options import RunOptions
from evalsuite.protocols import PROTOCOLS
from evalsuite.runner.tasks import TaskSession, rows_by_pool
from evalsuite.tasks import load_task_file
from tests.datasets import write_folder_task

PROBE, ZERO_SHOT = (PROTOCOLS.get(name)() for name in ("linear_probe", "zero_shot"))


def session(root: Path, text: str = "", **options: Any) -> TaskSession:
    """Return a session of a task with six images per class to train on and three to test."""
    path = write_folder_task(root / "shapes") if not (root / "shapes").exists() else root / "shapes/shapes.yaml"
    path.write_text(path.read_text() + text)
    return TaskSession(load_task_file(path), RunOptions(**options), DataPlace(root, root / "cache"))


def told(splits: list[Split]) -> list[tuple[str, int]]:
    return [(split.pool, len(split)) for split in splits]


def test_only_what_a_protocol_reads_is_opened(tmp_path: Path) -> None:
    found = session(tmp_path)
    shutil.rmtree(tmp_path / "shapes/train")
    assert len(found.pool("test")) == 9 and found.incomplete is not None
    assert told(found.splits(ZERO_SHOT)) == [("test", 9)]
    (fold,) = found.folds(training=False)
    assert len(fold.train) == 0 and fold.val is None
    for _ in range(2):
        with pytest.raises(type(found.incomplete)) as error:
            found.splits(PROBE)
        assert error.value is found.incomplete
    broken = session(tmp_path / "broken")
    (tmp_path / "broken/shapes/train/red").rename(tmp_path / "broken/shapes/train/purple")
    assert told(broken.splits(ZERO_SHOT)) == [("test", 9)] and broken.incomplete is None
    with pytest.raises(EvalsuiteError, match="purple"):
        broken.splits(PROBE)
    whole = session(tmp_path / "whole")
    assert told(whole.splits(PROBE)) == [("train", 18), ("test", 9)] and whole.incomplete is None


def test_data_without_its_test_split_is_the_first_error(tmp_path: Path) -> None:
    found = session(tmp_path)
    shutil.rmtree(tmp_path / "shapes/test")
    with pytest.raises(EvalsuiteError, match="test"):
        found.folds(training=False)


def test_a_source_of_the_test_split_alone_is_taken_where_that_of_the_whole_one_is_broken(tmp_path: Path) -> None:
    path = write_folder_task(tmp_path / "shapes")
    source = "  - {kind: folder, path: ., pools: {train: train, test: test}}\n"
    path.write_text(path.read_text().replace(source, source.replace("path: .", "path: part") + source))
    shutil.copytree(tmp_path / "shapes/test", tmp_path / "shapes/part/test")
    (tmp_path / "shapes/test/red").rename(tmp_path / "shapes/test/purple")
    found = session(tmp_path)
    assert told(found.splits(ZERO_SHOT)) == [("test", 9)] and found.incomplete is not None
    with pytest.raises(EvalsuiteError, match="purple"):
        found.splits(PROBE)


@pytest.mark.parametrize("download", [True, False])
def test_what_is_missing_is_fetched_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool
) -> None:
    found = session(tmp_path, download=download)
    away = (tmp_path / "shapes/test").rename(tmp_path / "away")
    monkeypatch.setattr("evalsuite.runner.tasks.fetch_task", lambda task, place: away.rename(tmp_path / "shapes/test"))
    if download:
        assert told(found.splits(ZERO_SHOT)) == [("test", 9)]
    else:
        with pytest.raises(EvalsuiteError):
            found.splits(ZERO_SHOT)


def test_a_failure_is_remembered_and_not_tried_again(tmp_path: Path) -> None:
    found = session(tmp_path)
    next((tmp_path / "shapes/test").rglob("*.png")).unlink()
    with pytest.raises(EvalsuiteError, match="9") as first:
        found.folds(training=False)
    shutil.rmtree(tmp_path / "shapes")
    for training in (False, True):
        with pytest.raises(EvalsuiteError) as again:
            found.folds(training=training)
        assert again.value is first.value
    other = session(tmp_path / "other")
    next((tmp_path / "other/shapes/train").rglob("*.png")).unlink()
    assert told(other.splits(ZERO_SHOT)) == [("test", 9)]  # how many there are to train on is not its matter
    with pytest.raises(EvalsuiteError, match="18"):
        other.splits(PROBE)


def test_a_limit_draws_from_every_split_by_the_labels_and_the_seed(tmp_path: Path) -> None:
    found = session(tmp_path, limit=4, seed=5)
    (fold,) = found.folds(training=True)
    for split, n in ((fold.train, 18), (fold.test, 9)):
        drawn = stratified_limit(found.pool(split.pool).labels, 4, 5)
        assert len(split) == 4 < n and split.rows.tolist() == drawn.tolist()
    assert told(session(tmp_path, limit=10).splits(PROBE)) == [("train", 10), ("test", 9)]
    path = write_folder_task(tmp_path / "validated/shapes")
    shutil.copytree(path.parent / "train", path.parent / "val")
    path.write_text(path.read_text().replace("{train: train,", "{train: train, val: val,"))
    (validated,) = session(tmp_path / "validated", "splits: {rule: official, val: val}\n", limit=4).folds(training=True)
    assert validated.val is not None and len(validated.val) == 4 and validated.val.pool == "val"


def test_a_temperature_is_fitted_on_what_others_hold_out_of_train(tmp_path: Path) -> None:
    found = session(tmp_path, calibrate=True, seed=3)
    pool = found.pool("train")
    held = hold_out(list(pool.ids), pool.labels, None, 0.1, 3)[1]
    (split,) = found.validation(ZERO_SHOT)
    assert split.pool == "train" and split.rows.tolist() == held.tolist() and len(held) == 3
    assert told(found.to_encode(ZERO_SHOT)) == [("test", 9), ("train", 3)]
    assert found.validation(PROBE) == [] and told(found.to_encode(PROBE)) == [("train", 18), ("test", 9)]
    assert session(tmp_path).validation(ZERO_SHOT) == []


def test_each_test_split_gets_one_temperature_and_a_validation_split_goes_before_a_hold_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = session(tmp_path, calibrate=True)
    rows = np.arange(18)
    train, tests = (
        Split("train", rows[:12]),
        [Split("test", rows[:3]), Split("test", rows[3:6]), Split("val", rows[:3])],
    )
    vals = [Split("train", rows[12 + number : 13 + number]) for number in range(4)]
    folds = [Fold(train, val, test) for val, test in zip(vals, [tests[0], tests[0], *tests[1:]], strict=True)]
    monkeypatch.setattr(found, "folds", lambda training: tuple(folds))
    assert [split.rows.tolist() for split in found.validation(ZERO_SHOT)] == [[12], [14], [15]]


def grouped(found: TaskSession, monkeypatch: pytest.MonkeyPatch, groups: tuple[str, ...] | None) -> None:
    """Give the samples of a session groups."""
    real = found.pool

    def pool(name: str) -> Pool:
        return replace(real(name), groups=groups)

    monkeypatch.setattr(found, "pool", pool)


def test_groups_that_a_hold_out_keeps_together_are_told_by_a_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = session(tmp_path, calibrate=True)
    assert found.group_digests() == []
    names = tuple(f"g{row // 3}" for row in range(18))
    grouped(found, monkeypatch, names)
    assert found.group_digests() == [hashlib.sha256("\0".join(names).encode()).hexdigest()]
    (held,) = found.validation(ZERO_SHOT)
    kept = {names[row] for row in held.rows}
    assert all((names[row] in kept) == (row in held.rows) for row in range(18))  # no group is on both sides
    (fold,) = found.folds(training=True)
    monkeypatch.setattr(found, "folds", lambda training: (replace(fold, val=fold.test),))
    assert found.group_digests() == []  # nothing is held out


def test_features_of_another_tasks_images_lie_under_that_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = session(tmp_path)
    pool = found.pool("test")
    assert found.stored_as("test") == ("shapes", "test", pool.fingerprint)
    owned = replace(pool, owner=Owner("others", "all", "of others", "rows"))
    monkeypatch.setattr(found, "pool", lambda name: owned)
    assert found.stored_as("test") == ("others", "all", "of others")


def test_captions_are_in_the_digest_of_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = session(tmp_path)
    split, pool = Split("test", np.array([0, 2])), found.pool("test")
    digests = [found.split_digest(split)]
    for words in ("one", "two"):
        captioned = replace(pool, captions=tuple((f"{words} {row}",) for row in range(9)))
        monkeypatch.setattr(found, "pool", lambda name, captioned=captioned: captioned)
        digests.append(found.split_digest(split))
    assert len(set(digests)) == 3


def test_samples_are_logged_where_it_is_asked_for_and_classes_are_predicted(tmp_path: Path) -> None:
    asked = session(tmp_path, log_samples=True)
    assert asked.logs_samples and not session(tmp_path, log_samples=False).logs_samples
    asked.task = asked.task.model_copy(update={"captions": 5})
    assert not asked.logs_samples


def test_no_temperature_is_fitted_where_an_image_has_several_labels(tmp_path: Path) -> None:
    found = session(tmp_path, calibrate=True)
    assert len(found.validation(ZERO_SHOT)) == 1
    found.task = found.task.model_copy(update={"multilabel": True})
    assert found.validation(ZERO_SHOT) == []


@pytest.mark.parametrize("line", ["max_pixels: 5_000_000", "max_aspect: 7"])
def test_a_bound_that_the_task_file_sets_is_in_its_definition(tmp_path: Path, line: str) -> None:
    key, _, value = line.partition(": ")
    assert key not in session(tmp_path / "plain").definition(PROBE)
    assert session(tmp_path / "set", line + "\n").definition(PROBE)[key] == int(value)


def test_a_definition_has_the_names_of_classes_where_texts_are_read(tmp_path: Path) -> None:
    found = session(tmp_path)
    images, texts = found.definition(PROBE), found.definition(ZERO_SHOT)
    assert images["classes"] == ["red", "green", "blue"] and "templates" not in images
    assert texts["classes"] == [{"key": key, "names": [key]} for key in ("red", "green", "blue")]
    assert texts["templates"] == ["a photo of a {} square."]
    assert "sources" not in images and "title" not in texts
    assert [json.loads(json.dumps(found)) for found in (images, texts)] == [images, texts]


def test_rows_of_all_splits_are_put_together_by_pool() -> None:
    splits = [Split("a", np.array([5, 2])), Split("b", np.array([1])), Split("a", np.array([2, 0]))]
    assert rows_by_pool(splits) == {"a": [0, 2, 5], "b": [1]} and rows_by_pool([]) == {}
    assert rows_by_pool([Split("a", np.array([1_000, 8, 7]))]) == {"a": [7, 8, 1_000]}
