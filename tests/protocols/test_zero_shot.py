"""Zero-shot: the classifier of the paper's notebook, held against open_clip used alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image

import evalsuite
from evalsuite.data.base import Fold, Split
from evalsuite.metrics import map_11_point
from evalsuite.models.base import Logits
from evalsuite.protocols.base import Outcome, ProtocolInput, Samples
from evalsuite.protocols.zero_shot import ZeroShot, class_prompts, class_weights, image_logits, indistinct
from evalsuite.report.calibration import confidences
from evalsuite.tasks import TaskClass
from evalsuite.tasks.loading import load_task_file
from tests.datasets import write_folder_task

TINY_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def test_prompts_are_every_template_with_every_name() -> None:
    classes = [TaskClass(key="happy", names=["happy", "smiling"]), TaskClass(key="sad", names=["sad"])]
    texts, owners = class_prompts(classes, ["a {} face.", "look: {}"])
    assert texts == ["a happy face.", "a smiling face.", "look: happy", "look: smiling", "a sad face.", "look: sad"]
    assert owners == [0, 0, 0, 0, 1, 1]


def test_weights_are_the_normalised_mean_of_normalised_embeddings() -> None:
    embeddings = torch.tensor([[3.0, 0.0], [0.0, 5.0], [0.0, -2.0]])
    weights = class_weights(embeddings, [0, 0, 1], 2)
    half = 0.5**0.5
    torch.testing.assert_close(weights, torch.tensor([[half, half], [0.0, -1.0]]))


def test_logits_are_a_hundred_times_the_cosine() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 0.1]], dtype=torch.float16)
    weights = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    logits = image_logits(features, weights, torch.device("cpu"))
    torch.testing.assert_close(logits, torch.tensor([[100.0, 60.0], [0.0, 80.0]]), atol=0.05, rtol=0)


def write_checkpoint(folder: Path, name: str, seed: int) -> Path:
    """Register a tiny architecture and save random weights of it."""
    import json

    (folder / f"{name}.json").write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(seed)
    model = open_clip.create_model(name)
    path = folder / "weights.pt"
    torch.save(model.state_dict(), path)
    return path


def plain_logits(arch: str, checkpoint: Path, files: list[Path], prompts: list[list[str]]) -> np.ndarray:
    """Return zero-shot logits by open_clip alone, as its README does it."""
    model, _, preprocess = open_clip.create_model_and_transforms(arch, pretrained=str(checkpoint))
    tokenizer = open_clip.get_tokenizer(arch)
    model.eval()
    with torch.no_grad():
        images = torch.stack([preprocess(Image.open(file)) for file in files])
        image_features = model.encode_image(images)
        image_features = image_features / image_features.norm(dim=-1, keepdim=True)
        weights = []
        for texts in prompts:
            embedded = model.encode_text(tokenizer(texts))
            mean = (embedded / embedded.norm(dim=-1, keepdim=True)).mean(dim=0)
            weights.append(mean / mean.norm())
        return (100.0 * image_features @ torch.stack(weights).T).numpy()


def test_logits_of_a_run_equal_those_of_a_plain_open_clip_script(tmp_path: Path) -> None:
    """200 real images: scikit-learn's digits, written as PNG files."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for pool, rows in (("train", range(40)), ("test", range(40, 240))):
        for row in rows:
            folder = tmp_path / pool / str(digits.target[row])
            folder.mkdir(parents=True, exist_ok=True)
            pixels = (digits.images[row] * 255 / 16).round().astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{row:04d}.png")
    templates = ["a photo of the number {}.", "the digit {}", "{}"]
    (tmp_path / "d.yaml").write_text(
        "title: d\nclasses: ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']\n"
        f"prompts: {{templates: {templates!r}}}\n"
        "sources: [{kind: folder, path: ., pools: {train: train, test: test}}]\n"
    )
    checkpoint = write_checkpoint(tmp_path, "tiny-clip-for-zero-shot", seed=5)
    results = evalsuite.evaluate(
        f"open_clip:tiny-clip-for-zero-shot/{checkpoint}",
        str(tmp_path / "d.yaml"),
        "zero_shot",
        output=tmp_path / "out",
        cache_dir=tmp_path / "cache",
        device="cpu",
        log_samples=True,
    )
    assert results[0].status == "ok", results[0].error
    (table,) = (tmp_path / "out").rglob("*.samples.parquet")
    samples = pd.read_parquet(table)
    assert len(samples) == 200
    files = [tmp_path / "test" / name.removeprefix("test/") for name in samples["sample"]]
    prompts = [[template.format(digit) for template in templates] for digit in range(10)]
    plain = plain_logits("tiny-clip-for-zero-shot", checkpoint, files, prompts)
    ours = np.stack(samples["scores"].to_list())
    assert np.abs(ours - plain).max() < 1e-4
    assert np.abs(plain - plain.mean()).max() > 0.1  # the comparison could fail
    labels = samples["label"].astype(int).to_numpy()
    assert results[0].metric is not None
    assert results[0].metric.value == pytest.approx((plain.argmax(axis=1) == labels).mean())


