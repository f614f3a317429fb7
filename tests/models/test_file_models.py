"""Models from somebody's own function, and torch modules as they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from torch import nn

from evalsuite import evaluate
from evalsuite.errors import ModelError, UsageError
from evalsuite.models.base import ImageModel, ImageTextModel
from evalsuite.models.loading import load_model, weights_fingerprint
from evalsuite.models.modules import wrap_module
from tests.datasets import write_folder_task
from tests.paper import small_clip

SCALED = """
import numpy as np
import scales_of_a_user
import torch
from torch import nn


def preprocess(image):
    return torch.from_numpy(np.array(image.resize((4, 4)), dtype=np.float32)).permute(2, 0, 1) * scales_of_a_user.SCALE


def make():
    return nn.Flatten(), preprocess
"""

SOURCE = """
import numpy as np
import torch
from torch import nn
from evalsuite.models.base import ModelInfo


def to_tensor(image):
    return torch.from_numpy(np.asarray(image.convert("L").resize((4, 4)), dtype=np.float32)[None] / 255)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(16, 5)

    def forward(self, batch):
        return self.linear(batch.flatten(1))


class Clip(Net):
    def encode_image(self, batch):
        return self(batch)

    def encode_text(self, tokens):
        return tokens.float() @ torch.ones(3, 5)


class Own:
    preprocess = staticmethod(to_tensor)

    def __init__(self):
        self.net = Net()
        self.info = ModelInfo(name="mine", slug="mine", backend="mine", fingerprint="always the same", input_size=4,
                              layers={"penultimate": 5})

    def encode_images(self, batch):
        return {"penultimate": self.net(batch)}


def own():
    return Own()


def pair():
    return Net(), to_tensor


def triple():
    return Clip(), to_tensor, lambda texts: torch.tensor([[len(text), 1, 2] for text in texts])


def lacking():
    return Net()


def quadruple():
    return Net(), to_tensor, None, 4


def map_maker():
    return nn.Conv2d(1, 2, 1), to_tensor


def wrong_preprocess():
    return Net(), lambda image: image


def no_text_tower():
    return Net(), to_tensor, lambda texts: texts
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    file = tmp_path / "mine.py"
    file.write_text(SOURCE)
    return file


def test_an_object_and_a_tuple_are_models(code: Path) -> None:
    features = []
    for factory in ("own", "pair"):
        model = load_model(f"{code}:{factory}")
        assert isinstance(model, ImageModel)
        assert not isinstance(model, ImageTextModel)
        assert (model.info.backend, model.info.layers) == ("file", {"penultimate": 5})
        features.append(model.encode_images(model.preprocess(Image.new("RGB", (9, 9), "red"))[None])["penultimate"])
        assert not features[-1].requires_grad
    assert torch.equal(features[0], features[1])
    assert weights_fingerprint(f"{code}:pair") is None


def test_a_tuple_with_a_tokenizer_encodes_texts(code: Path) -> None:
    model = load_model(f"{code}:triple")
    assert isinstance(model, ImageTextModel)
    assert model.info.layers == {"penultimate": 5, "embedding": 5}
    assert model.encode_texts(["ab", "abcd"]).tolist() == [[5.0] * 5, [7.0] * 5]


@pytest.mark.parametrize("factory", ["own", "pair"])
def test_the_fingerprint_covers_source_and_weights(code: Path, factory: str) -> None:
    def mark() -> str:
        return load_model(f"{code}:{factory}").info.fingerprint

    first = mark()
    assert mark() == first
    code.write_text(SOURCE + "\n# changed\n")
    assert mark() != first
    code.write_text(SOURCE)
    assert mark() == first
    code.write_text(SOURCE.replace("manual_seed(0)", "manual_seed(int(open(__file__ + '.seed').read()))"))
    marks = []
    for seed in ("0", "1"):
        Path(f"{code}.seed").write_text(seed)
        marks.append(mark())
    assert marks[0] != marks[1]


