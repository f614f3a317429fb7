"""Another package adds a kind of source: keys of its own, and everything a source can do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets import write_folder_task
from tests.packages import install
from tests.processes import WarmCli

ENTRY_POINTS = """\
[evalsuite.sources]
zip = zip_package:ZipSpec
"""

SPEC = '''
from typing import Literal

from evalsuite.tasks.sources import SourceSpec


class ZipSpec(SourceSpec):
    """Images in a zip file, in one folder per class."""

    opened_by = "zip_package.zips:ZipSource"

    kind: Literal["zip"]
    path: str
    pools: dict[str, str]
    suffix: str = ".jpg"
    mirror: str = ""
'''

SOURCE = """
import io
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from evalsuite.data import DataState, LoadedSample, RawPool
from evalsuite.data.download.prober import Answer
from evalsuite.data.sources.base import Planned, Source
from evalsuite.hashing import file_sha256
from zip_package import ZipSpec


@dataclass(frozen=True)
class Reader:
    path: str
    names: tuple

    def __call__(self, row):
        with zipfile.ZipFile(self.path) as archive:
            content = archive.read(self.names[row])
        return LoadedSample(Image.open(io.BytesIO(content)), content)


class ZipSource(Source[ZipSpec]):
    def look(self):
        if self.folder.is_file():
            return DataState("ready")
        return DataState("absent", f"needs {self.folder}.")

    def open(self, pool):
        with zipfile.ZipFile(self.folder) as archive:
            start = self.spec.pools[pool] + "/"
            members = [
                member for member in sorted(archive.infolist(), key=lambda member: member.filename)
                if member.filename.startswith(start) and member.filename.endswith(self.spec.suffix)
            ]
        names = tuple(member.filename for member in members)
        return RawPool(
            ids=names,
            labels=[name.removeprefix(start).split("/")[0] for name in names],
            read=Reader(str(self.folder), names),
            sizes=np.array([member.file_size for member in members]),
            content=file_sha256(self.folder, self.place.cache_dir),
        )

    @property
    def can_be_fetched(self):
        return True

    def planned(self):
        return [Planned(self.spec.mirror, str(self.folder))]

    def fetch(self, retries=None):
        self.place.progress.note(f"copying {self.spec.mirror}")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.spec.mirror, self.folder)
        return self.folder.stat().st_size

    def ask(self, prober):
        there = Path(self.spec.mirror).is_file()
        return [Answer("reachable") if there else Answer("dead", f"{self.spec.mirror} is gone")]

    def describe(self):
        return [*super().describe(), f"copied from {self.spec.mirror}"]
"""


@pytest.fixture
def package(tmp_path: Path) -> dict[str, str]:
    """The environment in which a package that brings the kind `zip` is installed."""
    files = {"zip_package/__init__.py": SPEC, "zip_package/zips.py": SOURCE}
    return install(tmp_path / "site", ENTRY_POINTS, files)


@pytest.fixture
def write_task(tmp_path: Path) -> Callable[..., Path]:
    """Write a task whose images are in a zip file that has to be fetched from `mirror`."""

    def write(**keys: str) -> Path:
        write_folder_task(tmp_path / "made")
        mirror = shutil.make_archive(str(tmp_path / "mirror"), "zip", tmp_path / "made")
        source = {"kind": "zip", "path": "in/shapes.zip", "pools": {"train": "train", "test": "test"}, "mirror": mirror}
        path = tmp_path / "tasks" / "shapes.yaml"
        path.parent.mkdir()
        path.write_text(
            "title: Shapes\nclasses: [red, green, blue]\nprompts: {templates: ['a {} square.']}\n"
            f"sources: [{json.dumps({**source, **keys})}]\nsizes: {{train: 18, test: 9}}\n"
        )
        return path

    return write


def test_a_kind_of_source_of_another_package_does_all_that_a_source_does(
    tmp_path: Path, package: dict[str, str], write_task: Callable[..., Path], cli: WarmCli
) -> None:
    task = write_task(suffix=".png")
    (tmp_path / "root").mkdir()

    def evalsuite(*arguments: str | Path) -> str:
        finished = cli(*arguments, "--data-root", tmp_path / "root", env=package)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    known = ("--include-path", task.parent)
    checked = evalsuite("validate", task)
    assert "zip in/shapes.zip: reachable" in checked and "downloadable" in checked
    listed = evalsuite("ls", "tasks", "shapes", *known)
    assert "absent" in listed and "evalsuite download shapes" in listed
    page = evalsuite("describe", "shapes", *known)
    assert "**zip in/shapes.zip**" in page and f"copied from {tmp_path / 'mirror.zip'}" in page
    assert "mirror.zip" in evalsuite("download", task, "--dry-run")
    assert "fetched" in evalsuite("download", task, "--kind", "zip")

    proved = evalsuite("validate", task)
    assert "0 failed" in proved and "3 decoded, one of each class" in proved
    evalsuite("run", "-m", "pixels", "-t", task, "--protocol", "linear_probe", "-o", tmp_path / "out")
    (record,) = (tmp_path / "out").glob("*/shapes.linear_probe.json")
    result = json.loads(record.read_text())
    assert (result["status"], result["metric"]["value"], result["data"]["source"]) == ("ok", 1.0, "zip")


def test_a_kind_that_no_package_brings_is_refused_by_name(
    package: dict[str, str], write_task: Callable[..., Path], cli: WarmCli
) -> None:
    finished = cli("validate", write_task())
    assert finished.returncode == 1
    assert "unknown kind 'zip'" in finished.stderr and "Known: folder" in finished.stderr


def test_its_keys_are_checked_as_all_others(
    package: dict[str, str], write_task: Callable[..., Path], cli: WarmCli
) -> None:
    finished = cli("validate", write_task(sufix=".png"), env=package)
    assert finished.returncode == 1
    assert "unknown key 'sufix'. Did you mean suffix" in finished.stderr
