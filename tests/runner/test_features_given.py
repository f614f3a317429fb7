"""Features that are computed elsewhere: the same results as with the model, without it and without its images."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import evalsuite
from evalsuite.features.blocks import Block, origin_digest
from evalsuite.features.catalog import entries, note_origin
from evalsuite.features.samples import Samples
from evalsuite.features.store import PoolFeatures
from evalsuite.features.sums import read_sums, write_sums
from tests.datasets import write_folder_task
from tests.processes import Zygote

LIMIT = 120


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results (`out`) and the features (`cache`) of pocket on a part of digits."""
    folder = tmp_path_factory.mktemp("other-machine")
    results = evalsuite.evaluate("pocket", "digits", **places(folder))
    assert [result.status for result in results] == ["partial", "partial"]
    (folder / "values.json").write_text(json.dumps(values(results)))
    return folder


@pytest.fixture
def no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Samples, "read", refuse)


def places(folder: Path) -> dict[str, Any]:
    return {"output": folder / "out", "cache_dir": folder / "cache", "limit": LIMIT}


def store_of(folder: Path) -> Path:
    return next(iter(entries(folder / "cache"))).folder.parent


def values(results: Any) -> dict[str, float]:
    return {result.protocol: result.metric.value for result in results}


def before(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "values.json").read_text())
    return found


def exported(stored: Path, to: Path, form: str = "parquet") -> Path:
    """Write the features of a store as somebody's own export."""
    (to / "digits").mkdir(parents=True)
    for entry in entries(stored / "cache"):
        features = PoolFeatures(entry.folder)
        ids, pool = features.ids(), entry.origin.pool
        layers = {layer: features.read(layer, ids).numpy() for layer in features.layers()}
        if form == "parquet":
            columns = {layer: pa.array(list(rows)) for layer, rows in layers.items()}
            pq.write_table(pa.table({"id": pa.array(ids), **columns}), to / "digits" / f"{pool}.parquet")
        else:
            (to / "digits" / f"{pool}.ids.txt").write_text("\n".join(ids))
            for layer, rows in layers.items():
                np.save(to / "digits" / f"{pool}.{layer}.npy", rows)
    return to


@pytest.mark.usefixtures("no_images")
def test_the_store_of_another_machine(stored: Path, tmp_path: Path) -> None:
    results = evalsuite.evaluate(f"features:{store_of(stored)}", "digits", **places(tmp_path))
    assert values(results) == before(stored)
    info = results[0].model_info
    assert info.backend == "features"
    assert info.details["features_of"] == "pocket"
    assert results[0].provenance.device == "elsewhere: features were given"
    again = evalsuite.evaluate(f"features:{store_of(stored)}", "digits", **places(tmp_path))
    assert [result.provenance.created for result in again] == [result.provenance.created for result in results]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("*.test-*/*/embedding.npy", "embedding.npy: its bytes are not what was written"),
        ("*.test-*/*/manifest.parquet", "manifest.parquet is damaged"),
        ("*.test-*/pool.json", "pool.json: its bytes"),
        ("model.json", "model.json: its bytes"),
        ("", "is of another model or pool"),
    ],
)
def test_a_damaged_store_of_another_machine_is_named(pattern: str, said: str, stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored / "cache", tmp_path / "theirs")
    folder = next(iter(entries(tmp_path / "theirs"))).folder.parent
    if pattern:
        (path,) = folder.glob(pattern)
        path.write_bytes(path.read_bytes().replace(b"pocket", b"Pocket") if path.suffix == ".json" else _flipped(path))
    else:
        folder = folder.rename(folder.with_name("mine"))
    (found,) = evalsuite.evaluate(f"features:{folder}", "digits", "zero_shot", **places(tmp_path))
    assert found.error and said in found.error.message and "copy the folder anew" in found.error.message


