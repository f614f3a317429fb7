"""How layers are read: nothing in the network is changed for it, not even while it runs."""

from __future__ import annotations

import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from evalsuite.models.layers import chosen_activation, convolutional, layer_function


class Clip(nn.Module):
    """A CLIP model's image side, tiny: the embedding has 3 dimensions, what is before the projection 8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.visual = VisionTransformer(
            image_size=8, patch_size=4, width=8, layers=1, heads=2, mlp_ratio=2.0, output_dim=3
        ).eval()

    def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        """Return (n, 3)."""
        embedding: torch.Tensor = self.visual(batch)
        return embedding


@torch.no_grad()
def test_a_clip_vit_is_read_before_its_projection_which_stays_where_it_is() -> None:
    model, images = Clip(), torch.randn(5, 3, 8, 8)
    read, _ = layer_function(model)
    parameters, projection = dict(model.named_parameters()), model.visual.proj
    seen: list[bool] = []
    model.visual.transformer.register_forward_hook(lambda *_: seen.append(model.visual.proj is projection))
    found = read(model)(images)
    assert seen == [True]
    assert torch.equal(found["embedding"], model.encode_image(images))
    assert found["penultimate"].shape == (5, 8)
    assert torch.equal(found["penultimate"] @ projection, found["embedding"])
    assert dict(model.named_parameters()) == parameters


@torch.no_grad()
def test_weights_that_are_exchanged_are_read_anew() -> None:
    model, images = Clip(), torch.randn(5, 3, 8, 8)
    read, _ = layer_function(model)
    before = read(model)(images)
    other = {name: value + 1 for name, value in model.state_dict().items()}
    model.load_state_dict(other, assign=True)
    after = read(model)(images)
    assert torch.equal(after["embedding"], model.encode_image(images))
    assert not torch.equal(after["penultimate"], before["penultimate"])


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ({"gelu": 12, "quickgelu": 1}, "quickgelu"),
        ({"relu": 12, "gelu": 1}, "gelu"),
        ({"silu": 2, "relu": 1}, "silu"),
        ({}, None),
    ],
)
def test_of_several_activations_that_of_transformers_is_recorded(counts: dict[str, int], chosen: str | None) -> None:
    assert chosen_activation(counts) == chosen


def test_a_tower_that_normalises_unless_told_not_to_is_told() -> None:
    class CoCa(nn.Module):
        def encode_image(self, batch: torch.Tensor, normalize: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
            return (nn.functional.normalize(batch, dim=1) if normalize else batch), batch.sum(dim=1)

    found = layer_function(CoCa())[0](CoCa())(torch.tensor([[3.0, 4.0]]))
    assert found.keys() == {"penultimate", "embedding"}
    assert all(values.tolist() == [[3.0, 4.0]] for values in found.values())


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ([nn.Conv2d(3, 8, kernel_size=16, stride=16), nn.Linear(8, 8)], False),  # a ViT
        ([nn.Conv2d(3, 8, kernel_size=7, stride=2), nn.Conv2d(8, 8, kernel_size=3)], True),
        ([nn.Conv2d(3, 8, kernel_size=4, stride=4), nn.Conv2d(8, 8, kernel_size=7, padding=3, groups=8)], True),
        ([nn.Linear(8, 8)], False),
    ],
)
def test_networks_that_convolve_are_told_from_those_that_cut_patches(layers: list[nn.Module], found: bool) -> None:
    assert convolutional(nn.Sequential(*layers)) is found
