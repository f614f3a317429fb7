"""Retrieval, both ways, against a plain implementation, and what its tasks are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import evalsuite
from evalsuite.api import open_model
from evalsuite.applied.searching import collection, search
from evalsuite.data import open_task
from evalsuite.data.base import Fold
from evalsuite.data.place import DataPlace
from evalsuite.errors import DataError, DataMissingError, SpecError
from evalsuite.metrics import RECALLS, recall_at_1
from evalsuite.models.base import ModelInfo
from evalsuite.options import RunOptions
from evalsuite.protocols import retrieval
from evalsuite.protocols.base import Samples
from evalsuite.protocols.retrieval import hits
from evalsuite.records import Result
from evalsuite.runner.base import Reporter
from evalsuite.tasks import TaskIndex
from evalsuite.tasks.spec import TaskSpec
from tests.paper.picture import CELLS, code, picture, read_code
from tests.problems import given, make_task, whole

DIM = CELLS * CELLS


def plain_ranks(similarity: np.ndarray[Any, Any], right: Sequence[set[int]]) -> list[int]:
    """Return the best rank of a right column in each row, by sorting; of equal ones the first comes first."""
    orders = np.argsort(-similarity, axis=1, kind="stable")
    return [min(order.tolist().index(column) for column in own) for order, own in zip(orders, right, strict=True)]


@pytest.mark.parametrize("chunk", [1, 1 << 24])
def test_recalls_are_those_of_a_plain_implementation(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "CHUNK_ELEMENTS", chunk)
    generator = torch.Generator().manual_seed(0)
    counts = [5, 1, 3, 5, 2, 5, 5, 4] * 3
    owners = np.repeat(np.arange(len(counts)), counts)
    images = torch.randn(len(counts), 8, generator=generator)
    texts = images[owners] + 2 * torch.randn(len(owners), 8, generator=generator)
    texts[3], images[7] = texts[20], images[2]  # equal cosines
    texts = torch.nn.functional.normalize(texts, dim=1)
    scores = hits(images, texts, counts)

    similarity = (torch.nn.functional.normalize(images, dim=1) @ texts.T).numpy()
    of_images = plain_ranks(similarity, [set(np.flatnonzero(owners == row).tolist()) for row in range(len(counts))])
    of_texts = plain_ranks(similarity.T, [{owner} for owner in owners.tolist()])
    for column, k in enumerate((1, 5, 10)):
        assert scores[:, column].tolist() == [float(rank < k) for rank in of_images]
        found = [
            np.mean([of_texts[row] < k for row in np.flatnonzero(owners == image)]) for image in range(len(counts))
        ]
        assert scores[:, 3 + column] == pytest.approx(np.array(found), abs=1e-6)
    assert recall_at_1(scores, np.zeros(len(counts), np.int64)) == pytest.approx(
        (scores[:, 0] + scores[:, 3]).mean() / 2
    )


def test_an_encoder_that_tells_nothing_apart_finds_next_to_nothing() -> None:
    scores = hits(torch.ones(20, 4), torch.full((100, 4), 0.5), [5] * 20)
    assert scores.mean(axis=0).tolist() == pytest.approx([1 / 20, 1 / 20, 2 / 20, 1 / 20, 5 / 20, 10 / 20])


def test_a_caption_is_the_mean_of_its_own_templates(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    prompts = task.prompt_spec.model_copy(update={"templates": ["{}", "a photo of {}"]})
    task = task.changed(prompts=prompts)
    # Each image is near its first caption, and nearer to the second one of the next image than to its own.
    features = torch.eye(6)[[0, 2, 4]] + 0.4 * torch.eye(6)[[3, 5, 1]]
    pools = {"test": (features, np.zeros(3, np.int64))}
    captions = [(f"{2 * image}", f"{2 * image + 1}") for image in range(3)]
    images = Samples(features, pools["test"][1], ["a", "b", "c"], captions=captions)
    asked = replace(
        given(task, pools, [Fold(whole("test", pools), None, whole("test", pools))]),
        read=lambda split, layer: images,
        embed_texts=lambda texts: torch.stack([torch.eye(6)[int(text.split()[-1])] for text in texts]),
    )
    outcome = retrieval.Retrieval().run(asked)
    assert outcome.folds[0].scores.tolist() == [[1, 1, 1, 0.5, 1, 1]] * 3
    assert outcome.details["templates"] == 2 and outcome.sizes == {"test": 3}


class Reader:
    """A model to which an image shows its number, and a caption names it."""

    info = ModelInfo(
        name="reader", slug="reader", backend="test", fingerprint="reader", input_size=CELLS,
        layers={"penultimate": DIM, "embedding": DIM},
    )  # fmt: skip

    def __init__(self) -> None:
        self.texts: list[str] = []

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(read_code(image)).reshape(1, CELLS, CELLS)

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        return {"penultimate": batch.flatten(1), "embedding": batch.flatten(1)}

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        self.texts += texts
        return torch.stack([torch.from_numpy(code(text.split("#")[1])) for text in texts])


SPLITS = {"train": 2, "restval": 1, "val": 2, "test": 12}


def karpathy(folder: Path, images: Path, *, coco: bool) -> list[dict[str, Any]]:
    """Write the images of a little set with five or more captions each; return the entries of its file."""
    entries = []
    for split, count in SPLITS.items():
        for number in range(count if coco or split != "restval" else 0):
            shown, name = f"{split}{number}", f"{split}_{number:012d}.jpg"
            place = {"filepath": "train2014" if split == "train" else "val2014"} if coco else {}
            file = images / place.get("filepath", "") / name
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(shown, number).save(file)
            sentences = [{"raw": f"Caption {k} of #{shown}", "tokens": []} for k in range(5 + coco * (number % 2))]
            entries.append({**place, "filename": name, "split": split, "sentences": sentences, "imgid": len(entries)})
    return entries


def write(root: Path, task: str, entries: Callable[[list[dict[str, Any]]], Any] = list) -> None:
    """Write Flickr30k or COCO in their true form. entries: changes the list of images."""
    coco = task == "coco_captions"
    folder = root / task
    listed = karpathy(folder, folder if coco else folder / "flickr30k-images", coco=coco)
    (folder / f"dataset_{'coco' if coco else task}.json").write_text(
        json.dumps({"images": entries(listed), "dataset": task})
    )


def load(tmp_path: Path, name: str) -> TaskSpec:
    """Return a shipped task without its sizes."""
    return evalsuite.load_task(name).changed(sizes=TaskSpec.model_fields["sizes"].default)


def run(tmp_path: Path, task: TaskSpec, protocol: str = "retrieval", model: Any = None, **options: Any) -> Result:
    """Evaluate the reader."""
    where: dict[str, Any] = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache", "data_root": tmp_path}
    (result,) = evalsuite.evaluate(model or Reader(), task, protocol, offline=True, device="cpu", **where, **options)
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize("name", ["flickr30k", "coco_captions"])
def test_a_model_that_reads_captions_finds_all_of_them(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    reader, task = Reader(), load(tmp_path, name)
    result = run(tmp_path, task, model=reader)
    assert result.metric is not None, result.error
    assert (result.metric.value, result.metric.n, result.metric.name) == (1.0, 12, "recall_at_1")
    assert result.metrics == dict.fromkeys(RECALLS, 1.0) and result.metric.interval is not None
    assert len(reader.texts) == 5 * 12 and reader.texts[0] == "a photo of Caption 0 of #test0"
    assert result.details == {"captions": 5, "templates": 1} and result.data is not None
    assert result.data.sizes == {"test": 12}
    pools = open_task(task, DataPlace(tmp_path, offline=True))
    assert len(pools.open_pool("train")) == (3 if name == "coco_captions" else 2)  # restval is for training
    assert run(tmp_path, task, log_samples=True).provenance == result.provenance  # stored, and there is nothing to log


def test_a_search_among_captioned_images_says_a_caption_of_each(tmp_path: Path) -> None:
    write(tmp_path, "flickr30k")
    options, place = RunOptions(device="cpu"), DataPlace(tmp_path, tmp_path / "cache", offline=True)
    session = open_model(Reader(), options, place, print)
    within = collection(session, load(tmp_path, "flickr30k"), options, place, Reporter())
    found = search(session, "Caption 3 of #test7", within, 2, options, Reporter())
    assert found.hits[0].label == "Caption 0 of #test7" and found.hits[0].similarity > found.hits[1].similarity


def other_pairs(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each image the captions of the next one."""
    sentences = [entry["sentences"] for entry in entries]
    return [{**entry, "sentences": own} for entry, own in zip(entries, sentences[1:] + sentences[:1], strict=True)]


