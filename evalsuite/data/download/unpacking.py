"""Unpack archives that come from elsewhere: into a folder of their own first, then into place.

Nothing an archive says can write outside the folder it is unpacked in.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from evalsuite import atomic
from evalsuite.errors import DataMissingError
from evalsuite.tasks.parts import leads_out

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, KeyError,
    RuntimeError, ValueError, OverflowError, struct.error,
)  # fmt: skip
"""What the standard library raises for an archive that is cut off, damaged, encrypted, packed in a newer way, ..."""


_MAGIC, _MAGIC_AT = b"ustar", 257
"""What a member of a tar file has in its header, and where (POSIX.1-2017, pax, "ustar Interchange Format")."""

_ZIP_MEMBER = b"PK\x03\x04"
"""What a member of a zip begins with (APPNOTE.TXT, 4.3.7); other programs may be put in front of an archive."""

MOST_TIMES = 100
"""How many times its size an archive may make; text and drawings become a tenth, and gzip packs 1,000 times at most."""

ALWAYS_ALLOWED = 64 << 20
"""Bytes that any archive may make."""


class DamagedArchiveError(DataMissingError):
    """An archive that cannot be unpacked, today or tomorrow: it must be fetched again or not at all."""


@dataclass
class _Room:
    """How many bytes may still be written below a folder. declared: whether the task file says how many there are."""

    folder: Path
    left: int
    declared: bool

    def take(self, count: int, shown: str) -> None:
        """Count bytes that are about to be written; DataMissingError where they are too many, or the disk is full."""
        self.left -= count
        if self.left < 0:
            why = "than `unpacked` in the task file says" if self.declared else f"than {MOST_TIMES} times its size"
            raise DataMissingError(
                f"{shown} unpacks to more {why}, as files do that are made to fill a disk. If it is right, say in the "
                "task file how many bytes it makes, with `unpacked`."
            )
        if count > (free := shutil.disk_usage(self.folder).free):
            raise DataMissingError(f"{shown} needs {count:,} bytes more, and {free:,} are free at {self.folder}.")


def unpack(archive: Path, folder: Path, inner: Sequence[str] = (), unpacked: int | None = None) -> None:
    """Unpack an archive into a new folder; the archives in it that `inner` names are unpacked there, too.

    unpacked: bytes that all of it makes, where that may be more than usual.
    Raises DataMissingError where it makes more than is allowed or free, DamagedArchiveError that names the archive and
    what is wrong with it: cut off, of a kind that is not supported (.rar), or with members that lead out of the folder.
    """
    folder.mkdir()
    usual = max(ALWAYS_ALLOWED, MOST_TIMES * archive.stat().st_size)
    room = _Room(folder, unpacked or usual, unpacked is not None)
    _extract(archive, archive.name, folder, room)
    for number, name in enumerate(inner):
        nested = folder / checked_name(name, archive.name)
        if not nested.is_file():
            raise DamagedArchiveError(f"{archive} has no {name!r} in it; it is another edition of the archive.")
        apart = folder.with_name(f"{folder.name}-{number}")
        atomic.discard(apart)
        apart.mkdir()
        _extract(nested, f"{archive.name}/{name}", apart, room)
        atomic.remove(nested)
        move_into(apart, folder)
        apart.rmdir()


def move_into(source: Path, target: Path) -> None:
    """Move what is in a folder into another one; folders that both have are merged, files replaced.

    A call that was stopped is resumed by the same call. The source is empty afterwards.
    """
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir()):
        destination = target / entry.name
        if entry.is_dir() and not entry.is_symlink() and destination.is_dir():
            move_into(entry, destination)
            entry.rmdir()
        else:
            entry.replace(destination)


def check_supported(name: str) -> None:
    """Raise DataMissingError for the name of an archive that is of no kind that can be unpacked."""
    if not name.lower().endswith((".zip", ".gz", *_TAR_SUFFIXES)):
        raise DataMissingError(
            f"{name} cannot be unpacked: only zip, tar (also .gz, .xz, .bz2) and .gz are supported. Unpack it by hand."
        )


def check_end(archive: tarfile.TarFile, *, alone: bool) -> None:
    """Raise tarfile.ReadError where a tar file of which all members were read does not end there.

    The standard library takes the end of the file, and a damaged header, for the end of the archive, which is a block
    of zeros (POSIX.1-2017, pax, "ustar Interchange Format"), and reads only the first of several archives in one file.
    alone: nothing but zeros may follow; else no other archive.
    """
    file: IO[bytes] = archive.fileobj  # type: ignore[assignment]
    file.seek(archive.offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or any(block):
        raise tarfile.ReadError(f"it is cut off or damaged at byte {archive.offset:,}: there is no member, and no end")
    while block := file.read(1 << 20):
        begin = len(block) - len(block.lstrip(b"\0"))
        begin -= begin % tarfile.BLOCKSIZE
        if block[begin + _MAGIC_AT :].startswith(_MAGIC) or (alone and any(block)):
            raise tarfile.ReadError(f"it goes on after its end at byte {archive.offset:,}, as two archives in one file")


def checked_name(name: str, archive: str) -> PurePosixPath:
    """Return the path of a member; DamagedArchiveError for one that leads out of the archive."""
    if leads_out(name):
        raise DamagedArchiveError(f"{archive}: the member {name!r} leads out of the archive; it is not unpacked.")
    return PurePosixPath(name.replace("\\", "/"))


def _extract(archive: Path, shown: str, folder: Path, room: _Room) -> None:
    name = archive.name.lower()
    try:
        if name.endswith(".zip"):
            _extract_zip(archive, shown, folder, room)
        elif name.endswith(_TAR_SUFFIXES):
            _extract_tar(archive, shown, folder, room)
        elif name.endswith(".gz"):
            with gzip.open(archive, "rb") as packed, (folder / archive.name[: -len(".gz")]).open("xb") as file:
                while block := packed.read(1 << 20):
                    room.take(len(block), shown)
                    file.write(block)
        else:
            check_supported(shown)
    except _DAMAGE as error:
        raise DamagedArchiveError(f"{shown} cannot be unpacked ({error or type(error).__name__}).") from error


def _extract_zip(archive: Path, shown: str, folder: Path, room: _Room) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        if len({member.filename for member in members}) < len({(member.filename, member.CRC) for member in members}):
            raise zipfile.BadZipFile("it has two members of one name")
        if members and min(member.header_offset for member in members) > 0 and _begins_with(archive, _ZIP_MEMBER):
            raise zipfile.BadZipFile("it begins with members that its directory does not have, as two archives in one")
        for member in members:
            checked_name(member.filename, shown)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DamagedArchiveError(f"{shown}: the member {member.filename!r} is a link or a device.")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DamagedArchiveError(f"{shown}: {member.filename!r} is packed in a rare way; unpack it by hand.")
            room.take(member.file_size, shown)
            opened.extract(member, folder)


def _begins_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _extract_tar(archive: Path, shown: str, folder: Path, room: _Room) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise DataMissingError(f"Unpacking {archive} safely needs Python 3.11.4 or newer. Unpack it by hand.")
    links: set[PurePosixPath] = set()
    with tarfile.open(archive, "r:*") as opened:
        for member in opened:
            path = checked_name(member.name, shown)
            if links.intersection([path, *path.parents]):
                raise DamagedArchiveError(
                    f"{shown}: the member {member.name!r} lies behind a link; it is not unpacked."
                )
            if member.issym():
                _check_link(path, member.linkname, shown)
                links.add(path)
            elif member.islnk():
                if links.intersection([checked_name(member.linkname, shown)]):
                    raise DamagedArchiveError(f"{shown}: {member.name!r} is a link to a link; it is not unpacked.")
            elif not (member.isreg() or member.isdir()):
                raise DamagedArchiveError(f"{shown}: the member {member.name!r} is a device; it is not unpacked.")
            room.take(member.size if member.isreg() else 0, shown)
            opened.extract(member, folder, filter="data")
        check_end(opened, alone=False)


def _check_link(path: PurePosixPath, link: str, shown: str) -> None:
    """Refuse a symbolic link whose target is not in the archive's own tree."""
    target = PurePosixPath(link.replace("\\", "/"))
    up = next((count for count, part in enumerate(target.parts) if part != ".."), len(target.parts))
    if target.is_absolute() or up > len(path.parent.parts) or ".." in target.parts[up:]:
        raise DamagedArchiveError(f"{shown}: the link {str(path)!r} leads out of the archive, to {link!r}.")
