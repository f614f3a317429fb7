"""Results of a model as the `model-index` of a Hugging Face model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalsuite.errors import UsageError
from evalsuite.report.tidy import Number

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

HUB_TASKS = {"zero_shot": "zero-shot-image-classification"}
"""Protocol -> task of the hub; the other protocols train a classifier, which the hub calls `image-classification`."""


def model_card(numbers: Sequence[Number], titles: Mapping[str, str]) -> str:
    """Return the YAML for the head of a model card: `model-index` with what was measured of one model.

    titles: task -> its name for people. The metric of each task is there and not those beside it. Values are fractions;
    the interval, the number of test images and the fidelity of the split go with them as arguments of the metric.
    UsageError where the numbers are none or of several models.
    """
    from huggingface_hub import ModelCardData

    measured = [number for number in numbers if number.origin == "measured" and number.is_main]
    models = list(dict.fromkeys(number.model for number in measured))
    if len(models) != 1:
        found = f"there are results of {', '.join(models)}" if models else "there is no measured result"
        raise UsageError(f"A model card is about one model: {found}. Name one of them, or its folder (-o).")
    results = [_result(number, titles.get(number.task, number.task)) for number in measured]
    return ModelCardData(model_name=models[0], eval_results=results).to_yaml() + "\n"


def _result(number: Number, title: str) -> EvalResult:
    from huggingface_hub import EvalResult

    protocol = number.protocol.partition(" #")[0]
    return EvalResult(
        task_type=HUB_TASKS.get(protocol, "image-classification"),
        task_name=protocol,
        dataset_type=number.task,
        dataset_name=title,
        dataset_split="test",
        metric_type=number.metric,
        metric_name=f"{number.metric} ({number.protocol})",
        metric_value=round(number.value, 6),
        metric_args=_arguments(number),
    )


def _arguments(number: Number) -> dict[str, Any]:
    """Return what a reader must know besides the value; nothing where nothing is known."""
    known: dict[str, Any] = {"test_images": number.n, "split_fidelity": number.split_fidelity}
    if number.low is not None and number.high is not None and number.level is not None:
        known[f"interval_{100 * number.level:g}"] = [round(number.low, 6), round(number.high, 6)]
    if number.status != "ok":
        known["status"] = number.status
    return {name: value for name, value in known.items() if value is not None}