def test_captions_of_other_images_are_seen(tmp_path: Path) -> None:
    write(tmp_path, "flickr30k")
    task = load(tmp_path, "flickr30k")
    first = run(tmp_path, task)
    write(tmp_path, "flickr30k", other_pairs)
    result = run(tmp_path, task)
    assert result.metric is not None and result.metric.value < 0.2
    assert result.fingerprint != first.fingerprint and result.timings.images_encoded == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda entries: [{**one, "sentences": one["sentences"][:4]} for one in entries],
            DataError,
            "has 4 captions, and 5",
        ),
        (lambda entries: [{**one, "filename": "../x.jpg"} for one in entries], DataError, "leads out"),
        (lambda entries: [{**one, "filename": "none.jpg"} for one in entries[-1:]], DataError, "none.jpg' is not at"),
        (lambda entries: [{"filename": "x.jpg"}], DataError, "image 0: it needs `filename`, `split`"),
        (lambda entries: entries[:2], DataError, "has no image of the split 'test'"),
        (lambda entries: "x", DataError, "no list `images`"),
    ],
)
def test_captions_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], Any], error: type[Exception], message: str
) -> None:
    write(tmp_path, "flickr30k", change)
    with pytest.raises(error, match=message):
        open_task(load(tmp_path, "flickr30k"), DataPlace(tmp_path, offline=True)).open_pool("test")


