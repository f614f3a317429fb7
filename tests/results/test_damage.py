"""Damaged and contradictory records, samples and imports: each is named, and none gives another number."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalsuite.errors import EvalsuiteError
from evalsuite.records import DataRecord, Interval, MetricRecord, Result
from evalsuite.report.export import exported
from evalsuite.report.html.page import report_page
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.numbers import Numbers
from evalsuite.results.samples import samples_of
from evalsuite.results.store import ResultStore, load_stored, read_result, samples_path
from evalsuite.results.verifying import verify_results
from evalsuite.stats import clopper_pearson
from tests.report.conftest import info_of

N = 200


def result(task: str = "mnist", right: int = 150, **changes: Any) -> Result:
    """A record that agrees with itself."""
    value = right / N
    fields: dict[str, Any] = {
        "status": "ok",
        "model": "clip/a",
        "model_name": "A",
        "task": task,
        "protocol": "zero_shot",
        "fingerprint": "f",
        "metric": MetricRecord(name="accuracy", value=value, n=N, interval=clopper_pearson(right, N)),
        "metrics": {"top1": value, "top5": 0.99},
        "data": DataRecord(source="s", sizes={"test": N}),
    }
    return Result(**(fields | changes))


def store(root: Path, *results: Result) -> list[Path]:
    """Write records as runs do."""
    return [ResultStore(root).write(item, "weights") for item in results]


def without_digest(path: Path) -> dict[str, Any]:
    """Return the content of a record as the first version wrote it."""
    content: dict[str, Any] = json.loads(path.read_text())
    del content["digest"]
    return content


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"value": 0.75', '"value": 0.76'),
        ('"n": 200', '"n": 300'),
        ('"low": 0.6', '"low": 0.5'),
        ('"model": "clip/a"', '"model": "clip/b"'),
        ('"fingerprint": "f"', '"fingerprint": "g"'),
        ('"digest": "', '"digest": "0'),
        (',\n  "digest"', ', "digest"'),
    ],
)
def test_a_record_that_was_changed_is_left_out_and_named(tmp_path: Path, old: str, new: str) -> None:
    (path,) = store(tmp_path, result())
    text = path.read_text()
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1))
    found, (warning,) = load_stored([tmp_path])
    assert found == [] and str(path) in warning and "run it again" in warning
    told: list[str] = []
    again = ResultStore(tmp_path, told.append)
    for _ in range(2):
        assert again.find_value("clip/a", "weights", "mnist", "zero_shot", None, "f") is None
    assert len(told) == 1 and str(path) in told[0] and "done again" in told[0]


def test_a_record_without_a_digest_is_read(tmp_path: Path) -> None:
    (path,) = store(tmp_path, result())
    path.write_text(json.dumps(without_digest(path)))
    found, warnings = load_stored([tmp_path])
    assert warnings == [] and [item.result for item in found] == [result(run_key="weights")]
    checked = verify_results(tmp_path)
    assert (checked.files, checked.unsealed, checked.problems) == (1, 1, ())


def changed(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Return what changes keys of a record, `a__b` standing for b in a."""

    def apply(content: dict[str, Any]) -> None:
        for name, value in changes.items():
            *parents, last = name.split("__")
            part = content
            for parent in parents:
                part = part[parent]
            part[last] = value

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(metric__value=9.934), "no fraction between 0 and 1"),
        (changed(metric__value=-0.1), "no fraction between 0 and 1"),
        (changed(metric__value=0.934), "its interval 0.6"),
        (changed(metric__value=0.76), "0.76 in one place and 0.75 in another"),
        (changed(metric__n=0), "of 0 samples"),
        (changed(metric__n=201), "201 test samples in one place and 200 in another"),
        (changed(metric__interval__low=0.9), "interval"),
        (changed(metric__interval__level=1.5), "interval"),
        (changed(metric__folds=[0.5, 0.9]), "folds"),
        (changed(metrics__top5=0.5), "top1 is above top5"),
        (changed(metrics__top5=1.5), "no fraction"),
        (changed(data__sizes__test=[100, 99]), "200 test samples"),
        (changed(changed_options={"limit": 200}), "said to be whole"),
        (changed(model_fingerprint="a" * 64, model_info=info_of("clip/a").model_dump()), "of one model in one place"),
        (changed(details={"calibration": {"before": {"ece": 3.5, "nll": 1, "brier": 0.1}}}), "ece is 3.5"),
        (changed(details={"shots": [{"images": 4, "mean": 71.0}]}), "with 4 images per class is 71"),
    ],
)
def test_an_old_record_that_contradicts_itself_is_left_out(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    (path,) = store(tmp_path, result())
    content = without_digest(path)
    change(content)
    path.write_text(json.dumps(content))
    found, (warning,) = load_stored([tmp_path])
    assert found == [] and message in warning and "run it again" in warning and str(path) in warning


@pytest.mark.parametrize(
    "details",
    [
        {"calibration": "good"},
        {"calibration": {"before": [0.1]}},
        {"calibration": {"before": {"ece": "low"}, "after": 3}},
        {"shots": 5},
        {"shots": [{"images": "many"}]},
        {"logit_scale": "x"},
    ],
)
def test_details_of_another_shape_count_as_not_there(tmp_path: Path, details: dict[str, Any]) -> None:
    (path,) = store(tmp_path, result(protocol="few_shot", details=details))
    numbers = exported(Numbers.of(load_stored([path])[0]))
    assert [number.metric for number in numbers] == ["accuracy", "top1", "top5"]
    assert report_page(build_leaderboard(Numbers.of(load_stored([path])[0])))


def test_two_records_of_one_job_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    one, other, same, elsewhere = (
        store(tmp_path / name, item)[0]
        for name, item in (
            ("a", result(right=150)),
            ("b", result(right=151)),
            ("c", result(right=150, warnings=["as it was"])),
            ("d", result(right=140, data=DataRecord(source="s", content="of other images"))),
        )
    )
    assert load_stored([one, same, elsewhere])[1] == []
    (warning,) = load_stored([one, other, same])[1]
    assert f"{one} and {other}" in warning and "accuracy is 0.750000 and 0.755000" in warning
    assert "--overwrite" in warning


def test_folds_sizes_and_bootstraps_that_agree_are_read(tmp_path: Path) -> None:
    folds = MetricRecord(name="accuracy", value=0.7, n=300, folds=[0.6, 0.8])
    drawn = MetricRecord(name="roc_auc", value=0.9, n=N, interval=Interval(0.91, 0.95, 0.995, "bootstrap"))
    store(
        tmp_path,
        result("a", metric=folds, metrics={"top1": 0.7}, data=DataRecord(source="s", sizes={"test": 150})),
        result("b", metric=folds, metrics={}, data=DataRecord(source="s", sizes={"test": [100, 200]})),
        result("c", metric=drawn, metrics={}),
    )
    assert len(load_stored([tmp_path])[0]) == 3


def test_what_verify_alone_computes_again(tmp_path: Path) -> None:
    (path,) = store(tmp_path, result())
    content = without_digest(path)
    content["metric"]["interval"]["low"] += 0.01
    path.write_text(json.dumps(content))
    assert len(load_stored([tmp_path])[0]) == 1  # scipy takes too long for each look
    (problem,) = verify_results(tmp_path).problems
    assert "interval" in problem and str(path) in problem
    assert verify_results(tmp_path, lambda found: found.task == "other").files == 0


def test_a_record_copied_over_that_of_another_job_is_named(tmp_path: Path) -> None:
    one, other = store(tmp_path, result("mnist"), result("dtd"))
    shutil.copy(one, other)
    found, (warning,) = load_stored([tmp_path])
    assert {item.result.task for item in found} == {"mnist"}
    assert str(other) in warning and "clip/a on mnist" in warning and "run that again" in warning
    told: list[str] = []
    assert ResultStore(tmp_path, told.append).find("clip/a", "weights", "dtd", "zero_shot") is None
    assert str(other) in told[0]
    assert ResultStore(tmp_path).write(result("dtd"), "weights") == other
    assert load_stored([tmp_path])[1] == []


def test_records_under_names_of_ones_own_are_read_without_a_word(tmp_path: Path) -> None:
    (path,) = store(tmp_path / "a", result())
    (tmp_path / "best").mkdir()
    path.rename(tmp_path / "best" / "of monday.json")
    found, warnings = load_stored([tmp_path / "best"])
    assert len(found) == 1 and warnings == []


TABLE = {"sample": ["a", "b"], "label": ["x", "y"]}


def test_samples_that_were_changed_or_exchanged_are_named(tmp_path: Path) -> None:
    paths = [
        ResultStore(tmp_path).write(result(task), "weights", samples={**TABLE, "sample": [task, "b"]})
        for task in ("mnist", "dtd")
    ]
    one, other = map(samples_path, paths)
    assert one.read_bytes() != other.read_bytes()
    assert read_result(paths[0]).samples_digest is not None
    assert ResultStore(tmp_path).has_samples(read_result(paths[0]))
    one.write_bytes(other.read_bytes())
    (stored,) = load_stored([paths[0]])[0]
    with pytest.raises(EvalsuiteError, match=re.escape(str(one)) + ".*--log-samples --overwrite"):
        samples_of(stored, scores=True)
    assert not ResultStore(tmp_path).has_samples(stored.result)
    problems = verify_results(tmp_path).problems
    assert sum(str(one) in problem for problem in problems) == 1
    one.unlink()
    assert any("is not there" in problem for problem in verify_results(tmp_path).problems)
