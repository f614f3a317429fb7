"""What is in the fingerprint of a model and in the digests of its weights, byte for byte, and what is printed of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from evalsuite.models.identity import describe_config, fingerprint, glance, readable, state_digest
from evalsuite.models.layers import embedding_layers
from evalsuite.models.modules import TorchImageModel, wrap_module


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_a_fingerprint_is_the_sha256_of_its_parts_in_one_order() -> None:
    """As long as it is, what is stored is current."""
    assert fingerprint(weights="w") == sha256(b'{"layer_rules": 1, "weights": "w"}')
    assert fingerprint(b=[1], a={"y": 2, "x": (3, 4)}) == sha256(
        b'{"a": {"x": [3, 4], "y": 2}, "b": [1], "layer_rules": 1}'
    )
    assert fingerprint(a=torch.Size([2]), b={1}) == fingerprint(b=[1], a=[2])
    assert (
        fingerprint(weights="w", layer_rules=1) == fingerprint(weights="w") != fingerprint(weights="w", layer_rules=2)
    )


class Small(nn.Module):
    """A parameter of a type that numpy lacks, a buffer, and a state of its own."""

    def __init__(self, extra: object = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.bfloat16))
        self.register_buffer("count", torch.tensor(3))
        if extra is not None:
            self.extra = extra

    def get_extra_state(self) -> object:
        """Return the state, which torch keeps under a name of its own."""
        return getattr(self, "extra", "none")

    def set_extra_state(self, state: object) -> None:
        """Take it back."""
        self.extra = state


def test_the_digest_of_weights_is_of_names_types_shapes_and_bytes() -> None:
    count = b"count|torch.int64|()" + (3).to_bytes(8, "little")
    weight = b"weight|torch.bfloat16|(1, 2)" + b"\x80\x3f\x00\xc0"  # 1 and -2, the upper halves of their float32
    extra = b"_extra_state|'none'"
    assert state_digest(Small()) == f"state:{sha256(extra, count, weight)}"
    assert state_digest(Small({"a": 1})) != state_digest(Small())


@pytest.mark.parametrize(
    "change",
    [
        lambda network: setattr(network, "weight", nn.Parameter(network.weight.detach().reshape(2, 1))),
        lambda network: setattr(network, "weight", nn.Parameter(network.weight.detach().half())),
        lambda network: network.weight.data.mul_(-1),
        lambda network: network.count.add_(1),
        lambda network: network.register_buffer("other", torch.zeros(0)),
    ],
)
def test_every_part_of_the_weights_is_in_both_digests(change: Callable[[Small], object]) -> None:
    network = Small()
    before, seen = state_digest(network), glance(network)
    assert (state_digest(network), glance(network)) == (before, seen)
    change(network)
    assert state_digest(network) != before and glance(network) != seen


def test_weights_in_other_places_of_memory_have_one_digest() -> None:
    network, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = nn.Parameter(torch.empty(4, 4).t())  # the same values, column by column
    with torch.no_grad():
        other.weight.copy_(network.weight)
        other.bias.copy_(network.bias)
    assert not other.weight.is_contiguous() and state_digest(other) == state_digest(network)
    assert glance(other) != glance(network)  # it is about one object and what is done to it


@pytest.mark.parametrize(
    ("size", "place", "noticed"), [(640, 0, True), (640, 630, True), (640, 5, False), (9, 1, True)]
)
def test_a_glance_reads_values_spread_over_a_tensor(size: int, place: int, noticed: bool) -> None:
    """Of 640 values every tenth, of a few all of them; a change through `.data` is counted by nobody."""
    network = nn.Module()
    network.weight = nn.Parameter(torch.zeros(size))
    before = glance(network)
    network.weight.data[place] = 1
    assert (glance(network) != before) == noticed


def test_a_glance_sees_what_torch_counts_and_what_was_put_in_the_place_of_a_tensor() -> None:
    network = nn.Module()
    network.weight = nn.Parameter(torch.zeros(640))
    before = glance(network)
    with torch.no_grad():
        network.weight[5] = 1
    changed = glance(network)
    assert changed != before
    kept, network.weight = network.weight, nn.Parameter(network.weight.detach().clone())
    assert kept is not network.weight and glance(network) != changed


def test_a_glance_takes_weights_that_were_made_for_inference() -> None:
    with torch.inference_mode():
        network = nn.Linear(2, 2)
    before = glance(network)
    with torch.inference_mode():
        network.weight[0, 0] += 1
    assert glance(network) != before


def test_what_is_printed_of_an_object_is_one_line_without_addresses() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd at 0x7fAB01>\n   of  two lines"

    assert readable(Odd()) == "<odd> of two lines"


def test_a_preprocessing_is_described_in_a_line() -> None:
    config = {"size": (3, 224), "mean": [0.48145466, 0.5], "crop": None, "mode": "bicubic", "scale": 0.9}
    assert describe_config(config) == "size (3, 224), mean (0.4815, 0.5), mode bicubic, scale 0.9"


class Live(nn.Module):
    """A network with an image and a text tower of one weight each, and everything else that decides its features."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("kept", torch.tensor(3.0))
        self.register_buffer("not_kept", torch.tensor(4.0), persistent=False)
        self.power = 1.0
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.logit_bias = nn.Parameter(torch.tensor(-3.0))

    def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        """Return (n, 3)."""
        found: torch.Tensor = batch.flatten(2).mean(dim=2) * self.weight * self.kept * self.not_kept * self.power
        return found

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return (n, 2)."""
        return tokens.float()


class Preprocess:
    """A preprocessing with a constant."""

    def __init__(self, value: float = 0.5) -> None:
        self.value = value

    def __call__(self, image: object) -> torch.Tensor:
        """Return a plain image."""
        return torch.full((3, 4, 4), self.value)


class Tokenizer:
    """A tokenizer with a constant."""

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Return the length of each text and the shift."""
        return torch.tensor([[len(text), self.shift] for text in texts])


