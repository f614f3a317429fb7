"""From rates to times: how long a task will take with a model on a machine whose speed was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalsuite.features.batches import MOST_WORKERS
from evalsuite.options import DecoderName
from evalsuite.speed.record import Speed
from evalsuite.tasks.spec import TaskSpec
from evalsuite.tasks.split_rules import FoldSplits

PASSES, REFIT_PASSES = 500, 60
"""Passes over the rows of the probe's search and of its last fit: about the middle of the table in docs/probe.md."""

HELD_OUT = 0.1
"""Share of train that the probe holds out where there is no validation split."""


@dataclass(frozen=True)
class Fit:
    """One search and its last fit: rows to fit on during the search and at its end, and classes."""

    searched: float
    refitted: float
    classes: int


@dataclass(frozen=True)
class Work:
    """What is to be done of a task: images to encode, prompts to embed, probes to fit."""

    images: int = 0
    texts: int = 0
    fits: tuple[Fit, ...] = ()


@dataclass(frozen=True)
class Reading:
    """How a run reads images: how many per batch, and by what."""

    batch_size: int
    decoder: DecoderName = "pillow"


@dataclass(frozen=True)
class Expected:
    """Seconds that the parts of some work will take."""

    images: float
    texts: float
    probe: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.images + self.texts + self.probe


def expected(speed: Speed, work: Work, reading: Reading) -> Expected:
    """Return how long some work will take."""
    operations = sum(
        4.0 * (PASSES * fit.searched + REFIT_PASSES * fit.refitted) * speed.dim * fit.classes for fit in work.fits
    )
    return Expected(
        images=work.images / min(bounds(speed, reading).values()),
        texts=work.texts / speed.texts if speed.texts else 0.0,
        probe=operations / speed.probe,
    )


def bounds(speed: Speed, reading: Reading) -> dict[str, float]:
    """Return what bounds an image pass: images per second of each part; the lowest holds.

    A CPU does everything itself, one after the other: its only bound is of decoding and encoding together.
    """
    cores = min(speed.machine.processors, MOST_WORKERS)
    decoded, encoded = speed.decode[reading.decoder] * cores, speed.encoded(reading.batch_size)
    if speed.copied is None:
        return {"decoding and encoding": 1 / (1 / decoded + 1 / encoded)}
    return {"decoding": decoded, "copying": speed.copied * speed.machine.devices, "encoding": encoded}


def bottleneck(speed: Speed, reading: Reading) -> str:
    """Say what an image pass waits for, and what would help."""
    cores = min(speed.machine.processors, MOST_WORKERS)
    decoded, encoded = speed.decode[reading.decoder] * cores, speed.encoded(reading.batch_size)
    rate = min(bounds(speed, reading).values())
    if speed.copied is not None and speed.copied * speed.machine.devices < min(decoded, encoded):
        return f"copies to the device: {rate:,.0f} images/s"
    if decoded < encoded:
        return f"decoding: {rate:,.0f} images/s; more processors would help"
    return f"the model: {rate:,.0f} images/s; a faster device would help"


def work_of(task: TaskSpec, *, zero_shot: bool, probe: bool) -> Work | None:
    """Return what a task asks for by the sizes in its file; None where it names none."""
    sizes = task.sizes
    if sizes.test is None or (probe and sizes.train is None):
        return None
    count = task.splits.count if isinstance(task.splits, FoldSplits) else 1
    test = _each(sizes.test, count)
    train, val = _each(sizes.train or 0, count), _each(sizes.val or 0, count)
    classes = len(task.class_list)
    return Work(
        # Which images folds share is not in the file: they are taken for parts of the largest one.
        images=max(sum(fold) for fold in zip(test, *((train, val) if probe else ()), strict=True)),
        texts=prompts(task) if zero_shot else 0,
        fits=tuple(fit(*fold, classes, refit=task.refit) for fold in zip(train, val, strict=True)) if probe else (),
    )


def prompts(task: TaskSpec) -> int:
    """Return how many texts zero-shot classification embeds."""
    return sum(len(item.names) for item in task.class_list) * len(task.prompt_spec.templates)


def fit(train: int, val: int, classes: int, *, refit: str) -> Fit:
    """Return the fit of a fold of so many samples; val: 0 where a tenth of train is held out."""
    searched = train if val else train * (1 - HELD_OUT)
    return Fit(searched, train if refit == "train" and val else train + val, classes)


def _each(sizes: int | Sequence[int], count: int) -> list[int]:
    return [sizes] * count if isinstance(sizes, int) else list(sizes)
