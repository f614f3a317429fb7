"""Archives in memory, good and bad."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping


def zip_of(members: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """Pack files, and symbolic links as they are written on Unix, into a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            member = zipfile.ZipInfo(name)
            member.create_system = 3
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, target)
    return buffer.getvalue()


def tar_of(members: Mapping[str, bytes], mode: str = "w", extra: list[tarfile.TarInfo] | None = None) -> bytes:
    """Pack `extra` members without content, then files, into a tar; mode: w, w:gz, w:xz, w:bz2."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for member in extra or []:
            archive.addfile(member)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def tar_entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Describe a member that is no file: a link, a device, a pipe."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member