def _flipped(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    return bytes(content)


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize("right", [True, False])
def test_of_several_editions_of_a_pool_the_one_that_is_here_counts(stored: Path, tmp_path: Path, right: bool) -> None:
    folder = tmp_path / store_of(stored).name
    shutil.copytree(store_of(stored), folder)
    for entry in entries(stored / "cache"):
        if right:  # other editions, with other features, on either side of it
            features = PoolFeatures(entry.folder)
            ids = features.ids()
            layers = {layer: features.read(layer, ids[::-1]).numpy() for layer in features.layers()}
            for name in ("digits.0", "digits.z"):
                other = PoolFeatures(folder / f"{name}{entry.folder.name}")
                note_origin(other.folder, replace(entry.origin, fingerprint=name))
                with other.lock():
                    other.add_shard(Block(ids, [features.stamp(identifier) for identifier in ids], layers))
        else:  # the only one of this pool is another edition
            note = asdict(replace(entry.origin, fingerprint=f"of another machine's {entry.origin.pool}"))
            place = folder / entry.folder.name
            (place / "pool.json").write_text(json.dumps(note))
            for compacted in place.glob("compacted-*"):
                write_sums(compacted, replace(read_sums(compacted), origin=origin_digest(place)))
    results = evalsuite.evaluate(f"features:{folder}", "digits", "linear_probe", **places(tmp_path))
    assert values(results) == {"linear_probe": before(stored)["linear_probe"]}


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize("form", ["parquet", "npy"])
def test_vectors_of_one_s_own(form: str, stored: Path, tmp_path: Path) -> None:
    folder = exported(stored, tmp_path / "mine", form)
    results = evalsuite.evaluate(f"features:{folder}", "digits", **places(tmp_path))
    assert results[0].status == "not_applicable"  # no texts
    assert results[1].metric.value == before(stored)["linear_probe"]
    assert results[1].model == "features/mine"
    assert not [text for text in results[1].warnings if "byte for byte" in text]  # nobody knows their bytes


@pytest.mark.usefixtures("no_images")
def test_texts_make_zero_shot(stored: Path, tmp_path: Path) -> None:
    folder = exported(stored, tmp_path / "mine")
    model: Any = evalsuite.load_model("pocket")
    prompts = [f'a photo of the number: "{digit}".' for digit in range(10)]
    vectors = model.encode_texts(prompts).numpy()
    pq.write_table(pa.table({"text": prompts, "embedding": pa.array(list(vectors))}), folder / "texts.parquet")
    (folder / "model.json").write_text(json.dumps({"logit_scale": model.info.logit_scale, "fingerprint": "v1"}))
    results = evalsuite.evaluate(f"features:{folder}", "digits", "zero_shot", **places(tmp_path))
    assert values(results)["zero_shot"] == before(stored)["zero_shot"]
    assert results[0].model_info.logit_scale == model.info.logit_scale
    pq.write_table(pa.table({"text": prompts[:7], "embedding": pa.array(list(vectors[:7]))}), folder / "texts.parquet")
    (short,) = evalsuite.evaluate(f"features:{folder}", "digits", "zero_shot", **places(tmp_path))
    assert "has no embedding of 3 of these 10 prompts" in short.error.message


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("missing", "2 ids of samples of digits/test are missing"),
        ("extra", "1 id are of no sample of digits/test: nowhere"),
        ("twice", "1 id are there twice"),
        ("nan", "has a value that is not finite"),
        ("lengths", "have different lengths: 15, 16"),
        ("column", "has no column `id`"),
        ("absent", "has no features of digits/test"),
    ],
)
def test_what_does_not_fit_is_one_short_error(fault: str, said: str, stored: Path, tmp_path: Path) -> None:
    folder = exported(stored, tmp_path / "mine")
    path = folder / "digits" / "test.parquet"
    frame = pq.read_table(path).to_pandas()[["id", "penultimate"]]
    frame["penultimate"] = [vector[:16].copy() for vector in frame["penultimate"]]
    if fault == "missing":
        frame = frame[2:]
    elif fault == "extra":
        frame.loc[len(frame)] = ["nowhere", frame["penultimate"][0]]
    elif fault == "twice":
        frame.loc[len(frame)] = frame.loc[0]
    elif fault == "nan":
        frame["penultimate"][3][2] = np.nan
    elif fault == "lengths":
        frame["penultimate"] = [vector[: 15 + row % 2] for row, vector in enumerate(frame["penultimate"])]
    elif fault == "column":
        frame = frame.rename(columns={"id": "name"})
    frame.to_parquet(path)
    train = pq.read_table(path.with_name("train.parquet")).to_pandas()[["id", "penultimate"]]
    train["penultimate"] = [vector[:16] for vector in train["penultimate"]]
    train.to_parquet(path.with_name("train.parquet"))
    if fault == "absent":
        path.unlink()
    (result,) = evalsuite.evaluate(f"features:{folder}", "digits", "linear_probe", **places(tmp_path))
    assert result.status == "error"
    assert said in result.error.message
    assert len(result.error.message.splitlines()) <= 3


