"""One file over HTTP: resumed where it was, checked, retried."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from evalsuite.data.download.transfers import Retries, fetch_file
from evalsuite.errors import DataMissingError
from tests.file_server import CONTENT, FileServer, left, md5

HALF = len(CONTENT) // 2


class Waits(list[float]):
    """Retries that note how long they would have waited."""

    @property
    def retries(self) -> Retries:
        """Three further attempts."""
        return Retries((1.0, 2.0, 3.0), self.append)


def test_a_file_comes_whole_and_says_how_far_it_is(server: FileServer, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    target = tmp_path / "to" / "f.bin"
    sha256 = hashlib.sha256(CONTENT).hexdigest().upper()
    received = fetch_file(
        server.url("f.bin"), target, md5=md5(CONTENT), sha256=sha256, on_bytes=lambda *now: told.append(now)
    )
    assert received == len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert left(tmp_path) == ["to", "to/f.bin"]
    assert told[0] == (0, len(CONTENT)) and told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)


def test_a_transfer_that_is_cut_goes_on_where_it_was(server: FileServer, tmp_path: Path) -> None:
    server.faults["f.bin"] = ["cut", 503, "cut"]
    waits = Waits()
    received = fetch_file(server.url("f.bin"), tmp_path / "f.bin", retries=waits.retries)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    rest = HALF + HALF // 2
    assert server.gets("f.bin") == ["", f"bytes={HALF}-", f"bytes={HALF}-", f"bytes={rest}-"]
    assert received == len(CONTENT)
    assert waits == [1.0, 2.0, 3.0]
    assert left(tmp_path) == ["f.bin"]


def test_what_came_is_kept_when_it_keeps_breaking_off(server: FileServer, tmp_path: Path) -> None:
    server.faults["f.bin"] = ["cut", 503, 429, 500]
    with pytest.raises(DataMissingError, match=r"4 attempts: the server answers 500.*Type the same command again"):
        fetch_file(server.url("f.bin"), tmp_path / "f.bin", retries=Waits().retries)
    assert (tmp_path / "f.bin.part").read_bytes() == CONTENT[:HALF]
    assert not (tmp_path / "f.bin").exists()
    assert fetch_file(server.url("f.bin"), tmp_path / "f.bin") == len(CONTENT) - HALF
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ['"changed"', 'W/"weak"', ""], ids=["changed", "weak", "none"])
def test_another_edition_is_not_joined_to_the_first(server: FileServer, tmp_path: Path, etag: str) -> None:
    server.faults["f.bin"] = ["cut"]
    if etag != '"changed"':
        server.etags["f.bin"] = etag
    with pytest.raises(DataMissingError):
        fetch_file(server.url("f.bin"), tmp_path / "f.bin", retries=Retries(()))
    server.etags["f.bin"] = etag
    server.files["f.bin"] = other = os.urandom(len(CONTENT))
    fetch_file(server.url("f.bin"), tmp_path / "f.bin")
    assert (tmp_path / "f.bin").read_bytes() == other


def test_a_part_from_another_address_is_not_gone_on_with(server: FileServer, tmp_path: Path) -> None:
    server.files["g.bin"] = other = os.urandom(len(CONTENT))
    server.etags = {"f.bin": '"1"', "g.bin": '"1"'}
    server.faults["f.bin"] = ["cut"]
    with pytest.raises(DataMissingError):
        fetch_file(server.url("f.bin"), tmp_path / "f", retries=Retries(()))
    fetch_file(server.url("g.bin"), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == other


def test_a_server_that_ignores_ranges_or_cannot_go_on_starts_over(server: FileServer, tmp_path: Path) -> None:
    server.faults["f.bin"] = ["cut", "whole"]
    fetch_file(server.url("f.bin"), tmp_path / "1", retries=Waits().retries)
    server.faults["f.bin"] = ["cut", 416]
    fetch_file(server.url("f.bin"), tmp_path / "2", retries=Waits().retries)
    assert server.gets("f.bin")[-1] == ""
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == CONTENT


def test_a_part_that_is_whole_only_gets_its_name(server: FileServer, tmp_path: Path) -> None:
    server.faults["f.bin"] = ["cut"]
    with pytest.raises(DataMissingError):
        fetch_file(server.url("f.bin"), tmp_path / "f", retries=Retries(()))
    (tmp_path / "f.part").write_bytes(CONTENT)  # killed between the last byte and the rename
    assert fetch_file(server.url("f.bin"), tmp_path / "f", md5=md5(CONTENT), retries=Retries(())) == 0
    assert server.gets("f.bin") == ["", f"bytes={len(CONTENT)}-"]
    assert left(tmp_path) == ["f"]


@pytest.mark.parametrize(("page", "words"), [(True, "It is an HTML page"), (False, "may have sent an HTML page")])
def test_a_wrong_file_is_removed(server: FileServer, tmp_path: Path, page: bool, words: str) -> None:
    server.files["f.bin"] = wrong = b"\n<!DOCTYPE html><p>Sign in</p>" if page else b"another edition"
    with pytest.raises(DataMissingError) as caught:
        fetch_file(server.url("f.bin"), tmp_path / "f.bin", md5=md5(CONTENT))
    assert f"expected md5 {md5(CONTENT)}, found {md5(wrong)}" in str(caught.value)
    assert words in str(caught.value)
    assert left(tmp_path) == []
    server.files["f.bin"] = CONTENT
    with pytest.raises(DataMissingError, match="expected sha256 00"):
        fetch_file(server.url("f.bin"), tmp_path / "f.bin", md5=md5(CONTENT), sha256="00")


def test_dead_links_are_not_tried_twice(server: FileServer, tmp_path: Path) -> None:
    waits = Waits()
    with pytest.raises(DataMissingError, match=r"nowhere cannot be downloaded: the server answers 404"):
        fetch_file(server.url("nowhere"), tmp_path / "f", retries=waits.retries)
    assert (waits, server.gets("nowhere"), left(tmp_path)) == ([], [""], [])
    with pytest.raises(DataMissingError, match="only http and https"):
        fetch_file(Path(__file__).as_uri(), tmp_path / "f")


def test_a_machine_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waits = Waits()
    with pytest.raises(DataMissingError, match=r"in 4 attempts: .*refused.*Type the same command again"):
        fetch_file(f"http://127.0.0.1:{port}/f", tmp_path / "f", retries=waits.retries)
    assert (len(waits), left(tmp_path)) == (3, [])


def test_the_proxy_of_the_environment_is_used(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url(""))
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(DataMissingError, match="404"):
        fetch_file("http://data.invalid/f.zip", tmp_path / "f")
    assert [request.path for request in server.requests] == ["http://data.invalid/f.zip"]


def test_damaged_notes_of_a_part_start_it_over(server: FileServer, tmp_path: Path) -> None:
    server.faults["f.bin"] = ["cut"]
    with pytest.raises(DataMissingError):
        fetch_file(server.url("f.bin"), tmp_path / "f", retries=Retries(()))
    (tmp_path / ".f.part.json").write_text("damaged{")
    fetch_file(server.url("f.bin"), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.gets("f.bin") == ["", ""]
    assert left(tmp_path) == ["f"]
