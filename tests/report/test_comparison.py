"""Comparisons: which test decides, what stands in its place, Holm over tasks, and what fails a continuous run."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from sklearn import metrics as sklearn_metrics
from statsmodels.stats import contingency_tables, multitest

from evalsuite.errors import UsageError
from evalsuite.report.comparison import Comparison, compare
from evalsuite.report.comparison_formats import to_csv, to_json, to_markdown
from evalsuite.report.contenders import Contender, choose_contenders
from evalsuite.results.library import Library
from evalsuite.results.numbers import Numbers
from evalsuite.results.store import StoredResult, hash8
from tests.report.conftest import Bench, N


def contenders(names: Sequence[str], stored: Sequence[StoredResult], **options: Any) -> tuple[Contender, Contender]:
    return choose_contenders(names, Numbers.of(stored).numbers, **options)


def compared(bench: Bench, *names: str, **options: Any) -> Comparison:
    return compare(*contenders(names, bench.read()), **options)


def logged(bench: Bench, model: str, task_name: str) -> pd.DataFrame:
    (item,) = [i for i in bench.read() if (i.result.model, i.result.task) == (model, task_name)]
    assert item.samples is not None
    return pd.read_parquet(item.samples).sort_values("sample")


def right(bench: Bench, model: str, task_name: str) -> np.ndarray:
    frame = logged(bench, model, task_name)
    return (frame["label"] == frame["prediction"]).to_numpy()


# --- paired tests ---


def test_a_table_for_programs_has_what_its_columns_say(bench: Bench) -> None:
    for model, noise in (("m/a", 0.1), ("m/b", 0.5)):
        for name in ("t1", "t22"):
            bench.add(model, name, noise)
    found = compared(bench, "m/a", "m/b")
    assert any(row.p != row.p_holm for row in found.rows)
    for row, read in zip(found.rows, csv.DictReader(io.StringIO(to_csv(found))), strict=True):
        assert row.interval is not None and row.p is not None and row.p_holm is not None and row.p <= row.p_holm
        values = {
            "first": 100 * row.first.value, "second": 100 * row.second.value,
            "difference": 100 * (row.first.value - row.second.value), "low": 100 * row.interval.low,
            "high": 100 * row.interval.high, "p": row.p, "p_holm": row.p_holm,
        }  # fmt: skip
        assert {name: float(read.pop(name)) for name in values} == pytest.approx(values)
        assert values["low"] < values["difference"] < values["high"]
        assert read == {
            "protocol": "linear_probe", "task": row.task, "metric": "accuracy", "outcome": "win", "test": row.test,
            "remark": "", "partial": "",
        }  # fmt: skip


def test_logged_accuracies_are_compared_by_mcnemar_and_holm(bench: Bench) -> None:
    noises = {"t1": 0.1, "t22": 0.5, "t333": 0.62, "t4444": 1.5}
    for name, noise in noises.items():
        bench.add("m/a", name, 0.5)
        bench.add("m/b", name, noise)
    found = compared(bench, "m/a", "m/b")
    expected = []
    for row in found.rows:
        a, b = right(bench, "m/a", row.task), right(bench, "m/b", row.task)
        table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        expected.append(contingency_tables.mcnemar(table, exact=True).pvalue)
        assert row.test == "exact McNemar"
        assert row.difference == pytest.approx(a.mean() - b.mean())
        assert row.interval is not None and row.interval.low <= row.difference <= row.interval.high
    assert [row.p for row in found.rows] == pytest.approx(expected)
    assert [row.p_holm for row in found.rows] == pytest.approx(
        list(multitest.multipletests(expected, method="holm")[1])
    )
    outcomes = {row.task: row.outcome for row in found.rows}
    assert (outcomes["t1"], outcomes["t4444"]) == ("loss", "win")
    assert "tie" in outcomes.values()
    back = compared(bench, "m/b", "m/a")
    swapped = {"win": "loss", "loss": "win", "tie": "tie"}
    assert [row.outcome for row in back.rows] == [swapped[row.outcome] for row in found.rows]


def test_each_protocol_has_a_correction_of_its_own(bench: Bench) -> None:
    for protocol, names in (("linear_probe", ["t1", "t22", "t333"]), ("zero_shot", ["t1"])):
        for name in names:
            for model, noise in (("m/a", 0.5), ("m/b", 0.8)):
                bench.add(model, name, noise, protocol=protocol)
    found = compared(bench, "m/a", "m/b")
    alone = [row for row in found.rows if row.protocol == "zero_shot"]
    assert [row.p_holm for row in alone] == [row.p for row in alone]
    three = [row for row in found.rows if row.protocol == "linear_probe"]
    smallest = min(three, key=lambda row: row.p or 0)
    assert smallest.p is not None and smallest.p_holm == pytest.approx(min(1.0, 3 * smallest.p))
    assert len(found.averages()) == 2
    assert found.averages()["linear_probe"] == pytest.approx(np.mean([row.difference for row in three]))


def balanced(frame: pd.DataFrame) -> float:
    return float(sklearn_metrics.balanced_accuracy_score(frame["label"], frame["prediction"]))


def area(frame: pd.DataFrame) -> float:
    margin = [scores[1] - scores[0] for scores in frame["scores"]]
    return float(sklearn_metrics.roc_auc_score(frame["label"] == "c1", margin))


def share(frame: pd.DataFrame) -> float:
    return float((frame["label"] == frame["prediction"]).mean())


@pytest.mark.parametrize(
    ("metric", "n_classes", "folds", "measure"),
    [("mean_per_class_recall", 7, 1, balanced), ("roc_auc", 2, 1, area), ("accuracy", 4, 3, share)],
)
def test_other_metrics_and_folds_are_compared_by_a_paired_bootstrap(
    bench: Bench, metric: str, n_classes: int, folds: int, measure: Any
) -> None:
    for model, noise in (("m/a", 0.2), ("m/b", 2.5)):
        bench.add(model, "t", noise, metric=metric, n_classes=n_classes, folds=folds)
    (row,) = compared(bench, "m/a", "m/b").rows
    assert row.test == "paired bootstrap", row.remark
    values = [measure(logged(bench, model, "t")) for model in ("m/a", "m/b")]
    assert (row.first.value, row.second.value) == pytest.approx(tuple(values), abs=1e-6)
    assert row.outcome == "win"
    assert row.interval is not None and 0 < row.interval.low < row.difference < row.interval.high


def test_the_classes_and_what_is_ignored_of_a_multilabel_task_survive_the_file(bench: Bench) -> None:
    for model, noise in (("m/a", 0.2), ("m/b", 2.5)):
        bench.add(model, "t", noise, metric="map_11_point", n_classes=6)
    (row,) = compared(bench, "m/a", "m/b").rows
    assert (row.test, row.outcome) == ("paired bootstrap", "win"), row.remark  # the values were computed again
    assert logged(bench, "m/a", "t")["ignored"].map(len).sum() > 0


def test_samples_are_matched_by_their_ids(bench: Bench) -> None:
    # Both models have most noise in common: matched wrongly, the interval would be that of independent samples.
    for model, noise in (("m/a", 0.3), ("m/b", 0.5)):
        bench.add(model, "t", noise, metric="mean_per_class_recall", n_classes=3)
    (row,) = compared(bench, "m/a", "m/b").rows
    truth = logged(bench, "m/a", "t")["label"].to_numpy()
    hits = np.stack([right(bench, model, "t") for model in ("m/a", "m/b")]).astype(float)

    def statistic(rows: np.ndarray) -> float:
        drawn, own = hits[0, rows] - hits[1, rows], truth[rows]
        return float(np.mean([drawn[own == key].mean() for key in ("c0", "c1", "c2")]))

    reference = scipy_stats.bootstrap(
        (np.arange(N),),
        statistic,
        vectorized=False,
        n_resamples=1_000,
        confidence_level=0.95,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    width = reference.high - reference.low
    assert row.interval is not None
    bounds = (row.interval.low, row.interval.high)
    assert bounds == pytest.approx((reference.low, reference.high), abs=0.15 * width)


# --- what stands in the place of a test ---


def test_without_samples_the_intervals_decide_and_it_is_said(bench: Bench) -> None:
    for name, value in (("near", 0.55), ("far", 0.4)):
        bench.add("m/a", name, 0.5, value=0.5, log=False)
        bench.add("m/b", name, 0.5, value=value)
    found = compared(bench, "m/a", "m/b")
    assert {row.task: (row.test, row.outcome, row.p) for row in found.rows} == {
        "near": ("interval overlap", "tie", None),
        "far": ("interval overlap", "win", None),
    }
    assert (
        "No paired test for far (linear_probe), near (linear_probe): no samples were logged for m/a; " in found.notes[1]
    )
    assert "99.5 % intervals of the two values do not touch" in found.notes[2]


@pytest.mark.parametrize(
    ("options", "remark"),
    [
        ({"value": 0.123}, "the logged samples of m/b give 5"),
        ({"first": 10}, f"not the same: {N - 10} of both, 10 of m/a alone, 10 of m/b alone"),
        ({"n": N - 5}, f"not the same: {N - 5} of both, 5 of m/a alone, 0 of m/b alone"),
        ({"n_classes": 5}, "other classes"),
        ({"seed": 8}, "other labels"),
        ({"repeat": True}, "m/b logged a sample twice"),
        ({"log": False}, "no samples were logged for m/b; run with --log-samples"),
    ],
)
def test_samples_that_cannot_be_matched_are_not_used(bench: Bench, options: dict[str, Any], remark: str) -> None:
    bench.add("m/a", "t", 0.5)
    bench.add("m/b", "t", 0.9, **options)
    (row,) = compared(bench, "m/a", "m/b").rows
    assert (row.test, row.p) == ("interval overlap", None)
    assert remark in row.remark


@pytest.mark.parametrize("metric", ["accuracy", "mean_per_class_recall"])
def test_a_broken_table_of_samples_is_named(bench: Bench, metric: str) -> None:
    for model in ("m/a", "m/b"):
        bench.add(model, "t", 0.5, metric=metric)
    (path,) = [item.samples for item in bench.read() if item.result.model == "m/b"]
    assert path is not None
    without = pd.read_parquet(path)
    path.write_bytes(b"PAR1 and nothing more")
    (row,) = compared(bench, "m/a", "m/b").rows
    assert row.test == "interval overlap" and f"{path} is damaged" in row.remark
    bench.forget_digests()
    (row,) = compared(bench, "m/a", "m/b").rows
    assert row.test == "interval overlap" and f"{path} cannot be read" in row.remark
    without.to_parquet(path)  # pandas does not know of the classes
    (row,) = compared(bench, "m/a", "m/b").rows
    assert row.test == "interval overlap" and "does not name its classes" in row.remark
    path.unlink()
    (row,) = compared(bench, "m/a", "m/b").rows
    assert "no samples were logged for m/b" in row.remark


# --- what is compared ---


def test_what_only_one_has_is_named(bench: Bench) -> None:
    for model in ("m/a", "m/b"):
        bench.add(model, "both", 0.5)
    bench.add("m/b", "only", 0.5)
    found = compared(bench, "m/a", "m/b")
    assert [row.task for row in found.rows] == ["both"]
    assert found.lacking == ("only (linear_probe)",)
    assert "Not compared, because m/a has no such result: only (linear_probe)." in found.notes
    assert compared(bench, "m/b", "m/a").lacking == ()
    with pytest.raises(UsageError, match="no task, protocol, options and metric in common among those chosen"):
        compared(bench, "m/a", "m/b", tasks=["only"])
    with pytest.raises(UsageError, match="Did you mean both"):
        compared(bench, "m/a", "m/b", tasks=["only", "bth"])


def test_other_metrics_and_options_are_not_compared(bench: Bench) -> None:
    for model, metric, options_hash in (("m/a", "accuracy", "abc"), ("m/b", "mean_per_class_recall", "abd")):
        bench.add(model, "same", 0.5)
        bench.add(model, "metrics", 0.5, metric=metric)
        bench.add(model, "options", 0.5, options_hash=options_hash)
    found = compared(bench, "m/a", "m/b")
    assert [row.task for row in found.rows] == ["same"]
    differ = "Not compared, because the metrics differ: metrics (linear_probe), accuracy and mean_per_class_recall."
    assert differ in found.notes
    assert "Not compared, because m/a has no such result: options (linear_probe #abd)." in found.notes
    assert found.lacking == ("metrics (linear_probe)", "options (linear_probe #abd)")


def test_partial_results_are_left_out_unless_asked_for(bench: Bench) -> None:
    for model in ("m/a", "m/b"):
        bench.add(model, "t", 0.5, status="partial", options_hash="abc")
    with pytest.raises(UsageError, match="All results of m/a are partial"):
        compared(bench, "m/a", "m/b")
    found = compare(*contenders(["m/a", "m/b"], bench.read(), include_partial=True))
    assert [row.protocol for row in found.rows] == ["linear_probe #abc"]
    assert any(note.startswith("*: partial results, computed from a part of the samples: t") for note in found.notes)
    for model in ("m/a", "m/c"):
        bench.add(model, "u", 0.25, options_hash="abc", status="partial" if model == "m/c" else "ok")
    found = compare(*contenders(["m/a", "m/c"], bench.read(), include_partial=True))
    (line,) = (line for line in to_markdown(found).splitlines() if "| u " in line)
    assert re.search(r"\| \d\d\.\d\d \| \d\d\.\d\d\* \| +[-+]\d\.\d\d\* \|", line)
    (row,) = json.loads(to_json(found))["rows"]
    assert row["partial"] == "second" and to_csv(found).splitlines()[0].endswith("remark,partial")
    assert "* points on average" in found.notes[0]
    for model in ("m/a", "m/b"):
        bench.add(model, "whole", 0.5)
    assert "Left out: 1 partial result of m/b; --include-partial compares them." in compared(bench, "m/a", "m/b").notes


def test_other_bytes_under_the_same_ids_are_named(bench: Bench) -> None:
    for model in ("m/a", "m/b"):
        bench.add(model, "t", 0.5, content=model)
        bench.add(model, "u", 0.5, content="same")
    notes = compared(bench, "m/a", "m/b").notes
    assert "Not computed from the same images, training images included: t (linear_probe)." in notes


def test_models_are_named_as_on_the_command_line_of_a_run(bench: Bench) -> None:
    bench.add("clip/vit-b-32", "t", 0.5)
    bench.add("m/a", "t", 0.5, weights="old")
    bench.add("m/a", "t", 0.5, weights="new")
    new, old = f"m/a@{hash8('new')}", f"m/a@{hash8('old')}"
    with pytest.raises(UsageError, match=f"stands for 2 models; name one of: .*{new}"):
        compared(bench, "m/a", "clip/vit-b-32")
    found = compared(bench, new.upper(), old.replace("@", " @"))  # the name that was typed; as a leaderboard has it
    assert (found.first, found.second) == (new, old)
    assert compared(bench, "ViT-B/32", new).first == "clip/vit-b-32"  # an alias
    assert compared(bench, "clip/*", new).first == "clip/vit-b-32"
    with pytest.raises(UsageError, match="Did you mean m/a"):
        compared(bench, "m/b", new)
    with pytest.raises(UsageError, match="Both names stand for clip/vit-b-32"):
        compared(bench, "clip/vit-b-32", "ViT-B/32")


def test_the_newest_of_several_records_counts(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other")
    bench.add("m/a", "t", 0.5, value=0.5, created="2026-01-02")
    other.add("m/a", "t", 0.5, value=0.6, created="2026-01-01")
    bench.add("m/b", "t", 0.5)
    (row,) = compare(*contenders(["m/a", "m/b"], [*other.read(), *bench.read()])).rows
    assert row.first.value == 0.5


# --- published rows ---


def test_two_published_rows_are_compared_by_the_intervals_of_their_test_sizes() -> None:
    found = compare(*contenders(["published:clip/vit-b-32", "published:resnet/50"], []), protocols=["linear_probe"])
    sizes = {task.task: task.test_size for paper in Library().papers for task in paper.tasks}
    assert len(found.rows) == 27
    assert {row.test for row in found.rows} == {"interval overlap"}
    for row in found.rows:
        n = sizes[row.task]
        first, second = (
            scipy_stats.binomtest(round(value * n), n).proportion_ci(0.995, method="exact")
            for value in (row.first.value, row.second.value)
        )
        expected = "win" if first.low > second.high else "loss" if second.low > first.high else "tie"
        assert row.outcome == expected
    outcomes = {row.task: row.outcome for row in found.rows}
    assert (outcomes["mnist"], outcomes["eurosat"]) == ("win", "tie")  # 99.0 and 98.3 of 10,000, 97.0 and 96.7 of 5,000


def test_a_measured_model_against_its_own_row(bench: Bench) -> None:
    exact = {"published": "clip/vit-b-32", "weight_fidelity": "exact"}
    bench.add("clip/vit-b-32", "mnist", 0.5, model_info=exact)
    bench.add("clip/vit-b-32", "eurosat", 0.5, model_info=exact, splits="approximate")
    bench.add("clip/vit-b-32", "digits", 0.5, model_info=exact)
    found = compared(bench, "clip/vit-b-32")
    assert found.second == "clip/vit-b-32 (paper)"
    assert [(row.task, round(row.second.value, 6)) for row in found.rows] == [("eurosat", 0.97), ("mnist", 0.99)]
    assert compared(bench, "clip/vit-b-32", "clip-paper") == found
    notes = " ".join(found.notes)
    assert (
        "Split fidelity approximate, so that the published number is of other samples: eurosat (linear_probe)." in notes
    )
    assert "eurosat, published: A random sample" in notes and "stl10" not in notes
    assert "clip/vit-b-32 (paper) has no such result: digits (linear_probe)." in notes
    assert found.lacking == ()  # a paper's row has more tasks than one measures; that is no failure
    bench.add("m/own", "mnist", 0.5)
    with pytest.raises(UsageError, match="m/own has no published row of its own"):
        compared(bench, "m/own")


@pytest.mark.parametrize(
    ("name", "message"),
    [("published:resnet", "stands for 3 published models"), ("published:resnet/51", "Did you mean resnet/50")],
)
def test_a_published_contender_is_one_row(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        contenders([name, "published:clip/rn50"], [])


# --- what fails ---


def test_what_is_too_far_behind_fails(bench: Bench) -> None:
    for name, first, second in (("lost", 0.5, 0.6), ("tie", 0.5, 0.52), ("won", 0.8, 0.6)):
        bench.add("m/a", name, 0.5, value=first, log=False)
        bench.add("m/b", name, 0.5, value=second, log=False)
    found = compared(bench, "m/a", "m/b")  # +2.67 on average
    assert found.failures(0) == ["lost (linear_probe): -10.00 points"]  # what is a tie is no failure
    assert found.failures(9.9) == ["lost (linear_probe): -10.00 points"]
    assert found.failures(10.1) == []
    back = compared(bench, "m/b", "m/a")
    assert back.failures(1) == ["linear_probe: -2.67 points on average", "won (linear_probe): -20.00 points"]
    bench.add("m/b", "only", 0.5)
    (lacking,) = compared(bench, "m/a", "m/b").failures(100)
    assert lacking.startswith("only (linear_probe): nothing to hold against m/b")


def test_formats(bench: Bench) -> None:
    for model, noise in (("m/a", 0.2), ("m/b", 2.5)):
        bench.add(model, "t", noise)
    found = compared(bench, "m/a", "m/b")
    (row,) = csv.DictReader(io.StringIO(to_csv(found)))
    assert (row["task"], row["outcome"], float(row["difference"])) == ("t", "win", 100 * found.rows[0].difference)
    content = json.loads(to_json(found))
    assert content["rows"][0]["p_holm"] == found.rows[0].p_holm
    assert content["averages"] == {"linear_probe": 100 * found.rows[0].difference}
    text = to_markdown(found)
    assert text.startswith("| protocol     | task   | outcome   | test          |   m/a |   m/b |   difference |")
    assert f"- linear_probe: m/a against m/b: wins 1, ties 0, losses 0; {row['difference'][:2]}" in text.replace(
        "+", ""
    )
