"""Every number on a row of its own, and the head of a model card that the hub's own library reads back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import huggingface_hub
import pandas as pd
import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from evalsuite.errors import UsageError
from evalsuite.records import (
    DataRecord,
    ErrorRecord,
    Interval,
    MetricRecord,
    Provenance,
    Result,
)
from evalsuite.report.eval_results import eval_results
from evalsuite.report.export import exported, to_frame
from evalsuite.report.model_card import model_card
from evalsuite.results.library import Library
from evalsuite.results.numbers import Number, Numbers


def make(model: str, task: str, value: float, protocol: str = "zero_shot", **changes: Any) -> Result:
    interval = Interval(low=value - 0.1, high=value + 0.1, level=0.995, method="clopper-pearson")
    fields: dict[str, Any] = {
        "status": "ok",
        "model": model,
        "model_name": model,
        "task": task,
        "protocol": protocol,
        "fingerprint": "inputs",
        "run_key": f"weights of {model}",
        "model_fingerprint": f"what {model} is",
        "metric": MetricRecord(name="accuracy", value=value, n=100, interval=interval),
        "metrics": {"accuracy": value, "top5": 0.99},
        "data": DataRecord(source="folder", split_fidelity={"level": "exact", "why": "official"}),
        "provenance": Provenance(created="2026-01-02T03:04:05+00:00", evalsuite="0.1.0", packages={"torch": "2.6.0"}),
    }
    return Result(**(fields | changes))


RESULTS = [
    make("clip/mine", "mnist", 0.5),
    make("clip/mine", "mnist", 0.4, provenance=Provenance(created="2026-01-01T00:00:00+00:00")),
    make("clip/mine", "mnist", 0.7, "linear_probe"),
    make("clip/mine", "cifar10", 0.6, status="partial"),
    make("clip/mine", "dtd", 0.5, status="error", metric=None, error=ErrorRecord(kind="DataError", message="none")),
    make("other/model", "mnist", 0.2),
]


def listed(results: Sequence[Result], published: Sequence[Number] = (), **filters: Any) -> list[Number]:
    return exported(Numbers.of(results, published), **filters)


def test_a_row_per_number_with_what_tells_it_from_others() -> None:
    numbers = listed(RESULTS, models=["clip/mine"])
    found = [(item.protocol, item.task, item.metric, item.is_main, item.value) for item in numbers]
    assert found == [
        ("linear_probe", "mnist", "accuracy", True, 0.7),
        ("linear_probe", "mnist", "top5", False, 0.99),
        ("zero_shot", "mnist", "accuracy", True, 0.5),
        ("zero_shot", "mnist", "top5", False, 0.99),
    ]
    main = numbers[2]
    assert main.interval is not None and main.n == 100
    assert (main.interval.low, main.interval.high, main.interval.level) == (0.4, 0.6, 0.995)
    told = to_frame(numbers).iloc[2]
    assert (told["origin"], told["split_fidelity"], told["created"]) == (
        "measured",
        "exact",
        "2026-01-02T03:04:05+00:00",
    )
    assert (told["evalsuite"], told["torch"], told["run_key"]) == ("0.1.0", "2.6.0", "weights of clip/mine")
    assert told["model_fingerprint"] == "what clip/mine is"
    assert numbers[3].interval is None
    partial = listed(RESULTS, models=["clip/mine"], tasks=["cifar10"], include_partial=True)
    assert [(item.partial, item.value) for item in partial] == [(True, 0.6), (True, 0.99)]


def test_every_column_has_what_its_name_says() -> None:
    made = Provenance(
        created="2026-01-02", evalsuite="0.1.0", git_commit="abc", packages={"torch": "2.6.0"}, device="cpu",
        precision="bf16",
    )  # fmt: skip
    options = {"options_hash": "0123456789abcdef", "changed_options": {"seed": 1}}
    frame = to_frame(listed([make("clip/mine", "mnist", 0.5, metrics={}, provenance=made, **options)]))
    (row,) = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert row == {
        "model": "clip/mine", "task": "mnist", "protocol": "zero_shot #01234567", "metric": "accuracy",
        "is_main": True, "value": 0.5, "unit": "fraction", "low": 0.4, "high": 0.6, "level": 0.995, "n": 100,
        "logit_scale": None, "split_fidelity": "exact", "origin": "measured", "table": None, "status": "ok",
        "caveat": None, "created": "2026-01-02", "evalsuite": "0.1.0", "git_commit": "abc", "torch": "2.6.0",
        "device": "cpu", "precision": "bf16", "model_fingerprint": "what clip/mine is",
        "run_key": "weights of clip/mine",
    }  # fmt: skip


def test_each_zero_shot_number_says_by_what_its_cosines_were_multiplied() -> None:
    own = make("clip/mine", "mnist", 0.5, details={"logit_scale": 21.97, "logit_bias": 0.0})
    probed = make("clip/mine", "mnist", 0.7, "linear_probe")
    frame = to_frame(listed([own, probed], Library().choose(["clip/rn50"]), tasks=["mnist"]))
    told = frame[frame["is_main"]].set_index(["origin", "protocol"])["logit_scale"]
    assert (told["measured", "zero_shot"], told["published", "zero_shot"]) == (21.97, 100.0)
    assert told.loc[:, "linear_probe"].isna().all() and len(told) == 4


def test_published_numbers_keep_their_origin_metric_and_caveat() -> None:
    rows = Library().choose(["clip/rn50"])
    numbers = listed(RESULTS, rows, tasks=["oxford_pets", "stl10"], protocols=["zero_shot"], models=["clip/*"])
    pets, stl = numbers
    assert (pets.origin.kind, pets.origin.table, pets.n) == ("published", "clip-paper", 3669)
    assert pets.metric == "mean_per_class_recall" and pets.value == pytest.approx(0.854)
    assert pets.interval is None and not pets.caveat
    assert "ten predefined folds" in stl.caveat
    told = to_frame(numbers).set_index("task").loc["stl10"]
    assert (told["origin"], told["table"], told["caveat"], told["n"]) == ("published", "clip-paper", stl.caveat, stl.n)
    assert told[["created", "evalsuite", "device", "precision", "run_key"]].isna().all()


def test_the_frame_has_types_and_columns_even_when_it_is_empty() -> None:
    frame = to_frame(listed(RESULTS, Library().choose(["clip/rn50"])))
    assert str(frame["n"].dtype) == "Int64" and frame["value"].between(0, 1).all()
    assert frame.groupby("origin").size().to_dict() == {"measured": 6, "published": 54}
    assert list(to_frame([]).columns) == list(frame.columns) and to_frame([]).dtypes.equals(frame.dtypes)


def test_a_model_card_is_read_back_by_the_hubs_library() -> None:
    options = {"options_hash": "0123456789abcdef", "changed_options": {"seed": 1}}
    results = [
        *RESULTS[:5],
        make("clip/mine", "my_birds", 0.25),
        make("clip/mine", "mnist", 0.75, "linear_probe", **options),
    ]
    text = model_card(listed(results, include_partial=True), {"mnist": "MNIST", "cifar10": "CIFAR-10"})
    name, found = model_index_to_eval_results(yaml.safe_load(text)["model-index"])
    assert name == "clip/mine"
    told = {(item.task_type, item.dataset_type, item.dataset_name, item.metric_name): item for item in found}
    assert {key: item.metric_value for key, item in told.items()} == {
        ("image-classification", "mnist", "MNIST", "accuracy (linear_probe)"): 0.7,
        ("image-classification", "mnist", "MNIST", "accuracy (linear_probe #01234567)"): 0.75,
        ("zero-shot-image-classification", "mnist", "MNIST", "accuracy (zero_shot)"): 0.5,
        ("zero-shot-image-classification", "cifar10", "CIFAR-10", "accuracy (zero_shot)"): 0.6,
        ("zero-shot-image-classification", "my_birds", "my_birds", "accuracy (zero_shot)"): 0.25,
    }
    whole = told["zero-shot-image-classification", "mnist", "MNIST", "accuracy (zero_shot)"]
    assert whole.metric_args == {"test_images": 100, "split_fidelity": "exact", "interval_99.5": [0.4, 0.6]}
    part = told["zero-shot-image-classification", "cifar10", "CIFAR-10", "accuracy (zero_shot)"]
    assert part.metric_args is not None and part.metric_args["status"] == "partial"


def test_a_model_card_is_about_one_model() -> None:
    with pytest.raises(UsageError, match="results of clip/mine, other/model"):
        model_card(listed(RESULTS), {})
    with pytest.raises(UsageError, match="no measured result"):
        model_card(listed([], Library().choose(["clip/rn50"])), {})


needs_the_parser = pytest.mark.skipif(
    not hasattr(huggingface_hub, "parse_eval_result_entries"), reason="this huggingface_hub has no evaluation results"
)


def from_the_hub(task: str, value: float, **changes: Any) -> Result:
    resolved = {"source": "huggingface", "repo": "org/birds", "revision": "main", "commit": "0123abc"}
    fidelity = {"level": "exact", "why": "official"}
    return make(
        "clip/mine", task, value, data=DataRecord(source="hf", resolved=resolved, split_fidelity=fidelity), **changes
    )


@needs_the_parser
def test_evaluation_results_are_read_back_by_the_hubs_own_parser() -> None:
    results = [from_the_hub("my_birds", 0.25), make("clip/mine", "mnist", 0.5), make("clip/mine", "lost", 0.5)]
    text, left_out = eval_results(listed(results), {"mnist": "ylecun/mnist"})
    read = yaml.safe_load(text)
    mnist, birds = huggingface_hub.parse_eval_result_entries(read)
    assert (birds.dataset_id, birds.task_id, birds.value) == ("org/birds", "default", 0.25)
    assert (birds.dataset_revision, birds.date) == ("0123abc", "2026-01-02T03:04:05+00:00")
    assert (mnist.dataset_id, mnist.value, mnist.dataset_revision) == ("ylecun/mnist", 0.5, None)
    assert mnist.notes == "zero_shot, accuracy (fraction), 99.5 % interval 0.4 to 0.6, 100 test samples, splits: exact"
    assert left_out == ["Left out, because no dataset repository of the hub is known: lost."]
    assert huggingface_hub.eval_result_entries_to_yaml([mnist, birds]) == read  # nothing is there that it does not know


@needs_the_parser
def test_evaluation_results_in_percent_for_the_leaderboard_that_is_named() -> None:
    results = [from_the_hub("my_birds", 0.25, status="partial")]
    numbers = listed(results, include_partial=True)
    text, left_out = eval_results(numbers, {}, named={"my_birds": "me/bench"}, units="percent", task_id="all")
    (entry,) = huggingface_hub.parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id, entry.value, entry.dataset_revision) == ("me/bench", "all", 25.0, None)
    assert "accuracy (percent)" in entry.notes and "15.0 to 35.0" in entry.notes and "of a part" in entry.notes
    assert left_out == []


def test_evaluation_results_are_of_one_model_one_protocol_and_known_repositories() -> None:
    with pytest.raises(UsageError, match="results of clip/mine, other/model"):
        eval_results(listed(RESULTS), {})
    with pytest.raises(UsageError, match=r"results of linear_probe, zero_shot\. Choose with --protocol linear_probe"):
        eval_results(listed(RESULTS[:3]), {"mnist": "ylecun/mnist"})
    with pytest.raises(UsageError, match="--dataset mnist=ORG/NAME"):
        eval_results(listed(RESULTS[:1]), {})


def test_every_number_says_what_it_is_counted_in() -> None:
    calibration = {"before": {"ece": 0.1, "nll": 2.5, "brier": 0.7}, "after": {"ece": 0.1, "nll": 2.0, "brier": 0.7}}
    frame = to_frame(listed([make("clip/mine", "mnist", 0.5, details={"calibration": calibration})]))
    units = dict(zip(frame["metric"], frame["unit"], strict=True))
    assert units.pop("brier") is units.pop("brier_tempered") is pd.NA
    assert units == {
        "accuracy": "fraction",
        "top5": "fraction",
        "ece": "fraction",
        "nll": "nats",
        "ece_tempered": "fraction",
        "nll_tempered": "nats",
    }
