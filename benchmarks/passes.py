"""The project's side of the benchmark of the image pass: passes as `evaluate` makes them, and what bounds them."""

from __future__ import annotations

import copy
import math
import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evalsuite import evaluate, load_task
from evalsuite.data.opening import open_task
from evalsuite.data.place import DataPlace
from evalsuite.executors.devices import choose_precisions
from evalsuite.features.batches import read_batches
from evalsuite.features.encoding import inference
from evalsuite.models.base import EMBEDDING, ImageTextModel, ModelInfo, Preprocess
from evalsuite.options import DecoderName
from evalsuite.records import Result
from evalsuite.runner.base import Reporter
from evalsuite.speed.measure import decode_rate, rate

BARE_BATCHES = 16
"""Batches that are given to a GPU before it is waited for."""


@dataclass(frozen=True)
class Pass:
    """What one zero-shot run over a test split took, loading apart.

    images: seconds of decoding and encoding; total: with the texts and the scores; steady: images per second between
    the first fifth and the last tenth, when all processes have started and none has ended.
    """

    images: float
    total: float
    count: int
    steady: float


@dataclass(frozen=True)
class Asked:
    """A task's name or file, its data, how many images, and further keywords of `evaluate`."""

    task: str
    data_root: Path
    limit: int
    keywords: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Kept:
    """A model that keeps the batches it is given."""

    model: ImageTextModel
    batches: list[Tensor] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        """The model's own."""
        return self.model.info

    @property
    def preprocess(self) -> Any:
        """The model's own."""
        return self.model.preprocess

    def encode_images(self, batch: Tensor) -> Mapping[str, Tensor]:
        """Keep the batch and encode it."""
        self.batches.append(batch.clone())
        return self.model.encode_images(batch)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Do what the model does."""
        return self.model.encode_texts(texts)


@dataclass
class Free:
    """A model that costs nearly nothing: its features are a few pixels. `like`: whose preprocessing it has."""

    like: ImageTextModel

    @property
    def info(self) -> ModelInfo:
        """Two models of another cost are two models."""
        return self.like.info.model_copy(update={"fingerprint": "free", "layers": {EMBEDDING: 147}})

    @property
    def preprocess(self) -> Any:
        """That of the other model."""
        return self.like.preprocess

    def encode_images(self, batch: Tensor) -> Mapping[str, Tensor]:
        """Return each 32nd pixel of each 32nd row."""
        return {EMBEDDING: batch[:, :, ::32, ::32].flatten(1)}

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return anything."""
        return torch.ones(len(texts), 147)


def run(model: Any, asked: Asked) -> Pass:
    """Evaluate a model zero-shot with stores of its own, so that nothing is there yet."""
    (result,) = evaluated([model], asked, watch := Watch())
    timings = result.timings
    return Pass(timings.images, timings.total - timings.load, timings.images_encoded, watch.steady())


@dataclass
class Watch(Reporter):
    """Remembers when how many images had been encoded."""

    seen: list[tuple[float, int, int]] = field(default_factory=list)

    def progress(self, what: str, done: int, total: int | None, unit: str) -> None:
        """Remember it."""
        if unit == "images" and total is not None:
            self.seen.append((time.perf_counter(), done, total))

    def steady(self) -> float:
        """Return images per second in the middle of the pass."""
        middle = [(now, done) for now, done, total in self.seen if total / 5 <= done <= 0.9 * total]
        if len(middle) < 2:
            return float("nan")
        (start, few), (end, many) = middle[0], middle[-1]
        return (many - few) / (end - start)


def evaluated(models: Sequence[Any], asked: Asked, reporter: Reporter | None = None) -> list[Result]:
    """Return the zero-shot results of models in one run, with new stores; the pass they share counts for each."""
    with tempfile.TemporaryDirectory() as folder:
        found = evaluate(
            models,
            [asked.task],
            "zero_shot",
            data_root=asked.data_root,
            limit=asked.limit,
            prompts="simple",
            output=Path(folder) / "results",
            cache_dir=Path(folder) / "cache",
            reporter=reporter,
            **asked.keywords,
        )
    for result in found:
        if result.error is not None:
            raise RuntimeError(result.error.message)
    return list(found)


def bare(model: ImageTextModel, batches: Sequence[Tensor], device: torch.device) -> float:
    """Return the seconds of the forward passes alone, over batches that are on the device."""
    started = time.perf_counter()
    with inference(device, choose_precisions("auto", device)[0]):
        for batch in batches:
            model.encode_images(batch)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def bare_rate(model: Any, image: Tensor, finish: Any, device: torch.device, size: int) -> float:
    """Return images per second of the network alone: weights and images on the device, in its usual precision."""
    half = device.type == "cuda"
    network = copy.deepcopy(model.module).to(device).eval()
    images = image.expand(size, *image.shape).contiguous().to(device)
    images = images if finish is None else finish(images)
    if half:
        network, images = network.half(), images.half()

    def once() -> int:
        for _ in range(BARE_BATCHES if half else 1):
            network.encode_image(images)
        if half:
            torch.cuda.synchronize(device)
        return size * (BARE_BATCHES if half else 1)

    with torch.inference_mode():
        return rate(once)


def decoded_at_once(preprocess: Preprocess, decoder: DecoderName, processes: int) -> float:
    """Return photographs per second of several processes that decode at once and do nothing else."""
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context) as executor:
        return math.fsum(executor.map(decode_rate, [preprocess] * processes, [decoder] * processes))


@dataclass(frozen=True)
class Reading:
    """What reading and preprocessing alone took, in seconds of wall time and CPU seconds of this process."""

    seconds: float
    main: float
    count: int


def read(preprocess: Any, asked: Asked, workers: int, batch_size: int, decoder: DecoderName = "pillow") -> Reading:
    """Read the first images of a task's test pool as a pass does, and do nothing with them."""
    task = load_task(asked.task)
    place = DataPlace(data_root=asked.data_root)
    pool = open_task(task, place, test_only=True).open_pool("test")
    rows = range(min(asked.limit, len(pool)))
    before, started = time.process_time(), time.perf_counter()
    count = 0
    for (batches,) in read_batches(
        pool,
        rows,
        [preprocess],
        batch_size=batch_size,
        workers=workers,
        on_unreadable=lambda item: None,
        decoder=decoder,
    ):
        for batch in batches:
            count += len(batch.rows)
            batch.release()
    return Reading(time.perf_counter() - started, time.process_time() - before, count)
