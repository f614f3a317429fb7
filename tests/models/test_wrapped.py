"""Networks inside torch's wrappers: the layers and the fingerprint are those of the network itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import distributed, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

import evalsuite
from evalsuite.models.base import EMBEDDING, PENULTIMATE
from tests.models.test_layers import Clip


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """A process group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def by_module(network: nn.Module) -> nn.Module:
    """Shard as `fully_shard` does, block by block."""
    for block in network.visual.transformer.resblocks:  # type: ignore[union-attr]
        fully_shard(block)
    return fully_shard(network)


def by_wrapper(network: nn.Module) -> nn.Module:
    """Shard as the older FSDP does, block by block."""
    blocks = {type(network.visual.transformer.resblocks[0])}  # type: ignore[union-attr,index]

    def policy(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
        return recurse or type(module) in blocks

    return FullyShardedDataParallel(network, auto_wrap_policy=policy, device_id=torch.device("cpu"))


def preprocess(image: object) -> torch.Tensor:
    """Return an image that is not looked at."""
    return torch.zeros(3, 8, 8)


def compiled_with_lightning(network: nn.Module) -> nn.Module:
    """Compile as torch does where Lightning is imported: it notes the arguments in the network."""
    found = torch.compile(network, backend="eager")
    found._compile_kwargs = {"backend": "eager"}  # type: ignore[attr-defined]
    assert isinstance(found, nn.Module)
    return found


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        nn.parallel.DistributedDataParallel,
        lambda network: torch.compile(network, backend="eager"),
        compiled_with_lightning,
        by_module,
        by_wrapper,
    ],
    ids=["DataParallel", "DDP", "compile", "compile-lightning", "fully_shard", "FSDP"],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_wrapped_network_is_read_as_the_network_itself(wrap: Callable[[nn.Module], nn.Module]) -> None:
    plain = evalsuite.wrap_module(Clip(), preprocess, name="clip")
    network = wrap(Clip())
    before = [(name, type(value), value.shape) for name, value in network.named_parameters()]
    model = evalsuite.wrap_module(network, preprocess, name="clip")
    images = torch.randn(4, 3, 8, 8)
    assert model.info.layers == {PENULTIMATE: 8, EMBEDDING: 3}
    for layer, values in plain.encode_images(images).items():
        assert torch.equal(model.encode_images(images)[layer], values)
    assert model.info.fingerprint == plain.info.fingerprint and not model.info.not_described
    assert [(name, type(value), value.shape) for name, value in network.named_parameters()] == before
