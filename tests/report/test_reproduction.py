"""Our results against the published numbers of the same models: reproduced, outside the interval, not comparable."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from evalsuite.errors import UsageError
from evalsuite.report.comparison_formats import to_csv, to_markdown
from evalsuite.report.reproduction import Reproduction, reproduce
from evalsuite.results.library import Library
from evalsuite.results.numbers import Numbers
from tests.report.conftest import Bench

PRINTED = 0.99
"""CLIP ViT-B/32 on MNIST by a linear probe (table 10)."""

CIFAR10 = 0.951
"""The same on CIFAR-10."""

EXACT = {"published": "clip/vit-b-32", "weight_fidelity": "exact"}


def add(bench: Bench, task: str = "mnist", value: float = PRINTED, **options: Any) -> None:
    bench.add("clip/vit-b-32", task, 0.5, **{"value": value, "model_info": EXACT, "log": False, **options})


def row_of(bench: Bench) -> Reproduction:
    (row,) = reproduce(Numbers.of(bench.read())).rows
    return row


@pytest.mark.parametrize(
    ("shift", "verdict", "outside"),
    [
        (0.0, "reproduced", 0.0),
        (0.0304, "reproduced", 0.04),  # the interval is 3 points on either side, and the paper rounds by 0.05
        (0.031, "outside the interval", 0.1),
        (-0.05, "outside the interval", -2.0),
    ],
)
def test_the_published_number_lies_in_the_interval_or_not(
    bench: Bench, shift: float, verdict: str, outside: float
) -> None:
    add(bench, "cifar10", value=CIFAR10 + shift)
    row = row_of(bench)
    assert (row.verdict, row.why) == (verdict, "")
    assert row.published.value == pytest.approx(CIFAR10)
    assert row.difference == pytest.approx(shift)
    assert 100 * row.outside == pytest.approx(outside)
    word = "too high" if outside > 0 else "too low"
    assert (f"outside the interval, {abs(outside):.2f} {word}" in to_markdown(reproduce(Numbers.of(bench.read())))) == (
        verdict == "outside the interval"
    )


def test_a_table_for_programs_has_what_its_columns_say(bench: Bench) -> None:
    add(bench, "cifar10", value=CIFAR10 - 0.05)
    (row,) = csv.DictReader(io.StringIO(to_csv(reproduce(Numbers.of(bench.read())))))
    numbers = {name: round(float(row.pop(name)), 3) for name in ("measured", "low", "high", "published", "difference")}
    assert numbers == {"measured": 90.1, "low": 87.1, "high": 93.1, "published": 95.1, "difference": -5.0}
    assert round(float(row.pop("outside")), 3) == -2.0
    assert row == {
        "model": "clip/vit-b-32", "protocol": "linear_probe", "task": "cifar10", "metric": "accuracy",
        "split_fidelity": "exact", "weight_fidelity": "exact", "verdict": "outside the interval", "why": "",
        "caveat": "", "partial": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model_info": {**EXACT, "weight_fidelity": "same-recipe"}}, "weights same-recipe"),
        ({"model_info": {"published": "clip/vit-b-32"}}, "weights unknown"),
        ({"splits": "approximate"}, "splits approximate"),
        ({"status": "partial"}, "a part of the samples"),
        ({"options_hash": "abc", "changed_options": {"seed": 3}}, "other options (seed=3)"),
        ({"metric": "mean_per_class_recall"}, "mean_per_class_recall instead of accuracy"),
        ({"splits": "approximate", "status": "partial"}, "a part of the samples; splits approximate"),
    ],
)
def test_what_is_not_comparable_is_said_with_the_reason(bench: Bench, options: dict[str, Any], why: str) -> None:
    add(bench, **options)
    row = row_of(bench)
    assert (row.verdict, row.why) == ("not comparable", why)
    assert f"not comparable: {why}" in to_markdown(reproduce(Numbers.of(bench.read())))
    assert reproduce(Numbers.of(bench.read())).failures(100) == ["no result is comparable with a published number"]


def test_splits_by_convention_are_comparable_and_explained(bench: Bench) -> None:
    add(bench, splits="convention")
    assert row_of(bench).verdict == "reproduced"
    assert "mnist, splits: Since it is so." in reproduce(Numbers.of(bench.read())).notes


def test_what_is_known_of_the_published_numbers_is_shown(bench: Bench) -> None:
    caveats = Library().papers[0].described.caveats
    for task, metric, protocol in (
        ("stl10", "accuracy", "linear_probe"),
        ("voc2007", "map_11_point", "linear_probe"),
        ("kitti_distance", "accuracy", "zero_shot"),
    ):
        add(bench, task, 0.5, metric=metric, protocol=protocol)
    found = reproduce(Numbers.of(bench.read()))
    assert {row.measured.task: row.published.caveat for row in found.rows} == {
        task: caveats[task] for task in ("stl10", "voc2007", "kitti_distance")
    }
    assert f"stl10, published: {caveats['stl10']}" in found.notes
    assert "mean over the ten folds" in caveats["stl10"] and "openai/CLIP#167 and #300" in caveats["kitti_distance"]
    assert caveats["voc2007"] in to_csv(found)


def test_every_metric_of_the_paper_has_its_name_here(bench: Bench) -> None:
    printed = [number for number in Library().choose(["clip/vit-b-32"]) if number.protocol == "linear_probe"]
    metrics = {"fgvc_aircraft": "mean_per_class_recall", "oxford_pets": "mean_per_class_recall",
               "caltech101": "mean_per_class_recall", "flowers102": "mean_per_class_recall",
               "voc2007": "map_11_point", "kinetics700": "mean_top1_top5", "hateful_memes": "roc_auc"}  # fmt: skip
    for number in printed:
        metric = metrics.get(number.task, "accuracy")
        add(bench, number.task, number.value, metric=metric, n_classes=2 if metric == "roc_auc" else 6)
    rows = reproduce(Numbers.of(bench.read())).rows
    assert len(rows) == 27
    assert {row.verdict for row in rows} == {"reproduced"}


def test_results_without_a_published_number_are_named(bench: Bench) -> None:
    bench.add("pixels", "mnist", 0.5)
    add(bench, "digits")
    found = reproduce(Numbers.of(bench.read()))
    assert found.rows == ()
    assert found.notes == (
        "No published number: clip/vit-b-32 on digits (linear_probe).",
        "No published number: pixels on mnist (linear_probe).",
    )
    assert "There is no value to show." in to_markdown(found)


def test_models_tasks_and_protocols_are_chosen_by_name(bench: Bench) -> None:
    add(bench)
    add(bench, "cifar10", 0.951)
    bench.add("pixels", "mnist", 0.5)
    assert [row.measured.task for row in reproduce(Numbers.of(bench.read()), ["ViT-B/32"], tasks=["cifar*"]).rows] == [
        "cifar10"
    ]
    assert [row.measured.task for row in reproduce(Numbers.of(bench.read()), ["clip/*"]).rows] == ["cifar10", "mnist"]
    assert not any("pixels" in note for note in reproduce(Numbers.of(bench.read()), ["clip/*"]).notes)
    for names, options in ((["clip/vit-b-16"], {}), ((), {"tasks": ["cifra10"]}), ((), {"protocols": ["linear"]})):
        with pytest.raises(UsageError, match="Did you mean"):
            reproduce(Numbers.of(bench.read()), names, **options)


def test_states_of_one_model_are_told_apart_and_errors_named(bench: Bench) -> None:
    add(bench, weights="old", value=0.9)
    add(bench, weights="new")
    assert len({row.model for row in reproduce(Numbers.of(bench.read())).rows}) == 2
    add(bench, "cifar10", status="error", problem="The images of cifar10 are not there.")
    assert any(
        note.startswith("error: clip/vit-b-32 on cifar10 (linear_probe): DataMissingError: The images")
        for note in reproduce(Numbers.of(bench.read())).notes
    )


def test_only_what_is_outside_and_too_low_fails(bench: Bench) -> None:
    add(bench, value=PRINTED - 0.04)
    add(bench, "cifar10", 0.951 + 0.04)
    add(bench, "cifar100", 0.805 - 0.02)  # behind, and inside the interval
    found = reproduce(Numbers.of(bench.read()))
    assert found.failures(0) == ["clip/vit-b-32 on mnist (linear_probe): -4.00 points from the published number"]
    assert found.failures(4.1) == []