def scored(tmp_path: Path, logits: Logits, *, multilabel: bool = False, texts: torch.Tensor | None = None) -> Outcome:
    """Run the protocol on 60 random embeddings of three classes that are in memory."""
    (tmp_path / "t.yaml").write_text(
        "title: t\nclasses: [a, b, c]\nprompts: {templates: ['{}']}\n"
        + ("metric: map_11_point\nmultilabel: true\n" if multilabel else "")
        + "sources: [{kind: folder, path: ., pools: {train: train, test: test}}]\n"
    )
    draw = torch.Generator().manual_seed(0)
    features, prompts = torch.randn(60, 4, generator=draw), torch.randn(3, 4, generator=draw)
    labels = np.arange(60) % 3
    truth = (np.arange(3) == labels[:, None]).astype(int) if multilabel else labels
    split = Split("test", np.arange(60))

    def read(split: Split, layer: str) -> Samples:
        return Samples(features, truth, [str(row) for row in split.rows])

    given = ProtocolInput(
        load_task_file(tmp_path / "t.yaml"),
        [Fold(split, split, split)],
        read,
        lambda names: prompts if texts is None else texts,
        torch.device("cpu"),
        logits=logits,
    )
    return ZeroShot().run(given)


def test_scores_of_several_labels_use_the_scale_of_the_model(tmp_path: Path) -> None:
    hot, cool = (scored(tmp_path, Logits(scale), multilabel=True).folds[0] for scale in (10.0, 1.0))
    assert np.allclose(hot.scores.sum(axis=1), 1)
    # Of softmax(s * x), logarithms of ratios are in the proportion of the scales.
    odds = [np.log(fold.scores[:, 0].astype(float) / fold.scores[:, 1]) for fold in (hot, cool)]
    near = np.abs(odds[0]) < 10
    assert near.sum() > 5
    assert np.allclose(odds[0][near], 10 * odds[1][near], rtol=1e-3)
    assert map_11_point(hot.scores, hot.labels) != map_11_point(cool.scores, cool.labels)


def test_ranks_of_single_labels_are_those_of_the_cosines_whatever_the_scale(tmp_path: Path) -> None:
    one, other = scored(tmp_path, Logits(100.0)), scored(tmp_path, Logits(21.97, -3.0))
    assert np.array_equal(one.folds[0].scores, other.folds[0].scores)
    assert other.details == {"templates": 1, "prompts": 3, "logit_scale": 21.97, "logit_bias": -3.0}
    plain = scored(tmp_path, Logits(21.97))
    sure = [confidences("zero_shot", False, found.folds[0].scores, found.details) for found in (one, plain, other)]
    logits = torch.from_numpy(one.folds[0].scores).double().mul(0.2197)
    assert np.allclose(sure[1], logits.softmax(dim=1).amax(dim=1))
    assert not np.allclose(sure[0], sure[1])
    # With a bias the model was trained with a sigmoid.
    assert np.allclose(sure[2], (logits - 3.0).sigmoid().amax(dim=1))


def test_results_of_single_labels_stay_those_of_several_are_computed_again(tmp_path: Path) -> None:
    scored(tmp_path, Logits(), multilabel=False)
    assert ZeroShot().version_for(load_task_file(tmp_path / "t.yaml")) == 1
    scored(tmp_path, Logits(), multilabel=True)
    assert ZeroShot().version_for(load_task_file(tmp_path / "t.yaml")) == ZeroShot.version == 2


def test_a_scale_that_nobody_said_is_warned_of_where_it_matters(tmp_path: Path) -> None:
    (warning,) = scored(tmp_path, Logits(assumed=True), multilabel=True).warnings
    assert "does not say its logit scale" in warning and "100 was taken" in warning
    assert scored(tmp_path, Logits(assumed=True)).warnings == []


