"""`evaluate` from Python: what is computed, stored, found again, and recorded when it goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import evalsuite
from evalsuite.cli.cache import cache
from evalsuite.errors import ModelError
from evalsuite.models.base import ImageModel, ImageTextModel
from evalsuite.protocols.zero_shot import image_logits
from evalsuite.records import ErrorRecord, Result, SplitFidelity
from evalsuite.report.formats import to_markdown
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.numbers import Numbers
from evalsuite.results.store import load_stored
from tests.datasets import write_folder_task
from tests.models_for_tests import CountingModel
from tests.stores import write_old_checksums


def evaluate(tmp_path: Path, model: Any, task: Any, *arguments: Any, **options: Any) -> Any:
    """Evaluate with stores of the test's own."""
    return evalsuite.evaluate(model, task, *arguments, output=tmp_path / "out", cache_dir=tmp_path / "cache", **options)


def values(results: Any) -> dict[tuple[str, str], float]:
    """Return (task, protocol) -> value."""
    return {(result.task, result.protocol): result.metric.value for result in results}


@pytest.fixture
def task(tmp_path: Path) -> str:
    """A folder dataset whose images have the colour of their class."""
    return str(write_folder_task(tmp_path / "shapes"))


def test_both_protocols_share_one_image_pass_and_the_record_is_complete(tmp_path: Path, task: str) -> None:
    model = CountingModel()
    assert isinstance(model, ImageModel) and isinstance(model, ImageTextModel)
    results = evaluate(tmp_path, model, task)
    assert values(results) == {("shapes", "zero_shot"): 1.0, ("shapes", "linear_probe"): 1.0}
    assert model.encoded == 27
    probe: Result = results[1]
    assert probe.status == "ok" and probe.metric is not None and probe.metric.interval is not None
    assert probe.metric.interval.method.startswith("clopper") and probe.metric.interval.high == 1.0
    assert probe.metrics["top1"] == 1.0 and probe.metrics["mean_per_class_recall"] == 1.0
    assert probe.data is not None and probe.provenance is not None
    assert probe.data.sizes == {"train": 15, "val": 3, "test": 9}
    assert probe.data.split_fidelity == SplitFidelity(level="convention", why="Made up for the tests.")
    assert [result.timings.images_encoded for result in results] == [9, 18]
    assert probe.timings.images_per_second
    assert probe.provenance.packages["torch"] == version("torch")
    assert probe.provenance.precision == "fp32" and probe.provenance.device == "cpu"
    assert probe.model_info is not None and probe.model_info.fingerprint == probe.model_fingerprint == "counting"
    assert probe.run_key not in ("", probe.model_fingerprint)
    assert len(probe.details["folds"][0]["tried"]) >= 7


@pytest.mark.parametrize("workers", [0, 1])
def test_a_record_says_where_the_time_of_its_image_pass_went(tmp_path: Path, task: str, workers: int) -> None:
    zero_shot, probe = evaluate(tmp_path, CountingModel(), task, workers=workers)
    for result, images in ((zero_shot, 9), (probe, 18)):
        timings = result.timings
        assert timings.image_pass is not None
        phases = timings.image_pass
        assert min(phases.decoding, phases.computing, phases.writing) > 0
        assert phases.computing + phases.writing < phases.total
        assert phases.device_busy == pytest.approx(phases.computing / phases.total)
        assert timings.images_per_second == pytest.approx(images / phases.total)
    (again,) = evaluate(tmp_path, CountingModel(), task, "linear_probe", overwrite=True)
    assert again.timings.image_pass is None and "image_pass" not in again.model_dump()["timings"]


def test_a_second_run_does_nothing_and_gives_the_same(tmp_path: Path, task: str) -> None:
    first = evaluate(tmp_path, CountingModel(), task)
    model = CountingModel(fail_after=0)
    second = evaluate(tmp_path, model, task)
    assert [result.model_dump() for result in second] == [
        {**result.model_dump(), **stored_identity(second[i])} for i, result in enumerate(first)
    ]
    assert model.encoded == 0


def stored_identity(result: Result) -> dict[str, Any]:
    """Return the fields that the store fills in."""
    return {"run_key": result.run_key, "options_hash": result.options_hash}