@pytest.mark.parametrize("more", ["test.npy", "test.parquet", "test.ids.npy"])
def test_features_in_two_forms_are_refused(more: str, stored: Path, tmp_path: Path) -> None:
    folder = exported(stored, tmp_path / "mine", "npy")
    (folder / "digits" / more).write_bytes((folder / "digits/test.penultimate.npy").read_bytes())
    (result,) = evalsuite.evaluate(f"features:{folder}", "digits", "linear_probe", **places(tmp_path))
    assert "has test in several forms: keep one of" in result.error.message


ROWS = np.arange(36, dtype=np.float32).reshape(9, 4)

NOT_FEATURES: dict[str, tuple[object, str]] = {
    "strings": (np.full((9, 4), "x"), "type <U1"),
    "complex numbers": (ROWS + 1j, "type complex"),
    "dates": (np.zeros((9, 4), "M8[s]"), "type datetime64"),
    "records": (np.zeros((9, 4), [("a", "f4")]), "type ["),
    "another width": (ROWS[:, :2], "2 numbers per sample, in other files 4"),
    "texts in lists": (pa.table({"id": [""] * 9, "penultimate": [["a"]] * 9}), "0 have lists of numbers"),
}


@pytest.mark.parametrize("kind", NOT_FEATURES)
def test_what_is_no_features_is_told(kind: str, tmp_path: Path) -> None:
    values, said = NOT_FEATURES[kind]
    task = features_of_shapes(tmp_path)
    if isinstance(values, pa.Table):
        (tmp_path / "mine/shapes/train.npy").unlink()
        pq.write_table(values, tmp_path / "mine/shapes/train.parquet")
    else:
        np.save(tmp_path / "mine/shapes/train.npy", values)  # type: ignore[arg-type]
    (result,) = evalsuite.evaluate(f"features:{tmp_path / 'mine'}", task, "linear_probe", **places(tmp_path))
    assert result.error.kind == "ModelError" and said in result.error.message


def test_an_archive_of_arrays_is_told(tmp_path: Path) -> None:
    task = features_of_shapes(tmp_path)
    with (tmp_path / "mine/shapes/train.npy").open("wb") as file:
        np.savez(file, penultimate=ROWS)
    (result,) = evalsuite.evaluate(f"features:{tmp_path / 'mine'}", task, "linear_probe", **places(tmp_path))
    assert result.error.kind == "ModelError" and "the arrays of train cannot be read" in result.error.message


def test_numbers_of_any_byte_order_and_width_are_features(tmp_path: Path) -> None:
    task = features_of_shapes(tmp_path)
    found = []
    for kind in ("<f4", ">f8", "<i8"):
        np.save(tmp_path / "mine/shapes/train.npy", ROWS.astype(kind))
        (result,) = evalsuite.evaluate(f"features:{tmp_path / 'mine'}", task, "linear_probe", **places(tmp_path))
        found.append(result.metric.value)
    assert len(set(found)) == 1


