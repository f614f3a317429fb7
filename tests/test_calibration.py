"""Calibration errors and temperatures, held against scikit-learn, scipy and hand calculation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from evalsuite.calibration import FLOOR, confidence, errors, fit_temperature, reliability


def problem(n: int = 5_000, classes: int = 7, sharpness: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are too sharp by a known factor, and labels drawn from the softmax of the right ones."""
    rng = np.random.default_rng(0)
    right = rng.normal(size=(n, classes)) * 1.5
    labels = np.array([rng.choice(classes, p=row) for row in softmax(right, axis=1)])
    return (sharpness * right).astype(np.float32), labels


def test_errors_are_those_of_the_definitions() -> None:
    logits, labels = problem()
    p = softmax(logits.astype(np.float64), axis=1)
    sure, right = p.max(axis=1), p.argmax(axis=1) == labels
    ece = 0.0
    for number in range(15):
        inside = (sure > number / 15) & (sure <= (number + 1) / 15)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    found = errors(logits, labels, "softmax")
    assert found["ece"] == pytest.approx(ece, abs=1e-12)
    assert found["nll"] == pytest.approx(log_loss(labels, np.maximum(p, FLOOR)), rel=1e-6)
    assert found["brier"] == pytest.approx(np.square(p - np.eye(7)[labels]).sum(axis=1).mean(), abs=1e-12)
    np.testing.assert_allclose(confidence(logits, "softmax"), sure)


def test_bins_are_those_of_scikit_learn() -> None:
    logits, labels = problem()
    sure, right = confidence(logits, "softmax"), logits.argmax(axis=1) == labels
    found = reliability(sure, right)
    accuracy, mean = calibration_curve(right, sure, n_bins=15)
    there = found.counts > 0
    np.testing.assert_allclose(found.accuracy[there], accuracy)
    np.testing.assert_allclose(found.confidence[there], mean)
    assert found.error == pytest.approx((found.counts[there] / len(sure)) @ np.abs(accuracy - mean))


def test_a_sigmoid_is_read_class_by_class() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(400, 4)) - 2, rng.integers(0, 4, 400)
    p, truth = expit(logits), np.eye(4)[labels]
    found = errors(logits, labels, "sigmoid")
    assert found["nll"] == pytest.approx(-(truth * np.log(p) + (1 - truth) * np.log(1 - p)).sum(axis=1).mean())
    assert found["brier"] == pytest.approx(np.square(p - truth).sum(axis=1).mean())
    np.testing.assert_allclose(confidence(logits, "sigmoid"), p.max(axis=1))


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_the_temperature_is_the_most_likely_one(link: str) -> None:
    logits, labels = problem(n=2_000)

    def nll(exponent: float) -> float:
        return errors(logits, labels, link, float(np.exp(exponent)))["nll"]  # type: ignore[arg-type]

    best = np.exp(minimize_scalar(nll, bounds=(-3, 4), method="bounded", options={"xatol": 1e-9}).x)
    found = fit_temperature(logits, labels, link)  # type: ignore[arg-type]
    assert found == pytest.approx(best, rel=1e-4)
    if link == "softmax":
        assert found == pytest.approx(3.0, rel=0.1)  # what the logits were made too sharp by
        before, after = errors(logits, labels, "softmax"), errors(logits, labels, "softmax", found)
        assert after["ece"] < before["ece"] / 3 and after["nll"] < before["nll"] and after["brier"] < before["brier"]


def test_a_class_out_of_reach_does_not_change_the_temperature() -> None:
    logits, labels = problem(n=500)
    absent = np.c_[logits, np.full(len(logits), -1e30)]
    assert fit_temperature(absent, labels, "softmax") == pytest.approx(fit_temperature(logits, labels, "softmax"))


def test_there_is_no_best_temperature_where_all_is_right_or_nothing_better_than_chance() -> None:
    labels = np.arange(30) % 3
    assert fit_temperature(np.eye(3)[labels], labels, "softmax") is None
    assert fit_temperature(np.eye(3)[(labels + 1) % 3], labels, "softmax") is None
    assert fit_temperature(np.zeros((30, 3)), labels, "softmax") is None
    assert fit_temperature(np.zeros((0, 3)), labels[:0], "softmax") is None
    assert fit_temperature(np.ones((30, 1)), np.zeros(30, np.int64), "softmax") is None


def test_many_rows_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = problem(n=500)
    whole, temperature = errors(logits, labels, "softmax"), fit_temperature(logits, labels, "softmax")
    monkeypatch.setattr("evalsuite.calibration.ROWS_AT_A_TIME", 33)
    assert errors(logits, labels, "softmax") == pytest.approx(whole)
    assert fit_temperature(logits, labels, "softmax") == pytest.approx(temperature)