def test_captions_without_images_and_images_without_captions(tmp_path: Path) -> None:
    (tmp_path / "flickr30k" / "flickr30k-images").mkdir(parents=True)
    with pytest.raises(DataMissingError, match=r"dataset_flickr30k\.json"):
        open_task(load(tmp_path, "flickr30k"), DataPlace(tmp_path, offline=True))


def test_classes_and_captions_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, "flickr30k")
    result = run(tmp_path, load(tmp_path, "flickr30k"), "zero_shot")
    assert result.status == "not_applicable" and result.error is not None
    assert "have captions and no classes: use --protocol retrieval" in result.error.message
    result = run(tmp_path, evalsuite.load_task("digits"))
    assert result.status == "not_applicable" and result.error is not None
    assert "has classes and no captions" in result.error.message
    assert not set(TaskIndex().groups["captions"]) & set(TaskIndex().groups["all"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("captions: 5\nclasses: [a, b]\nmetric: recall_at_1\n", "a task of captions has no classes"),
        ("captions: 5\n", "the metric accuracy is not for tasks of captions"),
        ("classes: [a, b]\nmetric: recall_at_1\n", "the metric recall_at_1 is for tasks of captions"),
    ],
)
def test_task_files_that_mix_them_are_refused(tmp_path: Path, line: str, message: str) -> None:
    source = "sources: [{kind: folder, path: ., pools: {train: a, test: b}}]\n"
    (tmp_path / "t.yaml").write_text(f"title: T\nprompts: {{templates: ['{{}}']}}\n{source}{line}")
    with pytest.raises(SpecError, match=message):
        evalsuite.load_task(tmp_path / "t.yaml")
