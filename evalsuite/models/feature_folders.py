"""Features that are computed already, `features:DIR`: evaluated without a network and without opening an image.

DIR is one of two:

- a folder of one's own: `TASK/POOL.parquet` with the column `id` and a column of vectors per layer (`penultimate`,
  `embedding`; one of another name is `penultimate`), or `TASK/POOL.ids.txt` (or `.ids.npy`) with `TASK/POOL.npy` or
  `TASK/POOL.LAYER.npy`. `model.json` may say what made them (`Stated`), `texts.parquet` (`text`, `embedding`) embeds
  prompts.
- the folder of a model in the feature store of another machine.

What is in the files is read by evalsuite/features/precomputed.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from evalsuite.errors import ModelError
from evalsuite.hashing import combined_sha256, files_sha256
from evalsuite.listing import matching
from evalsuite.models.base import EMBEDDING, PENULTIMATE, Logits, ModelInfo
from evalsuite.models.identity import fingerprint
from evalsuite.models.names import ResolvedModel
from evalsuite.reading import parse_json, read_bytes
from evalsuite.records import Strict, first_problem
from evalsuite.text import shortened

if TYPE_CHECKING:
    import torch

MODEL_FILE = "model.json"
TEXTS_FILE = "texts.parquet"
STORED_TEXTS = "texts"
POOL_FILE = "pool.json"
"""What the feature store writes into the folder of a pool (evalsuite/features/catalog.py)."""

SUFFIXES = (".parquet", ".npy", ".txt")
LAYERS = (PENULTIMATE, EMBEDDING)


class Stated(Strict):
    """What `model.json` of a folder of one's own may say.

    fingerprint: whatever identifies the model, such as a commit: with it, files of further tasks do not make another
    model of the folder. precision: at which the features were computed.
    """

    fingerprint: str | None = None
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    logit_scale: float | None = None
    logit_bias: float | None = None
    input_size: int = 0
    parameters: int | None = None
    gflops: float | None = None
    published: str | None = None


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of features. of: the model in the store that they are of; None for a folder of one's own."""

    path: Path
    stated: Stated
    of: ModelInfo | None

    @classmethod
    def open(cls, path: Path) -> FeatureFolder:
        """Read what a folder says of itself; ModelError for one that is neither of the two."""
        content = _json(path / MODEL_FILE)
        try:
            if "info" in content:
                info = ModelInfo.model_validate(content["info"])
                return cls(path, Stated(precision=_precision(path)), info)
            stated = Stated.model_validate(content)
        except ValidationError as error:
            raise ModelError(f"{path / MODEL_FILE}: {first_problem(error)}.") from error
        models = [file.parent.name for file in matching(path, f"*/{MODEL_FILE}")]
        if models:
            raise ModelError(f"{path} holds the features of {shortened(models, 5)}: name one of these folders.")
        found = cls(path, stated, None)
        if not found.files():
            raise ModelError(
                f"{path} holds no features: neither TASK/POOL.parquet nor TASK/POOL.npy, nor is it of a feature store."
            )
        return found

    def files(self, task: str | None = None) -> list[Path]:
        """Return the files with features, sorted; of one task or of all."""
        if self.of is not None:
            folders = (file.parent for file in matching(self.path, f"{task or '*'}.*/{POOL_FILE}"))
            return sorted(file for folder in folders for file in matching(folder, "**/*") if file.suffix in _STORED)
        return [file for file in matching(self.path, f"{task or '*'}/*") if file.suffix in SUFFIXES]

    def digest(self, cache_dir: Path | None, task: str | None = None) -> str:
        """Return a digest of the names and bytes of the files of one task, or of all."""
        files = self.files(task)
        names = [file.relative_to(self.path).as_posix() for file in files]
        pairs = zip(names, files_sha256(files, cache_dir), strict=True)
        return combined_sha256(part for pair in pairs for part in pair)

    def fingerprint(self, cache_dir: Path | None) -> str:
        """Return what identifies the model that the features are of, as far as anybody says."""
        stated = self.of.fingerprint if self.of else self.stated.fingerprint
        what = {"of": stated} if stated else {"files": self.digest(cache_dir)}
        scale = [self.stated.logit_scale, self.stated.logit_bias]
        texts = files_sha256([self._texts], cache_dir) if self._texts.is_file() else []
        return fingerprint(backend="features", precision=self.stated.precision, logits=scale, texts=texts, **what)

    @property
    def has_text(self) -> bool:
        """Whether prompts are embedded too."""
        stored = self.of is not None and bool(matching(self.path / STORED_TEXTS, "*.safetensors"))
        return stored or (self._texts.is_file() and EMBEDDING in self.layers())

    def layers(self) -> dict[str, int]:
        """Return layer -> dimension, of the first file there is."""
        if self.of is not None:
            return self.of.layers
        first = next((file for file in self.files() if not _holds_ids(file)), None)
        if first is None:
            return {}
        found = vectors(first.parent, pool_of(first), self.path)
        return {name: int(values.shape[1]) for name, values in found.layers.items()}

    def texts(self) -> dict[str, int] | None:
        """Return text -> row of `texts.parquet`; None where there is none."""
        if not self._texts.is_file():
            return None
        texts = _column(_table(self._texts), "text", self._texts).to_pylist()
        return {str(text): row for row, text in enumerate(texts)}

    @property
    def _texts(self) -> Path:
        return self.path / TEXTS_FILE


