"""The `sources` of a task file: where the images of a task can come from."""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, Self, Union
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema

from evalsuite.records import SplitFidelity
from evalsuite.registry import Registry, did_you_mean
from evalsuite.tasks.borrowed import Borrowed
from evalsuite.tasks.label_maps import LabelMap
from evalsuite.tasks.parts import FilePath, Inside, Strict
from evalsuite.tasks.split_rules import MOST_FOLDS, Sizes, SplitRule

TORCHVISION_CLASSES = frozenset({
    "CIFAR10", "CIFAR100", "CLEVRClassification", "Caltech101", "Caltech256", "CelebA", "Country211", "DTD", "EMNIST",
    "EuroSAT", "FER2013", "FGVCAircraft", "FashionMNIST", "Flowers102", "Food101", "GTSRB", "INaturalist",
    "ImageFolder", "ImageNet", "Imagenette", "KMNIST", "LFWPeople", "MNIST", "Omniglot", "OxfordIIITPet", "PCAM",
    "Places365", "QMNIST", "RenderedSST2", "SEMEION", "STL10", "SUN397", "SVHN", "StanfordCars", "USPS",
})  # fmt: skip
"""The classes that give an image and its class, and read nothing but their files. Others open databases or videos."""

REFUSED_ARGUMENTS = frozenset({"download", "transform", "target_transform", "transforms", "loader", "is_valid_file"})
"""Arguments of these classes that touch the network, or that are functions."""

UNDER_THE_DATA_ROOT = ("torchvision", "huggingface", "webdataset", "python")
"""Kinds of which everything lies there; others may lie next to the task file."""

SEVERAL_COLUMNS = "column of the label; a list of columns: an image has the labels of all of them"
"""Says what `label` is in tables."""

Side = Annotated[int, Field(ge=1, le=65_535)]
"""Height or width of an image in pixels."""


def _one_walk(pattern: str) -> str:
    if pattern.count("**") > 1:
        raise ValueError(f"{pattern!r} has ** more than once, and would walk through the folders again and again")
    return pattern


class ListFile(Strict):
    """Named lists of samples that come with a source: official splits and folds.

    `paths`: one sample per line, its id first; `index_lines`: line k holds the row numbers of fold k.
    """

    file: FilePath = Field(
        description="relative to the source's folder, else to the task file's; may hold {} for the number of the fold"
    )
    pool: str
    format: Literal["paths", "index_lines"] = "paths"
    count: int = Field(default=1, ge=1, le=MOST_FOLDS, description="how many lists there are")
    first: int = Field(default=0, ge=0, description="the number of the first list")
    header: bool = Field(default=False, description="the first line names the column, where it names no sample")
    complement: bool = Field(default=False, description="the samples of the pool that the file does not name")
    max_missing: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of its names that may have no sample; default: none in a complement, else `max_unreadable`",
    )


class RemoteFile(Strict):
    """A file that `evalsuite download` fetches, checks and unpacks."""

    url: str
    to: FilePath = Field(default=".", description="folder under the data root it is unpacked in, or put into")
    name: FilePath | None = Field(default=None, description="its name on disk; default: the last part of the URL")
    md5: str | None = None
    sha256: str | None = None
    unpack: bool = Field(default=False, description="zip, tar (also compressed) or a single .gz file")
    unpacked: int | None = Field(
        default=None, ge=1, description="bytes it may unpack to, where these are more than 100 times its own"
    )
    inner: list[str] = Field(default_factory=list, description="archives in it that are unpacked, too")
    makes: list[FilePath] = Field(
        default_factory=list,
        description="what is under the data root afterwards: where all of it is there, nothing is fetched",
    )

    @property
    def file_name(self) -> str:
        """Its name on disk."""
        return self.name or unquote(urlsplit(self.url).path.rpartition("/")[2])

    @model_validator(mode="after")
    def _stays_under_the_data_root(self) -> Self:
        for path in (self.to, *self.makes):
            pure = PurePosixPath(path)
            if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path:
                raise ValueError(f"{path!r} must be a path under the data root, without `..`")
        if self.file_name in ("", ".", "..") or "/" in self.file_name or "\\" in self.file_name:
            raise ValueError(f"{self.file_name!r} is not the name of a file: give it one with `name`")
        return self


