"""Two models that differ in nothing but their logit scale: what depends on it, and what does not."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import evalsuite
from evalsuite.metrics import map_11_point
from evalsuite.models.modules import wrap_module
from evalsuite.records import Result
from evalsuite.report.html.details import Chosen, Detail, look_behind
from evalsuite.report.leaderboard import build_leaderboard
from evalsuite.results.numbers import Numbers
from evalsuite.results.store import load_stored
from tests.datasets import COLOURS

CLASSES = ("red", "green", "blue")


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the pixels in [0, 1]."""
    pixels = np.asarray(image.convert("RGB").resize((32, 32)), dtype=np.float32)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 images of noise with one label, and as many with several; both tasks and a run of two models on them."""
    root, rng = tmp_path_factory.mktemp("scale"), np.random.default_rng(0)
    lines = {"train": ["image,one,several"], "test": ["image,one,several"]}
    for number in range(60):
        pool = "train" if number < 30 else "test"
        pixels = rng.integers(0, 256, (32, 32, 3)) // 2 + np.array(COLOURS[CLASSES[number % 3]]) // 2
        Image.fromarray(pixels.astype(np.uint8)).save(root / f"{number:02d}.png")
        several = "|".join(name for name in CLASSES if rng.random() < 0.5) or "red"
        lines[pool].append(f"{number:02d}.png,{CLASSES[number % 3]},{several}")
    for pool, rows in lines.items():
        (root / f"{pool}.csv").write_text("\n".join(rows))
    head = "classes: [red, green, blue]\nprompts: {templates: ['a photo of a {} square.']}\n"
    source = "sources: [{kind: table, path: ., pools: {train: train.csv, test: test.csv}, label: "
    (root / "one.yaml").write_text(f"title: one\n{head}{source}one}}]\n")
    (root / "several.yaml").write_text(
        f"title: several\n{head}{source}several, separator: '|'}}]\nmetric: map_11_point\nmultilabel: true\n"
    )
    return root


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[tuple[str, str], Result]:
    """The results by model and task: the networks are copies, but for the scale, 100 and 5."""
    torch.manual_seed(0)
    text = open_clip.CLIPTextCfg(context_length=77, vocab_size=49408, width=16, heads=2, layers=1)
    vision = open_clip.CLIPVisionCfg(image_size=32, layers=1, width=32, head_width=16, patch_size=16)
    hot: nn.Module = open_clip.CLIP(12, vision, text).eval()
    cool = copy.deepcopy(hot)
    with torch.no_grad():
        hot.logit_scale.fill_(math.log(100.0))
        cool.logit_scale.fill_(math.log(5.0))
    models = [
        wrap_module(network, preprocess, open_clip.SimpleTokenizer(), name=name)
        for name, network in (("hot", hot), ("cool", cool))
    ]
    found = evalsuite.evaluate(
        models, [str(folder / "one.yaml"), str(folder / "several.yaml")], "zero_shot", output=folder / "out",
        cache_dir=folder / "cache", log_samples=True, device="cpu",
    )  # fmt: skip
    return {(result.model, result.task): result for result in found}


def scores(folder: Path, result: Result) -> np.ndarray:
    """Return the stored scores of a result, in the order of its samples."""
    (table,) = (
        path for path in (folder / "out").rglob(result.samples or "") if path.parent.name.startswith(result.model)
    )
    return np.stack(pd.read_parquet(table)["scores"].to_list()).astype(np.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_map_of_several_labels_is_of_the_softmax_at_the_scale_of_the_model(
    folder: Path, results: dict[tuple[str, str], Result]
) -> None:
    test = pd.read_csv(folder / "test.csv")
    labels = np.array([[int(name in cell.split("|")) for name in CLASSES] for cell in test["several"]])
    cosines = {name: scores(folder, results[name, "one"]) / 100 for name in ("hot", "cool")}  # of the same images
    assert np.array_equal(cosines["hot"], cosines["cool"])
    for name, scale in (("hot", 100.0), ("cool", 5.0)):
        expected = map_11_point(softmax(scale * cosines[name]), labels)
        metric = results[name, "several"].metric
        assert metric is not None and metric.value == pytest.approx(expected, abs=1e-6)
    hot, cool = (results[name, "several"].metric for name in ("hot", "cool"))
    assert hot is not None and cool is not None and hot.value != cool.value


def behind(folder: Path, model: str, task: str = "one") -> Detail:
    """Return what a report says of a model on a task."""
    stored, _ = load_stored([folder / "out"])
    board = build_leaderboard(Numbers.of(stored), tasks=[task])
    (row,) = (row for row in board.rows if row.cells[task].model == model)
    return look_behind(Chosen(row, row.cells[task]), None)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean gap between confidence and share of right answers over 15 bins, by their samples."""
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.ceil(sure * 15)
    gaps = [
        abs(right[bins == number].mean() - sure[bins == number].mean()) * (bins == number).sum() for number in set(bins)
    ]
    return float(sum(gaps) / len(labels))


def test_the_calibration_error_is_of_the_softmax_at_the_scale_of_the_model(
    folder: Path, results: dict[tuple[str, str], Result]
) -> None:
    labels = np.arange(30) % 3
    errors = {}
    for name, scale in (("hot", 100.0), ("cool", 5.0)):
        errors[name] = calibration_error(softmax(scale * scores(folder, results[name, "one"]) / 100), labels)
        found = behind(folder, name)
        assert found.calibration_error == pytest.approx(errors[name], abs=1e-6)
        assert found.logit_scale == f"{scale:.2f}"
    assert abs(errors["hot"] - errors["cool"]) > 0.01


def test_what_has_one_label_has_the_same_scores_and_each_record_its_own_scale(
    results: dict[tuple[str, str], Result],
) -> None:
    hot, cool = results["hot", "one"], results["cool", "one"]
    assert hot.metric == cool.metric and hot.metrics == cool.metrics
    assert [result.details["logit_scale"] for result in (hot, cool)] == pytest.approx([100.0, 5.0])
    assert [result.model_info.logit_scale for result in (hot, cool) if result.model_info] == pytest.approx([100.0, 5.0])
    assert hot.model_fingerprint != cool.model_fingerprint


def test_pocket_is_as_sure_of_digits_as_the_page_on_models_says(tmp_path: Path) -> None:
    (result,) = evalsuite.evaluate(
        "pocket", "digits", "zero_shot", output=tmp_path / "out", cache_dir=tmp_path / "cache", log_samples=True
    )
    found = behind(tmp_path, "pocket", "digits")
    assert (f"{100 * found.calibration_error:.1f}", found.logit_scale) == ("2.0", "21.97")
    labels = pd.read_parquet(next((tmp_path / "out").rglob("*.samples.parquet")))["label"].astype(int).to_numpy()
    assert f"{100 * calibration_error(softmax(scores(tmp_path, result)), labels):.1f}" == "6.8"  # at 100
