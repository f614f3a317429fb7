"""Archives are unpacked whole, and none of them writes outside its folder."""

from __future__ import annotations

import gzip
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from evalsuite.data.download.unpacking import DamagedArchiveError, move_into, unpack
from evalsuite.errors import DataMissingError
from tests.archives import tar_entry, tar_of, zip_of

FILES = {"set/a/1.txt": b"one", "set/b/2.txt": b"two" * 50_000}


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder; links to nowhere count as links."""
    return {
        path.relative_to(folder).as_posix(): b"link" if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def write(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", zip_of(FILES)),
        ("a.tar", tar_of(FILES)),
        ("a.tar.gz", tar_of(FILES, "w:gz")),
        ("a.TGZ", tar_of(FILES, "w:gz")),
        ("a.tar.xz", tar_of(FILES, "w:xz")),
        ("a.tar.bz2", tar_of(FILES, "w:bz2")),
    ],
)
def test_every_kind_of_archive(tmp_path: Path, name: str, content: bytes) -> None:
    unpack(write(tmp_path, name, content), tmp_path / "out")
    assert tree(tmp_path / "out") == FILES


def test_a_single_compressed_file(tmp_path: Path) -> None:
    unpack(write(tmp_path, "x.h5.gz", gzip.compress(b"content")), tmp_path / "out")
    assert tree(tmp_path / "out") == {"x.h5": b"content"}


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    outer = zip_of({"top/inner.tar.gz": tar_of(FILES, "w:gz"), "top/readme": b"r", "set/a/0.txt": b"zero"})
    unpack(write(tmp_path, "a.zip", outer), tmp_path / "out", ["top/inner.tar.gz"])
    assert tree(tmp_path / "out") == {**FILES, "top/readme": b"r", "set/a/0.txt": b"zero"}
    with pytest.raises(DamagedArchiveError, match=r"no 'top/other\.tar'"):
        unpack(tmp_path / "a.zip", tmp_path / "again", ["top/other.tar"])


def test_links_inside_an_archive_are_kept(tmp_path: Path) -> None:
    links = [tar_entry("set/same", tarfile.SYMTYPE, "../set/a/1.txt")]
    unpack(write(tmp_path, "a.tar", tar_of(FILES, extra=links)), tmp_path / "out")
    assert (tmp_path / "out/set/same").is_symlink()
    assert (tmp_path / "out/set/same").read_bytes() == b"one"


MALICIOUS = {
    "zip up": ("a.zip", zip_of({"ok.txt": b"", "../evil.txt": b"x"})),
    "zip up, backslashes": ("a.zip", zip_of({"..\\evil.txt": b"x"})),
    "zip absolute": ("a.zip", zip_of({"/tmp/evalsuite-evil.txt": b"x"})),
    "zip drive": ("a.zip", zip_of({"C:/evil.txt": b"x"})),
    "zip link out": ("a.zip", zip_of({}, {"out": "/etc"})),
    "tar up": ("a.tar", tar_of({"set/../../evil.txt": b"x"})),
    "tar absolute": ("a.tar.gz", tar_of({"/tmp/evalsuite-evil.txt": b"x"}, "w:gz")),
    "tar link absolute": ("a.tar", tar_of({}, extra=[tar_entry("l", tarfile.SYMTYPE, "/etc/passwd")])),
    "tar link up": ("a.tar", tar_of({}, extra=[tar_entry("d/l", tarfile.SYMTYPE, "../../evil")])),
    "tar link up, later": ("a.tar", tar_of({}, extra=[tar_entry("d/l", tarfile.SYMTYPE, "m/../../evil")])),
    "tar behind a link": ("a.tar", tar_of({"l/evil.txt": b"x"}, extra=[tar_entry("l", tarfile.SYMTYPE, "set")])),
    "tar over a link": ("a.tar", tar_of({"l": b"x"}, extra=[tar_entry("l", tarfile.SYMTYPE, "set")])),
    "tar hard link out": ("a.tar", tar_of({}, extra=[tar_entry("h", tarfile.LNKTYPE, "../victim.txt")])),
    "tar hard link absolute": ("a.tar", tar_of({}, extra=[tar_entry("h", tarfile.LNKTYPE, "/etc/passwd")])),
    "tar device": ("a.tar", tar_of({}, extra=[tar_entry("null", tarfile.CHRTYPE)])),
    "tar pipe": ("a.tar", tar_of({}, extra=[tar_entry("pipe", tarfile.FIFOTYPE)])),
}


@pytest.mark.parametrize("case", MALICIOUS)
def test_an_archive_that_leads_out_is_refused(tmp_path: Path, case: str) -> None:
    name, content = MALICIOUS[case]
    victim = write(tmp_path, "victim.txt", b"mine")
    archive = write(tmp_path, name, content)
    with pytest.raises(DamagedArchiveError, match=f"^{name}: "):
        unpack(archive, tmp_path / "out")
    outside = {path: data for path, data in tree(tmp_path).items() if not path.startswith("out/")}
    assert outside == {"victim.txt": b"mine", name: content}
    assert victim.stat().st_nlink == 1
    assert set(tree(tmp_path / "out")) <= {"ok.txt", "l"}  # what came before the member that was refused
    assert not Path("/tmp/evalsuite-evil.txt").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", zip_of(FILES)[:200]),
        ("a.zip", b"<html>not here</html>"),
        ("a.tar", b"<html>not here</html>" * 100),
        ("a.tar", tar_of(FILES)[:1024]),
        ("a.tar", tar_of(FILES)[: 1024 + 300]),
        ("a.tar.gz", gzip.compress(tar_of(FILES)[:1024])),
        ("a.tar.gz", tar_of(FILES, "w:gz")[:-300]),
        ("a.tar.xz", tar_of(FILES, "w:xz")[:-100]),
        ("a.gz", gzip.compress(b"content" * 1000)[:-9]),
        ("a.gz", b"no gzip"),
        ("a.zip", zip_of(FILES) + zip_of(FILES)),
        ("a.tar", tar_of(FILES) + tar_of(FILES)),
        ("a.tar.gz", tar_of(FILES, "w:gz") + tar_of(FILES, "w:gz")),
        ("a.tar", tar_of({}, extra=[tar_entry("h", tarfile.LNKTYPE, "not/there")])),
    ],
)
def test_a_damaged_archive_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DamagedArchiveError, match=f"{name} cannot be unpacked"):
        unpack(write(tmp_path, name, content), tmp_path / "out")


def test_two_members_of_one_name_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings(action="ignore"):
        for content in ("first", "second"):
            archive.writestr("a.txt", content)
    with pytest.raises(DamagedArchiveError, match="two members of one name"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_what_is_no_archive_may_lie_around_one(tmp_path: Path) -> None:
    for number, (name, content) in enumerate(
        {"a.zip": b"#!/bin/sh\n" + zip_of(FILES), "a.tar": tar_of(FILES) + b"x"}.items()
    ):
        unpack(write(tmp_path, name, content), tmp_path / f"out{number}")


def test_kinds_that_are_not_supported_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissingError, match=r"UCF101\.rar cannot be unpacked.*by hand"):
        unpack(write(tmp_path, "UCF101.rar", b"Rar!"), tmp_path / "out")


def test_folders_are_merged(tmp_path: Path) -> None:
    for name, content in {"from/d/new.txt": b"n", "from/d/both.txt": b"new", "to/d/old.txt": b"o"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "to/d/both.txt").write_bytes(b"old")
    move_into(tmp_path / "from", tmp_path / "to")
    assert tree(tmp_path) == {"to/d/new.txt": b"n", "to/d/both.txt": b"new", "to/d/old.txt": b"o"}
    assert list((tmp_path / "from").iterdir()) == []