class SourceSpec(Strict):
    """What every source has. Each kind is a subclass with its own keys.

    opened_by: "module:class" of the kind's `evalsuite.data.sources.base.Source`, imported when it is needed.
    """

    opened_by: ClassVar[str]

    kind: str
    pools: dict[str, Any] | list[str] = Field(description="the stored splits of the source, by name")
    path: FilePath | None = Field(default=None, description="folder under the data root; default: the task's name")
    labels: LabelMap = "by_key"
    others: Literal["refused", "left_out"] = Field(
        default="refused", description="what becomes of samples whose label is no class of the task"
    )
    lists: dict[str, ListFile] = Field(
        default_factory=dict, description="lists of sample ids; {} in a name is the fold's number"
    )
    needs: list[Inside] | dict[str, list[Inside]] = Field(
        default_factory=list,
        description="files and folders in the source's folder without which it is only partial; or pool -> such a list",
    )
    files: list[RemoteFile] = Field(default_factory=list, description="what `evalsuite download` fetches for it")
    splits: SplitRule | None = Field(default=None, description="where this source needs other ones than the task")
    sizes: Sizes | None = Field(default=None, description="where this source has other ones than the task")
    split_fidelity: SplitFidelity | None = Field(default=None, description="where it is not that of the task")
    verified: bool = Field(default=True, description="false where nobody of this project has seen the columns or files")
    note: str = Field(default="", description="one sentence a user of this source should know")

    @model_validator(mode="after")
    def _needs_of_its_pools(self) -> Self:
        strange = set(self.needs) - set(self.pools) if isinstance(self.needs, dict) else set()
        if strange:
            raise ValueError(f"`needs` names what is no pool: {', '.join(sorted(strange))}")
        return self

    @model_validator(mode="after")
    def _few_lists_under_the_data_root(self) -> Self:
        """Let a list lie next to the source's folder, as some datasets have it, but no further up."""
        if sum(entry.count for entry in self.lists.values()) > 10 * MOST_FOLDS:
            raise ValueError(f"`lists` stands for more than {10 * MOST_FOLDS:,} lists")
        for entry in self.lists.values():
            place = posixpath.normpath(posixpath.join(self.path or "task", entry.file))
            if entry.file.startswith("/") or (place.startswith("..") and self.kind in UNDER_THE_DATA_ROOT):
                raise ValueError(f"the list file {entry.file!r} leads out of the data root")
        return self

    @property
    def needed(self) -> list[str]:
        """All files and folders it needs, each once."""
        lists = self.needs.values() if isinstance(self.needs, dict) else [self.needs]
        return list(dict.fromkeys(name for names in lists for name in names))

    def restricted(self, pools: Collection[str], lists: Collection[str]) -> Self:
        """Return this source with these pools and lists alone."""
        if isinstance(self.pools, dict):
            kept: Any = {name: value for name, value in self.pools.items() if name in pools}
        else:
            kept = [name for name in self.pools if name in pools]
        needs = self.needs
        if isinstance(needs, dict):
            needs = {name: needed for name, needed in needs.items() if name in pools}
        listed = {name: entry for name, entry in self.lists.items() if name in lists}
        return self.model_copy(update={"pools": kept, "lists": listed, "needs": needs})