@pytest.mark.parametrize(
    ("factory", "kind", "said"),
    [
        ("lacking", ModelError, "Net, which lacks info, preprocess, encode_images"),
        ("quadruple", ModelError, "tuple"),
        ("map_maker", ModelError, r"\(n, dim\) features for 'penultimate', not \(1, 2, 4, 4\)"),
        ("wrong_preprocess", ModelError, "preprocess must turn an image into"),
        ("no_text_tower", UsageError, "no encode_text"),
        ("nothing", UsageError, "has no function 'nothing'.*own, pair"),
    ],
)
def test_wrong_factories_say_what_is_missing(code: Path, factory: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        load_model(f"{code}:{factory}")


def test_a_file_that_fails_on_import_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import nowhere_to_be_found")
    with pytest.raises(ModelError, match=r"bad\.py.*nowhere_to_be_found"):
        load_model(f"{tmp_path / 'bad.py'}:make")


def crop(image: Image.Image) -> torch.Tensor:
    return torch.full((3, 160, 160), image.width / 224)


def test_a_module_in_training_is_left_as_it_was() -> None:
    module = timm.create_model("test_vit", drop_rate=0.5).train()
    module.blocks[0].eval()  # somebody froze a part
    modes = [part.training for part in module.modules()]
    model = wrap_module(module, crop, name="run 7, epoch 3")
    features = [model.encode_images(torch.ones(1, 3, 160, 160))["penultimate"] for _ in range(2)]
    assert torch.equal(*features)  # dropout was off
    assert [part.training for part in module.modules()] == modes
    assert torch.is_grad_enabled()
    assert all(parameter.requires_grad for parameter in module.parameters())
    module(torch.ones(1, 3, 160, 160)).sum().backward()
    assert model.info.slug == "run-7-epoch-3"


def test_wrapping_again_after_a_step_gives_another_fingerprint() -> None:
    module: Any = timm.create_model("test_vit")
    first = wrap_module(module, crop, name="run").info.fingerprint
    assert wrap_module(module, crop, name="run").info.fingerprint == first
    with torch.no_grad():
        module.norm.bias[0] += 1e-3
    assert wrap_module(module, crop, name="run").info.fingerprint != first


def test_another_preprocessing_is_another_fingerprint() -> None:
    module = nn.Flatten()

    def scaled(factor: float) -> Any:
        return lambda image: torch.ones(3, 2, 2) * factor

    marks = {wrap_module(module, scaled(factor), name="run").info.fingerprint for factor in (1.0, 2.0, 1.0)}
    assert len(marks) == 2


def test_half_precision_modules_get_half_precision_images() -> None:
    model = wrap_module(timm.create_model("test_vit").to(torch.bfloat16), crop, name="half")
    assert model.encode_images(torch.ones(1, 3, 160, 160))["penultimate"].dtype == torch.bfloat16


def test_an_imported_module_that_is_edited_within_a_second_to_the_same_size_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "m.py").write_text(SCALED)
    marks = []
    for scale in ("1.0", "0.0"):
        path = tmp_path / "scales_of_a_user.py"
        path.write_text(f"SCALE = {scale}\n")
        os.utime(path, (1_700_000_000, 1_700_000_000))
        sys.modules.pop("scales_of_a_user", None)
        marks.append(load_model(f"{tmp_path}/m.py:make").info.fingerprint)
    assert marks[0] != marks[1]
    assert not sys.dont_write_bytecode


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda module: torch.compile(module, backend="eager")])
def test_wrappers_of_torch_are_taken_off(wrap: Callable[[nn.Module], nn.Module]) -> None:
    """A wrapped CLIP has no `visual` or `encode_text` to find, and another layer would be read."""
    network, preprocess, tokenizer = small_clip.factory()
    plain = wrap_module(network, preprocess, tokenizer, name="run")
    wrapped = wrap_module(wrap(network), preprocess, tokenizer, name="run")
    assert isinstance(wrapped, ImageTextModel)
    assert wrapped.info == plain.info and wrapped.info.not_described == ()
    images = torch.rand(2, 3, 32, 32)
    for layer, features in plain.encode_images(images).items():
        assert torch.equal(wrapped.encode_images(images)[layer], features)


