"""Names of models: every form, the errors, and that a plan needs no torch."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from evalsuite.errors import EvalsuiteError, UsageError
from evalsuite.models import names
from evalsuite.models.aliases import Alias, aliases, read_aliases, rows_without_alias
from evalsuite.models.names import resolve, slugify
from evalsuite.resources import data_dir


@pytest.mark.parametrize("name", ["ViT-B/32", "vit-b/32", "clip/vit-b-32", "open_clip:ViT-B-32/openai"])
def test_every_way_to_write_a_paper_model_is_one_model(name: str) -> None:
    resolved = resolve(name)
    assert (resolved.name, resolved.slug) == (name, "clip/vit-b-32")
    assert (resolved.backend, resolved.target, resolved.has_text) == ("open_clip", "ViT-B-32/openai", True)
    assert resolved.alias is not None
    assert resolved.alias.published == "clip/vit-b-32"


@pytest.mark.parametrize(
    ("name", "backend", "target", "slug"),
    [
        ("resnet/50", "timm", "resnet50.tv_in1k", "resnet/50"),
        ("timm:resnet18.a1_in1k", "timm", "resnet18.a1_in1k", "timm/resnet18.a1_in1k"),
        (
            "open_clip:ViT-B-32/laion2b_s34b_b79k",
            "open_clip",
            "ViT-B-32/laion2b_s34b_b79k",
            "open_clip/vit-b-32-laion2b_s34b_b79k",
        ),
        ("pixels", "pixels", "pixels", "pixels"),
        ("pocket", "pocket", "pocket", "pocket"),
    ],
)
def test_forms(name: str, backend: str, target: str, slug: str) -> None:
    resolved = resolve(name)
    assert (resolved.backend, resolved.target, resolved.slug) == (backend, target, slug)


def test_checkpoint_and_file_forms(tmp_path: Path) -> None:
    weights = tmp_path / "Epoch 5.pt"
    weights.write_bytes(b"x")
    code = tmp_path / "mine.py"
    code.write_text("")
    by_path = resolve(f"open_clip:ViT-B-32/{weights}")
    assert (by_path.checkpoint, by_path.quickgelu, by_path.slug) == (weights, False, "open_clip/vit-b-32-epoch-5")
    assert resolve(f"open_clip:ViT-B-32/{weights}?quickgelu").quickgelu
    timm_model = resolve(f"timm:resnet10t@{weights}")
    assert (timm_model.checkpoint, timm_model.target) == (weights, "resnet10t")
    file = resolve(f"{code}:make")
    assert (file.backend, file.target, file.slug) == ("file", f"{code}:make", "file/mine-make")
    assert file.has_text is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B/23", ["Did you mean ViT-B/32", "open_clip:ARCH/TAG", "timm:NAME", "my_model.py:factory"]),
        ("ViT-B-32", ["open_clip:ViT-B-32/TAG"]),
        ("resnet50d", ["timm:resnet50d"]),
        ("open_clip:ViT-B-23/openai", ["no architecture 'ViT-B-23'", "ViT-B-32"]),
        ("open_clip:ViT-B-32", ["open_clip:ARCH/TAG"]),
        ("open_clip:ViT-B-32/openai?quickgelu", ["checkpoint files"]),
        ("open_clip:ViT-B-32/nowhere.pt", ["nowhere.pt", "not a file"]),
        ("open_clip:ViT-B-32/w.pt?gelu", ["'?gelu'", "?quickgelu"]),
        ("timm:", ["timm:NAME"]),
        ("timm:resnet50@", ["timm:NAME@PATH"]),
        ("nowhere.py:make", ["nowhere.py", "not there"]),
        ("nowhere.py", ["nowhere.py:FUNCTION"]),
        ("hf:org name", ["ORG/NAME@REVISION"]),
        ("", ["Unknown model"]),
    ],
)
def test_unknown_names_say_what_to_write(name: str, said: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(name)
    for words in said:
        assert words in str(caught.value)


def test_entry_points_are_names(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("acme-vit", "acme.models:vit", names.ENTRY_POINT_GROUP)
    monkeypatch.setattr(names, "entry_points", lambda group: [point])
    resolved = resolve("acme-vit")
    assert (resolved.backend, resolved.target, resolved.slug) == ("entry_point", "acme.models:vit", "plugin/acme-vit")
    with pytest.raises(UsageError, match="Did you mean acme-vit"):
        resolve("acme-vits")


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("clip/ViT-L/14@336px", "clip/vit-l-14-336px"),
        ("../../etc/passwd", "etc-passwd"),
        ("a/..", "a"),
        ("Ω", "model"),
        ("open_clip/x y?z", "open_clip/x-y-z"),
    ],
)
def test_slugs_are_safe_paths(text: str, slug: str) -> None:
    assert slugify(text) == slug


def test_resolving_imports_no_torch() -> None:
    code = (
        "import sys; from evalsuite.models.names import resolve; resolve('ViT-B/32'); resolve('timm:resnet50')\n"
        "resolve('open_clip:ViT-B-32/laion2b_e16'); from evalsuite.models.loading import weights_fingerprint\n"
        "weights_fingerprint('pixels')\n"
        "print([name for name in ('torch', 'open_clip', 'timm', 'torchvision') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert out.stdout.strip() == "[]"


def test_the_paper_s_models_are_there_with_their_rows() -> None:
    families = [slug.partition("/")[0] for slug in aliases()]
    expected = {"clip": 9, "resnet": 3, "bit-m": 6, "efficientnet": 9, "efficientnet-ns": 10, "vit": 4, "instagram": 3}
    assert {family: families.count(family) for family in families} == expected
    assert all(alias.published == alias.slug == slugify(alias.slug) for alias in aliases().values())
    assert all(alias.weight_fidelity == "exact" for alias in aliases().values() if alias.backend == "open_clip")


def test_every_row_of_table_ten_has_an_alias_or_a_reason() -> None:
    table = data_dir("results/published") / "clip_paper_linear_probe.csv"
    rows = {line.partition(",")[0] for line in table.read_text("utf-8").splitlines()[1:]}
    assert len(rows) == 66
    assert aliases().keys() | rows_without_alias().keys() == rows
    assert not aliases().keys() & rows_without_alias().keys()
    assert len(aliases()) == 44
    for slug, why in rows_without_alias().items():
        with pytest.raises(UsageError) as caught:
            resolve(slug)
        assert why in str(caught.value)


def test_every_alias_of_timm_and_open_clip_exists() -> None:
    import open_clip
    import timm

    known = {f"open_clip:{arch}/{tag}" for arch, tag in open_clip.list_pretrained()}
    known |= {f"timm:{name}" for name in timm.list_pretrained()}
    assert {f"{alias.backend}:{alias.target}" for alias in aliases().values()} <= known


def test_wrong_alias_files_name_the_entry(tmp_path: Path) -> None:
    good = next(iter(aliases().values())).model_dump(mode="json", exclude={"slug"})
    file = tmp_path / "aliases.yaml"
    for entries, said in (
        ({"a/b": {**good, "colour": "red"}}, "colour"),
        ({"a/b": {**good, "parameters": 0}}, "parameters"),
        ({"a/b": good, "a/c": good}, "belongs to 'a/b' and 'a/c'"),
        ({"a/b": "text"}, "a/b"),
    ):
        file.write_text(repr(entries))
        with pytest.raises(EvalsuiteError, match=said):
            read_aliases(file)
    file.write_text(repr({"a/b": good}))
    assert isinstance(read_aliases(file)["a/b"], Alias)