def test_a_new_protocol_reuses_the_features_there_are(tmp_path: Path, task: str) -> None:
    model = CountingModel()
    evaluate(tmp_path, model, task, "zero_shot")
    assert model.encoded == 9  # only the test split
    evaluate(tmp_path, model, task, "linear_probe")
    assert model.encoded == 27


@pytest.mark.parametrize("change", ["prompts", "image", "label", "model", "seed"])
def test_what_changed_is_computed_again_and_nothing_else(tmp_path: Path, task: str, change: str) -> None:
    evaluate(tmp_path, CountingModel(), task)
    model, options = CountingModel(), {}
    path = Path(task)
    if change == "prompts":
        path.write_text(path.read_text().replace("a photo of a {} square", "{}"))
    elif change == "image":
        Image.new("RGB", (16, 16), (250, 0, 0)).save(path.parent / "test" / "red" / "000.png")
    elif change == "label":
        moved = path.parent / "test" / "red" / "000.png"
        moved.rename(path.parent / "test" / "blue" / "999.png")
    elif change == "model":
        model = CountingModel(fingerprint="another")
    else:
        options = {"seed": 1}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    results = evaluate(tmp_path, model, task, **options)
    assert model.encoded == {"prompts": 0, "image": 1, "label": 1, "model": 27, "seed": 0}[change]
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    rewritten = {path.name for path, when in before.items() if after[path] != when}
    if change == "prompts":  # the probe reads none
        assert rewritten == {"shapes.zero_shot.json"}
    elif change in ("image", "label"):
        assert rewritten == {"shapes.zero_shot.json", "shapes.linear_probe.json"}
    else:  # other results, next to the first ones
        assert not rewritten and len(after) == 2 * len(before)
    if change == "label":
        assert results[0].metric.value == pytest.approx(8 / 9)


def test_a_hold_out_by_other_groups_is_another_result(tmp_path: Path, task: str) -> None:
    path = Path(task)
    (before,) = evaluate(tmp_path, CountingModel(), task, "linear_probe")
    path.write_text(path.read_text().replace("path: .,", "path: ., group: '([^/]+/..)',"))
    (grouped,) = evaluate(tmp_path, CountingModel(), task, "linear_probe")
    path.write_text(path.read_text().replace("/..)", "/...)"))
    (others,) = evaluate(tmp_path, CountingModel(), task, "linear_probe")
    assert len({before.fingerprint, grouped.fingerprint, others.fingerprint}) == 3
    assert grouped.status == "error"  # one group per class: nothing can be held out
    assert others.timings.images_encoded == 0


def test_results_make_a_frame_and_a_leaderboard(tmp_path: Path, task: str) -> None:
    results = evaluate(tmp_path, CountingModel(), task)
    frame = results.to_frame()
    assert frame[["model", "task", "protocol", "status"]].to_numpy().tolist() == [
        ["counting", "shapes", "zero_shot", "ok"],
        ["counting", "shapes", "linear_probe", "ok"],
    ]
    assert (frame["value"] == 1.0).all() and (frame["low"] < 1.0).all()
    board = evalsuite.leaderboard(tmp_path / "out")
    assert {row.protocol for row in board.rows} == {"zero_shot", "linear_probe"}
    assert all(row.cells["shapes"].value == 1.0 for row in board.rows)


def test_a_torch_module_as_a_training_loop_has_it(tmp_path: Path, task: str) -> None:
    class Clip(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(3))

        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(2, 3)) * self.scale

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(tokens[:, 0], 3).float() * self.scale

    def tokenizer(texts: list[str]) -> torch.Tensor:
        return torch.tensor([[next(i for i, word in enumerate(("red", "green", "blue")) if word in t)] for t in texts])

    module = Clip().train()
    model = evalsuite.wrap_module(module, CountingModel().preprocess, tokenizer, name="step-100")
    results = evaluate(tmp_path, model, task)
    assert [result.model for result in results] == ["step-100"] * 2
    assert values(results) == {("shapes", "zero_shot"): 1.0, ("shapes", "linear_probe"): 1.0}
    assert module.training
    with torch.no_grad():
        module.scale.mul_(torch.tensor([1.0, 1.0, -1.0]))
    later = evaluate(
        tmp_path, evalsuite.wrap_module(module, CountingModel().preprocess, tokenizer, name="step-100"), task
    )
    assert later[0].model_fingerprint != results[0].model_fingerprint