def test_classes_of_one_text_embedding_are_warned_of(tmp_path: Path) -> None:
    texts = torch.tensor([[1.0, 2.0, 0.0, 1.0], [2.0, 4.0, 0.0, 2.0 + 1e-7], [1.0, 0.0, 0.0, 0.0]])
    (warning,) = scored(tmp_path, Logits(), texts=texts).warnings
    assert warning.startswith("2 classes of 3 have the text embedding of another (a, b)")


def test_of_many_classes_of_one_text_embedding_three_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalsuite.protocols.zero_shot.CLASSES_AT_A_TIME", 5)
    weights = torch.eye(12)
    weights[[8, 9, 11]] = weights[1].clone()
    (warning,) = indistinct(weights, list("abcdefghijkl"))
    assert warning.startswith("4 classes of 12 have the text embedding of another (b, i, j and 1 more)"), warning
    weights[1] = torch.nn.functional.normalize(weights[1] + 0.003 * weights[0], dim=0)  # near is not the same
    assert indistinct(weights[:9], list("abcdefghi")) == []


def test_descriptions_that_begin_alike_are_warned_of(tmp_path: Path) -> None:
    path = write_folder_task(tmp_path)
    path.write_text(path.read_text().replace("a photo", "one of the many pictures that hang in the hall upstairs " * 4))
    (result,) = evalsuite.evaluate("pocket", str(path), "zero_shot", output=tmp_path / "o", cache_dir=tmp_path / "c")
    assert any("have the text embedding of another" in warning for warning in result.warnings), result
    assert result.details["logit_scale"] == pytest.approx(21.97, abs=0.01)
    assert result.model_info is not None
    assert result.model_info.logit_scale == result.details["logit_scale"]


def test_several_names_a_class_and_folders_in_another_order(tmp_path: Path) -> None:
    """A wrong class order shows as a wrong accuracy: the model below names colours, whatever the order."""
    from tests.models_for_tests import CountingModel

    path = write_folder_task(tmp_path, classes=("green", "blue", "red"))
    results = evalsuite.evaluate(
        CountingModel(), str(path), "zero_shot", output=tmp_path / "o", cache_dir=tmp_path / "c"
    )
    assert results[0].metric is not None and results[0].metric.value == 1.0


def test_each_test_split_is_scored_once_and_none_is_left_out(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(1)
    features, prompts = torch.randn(30, 4, generator=draw), torch.randn(3, 4, generator=draw)
    labels, told = np.arange(30) % 3, []

    def read(split: Split, layer: str) -> Samples:
        return Samples(features[split.rows], labels[split.rows], [str(row) for row in split.rows])

    tests = [Split("test", np.arange(10)), Split("test", np.arange(10, 30)), Split("test", np.arange(10))]
    outcome = ZeroShot().run(
        ProtocolInput(
            load_task_file(write_folder_task(tmp_path)),
            [Fold(Split("train", np.arange(number)), None, test) for number, test in enumerate(tests)],
            read,
            lambda names: prompts,
            torch.device("cpu"),
            on_progress=lambda what, done, total: told.append((done, total)),
            validation=[Split("test", np.arange(20, 25))],
        )
    )
    assert [fold.ids for fold in outcome.folds] == [[str(row) for row in split.rows] for split in tests[:2]]
    assert outcome.sizes == {"test": [10, 20]} and told == [(0, 2), (1, 2), (2, 2)]
    unit = torch.nn.functional.normalize
    for fold, split in zip(outcome.folds, tests, strict=False):
        cosines = unit(features[split.rows], dim=1) @ unit(prompts, dim=1).T
        np.testing.assert_allclose(fold.scores, 100 * cosines.numpy(), atol=1e-4)
        assert (fold.labels == labels[split.rows]).all()
    (held,) = outcome.validation
    assert held.ids == ["20", "21", "22", "23", "24"] and held.scores.shape == (5, 3)
    np.testing.assert_array_equal(held.scores, outcome.folds[1].scores[10:15])


def test_no_image_has_no_scores() -> None:
    assert image_logits(torch.empty(0, 2), torch.eye(2), torch.device("cpu")).shape == (0, 2)


def test_records_that_do_not_say_their_scale_are_of_a_model_without_a_bias() -> None:
    assert ZeroShot().temperature({}) is None and ZeroShot().bias({}) == 0.0
    assert ZeroShot().temperature({"logit_scale": 50.0}) == 0.5 and ZeroShot().bias({"logit_bias": -3}) == -3.0
