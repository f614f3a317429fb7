"""The digest of live objects: it changes with whatever changes a feature, and with nothing else."""

from __future__ import annotations

import functools
import importlib
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms

from evalsuite.code_identity import identify

NAME = "notebook_of_a_user"

BASE = '''
"""What a person writes in a notebook."""

import functools
import numpy as np
import torch
from torch import nn
from torchvision import transforms as T

SIZE = 8
TABLE = {"mean": 0.5, "sizes": [1, 2]}
WIDE = torch.arange(10_000.0)


def scale(value, by=2.0, *, plus=0.0):
    """Scale."""
    return value * by + plus


def preprocess(image):
    return scale(image.resize(SIZE)) - TABLE["mean"] + WIDE[image.index]


def made(power):
    def inner(image):
        return image**power

    return inner


captured = made(2)
short = lambda image: image.resize((8, 8))
pipeline = T.Compose([T.Resize((8, 8)), T.ToTensor(), T.Lambda(lambda x: x * 1.0)])
partial = functools.partial(scale, by=3.0)


class Settings:
    temperature = 1.0


class Pipeline:
    factor = 1.0

    def __init__(self, gain=1.0):
        self.gain = gain
        self.table = np.arange(5000)
        self.networks = {"head": nn.Linear(2, 2, bias=False)}
        with torch.no_grad():
            self.networks["head"].weight.fill_(1.0)

    def __call__(self, image):
        return self.again(image) * self.gain * self.factor * Settings.temperature

    def again(self, image):
        return image + 1


class Network(nn.Module):
    def __init__(self, pooling="mean"):
        super().__init__()
        self.pooling = pooling
        self.scale = torch.ones(3)
        self.inner = nn.Linear(2, 2)

    def forward(self, x):
        return x.flatten(1) * 1.0

    def nested(self, x):
        return [value + 1 for value in x]


instance = Pipeline()
method = instance.again
'''


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """A function that writes the file with some text replaced and imports it anew, under one name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(old: str = "", new: str = "") -> ModuleType:
        text = BASE.replace(old, new) if old else BASE
        assert text != BASE or not old
        torch.manual_seed(0)
        (tmp_path / f"{NAME}.py").write_text(text)
        importlib.invalidate_caches()
        sys.modules.pop(NAME, None)
        for cached in (tmp_path / "__pycache__").glob("*"):
            cached.unlink()
        return importlib.import_module(NAME)

    return written


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("preprocess", "SIZE = 8", "SIZE = 2"),
        ("preprocess", "value * by + plus", "value * by - plus"),
        ("preprocess", "by=2.0", "by=2.5"),
        ("preprocess", "plus=0.0", "plus=0.1"),
        ("preprocess", '"mean": 0.5', '"mean": 0.6'),
        ("preprocess", "torch.arange(10_000.0)", "torch.arange(10_000.0).index_fill(0, torch.tensor([5000]), 0.0)"),
        ("captured", "made(2)", "made(3)"),
        ("captured", "image**power", "image*power"),
        ("short", "image.resize((8, 8))", "image.resize((2, 2))"),
        ("pipeline", "x * 1.0", "x * 0.0"),
        ("pipeline", "T.Resize((8, 8))", "T.Resize((4, 4))"),
        ("partial", "by=3.0", "by=4.0"),
        ("instance", "temperature = 1.0", "temperature = 0.5"),
        ("instance", "factor = 1.0", "factor = 2.0"),
        ("instance", "Pipeline()", "Pipeline(gain=2.0)"),
        ("instance", "image + 1", "image + 2"),
        ("instance", "np.arange(5000)", "np.where(np.arange(5000) == 2500, 0, np.arange(5000))"),
        ("instance", ".fill_(1.0)", ".fill_(2.0)"),
        ("method", "image + 1", "image + 2"),
        ("method", "Pipeline()", "Pipeline(gain=2.0)"),
        ("Network", "x.flatten(1) * 1.0", "x.flatten(1) * 2.0"),
        ("Network", "value + 1 for", "value - 1 for"),
    ],
)
def test_an_edit_that_changes_what_runs_changes_the_digest(
    write: Callable[..., ModuleType], what: str, old: str, new: str
) -> None:
    before, after = identify(getattr(write(), what)), identify(getattr(write(old, new), what))
    assert before.digest != after.digest
    assert before.unknown == after.unknown == ()


@pytest.mark.parametrize("what", ["preprocess", "captured", "pipeline", "partial", "instance", "method", "Network"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('    """Scale."""', '    """Scale a value by a factor."""'),
        ("def made(power):", "# a comment\n\n\ndef made(power):"),
        ('{"mean": 0.5, "sizes": [1, 2]}', '{"sizes": [1, 2], "mean": 0.5}'),
        ("def scale(value, by", "def scale(value: float, by"),
    ],
)
def test_an_edit_that_changes_nothing_that_runs_keeps_the_digest(
    write: Callable[..., ModuleType], what: str, old: str, new: str
) -> None:
    assert identify(getattr(write(), what)) == identify(getattr(write(old, new), what))


def test_a_network_is_its_class_its_attributes_and_its_weights(write: Callable[..., ModuleType]) -> None:
    def digest(change: Callable[[nn.Module], object] = lambda network: None, **arguments: Any) -> str:
        torch.manual_seed(0)
        network = write().Network(**arguments)
        change(network)
        found = identify(network)
        assert found.unknown == ()
        return found.digest

    same = digest()
    assert same == digest() == digest(lambda network: network.eval())
    assert digest(pooling="max") != same
    assert digest(lambda network: network.scale.mul_(2)) != same
    assert digest(lambda network: network.inner.weight.data.mul_(2)) != same
    assert digest(lambda network: network.inner.register_forward_hook(lambda *_: None)) != same
    assert digest(lambda network: setattr(network.inner, "threshold", 3)) != same
    torch.manual_seed(0)
    network = write().Network()
    network.inner.weight.data.mul_(2)
    covered = ("_parameters",)
    assert identify(network, without=covered) == identify(write().Network(), without=covered)


def test_what_a_function_imports_when_it_runs_is_followed(write: Callable[..., ModuleType], tmp_path: Path) -> None:
    digests = []
    for value in ("1.0", "2.0"):
        (tmp_path / "helper_of_a_user.py").write_text(f"FACTOR = {value}\n")
        sys.modules.pop("helper_of_a_user", None)
        for cached in (tmp_path / "__pycache__").glob("*"):
            cached.unlink()
        importlib.invalidate_caches()
        module = write(
            "return scale(image.resize(SIZE))", "import helper_of_a_user as h\n    return h.FACTOR + scale(image)"
        )
        digests.append(identify(module.preprocess).digest)
    assert digests[0] != digests[1]


def test_the_digest_is_the_same_in_every_process(write: Callable[..., ModuleType], tmp_path: Path) -> None:
    names = ("preprocess", "captured", "pipeline", "partial", "instance", "method", "Network")
    module, regex = write(), pytest.importorskip("regex")
    tokens = r"<end>|'s|'re|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # such a pattern has every tokenizer of open_clip
    code = (
        "import regex, torch; torch.manual_seed(0)\n"
        "import notebook_of_a_user as n\n"
        "from evalsuite.code_identity import identify\n"
        f"print(*[identify(getattr(n, name)).digest for name in {names}], identify(regex.compile({tokens!r})).digest)"
    )
    path = f"{tmp_path}:{Path(__file__).resolve().parents[1]}"
    env = {"PYTHONPATH": path, "PYTHONHASHSEED": "1", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    here = [*(getattr(module, name) for name in names), regex.compile(tokens)]
    assert done.stdout.split() == [identify(thing).digest for thing in here]


def test_objects_of_libraries_are_described_by_their_state() -> None:
    resize = transforms.Resize((8, 8))
    assert identify(resize).unknown == ()
    assert identify(resize).digest != identify(transforms.Resize((8, 9))).digest
    assert identify(re.compile("a")).digest != identify(re.compile("b")).digest
    assert identify(np.float32(1)).digest != identify(np.float32(2)).digest
    assert identify(np.exp).digest != identify(np.log).digest
    assert identify(torch.relu).digest != identify(torch.tanh).digest
    assert identify(nn.LSTM(2, 2)).unknown == ()
    assert identify(functools.lru_cache(len)).unknown == ()


def test_caches_that_grow_while_an_object_works_do_not_count() -> None:
    class Tokenizer:
        def __init__(self) -> None:
            self.cache: dict[str, int] = {}
            self.vocabulary = {"a": 1}

    tokenizer = Tokenizer()
    before = identify(tokenizer)
    tokenizer.cache["word"] = 3
    assert identify(tokenizer) == before
    tokenizer.vocabulary["b"] = 2
    assert identify(tokenizer) != before


def test_what_cannot_be_described_is_named() -> None:
    class Holder:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    assert identify(Holder()).unknown == ("an object of the type _thread.lock",)
    assert "generator" in identify([(i for i in range(3))]).unknown[0]
    assert "meta" in identify(torch.empty(3, device="meta")).unknown[0]


def test_objects_that_hold_each_other_end() -> None:
    first: dict[str, Any] = {"name": "first"}
    first["second"] = {"name": "second", "first": first}
    assert identify(first).unknown == ()