def test_one_failing_task_never_takes_the_others_down(tmp_path: Path, task: str) -> None:
    broken = write_folder_task(tmp_path / "broken", name="broken")
    image = broken.parent / "test" / "red" / "001.png"
    image.write_bytes(image.read_bytes()[:40])
    results = evaluate(tmp_path, CountingModel(), [str(broken), task], "zero_shot")
    assert [result.status for result in results] == ["error", "ok"]
    assert results[0].error is not None and "001.png" in results[0].error.message

    write_folder_task(broken.parent, name="broken")
    again = evaluate(tmp_path, CountingModel(), [str(broken), task], "zero_shot")
    assert [result.status for result in again] == ["ok", "ok"]
    stored, _ = load_stored([tmp_path / "out"])
    assert sorted(item.result.status for item in stored) == ["ok", "ok"]


class Buggy(CountingModel):
    """Raises what it is given."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def encode_images(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        raise self.error


def long_errors() -> list[Exception]:
    lines = "".join(f"  File x, line {number}\n" for number in range(3000))
    worker = f"Caught in a worker.\n\nOriginal Traceback (most recent call last):\n{lines}ValueError: too small\n"
    return [RuntimeError("a bug of the model"), RuntimeError(f"keys:\n{lines}"), OSError(worker), ModelError(worker)]


@pytest.mark.parametrize("error", long_errors(), ids=["short", "lines", "worker", "ours"])
def test_the_record_of_an_exception_is_short_and_its_traceback_lies_next_to_it(
    tmp_path: Path, task: str, error: Exception
) -> None:
    (result,) = evaluate(tmp_path, Buggy(error), task, "linear_probe")
    ((stored,), _) = load_stored([tmp_path / "out"])
    assert stored.result.error == result.error and stored.path is not None
    assert result.status == "error" and result.error.kind == type(error).__name__
    assert str(error).splitlines()[0] in result.error.message and len(result.error.message.splitlines()) <= 7
    assert "Traceback" not in result.error.message
    assert ("ValueError: too small" in result.error.message) == ("too small" in str(error))
    log = stored.path.with_name(result.error.log).read_text()
    assert str(error).strip() in log and ("encode_images" in log) != isinstance(error, ModelError)
    text = to_markdown(build_leaderboard(Numbers.of([stored])))
    (line,) = [line for line in text.splitlines() if result.error.kind in line]
    assert len(line) < 1500


def test_the_log_of_an_error_goes_with_its_record(tmp_path: Path, task: str) -> None:
    evaluate(tmp_path, Buggy(RuntimeError("a bug")), task, "linear_probe")
    assert len(list((tmp_path / "out").rglob("*.log"))) == 1
    (result,) = evaluate(tmp_path, CountingModel(), task, "linear_probe")
    assert result.status == "ok"
    assert [path.name for path in (tmp_path / "out").rglob("*.log")] == []


def test_a_traceback_in_an_old_record_is_one_line_of_the_leaderboard() -> None:
    lines = "".join(f"  File x, line {number}\n" for number in range(3000))
    message = f"a bug\nTraceback (most recent call last):\n{lines}RuntimeError: a bug"
    error = ErrorRecord(kind="RuntimeError", message=message)
    assert error.model_dump() == {"kind": "RuntimeError", "message": message}
    result = Result(
        status="error", model="m", model_name="m", task="t", protocol="zero_shot", fingerprint="", error=error
    )
    text = to_markdown(build_leaderboard(Numbers.of([result])))
    assert "error: m, zero_shot, t: RuntimeError: a bug RuntimeError: a bug" in text and len(text) < 500


@pytest.mark.parametrize("protocol", ["linear_probe", "zero_shot"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused_with_sample_and_model(
    tmp_path: Path, task: str, protocol: str, value: float
) -> None:
    class Overflowing(CountingModel):
        def encode_images(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            layers = super().encode_images(batch)
            return {name: layer.index_fill(0, torch.tensor([0]), value) for name, layer in layers.items()}

    (result,) = evaluate(tmp_path, Overflowing(), task, protocol)
    assert result.status == "error" and result.error.kind == "EvalsuiteError"
    assert repr(result.model) in result.error.message and ".png" in result.error.message
    assert "(row 0 of " in result.error.message and "not finite" in result.error.message
    assert "--precision fp32" in result.error.message
    assert not list(tmp_path.rglob("*.npy")) and not list(tmp_path.rglob("*.safetensors"))  # nothing of it is kept


def test_stored_features_that_are_not_finite_are_refused_with_the_command_that_removes_them(
    tmp_path: Path, task: str
) -> None:
    evaluate(tmp_path, CountingModel(), task, "linear_probe")
    for path in tmp_path.rglob("penultimate.npy"):
        features = np.load(path)
        features[0] = np.nan
        np.save(path, features)
        write_old_checksums(path.parent)
    (result,) = evaluate(tmp_path, CountingModel(), task, "linear_probe", overwrite=True)
    assert result.status == "error" and result.error.kind == "EvalsuiteError"
    assert repr(result.model) in result.error.message and ".png" in result.error.message
    (named,) = re.findall(r"`evalsuite cache (\w+)`", result.error.message)
    assert named in cache.commands


def test_scores_are_exact_whatever_the_process_has_allowed(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch, loose: list[Callable[[], bool]]
) -> None:
    """On a GPU, products of float32 are coarse where a training loop has allowed TF32."""
    seen: list[bool] = []

    def watched(*arguments: Any) -> torch.Tensor:
        seen.extend(exact() for exact in loose)
        return image_logits(*arguments)

    monkeypatch.setattr("evalsuite.protocols.zero_shot.image_logits", watched)
    evaluate(tmp_path, CountingModel(), task, "zero_shot")
    assert seen and all(seen)
    assert not any(exact() for exact in loose)


def test_an_error_never_replaces_an_ok_record(tmp_path: Path, task: str) -> None:
    evaluate(tmp_path, CountingModel(), task, "zero_shot")
    (record,) = (tmp_path / "out").rglob("*.zero_shot.json")
    image = Path(task).parent / "test" / "red" / "001.png"
    image.write_bytes(image.read_bytes()[:40])
    (failed,) = evaluate(tmp_path, CountingModel(), task, "zero_shot")
    assert failed.status == "error"
    assert json.loads(record.read_text())["status"] == "ok"


def test_model_without_text_is_not_applicable_for_zero_shot_and_no_error(tmp_path: Path, task: str) -> None:
    class ImagesOnly(CountingModel):
        encode_texts = None  # type: ignore[assignment]

    model = ImagesOnly()
    del ImagesOnly.encode_texts
    plain = type("Plain", (), {name: getattr(model, name) for name in ("info", "preprocess", "encode_images")})()
    results = evaluate(tmp_path, plain, task)
    assert [result.status for result in results] == ["not_applicable", "ok"]


def test_limit_takes_as_many_of_each_class_and_is_partial(tmp_path: Path, task: str) -> None:
    model = CountingModel()
    results = evaluate(tmp_path, model, task, "linear_probe", limit=6)
    assert model.encoded == 12
    assert results[0].status == "partial" and results[0].data.sizes["test"] == 6
    assert not evalsuite.leaderboard(tmp_path / "out").rows
    assert evalsuite.leaderboard(tmp_path / "out", include_partial=True).rows
    whole = evaluate(tmp_path, model, task, "linear_probe")
    assert whole[0].status == "ok" and whole[0].data.sizes["test"] == 9


def test_wrong_sizes_are_refused(tmp_path: Path, task: str) -> None:
    (Path(task).parent / "test" / "red" / "000.png").unlink()
    (result,) = evaluate(tmp_path, CountingModel(), task, "zero_shot")
    assert result.status == "error" and "9" in result.error.message and "8" in result.error.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "--batch-size 0"),
        ({"limit": 0}, "--limit 0"),
        ({"device": "gpu"}, "--device gpu"),
        ({"precision": "fp8"}, "--precision fp8"),
        ({"prompts": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    tmp_path: Path, task: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(evalsuite.UsageError, match=message):
        evaluate(tmp_path, CountingModel(), task, **options)
    assert not (tmp_path / "out").exists()


def test_unknown_names_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(evalsuite.UsageError, match="Did you mean digits"):
        evaluate(tmp_path, CountingModel(), "digts")
    with pytest.raises(evalsuite.UsageError, match="Did you mean zero_shot"):
        evaluate(tmp_path, CountingModel(), "digits", "zero-shot")
    with pytest.raises(evalsuite.UsageError, match="Unknown model"):
        evaluate(tmp_path, "ViT-B/33", "digits")