class TorchvisionSpec(SourceSpec):
    """The layout torchvision leaves under the data root, read by torchvision's own class."""

    opened_by = "evalsuite.data.sources.torchvision:TorchvisionSource"

    kind: Literal["torchvision"]
    dataset: str = Field(description="class name in torchvision.datasets, one of those with a class per image")
    path: Inside = Field(description="what must exist under the data root for this source to be there")
    root: Inside = Field(default=".", description="the class's `root`, under the data root")
    pools: dict[str, dict[str, Any]] = Field(description="pool -> arguments of the class")
    group: str | None = Field(
        default=None, description="regular expression on the path below `path`; its first group is the group"
    )

    @field_validator("dataset")
    @classmethod
    def _classifies(cls, name: str) -> str:
        if name not in TORCHVISION_CLASSES:
            near = did_you_mean(name, TORCHVISION_CLASSES)
            known = ", ".join(sorted(TORCHVISION_CLASSES))
            raise ValueError(f"{name!r} is no class of torchvision.datasets that is read here.{near} Known: {known}")
        return name

    @field_validator("pools")
    @classmethod
    def _only_what_is_there(cls, pools: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        refused = {name for arguments in pools.values() for name in arguments if name in REFUSED_ARGUMENTS}
        if refused:
            raise ValueError(
                f"the arguments {', '.join(sorted(refused))} are not passed on: images are read as they are, and "
                "`evalsuite download` alone fetches them"
            )
        return pools


class HubSpec(SourceSpec):
    """A source that a dataset repository of the Hugging Face hub may hold."""

    repo: str | None = Field(default=None, description="org/name of a dataset repository; none: local files only")
    revision: str = "main"


class HuggingFaceSpec(HubSpec):
    """A dataset repository of the Hugging Face hub, or its parquet/arrow files in a folder.

    Local files are looked for in <data root>/<path>: `<split>-*.parquet`, `<split>.parquet`, also .arrow, also under
    data/, the config's or the split's own folder. Where the column `image` is absent, the only column of images counts.
    """

    opened_by = "evalsuite.data.sources.huggingface:HuggingFaceSource"

    kind: Literal["huggingface"]
    path: Inside | None = Field(default=None, description="folder under the data root; default: the task's name")
    config: Inside | None = None
    image: str = "image"
    label: str | list[str] = Field(default="label", description=SEVERAL_COLUMNS)
    group: str | None = Field(default=None, description="column: samples of one group are never split apart")
    pools: dict[str, Inside] = Field(description="pool -> split of the dataset; a+b: one after the other")


class WebDatasetSpec(HubSpec):
    """Webdataset tar shards in a folder under the data root."""

    opened_by = "evalsuite.data.sources.webdataset:WebDatasetSource"

    kind: Literal["webdataset"]
    path: Inside = Field(description="folder of the shards under the data root")
    url: str | None = Field(default=None, description="where the shards can be downloaded by hand")
    pools: dict[str, Annotated[Inside, AfterValidator(_one_walk)]] = Field(
        description="pool -> shards: a glob under `path`, such as test/*.tar"
    )
    image: list[str] = Field(default=["webp", "png", "jpg", "jpeg"])
    label: str = "cls"


class FolderSpec(SourceSpec):
    """A folder per class, in a folder per pool. The raw label is the name of the first folder below the pool."""

    opened_by = "evalsuite.data.sources.folder:FolderSource"

    kind: Literal["folder"]
    path: FilePath = Field(description="relative to the task file when it exists there, else under the data root")
    pools: dict[str, Inside] = Field(description="pool -> folder under `path`")
    extensions: list[str] = Field(default=[".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"])
    names: dict[str, str] = Field(
        default_factory=dict,
        description="pool -> pattern of the names of its files, such as Test_*; default: all files",
    )
    label: str | None = Field(
        default=None, description="regular expression on the path below the pool; its first group is the raw label"
    )
    group: str | None = Field(default=None, description="regular expression on the path; its first group is the group")
    frame: Literal["middle"] | None = Field(default=None, description="videos: the frame to take")
    border: int = Field(default=0, ge=0, le=100, description="pixels to cut off at each side of an image")


class TablePool(Strict):
    """The rows of a table that make a pool."""

    file: Inside
    where: dict[str, str] = Field(default_factory=dict, description="column -> value the row must have")


class TableSpec(SourceSpec):
    """A CSV, TSV or JSONL table of image paths (or pixel values) and labels."""

    opened_by = "evalsuite.data.sources.table:TableSource"

    kind: Literal["table"]
    path: FilePath = Field(description="folder of the tables: relative to the task file, else under the data root")
    images: Inside = Field(default=".", description="folder of the images, under `path`")
    pools: dict[str, Inside | TablePool]
    image: str | None = Field(default="image", description="column of the image's path")
    pixels: str | None = Field(default=None, description="column of space-separated grey values instead")
    shape: tuple[Side, Side] | None = Field(default=None, description="(height, width) of `pixels`")
    label: str | list[str] = Field(default="label", description=SEVERAL_COLUMNS)
    separator: str | None = Field(default=None, min_length=1, description="splits a multi-label cell into raw labels")
    group: str | None = Field(default=None, description="column: samples of one group are never split apart")
    every_image: bool = Field(
        default=False, description="an image that lies next to those of a table, and has no row in it, is an error"
    )

    @model_validator(mode="after")
    def _one_kind_of_image(self) -> Self:
        if self.pixels is not None and self.shape is None:
            raise ValueError("`pixels` needs `shape: [height, width]`")
        return self


class PythonSpec(SourceSpec):
    """An adapter: a Python file next to the task file, where YAML cannot say it."""

    opened_by = "evalsuite.data.sources.python:PythonSource"

    kind: Literal["python"]
    file: FilePath = Field(description="the adapter, relative to the task file")
    path: Inside = Field(default=".", description="what must exist under the data root")
    function: str = Field(default="open_pool", description="(data root: Path, pool: str) -> evalsuite.data.RawPool")
    pools: list[str]


class RelabelledSpec(SourceSpec):
    """New labels for the images of another task, which are encoded once for both.

    The file is a JSON list with the list of labels of each image, in the order of their numbers. Images without a
    label are left out.
    """

    opened_by = "evalsuite.data.sources.relabelled:RelabelledSource"

    kind: Literal["relabelled"]
    of: Borrowed = Field(description="the task and the pool whose images they are")
    file: Inside = Field(description="JSON: [[label, ...], ...]")
    number: str = Field(description="regular expression on the id of an image; its first group is the image's number")
    first: int = Field(default=1, ge=0, description="the number of the first image")
    pools: list[str]


class LabelSetSpec(SourceSpec):
    """The images of another task that have several labels each, which are encoded once for both.

    The label of an image is the one that is a class of this task. `labels` of this source is not used.
    """

    opened_by = "evalsuite.data.sources.label_set:LabelSetSource"

    kind: Literal["label_set"]
    task: FilePath = Field(description="name of the other task: a file next to this one, else a shipped one")
    pools: list[str] = Field(description="pools of the other task")


SOURCE_KINDS: Registry[type[SourceSpec]] = Registry("kind of source", "evalsuite.sources")
"""Kind -> the spec of its sources; other packages add theirs by entry points."""

SOURCE_KINDS.register("torchvision", TorchvisionSpec)
SOURCE_KINDS.register("huggingface", HuggingFaceSpec)
SOURCE_KINDS.register("webdataset", WebDatasetSpec)
SOURCE_KINDS.register("folder", FolderSpec)
SOURCE_KINDS.register("table", TableSpec)
SOURCE_KINDS.register("relabelled", RelabelledSpec)
SOURCE_KINDS.register("label_set", LabelSetSpec)
SOURCE_KINDS.register("python", PythonSpec)


class _OfItsKind:
    """Lets pydantic read a source as the spec of its `kind`, whichever package brought that."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        specs = tuple(SOURCE_KINDS.get(name) for name in SOURCE_KINDS)
        return handler.generate_schema(Annotated[Union[specs], Field(discriminator="kind")])  # noqa: UP007


AnySource = Annotated[SourceSpec, _OfItsKind()]
