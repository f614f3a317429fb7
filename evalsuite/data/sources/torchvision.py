"""Datasets in the layout of torchvision, read by torchvision's own classes."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.data.base import DataState, LoadedSample, RawLabel, RawPool
from evalsuite.data.decoding import BOUNDS, Bounds, check_bounds, decode_image, with_long_texts
from evalsuite.data.labels import wants_names
from evalsuite.data.readers import image_bytes, read_content, row_id, stat_files
from evalsuite.data.sources.base import Source
from evalsuite.errors import DataError, DataMissingError, MissingExtraError, SpecError
from evalsuite.hashing import tree_sha256
from evalsuite.registry import did_you_mean
from evalsuite.tasks.sources import TorchvisionSpec

_LABEL_LISTS = ("targets", "labels", "_labels", "y")
_PAIR_LISTS = ("_samples", "samples", "imgs")
_FILE_LISTS = ("_image_files", "_samples", "samples", "imgs", "_images", "images")
_ARCHIVES = (".gz", ".tgz", ".zip", ".tar", ".rar", ".7z", ".bz2", ".xz")
_EXTRAS = {"h5py": "hdf5", "av": "video"}
_POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")


class TorchvisionSource(Source[TorchvisionSpec]):
    """A dataset of torchvision; images stay closed where its class has lists of labels and files."""

    @property
    def title(self) -> str:
        """Name the source in a message."""
        return f"torchvision {self.spec.dataset}"

    @property
    def folder(self) -> Path:
        """Return the folder `path`, or the one the file `path` is in."""
        return self._base.parent if self._base.is_file() else self._base

    @property
    def _base(self) -> Path:
        return self.place.data_root / self.spec.path

    def look(self) -> DataState:
        """Say whether `path` is there; whether it is complete is found out by torchvision when a pool opens."""
        if self._base.is_file() or (self._base.is_dir() and any(self._base.iterdir())):
            return DataState("ready")
        return DataState("absent", self._what_is_missing())

    def image_options(self, pool: str) -> dict[str, Any]:
        """Return the class and its arguments."""
        return {"dataset": self.spec.dataset, "arguments": self.spec.pools[pool]}

    def open(self, pool: str) -> RawPool:
        """Construct the class and index it.

        Samples that are files are named by their path under `path` and sorted; others by their row number.
        """
        if not self._base.exists():
            raise DataMissingError(f"{self.title}: {self._what_is_missing()}")
        root, arguments = self.place.data_root / self.spec.root, self.spec.pools[pool]
        bounds = Bounds(self.task.max_pixels, self.task.max_aspect)
        reader = TorchvisionReader(self.spec.dataset, root, arguments, pool, self.folder, bounds)
        dataset = reader.dataset
        if len(dataset) == 0:
            shown = "".join(f", {key}={value!r}" for key, value in arguments.items())
            call = f"torchvision.datasets.{self.spec.dataset}({str(root)!r}{shown})"
            raise DataMissingError(f"{self.title}: the pool {pool!r} ({call}) is empty.")
        labels = self._raw_labels(dataset, pool)
        names = tuple(_class_names(dataset) or ()) if labels and isinstance(labels[0], int) else ()
        if reader.files is not None:
            order, ids = reader.files
            groups = self.found_in_paths("group", self.spec.group, ids) if self.spec.group else None
            found = stat_files(self.folder, ids)
            ordered = [labels[row] for row in order]
            return RawPool(
                ids, ordered, reader, found.sizes, found.mtimes, groups=groups, states=found.states, names=names
            )
        if self.spec.group:
            raise SpecError(f"{self.title}: `group` needs samples that are files; those of the pool {pool!r} are rows.")
        content = tree_sha256(self.folder, _data_files(self._base), self.place.cache_dir, self.place.progress)
        rows = tuple(row_id(row) for row in range(len(dataset)))
        return RawPool(rows, labels, reader, _memory_sizes(dataset), None, content, names=names)

    def _raw_labels(self, dataset: Any, pool: str) -> list[RawLabel]:
        targets = _targets(dataset)
        if targets is None:  # the class tells a label only together with its image
            targets = _integers([dataset[row][1] for row in range(len(dataset))])
        if targets is None or (targets and min(targets) < 0):
            raise DataError(
                f"{self.title}: the pool {pool!r} has no integer label for each image. "
                "A Python adapter next to the task file can make them."
            )
        names = _class_names(dataset)
        if names is not None and wants_names(self.spec.labels, names) and max(targets) < len(names):
            return [names[target] for target in targets]
        return list(targets)

    def _what_is_missing(self) -> str:
        return f"needs {self._base}, which is not there or empty."


def construct(name: str, root: Path, arguments: dict[str, Any], pool: str) -> Any:
    """Make the dataset, without any download; errors say what torchvision says and what to do."""
    import torchvision

    cls = getattr(torchvision.datasets, name, None)
    if not isinstance(cls, type):
        raise SpecError(
            f"torchvision {torchvision.__version__} has no dataset class {name!r}."
            f"{did_you_mean(name, torchvision.datasets.__all__)}"
        )
    place = f"torchvision {name} cannot open the pool {pool!r} under {root}"
    try:
        return _without_training_files(cls, arguments)(str(root), **arguments)
    except TypeError as error:
        raise SpecError(f"{place}: its arguments {arguments} do not fit ({error}).") from error
    except Exception as error:
        for package, extra in _EXTRAS.items():
            if package in str(error) and isinstance(error, ImportError | RuntimeError):
                raise MissingExtraError(package, extra, f"The dataset {name}") from error
        raise DataMissingError(
            f"{place}: {_said(error)} The files are incomplete, damaged or another edition: complete them, or remove "
            "them and download the dataset again."
        ) from error


def _said(error: Exception) -> str:
    """Return what an error says; one that was not meant for people, with its kind."""
    return str(error) if isinstance(error, RuntimeError | OSError) else f"{type(error).__name__}: {error}."


def _without_training_files(cls: Any, arguments: dict[str, Any]) -> Any:
    """Return the class; of CIFAR and MNIST, which ask for all of their files, one that tests without those to train."""
    if arguments.get("train") is not False:
        return cls
    lists: dict[str, list[Any]] = {"train_list": []} if hasattr(cls, "train_list") else {}
    if hasattr(cls, "resources"):
        lists["resources"] = [entry for entry in cls.resources if not entry[0].startswith("train-")]
    return type(cls.__name__, (cls,), lists) if lists else cls  # MNIST names its folder after the class


class TorchvisionReader:
    """Reads samples by the dataset's own loader, without a transform.

    What is pickled is how to construct the dataset again: some hold gigabytes, some cannot be pickled.
    """

    def __init__(
        self, name: str, root: Path, arguments: dict[str, Any], pool: str, folder: Path, bounds: Bounds = BOUNDS
    ) -> None:
        self._arguments = (name, root, arguments, pool, folder, bounds)
        self._folder = folder
        self._bounds = bounds

    def __reduce__(self) -> tuple[Any, ...]:
        return TorchvisionReader, self._arguments

    @functools.cached_property
    def dataset(self) -> Any:
        """The dataset, constructed on first use."""
        return construct(*self._arguments[:4])

    @functools.cached_property
    def files(self) -> tuple[list[int], tuple[str, ...]] | None:
        """Where samples are files: their rows in the dataset in the order of their ids, and the ids.

        An id is the path under the folder, with forward slashes. They are sorted, because some classes list folders
        in the order of the file system, which differs between machines.
        """
        files = _files(self.dataset)
        if files is None:
            return None
        names = [Path(os.path.relpath(file, self._folder)).as_posix() for file in files]
        order = sorted(range(len(names)), key=names.__getitem__)
        return order, tuple(names[row] for row in order)

    @property
    def reads_in_threads(self) -> bool:
        """Whether `content` reads files; else it goes through the dataset, which is not made for that."""
        return self.files is not None

    def __call__(self, row: int) -> LoadedSample:
        """Load one sample. Its content is the file's, or the pixels where there is no file."""
        if self.files is None:
            image = self._load(row, row_id(row))
            return LoadedSample(image, image_bytes(image))
        order, ids = self.files
        path = self._folder / ids[row]
        content = read_content(path, ids[row])
        if content.startswith(_POSTSCRIPT):  # Pillow would hand it to Ghostscript, which runs it
            raise DataError(f"The image {ids[row]!r} ({path}) is a PostScript program, which is not run.")
        check_bounds(content, ids[row], str(path), self._bounds)
        return LoadedSample(self._load(order[row], f"{ids[row]} ({path})"), content)

    def content(self, row: int) -> bytes:
        """Read the file of one sample, or the pixels where there is none."""
        if self.files is None:
            return self(row).content
        _, ids = self.files
        return read_content(self._folder / ids[row], ids[row])

    def encoded(self, row: int) -> bytes | None:
        """Read the image file that one sample is; None where samples are no files, or not these images as they are."""
        return self.content(row) if self.files is not None and self._gives_files else None

    @functools.cached_property
    def _gives_files(self) -> bool:
        """Whether the first sample is what its file shows: a class might cut something out."""
        try:
            sample = self(0)
            shown = decode_image(sample.content, row_id(0))
        except DataError:  # whoever reads that sample is told
            return False
        return bool(shown.convert("RGB") == sample.image.convert("RGB"))

    def _load(self, index: int, sample: str) -> Any:
        from PIL import Image

        def loaded() -> Any:
            image = self.dataset[index][0]
            if isinstance(image, Image.Image):
                image.load()
            return image

        try:
            image = with_long_texts(loaded)
        except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError) as error:
            raise DataError(
                f"The image {sample} cannot be decoded ({error}). Fetch or copy this file again; if the "
                "dataset is published so, allow for it with `max_unreadable` in the task file."
            ) from error
        if not isinstance(image, Image.Image):
            raise DataError(
                f"torchvision {self._arguments[0]} gives {type(image).__name__} for the sample {sample}, not a PIL "
                "image. A Python adapter next to the task file can read it."
            )
        return image