_STORED = frozenset({".npy", ".parquet", ".safetensors"})


@dataclass(frozen=True)
class Vectors:
    """Ids and, for each layer, (n, dim) float vectors of a pool, as a file has them."""

    place: Path
    ids: Sequence[str]
    layers: Mapping[str, Any]


def vectors(folder: Path, pool: str, root: Path) -> Vectors:
    """Read the features of a pool of a task; ModelError says what is wrong with the files."""
    table = folder / f"{pool}.parquet"
    forms = [table, *(folder / f"{pool}.{end}" for end in ("npy", f"{PENULTIMATE}.npy"))]
    for several in (forms, [folder / f"{pool}.ids.{end}" for end in ("txt", "npy")]):
        if len(found := [path.name for path in several if path.is_file()]) > 1:
            raise ModelError(f"{folder} has {pool} in several forms: keep one of {shortened(found)}.")
    return _of_parquet(table) if table.is_file() else _of_arrays(folder, pool, root)


def pool_of(file: Path) -> str:
    """Return the pool that a file is of: `train` of `train.penultimate.npy`."""
    name = file.name.removesuffix(file.suffix)
    stem, _, last = name.rpartition(".")
    return stem if last in (*LAYERS, "ids") else name


def _holds_ids(file: Path) -> bool:
    return file.name.endswith((".ids.npy", ".ids.txt"))


def _of_parquet(path: Path) -> Vectors:
    table = _table(path)
    ids = [_id(value) for value in _column(table, "id", path).to_pylist()]
    columns = [field.name for field in table.schema if _holds_vectors(field.type)]
    layers = {layer: _matrix(table[column], path, column) for layer, column in _named(columns, path).items()}
    return Vectors(path, ids, layers)


def _table(path: Path) -> Any:
    """Return a parquet file; ModelError where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ModelError(f"{path}: cannot be read: {str(error).partition(chr(10))[0]}") from error


def _column(table: Any, name: str, path: Path) -> Any:
    if name not in table.column_names:
        raise ModelError(f"{path}: has no column `{name}`; its columns: {shortened(table.column_names, 5)}.")
    return table[name]


def _of_arrays(folder: Path, pool: str, root: Path) -> Vectors:
    text, array = folder / f"{pool}.ids.txt", folder / f"{pool}.ids.npy"
    files = {layer: folder / f"{pool}.{layer}.npy" for layer in LAYERS} | {"": folder / f"{pool}.npy"}
    found = {layer: path for layer, path in files.items() if path.is_file()}
    if not found or not (text.is_file() or array.is_file()):
        raise ModelError(
            f"{root} has no features of {folder.name}/{pool}: neither {folder.name}/{pool}.parquet nor "
            f"{folder.name}/{pool}.npy with {pool}.ids.txt."
        )
    try:
        named = text.read_text("utf-8").splitlines() if text.is_file() else _array(array, "iuU").tolist()
        made = {layer or PENULTIMATE: _array(path, "fiub") for layer, path in found.items()}
    except (ValueError, TypeError, OSError) as error:  # ValueError: an array of Python objects
        raise ModelError(f"{folder}: the arrays of {pool} cannot be read: {error}.") from error
    for layer, values in made.items():
        if values.ndim != 2 or len(values) != len(named):
            raise ModelError(f"{folder}: {pool} has {len(named)} ids and {layer} of the shape {tuple(values.shape)}.")
    return Vectors(folder / f"{pool}.npy", [_id(value) for value in named], made)


def _array(path: Path, kinds: str) -> Any:
    """Return the array of a .npy file, mapped; ValueError for another file, or values of none of these kinds."""
    import numpy as np

    values = np.lib.format.open_memmap(path, mode="r")
    if values.dtype.kind not in kinds:
        raise ValueError(f"{path.name} holds values of the type {values.dtype}")
    return np.atleast_1d(values)


def _named(columns: Sequence[str], path: Path) -> dict[str, str]:
    """Return layer -> column."""
    known = {name: name for name in columns if name in LAYERS}
    if not known and len(columns) == 1:
        return {PENULTIMATE: columns[0]}
    if not known:
        raise ModelError(
            f"{path}: needs a column of vectors called {' or '.join(LAYERS)}; {len(columns)} have lists of numbers."
        )
    return known


def _holds_vectors(kind: Any) -> bool:
    import pyarrow.types as pt

    is_list = pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind)
    return bool(is_list and (pt.is_floating(kind.value_type) or pt.is_integer(kind.value_type)))


def _matrix(column: Any, path: Path, name: str) -> Any:
    import numpy as np
    import pyarrow.compute as pc

    lengths = set(pc.list_value_length(column).unique().to_pylist())
    if len(lengths) != 1 or None in lengths:
        raise ModelError(
            f"{path}: the vectors of {name} have different lengths: {shortened(sorted(map(str, lengths)))}."
        )
    values = pc.list_flatten(column).to_numpy()
    return np.asarray(values, dtype=np.float32).reshape(len(column), -1)


def _id(value: object) -> str:
    """Return an id as sources write it: a row number has eight digits."""
    return f"{value:08d}" if isinstance(value, int) else str(value)


@dataclass(eq=False)
class FeaturesModel:
    """A model of which there is nothing but features."""

    info: ModelInfo
    folder: FeatureFolder

    def preprocess(self, image: Any) -> torch.Tensor:
        """Raise ModelError: there is no network that an image could be prepared for."""
        raise ModelError(f"The model {self.info.name!r} is a folder of features: it cannot see other images.")

    def encode_images(self, batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Raise ModelError: there is no network."""
        raise ModelError(f"The model {self.info.name!r} is a folder of features: it cannot encode other images.")


