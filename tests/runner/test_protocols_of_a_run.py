"""Protocols in a run: images are opened once, prompts and temperatures as asked for, what does not apply is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import evalsuite
from evalsuite.errors import UsageError
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel


@pytest.fixture
def task(tmp_path: Path) -> str:
    """A folder dataset whose images have the colour of their class."""
    return str(write_folder_task(tmp_path / "shapes", train=12))


def evaluate(tmp_path: Path, *arguments: Any, **options: Any) -> Any:
    """Evaluate with stores of the test's own."""
    return evalsuite.evaluate(*arguments, output=tmp_path / "out", cache_dir=tmp_path / "cache", **options)


def test_further_protocols_on_stored_features_open_no_image(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CountingModel()
    evaluate(tmp_path, model, task)
    assert model.encoded == 45
    monkeypatch.setattr("PIL.Image.open", _refuse)
    monkeypatch.setattr(model, "preprocess", _refuse)
    results = evaluate(tmp_path, model, task, "all")
    assert [result.protocol for result in results] == ["zero_shot", "linear_probe", "knn", "prototype", "few_shot"]
    assert [result.status for result in results] == ["ok"] * 5 and model.encoded == 45
    for result in results:
        assert result.metric.value == 1.0 and result.metric.interval is not None
    assert [result.timings.images_encoded for result in results[2:]] == [0, 0, 0]


def _refuse(*arguments: Any) -> Any:
    raise AssertionError("an image was opened")


def test_a_run_on_wrong_test_labels_chooses_the_same(tmp_path: Path, task: str) -> None:
    """Each test image is moved into the folder of another class; nothing but the test scores may differ."""
    right = evaluate(tmp_path, CountingModel(), task, "all", calibrate=True)
    classes = ["red", "green", "blue"]
    for name in classes:
        (tmp_path / "shapes" / "test" / name).rename(tmp_path / "shapes" / "test" / f"was-{name}")
    for name, other in zip(classes, classes[1:] + classes[:1], strict=True):
        (tmp_path / "shapes" / "test" / f"was-{name}").rename(tmp_path / "shapes" / "test" / other)
    wrong = evaluate(tmp_path, CountingModel(), task, "all", calibrate=True)
    for one, other in zip(right, wrong, strict=True):
        assert one.metric.value == 1.0 and other.metric.value == 0.0, one.protocol
        assert _choices(one.details) == _choices(other.details), one.protocol


def _choices(details: Any) -> Any:
    """Return details without what is measured on the test split."""
    if isinstance(details, dict):
        measured = {"test", "mean", "std", "values", "before", "after"}
        return {key: _choices(value) for key, value in details.items() if key not in measured}
    return [_choices(one) for one in details] if isinstance(details, list) else details


def test_each_set_of_prompts_is_a_result_of_zero_shot_alone(tmp_path: Path, task: str) -> None:
    (tmp_path / "mine.yaml").write_text("templates: ['{} paint', 'a {} wall']\n")
    sets = ["default", "names", "random", str(tmp_path / "mine.yaml")]
    results = evaluate(tmp_path, CountingModel(), task, prompts=sets)
    assert [(result.protocol, result.changed_options.get("prompts")) for result in results] == [
        ("zero_shot", None),
        ("zero_shot", "names"),
        ("zero_shot", "random"),
        ("zero_shot", results[3].changed_options["prompts"]),
        ("linear_probe", None),
    ]
    assert [result.details["templates"] for result in results[:4]] == [1, 1, 1, 2]
    assert len({result.fingerprint for result in results}) == 5
    assert len({result.options_hash for result in results[:4]}) == 4
    alone = evaluate(tmp_path, CountingModel(fail_after=0), task, "zero_shot", prompts="names")
    assert [result.model_dump() for result in alone] == [results[1].model_dump()]


def test_prompts_that_are_none_are_refused_before_any_work(tmp_path: Path, task: str) -> None:
    with pytest.raises(UsageError, match=r"There is no file nmaes \(--prompts\). Did you mean names\?"):
        evaluate(tmp_path, CountingModel(), task, prompts="default,nmaes")
    (tmp_path / "mine.yaml").write_text("templates: ['no place for a class']\n")
    with pytest.raises(UsageError, match="needs exactly one"):
        evaluate(tmp_path, CountingModel(), task, prompts=str(tmp_path / "mine.yaml"))
    (tmp_path / "other.yaml").write_text("templates: ['a {}']\nclasses: [red, green, purple]\n")
    with pytest.raises(UsageError, match="purple"):
        evaluate(tmp_path, CountingModel(), task, prompts=str(tmp_path / "other.yaml"))
    assert not (tmp_path / "out").exists()


class Unsure(CountingModel):
    """Colours with a large disturbance, so that some answers are wrong."""

    def encode_images(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the mean colour, less sure than it could be."""
        found = dict(super().encode_images(batch))
        noise = torch.sin(1e4 * found["embedding"].sum(dim=1, keepdim=True) * torch.tensor([[1.0, 2.0, 3.0]]))
        return {name: layer + 0.7 * noise for name, layer in found.items()}


def test_zero_shot_is_calibrated_on_validation_images_only_where_asked(tmp_path: Path, task: str) -> None:
    model = Unsure()
    (plain,) = evaluate(tmp_path, model, task, "zero_shot")
    assert model.encoded == 9
    assert plain.details["calibration"]["validation"] == 0 and plain.details["calibration"]["after"] is None
    (asked,) = evaluate(tmp_path, model, task, "zero_shot", calibrate=True)
    assert model.encoded == 9 + 3  # a twelfth of each class is held out
    assert asked.fingerprint == plain.fingerprint and asked.metric == plain.metric
    assert asked.details["calibration"]["validation"] == 3
    assert asked.details["calibration"]["before"] == plain.details["calibration"]["before"]
    again = evaluate(tmp_path, Unsure(fail_after=0), task, "zero_shot", calibrate=True)
    assert again[0].model_dump() == asked.model_dump()


def test_what_has_no_meaning_for_a_task_is_said_and_is_no_error(tmp_path: Path) -> None:
    path = write_folder_task(tmp_path / "shapes")
    path.write_text(path.read_text() + "metric: map_11_point\nmultilabel: true\n")
    results = evaluate(tmp_path, CountingModel(), str(path), "all", knn_k=5)
    states = {result.protocol: result.status for result in results}
    there = dict.fromkeys(("zero_shot", "linear_probe", "knn"), "ok")
    assert states == {**there, **dict.fromkeys(("prototype", "few_shot"), "not_applicable")}
    assert all("several classes" in result.error.message for result in results if result.error)


def test_a_k_of_more_than_the_training_images_is_the_error_of_its_job(tmp_path: Path, task: str) -> None:
    knn, prototype = evaluate(tmp_path, CountingModel(), task, ["knn", "prototype"], knn_k=1000)
    assert prototype.status == "ok" and knn.status == "error"
    assert "only 33 training images" in knn.error.message and "--knn-k" in knn.error.message
