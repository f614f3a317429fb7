"""What decides a number and what does not: after each change, the same command serves the store or computes anew.

One evaluation is made and copied with its stores; then something is changed in the copy. Each change is tried at both
doors, the command line and Python.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import evalsuite
from evalsuite.protocols.linear_probe import LinearProbe
from evalsuite.protocols.zero_shot import ZeroShot
from evalsuite.records import Result
from evalsuite.runner.base import Reporter
from tests.datasets import write_folder_task
from tests.processes import WarmCli

ZERO_SHOT, PROBE = "zero_shot", "linear_probe"
BOTH = frozenset({ZERO_SHOT, PROBE})
NEITHER: frozenset[str] = frozenset()

MODEL = """
import json
import pathlib
import numpy as np
import torch
from torch import nn

SIZE = 8
WORDS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class Colours(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.load("weights.pt", weights_only=True))
        self.temperature = json.loads(pathlib.Path("settings.json").read_text())["temperature"]

    def encode_image(self, batch):
        return batch.mean(dim=(2, 3)) * self.weight / self.temperature

    def encode_text(self, tokens):
        return tokens * 1.0


def preprocess(image):
    pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE)), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)


def tokenizer(texts):
    return torch.tensor([[sum(WORDS[w][c] for w in text.split() if w in WORDS) for c in range(3)] for text in texts])


def make():
    return Colours(), preprocess, tokenizer
"""


class Stored(Reporter):
    """Notes which results were served from the store."""

    def __init__(self) -> None:
        self.protocols: set[str] = set()

    def result(self, result: Result, stored: bool) -> None:
        """Note a protocol whose result was there."""
        if stored:
            self.protocols.add(result.protocol)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a model, prompts, and the stores of their evaluation."""
    import torch

    root = tmp_path_factory.mktemp("base")
    task = write_folder_task(root / "shapes")
    for file in task.parent.rglob("*.png"):
        Image.open(file).save(file, compress_level=0)  # so that all have one size
    (root / "model.py").write_text(MODEL)
    (root / "settings.json").write_text('{"temperature": 1.0}')
    torch.save(torch.ones(3), root / "weights.pt")
    assert served(root, None) == NEITHER
    assert served(root, None) == BOTH
    return root


def served(root: Path, cli: WarmCli | None, **options: Any) -> frozenset[str]:
    """Evaluate in a folder, by the command line or from Python; return the protocols that the store answered."""
    options = {"output": "out", "cache_dir": "cache", **options}
    task = options.pop("task", "shapes/shapes.yaml")
    if cli is not None:
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not True]
        switches = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is True]
        finished = cli("run", "-m", "model.py:make", "-t", task, *flags, *switches, cwd=root)
        lines = [line for line in finished.stderr.splitlines() if "(stored)" in line]
        return frozenset(name for name in BOTH if any(name in line for line in lines))
    reporter, before = Stored(), Path.cwd()
    os.chdir(root)
    try:
        evalsuite.evaluate("model.py:make", task, reporter=reporter, **options)
    finally:
        os.chdir(before)
    return frozenset(reporter.protocols)


@dataclass(frozen=True)
class Change:
    """Something that is done between two evaluations. anew: the protocols that must not be served any more."""

    name: str
    anew: frozenset[str]
    edit: Callable[[Path], object] = lambda root: None
    options: dict[str, Any] = field(default_factory=dict)


def replaced(file: str, old: str, new: str) -> Callable[[Path], object]:
    """Return an edit of the text of a file, which must change it."""

    def edit(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new))

    return edit


def task_line(line: str) -> Callable[[Path], object]:
    """Return an edit that adds a line to the task file."""

    def edit(root: Path) -> None:
        file = root / "shapes/shapes.yaml"
        file.write_text(f"{file.read_text()}{line}\n")

    return edit


def repainted(file: str) -> Callable[[Path], object]:
    """Return an edit that puts an image of the same size and time in the place of one."""

    def edit(root: Path) -> None:
        path, content = root / "shapes" / file, io.BytesIO()
        status = path.stat()
        Image.new("RGB", Image.open(path).size, (9, 9, 9)).save(content, "PNG", compress_level=0)
        path.write_bytes(content.getvalue())
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_size == status.st_size

    return edit


def moved(old: str, new: str) -> Callable[[Path], object]:
    """Return an edit that renames a file of the dataset."""
    return lambda root: (root / "shapes" / old).rename(root / "shapes" / new)


def swapped(root: Path) -> None:
    """Exchange two images of different classes, whose ids and sizes stay."""
    first, second = root / "shapes/test/red/000.png", root / "shapes/test/blue/000.png"
    ours, theirs = first.read_bytes(), second.read_bytes()
    first.write_bytes(theirs)
    second.write_bytes(ours)


