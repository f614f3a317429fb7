"""What the report finds behind a score, held against scikit-learn and the images themselves."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix, recall_score

from evalsuite.data.place import DataPlace
from evalsuite.errors import UsageError
from evalsuite.report.html.details import Detail, choose, look_behind
from evalsuite.report.html.thumbnails import thumbnails
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.numbers import Numbers
from evalsuite.tasks import TaskIndex
from tests.report.conftest import Bench


def behind(bench: Bench) -> tuple[Detail, pd.DataFrame]:
    """Return the details of the only result, and its table as pandas reads it."""
    [item] = bench.read()
    [chosen] = choose(build_leaderboard(Numbers.of([item])), [])
    assert item.samples is not None
    return look_behind(chosen, None), pd.read_parquet(item.samples)


def test_confusions_recalls_and_mistakes_are_those_of_the_table(bench: Bench) -> None:
    bench.add("m/a", "mnist", 0.5, n_classes=10)
    detail, table = behind(bench)
    keys = [f"c{number}" for number in range(10)]
    counts = [[count for count, _ in row.cells] for row in detail.matrix]
    assert np.array_equal(counts, confusion_matrix(table["label"], table["prediction"], labels=keys))
    assert [row.name for row in detail.matrix] == keys and detail.pairs == ()
    recalls = recall_score(table["label"], table["prediction"], labels=keys, average=None)
    for key, recall in zip(keys, recalls, strict=True):
        assert f"{key} {recall:.1%}" in str(detail.classes)
    table["sure"] = softmax(np.stack(table["scores"]).astype(float), axis=1).max(axis=1)
    wrong = table[table["label"] != table["prediction"]].sort_values("sure", ascending=False).head(12)
    found = [(one.sample, one.label, one.predicted) for one in detail.mistakes]
    assert found == list(zip(wrong["sample"], wrong["label"], wrong["prediction"], strict=True))
    assert [one.confidence for one in detail.mistakes] == pytest.approx(wrong["sure"].tolist())


def test_many_classes_have_pairs_and_their_worst_recalls(bench: Bench) -> None:
    bench.add("m/a", "dtd", 0.6, n_classes=47, n=1_500)
    detail, table = behind(bench)
    wrong = table[table["label"] != table["prediction"]].groupby(["label", "prediction"]).size()
    sizes = table["label"].value_counts()
    assert detail.matrix == () and len(detail.pairs) == 20
    assert [pair.count for pair in detail.pairs] == sorted(wrong, reverse=True)[:20]
    for pair in detail.pairs:
        assert wrong[detail.names[pair.truth], detail.names[pair.said]] == pair.count
        assert pair.share == pytest.approx(pair.count / sizes[detail.names[pair.truth]])
    right = (table["label"] == table["prediction"]).groupby(table["label"]).mean()
    assert str(detail.classes).count('class="bar"') == 12
    assert detail.classes_title == "Recall of the 12 worst classes"
    assert all(f"{key} {share:.1%}" in str(detail.classes) for key, share in right.nsmallest(3).items())


def test_a_sample_of_several_folds_is_one_mistake(bench: Bench) -> None:
    bench.add("m/a", "stl10", 0.8, n_classes=10, folds=3)
    detail, table = behind(bench)
    assert len({one.sample for one in detail.mistakes}) == len(detail.mistakes) == 12
    assert sum(count for row in detail.matrix for count, _ in row.cells) == len(table) == 1_200


def test_the_best_of_each_task_and_protocol_is_looked_behind(bench: Bench) -> None:
    bench.add("m/good", "mnist", 0.2)
    bench.add("m/bad", "mnist", 2.0)
    bench.add("m/bad", "mnist", 1.0, protocol="zero_shot")
    bench.add("m/bad", "cifar10", 1.0)
    board = build_leaderboard(Numbers.of(bench.read()))

    def named(names: list[str]) -> set[tuple[str, str, str]]:
        return {(one.task, one.row.protocol, one.row.model) for one in choose(board, names)}

    probe, zero = "linear_probe", "zero_shot"
    others = {("mnist", zero, "m/bad"), ("cifar10", probe, "m/bad")}
    assert named([]) == {("mnist", probe, "m/good"), *others}
    assert named(["m/bad"]) == {("mnist", probe, "m/bad"), *others}
    with pytest.raises(UsageError, match="Did you mean m/good"):
        named(["m/god"])


def test_thumbnails_are_the_images_that_were_measured() -> None:
    task, digits = TaskIndex().load("digits"), load_digits()
    keys = task.class_keys
    wanted = {f"{row:08}": (keys[digits.target[row]],) for row in (900, 1_234)}
    pictures = thumbnails(task, wanted, DataPlace())
    found, problem = pictures.images, pictures.note
    assert problem == "" and found.keys() == wanted.keys()
    for sample, uri in found.items():
        kind, _, data = uri.partition(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(data))).convert("L")
        assert kind == "data:image/png" and max(image.size) <= 64
        small = np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=float)
        alike = [np.corrcoef(small.ravel(), other.ravel())[0, 1] for other in digits.images]
        assert int(np.argmax(alike)) == int(sample)


def test_an_image_of_another_label_is_no_thumbnail() -> None:
    task, digits = TaskIndex().load("digits"), load_digits()
    wrong = task.class_keys[(digits.target[900] + 1) % 10]
    pictures = thumbnails(task, {"00000900": (wrong,), "nosuch": (wrong,)}, DataPlace())
    found, problem = pictures.images, pictures.note
    assert found == {} and problem.startswith("2 of 2 images cannot be read here, or have another label")


@pytest.mark.parametrize("sealed", [True, False])
def test_samples_of_another_protocol_are_not_shown_as_these(bench: Bench, sealed: bool) -> None:
    bench.add("m/a", "mnist", 0.5, protocol="zero_shot")
    bench.add("m/a", "mnist", 2.0)
    paths = {item.result.protocol: item.samples for item in bench.read()}
    probe, other = paths["linear_probe"], paths["zero_shot"]
    assert probe is not None and other is not None
    probe.write_bytes(other.read_bytes())
    (item,) = [item for item in bench.read() if item.result.protocol == "linear_probe"]
    if not sealed:  # as before records had the digest of their table
        item = replace(item, result=item.result.model_copy(update={"samples_digest": None}))
    [chosen] = choose(build_leaderboard(Numbers.of([item])), [])
    detail = look_behind(chosen, None)
    (note,) = detail.notes
    assert "cannot be used" in note and ("damaged, or of another record" if sealed else "another value") in note
    assert detail.matrix == () and detail.mistakes == () and detail.reliability is None