def features_of_shapes(folder: Path) -> str:
    """Write a task of nine images to train on and three to test, with features in `mine`; return the task."""
    task = write_folder_task(folder, train=3, test=1, size=8)
    (folder / "mine/shapes").mkdir(parents=True)
    for pool, count in (("train", 3), ("test", 1)):
        ids = [f"{key}/{number:03d}.png" for key in ("red", "green", "blue") for number in range(count)]
        (folder / "mine/shapes" / f"{pool}.ids.txt").write_text("\n".join(ids))
        np.save(folder / "mine/shapes" / f"{pool}.npy", ROWS[: len(ids)])
    return str(task)


def test_changed_files_are_noticed(stored: Path, tmp_path: Path) -> None:
    folder = exported(stored, tmp_path / "mine")
    (folder / "model.json").write_text(json.dumps({"fingerprint": "v1"}))

    def probe() -> Any:
        return evalsuite.evaluate(f"features:{folder}", "digits", "linear_probe", **places(tmp_path))[0]

    first = probe()
    shutil.copytree(folder / "digits", folder / "mnist")  # another task makes no other model, nor other results
    assert probe().provenance.created == first.provenance.created
    path = folder / "digits" / "test.parquet"
    frame = pq.read_table(path).to_pandas()
    frame["penultimate"] = list(reversed(list(frame["penultimate"])))
    frame.to_parquet(path)
    after = probe()
    assert after.metric.value != first.metric.value
    assert after.model_info.fingerprint == first.model_info.fingerprint


def test_images_of_another_size_than_those_of_the_store_are_refused(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalsuite.features import precomputed

    real = precomputed.PoolFeatures.stamp
    monkeypatch.setattr(
        precomputed.PoolFeatures, "stamp", lambda self, name: real(self, name)._replace(size=1), raising=True
    )
    (result,) = evalsuite.evaluate(f"features:{store_of(stored)}", "digits", "linear_probe", **places(tmp_path))
    assert "were computed from files of another size" in result.error.message


def test_a_folder_without_features_is_named(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, said in ((tmp_path / "empty", "holds no features"), (store_of(stored).parent, "name one of these")):
        (result,) = evalsuite.evaluate(f"features:{folder}", "digits", "linear_probe", **places(tmp_path))
        assert said in result.error.message
    with pytest.raises(evalsuite.UsageError if hasattr(evalsuite, "UsageError") else Exception, match="is no folder"):
        evalsuite.evaluate(f"features:{tmp_path / 'nowhere'}", "digits", **places(tmp_path))


def test_given_features_are_searched_and_cannot_encode_a_persons_own_images(tmp_path: Path, zygote: Zygote) -> None:
    task, own = write_folder_task(tmp_path / "data"), tmp_path / "own"
    (own / "shapes").mkdir(parents=True)
    names = [f"{colour}/{number:03d}.png" for colour in ("red", "green", "blue") for number in range(3)]
    vectors = pa.array(list(np.eye(3, dtype=np.float32).repeat(3, axis=0)))
    pq.write_table(pa.table({"id": names, "embedding": vectors}), own / "shapes" / "test.parquet")
    (own / "model.json").write_text("{}")
    pq.write_table(pa.table({"text": ["green"], "embedding": vectors[3:4]}), own / "texts.parquet")
    environment = zygote.environment(tmp_path)

    def ask(*arguments: Any) -> Any:
        return zygote.run([*arguments, "-m", "features:own", "--cache-dir", "other"], environment, tmp_path, ())

    found = ask("search", "green", "-t", task, "--format", "json")
    assert found.returncode == 0, found.output
    assert [hit["label"] for hit in json.loads(found.stdout)["hits"]][:3] == ["green"] * 3
    for arguments in (("search", "green", "--folder", "data/test"), ("predict", "data/test", "--task", task)):
        refused = ask(*arguments)
        assert refused.returncode == 2 and "is a folder of features: it cannot encode other images." in refused.output


@pytest.mark.parametrize("command", ["predict", "search"])
def test_a_persons_own_images_are_encoded_on_this_machine_alone(command: str, tmp_path: Path, zygote: Zygote) -> None:
    done = zygote.run([command, "x", "-m", "pocket", "--executor", "ray"], zygote.environment(tmp_path), tmp_path, ())
    assert done.returncode == 2 and "No such option" in done.output and "--executor" in done.output
