"""The `sources` of a task file: where the images of a task can come from, and how labels map to classes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evalsuite.records import SplitFidelity
from evalsuite.tasks.parts import Strict
from evalsuite.tasks.split_rules import Sizes, SplitRule


class ByCode(Strict):
    """Raw labels are codes of this source: {raw: class key}."""

    by_code: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _codes_are_text(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("by_code"), dict):
            return {**value, "by_code": {str(raw): str(key) for raw, key in value["by_code"].items()}}
        return value


class ByIndex(Strict):
    """Raw labels are integers: the class keys in this source's order.

    `classes` states that the source has the order of the task's class list.
    """

    by_index: Literal["classes"] | list[str]


LabelMap = Literal["by_key", "by_name"] | ByCode | ByIndex
"""`by_name`: raw labels are names or keys of the classes, in other case or punctuation perhaps."""


class ListFile(Strict):
    """Named lists of samples that come with a source: official splits and folds.

    `paths`: a line a sample, its id first; `index_lines`: line k holds the row numbers of fold k.
    """

    file: str = Field(
        description="relative to the source's folder, else to the task file's; may hold {} for the number of the fold"
    )
    pool: str
    format: Literal["paths", "index_lines"] = "paths"
    count: int = Field(default=1, ge=1, description="how many lists there are")
    first: int = Field(default=0, ge=0, description="the number of the first list")
    header: bool = Field(default=False, description="the first line names the column")
    complement: bool = Field(default=False, description="the samples of the pool that the file does not name")


class RemoteFile(Strict):
    """A file that `evalsuite download` fetches, checks and unpacks."""

    url: str
    to: str = Field(default=".", description="folder under the data root it is unpacked in, or put into")
    name: str | None = Field(default=None, description="its name on disk; default: the last part of the URL")
    md5: str | None = None
    sha256: str | None = None
    unpack: bool = Field(default=False, description="zip, tar (also compressed) or a single .gz file")
    inner: list[str] = Field(default_factory=list, description="archives in it that are unpacked, too")
    makes: list[str] = Field(
        default_factory=list,
        description="what is under the data root afterwards: where all of it is there, nothing is fetched",
    )


class SourceBase(Strict):
    """What every source has."""

    labels: LabelMap = "by_key"
    lists: dict[str, ListFile] = Field(
        default_factory=dict, description="lists of sample ids; {} in a name is the fold's number"
    )
    needs: list[str] = Field(
        default_factory=list, description="files and folders in the source's folder without which it is only partial"
    )
    files: list[RemoteFile] = Field(default_factory=list, description="what `evalsuite download` fetches for it")
    splits: SplitRule | None = Field(default=None, description="where this source needs other ones than the task")
    sizes: Sizes | None = Field(default=None, description="where this source has other ones than the task")
    split_fidelity: SplitFidelity | None = Field(default=None, description="where it is not that of the task")
    verified: bool = Field(default=True, description="false where nobody of this project has seen the columns or files")
    note: str = Field(default="", description="one sentence a user of this source should know")


class TorchvisionSource(SourceBase):
    """The layout torchvision leaves under the data root, read by torchvision's own class."""

    kind: Literal["torchvision"]
    dataset: str = Field(description="class name in torchvision.datasets")
    path: str = Field(description="what must exist under the data root for this source to be there")
    root: str = Field(default=".", description="the class's `root`, under the data root")
    pools: dict[str, dict[str, Any]] = Field(description="pool -> arguments of the class")


class HuggingFaceSource(SourceBase):
    """A dataset repository of the Hugging Face hub, or its parquet/arrow files in a folder.

    Local files are looked for in <data root>/<path>: `<split>-*.parquet`, `<split>.parquet`, also .arrow, also under
    data/, the config's or the split's own folder. Where the column `image` is absent, the only column of images counts.
    """

    kind: Literal["huggingface"]
    repo: str | None = Field(default=None, description="org/name on the hub; none: local files only")
    revision: str = "main"
    config: str | None = None
    path: str | None = Field(default=None, description="folder under the data root; default: the task's name")
    image: str = "image"
    label: str = "label"
    group: str | None = Field(default=None, description="column: samples of one group are never split apart")
    pools: dict[str, str] = Field(description="pool -> split of the dataset; a+b: one after the other")


class WebDatasetSource(SourceBase):
    """Webdataset tar shards in a folder under the data root."""

    kind: Literal["webdataset"]
    path: str = Field(description="folder of the shards under the data root")
    repo: str | None = Field(
        default=None, description="org/name of a dataset repository of the hub that has the shards"
    )
    revision: str = "main"
    url: str | None = Field(default=None, description="where the shards can be downloaded by hand")
    pools: dict[str, str] = Field(description="pool -> shards: a glob under `path`, such as test/*.tar")
    image: list[str] = Field(default=["webp", "png", "jpg", "jpeg"])
    label: str = "cls"


class FolderSource(SourceBase):
    """A folder a class, in a folder a pool. The raw label is the name of the first folder below the pool."""

    kind: Literal["folder"]
    path: str = Field(description="relative to the task file when it exists there, else under the data root")
    pools: dict[str, str] = Field(description="pool -> folder under `path`")
    extensions: list[str] = Field(default=[".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"])
    label: str | None = Field(
        default=None, description="regular expression on the path below the pool; its first group is the raw label"
    )
    group: str | None = Field(default=None, description="regular expression on the path; its first group is the group")
    frame: Literal["middle"] | None = Field(default=None, description="videos: the frame to take")


class TablePool(Strict):
    """The rows of a table that make a pool."""

    file: str
    where: dict[str, str] = Field(default_factory=dict, description="column -> value the row must have")


class TableSource(SourceBase):
    """A CSV, TSV or JSONL table of image paths (or pixel values) and labels."""

    kind: Literal["table"]
    path: str = Field(description="folder of the tables; see FolderSource.path")
    images: str = Field(default=".", description="folder of the images, under `path`")
    pools: dict[str, str | TablePool]
    image: str | None = Field(default="image", description="column of the image's path")
    pixels: str | None = Field(default=None, description="column of space-separated grey values instead")
    shape: tuple[int, int] | None = Field(default=None, description="(height, width) of `pixels`")
    label: str = "label"
    separator: str | None = Field(default=None, description="splits a multi-label cell into raw labels")
    group: str | None = Field(default=None, description="column: samples of one group are never split apart")

    @model_validator(mode="after")
    def _one_kind_of_image(self) -> TableSource:
        if self.pixels is not None and self.shape is None:
            raise ValueError("`pixels` needs `shape: [height, width]`")
        return self


class PythonSource(SourceBase):
    """An adapter: a Python file beside the task file, where YAML cannot say it."""

    kind: Literal["python"]
    file: str = Field(description="the adapter, relative to the task file")
    path: str = Field(default=".", description="what must exist under the data root")
    function: str = Field(
        default="open_pool", description="(data root: Path | None, pool: str) -> evalsuite.data.RawPool"
    )
    pools: list[str]


SourceSpec = Annotated[
    TorchvisionSource | HuggingFaceSource | WebDatasetSource | FolderSource | TableSource | PythonSource,
    Field(discriminator="kind"),
]