def test_all_that_decides_the_features_of_a_live_network_is_in_its_fingerprint() -> None:
    def wrapped(change: Callable[[Live], object] = lambda network: None, **other: Any) -> TorchImageModel:
        network = Live()
        change(network)
        usual = {"preprocess": Preprocess(), "tokenizer": Tokenizer(), "source": "file"}
        return wrap_module(network, name="mine", **{**usual, **other})

    def set_to_one(name: str) -> Callable[[Live], object]:
        return lambda network: getattr(network, name).data.fill_(1.0)

    models = {
        "nothing": wrapped(),
        **{name: wrapped(set_to_one(name)) for name in ("weight", "kept", "not_kept", "logit_scale", "logit_bias")},
        "power": wrapped(lambda network: setattr(network, "power", 2.0)),
        "preprocess": wrapped(preprocess=Preprocess(0.25)),
        "tokenizer": wrapped(tokenizer=Tokenizer(1)),
        "no tokenizer": wrapped(tokenizer=None),
        "source": wrapped(source="another file"),
    }
    assert wrapped().info.fingerprint == models["nothing"].info.fingerprint
    assert len({model.info.fingerprint for model in models.values()}) == len(models)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evalsuite.models.modules.layer_function", lambda network: (embedding_layers, "another rule"))
        assert wrapped().info.fingerprint not in {model.info.fingerprint for model in models.values()}


def test_scale_and_bias_of_a_live_network_are_those_it_has_now() -> None:
    network = Live()
    model = wrap_module(network, Preprocess(), Tokenizer(), name="mine")
    assert (model.info.logit_scale, model.info.logit_bias) == (pytest.approx(math.exp(2)), -3.0)
    before = model.info.fingerprint
    with torch.no_grad():
        network.logit_scale.fill_(1.0)
        network.logit_bias.fill_(-5.0)
    model.refresh()
    assert (model.info.logit_scale, model.info.logit_bias) == (pytest.approx(math.e), -5.0)
    assert model.info.fingerprint != before
    alone = wrap_module(network, Preprocess(), name="mine").info
    assert alone.logit_scale is None and alone.logit_bias is None
