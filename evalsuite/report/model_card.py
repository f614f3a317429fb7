"""Results of a model as the `model-index` of a Hugging Face model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalsuite.errors import UsageError
from evalsuite.results.numbers import Number, model_label, told_apart
from evalsuite.text import printable

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

HUB_TASKS = {"zero_shot": "zero-shot-image-classification"}
"""Protocol -> task of the hub; the other protocols train a classifier, which the hub calls `image-classification`."""


def model_card(numbers: Sequence[Number], titles: Mapping[str, str]) -> str:
    """Return the YAML for the head of a model card: `model-index` with what was measured of one model.

    titles: task -> its name for people. The metric of each task is there, not its further ones. Values are fractions;
    the interval, the number of test images and the fidelity of the split go with them as arguments of the metric.
    UsageError where the numbers are none or of several models.
    """
    from huggingface_hub import ModelCardData

    model, measured = measured_of_one_model(numbers)
    results = [_result(number, titles.get(number.task, number.task)) for number in measured]
    return printable(ModelCardData(model_name=model, eval_results=results).to_yaml()) + "\n"


def measured_of_one_model(numbers: Sequence[Number]) -> tuple[str, list[Number]]:
    """Return the one model as a leaderboard prints it, and the metrics of its tasks; UsageError for none or several."""
    measured = [number for number in numbers if number.is_measured and number.is_main]
    states = told_apart(measured)
    models = list(dict.fromkeys(model_label(number.model, states[number.model_key]) for number in measured))
    if len(models) != 1:
        found = f"there are results of {', '.join(models)}" if models else "there is no measured result"
        raise UsageError(f"A model card is about one model: {found}. Name one of them, or its folder (-o).")
    return models[0], measured


def _result(number: Number, title: str) -> EvalResult:
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=HUB_TASKS.get(number.protocol, "image-classification"),
        task_name=number.protocol,
        dataset_type=number.task,
        dataset_name=title,
        dataset_split="test",
        metric_type=number.metric,
        metric_name=f"{number.metric} ({number.job.protocol_label})",
        metric_value=round(number.value, 6),
        metric_args=_arguments(number),
    )


def _arguments(number: Number) -> dict[str, Any]:
    """Return what a reader must also know of the value; nothing where nothing is known."""
    known: dict[str, Any] = {"test_images": number.n, "split_fidelity": number.fidelity}
    if number.interval is not None:
        interval = number.interval
        known[f"interval_{100 * interval.level:g}"] = [round(interval.low, 6), round(interval.high, 6)]
    if number.partial:
        known["status"] = "partial"
    return {name: value for name, value in known.items() if value is not None}
