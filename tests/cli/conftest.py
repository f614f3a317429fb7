"""The command line as a process, and small things to run it on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import cli_environment
from tests.datasets import write_folder_task

NO_HUB = "http://127.0.0.1:9"
"""Nobody listens there: the hub as a machine without a network sees it."""

COLOUR_MODEL = '''
"""A model whose features are the mean colour of an image, and whose texts are the colours they name."""

import numpy as np
import torch
from torch import nn

WORDS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class Colours(nn.Module):
    def encode_image(self, batch):
        return batch.mean(dim=(2, 3))

    def encode_text(self, tokens):
        return tokens


def preprocess(image):
    pixels = np.asarray(image.convert("RGB").resize((8, 8)), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)


def tokenizer(texts):
    return torch.tensor([[sum(WORDS[w][c] for w in text.split() if w in WORDS) for c in range(3)] for text in texts])


def factory():
    return Colours(), preprocess, tokenizer


def images_only():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), preprocess
'''


@dataclass
class Finished:
    """What a process did."""

    arguments: list[str]
    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Everything it printed, with line breaks of tables and wrapped messages taken out."""
        return " ".join((self.stdout + "\n" + self.stderr).split())


WarmCli = Callable[..., Finished]


@dataclass
class Zygote:
    """The process of `warm.py`."""

    process: subprocess.Popen[str]
    folder: Path
    count: int = field(default=0)

    def run(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, without: Sequence[str]) -> Finished:
        """Run the command line in a child of it."""
        self.count += 1
        files = {name: self.folder / f"{self.count}.{name}" for name in ("stdout", "stderr")}
        request = {
            "arguments": list(arguments),
            "env": dict(env),
            "cwd": str(cwd),
            "without": list(without),
            **{name: str(path) for name, path in files.items()},
        }
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the process that runs the command line has ended"
        printed = {name: path.read_text("utf-8") if path.exists() else "" for name, path in files.items()}
        return Finished(list(arguments), int(answer), **printed)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Start the process; its hub cache is empty and its hub out of reach."""
    folder = tmp_path_factory.mktemp("warm")
    env = cli_environment(folder, {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": NO_HUB, "TORCH_HOME": str(folder)})
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cli.warm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
        cwd=Path(__file__).resolve().parents[2],
    ) as process:
        yield Zygote(process, folder)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def cli(zygote: Zygote, tmp_path: Path) -> WarmCli:
    """Run `evalsuite ...` in a process and a folder of its own; its results are in `out`, features in `cache`."""

    def run(
        *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path = tmp_path, without: Sequence[str] = ()
    ) -> Finished:
        return zygote.run([str(item) for item in arguments], warm_environment(zygote, tmp_path, env), cwd, without)

    return run


def warm_environment(zygote: Zygote, home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a `cli` process."""
    return cli_environment(home, {"HF_HOME": str(zygote.folder / "hf"), "HF_ENDPOINT": NO_HUB, **(extra or {})})


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A small folder dataset: three colours, six images each to train, three to test; its task file."""
    return write_folder_task(tmp_path / "data")


@pytest.fixture
def colours(tmp_path: Path) -> str:
    """The name of a tiny model with a text encoder that knows three colours."""
    path = tmp_path / "colour_model.py"
    path.write_text(COLOUR_MODEL)
    return f"{path}:factory"


def records(folder: Path) -> list[dict[str, Any]]:
    """Read every result under a folder, in the order of their names."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.rglob("*.json"))]


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file under a folder, locks left out: what must not change."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
