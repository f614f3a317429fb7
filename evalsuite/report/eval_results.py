"""Results of a model as the `.eval_results/*.yaml` that the leaderboards of the Hugging Face hub read.

The form is that of `huggingface_hub.EvalResultEntry` (https://huggingface.co/docs/hub/eval-results), which its older
versions do not have. A leaderboard belongs to a dataset repository that is registered as a benchmark, and shows one
value for each model and task of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml

from evalsuite.errors import UsageError
from evalsuite.report.model_card import measured_of_one_model
from evalsuite.results.numbers import Number
from evalsuite.text import printable, shortened

Units = Literal["fraction", "percent"]


def eval_results(
    numbers: Sequence[Number],
    homes: Mapping[str, str],
    *,
    named: Mapping[str, str] | None = None,
    units: Units = "fraction",
    task_id: str = "default",
) -> tuple[str, list[str]]:
    """Return the YAML, and a line for each thing that is left out of it.

    homes: task -> dataset repository of the hub, where the images did not come from one. named: task -> the one whose
    leaderboard is meant, whatever the images came from. task_id: of the
    task in `eval.yaml` of the repository. UsageError where the numbers are none, of several models or protocols, or of
    datasets without a repository.
    """
    _, measured = measured_of_one_model(numbers)
    protocols = list(dict.fromkeys(number.job.protocol_label for number in measured))
    if len(protocols) > 1:
        raise UsageError(
            f"A leaderboard has one value for each model: there are results of {', '.join(protocols)}. "
            f"Choose with --protocol {measured[0].protocol}, and write a file for each."
        )
    known = [{**homes, **_repository(number), **(named or {})}.get(number.task) for number in measured]
    homeless = [number.task for number, home in zip(measured, known, strict=True) if not home]
    if len(homeless) == len(known):
        raise UsageError(
            f"No dataset repository of the hub is known of {shortened(homeless)}. "
            f"Name the one whose leaderboard you mean: --dataset {homeless[0]}=ORG/NAME."
        )
    entries = [_entry(number, home, units, task_id) for number, home in zip(measured, known, strict=True) if home]
    left_out = f"Left out, because no dataset repository of the hub is known: {shortened(homeless)}."
    text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=1000)
    return printable(text), [left_out] if homeless else []


def _entry(number: Number, home: str, units: Units, task_id: str) -> dict[str, Any]:
    used = _used(number)
    dataset: dict[str, str] = {"id": home, "task_id": task_id}
    if used.get("repo") == home and used.get("commit"):
        dataset["revision"] = str(used["commit"])
    made = number.record.provenance if number.record else None
    entry: dict[str, Any] = {"dataset": dataset, "value": _value(number.value, units)}
    if made is not None and made.created:
        entry["date"] = made.created
    return {**entry, "notes": _notes(number, units)}


def _repository(number: Number) -> dict[str, str]:
    repository = _used(number).get("repo")
    return {number.task: repository} if repository else {}


def _used(number: Number) -> Mapping[str, Any]:
    """Return what was recorded about where the images came from."""
    return number.record.data.resolved if number.record and number.record.data else {}


def _value(value: float, units: Units) -> float:
    return round(100 * value, 4) if units == "percent" else round(value, 6)


def _notes(number: Number, units: Units) -> str:
    """Return what a reader must also know of the value, on one line."""
    interval = number.interval
    return ", ".join(
        text
        for text in (
            number.job.protocol_label,
            f"{number.metric} ({units})",
            f"{100 * interval.level:g} % interval {_value(interval.low, units)} to {_value(interval.high, units)}"
            if interval
            else "",
            f"{number.n} test samples" if number.n else "",
            f"splits: {number.fidelity}" if number.fidelity else "",
            "of a part of the samples" if number.partial else "",
        )
        if text
    )