@pytest.mark.parametrize(
    ("place", "what", "said"),
    [
        *((place, "sys.exit(3)", "exit") for place in ("import", "factory", "forward", "preprocess")),
        ("forward", "raise BaseException('no')", "BaseException"),
        ("preprocess", "raise BaseException('no')", "BaseException"),
        ("forward", "1 / 0", "line 6: ZeroDivisionError"),
        ("preprocess", "raise type('Mute', (Exception,), {'__str__': None})", "Mute"),
    ],
)
def test_a_model_that_ends_the_program_fails_alone(tmp_path: Path, place: str, what: str, said: str) -> None:
    """`pixels`, which comes after it, has its result."""
    code = {name: what if name == place else "pass" for name in ("import", "factory", "forward", "preprocess")}
    (tmp_path / "ending.py").write_text(
        f"import sys\nimport torch\n{code['import']}\n"
        "class Net(torch.nn.Module):\n"
        f"    def forward(self, x):\n        {code['forward']}\n        return x.flatten(1)\n"
        f"def prepare(image):\n    {code['preprocess']}\n    return torch.ones(3, 4, 4)\n"
        f"def make():\n    {code['factory']}\n    return Net(), prepare\n"
    )
    task = write_folder_task(tmp_path / "data", train=3, test=1, size=8)
    stores = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    models = [f"{tmp_path / 'ending.py'}:make", "pixels"]
    ended, other = evaluate(models, str(task), protocols="linear_probe", **stores)
    assert ended.error is not None and said.lower() in ended.error.message.lower()
    assert "ending.py" in ended.error.message and other.status == "ok"


def test_stores_stay_where_they_are_when_a_model_changes_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "moving.py").write_text(f"import os\n{SOURCE}\nos.chdir({str(elsewhere)!r})\n")
    task = write_folder_task(tmp_path / "data", train=3, test=1, size=8)
    monkeypatch.chdir(tmp_path)
    (result,) = evaluate("moving.py:pair", task, protocols="linear_probe", output="out", cache_dir="cache")
    assert result.status == "ok" and not any(elsewhere.iterdir())
    assert list((tmp_path / "out").rglob("*.json")) and (tmp_path / "cache").is_dir()


ONE_TEXT = "torch.ones(1, 48)"


@pytest.mark.parametrize(
    ("tokenizer", "encoder", "said"),
    [
        ("{'input_ids': [[1]] * len(texts)}", "torch.ones(3, 48)", "returned dict"),
        ("torch.ones(len(texts), 4)", "None", "made NoneType of 3 texts"),
        ("torch.ones(len(texts), 4)", ONE_TEXT, "made a tensor (1, 48) of 3 texts"),
        ("torch.ones(len(texts), 4)", "torch.ones(len(tokens), 7)", "made a tensor (3, 7) of 3 texts"),
    ],
)
def test_texts_of_another_shape_than_the_images_are_told(
    tokenizer: str, encoder: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "texts.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def encode_image(self, x):\n        return x.flatten(1)\n"
        f"    def encode_text(self, tokens):\n        return {encoder}\n"
        "def make():\n"
        f"    return Net(), lambda image: torch.ones(3, 4, 4), lambda texts: {tokenizer}\n"
    )
    task = write_folder_task(tmp_path / "data", train=3, test=1, size=8)
    stores = {"output": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    (result,) = evaluate(f"{tmp_path / 'texts.py'}:make", task, protocols="zero_shot", **stores)
    assert result.error is not None and said in result.error.message


ODD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "sparse": torch.Tensor.to_sparse,
    "complex": lambda x: x * 1j,
    "empty": lambda x: x[:, :0],
}


@pytest.mark.parametrize("kind", ODD)
def test_features_that_are_no_plain_numbers_are_refused(kind: str) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return ODD[kind](x.flatten(1))

    with pytest.raises(ModelError, match=r"must return \(n, dim\) features"):
        wrap_module(Net(), preprocess=lambda image: torch.ones(3, 4, 4), name="odd")