def _files(dataset: Any) -> list[str] | None:
    """Return the image files of a dataset in its order, if it has a list of them."""
    for name in _FILE_LISTS:
        entries = getattr(dataset, name, None)
        if not isinstance(entries, list | tuple) or len(entries) != len(dataset):
            continue
        paths = [entry[0] if isinstance(entry, tuple | list) and entry else entry for entry in entries]
        if all(isinstance(path, str | os.PathLike) for path in paths):
            return [os.fspath(path) for path in paths]
    return None


def _targets(dataset: Any) -> list[int] | None:
    for name in _LABEL_LISTS:
        found = _integers(getattr(dataset, name, None))
        if found is not None and len(found) == len(dataset):
            return found
        if found:
            raise DataError(
                f"torchvision {type(dataset).__name__} has {len(found):,} labels for {len(dataset):,} images: the "
                "files are of two editions, or one is cut off. Fetch them again."
            )
    for name in _PAIR_LISTS:
        pairs = getattr(dataset, name, None)
        if isinstance(pairs, list) and all(isinstance(pair, tuple | list) and len(pair) > 1 for pair in pairs):
            return _integers([pair[1] for pair in pairs])
    return None


def _integers(values: Any) -> list[int] | None:
    """Return a list, array or tensor of integers as Python's, None if it is anything else."""
    listed = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(listed, list | tuple):
        return None
    numbers = [value.item() if hasattr(value, "item") else value for value in listed]
    return [int(number) for number in numbers] if all(isinstance(number, int) for number in numbers) else None


def _class_names(dataset: Any) -> list[str] | None:
    """Return `classes` or `categories`; where they are lists of synonyms, the `wnids` that name the folders."""
    for name in ("classes", "categories", "wnids"):
        names = getattr(dataset, name, None)
        if isinstance(names, list | tuple) and names and all(isinstance(entry, str) for entry in names):
            return [str(entry) for entry in names]
    return None


def _memory_sizes(dataset: Any) -> NDArray[np.int64]:
    """Return the bytes of each sample in a dataset's array, 0 where it has none."""
    data = getattr(dataset, "data", None)
    shape: tuple[int, ...] = tuple(getattr(data, "shape", ()))
    each = int(np.prod(shape[1:])) if len(shape) > 1 and shape[0] == len(dataset) else 0
    return np.full(len(dataset), each, np.int64)


def _data_files(base: Path) -> list[Path]:
    """Return the files that hold the samples, sorted; archives they were unpacked from do not count."""
    if base.is_file():
        return [base]
    files = [path for path in base.rglob("*") if path.is_file() and not path.name.startswith(".")]
    unpacked = [path for path in files if path.suffix.lower() not in _ARCHIVES]
    return sorted(unpacked or files)