@dataclass(eq=False)
class FeaturesTextModel(FeaturesModel):
    """One with embeddings of prompts too."""

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the (n, dim) float32 embeddings of texts; ModelError where one is not there."""
        import torch

        rows = self.folder.texts() or {}  # a store's own are looked up by the runner, by all prompts of a task
        missing = [text for text in texts if text not in rows]
        if missing:
            raise ModelError(
                f"The model {self.info.name!r} has no embedding of {len(missing)} of these {len(texts)} prompts: "
                f"{shortened([repr(text) for text in missing], 2)}."
            )
        path = self.folder.path / TEXTS_FILE
        column = _column(_table(path), EMBEDDING, path)
        if not _holds_vectors(column.type):
            raise ModelError(f"{path}: the column `{EMBEDDING}` holds {column.type}, not lists of numbers.")
        return torch.from_numpy(_matrix(column, path, EMBEDDING)[[rows[text] for text in texts]])


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> FeaturesModel:
    """Return the model: nothing but what its folder says."""
    folder = FeatureFolder.open(Path(resolved.target))
    stated, of = folder.stated, folder.of
    own = ModelInfo(
        name=resolved.name,
        slug=resolved.slug,
        backend="features",
        fingerprint=folder.fingerprint(cache_dir),
        input_size=stated.input_size,
        layers=folder.layers(),
        parameters=stated.parameters,
        gflops=stated.gflops,
        weights=f"none: features in {folder.path}",
        preprocessing="that of whoever computed the features",
        published=stated.published,
        logit_scale=stated.logit_scale,
        logit_bias=stated.logit_bias,
    )
    if of is not None:
        changes = {name: getattr(own, name) for name in ("name", "slug", "backend", "fingerprint")}
        own = of.model_copy(update={**changes, "details": {**of.details, "features_of": of.slug}})
    kind = FeaturesTextModel if folder.has_text else FeaturesModel
    return kind(own, folder)


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str:
    """Return the fingerprint: of the model that is stated, else of all files."""
    return FeatureFolder.open(Path(resolved.target)).fingerprint(cache_dir)


def known_logits(resolved: ResolvedModel, *, cache_dir: Path | None) -> Logits | None:
    """Return the scale and the bias that the folder states."""
    folder = FeatureFolder.open(Path(resolved.target))
    said = folder.of or folder.stated
    return None if said.logit_scale is None else Logits(said.logit_scale, said.logit_bias or 0.0)


def described(resolved: ResolvedModel, cache_dir: Path | None) -> Iterator[tuple[str, str]]:
    """Yield (what, value) of a folder of features."""
    folder = FeatureFolder.open(Path(resolved.target))
    if folder.of is not None:
        yield "features of", folder.of.slug
        yield "preprocessing", folder.of.preprocessing
    tasks = {file.relative_to(folder.path).parts[0].partition(".")[0] for file in folder.files()}
    yield "tasks", shortened(sorted(tasks), 10)
    yield "layers", ", ".join(f"{name} {size}" for name, size in folder.layers().items())
    yield "texts", "yes" if folder.has_text else "no"


def _json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    content = parse_json(read_bytes(path, error=ModelError), path, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{path}: must be a mapping.")
    return content


def _precision(path: Path) -> Any:
    """Return the precision that a store's features were computed at, as the folders of its pools say."""
    found = sorted({str(_json(file).get("precision", "fp32")) for file in matching(path, f"*/{POOL_FILE}")})
    if len(found) > 1:
        raise ModelError(f"{path}: has features of {' and '.join(found)}; one precision is needed.")
    return found[0] if found else "fp32"
