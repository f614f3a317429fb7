"""The two decoders: what Pillow makes stays as it was, and what torchvision makes is nearly that."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2

from evalsuite.data.base import LoadedSample, Pool
from evalsuite.data.readers import raw_pool_from_files
from evalsuite.data.sources.torchvision import TorchvisionReader
from evalsuite.features.decoders import DECODERS
from evalsuite.features.samples import Samples, Unreadable
from evalsuite.models.pocket import load_pocket
from evalsuite.models.preprocessing import RgbFirst
from tests.models_for_tests import array_pool

SIZE = (90, 61)

CLIP = RgbFirst(open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(size=48), is_train=False))

PILLOW, TORCHVISION = DECODERS["pillow"], DECODERS["torchvision"]


def picture(mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Return a smooth picture."""
    values = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(SIZE, Image.Resampling.BICUBIC).convert(mode)


def pool_of(folder: Path, pictures: dict[str, Image.Image], **options: object) -> Pool:
    for name, image in pictures.items():
        image.save(folder / name, **options)
    raw = raw_pool_from_files(folder, list(pictures), [0] * len(pictures))
    return Pool("test", tuple(raw.ids), np.zeros(len(pictures), int), raw.read, raw.sizes, raw.mtimes, None, "f")


def through(decoder: str, pool: Pool, row: int = 0, preprocess: object = CLIP) -> np.ndarray:
    """Return the pixels of one sample, as they reach the arena."""
    found = Samples(pool, [preprocess], decoder).read(row)  # type: ignore[list-item, arg-type]
    assert not isinstance(found, Unreadable), found
    return found.image(0)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_decoded_to_the_same_bytes(tmp_path: Path, mode: str) -> None:
    pool = pool_of(tmp_path, {"a.jpg": picture(mode)}, quality=80)
    ours, theirs = TORCHVISION.open(pool, 0), PILLOW.open(pool, 0)
    assert isinstance(ours.image, torch.Tensor) and isinstance(theirs.image, Image.Image)
    assert np.array_equal(np.asarray(ours.shown()), np.asarray(theirs.image)) and ours.shown().mode == mode
    assert ours.content == theirs.content == (tmp_path / "a.jpg").read_bytes()


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "RGB"), ("a.jpg", "L"), ("a.png", "RGB"), ("a.png", "P")])
@pytest.mark.parametrize("preprocess", [CLIP, load_pocket().preprocess], ids=["clip", "pocket"])
def test_pixels_are_at_most_one_grey_level_off(tmp_path: Path, name: str, mode: str, preprocess: object) -> None:
    pool = pool_of(tmp_path, {name: picture(mode)})
    ours, theirs = (through(decoder, pool, preprocess=preprocess) for decoder in ("torchvision", "pillow"))
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_pixels_are_those_of_torchvision(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, {"a.jpg": picture()})
    tensor = v2.functional.pil_to_tensor(Image.open(tmp_path / "a.jpg"))
    how = transforms.InterpolationMode.BICUBIC
    expected = v2.functional.center_crop(v2.functional.resize(tensor, [48], how, antialias=True), [48])
    assert np.array_equal(through("torchvision", pool), expected.numpy())


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_a_jpeg_of_other_colours_is_left_to_pillow(tmp_path: Path, mode: str) -> None:
    pool = pool_of(tmp_path, {"a.jpg": picture(mode)})
    ours, theirs = (through(decoder, pool) for decoder in ("torchvision", "pillow"))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_what_cannot_be_resized_as_a_tensor_is_left_to_pillow(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, {"a.jpg": picture(), "b.png": picture("RGBA")})
    lanczos = transforms.Resize(40, interpolation=transforms.InterpolationMode.LANCZOS)
    own = transforms.Compose([transforms.Lambda(lambda image: image.rotate(3)), transforms.ToTensor()])
    for preprocess in (own, transforms.Compose([lanczos, transforms.ToTensor()]), lambda i: torch.ones(3, 2, 2)):
        for row in (0, 1):
            ours, theirs = (through(decoder, pool, row, preprocess) for decoder in ("torchvision", "pillow"))
            assert np.array_equal(ours, theirs)


def test_a_preprocessing_without_conversion_keeps_grey_grey(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, {"a.jpg": picture("L"), "b.png": picture("RGBA")})
    small = transforms.Compose([transforms.Resize((20, 30)), transforms.ToTensor()])
    assert through("torchvision", pool, 0, small).shape == (1, 20, 30)
    assert through("torchvision", pool, 1, small).shape == (4, 20, 30)


def test_a_jpeg_that_is_cut_off_is_unreadable_for_both(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, {"a.jpg": picture()})
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    for decoder in ("pillow", "torchvision"):
        found = Samples(pool, [CLIP], decoder).read(0)  # type: ignore[arg-type]
        assert isinstance(found, Unreadable) and "'a.jpg'" in found.problem


def test_a_reader_that_does_not_say_that_it_reads_files_is_asked_for_its_image() -> None:
    file = io.BytesIO()
    picture().save(file, "JPEG")

    def cut(row: int) -> LoadedSample:
        return LoadedSample(picture().crop((0, 0, 40, 40)), file.getvalue())

    pool = Pool(**{**vars(array_pool(1)), "read": cut})
    whole = transforms.Compose([transforms.ToTensor()])
    assert through("torchvision", pool, preprocess=whole).shape == (3, 40, 40)


class Cutting:
    """A dataset of torchvision's kind that shows a part of its files."""

    def __init__(self, files: list[Path], cut: bool) -> None:
        self.imgs, self.cut = [(str(file), 0) for file in files], cut

    def __len__(self) -> int:
        return len(self.imgs)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        image = Image.open(self.imgs[index][0]).convert("RGB")
        return image.crop((0, 0, 40, 40)) if self.cut else image, 0


@pytest.mark.parametrize("cut", [False, True])
def test_files_of_torchvision_count_where_its_class_shows_them_as_they_are(tmp_path: Path, cut: bool) -> None:
    pool = pool_of(tmp_path, {"a.jpg": picture(), "b.jpg": picture(seed=1)})
    reader = TorchvisionReader("Cutting", tmp_path, {}, "test", tmp_path)
    reader.__dict__["dataset"] = Cutting([tmp_path / "a.jpg", tmp_path / "b.jpg"], cut)
    assert (reader.encoded(1) is None) == cut
    assert reader.encoded(1) in (None, pool.encoded(1))
