"""What tables say of the further protocols: like is compared with like, and few-shot with zero-shot."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evalsuite.records import MetricRecord, Result
from evalsuite.report.export import exported, to_frame
from evalsuite.report.few_shot import Curve, curves
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.numbers import Numbers


def result(protocol: str, value: float, **details: Any) -> Result:
    """Return a result of a model on digits."""
    return Result(
        status="ok", model="m", model_name="m", task="digits", protocol=protocol, fingerprint="f",
        metric=MetricRecord(name="accuracy", value=value, n=100), details=details,
    )  # fmt: skip


SHOTS = [{"images": k, "mean": m, "std": 0.01, "values": [m], "lambdas": [[1.0]]} for k, m in ((1, 0.5), (4, 0.7))]


def test_a_table_shows_the_two_of_the_paper_unless_others_are_asked_for() -> None:
    few = result("few_shot", 0.7, shots=SHOTS, full=64.0)
    table = Numbers.of([result("zero_shot", 0.6), result("linear_probe", 0.9), result("knn", 0.95), few])
    board = build_leaderboard(table)
    assert {row.protocol for row in board.rows} == {"zero_shot", "linear_probe"}
    assert next(row for row in board.rows if row.best).protocol == "linear_probe"
    assert any("Not shown: 2 rows of few_shot, knn; --protocol all" in note for note in board.notes)
    every = build_leaderboard(table, protocols=["all"])
    assert {row.protocol for row in every.rows} == {"zero_shot", "linear_probe", "knn", "few_shot"}
    (note,) = [note for note in every.notes if "zero-shot" in note]
    assert note.startswith("m: as good as zero-shot is a probe on so many images per class: 2.0 on digits")
    alone = build_leaderboard(Numbers.of([result("knn", 0.95)]))
    assert [row.protocol for row in alone.rows] == ["knn"]


@pytest.mark.parametrize(
    ("target", "images", "words"),
    [
        (0.40, 0.0, "fewer than 1 on t"),
        (0.50, 1.0, "1.0 on t"),
        (0.60, 2.0, "2.0 on t"),  # half of the way from 1 to 4 on a logarithmic scale
        (0.70, 4.0, "4.0 on t"),
        (0.80, 16.0, "16.0 on t"),  # half of the way from 4 to all 64
        (0.95, math.inf, "more than 64 on t"),
    ],
)
def test_images_that_match_are_interpolated_on_a_logarithmic_scale(target: float, images: float, words: str) -> None:
    curve = Curve("t", ((1, 0.5), (4, 0.7), (64, 0.9)), target)
    assert curve.images == pytest.approx(images) and str(curve) == words


def test_a_curve_has_the_draws_the_probe_on_all_images_and_zero_shot() -> None:
    few, zero, full = (
        result("few_shot", 0.7, shots=SHOTS, full=64.0),
        result("zero_shot", 0.6),
        result("linear_probe", 0.9),
    )
    changed = {"options_hash": "01234567", "changed_options": {"seed": 1}}
    others = [result(name, 0.1).model_copy(update=changed) for name in ("zero_shot", "linear_probe")]
    ((curve,),) = curves(Numbers.of([few, zero, full, *others]).numbers).values()
    assert curve == Curve("digits", ((1, 0.5), (4, 0.7), (64, 0.9)), 0.6, (0.01, 0.01))
    ((alone,),) = curves(Numbers.of([few]).numbers).values()
    assert alone == Curve("digits", ((1, 0.5), (4, 0.7)), None, (0.01, 0.01)) and alone.matching == ""
    ((one_draw,),) = curves(Numbers.of([result("few_shot", 0.7, shots=SHOTS, full=4.0), full]).numbers).values()
    assert one_draw.points == ((1, 0.5), (4, 0.7))  # all images are the four that were drawn
    partial = [one.model_copy(update={"status": "partial"}) for one in (few, zero)]
    assert not curves(Numbers.of(partial).numbers)
    ((of_a_part,),) = curves(Numbers.of([few, partial[1]]).numbers, include_partial=True).values()
    assert of_a_part.partial and not curve.partial


def test_an_export_has_calibration_and_fewer_images_next_to_the_metric() -> None:
    errors = {"ece": 0.1, "nll": 1.5, "brier": 0.3}
    calibration = {"bins": 15, "validation": 9, "before": errors, "after": None, "temperatures": []}
    table = Numbers.of([result("few_shot", 0.7, shots=SHOTS, full=64.0, calibration=calibration)])
    frame = to_frame(exported(table))
    found = dict(zip(frame["metric"], frame["value"], strict=True))
    assert found == {
        "accuracy": 0.7, "ece": 0.1, "nll": 1.5, "brier": 0.3, "accuracy_1_images": 0.5, "accuracy_4_images": 0.7,
    }  # fmt: skip
    assert frame["is_main"].tolist() == [True] + [False] * 5