def every_image(act: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return an edit of every image of the dataset."""
    return lambda root: [act(file) for file in sorted((root / "shapes").rglob("*.png"))]


def weights(root: Path) -> None:
    """Write other weights."""
    import torch

    torch.save(torch.tensor([1.0, 1.0, 0.5]), root / "weights.pt")


def reordered(root: Path) -> None:
    """Write the keys of the task file in another order."""
    file = root / "shapes/shapes.yaml"
    value = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(dict(reversed(value.items())), sort_keys=False))


def without_features(act: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return an edit after which the features are gone."""

    def edit(root: Path) -> None:
        act(root)
        shutil.rmtree(root / "cache")

    return edit


CLASSES = "classes: [red, green, blue]"
PROMPTS = "prompts: {templates: ['a photo of a {} square.']}"

DECIDING = [
    Change("a test image", BOTH, repainted("test/red/000.png")),
    Change("a training image", frozenset({PROBE}), repainted("train/red/000.png")),
    Change("a test image, features gone", BOTH, without_features(repainted("test/red/000.png"))),
    Change("a training image, features gone", frozenset({PROBE}), without_features(repainted("train/red/000.png"))),
    Change("a test image, another cache", BOTH, repainted("test/red/000.png"), {"cache_dir": "other"}),
    Change("two images exchanged", BOTH, swapped),
    Change("two images exchanged, features gone", BOTH, without_features(swapped)),
    Change(
        "an image more",
        BOTH,
        lambda root: shutil.copy(root / "shapes/test/red/000.png", root / "shapes/test/red/9.png"),
    ),
    Change("an image less", BOTH, lambda root: (root / "shapes/test/red/000.png").unlink()),
    Change("a training image less", frozenset({PROBE}), lambda root: (root / "shapes/train/red/000.png").unlink()),
    Change("an image that is cut off", BOTH, lambda root: os.truncate(root / "shapes/test/red/000.png", 99)),
    Change("the name of an image", BOTH, moved("test/red/000.png", "test/red/999.png")),
    Change("the label of a test image", BOTH, moved("test/red/000.png", "test/blue/999.png")),
    Change("the label of a training image", frozenset({PROBE}), moved("train/red/000.png", "train/blue/999.png")),
    Change("images encoded anew", BOTH, every_image(lambda file: Image.open(file).save(file, compress_level=1))),
    Change("class order", BOTH, replaced("shapes/shapes.yaml", CLASSES, "classes: [blue, green, red]")),
    Change(
        "the name of a class",
        frozenset({ZERO_SHOT}),
        replaced("shapes/shapes.yaml", CLASSES, "classes: [{red: blue}, green, blue]"),
    ),
    Change(
        "a second name of a class",
        frozenset({ZERO_SHOT}),
        replaced("shapes/shapes.yaml", CLASSES, "classes: [{red: [red, blue]}, green, blue]"),
    ),
    Change("a class less", BOTH, replaced("shapes/shapes.yaml", CLASSES, "classes: [red, green]")),
    Change(
        "a template",
        frozenset({ZERO_SHOT}),
        replaced("shapes/shapes.yaml", PROMPTS, "prompts: {templates: ['a red {} square.']}"),
    ),
    Change(
        "one more template",
        frozenset({ZERO_SHOT}),
        replaced("shapes/shapes.yaml", "square.'", "square.', 'a {}.'"),
    ),
    Change("the metric", BOTH, task_line("metric: mean_per_class_recall")),
    Change("the refit", BOTH, task_line("refit: train")),
    Change("images that may be missing", BOTH, task_line("max_unreadable: 2")),
    Change("the split of the test", BOTH, replaced("shapes/shapes.yaml", "test: test}}", "test: train}}")),
    Change("a draw", BOTH, task_line("splits: {rule: official, draw: {test: 9, train: 12}}")),
    Change("the validation split", BOTH, task_line("splits: {rule: official, val: test}")),
    Change("the name of the task", BOTH, task_line("name: others")),
    Change("the images' files", BOTH, replaced("shapes/shapes.yaml", "path: .,", "path: ., extensions: ['.png'],")),
    Change("a limit", BOTH, options={"limit": 6}),
    Change("the seed", BOTH, options={"seed": 1}),
    Change("simple prompts", frozenset({ZERO_SHOT}), options={"prompts": "simple"}),
    Change(
        "a prompt file",
        frozenset({ZERO_SHOT}),
        lambda root: (root / "p.yaml").write_text("templates: ['one {}.']"),
        {"prompts": "p.yaml"},
    ),
    Change("the precision", BOTH, options={"precision": "bf16"}),
    Change("the grid", frozenset({PROBE}), options={"probe_grid": "full"}),
    Change("the tolerance", frozenset({PROBE}), options={"probe_tolerance": 1e-4}),
    Change("samples are asked for", BOTH, options={"log_samples": True}),
    Change("overwriting", BOTH, options={"overwrite": True}),
    Change("a constant of the preprocessing", BOTH, replaced("model.py", "SIZE = 8", "SIZE = 2")),
    Change("the network's code", BOTH, replaced("model.py", "* self.weight /", "+ self.weight /")),
    Change("the tokenizer", BOTH, replaced("model.py", '"red": (1.0,', '"red": (2.0,')),
    Change("the preprocessing's code", BOTH, replaced("model.py", "/ 255", "/ 128")),
    Change("the text encoder", BOTH, replaced("model.py", "tokens * 1.0", "tokens * 2.0")),
    Change("weights", BOTH, weights),
    Change("a number that the model read", BOTH, replaced("settings.json", "1.0", "7.0")),
]

NOT_DECIDING = [
    Change("a moved folder", NEITHER),  # every copy is one
    Change("touched images", NEITHER, every_image(lambda file: os.utime(file, (1, 1)))),
    Change(
        "touched images, features gone", NEITHER, without_features(every_image(lambda file: os.utime(file, (1, 1))))
    ),
    Change("a touched task file", NEITHER, lambda root: os.utime(root / "shapes/shapes.yaml", (1, 1))),
    Change("a touched model file", NEITHER, lambda root: os.utime(root / "model.py", (1, 1))),
    Change("touched weights", NEITHER, lambda root: os.utime(root / "weights.pt", (1, 1))),
    Change("rights of files", NEITHER, every_image(lambda file: file.chmod(0o444))),
    Change("another cache", NEITHER, options={"cache_dir": "other"}),
    Change("no features", NEITHER, without_features(lambda root: None)),
    Change("no compiled code", NEITHER, lambda root: shutil.rmtree(root / "__pycache__", ignore_errors=True)),
    Change("reordered keys", NEITHER, reordered),
    Change("a comment", NEITHER, task_line("# by hand")),
    Change("the title", NEITHER, replaced("shapes/shapes.yaml", "title: shapes", "title: Forms")),
    Change("tags", NEITHER, task_line("tags: [mine]")),
    Change("notes", NEITHER, task_line("notes: Drawn.")),
    Change("the licence", NEITHER, task_line("licence: CC0")),
    Change("the homepage", NEITHER, task_line("homepage: https://example.org")),
    Change("a citation", NEITHER, task_line("citation: Nobody 2026")),
    Change("why the splits are so", NEITHER, replaced("shapes/shapes.yaml", "Made up for the tests.", "Because.")),
    Change("no sizes", NEITHER, replaced("shapes/shapes.yaml", "sizes: {train: 18, test: 9}\n", "")),
    Change(
        "the long form of classes",
        NEITHER,
        replaced("shapes/shapes.yaml", CLASSES, "classes: [{key: red, names: [red]}, green, {blue: blue}]"),
    ),
    Change(
        "prompts in a file",
        NEITHER,
        lambda root: (
            (root / "shapes/words.yaml").write_text("templates: ['a photo of a {} square.']"),
            replaced("shapes/shapes.yaml", PROMPTS, "prompts: words.yaml")(root),
        ),
    ),
    Change("the rule that is the default", NEITHER, task_line("splits: {rule: official, train: train, test: test}")),
    Change(
        "a second source",
        NEITHER,
        replaced(
            "shapes/shapes.yaml",
            "test: test}}\n",
            "test: test}}\n  - {kind: folder, path: nowhere, pools: {train: a, test: b}}\n",
        ),
    ),
    Change("a hidden file", NEITHER, lambda root: (root / "shapes/test/red/.note").write_text("x")),
    Change("a file that is no image", NEITHER, lambda root: (root / "shapes/test/red/README").write_text("x")),
    Change("an empty folder", NEITHER, lambda root: (root / "shapes/test/pink").mkdir()),
    Change("the default seed", NEITHER, options={"seed": 0}),
    Change("the default prompts", NEITHER, options={"prompts": "default"}),
    Change("the default grid", NEITHER, options={"probe_grid": "parametric", "probe_tolerance": 1e-6}),
    Change("the device by name", NEITHER, options={"device": "cpu"}),
    Change("the precision by name", NEITHER, options={"precision": "fp32"}),
    Change("the size of batches", NEITHER, options={"batch_size": 5}),
    Change("worker processes", NEITHER, options={"workers": 1}),
    Change("every byte is read again", NEITHER, options={"verify": True}),
    Change("downloads are allowed", NEITHER, options={"download": True}),
    Change("missing data is skipped", NEITHER, options={"skip_missing": True}),
    Change("no network", NEITHER, options={"offline": True}),
    Change("the data root", NEITHER, options={"data_root": "."}),
    Change("the path of the task file", NEITHER, options={"task": "./shapes/../shapes/shapes.yaml"}),
]


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """The evaluation with its stores in another folder."""
    return Path(shutil.copytree(base, tmp_path / "copy", ignore=shutil.ignore_patterns("*lock")))


@pytest.mark.parametrize("door", ["python", "cli"])
@pytest.mark.parametrize("change", [*DECIDING, *NOT_DECIDING], ids=lambda change: change.name)
def test_a_change_is_computed_anew_or_served(copy: Path, cli: WarmCli, door: str, change: Change) -> None:
    change.edit(copy)
    assert served(copy, cli if door == "cli" else None, **change.options) == BOTH - change.anew


@pytest.mark.parametrize("protocol", [ZeroShot, LinearProbe])
def test_a_new_version_of_a_protocol_is_computed_anew(
    copy: Path, monkeypatch: pytest.MonkeyPatch, protocol: type
) -> None:
    monkeypatch.setattr(protocol, "version", 99)
    assert served(copy, None) == BOTH - {protocol.name}  # type: ignore[attr-defined]
